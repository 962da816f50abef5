//! Asking other DNS servers: sockets, connections, health, and the choice among several.
//!
//! A [`Group`] is the list of upstreams of one `forward`, shared by all workers. Each worker has
//! sockets and connections of its own; workers share nothing but counters and what is known of
//! an upstream's health. [`Group::exchange`] takes the bytes of a query and gives the bytes of
//! its reply.
//!
//! On the way a query follows: `exchange` (in and out), `race` and `order` (which upstream, when
//! the next one, until when), `pool` (which socket), `udp` or `stream` (onto the wire and off),
//! `link` (which reply belongs to which query), `alarm` (when waiting ends), `message` (what must be understood of a message).

mod alarm;
mod attempt;
mod buf;
mod error;
mod exchange;
mod health;
mod link;
pub(crate) mod message;
mod metrics;
mod order;
mod policy;
mod pool;
mod race;
mod rtt;
mod stream;
mod udp;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

pub use self::buf::Buf;
pub use self::error::{Cause, Error, Failure, Op};
pub use self::exchange::Answer;
pub use self::health::HealthCheck;
pub use self::metrics::register as register_metrics;
pub use self::policy::{MAX_UPSTREAMS, Policy};

use self::metrics::Metrics;
use self::policy::Picker;
use self::pool::{Limits, Pool};
use crate::status::Health;

/// How bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram a message.
    Udp,
    /// Messages with two octets of length before each.
    Tcp,
}

impl Transport {
    const fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// How a group asks. The defaults are those of CoreDNS's `forward`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The plugin, as metrics name it in `proxy_name`.
    pub proxy_name: &'static str,
    /// In which order upstreams are tried.
    pub policy: Policy,
    /// An upstream is down after more than this many failed checks; 0: it never is, and is
    /// never checked.
    pub max_fails: u32,
    /// How upstreams are checked.
    pub health_check: HealthCheck,
    /// How long an unused socket or connection is kept; zero: none is used twice.
    pub expire: Duration,
    /// How long a socket or connection is kept in all; zero: no limit.
    pub max_age: Duration,
    /// Unused sockets, and unused connections, that one worker keeps for one upstream; 0: no
    /// limit.
    pub max_idle_conns: usize,
    /// How long one attempt waits for its reply.
    pub read_timeout: Duration,
    /// Queries in flight at a time, over all workers; 0: no limit.
    pub max_concurrent: u64,
    /// Attempts for one query. `None`: two for each upstream; 0: no limit but time.
    pub max_connect_attempts: Option<u32>,
    /// TCP for all queries. Stronger than `prefer_udp`.
    pub force_tcp: bool,
    /// UDP for all queries, and TCP where the reply is truncated.
    pub prefer_udp: bool,
    /// Fail at once when all upstreams are down, instead of trying one of them.
    pub failfast_all_unhealthy: bool,
    /// RCODEs after which the next upstream is asked.
    pub failover: Vec<u16>,
    /// The address to send from.
    pub source: Option<IpAddr>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            proxy_name: "forward",
            policy: Policy::Random,
            max_fails: 2,
            health_check: HealthCheck::default(),
            expire: Duration::from_secs(10),
            max_age: Duration::ZERO,
            max_idle_conns: 0,
            read_timeout: Duration::from_secs(2),
            max_concurrent: 0,
            max_connect_attempts: None,
            force_tcp: false,
            prefer_udp: false,
            failfast_all_unhealthy: false,
            failover: Vec::new(),
            source: None,
        }
    }
}

/// One upstream, as all workers see it.
#[derive(Debug)]
struct Upstream {
    addr: SocketAddr,
    name: String,
    health: health::Health,
    metrics: Metrics,
}

/// Upstreams that stand in for each other.
#[derive(Debug)]
pub struct Group {
    id: u64,
    options: Options,
    upstreams: Vec<Arc<Upstream>>,
    picker: Picker,
    in_flight: AtomicU64,
}

impl Group {
    /// A group of these upstreams: at most [`MAX_UPSTREAMS`], what is more is left out. Each
    /// comes with the name that logs and metrics know it by (`192.0.2.1:53`).
    pub fn new(
        options: Options,
        upstreams: impl IntoIterator<Item = (SocketAddr, String)>,
    ) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let upstreams = upstreams
            .into_iter()
            .take(MAX_UPSTREAMS)
            .map(|(addr, name)| {
                Arc::new(Upstream {
                    addr,
                    metrics: Metrics::new(options.proxy_name, &name),
                    name,
                    health: health::Health::default(),
                })
            })
            .collect();
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            picker: Picker::new(options.policy),
            upstreams,
            options,
            in_flight: AtomicU64::new(0),
        }
    }

    /// How this group asks.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The names of the upstreams, in the order of the Corefile.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.upstreams.iter().map(|upstream| upstream.name.as_str())
    }

    /// The upstreams and how each is doing.
    pub fn health(&self) -> impl Iterator<Item = (&str, Health)> {
        let most = self.options.max_fails;
        self.upstreams.iter().map(move |upstream| {
            let health = match &upstream.health {
                _ if most == 0 => Health::Unchecked,
                known if known.is_down(most) => Health::Down,
                known if known.is_suspect() => Health::Suspect,
                _ => Health::Up,
            };
            (upstream.name.as_str(), health)
        })
    }

    fn is_down(&self, index: usize) -> bool {
        self.upstreams[index].health.is_down(self.options.max_fails)
    }

    fn check(&self, index: usize) {
        if self.options.max_fails != 0 {
            health::start_checks(&self.upstreams[index], &self.options);
        }
    }

    /// This worker's sockets and connections, in the order of the upstreams.
    fn pools(self: &Arc<Self>) -> Rc<[Rc<Pool>]> {
        POOLS.with_borrow_mut(|all| {
            if let Some((_, pools)) = all.get(&self.id) {
                return Rc::clone(pools);
            }
            // A group that is new here is a configuration that was just loaded: time to let go
            // of what the last one left.
            all.retain(|_, (group, _)| group.strong_count() > 0);
            let limits = Limits {
                expire: self.options.expire,
                max_age: self.options.max_age,
                max_idle: self.options.max_idle_conns,
                source: self.options.source,
            };
            let pools: Rc<[_]> = self
                .upstreams
                .iter()
                .map(|upstream| Pool::new(Arc::clone(upstream), limits))
                .collect();
            all.insert(self.id, (Arc::downgrade(self), Rc::clone(&pools)));
            pools
        })
    }
}

/// The pools of each group that a worker has used, by the group's id.
type Pools = HashMap<u64, (Weak<Group>, Rc<[Rc<Pool>]>), foldhash::fast::RandomState>;

thread_local! {
    static POOLS: RefCell<Pools> = RefCell::default();
}
