//! `loop`: finds out whether queries that are sent on come back.
//!
//! ```text
//! loop
//! ```
//!
//! Once its sockets are open the server asks itself for HINFO of a random
//! name below the block's first zone. If that query arrives more than twice,
//! the upstreams send it back. From then on the block sends nothing on: what
//! would pass this plugin gets SERVFAIL, and the server is not ready. What
//! plugins before it answer, cluster names above all, is served as ever. A
//! server that has nothing else to serve ends, as CoreDNS does.
//!
//! One answer to the query, or 30 s without any, and the plugin does nothing
//! any more.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, timeout};

use super::{Assembled, Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::chain::{Exchange, Failure, Next, Plugin, Serving};
use crate::telemetry;
use crate::wire::{Ede, NameBuf, Request, flags, rtype};

/// How long the server may take to answer itself at all.
const STARTUP: Duration = Duration::from_secs(30);
/// How long one answer is waited for, and the pause after that.
const ANSWER: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_secs(1);
/// The query itself, and once more by accident.
const MOST_SEEN: u32 = 2;

/// Plugins that answer nothing of their own, or only what they hear from others.
const ANSWER_NOTHING: [&str; 26] = [
    "metadata",
    "geoip",
    "cancel",
    "nsid",
    "bufsize",
    "trace",
    "shed",
    "prometheus",
    "errors",
    "log",
    "dnstap",
    "dns64",
    "chaos",
    "loadbalance",
    "tsig",
    "rewrite",
    "autopath",
    "acl",
    "cache",
    "header",
    "dnssec",
    "minimal",
    "transfer",
    "loop",
    "forward",
    "grpc",
];

pub(super) static DEFINITION: Definition = Definition {
    name: "loop",
    parse,
};

#[derive(Debug)]
struct LoopSpec {
    zone: NameBuf,
    port: u16,
    alone: bool,
}

fn parse(directive: &corefile::Directive, block: &Block) -> Parsed {
    let mut words = directive.dispenser();
    let mut before = false;
    while words.next() {
        if before {
            return Err(words.once_err());
        }
        before = true;
        if words.next_arg() {
            return Err(words.arg_err());
        }
    }
    Ok(Box::new(LoopSpec {
        zone: block.zones.first().cloned().unwrap_or_default(),
        port: block.keys.first().and_then(|key| key.port).unwrap_or(53),
        alone: block.alone,
    }))
}

impl Spec for LoopSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        let host = builder.settings.hosts.first();
        let plugin = Arc::new(Loop::new(*self, host.map_or("", String::as_str)));
        builder.push(Arc::clone(&plugin) as Arc<dyn Plugin>);
        let told = Arc::downgrade(&plugin);
        builder.when_assembled(move |block| {
            if let Some(plugin) = told.upgrade() {
                plugin.look_around(block);
            }
        });
        let probed = Arc::downgrade(&plugin);
        builder.on_started(move || {
            Box::pin(async move {
                tokio::spawn(probe(probed));
                Ok(())
            })
        });
        Ok(())
    }
}

struct Loop {
    zone: NameBuf,
    /// What the server asks itself for.
    qname: NameBuf,
    /// Where it asks: `:53`, as CoreDNS writes it.
    address: String,
    host: IpAddr,
    port: u16,
    alone: bool,
    /// Whether ending the process takes no answer from anybody; known once the chain is.
    expendable: OnceLock<bool>,
    state: AtomicU8,
    seen: AtomicU32,
}

/// Counting arrivals of the query.
const WATCHING: u8 = 0;
/// Passing everything on.
const OFF: u8 = 1;
/// Passing nothing on.
const LOOPING: u8 = 2;

impl Loop {
    fn new(spec: LoopSpec, host: &str) -> Self {
        let LoopSpec { zone, port, alone } = spec;
        let address = match host.parse() {
            Ok(IpAddr::V6(_)) => format!("[{host}]:{port}"),
            _ => format!("{host}:{port}"),
        };
        Self {
            qname: below(&zone),
            zone,
            address,
            host: host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port,
            alone,
            expendable: OnceLock::new(),
            state: AtomicU8::new(WATCHING),
            seen: AtomicU32::new(0),
        }
    }

    fn look_around(&self, block: &Assembled<'_>) {
        let idle = |plugin: &Arc<dyn Plugin>| ANSWER_NOTHING.contains(&plugin.name());
        let _ = self
            .expendable
            .set(self.alone && block.chain.iter().all(idle));
    }

