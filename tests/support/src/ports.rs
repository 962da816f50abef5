//! Ports that no other test takes.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::{BOUND, until};

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

    /// Waits until nobody has a socket there that was closed in this process:
    /// a child that has not begun its own program yet, which other tests start
    /// all the time, has copies of all of them.
    ///
    /// # Panics
    ///
    /// When somebody else listens there.
    pub(crate) async fn closed(&self) {
        let closed = until("a closed port", BOUND, || async {
            (!self.is_open()).then_some(())
        });
        closed.await.unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Whether a socket is bound there, in the network of this thread; one for
    /// TCP listens as well. Told without a socket, which would be copied, too.
    fn is_open(&self) -> bool {
        let number = format!(":{:04X}", self.number);
        let listens = |line: &str, tcp: bool| {
            let mut words = line.split_whitespace().skip(1);
            let local = words.next().is_some_and(|local| local.ends_with(&number));
            local && (!tcp || words.nth(1) == Some("0A"))
        };
        ["udp", "udp6", "tcp", "tcp6"].into_iter().any(|kind| {
            let table = std::fs::read_to_string(format!("/proc/thread-self/net/{kind}"));
            let table = table.unwrap_or_default();
            table
                .lines()
                .any(|line| listens(line, kind.starts_with("tcp")))
        })
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
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;
    use crate::Upstream;

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

    #[tokio::test]
    async fn a_port_that_is_closed_is_free_while_others_start_children() {
        let upstream = Upstream::start().await.unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let others: Vec<_> = (0..4)
            .map(|_| {
                let done = Arc::clone(&done);
                thread::spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let child = Command::new("true").spawn();
                        child.expect("starts").wait().expect("ends");
                    }
                })
            })
            .collect();
        let mut again = Ok(());
        for _ in 0..100 {
            upstream.down().await;
            again = upstream.up().await;
            if again.is_err() {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        others.into_iter().for_each(|other| other.join().unwrap());
        again.expect("the port is free");
    }
}
