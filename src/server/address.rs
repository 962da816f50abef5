use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// An address that plain DNS, UDP and TCP, is served on.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ListenAddress {
    /// The address; `None` is every address of both families.
    pub ip: Option<IpAddr>,
    /// The interface of a link-local address, by name and index.
    pub scope: Option<(String, u32)>,
    /// The port.
    pub port: u16,
}

impl ListenAddress {
    /// Every address.
    pub fn any(port: u16) -> Self {
        Self {
            ip: None,
            scope: None,
            port,
        }
    }

    /// One address.
    pub fn of(ip: IpAddr, port: u16) -> Self {
        Self {
            ip: Some(ip),
            scope: None,
            port,
        }
    }

    /// What to bind, the best first: every address means an IPv6 socket that
    /// takes IPv4 clients too, or IPv4 alone where the system has no IPv6.
    pub(super) fn candidates(&self) -> Vec<SocketAddr> {
        match self.ip {
            None => vec![
                (Ipv6Addr::UNSPECIFIED, self.port).into(),
                (Ipv4Addr::UNSPECIFIED, self.port).into(),
            ],
            Some(IpAddr::V4(ip)) => vec![(ip, self.port).into()],
            Some(IpAddr::V6(ip)) => {
                let scope = self.scope.as_ref().map_or(0, |(_, index)| *index);
                vec![SocketAddrV6::new(ip, self.port, 0, scope).into()]
            }
        }
    }

    /// The address without the port, as CoreDNS's banner shows it; empty for all.
    pub fn host(&self) -> String {
        match (self.ip, &self.scope) {
            (None, _) => String::new(),
            (Some(ip), Some((interface, _))) => format!("{ip}%{interface}"),
            (Some(ip), None) => ip.to_string(),
        }
    }
}

/// `:53`, `127.0.0.1:53`, `[fe80::1%eth0]:53`: as Go writes it, the `server`
/// label of metrics behind its scheme.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(IpAddr::V6(_)) => write!(f, "[{}]:{}", self.host(), self.port),
            _ => write!(f, "{}:{}", self.host(), self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_go_does() {
        let link_local = ListenAddress {
            ip: Some("fe80::1".parse().unwrap()),
            scope: Some(("eth0".to_owned(), 2)),
            port: 53,
        };
        for (address, shown) in [
            (ListenAddress::any(53), ":53"),
            (
                ListenAddress::of([127, 0, 0, 1].into(), 1053),
                "127.0.0.1:1053",
            ),
            (
                ListenAddress::of(Ipv6Addr::LOCALHOST.into(), 53),
                "[::1]:53",
            ),
            (link_local, "[fe80::1%eth0]:53"),
        ] {
            assert_eq!(address.to_string(), shown);
        }
    }
}
