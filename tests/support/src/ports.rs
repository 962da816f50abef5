//! Ports that no other test takes.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// A port that is free for UDP and TCP and stays this holder's until dropped,
/// also against the other test processes of the machine.
///
/// The servers under test set `SO_REUSEPORT`, so two of them could share a
/// port and answer each other's clients without an error. The claim is an
/// abstract Unix socket named after the number: the kernel takes it back when
/// the test ends, however it ends.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _claim: UnixListener,
}

/// Below the kernel's ephemeral range, which outgoing connections draw from.
const FIRST: u16 = 10_240;
const COUNT: u16 = 20_480;

static NEXT: AtomicU16 = AtomicU16::new(0);

impl Port {
    /// Claims a port.
    ///
    /// # Panics
    ///
    /// When none of 20,480 ports is free.
    #[must_use]
    pub fn claim() -> Self {
        let spread = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or_default();
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(7);
            let number = FIRST + spread.wrapping_mul(61).wrapping_add(step) % COUNT;
            if let Some(port) = Self::try_claim(number) {
                return port;
            }
        }
        panic!("no free port between {FIRST} and {}", FIRST + COUNT);
    }

    /// The port number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    fn try_claim(number: u16) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("pando-test-port-{number}")).ok()?;
        let claim = UnixListener::bind_addr(&name).ok()?;
        let any = (Ipv4Addr::UNSPECIFIED, number);
        let _udp = UdpSocket::bind(any).ok()?;
        let _tcp = TcpListener::bind(any).ok()?;
        Some(Self {
            number,
            _claim: claim,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_port_is_not_given_twice() {
        let ports: Vec<_> = (0..50).map(|_| Port::claim()).collect();
        for port in &ports {
            assert!(Port::try_claim(port.number()).is_none());
        }
        let mut numbers: Vec<_> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        // Whatever number the system gives, it is taken.
        let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let number = taken.local_addr().expect("bound").port();
        assert!(Port::try_claim(number).is_none());
    }
}
