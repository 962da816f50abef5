use std::net::Ipv4Addr;
use std::rc::Rc;

use super::*;
use crate::chain::{Failure, Next, Plugin, Proto, Served, Serving};
use crate::wire::flags;

/// Answers with its own name, or does something worse.
struct Stub(&'static str);

impl Plugin for Stub {
    fn name(&self) -> &'static str {
        self.0
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, _: Next<'a>) -> Serving<'a> {
        let served: Served = match self.0 {
            "panics" => panic!("no good"),
            "refuses" => Ok(Rcode::REFUSED),
            "drops" => Ok(Rcode::NXDOMAIN),
            "fails" => Err(Failure::servfail("broken")),
            "writes" => {
                exchange.answer().set_flag(flags::AA, true);
                Ok(Rcode::SERVFAIL)
            }
            _ => {
                exchange.answer();
                Ok(Rcode::NOERROR)
            }
        };
        Box::pin(std::future::ready(served))
    }
}

fn block(zones: &str, plugins: &[&'static str]) -> Block {
    let chain = plugins
        .iter()
        .map(|name| Arc::new(Stub(name)) as Arc<dyn Plugin>);
    Block {
        zones: zones.split(' ').map(|zone| zone.parse().unwrap()).collect(),
        chain: chain.collect(),
        view: None,
        debug: false,
        stacktrace: false,
    }
}

fn listener(blocks: Vec<Block>) -> Arc<Listener> {
    let (alive, _) = oneshot::channel();
    Arc::new(Listener::new(
        ListenAddress::any(53),
        blocks,
        Arc::new(alive),
    ))
}

fn exchange(name: &str, qtype: u16) -> Exchange {
    let nobody = (Ipv4Addr::LOCALHOST, 0).into();
    let mut exchange = Exchange::new(nobody, nobody, Proto::Udp);
    let name: NameBuf = name.parse().unwrap();
    exchange.request.ask(7, name.name(), qtype);
    exchange
}

#[test]
fn the_longest_zone_wins_and_ds_goes_to_the_parent() {
    let listener = listener(vec![
        block(".", &["root"]),
        block("org example.com", &["org"]),
        block("example.org", &["example"]),
        block("empty.example.org", &[]),
        block("sub.empty.example.org", &["sub"]),
    ]);
    for (name, qtype, expected) in [
        ("example.org", rtype::A, Some(2)),
        ("WWW.Example.ORG", rtype::A, Some(2)),
        ("a.org", rtype::A, Some(1)),
        ("badexample.org", rtype::A, Some(1)),
        ("www.example.com", rtype::A, Some(1)),
        ("com", rtype::A, Some(0)),
        (".", rtype::NS, Some(0)),
        ("x.empty.example.org", rtype::A, None),
        ("x.sub.empty.example.org", rtype::A, Some(4)),
        // The least specific zone but the root.
        ("example.org", rtype::DS, Some(1)),
        ("www.example.com", rtype::DS, Some(1)),
        ("net", rtype::DS, Some(0)),
        (".", rtype::DS, Some(0)),
        // An empty block on the way up ends the search for DS, too.
        ("x.sub.empty.example.org", rtype::DS, None),
    ] {
        assert_eq!(
            listener.select(&exchange(name, qtype)),
            expected,
            "{name} {qtype}"
        );
    }
}

#[test]
fn without_a_root_zone_the_rest_is_refused() {
    let listener = listener(vec![block("example.org", &["x"])]);
    assert_eq!(listener.select(&exchange("example.net", rtype::A)), None);
    assert_eq!(listener.select(&exchange(".", rtype::A)), None);
}

#[test]
fn views_share_a_zone_and_fall_through_to_the_parent() {
    let view = |letter: &'static str| {
        Some(View {
            name: letter.to_owned(),
            filter: Arc::new(move |exchange: &Exchange| {
                exchange.request.name().to_string().starts_with(letter)
            }),
        })
    };
    let viewed = |zone, letter| Block {
        view: view(letter),
        ..block(zone, &["x"])
    };
    let listener = listener(vec![
        viewed("example.org", "a"),
        viewed("example.org", "b"),
        viewed("org", "c"),
        viewed(".", "d"),
    ]);
    for (name, expected) in [
        ("a.example.org", Some(0)),
        ("b.example.org", Some(1)),
        ("c.example.org", Some(2)),
        ("d.example.org", Some(3)),
        ("e.example.org", None),
    ] {
        assert_eq!(
            listener.select(&exchange(name, rtype::A)),
            expected,
            "{name}"
        );
    }
}

async fn answer(blocks: Vec<Block>, mut exchange: Exchange) -> Option<Rcode> {
    let local = Local::new(listener(blocks));
    exchange.resolver = Some(local.clone());
    local.serve(&mut exchange).await;
    exchange.reply().map(|reply| reply.rcode())
}

#[tokio::test]
async fn codes_that_say_nothing_was_written_are_written_by_the_server() {
    for (plugin, rcode) in [
        ("whoami", Some(Rcode::NOERROR)),
        ("refuses", Some(Rcode::REFUSED)),
        ("fails", Some(Rcode::SERVFAIL)),
        ("drops", None),
        // What a plugin has written stands, whatever it returns.
        ("writes", Some(Rcode::NOERROR)),
        ("panics", Some(Rcode::SERVFAIL)),
    ] {
        let found = answer(vec![block(".", &[plugin])], exchange("a", rtype::A)).await;
        assert_eq!(found, rcode, "{plugin}");
    }
    let empty = answer(vec![block(".", &[])], exchange("a", rtype::A)).await;
    assert_eq!(empty, Some(Rcode::REFUSED));
}

#[tokio::test]
async fn other_classes_are_refused_unless_a_plugin_takes_them() {
    let chaos = || {
        let mut exchange = exchange("version.bind", rtype::TXT);
        exchange.request.set_qclass(class::CH);
        exchange
    };
    for (blocks, rcode) in [
        (vec![block(".", &["whoami"])], Rcode::REFUSED),
        (vec![block(".", &["chaos"])], Rcode::NOERROR),
        // One block is enough for the whole listener.
        (
            vec![block(".", &["whoami"]), block("x", &["forward"])],
            Rcode::NOERROR,
        ),
    ] {
        assert_eq!(answer(blocks, chaos()).await, Some(rcode));
    }
}

#[tokio::test]
async fn a_block_is_told_to_the_exchange() {
    let local = Local::new(listener(vec![block("org a.org", &["x"])]));
    let mut exchange = exchange("b.a.org", rtype::A);
    local.serve(&mut exchange).await;
    let info: Rc<BlockInfo> = exchange.block.unwrap();
    assert_eq!(info.server, "dns://:53");
    let zones: Vec<String> = info.zones.iter().map(NameBuf::to_string).collect();
    assert_eq!(zones, ["a.org.", "org."]);
}
