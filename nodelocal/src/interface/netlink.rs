//! Links and addresses of the network namespace.
//!
//! The kernel answers within the call that asks, so there is nothing to wait
//! for but the kernel itself.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{connect, recv, send, socket_with};

use super::message::{self, Message, Part, attributes, u32_at};

/// Who added an address (IFA_PROTO, an octet that the kernel keeps for us since
/// Linux 5.18 and that older ones do not know): this agent, now or in an
/// earlier life.
const OURS: u8 = 0x50;
/// Octets of an answer; the kernel's lists come in pieces of at most so many.
const ANSWER: usize = 32 << 10;
/// How long the kernel may take for one answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a list is asked for that changes while it is made.
const TRIES: usize = 5;
/// Octets of `struct ifinfomsg` and `struct ifaddrmsg`.
const LINK: usize = 16;
const ADDRESS: usize = 8;

/// A socket to the kernel.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// Empty for what is no virtual device.
    pub(super) kind: String,
    pub(super) is_up: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    /// The index of its link.
    pub(super) link: u32,
    /// Whether it says that this agent has added it.
    pub(super) is_ours: bool,
    length: u8,
}

impl Netlink {
    /// In the namespace of the calling thread.
    pub(super) fn connect() -> io::Result<Self> {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        // Without a protocol it is NETLINK_ROUTE.
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        // Nobody but the kernel is heard.
        connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        let sequence = 0;
        Ok(Self { socket, sequence })
    }