    fn is_probe(&self, exchange: &Exchange) -> bool {
        exchange.request.qtype() == rtype::HINFO
            && exchange.request.name().eq_ignore_case(self.qname.name())
    }

    /// Counts the query; true once it has arrived too often.
    fn detects(&self, client: SocketAddr) -> bool {
        if self.seen.fetch_add(1, Ordering::Relaxed) < MOST_SEEN {
            return false;
        }
        if self.state.swap(LOOPING, Ordering::Relaxed) != LOOPING {
            let message = format!(
                "Loop ({client} -> {}) detected for zone \"{}\", see https://coredns.io/plugins/loop#troubleshooting. Query: \"HINFO {}\"",
                self.address,
                self.zone.name(),
                self.qname.name(),
            );
            if self.expendable.get() == Some(&true) {
                end(&message);
            }
            tracing::error!(target: "plugin/loop", "{message}");
        }
        true
    }
}

impl Plugin for Loop {
    fn name(&self) -> &'static str {
        DEFINITION.name
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        let stop = match self.state.load(Ordering::Relaxed) {
            LOOPING => true,
            WATCHING if self.is_probe(exchange) => self.detects(exchange.client),
            _ => false,
        };
        if !stop {
            return next.serve(exchange);
        }
        let failure = Failure::servfail("plugin/loop: upstreams send queries back here")
            .explained(Ede::new(Ede::OTHER, "forwarding loop"));
        Box::pin(std::future::ready(Err(failure)))
    }

    fn ready(&self) -> Option<bool> {
        Some(self.state.load(Ordering::Relaxed) != LOOPING)
    }

    /// The loop may show after the first look at readiness.
    fn stays_ready(&self) -> bool {
        false
    }
}

/// `<random>.<random>.ZONE`; the zone itself where it leaves no room.
fn below(zone: &NameBuf) -> NameBuf {
    let mut name = NameBuf::new();
    let label = || (rand::random::<u64>() >> 2).to_string();
    let fits = name
        .push_label(label().as_bytes())
        .and_then(|()| name.push_label(label().as_bytes()))
        .and_then(|()| name.push_name(zone.name()));
    match fits {
        Ok(()) => name,
        Err(_) => zone.clone(),
    }
}

/// The last line of a process whose every query goes round in circles.
fn end(message: &str) -> ! {
    telemetry::print(format!("[FATAL] plugin/loop: {message}\n"));
    telemetry::flush();
    std::process::exit(1)
}

/// Asks until there is an answer, the time is up, or the configuration is gone.
async fn probe(plugin: Weak<Loop>) {
    let deadline = Instant::now() + STARTUP;
    while Instant::now() < deadline {
        let Some(found) = plugin.upgrade() else {
            return;
        };
        let (server, qname) = (SocketAddr::new(found.host, found.port), found.qname.clone());
        drop(found);
        if ask(server, &qname).await.is_ok() {
            break;
        }
        let Some(found) = plugin.upgrade() else {
            return;
        };
        found.seen.store(0, Ordering::Relaxed);
        drop(found);
        sleep(PAUSE).await;
    }
    if let Some(found) = plugin.upgrade() {
        // Unless a loop was found.
        let _ = found
            .state
            .compare_exchange(WATCHING, OFF, Ordering::Relaxed, Ordering::Relaxed);
    }
}

