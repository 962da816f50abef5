//! A DNS server that answers by script.

mod reply;
mod serve;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::bail;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use reply::Reply;

use crate::ports::Port;

/// How a query came in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A TCP connection.
    Tcp,
}

/// A query that the upstream received.
#[derive(Clone, Debug)]
pub struct Seen {
    /// How it came in.
    pub transport: Transport,
    /// Who sent it; the port tells sockets apart.
    pub from: SocketAddr,
    /// The name with its last dot, letter case as sent.
    pub name: String,
    /// The type by name.
    pub kind: String,
    /// The message id.
    pub id: u16,
    /// The header's flag word.
    pub flags: u16,
    /// The advertised size, where there was an OPT record.
    pub edns: Option<u16>,
    /// The DO bit.
    pub dnssec_ok: bool,
    /// The whole message.
    pub bytes: Vec<u8>,
}

/// Which queries a reply is for. Without a condition: all.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    name: Option<String>,
    below: Option<String>,
    kind: Option<String>,
    transport: Option<Transport>,
    times: Option<usize>,
    reply: Reply,
}

impl Rule {
    /// Answers every query with `reply`.
    #[must_use]
    pub fn new(reply: Reply) -> Self {
        Self {
            reply,
            ..Self::default()
        }
    }

    /// Only for this name, in any letter case.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(canonical(name));
        self
    }

    /// Only for this name and names below it.
    #[must_use]
    pub fn below(mut self, zone: &str) -> Self {
        self.below = Some(canonical(zone));
        self
    }

    /// Only for this type.
    #[must_use]
    pub fn kind(mut self, kind: &str) -> Self {
        self.kind = Some(kind.to_owned());
        self
    }

    /// Only for queries that come in this way.
    #[must_use]
    pub fn over(mut self, transport: Transport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Applies to the first `count` queries it fits and then no more.
    #[must_use]
    pub fn times(mut self, count: usize) -> Self {
        self.times = Some(count);
        self
    }

    fn fits(&self, seen: &Seen) -> bool {
        let name = seen.name.to_ascii_lowercase();
        let below = |zone: &String| {
            let rest = name.strip_suffix(zone.as_str());
            zone == "." || rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.times != Some(0)
            && self.name.as_ref().is_none_or(|wanted| *wanted == name)
            && self.below.as_ref().is_none_or(below)
            && self.kind.as_ref().is_none_or(|kind| *kind == seen.kind)
            && self.transport.is_none_or(|over| over == seen.transport)
    }
}

fn canonical(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.')).to_ascii_lowercase()
}

/// A DNS server on one UDP and TCP port of a loopback address.
///
/// What no rule fits is REFUSED, which a health check takes for life.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    port: Port,
    shared: Arc<Shared>,
    running: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    script: Mutex<Script>,
    seen: watch::Sender<Vec<Seen>>,
    connections: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Script {
    rules: Vec<Rule>,
    close_after: Option<usize>,
}

impl Upstream {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// When the sockets cannot be had.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST.into()).await
    }

    /// Starts on a free port of another loopback address.
    ///
    /// # Errors
    ///
    /// When the sockets cannot be had.
    pub async fn start_on(ip: IpAddr) -> anyhow::Result<Self> {
        let port = Port::claim();
        let upstream = Self {
            address: (ip, port.number()).into(),
            port,
            shared: Arc::new(Shared {
                script: Mutex::default(),
                seen: watch::Sender::default(),
                connections: watch::Sender::default(),
            }),
            running: Mutex::default(),
        };
        upstream.up().await?;
        Ok(upstream)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a rule. A later rule wins over an earlier one that fits as well.
    pub fn rule(&self, rule: Rule) {
        self.script().rules.push(rule);
    }

    /// Adds a rule for one name and type with these records as the answer.
    ///
    /// # Panics
    ///
    /// When a text is no record.
    pub fn answer(&self, name: &str, kind: &str, records: &[&str]) {
        let rule = Rule::new(Reply::answer(records));
        self.rule(rule.name(name).kind(kind));
    }

    /// Forgets all rules.
    pub fn clear(&self) {
        self.script().rules.clear();
    }

    /// Closes each TCP connection after so many replies; `None` never does.
    pub fn close_tcp_after(&self, replies: Option<usize>) {
        self.script().close_after = replies;
    }

    /// Closes both sockets and every connection: datagrams now meet a closed
    /// port. Rules and what was seen stay.
    pub async fn down(&self) {
        let running: Vec<_> = self.running().drain(..).collect();
        for task in running {
            task.abort();
            // Aborted or done, the sockets are closed once it is joined.
            let _ = task.await;
        }
        self.port.closed().await;
    }

    /// Opens the sockets again after [`Self::down`], on the same port.
    ///
    /// # Errors
    ///
    /// When the port cannot be had.
    pub async fn up(&self) -> anyhow::Result<()> {
        let tasks = serve::start(self.address, &self.shared).await?;
        self.running().extend(tasks);
        Ok(())
    }

    /// Every query so far, in order of arrival.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.borrow().clone()
    }

    /// How many queries for this name and type came in so far.
    #[must_use]
    pub fn count(&self, name: &str, kind: &str) -> usize {
        let name = canonical(name);
        let seen = self.shared.seen.borrow();
        seen.iter()
            .filter(|seen| seen.name.eq_ignore_ascii_case(&name) && seen.kind == kind)
            .count()
    }

    /// How many TCP connections were accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }

    /// Forgets what was seen.
    pub fn forget(&self) {
        self.shared.seen.send_modify(Vec::clear);
    }

    /// Waits until at least `count` queries came in.
    ///
    /// # Errors
    ///
    /// After `bound`, with what was seen.
    pub async fn wait_seen(&self, count: usize, bound: Duration) -> anyhow::Result<Vec<Seen>> {
        let mut changes = self.shared.seen.subscribe();
        let enough = timeout(bound, changes.wait_for(|seen| seen.len() >= count)).await;
        if let Ok(Ok(seen)) = enough {
            return Ok(seen.clone());
        }
        let seen = self.seen();
        bail!(
            "{} of {count} queries within {bound:?}: {seen:?}",
            seen.len()
        )
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script()
    }

    fn running(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        for task in self.running().drain(..) {
            task.abort();
        }
    }
}

impl Shared {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reply for a query, by the last rule that fits.
    fn choose(&self, seen: &Seen) -> Reply {
        let mut script = self.script();
        let Some(rule) = script.rules.iter_mut().rev().find(|rule| rule.fits(seen)) else {
            return Reply::rcode("REFUSED");
        };
        if let Some(left) = &mut rule.times {
            *left -= 1;
        }
        rule.reply.clone()
    }
}

#[cfg(test)]
mod tests;
