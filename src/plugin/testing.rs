//! What the tests of plugins share: a chain around a plugin, and a scripted end of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use corefile::key::{Transport, ZoneKey};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::{Block, BuildError, Builder, Definition, Hooks, Kept, Settings};
use crate::chain::{Chain, Exchange, Failure, Next, Plugin, Proto, Served, Serving};
use crate::wire::{Name, NameBuf, RData, Rcode, Record, Reply, Request, Section, flags, rtype};

/// Where watches and timers run.
static CONTROL: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build().unwrap()
});

/// A block for the zone `.`.
pub(crate) fn block() -> Block {
    let key = corefile::Directive::new("Corefile", ".").tokens.remove(0);
    Block::new(vec![ZoneKey {
        transport: Transport::Dns,
        zone: ".".to_owned(),
        port: Some(53),
        key,
    }])
}

/// The plugins that a piece of Corefile makes, and its hooks.
pub(crate) fn build(
    definition: &Definition,
    text: &str,
) -> Result<(Vec<Arc<dyn Plugin>>, Hooks), BuildError> {
    let directive = corefile::Directive::new("Corefile", text);
    let block = block();
    let spec = (definition.parse)(&directive, &block)
        .map_err(|error| BuildError::new(error.first_line()))?;
    let (mut chain, mut hooks) = (Vec::new(), Hooks::default());
    let (mut settings, mut kept) = (Settings::default(), Kept::default());
    let mut builder = Builder::new(
        &block,
        &mut settings,
        CONTROL.handle(),
        &mut kept,
        &mut chain,
        &mut hooks,
    );
    spec.build(&mut builder)?;
    Ok((chain, hooks))
}

/// The first line of the error that a piece of Corefile is refused with; empty if it is not.
pub(crate) fn refusal(definition: &Definition, text: &str) -> String {
    let directive = corefile::Directive::new("Corefile", text);
    match (definition.parse)(&directive, &block()) {
        Ok(_) => String::new(),
        Err(error) => error.first_line().to_owned(),
    }
}

/// The plugin of a piece of Corefile, in front of a scripted one.
pub(crate) fn chain(definition: &Definition, text: &str, end: &Arc<Script>) -> Chain {
    let (mut plugins, _) =
        build(definition, text).unwrap_or_else(|error| panic!("{text}: {error}"));
    plugins.push(end.clone());
    plugins.into()
}

/// The end of a chain, which answers as it is told.
#[derive(Default)]
pub(crate) struct Script {
    answer: Mutex<Answer>,
    asked: Mutex<Vec<Request>>,
    calls: AtomicUsize,
    /// Queries wait here if there is one.
    pub(crate) gate: Mutex<Option<Arc<Semaphore>>>,
}

/// What a [`Script`] answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) rcode: Rcode,
    /// Header bits beside those of a fresh reply.
    pub(crate) flags: u16,
    /// Records: `OWNER TTL TYPE DATA`, `!` or `+` in front for the authority
    /// and the additional section.
    pub(crate) records: Vec<String>,
    pub(crate) live: bool,
    /// Nothing is written.
    pub(crate) silent: bool,
    /// The reply has an OPT with DO.
    pub(crate) dnssec_ok: bool,
}

impl Answer {
    pub(crate) fn new(rcode: Rcode, records: &[&str]) -> Self {
        Self {
            rcode,
            records: records.iter().map(|&record| record.to_owned()).collect(),
            ..Self::default()
        }
    }
}

impl Script {
    pub(crate) fn new(rcode: Rcode, records: &[&str]) -> Arc<Self> {
        let script = Self::default();
        script.answers(Answer::new(rcode, records));
        Arc::new(script)
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// How often it was asked.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// The last request that came.
    pub(crate) fn last(&self) -> Request {
        self.asked.lock().unwrap().last().unwrap().clone()
    }

    /// Waits until it was asked `calls` times.
    pub(crate) async fn called(&self, calls: usize) {
        for _ in 0..1000 {
            if self.calls() >= calls {
                // Let what comes behind the answer run too.
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("asked {} times, not {calls}", self.calls());
    }
}

impl Plugin for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, _: Next<'a>) -> Serving<'a> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(exchange.request.clone());
            self.calls.fetch_add(1, Ordering::Relaxed);
            let gate = self.gate.lock().unwrap().clone();
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            let answer = self.answer.lock().unwrap().clone();
            write(exchange, &answer)
        })
    }
}

