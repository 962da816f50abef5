//! A primary of many zones over real sockets, and a chain that copies them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::streams::name;
use super::*;
use crate::chain::{Chain, Proto};
use crate::plugin::testing;
use crate::presentation;
use crate::wire::{Reply, Request};

pub(super) const BOUND: Duration = Duration::from_secs(20);

/// Serials and records.
type Contents = HashMap<String, (u32, Vec<String>)>;

/// Hands out the zones that it is given, and no others.
pub(super) struct Primary {
    pub(super) address: SocketAddr,
    zones: Arc<Mutex<Contents>>,
    /// The zones that it has answered for.
    pub(super) asked: UnboundedReceiver<String>,
    /// Who asks for a zone `held…` waits here.
    pub(super) gate: Arc<Semaphore>,
    pub(super) waiting: Arc<AtomicUsize>,
}

impl Primary {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = unbounded_channel();
        let primary = Self {
            address,
            zones: Arc::default(),
            asked,
            gate: Arc::new(Semaphore::new(0)),
            waiting: Arc::default(),
        };
        let (zones, gate) = (primary.zones.clone(), primary.gate.clone());
        let waiting = primary.waiting.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (zones, gate) = (zones.clone(), gate.clone());
                let (waiting, sender) = (waiting.clone(), sender.clone());
                tokio::spawn(async move {
                    let held = async {
                        waiting.fetch_add(1, Ordering::SeqCst);
                        drop(gate.acquire().await);
                    };
                    hand_out(stream, &zones, &sender, held).await;
                });
            }
        });
        primary
    }

    pub(super) fn has(&self, zone: &str, serial: u32, lines: &[&str]) {
        let lines = lines.iter().map(|&line| line.to_owned()).collect();
        self.zones
            .lock()
            .unwrap()
            .insert(zone.to_owned(), (serial, lines));
    }

    /// A zone with this address at `www`.
    pub(super) fn has_www(&self, zone: &str, serial: u32, address: &str) {
        self.has(zone, serial, &[&format!("www 60 A {address}")]);
    }

    /// A catalog with members `ID ZONE` or `ID ZONE COO`.
    pub(super) fn lists(&self, zone: &str, serial: u32, members: &[&str]) {
        let mut lines = vec![
            "@ 0 NS invalid.".to_owned(),
            "version 0 TXT \"2\"".to_owned(),
        ];
        for member in members {
            let words: Vec<_> = member.split(' ').collect();
            lines.push(format!("{}.zones 0 PTR {}", words[0], words[1]));
            let coo = words.get(2);
            lines.extend(coo.map(|coo| format!("coo.{}.zones 0 PTR {coo}", words[0])));
        }
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        self.has(zone, serial, &lines);
    }

    /// Waits until it has answered for the zone.
    pub(super) async fn was_asked(&mut self, zone: &str) {
        let asked = async { while self.asked.recv().await.unwrap() != zone {} };
        let asked = tokio::time::timeout(BOUND, asked).await;
        asked.unwrap_or_else(|_| panic!("not asked for {zone}"));
    }

    /// Has it asked twice: by the second time, whoever follows the zone has
    /// dealt with the first answer.
    pub(super) async fn told(&mut self, chain: &Chain, zone: &str) {
        for _ in 0..2 {
            while self.asked.try_recv().is_ok() {}
            assert!(notify(chain, zone).await);
            self.was_asked(zone).await;
        }
    }
}

/// Answers one question with the whole zone; without one hangs up.
async fn hand_out(
    mut stream: TcpStream,
    zones: &Mutex<Contents>,
    asked: &UnboundedSender<String>,
    held: impl Future<Output = ()>,
) {
    let Ok(len) = stream.read_u16().await else {
        return;
    };
    let mut question = vec![0; len.into()];
    stream.read_exact(&mut question).await.unwrap();
    let mut request = Request::new();
    request.parse(&question).unwrap();
    let zone = request.name().to_string();
    if zone.starts_with("held") {
        held.await;
    }
    let found = zones.lock().unwrap().get(&zone).cloned();
    if let Some((serial, lines)) = found {
        let soa = format!("@ 60 SOA ns host {serial} 7200 1800 86400 60");
        let mut reply = Reply::new();
        reply.start(&request);
        for line in [&soa].into_iter().chain(&lines).chain([&soa]) {
            let text = format!("$ORIGIN {zone}\n{line}\n");
            reply.push_record(&presentation::record::parse(&text).unwrap().unwrap());
        }
        let message = reply.wire().to_vec();
        let _ = stream.write_u16(message.len() as u16).await;
        let _ = stream.write_all(&message).await;
    }
    let _ = asked.send(zone);
}

/// The end of a chain that is asked for what is no zone.
pub(super) const BEHIND: &str = "192.0.2.99";

pub(super) fn chain(text: &str) -> Chain {
    let end = testing::Script::new(Rcode::NOERROR, &[&format!("behind.test. 9 A {BEHIND}")]);
    testing::chain(&DEFINITION, text, &end)
}

pub(super) async fn ask(chain: &Chain, zone: &str) -> String {
    let exchange = testing::ask(chain, &format!("www.{zone}"), rtype::A).await;
    let shown = testing::shown(&exchange);
    let live = exchange.reply().is_some_and(Reply::is_live);
    assert_eq!(live, !shown.contains(BEHIND), "{shown}");
    shown
}

pub(super) async fn until(chain: &Chain, zone: &str, wanted: &str) {
    let there = async {
        while !ask(chain, zone).await.contains(wanted) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let there = tokio::time::timeout(BOUND, there).await;
    there.unwrap_or_else(|_| panic!("{zone} never was {wanted}"));
}

/// Tells of a change; whether that was heard.
pub(super) async fn notify(chain: &Chain, zone: &str) -> bool {
    let client = SocketAddr::from(([127, 0, 0, 1], 4711));
    let mut exchange = Exchange::new(client, client, Proto::Udp);
    let mut request = Request::new();
    request.ask(5, name(zone).name(), rtype::SOA);
    let mut message = Vec::new();
    request.write(5, &mut message);
    message[2] = (opcode::NOTIFY << 3) as u8;
    exchange.request.parse(&message).unwrap();
    let (exchange, _) = testing::serve(chain, exchange).await;
    exchange.reply().is_some_and(|reply| reply.has(flags::AA))
}
