//! A query in memory that may be read by another process than wrote it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use crate::server::mmsg::Datagram;

/// Octets of a query that fits.
pub(super) const LONGEST: usize = 512;
/// Words of a slot beside its state.
pub(super) const WORDS: usize = OCTETS + LONGEST / 8;
/// Where the query itself begins, behind the places named below.
const OCTETS: usize = 7;
const SOCKET: usize = 0;
const SENDER_IP: usize = 1;
const SENDER: usize = 3;
const DESTINATION_IP: usize = 4;
const DESTINATION: usize = 6;

/// One slot, free or with a query. It is taken with the last word that is
/// written and free with the first, so a process may end between any two.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a> {
    /// Apart from the rest, so that a look at all of them has no page made.
    pub(super) state: &'a AtomicU64,
    pub(super) words: &'a [AtomicU64; WORDS],
}

/// What happened to a query; as a word in the order of the fields, lowest
/// octets first, with 1 in the highest to tell it from a free slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct State {
    /// Octets of the query.
    pub(super) len: u16,
    /// Processes that ended, or are being risked, while it was being served.
    pub(super) deaths: u8,
    /// Processes that ended while it was not answered.
    pub(super) lives: u8,
}

/// A query that another process has received.
#[derive(Debug)]
pub(in crate::server) struct Left {
    bytes: Vec<u8>,
    sender: SocketAddr,
    destination: Option<IpAddr>,
}

impl Left {
    pub(in crate::server) fn datagram(&self) -> Datagram<'_> {
        Datagram {
            bytes: &self.bytes,
            sender: self.sender,
            destination: self.destination,
            stamp: None,
        }
    }
}

