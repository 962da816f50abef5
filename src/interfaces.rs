//! The interfaces of this host and their addresses.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

/// Each interface by name, once for each of its IP addresses and once with
/// `None` for whatever else it has. Nothing where the system does not tell.
pub fn all() -> impl Iterator<Item = (String, Option<IpAddr>)> {
    getifaddrs().into_iter().flatten().map(|entry| {
        let address = entry.address.and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
            v4.or(v6)
        });
        (entry.interface_name, address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_its_address() {
        assert!(all().any(|(_, address)| address == Some([127, 0, 0, 1].into())));
    }
}
