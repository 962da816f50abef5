//! What clients see, over a cluster built in memory.

mod clients;
mod denials;
mod fixture;
mod handler;
mod negatives;
mod setup;
mod transfers;
mod versions;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use hickory_proto::op::Message;

use super::snapshot::Snapshot;
use super::view::View;
use super::{Kubernetes, examples, spec, start};
use crate::chain::{Chain, Exchange, Next, Plugin, Proto, Resolver, Serving};
use crate::plugin::Block;
use crate::wire::{NameBuf, Owner, RData, Rcode, Section, flags, rtype};

/// A server block with `kubernetes` and a plugin behind it that says NOTIMP.
struct Server {
    plugin: Arc<dyn Plugin>,
    chain: Chain,
    resolver: Option<Rc<dyn Resolver>>,
}

impl Server {
    fn new(corefile: &str, snapshot: Snapshot) -> Self {
        Self::at(corefile, snapshot, &[])
    }

    /// One that has these addresses.
    fn at(corefile: &str, snapshot: Snapshot, local: &[&str]) -> Self {
        let plugin: Arc<dyn Plugin> = Arc::new(plugin(corefile, snapshot, local));
        let chain = Chain::from_iter([plugin.clone(), Arc::new(Behind)]);
        Self {
            plugin,
            chain,
            resolver: None,
        }
    }

    /// One that finds these names elsewhere.
    fn finding(mut self, elsewhere: Elsewhere) -> Self {
        self.resolver = Some(Rc::new(elsewhere));
        self
    }

    fn ask(&self, name: &str, qtype: &str) -> String {
        let mut exchange = exchange(name, qtype);
        exchange.resolver = self.resolver.clone();
        self.serve(&mut exchange)
    }

    /// The answer in one line; see [`show`].
    fn serve(&self, exchange: &mut Exchange) -> String {
        let served = Next::new(&self.chain).serve(exchange).now_or_never();
        let served = served.expect("nothing here waits");
        match (served, exchange.finish()) {
            (Ok(_), Some(octets)) => show(&Message::from_vec(octets).unwrap()),
            (Ok(rcode), None) => format!("- {}", rcode.mnemonic().unwrap()),
            (Err(failure), _) => format!("failed: {failure}"),
        }
    }
}

fn plugin(corefile: &str, snapshot: Snapshot, local: &[&str]) -> Kubernetes {
    let directive = corefile::Directive::new("Corefile", corefile);
    let options = spec::parse(&directive, &Block::default()).unwrap();
    let local = local
        .iter()
        .map(|ip| ip.parse::<IpAddr>().unwrap())
        .collect();
    Kubernetes::new(
        &options,
        local,
        View::new(Arc::new(ArcSwap::from_pointee(snapshot))),
    )
}

fn exchange(name: &str, qtype: &str) -> Exchange {
    let client = "10.1.1.1:5353".parse().unwrap();
    let mut exchange = Exchange::new(client, "10.96.0.10:53".parse().unwrap(), Proto::Tcp);
    let name: NameBuf = name.parse().unwrap();
    let qtype = rtype::from_mnemonic(qtype).unwrap();
    exchange.request.ask(7, name.name(), qtype);
    exchange
}

