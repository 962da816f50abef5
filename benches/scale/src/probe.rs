//! Asks a server over UDP and looks for addresses in what it answers.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::BOUND;
use crate::cluster::{Cluster, name};
use crate::server::Cpu;

/// After that a datagram is sent again.
const LOST: Duration = Duration::from_millis(250);
/// Queries in flight while look-ups are measured.
const WINDOW: usize = 32;
/// Where an answer has its id, its rcode and its number of records.
const HEADER: usize = 12;

/// Asks one server, one query at a time.
pub(crate) struct Probe {
    socket: UdpSocket,
    id: u16,
    buffer: [u8; 4096],
}

impl Probe {
    pub(crate) fn to(port: u16) -> io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(LOST))?;
        Ok(Self {
            socket,
            id: 0,
            buffer: [0; 4096],
        })
    }

    /// Whether the answer to `query` has this address in it, now. `None`
    /// where nothing answers.
    pub(crate) fn shows(&mut self, query: &mut [u8], address: Ipv4Addr) -> Option<bool> {
        self.id = self.id.wrapping_add(1);
        let id = self.id.to_be_bytes();
        query.get_mut(..2)?.copy_from_slice(&id);
        self.socket.send(query).ok()?;
        loop {
            let len = self.socket.recv(&mut self.buffer).ok()?;
            let answer = self.buffer.get(..len)?;
            if answer.starts_with(&id) {
                let rest = answer.get(query.len().min(len)..)?;
                return Some(rest.windows(4).any(|part| part == address.octets()));
            }
        }
    }

    /// Asks again and again until the address shows: the time since `since`.
    pub(crate) fn wait(
        &mut self,
        query: &mut [u8],
        address: Ipv4Addr,
        since: Instant,
    ) -> anyhow::Result<Duration> {
        while self.shows(query, address) != Some(true) {
            ensure!(
                since.elapsed() < BOUND,
                "{address} does not show within {BOUND:?}"
            );
        }
        Ok(since.elapsed())
    }
}

/// A query for the A records of a name without its last dot.
pub(crate) fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}

/// CPU time of the server for one query of a random Service, microseconds.
pub(crate) fn lookup(
    port: u16,
    pid: u32,
    cluster: &Cluster,
    lasts: Duration,
) -> anyhow::Result<f64> {
    let sockets: Vec<UdpSocket> = (0..WINDOW)
        .map(|_| {
            let socket = Probe::to(port)?.socket;
            // Nothing is asked again here: what is late is not lost.
            socket.set_read_timeout(Some(BOUND))?;
            Ok(socket)
        })
        .collect::<io::Result<_>>()?;
    let queries: Vec<Vec<u8>> = (0..cluster.services).map(|n| query(&name(n))).collect();
    let mut buffer = [0; 4096];
    let mut answered = 0u32;
    let before = Cpu::of(pid)?;
    let begun = Instant::now();
    while begun.elapsed() < lasts {
        for socket in &sockets {
            let query = fastrand::choice(&queries).context("no Service")?;
            socket.send(query)?;
        }
        for socket in &sockets {
            let len = socket.recv(&mut buffer).context("no answer")?;
            let header = buffer.get(..len.min(HEADER)).unwrap_or_default();
            let [.., rcode, _, _, a, b, _, _, _, _] = header else {
                anyhow::bail!("an answer without a header");
            };
            ensure!(
                rcode & 15 == 0 && (*a, *b) != (0, 0),
                "a Service is not known"
            );
            answered += 1;
        }
    }
    let used = Cpu::of(pid)?.since(before);
    Ok(used.as_secs_f64() * 1e6 / f64::from(answered.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_after_the_question_and_with_the_id_asked() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = server.local_addr().expect("bound").port();
        let answers = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            for last in [1, 2] {
                let (len, client) = server.recv_from(&mut buffer).expect("a query");
                let query = &buffer[..len];
                let late = [&[0xff, 0xff][..], &query[2..], &[10, 0, 0, 2]].concat();
                server.send_to(&late, client).expect("sent");
                let answer = [query, &[10, 0, 0, last]].concat();
                server.send_to(&answer, client).expect("sent");
            }
        });
        let mut probe = Probe::to(port).expect("a socket");
        let mut query = query("web.default.svc.cluster.local");
        let address = [10, 0, 0, 2].into();
        assert_eq!(probe.shows(&mut query, address), Some(false));
        assert_eq!(probe.shows(&mut query, address), Some(true));
        answers.join().expect("answered");
    }
}