    pub(super) fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let request = Message::link(message::RTM_GETLINK, 0, 0, false);
        self.find(request.attribute(message::IFLA_IFNAME, &terminated(name)))
    }

    pub(super) fn link_by_index(&mut self, index: u32) -> io::Result<Option<Link>> {
        self.find(Message::link(message::RTM_GETLINK, 0, index, false))
    }

    /// # Errors
    ///
    /// `EOPNOTSUPP` where the kernel has no devices of that kind.
    pub(super) fn add_link(&mut self, name: &str, kind: &str) -> io::Result<()> {
        let flags = message::NLM_F_CREATE | message::NLM_F_EXCL;
        let request = Message::link(message::RTM_NEWLINK, flags | message::NLM_F_ACK, 0, false)
            .attribute(message::IFLA_IFNAME, &terminated(name))
            .nested(
                message::IFLA_LINKINFO,
                message::IFLA_INFO_KIND,
                kind.as_bytes(),
            );
        self.ask(request, |_| {})
    }

    pub(super) fn set_up(&mut self, link: &Link) -> io::Result<()> {
        let flags = message::NLM_F_ACK;
        let request = Message::link(message::RTM_NEWLINK, flags, link.index, true);
        self.ask(request, |_| {})
    }

    pub(super) fn remove_link(&mut self, link: &Link) -> io::Result<()> {
        let flags = message::NLM_F_ACK;
        let request = Message::link(message::RTM_DELLINK, flags, link.index, false);
        self.ask(request, |_| {})
    }

    pub(super) fn addresses(&mut self) -> io::Result<Vec<Address>> {
        for _ in 0..TRIES {
            let (kind, flags) = (message::RTM_GETADDR, message::NLM_F_DUMP);
            let request = Message::address(kind, flags, [message::AF_UNSPEC, 0, 0], 0);
            let mut addresses = Vec::new();
            let mut is_whole = true;
            self.ask(request, |part| {
                is_whole &= part.flags & message::NLM_F_DUMP_INTR == 0;
                addresses.extend(Address::read(part.payload));
            })?;
            if is_whole {
                return Ok(addresses);
            }
        }
        Err(io::Error::other("addresses change all the time"))
    }

    /// Adds an address as /32 or /128, at once to be used.
    pub(super) fn add(&mut self, link: &Link, ip: IpAddr) -> io::Result<()> {
        let flags = message::NLM_F_CREATE | message::NLM_F_EXCL | message::NLM_F_ACK;
        let of = match ip {
            IpAddr::V4(_) => [message::AF_INET, 32, 0],
            // Nobody else on a link of ours can have it.
            IpAddr::V6(_) => [message::AF_INET6, 128, message::IFA_F_NODAD],
        };
        let request = with(
            Message::address(message::RTM_NEWADDR, flags, of, link.index),
            ip,
        );
        self.ask(request.attribute(message::IFA_PROTO, &[OURS]), |_| {})
    }

    pub(super) fn remove(&mut self, address: &Address) -> io::Result<()> {
        let of = match address.ip {
            IpAddr::V4(_) => [message::AF_INET, address.length, 0],
            IpAddr::V6(_) => [message::AF_INET6, address.length, 0],
        };
        let (kind, flags) = (message::RTM_DELADDR, message::NLM_F_ACK);
        let request = Message::address(kind, flags, of, address.link);
        self.ask(with(request, address.ip), |_| {})
    }

    fn find(&mut self, request: Message) -> io::Result<Option<Link>> {
        let mut link = None;
        match self.ask(request, |part| link = Link::read(part.payload)) {
            Ok(()) => Ok(link),
            Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks, and hands on what the answer consists of.
    fn ask(&mut self, request: Message, mut take: impl FnMut(Part<'_>)) -> io::Result<()> {
        self.sequence += 1;
        let request = request.finish(self.sequence);
        let is_list = is_list(&request);
        send(&self.socket, &request, SendFlags::empty())?;
        let mut buffer = vec![0; ANSWER];
        loop {
            let (length, whole) = recv(&self.socket, &mut buffer[..], RecvFlags::TRUNC)?;
            if whole > length {
                return Err(io::Error::other("an answer of the kernel is too long"));
            }
            let answer = buffer.get(..length).unwrap_or_default();
            for part in message::parts(answer).filter(|part| part.sequence == self.sequence) {
                match part.kind {
                    message::NLMSG_ERROR | message::NLMSG_DONE => return error(part.payload),
                    _ => take(part),
                }
                if !is_list {
                    return Ok(());
                }
            }
        }
    }
}

impl Link {
    fn read(payload: &[u8]) -> Option<Self> {
        let mut link = Self {
            index: u32_at(payload, 4)?,
            name: String::new(),
            kind: String::new(),
            is_up: u32_at(payload, 8)? & message::IFF_UP != 0,
        };
        for (kind, value) in attributes(payload, LINK) {
            match kind {
                message::IFLA_IFNAME => link.name = text(value),
                message::IFLA_LINKINFO => {
                    let kind =
                        attributes(value, 0).find(|(kind, _)| *kind == message::IFLA_INFO_KIND);
                    link.kind = kind.map(|(_, value)| text(value)).unwrap_or_default();
                }
                _ => {}
            }
        }
        Some(link)
    }
}

impl Address {
    fn read(payload: &[u8]) -> Option<Self> {
        let mut ip = None;
        let mut is_ours = false;
        for (kind, value) in attributes(payload, ADDRESS) {
            match kind {
                // The address itself, where the other one is that of a peer.
                message::IFA_LOCAL => ip = read_ip(value).or(ip),
                message::IFA_ADDRESS => ip = ip.or_else(|| read_ip(value)),
                message::IFA_PROTO => is_ours = value == [OURS],
                _ => {}
            }
        }
        Some(Self {
            ip: ip?,
            link: u32_at(payload, 4)?,
            is_ours,
            length: *payload.get(1)?,
        })
    }
}

/// Whether the answer has an end of its own.
fn is_list(request: &[u8]) -> bool {
    let dump = message::NLM_F_DUMP;
    message::parts(request).any(|part| part.flags & dump == dump)
}

/// What ends an answer says how it went.
fn error(payload: &[u8]) -> io::Result<()> {
    match u32_at(payload, 0).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn with(request: Message, ip: IpAddr) -> Message {
    let add = |octets: &[u8]| {
        let request = request.attribute(message::IFA_LOCAL, octets);
        request.attribute(message::IFA_ADDRESS, octets)
    };
    match ip {
        IpAddr::V4(ip) => add(&ip.octets()),
        IpAddr::V6(ip) => add(&ip.octets()),
    }
}

fn read_ip(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| v6()).ok()
}

fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|octet| *octet == 0);
    let value = value.get(..end.unwrap_or(value.len())).unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use pando_test::Netns;

    use super::*;

    #[test]
    fn links_and_addresses_are_made_and_seen() {
        if let Some(reason) = Netns::missing() {
            println!("skipped: {reason}");
            return;
        }
        let node = Netns::create("node").unwrap();
        let netlink = node.enter(Netlink::connect).unwrap();
        let mut netlink = netlink.unwrap();
        // Not every kernel has dummy devices, but the way is the same.
        netlink.add_link("made", "veth").unwrap();
        let again = netlink.add_link("made", "veth").unwrap_err();
        assert_eq!(again.raw_os_error(), Some(Errno::EXIST.raw_os_error()));
        let strange = netlink.add_link("strange", "none-such").unwrap_err();
        assert_eq!(
            strange.raw_os_error(),
            Some(Errno::OPNOTSUPP.raw_os_error())
        );
        let link = netlink.link("made").unwrap().unwrap();
        assert_eq!((link.kind.as_str(), link.is_up), ("veth", false));
        netlink.set_up(&link).unwrap();
        let link = netlink.link_by_index(link.index).unwrap().unwrap();
        assert_eq!((link.name.as_str(), link.is_up), ("made", true));

        node.ip("addr add 192.0.2.3/24 dev lo\n").unwrap();
        let ips: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        for ip in ips {
            netlink.add(&link, ip).unwrap();
        }
        let seen = netlink.addresses().unwrap();
        let ours: Vec<_> = seen.iter().filter(|address| address.is_ours).collect();
        let listed: Vec<_> = ours
            .iter()
            .map(|address| (address.ip, address.link))
            .collect();
        assert_eq!(listed, ips.map(|ip| (ip, link.index)));
        assert!(
            seen.iter()
                .any(|address| address.ip == "192.0.2.3".parse::<IpAddr>().unwrap())
        );
        for address in ours {
            netlink.remove(address).unwrap();
        }
        assert!(
            !netlink
                .addresses()
                .unwrap()
                .iter()
                .any(|address| address.is_ours)
        );
        netlink.remove_link(&link).unwrap();
        assert!(netlink.link("made").unwrap().is_none());
    }
}