/// `RCODE: answers / authority / additional` with the sections that are not
/// empty. Owners are left out where they are the question's name, TTLs where
/// they are 5, and SOA records where they are what they must be.
fn show(message: &Message) -> String {
    let question = message.queries[0].name().to_string();
    let section = |records: &[hickory_proto::rr::Record]| -> Vec<String> {
        let shown = records.iter().map(|record| {
            let mut shown = String::new();
            if record.name.to_string() != question {
                shown += &format!("{} ", record.name);
            }
            if record.ttl != 5 {
                shown += &format!("ttl={} ", record.ttl);
            }
            shown + &format!("{} {}", record.record_type(), record.data)
        });
        shown.collect()
    };
    let mut shown = message.response_code.to_str().to_owned();
    shown = match &*shown {
        "No Error" => "NOERROR".to_owned(),
        "Non-Existent Domain" => "NXDOMAIN".to_owned(),
        "Server Failure" => "SERVFAIL".to_owned(),
        _ => shown,
    };
    if !message.authoritative {
        shown += " not authoritative";
    }
    if message.truncation {
        shown += " truncated";
    }
    for (name, records) in [
        ("", &message.answers),
        (" ns:", &message.authorities),
        (" extra:", &message.additionals),
    ] {
        if !records.is_empty() {
            shown += &format!("{name} {}", section(records).join(", "));
        }
    }
    for zone in ["cluster.local.", "10.in-addr.arpa.", "ip6.arpa."] {
        let soa = format!(
            "ns: {zone} SOA ns.dns.{zone} hostmaster.{zone} {} 7200 1800 86400 5",
            fixture::SERIAL
        );
        shown = shown.replace(&soa, "SOA");
        let soa = format!(
            "ns: SOA ns.dns.{zone} hostmaster.{zone} {} 7200 1800 86400 5",
            fixture::SERIAL
        );
        shown = shown.replace(&soa, "SOA");
    }
    shown
}

struct Behind;

impl Plugin for Behind {
    fn name(&self) -> &'static str {
        "behind"
    }

    fn serve<'a>(&'a self, _: &'a mut Exchange, _: Next<'a>) -> Serving<'a> {
        Box::pin(std::future::ready(Ok(Rcode::NOTIMP)))
    }
}

/// The rest of the server: names with their addresses, `None` for a name
/// that gets no answer at all.
struct Elsewhere(&'static [(&'static str, Option<&'static [&'static str]>)]);

impl Resolver for Elsewhere {
    fn resolve<'a>(&'a self, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        let name = exchange.request.qname().to_string();
        let found = self.0.iter().find(|(known, _)| *known == name);
        let addresses = match found {
            Some((_, None)) => return Box::pin(std::future::ready(())),
            Some((_, Some(addresses))) => addresses,
            None => &[][..],
        };
        let qtype = exchange.request.qtype();
        let reply = exchange.answer();
        if addresses.is_empty() {
            reply.set_rcode(Rcode::NXDOMAIN);
        }
        for address in addresses {
            match address.parse() {
                Ok(IpAddr::V4(ip)) if qtype == rtype::A => {
                    reply.push(Section::Answer, Owner::Question, 60, &RData::A(ip));
                }
                Ok(IpAddr::V6(ip)) if qtype == rtype::AAAA => {
                    reply.push(Section::Answer, Owner::Question, 60, &RData::Aaaa(ip));
                }
                Ok(_) => {}
                Err(_) => reply.set_flag(flags::TC, true),
            }
        }
        Box::pin(std::future::ready(()))
    }
}

#[test]
fn the_demo_has_something_to_show() {
    let text = std::fs::read_to_string("deploy/demo/Corefile").unwrap();
    let known: Vec<&str> = crate::plugin::ORDER.iter().map(|(name, _)| *name).collect();
    let tree = corefile::parse(
        "deploy/demo/Corefile",
        &text,
        &known,
        &corefile::SystemHost::default(),
    )
    .unwrap();
    let keys = corefile::key::inspect(&tree, 53).unwrap().remove(0);
    let options = spec::parse(
        tree.blocks[0].directive("kubernetes").unwrap(),
        &Block::new(keys),
    )
    .unwrap();

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (block, mut settings, mut kept) =
        (Block::default(), Default::default(), Default::default());
    let (mut chain, mut hooks) = (Vec::new(), crate::plugin::Hooks::default());
    let mut builder = crate::plugin::Builder::new(
        &block,
        &mut settings,
        runtime.handle(),
        &mut kept,
        &mut chain,
        &mut hooks,
    );
    let view = start::watch(&options, &mut builder).unwrap();
    assert_eq!(
        examples::Examples::new(&options, &builder, view).questions(),
        [
            "web.shop.svc.cluster.local",
            "_postgres._tcp.db.shop.svc.cluster.local SRV",
            "-x 10.96.0.80",
        ]
    );
}