/// Writes the reply that an answer describes.
pub(crate) fn write(exchange: &mut Exchange, answer: &Answer) -> Served {
    if answer.silent {
        return Err(Failure::new(answer.rcode, "told to fail"));
    }
    let reply = exchange.answer();
    reply.set_rcode(answer.rcode);
    reply.set_flag(answer.flags, true);
    let records: Vec<Record> = answer.records.iter().map(|text| record(text)).collect();
    reply.replace_records(&records);
    if answer.live {
        reply.set_live();
    }
    if answer.dnssec_ok {
        reply.edns_or_insert(4096).flags = crate::wire::Edns::DO;
    }
    Ok(answer.rcode)
}

/// A record from its text; see [`Answer::records`].
pub(crate) fn record(text: &str) -> Record {
    let (section, text) = match text.split_at(1) {
        ("!", rest) => (Section::Authority, rest),
        ("+", rest) => (Section::Additional, rest),
        _ => (Section::Answer, text),
    };
    let words: Vec<&str> = text.split(' ').collect();
    let [owner, ttl, kind, data @ ..] = &words[..] else {
        panic!("{text}: too short");
    };
    let data = data.first().copied().unwrap_or(".");
    let target = data.parse::<NameBuf>().unwrap_or_default();
    let target = target.name();
    let mx = [&[0, 10], target.wire()].concat();
    // An RRSIG of long ago or of now: type, algorithm, labels, TTL, end, begin.
    let until = if data == "expired" { 1 } else { u32::MAX >> 1 };
    let signature: Vec<u8> = [0u8; 8]
        .into_iter()
        .chain(until.to_be_bytes())
        .chain([0, 0, 0, 1])
        .chain([0, 0, 0])
        .collect();
    let rdata = match *kind {
        "A" => RData::A(data.parse().unwrap()),
        "AAAA" => RData::Aaaa(data.parse().unwrap()),
        "CNAME" => RData::Cname(target),
        "NS" => RData::Ns(target),
        "PTR" => RData::Ptr(target),
        "MX" => RData::Other(rtype::MX, &mx),
        "RRSIG" => RData::Other(rtype::RRSIG, &signature),
        "SRV" => RData::Srv {
            priority: 1,
            weight: 1,
            port: 1,
            target,
        },
        "SOA" => RData::Soa {
            mname: Name::ROOT,
            rname: Name::ROOT,
            serial: 1,
            timers: [1; 4],
        },
        other => panic!("{other}: no such type here"),
    };
    let owner: NameBuf = owner.parse().unwrap();
    Record::new(section, owner.name(), ttl.parse().unwrap(), &rdata)
}

/// A query from a client.
pub(crate) fn query(name: &str, qtype: u16) -> Exchange {
    let client = SocketAddr::from(([192, 0, 2, 99], 4711));
    let local = SocketAddr::from(([127, 0, 0, 1], 53));
    let mut exchange = Exchange::new(client, local, Proto::Udp);
    exchange
        .request
        .ask(77, name.parse::<NameBuf>().unwrap().name(), qtype);
    exchange
}

/// Sends a query along the chain.
pub(crate) async fn ask(chain: &Chain, name: &str, qtype: u16) -> Exchange {
    serve(chain, query(name, qtype)).await.0
}

/// Sends an exchange along the chain.
pub(crate) async fn serve(chain: &Chain, mut exchange: Exchange) -> (Exchange, Served) {
    let served = Next::new(chain).serve(&mut exchange).await;
    (exchange, served)
}

/// The reply in one line: response code, flags, then the records as in [`Answer::records`].
pub(crate) fn shown(exchange: &Exchange) -> String {
    exchange.reply().map_or_else(|| "-".to_owned(), show)
}

pub(crate) fn show(reply: &Reply) -> String {
    let mut text = reply.rcode().mnemonic().unwrap_or("?").to_owned();
    for (flag, name) in [
        (flags::AA, " aa"),
        (flags::TC, " tc"),
        (flags::RA, " ra"),
        (flags::AD, " ad"),
    ] {
        if reply.has(flag) {
            text.push_str(name);
        }
    }
    for view in reply.records() {
        let record = view.to_record().unwrap();
        let data = match (record.rtype, &record.rdata[..]) {
            (rtype::A, [a, b, c, d]) => format!("{a}.{b}.{c}.{d}"),
            (rtype::AAAA, rdata) => {
                let octets: [u8; 16] = rdata.try_into().unwrap();
                std::net::Ipv6Addr::from(octets).to_string()
            }
            (rtype::SOA | rtype::RRSIG, _) => String::new(),
            _ => record
                .target()
                .map_or_else(String::new, |name| name.to_string()),
        };
        let section = match record.section {
            Section::Answer => "",
            Section::Authority => "!",
            Section::Additional => "+",
        };
        let kind = rtype::mnemonic(record.rtype).unwrap_or("?");
        let line = format!(" | {section}{} {} {kind} {data}", record.owner, record.ttl);
        text.push_str(line.trim_end());
    }
    text
}
