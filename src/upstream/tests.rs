//! Exchanges with scripted servers on real sockets.

mod connections;
mod failures;
mod replies;
mod server;

use std::cell::Cell;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::task::LocalSet;
use tokio::time::timeout;

use self::server::{Action, Server, query, reply};
use super::metrics::Dropped;
use super::{Answer, Buf, Error, Group, Options, Policy, Transport, message};

const UDP: Transport = Transport::Udp;
const TCP: Transport = Transport::Tcp;
const MS: Duration = Duration::from_millis(1);

/// Runs a test as a worker runs queries, and not for ever.
fn worker<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let bounded = async { timeout(Duration::from_secs(30), test).await };
    LocalSet::new()
        .block_on(&runtime, bounded)
        .expect("the test ends in time");
}

fn group(options: Options, upstreams: &[SocketAddr]) -> Arc<Group> {
    let named = upstreams.iter().map(|addr| (*addr, addr.to_string()));
    Arc::new(Group::new(options, named))
}

fn sequential() -> Options {
    Options {
        policy: Policy::Sequential,
        ..Options::default()
    }
}

/// An address where nobody listens, and nobody else comes to listen while it
/// is kept.
struct ClosedPort {
    addr: SocketAddr,
    /// Connected to somebody else, so that what others send finds no socket.
    _udp: tokio::net::UdpSocket,
    /// Bound, and never to listen.
    _tcp: tokio::net::TcpSocket,
}

async fn closed_port() -> ClosedPort {
    loop {
        let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = udp.local_addr().unwrap();
        udp.connect("127.0.0.1:9").await.unwrap();
        let tcp = tokio::net::TcpSocket::new_v4().unwrap();
        // The same number may be taken for TCP; then another one is drawn.
        if tcp.bind(addr).is_ok() {
            return ClosedPort {
                addr,
                _udp: udp,
                _tcp: tcp,
            };
        }
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(10 * MS).await;
    }
    panic!("never happened: {what}");
}

fn address_of(answer: &Answer) -> Option<Ipv4Addr> {
    answer
        .message
        .last_chunk::<4>()
        .map(|octets| Ipv4Addr::from(*octets))
}

fn group_of(server: &Server) -> Arc<Group> {
    group(Options::default(), &[server.addr])
}
