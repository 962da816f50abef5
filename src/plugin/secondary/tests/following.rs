//! Copies of a scripted primary, over real sockets.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::streams::{ZONE, message, name};
use super::*;
use crate::chain::{Chain, Proto};
use crate::plugin::testing;

const BOUND: Duration = Duration::from_secs(20);

/// What a primary sends on a connection before it closes it.
type Script = Vec<Vec<&'static str>>;

struct Primary {
    address: SocketAddr,
    /// The last one is repeated.
    scripts: Arc<Mutex<VecDeque<Script>>>,
    /// The types that were asked for.
    asked: tokio::sync::mpsc::UnboundedReceiver<u16>,
}

impl Primary {
    async fn start(scripts: &[Script]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scripts = Arc::new(Mutex::new(scripts.iter().cloned().collect::<VecDeque<_>>()));
        let (sender, asked) = tokio::sync::mpsc::unbounded_channel();
        let plays = scripts.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let len = stream.read_u16().await.unwrap();
                let mut question = vec![0; len.into()];
                stream.read_exact(&mut question).await.unwrap();
                let id = u16::from_be_bytes([question[0], question[1]]);
                let at = 12 + name(ZONE).wire().len();
                let qtype = u16::from_be_bytes([question[at], question[at + 1]]);
                let script = {
                    let mut plays: std::sync::MutexGuard<'_, VecDeque<Script>> =
                        plays.lock().unwrap();
                    let script = plays.pop_front().unwrap();
                    if plays.is_empty() {
                        plays.push_back(script.clone());
                    }
                    script
                };
                for lines in &script {
                    let message = message(id, qtype, lines);
                    stream.write_u16(message.len() as u16).await.unwrap();
                    stream.write_all(&message).await.unwrap();
                }
                let _ = sender.send(qtype);
            }
        });
        Self {
            address,
            scripts,
            asked,
        }
    }

    fn plays(&self, script: Script) {
        *self.scripts.lock().unwrap() = [script].into();
    }

    async fn was_asked(&mut self) -> u16 {
        let asked = tokio::time::timeout(BOUND, self.asked.recv()).await;
        asked.expect("not asked").unwrap()
    }
}

fn chain(primary: &Primary, options: &str) -> Chain {
    let end = testing::Script::new(Rcode::NOERROR, &["behind.test. 9 A 192.0.2.99"]);
    let text = format!(
        "secondary {ZONE} {{\ntransfer from {}\n{options}\n}}",
        primary.address
    );
    testing::chain(&DEFINITION, &text, &end)
}

async fn ask(chain: &Chain, host: &str) -> String {
    let exchange = testing::ask(chain, &format!("{host}{ZONE}"), rtype::A).await;
    assert!(
        exchange.reply().is_none_or(|reply| {
            reply.is_live() || reply.records().any(|record| record.ttl == 9)
        })
    );
    testing::shown(&exchange)
}

