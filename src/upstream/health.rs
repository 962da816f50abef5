//! Whether an upstream is up.
//!
//! As in CoreDNS this is not polled: a failed exchange starts the checks, and they go on until
//! one succeeds.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{Options, Transport, Upstream, message, stream, udp};

/// Bound on connecting, and again on the reply.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// `health_check` of `forward`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Pause between two checks of an upstream that is down.
    pub interval: Duration,
    /// Whether the checks ask for recursion.
    pub recursion: bool,
    /// The name whose NS records are asked for, in wire form.
    pub domain: Vec<u8>,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(500),
            recursion: true,
            domain: vec![0],
        }
    }
}

impl HealthCheck {
    fn query(&self) -> Vec<u8> {
        let mut query = rand::random::<u16>().to_be_bytes().to_vec();
        query.extend([u8::from(self.recursion), 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        query.extend_from_slice(&self.domain);
        query.extend([0, 2, 0, 1]);
        query
    }
}

/// What all workers know of one upstream's health.
#[derive(Debug, Default)]
pub(super) struct Health {
    fails: AtomicU32,
    checking: AtomicBool,
}

impl Health {
    /// Whether more than `max_fails` checks in a row failed; with 0 never.
    pub(super) fn is_down(&self, max_fails: u32) -> bool {
        max_fails != 0 && self.fails.load(Ordering::Relaxed) > max_fails
    }

    /// Whether the last check failed.
    pub(super) fn is_suspect(&self) -> bool {
        self.fails.load(Ordering::Relaxed) > 0
    }
}

/// Starts checking `upstream`, unless that goes on already. Ends with the first success, or
/// when nobody uses the upstream any more.
pub(super) fn start_checks(upstream: &Arc<Upstream>, options: &Options) {
    if upstream.health.checking.swap(true, Ordering::AcqRel) {
        return;
    }
    let transport = if options.force_tcp {
        Transport::Tcp
    } else {
        Transport::Udp
    };
    let run = Run(Arc::downgrade(upstream));
    let check = options.health_check.clone();
    let source = options.source;
    tokio::spawn(async move {
        while let Some(upstream) = run.0.upgrade() {
            let reached = match transport {
                Transport::Udp => over_udp(upstream.addr, source, &check.query()).await,
                Transport::Tcp => over_tcp(upstream.addr, source, &check.query()).await,
            };
            if reached.is_ok() {
                upstream.health.fails.store(0, Ordering::Relaxed);
                return;
            }
            upstream.metrics.count_check_failure();
            let _ =
                upstream
                    .health
                    .fails
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |fails| {
                        fails.checked_add(1)
                    });
            drop(upstream);
            tokio::time::sleep(check.interval).await;
        }
    });
}

/// Lets the next series of checks start, however this one ends.
struct Run(Weak<Upstream>);

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(upstream) = self.0.upgrade() {
            upstream.health.checking.store(false, Ordering::Release);
        }
    }
}

/// Any message with a header is a sign of life, whatever its ID and RCODE.
async fn over_udp(
    remote: SocketAddr,
    source: Option<std::net::IpAddr>,
    query: &[u8],
) -> io::Result<()> {
    let socket = tokio::net::UdpSocket::from_std(udp::connect(remote, source)?)?;
    socket.send(query).await?;
    let mut header = [0; message::HEADER];
    let len = timeout(CHECK_TIMEOUT, socket.recv(&mut header)).await??;
    if len < message::HEADER {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(())
}

async fn over_tcp(
    remote: SocketAddr,
    source: Option<std::net::IpAddr>,
    query: &[u8],
) -> io::Result<()> {
    let mut stream = timeout(CHECK_TIMEOUT, stream::connect(remote, source)).await??;
    let mut framed = u16::try_from(query.len())
        .map_err(io::Error::other)?
        .to_be_bytes()
        .to_vec();
    framed.extend_from_slice(query);
    timeout(CHECK_TIMEOUT, stream.write_all(&framed)).await??;
    let mut header = [0; 2 + message::HEADER];
    timeout(CHECK_TIMEOUT, stream.read_exact(&mut header)).await??;
    Ok(())
}