impl Slot<'_> {
    fn load(self, at: usize) -> u64 {
        self.words[at].load(Ordering::Relaxed)
    }

    fn store(self, at: usize, word: u64) {
        self.words[at].store(word, Ordering::Relaxed);
    }

    /// `None` where it is free.
    pub(super) fn state(self) -> Option<State> {
        let [len @ .., deaths, lives, _, _, _, used] =
            self.state.load(Ordering::Relaxed).to_le_bytes();
        (used == 1).then_some(State {
            len: u16::from_le_bytes(len),
            deaths,
            lives,
        })
    }

    pub(super) fn set(self, state: State) {
        let [low, high] = state.len.to_le_bytes();
        let word = [low, high, state.deaths, state.lives, 0, 0, 0, 1];
        // Behind whatever is written of the query.
        self.state
            .store(u64::from_le_bytes(word), Ordering::Release);
    }

    /// Notes that the query is being served from now on.
    pub(super) fn risk(self) {
        self.change(|deaths| deaths.saturating_add(1));
    }

    /// Notes that it has been served for now, and the process lives.
    pub(super) fn survived(self) {
        self.change(|deaths| deaths.saturating_sub(1));
    }

    fn change(self, deaths: impl FnOnce(u8) -> u8) {
        if let Some(state) = self.state() {
            let deaths = deaths(state.deaths);
            self.set(State { deaths, ..state });
        }
        // What is done to the query is done behind that.
        compiler_fence(Ordering::SeqCst);
    }

    /// Frees it.
    pub(super) fn clear(self) {
        self.state.store(0, Ordering::Release);
    }

    /// The inode of the socket that its query came by.
    pub(super) fn socket(self) -> u64 {
        self.load(SOCKET)
    }

    /// Puts a query into a free slot, unless it is too long: whether it did.
    pub(super) fn write(self, socket: u64, datagram: &Datagram<'_>, deaths: u8) -> bool {
        let bytes = datagram.bytes;
        let Some(len) = u16::try_from(bytes.len()).ok() else {
            return false;
        };
        if bytes.len() > LONGEST {
            return false;
        }
        self.store(SOCKET, socket);
        self.put_ip(SENDER_IP, datagram.sender.ip());
        let scope = match datagram.sender {
            SocketAddr::V6(sender) => sender.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        let family = u64::from(datagram.sender.is_ipv6());
        let port = u64::from(datagram.sender.port());
        self.store(SENDER, family | port << 16 | u64::from(scope) << 32);
        let family = match datagram.destination {
            None => 0,
            Some(ip) => 1 + u64::from(ip.is_ipv6()),
        };
        self.store(DESTINATION, family);
        if let Some(ip) = datagram.destination {
            self.put_ip(DESTINATION_IP, ip);
        }
        let (_, octets) = self.words.split_at(OCTETS);
        for (word, chunk) in octets.iter().zip(bytes.chunks(8)) {
            let mut octets = [0; 8];
            octets[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_ne_bytes(octets), Ordering::Relaxed);
        }
        self.set(State {
            len,
            deaths,
            lives: 0,
        });
        true
    }

    /// The query in it; `None` where it is free.
    pub(super) fn read(self) -> Option<Left> {
        let len = usize::from(self.state()?.len);
        let (_, octets) = self.words.split_at(OCTETS);
        let octets = octets.iter();
        let mut bytes: Vec<u8> = octets
            .flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes())
            .collect();
        bytes.truncate(len);
        let word = self.load(SENDER);
        let (port, scope) = ((word >> 16) as u16, (word >> 32) as u32);
        let sender = match self.ip(SENDER_IP, word & 1 == 1) {
            IpAddr::V4(ip) => SocketAddrV4::new(ip, port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
        };
        let destination = match self.load(DESTINATION) {
            0 => None,
            family => Some(self.ip(DESTINATION_IP, family == 2)),
        };
        Some(Left {
            bytes,
            sender,
            destination,
        })
    }

    fn put_ip(self, at: usize, ip: IpAddr) {
        let bits = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        }
        .to_bits();
        self.store(at, bits as u64);
        self.store(at + 1, (bits >> 64) as u64);
    }

    fn ip(self, at: usize, ipv6: bool) -> IpAddr {
        let bits = u128::from(self.load(at)) | u128::from(self.load(at + 1)) << 64;
        let ip = Ipv6Addr::from_bits(bits);
        // A mapped address of an IPv6 socket stays one.
        match ip.to_ipv4_mapped().filter(|_| !ipv6) {
            Some(ip) => ip.into(),
            None => ip.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_comes_out_as_it_went_in() {
        let slot = Slot {
            state: &AtomicU64::new(u64::MAX),
            words: &[const { AtomicU64::new(u64::MAX) }; WORDS],
        };
        slot.clear();
        assert!(slot.read().is_none());
        let long: Vec<u8> = (0..LONGEST).map(|octet| octet as u8).collect();
        for (bytes, sender, destination) in [
            (&long[..1], "192.0.2.1:53", None),
            (&long[..7], "192.0.2.1:65535", Some("192.0.2.2")),
            (&long[..8], "[::ffff:192.0.2.1]:1", Some("::ffff:192.0.2.2")),
            (&long[..], "[fe80::1%3]:4711", Some("2001:db8::1")),
        ] {
            let datagram = Datagram {
                bytes,
                sender: sender.parse().unwrap(),
                destination: destination.map(|ip| ip.parse().unwrap()),
                stamp: None,
            };
            assert!(slot.write(1 << 40, &datagram, 1));
            assert_eq!(slot.socket(), 1 << 40);
            let left = slot.read().unwrap();
            let found = left.datagram();
            assert_eq!(found.bytes, bytes);
            assert_eq!(found.sender, datagram.sender);
            assert_eq!(found.destination, datagram.destination);
        }
        slot.clear();
        let longer = [long, vec![0]].concat();
        let datagram = Datagram {
            bytes: &longer,
            sender: "192.0.2.1:53".parse().unwrap(),
            destination: None,
            stamp: None,
        };
        assert!(!slot.write(1, &datagram, 1) && slot.read().is_none());
    }

    #[test]
    fn a_state_is_one_word() {
        let slot = Slot {
            state: &AtomicU64::new(0),
            words: &[const { AtomicU64::new(0) }; WORDS],
        };
        assert_eq!(slot.state(), None);
        let state = State {
            len: 512,
            deaths: 255,
            lives: 7,
        };
        slot.set(state);
        assert_eq!(slot.state(), Some(state));
        slot.clear();
        assert_eq!(slot.state(), None);
    }
}
