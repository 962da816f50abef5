//! A generator that keeps a rate and forgives nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::net::UdpSocket;
use tokio::time::MissedTickBehavior;

use crate::Ask;
use crate::netns::Netns;
use crate::records::rcode_name;

/// After this time nobody waits for an answer any more.
const GIVEN_UP: Duration = Duration::from_secs(5);
/// Source ports.
const SOCKETS: usize = 256;
/// How many questions that were not answered an error names.
const SHOWN: usize = 10;

/// Queries a second over UDP, each sent once from one of 256 ports and never
/// again, whether answers come or not.
///
/// They go round three kinds of names: the cluster's, external ones that were
/// asked before, and external ones that nobody asked before; A and AAAA in
/// turn.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
    answered: AtomicU64,
    tally: Mutex<Tally>,
}

/// What became of the queries.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many were sent.
    pub sent: u64,
    /// How many were not answered within 5 s.
    pub unanswered: u64,
    /// The first ten of those: seconds since the beginning and the question.
    pub examples: Vec<String>,
    /// Answers by RCODE.
    pub rcodes: BTreeMap<String, u64>,
    /// Answers to what was not asked, or was answered already.
    pub strays: u64,
    /// The longest that an answer took.
    pub slowest: Duration,
    /// How long it went on.
    pub lasted: Duration,
}

#[derive(Debug)]
struct Pending {
    number: u64,
    sent: Instant,
    question: Vec<u8>,
}

type Run = Box<dyn FnOnce() -> anyhow::Result<()> + Send>;

type Waiting = Arc<Mutex<HashMap<(usize, u16), Pending>>>;

impl Load {
    /// Sends `rate` queries a second from a namespace to a server.
    #[must_use]
    pub fn start(from: &Netns, server: SocketAddr, rate: u32) -> Self {
        Self::on(|run| from.thread(run), server, rate)
    }

    /// The same from where the test itself runs.
    #[must_use]
    pub fn here(server: SocketAddr, rate: u32) -> Self {
        Self::on(std::thread::spawn, server, rate)
    }

    fn on<F>(start: F, server: SocketAddr, rate: u32) -> Self
    where
        F: FnOnce(Run) -> JoinHandle<anyhow::Result<()>>,
    {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            tally: Mutex::default(),
        });
        let theirs = Arc::clone(&shared);
        let thread = start(Box::new(move || run(server, rate, &theirs)));
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// How many were sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// How many were answered so far: what grows while DNS is well.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Stops sending, waits for the answers that are still due, and tells.
    ///
    /// # Errors
    ///
    /// When there were no sockets to be had.
    pub async fn finish(mut self) -> anyhow::Result<Tally> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("finished once")?;
        let done = tokio::task::spawn_blocking(move || thread.join()).await?;
        done.map_err(|_| anyhow!("the load panicked"))??;
        let tally = self.shared.tally().clone();
        Ok(tally)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} queries in {:.1} s, {} unanswered, slowest {:.1?}, {} strays, {:?}",
            self.sent,
            self.lasted.as_secs_f64(),
            self.unanswered,
            self.slowest,
            self.strays,
            self.rcodes
        )?;
        for example in &self.examples {
            write!(f, "\n  no answer: {example}")?;
        }
        Ok(())
    }
}

fn run(server: SocketAddr, rate: u32, shared: &Arc<Shared>) -> anyhow::Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build()?;
    runtime.block_on(send(server, rate, shared))
}

async fn send(server: SocketAddr, rate: u32, shared: &Arc<Shared>) -> anyhow::Result<()> {
    let waiting = Waiting::default();
    let mut sockets = Vec::with_capacity(SOCKETS);
    for index in 0..SOCKETS {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        socket.connect(server).await?;
        let socket = Arc::new(socket);
        sockets.push(Arc::clone(&socket));
        tokio::spawn(receive(
            index,
            socket,
            Arc::clone(&waiting),
            Arc::clone(shared),
        ));
    }
    // Of this load alone, so that its new names are new.
    let tag = format!("{}-{}", std::process::id(), sockets[0].local_addr()?.port());
    let begun = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut sent = 0u64;
    while !shared.stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let due = begun.elapsed().as_micros() * u128::from(rate) / 1_000_000;
        while u128::from(sent) < due {
            let number = sent;
            sent += 1;
            shared.sent.store(sent, Ordering::Relaxed);
            let (name, kind) = question(number, &tag);
            let index = usize::try_from(number)? % SOCKETS;
            let id = u16::try_from(number / SOCKETS as u64 % 0x1_0000)?;
            let message = Ask::new(&name, kind).id(id).bytes();
            let pending = Pending {
                number,
                sent: Instant::now(),
                question: message.get(12..).unwrap_or_default().to_vec(),
            };
            lock(&waiting).insert((index, id), pending);
            // An error here is the answer to an earlier one: nobody was there.
            if sockets[index].send(&message).await.is_err() {
                let _ = sockets[index].send(&message).await;
            }
        }
    }
    let lasted = begun.elapsed();
    let last = Instant::now();
    while !lock(&waiting).is_empty() && last.elapsed() < GIVEN_UP {
        tick.tick().await;
    }
    let mut tally = shared.tally();
    tally.sent = sent;
    tally.lasted = lasted;
    let mut missing: Vec<_> = lock(&waiting).drain().map(|(_, pending)| pending).collect();
    missing.sort_by_key(|pending| pending.number);
    for pending in missing {
        let at = pending.sent.duration_since(begun);
        let (name, kind) = question(pending.number, &tag);
        tally.lost(&format!("{:.3} s: {name} {kind}", at.as_secs_f64()));
    }
    Ok(())
}

async fn receive(index: usize, socket: Arc<UdpSocket>, waiting: Waiting, shared: Arc<Shared>) {
    let mut buffer = vec![0; 4096];
    loop {
        // A closed port is an error of the query before, which stays unanswered.
        let Ok(length) = socket.recv(&mut buffer).await else {
            continue;
        };
        let Some(&[high, low]) = buffer.get(..2) else {
            continue;
        };
        let message = &buffer[..length];
        let id = u16::from_be_bytes([high, low]);
        let pending = lock(&waiting).remove(&(index, id));
        let mut tally = shared.tally();
        let Some(pending) = pending else {
            tally.strays += 1;
            continue;
        };
        let asked = &pending.question;
        if message.get(12..12 + asked.len()) != Some(asked) {
            tally.strays += 1;
            lock(&waiting).insert((index, id), pending);
            continue;
        }
        let took = pending.sent.elapsed();
        tally.slowest = tally.slowest.max(took);
        if took > GIVEN_UP {
            tally.lost(&format!(
                "answered after {took:.1?}: {}",
                asked.escape_ascii()
            ));
            continue;
        }
        shared.answered.fetch_add(1, Ordering::Relaxed);
        let rcode = message.get(3).map_or(0, |byte| u16::from(byte & 0xf));
        *tally.rcodes.entry(rcode_name(rcode)).or_default() += 1;
    }
}

impl Tally {
    fn lost(&mut self, example: &str) {
        self.unanswered += 1;
        if self.examples.len() < SHOWN {
            self.examples.push(example.to_owned());
        }
    }
}

/// The question of this number.
fn question(number: u64, tag: &str) -> (String, &'static str) {
    let kind = match number / 3 % 2 {
        0 => "A",
        _ => "AAAA",
    };
    let name = match number % 3 {
        0 => format!("web-{}.shop.svc.cluster.local.", number % super::SERVICES),
        1 => format!("known-{}.example.com.", number % 20),
        _ => format!("new-{tag}-{number}.example.com."),
    };
    (name, kind)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