async fn until(chain: &Chain, host: &str, wanted: &str) {
    let there = async {
        while !ask(chain, host).await.contains(wanted) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let there = tokio::time::timeout(BOUND, there).await;
    there.unwrap_or_else(|_| panic!("{host} never was {wanted}"));
}

/// Tells the plugin of a change, from this address; whether it heard.
async fn notify(chain: &Chain, from: &str) -> bool {
    let client = SocketAddr::new(from.parse().unwrap(), 4711);
    let mut exchange = Exchange::new(client, client, Proto::Udp);
    let mut request = crate::wire::Request::new();
    request.ask(5, name(ZONE).name(), rtype::SOA);
    let mut message = Vec::new();
    request.write(5, &mut message);
    message[2] = (opcode::NOTIFY << 3) as u8;
    exchange.request.parse(&message).unwrap();
    let (exchange, served) = testing::serve(chain, exchange).await;
    assert_eq!(served.unwrap(), Rcode::NOERROR);
    exchange.reply().is_some_and(|reply| reply.has(flags::AA))
}

fn first() -> Script {
    vec![
        vec!["SOA 1", "@ 60 NS ns", "a 60 A 192.0.2.1"],
        vec!["SOA 1"],
    ]
}

#[tokio::test]
async fn a_zone_is_fetched_followed_and_notified() {
    let mut primary = Primary::start(&[first()]).await;
    let chain = chain(&primary, "");
    until(&chain, "a.", "192.0.2.1").await;
    assert_eq!(primary.was_asked().await, rtype::AXFR);
    assert!(ask(&chain, "b.").await.starts_with("NXDOMAIN aa"));

    let changed = vec!["SOA 2", "SOA 1", "SOA 2", "b 60 A 192.0.2.2", "SOA 2"];
    primary.plays(vec![changed]);
    assert!(!notify(&chain, "192.0.2.77").await);
    assert!(notify(&chain, "127.0.0.1").await);
    assert_eq!(primary.was_asked().await, rtype::IXFR);
    until(&chain, "b.", "192.0.2.2").await;
    until(&chain, "a.", "192.0.2.1").await;
}

#[tokio::test]
async fn a_zone_that_is_not_there_yet_fails_and_comes() {
    let mut primary = Primary::start(&[vec![vec![]], first()]).await;
    let chain = chain(&primary, "");
    assert_eq!(ask(&chain, "a.").await, "SERVFAIL");
    assert_eq!(primary.was_asked().await, rtype::AXFR);
    // After a quarter of a second it is asked again.
    until(&chain, "a.", "192.0.2.1").await;
}

#[tokio::test]
async fn a_primary_without_ixfr_is_asked_for_the_serial_first() {
    let mut primary = Primary::start(&[first()]).await;
    let chain = chain(&primary, "");
    until(&chain, "a.", "192.0.2.1").await;
    primary.was_asked().await;
    // It closes the connection after nonsense.
    let (nonsense, soa) = (vec![vec!["x 60 A 192.0.2.1"]], vec![vec!["SOA 1"]]);
    *primary.scripts.lock().unwrap() = [nonsense.clone(), soa].into();
    notify(&chain, "127.0.0.1").await;
    let asked = [primary.was_asked().await, primary.was_asked().await];
    assert_eq!(asked, [rtype::IXFR, rtype::SOA]);

    let whole = vec![vec!["SOA 2", "c 60 A 192.0.2.3", "SOA 2"]];
    *primary.scripts.lock().unwrap() = [nonsense, vec![vec!["SOA 2"]], whole].into();
    notify(&chain, "127.0.0.1").await;
    until(&chain, "c.", "192.0.2.3").await;
    assert!(ask(&chain, "a.").await.starts_with("NXDOMAIN"));
}

#[tokio::test]
async fn a_primary_that_lies_changes_nothing() {
    let mut primary = Primary::start(&[first()]).await;
    let chain = chain(&primary, "");
    until(&chain, "a.", "192.0.2.1").await;
    primary.was_asked().await;
    for lie in [
        vec![vec!["SOA 9", "a.example.net. 60 A 192.0.2.9", "SOA 9"]],
        vec![vec!["SOA 9", "SOA 1", "b 60 A 192.0.2.9", "SOA 9", "SOA 9"]],
        vec![vec!["SOA 9", "a 60 A 192.0.2.9"]],
        vec![vec!["SOA 9", "a 60 A 192.0.2.9", "SOA 8"]],
        vec![],
    ] {
        primary.plays(lie);
        notify(&chain, "127.0.0.1").await;
        primary.was_asked().await;
        assert!(ask(&chain, "a.").await.contains("192.0.2.1"));
    }
    primary.plays(vec![vec![
        "SOA 2",
        "SOA 1",
        "SOA 2",
        "b 60 A 192.0.2.2",
        "SOA 2",
    ]]);
    notify(&chain, "127.0.0.1").await;
    until(&chain, "b.", "192.0.2.2").await;
    assert!(ask(&chain, "a.").await.contains("192.0.2.1"));
}

#[tokio::test]
async fn names_that_do_not_exist_may_fall_through() {
    let primary = Primary::start(&[first()]).await;
    let chain = chain(&primary, "fallthrough pod.example.org");
    until(&chain, "a.", "192.0.2.1").await;
    assert!(ask(&chain, "b.").await.starts_with("NXDOMAIN aa"));
    assert!(ask(&chain, "b.pod.").await.contains("192.0.2.99"));
    let elsewhere = testing::ask(&chain, "example.net.", rtype::A).await;
    assert!(testing::shown(&elsewhere).contains("192.0.2.99"));
    let (_, served) = testing::serve(&chain, testing::query(ZONE, rtype::AXFR)).await;
    assert_eq!(served.unwrap(), Rcode::REFUSED);
}

#[tokio::test]
async fn a_copy_is_handed_on_whole() {
    let primary = Primary::start(&[first()]).await;
    let chain = chain(&primary, "");
    until(&chain, "a.", "192.0.2.1").await;
    let transferer = chain.plugins().next().unwrap().transferer().unwrap();
    let types = |zone: &str, serial| {
        let records = transferer.transfer(name(zone).name(), serial, [192, 0, 2, 1].into())?;
        Some(records.map(|record| record.rtype).collect::<Vec<_>>())
    };
    let whole = Some(vec![rtype::SOA, rtype::NS, rtype::A, rtype::SOA]);
    assert_eq!(types(ZONE, None), whole);
    assert_eq!(types(ZONE, Some(7)), whole);
    assert_eq!(types(ZONE, Some(1)), Some(vec![rtype::SOA]));
    assert_eq!(types("a.example.org.", None), None);
}
