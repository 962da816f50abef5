use std::net::Ipv4Addr;

use corefile::SystemHost;
use futures_util::FutureExt;
use hickory_proto::op::Message;

use super::*;
use crate::chain::{Chain, Transferer};
use crate::plugin::Hooks;
use crate::wire::RData;

/// Reads directives from line 2 on, in a block of one zone.
fn read(text: &str) -> Result<Box<dyn Spec>, String> {
    let corefile = format!("cluster.local {{\n{text}\n}}\n");
    let tree = corefile::parse("Corefile", &corefile, &["transfer"], &SystemHost::default());
    let tree = tree.map_err(|error| error.first_line().to_owned())?;
    let keys = corefile::key::inspect(&tree, 53).unwrap().remove(0);
    let directive = tree.blocks[0].directive("transfer").unwrap();
    parse(directive, &Block::new(keys)).map_err(|error| error.first_line().to_owned())
}

#[test]
fn setups_are_accepted_and_refused_as_coredns_does() {
    let at = |line: u32, why: &str| format!("Corefile:{line} - Error during parsing: {why}");
    let own = |line: u32, why: &str| format!("plugin/transfer: {}", at(line, why));
    for (text, want) in [
        ("transfer {\nto *\n}", None),
        (
            "transfer a.org b.org {\nto 192.0.2.1 [2001:db8::1]:5353 2001:db8::2 192.0.2.2:53 fe80::1%lo\n}",
            None,
        ),
        (
            "transfer {\nto *\n}\ntransfer a.org {\nto 192.0.2.1\nsource 192.0.2.9\n}",
            None,
        ),
        ("transfer", Some(own(2, "'to' is required"))),
        ("transfer {\n}", Some(own(3, "'to' is required"))),
        (
            "transfer {\nto\n}",
            Some(at(
                3,
                "Wrong argument count or unexpected line ending after 'to'",
            )),
        ),
        (
            "transfer {\nto example.org\n}",
            Some("must specify an IP address: `example.org'".into()),
        ),
        (
            "transfer {\nto example.org:53\n}",
            Some("must specify an IP address: `example.org'".into()),
        ),
        (
            "transfer {\nto 192.0.2.0/24\n}",
            Some("must specify an IP address: `192.0.2.0/24'".into()),
        ),
        (
            "transfer {\nto *\nsource 192.0.2.1 192.0.2.2\n}",
            Some(at(
                4,
                "Wrong argument count or unexpected line ending after '192.0.2.2'",
            )),
        ),
        (
            "transfer {\nto *\nsource x\n}",
            Some(own(4, "invalid source address \"x\"")),
        ),
        (
            "transfer {\nto *\nsource 192.0.2.1\nsource 192.0.2.1\n}",
            Some(own(5, "source already specified")),
        ),
        (
            "transfer {\nto *\nfrom x\n}",
            Some(own(4, "unknown property \"from\"")),
        ),
    ] {
        assert_eq!(read(text).err(), want, "{text}");
    }
}

/// Has `zone.test` with so many addresses, and `empty.test` that never changed.
struct Zones(usize);

impl Plugin for Zones {
    fn name(&self) -> &'static str {
        "zones"
    }

    fn serve<'a>(&'a self, _: &'a mut Exchange, _: Next<'a>) -> Serving<'a> {
        Box::pin(std::future::ready(Ok(Rcode::NOTIMP)))
    }

    fn transferer(&self) -> Option<&dyn Transferer> {
        Some(self)
    }
}

impl Transferer for Zones {
    fn transfer(
        &self,
        zone: Name<'_>,
        serial: Option<u32>,
        _: IpAddr,
    ) -> Option<Box<dyn Iterator<Item = Record> + Send + '_>> {
        let zone = zone.to_buf();
        if zone.to_string() != "zone.test." {
            return None;
        }
        let soa = record(&zone, &soa(9));
        let addresses = (0..self.0).map(move |at| {
            let mut owner = NameBuf::new();
            owner.push_label(format!("host-{at}").as_bytes()).unwrap();
            owner.push_name(zone.name()).unwrap();
            record(&owner, &RData::A(Ipv4Addr::from(at as u32)))
        });
        match serial {
            Some(9) => Some(Box::new([soa].into_iter())),
            _ => Some(Box::new(
                [soa.clone()].into_iter().chain(addresses).chain([soa]),
            )),
        }
    }
}

fn soa(serial: u32) -> RData<'static> {
    RData::Soa {
        mname: Name::ROOT,
        rname: Name::ROOT,
        serial,
        timers: [1, 2, 3, 4],
    }
}

fn record(owner: &NameBuf, rdata: &RData<'_>) -> Record {
    Record::new(Section::Answer, owner.name(), 5, rdata)
}

fn chain(corefile: &str, hosts: usize) -> Chain {
    let mut chain: Vec<Arc<dyn Plugin>> = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let block = Block::default();
    let (mut settings, mut kept, mut hooks) =
        (Default::default(), Default::default(), Hooks::default());
    let mut builder = Builder::new(
        &block,
        &mut settings,
        runtime.handle(),
        &mut kept,
        &mut chain,
        &mut hooks,
    );
    read(corefile).unwrap().build(&mut builder).unwrap();
    chain.push(Arc::new(Zones(hosts)));
    chain.into()
}

