use std::future::pending;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::task::{Context, Waker};
use std::time::Duration;

use super::*;

const SOCKET: u64 = 1 << 40 | 7;

/// A ledger over several lives of its process.
struct Lives(File);

impl Lives {
    fn new() -> Self {
        Self(tempfile::tempfile().unwrap())
    }

    /// The next process begins. What the one before held is not given back:
    /// it was killed.
    fn next(&self, workers: usize) -> Vec<(Received<'static>, Rc<Ledger>)> {
        let shares = open(self.0.try_clone().unwrap().into(), workers).unwrap();
        let shares = shares.into_iter();
        shares
            .map(|share| (Received::within(share.room), Rc::new(share.ledger)))
            .collect()
    }

    fn one(&self) -> (Received<'static>, Rc<Ledger>) {
        self.next(1).remove(0)
    }
}

fn datagram(bytes: &[u8]) -> Datagram<'_> {
    Datagram {
        bytes,
        sender: "192.0.2.1:4711".parse().unwrap(),
        destination: None,
        stamp: None,
    }
}

/// Serves everything that is found and keeps nothing.
fn all(ledger: &Rc<Ledger>) -> Vec<Vec<u8>> {
    let left = std::iter::from_fn(|| ledger.resume(SOCKET));
    let mut all: Vec<_> = left.map(|left| left.datagram().bytes.to_vec()).collect();
    all.sort();
    all
}

fn killed(entry: Option<Entry>) {
    std::mem::forget(entry.unwrap());
}

/// Receives datagrams as one batch.
fn receive(received: &mut Received<'_>, ledger: &Ledger, datagrams: &[&[u8]]) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    for datagram in datagrams {
        client.send(datagram).unwrap();
    }
    server.peek_from(&mut [0]).unwrap();
    ledger.receives_from(SOCKET);
    let count = received.receive(server.as_fd()).unwrap();
    assert_eq!(count, datagrams.len());
}

#[test]
fn a_batch_outlives_its_process_until_it_is_answered() {
    let lives = Lives::new();
    let mut workers = lives.next(2);
    let long = vec![b'l'; slot::LONGEST + 1];
    for (received, ledger) in &mut workers {
        receive(received, ledger, &[b"a", &long, b"", b"b"]);
    }
    let (received, _) = &mut workers[0];
    received.settle();
    // Fewer workers find what more have left.
    let (mut received, ledger) = lives.one();
    assert!(ledger.resume(SOCKET + 1).is_none(), "of another socket");
    assert_eq!(all(&ledger), [b"a", b"b"]);
    receive(&mut received, &ledger, &[b"c"]);
    received.settle();
    assert_eq!(all(&lives.one().1), [b""; 0]);
}

#[test]
fn what_waits_outlives_its_process_until_it_is_answered() {
    let lives = Lives::new();
    let (_, ledger) = lives.one();
    killed(ledger.keep(SOCKET, &datagram(b"a")));
    drop(ledger.keep(SOCKET, &datagram(b"b")));
    killed(ledger.keep(SOCKET, &datagram(b"c")));
    let long = vec![0; slot::LONGEST + 1];
    assert!(ledger.keep(SOCKET, &datagram(&long)).is_none());
    // One is answered at once, the other has to wait again.
    let (_, ledger) = lives.one();
    assert_eq!(ledger.resume(SOCKET).unwrap().datagram().bytes, b"a");
    assert_eq!(ledger.resume(SOCKET).unwrap().datagram().bytes, b"c");
    let entry = ledger.keep(SOCKET, &datagram(b"c"));
    assert!(ledger.resume(SOCKET).is_none());
    killed(entry);
    assert_eq!(all(&lives.one().1), [b"c"]);
}

#[test]
fn a_query_ends_two_processes_and_no_more() {
    let lives = Lives::new();
    let (mut received, ledger) = lives.one();
    receive(&mut received, &ledger, &[b"1", b"death", b"2"]);
    // The first process ends with the batch, the second one with the query.
    let (_, ledger) = lives.one();
    assert_eq!(ledger.resume(SOCKET).unwrap().datagram().bytes, b"2");
    assert_eq!(ledger.resume(SOCKET).unwrap().datagram().bytes, b"death");
    assert_eq!(all(&lives.one().1), [b"1"]);

    // One that waits, and ends the process when it is answered.
    let (_, ledger) = lives.one();
    killed(ledger.keep(SOCKET, &datagram(b"death")));
    for _ in 0..DEATHS {
        let (_, ledger) = lives.one();
        assert!(ledger.resume(SOCKET).is_some());
        let entry = ledger.keep(SOCKET, &datagram(b"death")).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut waits = Box::pin(entry.watch(pending::<()>()));
        assert!(waits.as_mut().poll(&mut context).is_pending());
        drop(waits);
        entry.slot().risk();
        std::mem::forget(entry);
    }
    assert_eq!(all(&lives.one().1), [b""; 0]);
}

#[test]
fn what_waits_for_ever_is_given_up() {
    let lives = Lives::new();
    let (_, ledger) = lives.one();
    killed(ledger.keep(SOCKET, &datagram(b"a")));
    for _ in 0..LIVES {
        let (_, ledger) = lives.one();
        assert!(ledger.resume(SOCKET).is_some());
        killed(ledger.keep(SOCKET, &datagram(b"a")));
    }
    assert_eq!(all(&lives.one().1), [b""; 0]);
}

#[test]
fn slots_are_used_again_and_no_more_wait_than_there_are() {
    let lives = Lives::new();
    let workers = lives.next(3);
    for _ in 0..2 {
        let keep = |ledger: &Rc<Ledger>| -> Vec<Entry> {
            std::iter::from_fn(|| ledger.keep(SOCKET, &datagram(b"a"))).collect()
        };
        let kept: Vec<_> = workers.iter().map(|(_, ledger)| keep(ledger)).collect();
        let counts: Vec<usize> = kept.iter().map(Vec::len).collect();
        assert_eq!(counts.iter().sum::<usize>(), SLOTS);
        assert!(counts.iter().all(|count| *count >= SLOTS / 3), "{counts:?}");
    }
}

#[test]
fn a_file_of_something_else_is_begun_anew() {
    let lives = Lives::new();
    for text in [vec![1; 3], vec![0xff; 100_000]] {
        lives.0.write_all_at(&text, 0).unwrap();
        assert_eq!(all(&lives.one().1), [b""; 0]);
    }
}