async fn ask(server: SocketAddr, qname: &NameBuf) -> io::Result<()> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let id: u16 = rand::random();
    let mut request = Request::new();
    request.ask(id, qname.name(), rtype::HINFO);
    request.set_flag(flags::RD, true);
    let mut query = Vec::new();
    request.write(id, &mut query);
    socket.send(&query).await?;
    let mut reply = [0; 2];
    let answered = async {
        loop {
            socket.recv(&mut reply).await?;
            if reply == id.to_be_bytes() {
                return Ok(());
            }
        }
    };
    timeout(ANSWER, answered).await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{Chain, Proto};
    use crate::wire::Rcode;

    fn spec(alone: bool) -> LoopSpec {
        LoopSpec {
            zone: "example.org.".parse().unwrap(),
            port: 5353,
            alone,
        }
    }

    fn exchange(name: &NameBuf, qtype: u16) -> Exchange {
        let client = SocketAddr::from(([192, 0, 2, 1], 1234));
        let mut exchange = Exchange::new(client, client, Proto::Udp);
        exchange.request.ask(1, name.name(), qtype);
        exchange
    }

    /// What a client of this chain is told: the failure's message.
    fn told(chain: &Chain, name: &NameBuf, qtype: u16) -> String {
        let mut exchange = exchange(name, qtype);
        let served = futures_util::FutureExt::now_or_never(Next::new(chain).serve(&mut exchange));
        let failure = served.expect("nothing to wait for").unwrap_err();
        assert_eq!(failure.rcode, Rcode::SERVFAIL);
        failure.into_reason().message.into_owned()
    }

    #[test]
    fn setups() {
        for (text, expected) in [
            ("loop", Ok(())),
            (
                "loop x",
                Err(
                    "Corefile:1 - Error during parsing: Wrong argument count or unexpected line ending after 'x'",
                ),
            ),
            (
                "loop\nloop",
                Err("this plugin can only be used once per Server Block"),
            ),
        ] {
            let directive = corefile::Directive::new("Corefile", text);
            let parsed = parse(&directive, &Block::default());
            let parsed = parsed.map(drop);
            let first = parsed.as_ref().map_err(corefile::Error::first_line);
            assert_eq!(first.copied(), expected, "{text}");
        }
    }

    #[test]
    fn the_query_is_random_and_within_the_zone() {
        let zone: NameBuf = "example.org.".parse().unwrap();
        let (one, two) = (below(&zone), below(&zone));
        assert_ne!(one, two);
        assert!(one.name().is_under(zone.name()));
        assert_eq!(one.name().labels().count(), 4);
    }

    #[test]
    fn the_third_arrival_is_a_loop_and_nothing_passes_any_more() {
        let plugin = Arc::new(Loop::new(spec(false), "127.0.0.1"));
        let chain = Chain::from_iter([Arc::clone(&plugin) as Arc<dyn Plugin>]);
        let other: NameBuf = "www.example.org.".parse().unwrap();
        let passed = "plugin/loop: no next plugin found";
        let stopped = "plugin/loop: upstreams send queries back here";
        for _ in 0..2 {
            assert_eq!(told(&chain, &plugin.qname, rtype::HINFO), passed);
            assert_eq!(told(&chain, &plugin.qname, rtype::A), passed);
            assert_eq!(told(&chain, &other, rtype::HINFO), passed);
        }
        assert_eq!(plugin.ready(), Some(true));
        assert_eq!(told(&chain, &plugin.qname, rtype::HINFO), stopped);
        assert_eq!(told(&chain, &other, rtype::A), stopped);
        assert_eq!(plugin.ready(), Some(false));
    }

    #[test]
    fn only_what_serves_nothing_else_may_end() {
        struct Other(&'static str);
        impl Plugin for Other {
            fn name(&self) -> &'static str {
                self.0
            }
            fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
                next.serve(exchange)
            }
        }
        for (alone, with, expendable) in [
            (true, "cache", true),
            (true, "kubernetes", false),
            (true, "hosts", false),
            (false, "cache", false),
        ] {
            let plugin = Loop::new(spec(alone), "");
            plugin.look_around(&Assembled {
                block: &Block::default(),
                chain: &[Arc::new(Other(with)), Arc::new(Other("forward"))],
                servers: &[],
                view: "",
            });
            assert_eq!(plugin.expendable.get(), Some(&expendable), "{with}");
        }
    }

    #[tokio::test]
    async fn an_answer_ends_the_watch() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let plugin = Arc::new(Loop::new(
            LoopSpec {
                port,
                ..spec(false)
            },
            "",
        ));
        assert_eq!(plugin.address, format!(":{port}"));
        let probing = tokio::spawn(probe(Arc::downgrade(&plugin)));
        let mut query = [0; 512];
        let (len, client) = server.recv_from(&mut query).await.unwrap();
        let mut request = Request::new();
        request.parse(&query[..len]).unwrap();
        assert_eq!(request.qtype(), rtype::HINFO);
        assert!(request.has(flags::RD));
        assert_eq!(request.qname().wire(), plugin.qname.wire());
        server.send_to(&query[..len], client).await.unwrap();
        timeout(STARTUP, probing).await.unwrap().unwrap();
        let chain = Chain::from_iter([Arc::clone(&plugin) as Arc<dyn Plugin>]);
        for _ in 0..5 {
            let told = told(&chain, &plugin.qname, rtype::HINFO);
            assert_eq!(told, "plugin/loop: no next plugin found");
        }
    }
}