fn query(name: &str, qtype: u16, proto: Proto) -> Exchange {
    let client = "192.0.2.1:1234".parse().unwrap();
    let mut exchange = Exchange::new(client, "192.0.2.2:53".parse().unwrap(), proto);
    let name: NameBuf = name.parse().unwrap();
    exchange.request.ask(7, name.name(), qtype);
    exchange
}

fn outcome(chain: &Chain, exchange: &mut Exchange) -> String {
    let served = Next::new(chain)
        .serve(exchange)
        .now_or_never()
        .expect("nothing waits");
    match (served, exchange.finish()) {
        (Ok(_), Some(message)) => {
            let message = Message::from_vec(message).unwrap();
            let aa = if message.authoritative { " aa" } else { "" };
            format!(
                "{} {}{aa}",
                u16::from(message.response_code),
                message.answers.len()
            )
        }
        (Ok(rcode), None) => format!("- {}", rcode.0),
        (Err(failure), _) => failure.to_string(),
    }
}

#[test]
fn who_gets_what() {
    use Proto::{Tcp, Udp};
    let open = "transfer zone.test empty.test {\nto *\n}";
    let closed = "transfer . {\nto 192.0.2.9 192.0.2.8:53\n}";
    // The more specific zone decides.
    let both = "transfer zone.test {\nto 192.0.2.1:5353\n}\ntransfer test {\nto 192.0.2.9\n}";
    for (corefile, name, qtype, proto, want) in [
        (open, "zone.test", rtype::AXFR, Tcp, "0 5 aa"),
        (open, "ZONE.test", rtype::AXFR, Tcp, "0 5 aa"),
        (open, "zone.test", rtype::AXFR, Udp, "- 5"),
        (open, "elsewhere.org", rtype::AXFR, Udp, "- 5"),
        (open, "elsewhere.org", rtype::AXFR, Tcp, "- 4"),
        (open, "empty.test", rtype::AXFR, Tcp, "- 4"),
        (open, "zone.test", rtype::A, Tcp, "- 4"),
        (open, "zone.test", rtype::IXFR, Tcp, "- 2"),
        (closed, "zone.test", rtype::AXFR, Tcp, "5 0"),
        (both, "zone.test", rtype::AXFR, Tcp, "0 5 aa"),
        (both, "empty.test", rtype::AXFR, Tcp, "5 0"),
    ] {
        let got = outcome(&chain(corefile, 3), &mut query(name, qtype, proto));
        assert_eq!(got, want, "{corefile} {name} {qtype} {proto:?}");
    }
}

#[test]
fn a_client_that_is_up_to_date_gets_the_soa() {
    let chain = chain("transfer zone.test {\nto *\n}", 3);
    for (serial, want) in [(9, "0 1"), (8, "0 5 aa")] {
        let mut asked = query("zone.test", rtype::IXFR, Proto::Tcp);
        let mut message = Vec::new();
        asked.request.write(7, &mut message);
        let zone: NameBuf = "zone.test".parse().unwrap();
        Record::new(Section::Authority, zone.name(), 5, &soa(serial)).write_plain(&mut message);
        // One record in the authority section.
        message[9] = 1;
        asked.request.parse(&message).unwrap();
        assert_eq!(outcome(&chain, &mut asked), want, "{serial}");
    }
}

#[test]
fn a_long_zone_goes_out_in_several_messages() {
    let hosts = 10_000;
    let chain = chain("transfer zone.test {\nto *\n}", hosts);
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let mut exchange = query("zone.test", rtype::AXFR, Proto::Tcp);
    exchange.stream = Some(sender);
    let serve = async {
        let served = Next::new(&chain).serve(&mut exchange).await;
        let last = exchange.finish().map(<[u8]>::to_vec);
        exchange.stream = None;
        (served, last)
    };
    let collect = async {
        let mut messages = Vec::new();
        while let Some(message) = receiver.recv().await {
            messages.push(message);
        }
        messages
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let ((served, last), mut messages) = runtime.block_on(async { tokio::join!(serve, collect) });
    assert_eq!(served.unwrap(), Rcode::NOERROR);
    assert!(messages.len() > 1);
    messages.extend(last);
    let decoded: Vec<Message> = messages
        .iter()
        .map(|m| Message::from_vec(m).unwrap())
        .collect();
    assert!(
        decoded
            .iter()
            .all(|m| m.id == 7 && m.authoritative && !m.truncation)
    );
    let records: Vec<_> = decoded
        .iter()
        .flat_map(|message| &message.answers)
        .collect();
    assert_eq!(records.len(), hosts + 2);
    let is_soa = |at: usize| u16::from(records[at].record_type()) == rtype::SOA;
    assert!(is_soa(0) && is_soa(hosts + 1) && !is_soa(1));
}

#[test]
fn a_transport_of_one_message_fails_on_a_long_zone() {
    let chain = chain("transfer zone.test {\nto *\n}", 10_000);
    let got = outcome(&chain, &mut query("zone.test", rtype::AXFR, Proto::Tcp));
    assert_eq!(got, "the transport takes no zone of more than one message");
}

#[test]
fn a_refusal_is_a_message_that_log_sees() {
    let chain = chain("transfer zone.test {\nto 192.0.2.9\n}", 1);
    let mut asked = query("zone.test", rtype::AXFR, Proto::Tcp);
    outcome(&chain, &mut asked);
    let reply = asked.reply().unwrap();
    assert_eq!(reply.rcode(), Rcode::REFUSED);
    assert_eq!(
        reply.question().len(),
        "\0".len() + "zone.test".len() + 1 + 4
    );
}
