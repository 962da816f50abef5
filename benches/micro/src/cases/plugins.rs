//! One step at a time: the choice of a server block, and single plugins.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use corefile::key::{Transport, ZoneKey};
use pando::chain::{Chain, Exchange, Next, Plugin, Proto, Serving};
use pando::metrics::server::{Report, ZoneSeries};
use pando::plugin::{self, Builder, Hooks, Kept, ORDER, Settings};
use pando::server::{Block, ListenAddress, Plan};
use pando::wire::{NameBuf, Rcode, Section, rtype};

use super::Turns;
use crate::server::{at_once, client, control, query};
use crate::{Case, cluster};

pub(super) fn cases() -> anyhow::Result<Vec<Case>> {
    let kubernetes = kubernetes()?;
    let ten = |rcode| (rcode, cluster::ENDPOINTS);
    let balanced = chain(
        "loadbalance",
        Some(Arc::new(Addresses::new(cluster::ENDPOINTS))),
    )?;
    let cached = chain("cache 30", Some(Arc::new(Addresses::new(2))))?;
    let alone = |name, chain: &Chain, names, expected| serve(name, chain, names, expected);
    Ok(vec![
        select()?,
        report(),
        alone(
            "kubernetes, A",
            &kubernetes,
            cluster::services(),
            (Rcode::NOERROR, 1),
        )?,
        alone(
            "kubernetes, headless 10",
            &kubernetes,
            cluster::headless(),
            ten(Rcode::NOERROR),
        )?,
        alone(
            "kubernetes, NXDOMAIN",
            &kubernetes,
            cluster::walk(),
            (Rcode::NXDOMAIN, 0),
        )?,
        alone(
            "cache, hit",
            &cached,
            cluster::external(),
            (Rcode::NOERROR, 2),
        )?,
        alone(
            "loadbalance, 10 addresses",
            &balanced,
            cluster::headless(),
            ten(Rcode::NOERROR),
        )?,
    ])
}

/// A query that is ready for a chain.
fn exchange(name: &str) -> anyhow::Result<Exchange> {
    let mut exchange = Exchange::new(client(), client(), Proto::Udp);
    let parsed = exchange.request.parse(&query(name, rtype::A)?);
    ensure!(parsed.is_ok(), "{name}: {parsed:?}");
    Ok(exchange)
}

/// Serves names by a chain, in turn. Whatever it learns it knows afterwards.
fn serve(
    name: &'static str,
    chain: &Chain,
    names: Vec<String>,
    expected: (Rcode, usize),
) -> anyhow::Result<Case> {
    let chain = chain.clone();
    let mut exchanges = Vec::new();
    for asked in names {
        let mut exchange = exchange(&asked)?;
        let served = at_once(Next::new(&chain).serve(&mut exchange));
        ensure!(served.is_ok(), "{name}: {asked}: {served:?}");
        let reply = exchange.reply().context(name)?;
        let got = (reply.rcode(), reply.count(Section::Answer));
        ensure!(got == expected, "{name}: {asked}: {got:?}");
        exchanges.push(exchange);
    }
    let mut exchanges = Turns::new(exchanges);
    Ok(Case::new(name, move || {
        let exchange = exchanges.take();
        exchange.reset();
        let served = at_once(Next::new(&chain).serve(exchange));
        assert!(black_box(served).is_ok());
    }))
}

fn kubernetes() -> anyhow::Result<Chain> {
    let file = cluster::file()?;
    let path = file.path().display();
    chain(
        &format!(
            "kubernetes cluster.local in-addr.arpa {{\n pods insecure\n ttl 30\n manifests {path}\n}}"
        ),
        None,
    )
}

/// The stage that a directive makes, in front of another one.
fn chain(text: &str, end: Option<Arc<dyn Plugin>>) -> anyhow::Result<Chain> {
    let directive = corefile::Directive::new("Corefile", text);
    let known = ORDER.iter().find(|(name, _)| *name == directive.name);
    let definition = known
        .and_then(|(_, definition)| *definition)
        .context("no such plugin")?;
    let key = directive.tokens.first().context("no directive")?.clone();
    let block = plugin::Block::new(vec![ZoneKey {
        transport: Transport::Dns,
        zone: ".".to_owned(),
        port: Some(53),
        key,
    }]);
    let spec = (definition.parse)(&directive, &block)?;
    let control = control()?;
    let (mut settings, mut kept) = (Settings::default(), Kept::default());
    let (mut stages, mut hooks) = (Vec::new(), Hooks::default());
    spec.build(&mut Builder::new(
        &block,
        &mut settings,
        control.handle(),
        &mut kept,
        &mut stages,
        &mut hooks,
    ))?;
    stages.extend(end);
    Ok(stages.into())
}

/// The end of a chain: these addresses, packed.
struct Addresses(Vec<u8>);

impl Addresses {
    fn new(count: usize) -> Self {
        Self([10, 244, 7, 1].repeat(count))
    }
}

impl Plugin for Addresses {
    fn name(&self) -> &'static str {
        "addresses"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, _: Next<'a>) -> Serving<'a> {
        exchange.answer().push_addresses(30, rtype::A, &self.0);
        Box::pin(std::future::ready(Ok(Rcode::NOERROR)))
    }
}

fn select() -> anyhow::Result<Case> {
    let chain = Chain::from_iter([Arc::new(Addresses::new(1)) as Arc<dyn Plugin>]);
    let mut blocks = Vec::new();
    for zone in ["cluster.local", "in-addr.arpa", "corp.example", "."] {
        blocks.push(Block {
            zones: vec![zone.parse::<NameBuf>()?],
            chain: chain.clone(),
            view: None,
            debug: false,
            stacktrace: false,
        });
    }
    let plan = Plan::new([(ListenAddress::any(53), blocks)]);
    let mut exchanges = Vec::new();
    for (names, expected) in [(cluster::services(), 0), (cluster::external(), 3)] {
        for name in names {
            let exchange = exchange(&name)?;
            let found = plan
                .listeners()
                .next()
                .and_then(|listener| listener.select(&exchange));
            ensure!(found == Some(expected), "{name} falls to {found:?}");
            exchanges.push(exchange);
        }
    }
    let mut exchanges = Turns::new(exchanges);
    Ok(Case::new("server block of four", move || {
        let listener = plan.listeners().next();
        black_box(listener.and_then(|listener| listener.select(black_box(exchanges.take()))));
    }))
}

fn report() -> Case {
    let series = ZoneSeries::new("dns://:53", ".", "", "kubernetes");
    Case::new("metrics of a query", move || {
        series.report(black_box(&Report {
            proto: Proto::Udp,
            ipv6: false,
            qtype: rtype::A,
            dnssec_ok: false,
            request_size: 61,
            response_size: 77,
            rcode: Rcode::NOERROR,
            seconds: 0.000_04,
        }));
    })
}
