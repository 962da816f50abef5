//! The world outside of the cluster: a resolver that knows every name below
//! `example.com` and counts who asks.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;

use crate::netns::{Inhabitant, Netns};
use crate::record;

/// The TTL of every record, seconds.
const TTL: u32 = 30;
const SOA: &str = ". 30 IN SOA a.root-servers.net. nstld.verisign-grs.com. 1 1800 900 604800 30";

/// A query that arrived outside.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Arrival {
    /// The name with its last dot, in lower case.
    pub name: String,
    /// The type by name.
    pub kind: String,
    /// The address that it came from.
    pub from: IpAddr,
}

/// Below `example.com` every name has one A and one AAAA record, both made of
/// the name; all others do not exist.
#[derive(Debug)]
pub struct External {
    world: Arc<World>,
    _inhabitant: Inhabitant,
}

#[derive(Debug, Default)]
struct World {
    arrivals: Mutex<Vec<Arrival>>,
    /// Microseconds.
    delay: AtomicU64,
    gone: AtomicBool,
}

impl External {
    pub(super) fn start(netns: &Netns, address: SocketAddr) -> anyhow::Result<Self> {
        let world = Arc::<World>::default();
        let theirs = Arc::clone(&world);
        let begin = move || async move {
            let udp = UdpSocket::bind(address).await.context("outside")?;
            let tcp = TcpListener::bind(address).await.context("outside")?;
            tokio::spawn(datagrams(Arc::new(udp), Arc::clone(&theirs)));
            tokio::spawn(connections(tcp, theirs));
            Ok(())
        };
        let ((), inhabitant) = netns.inhabit(begin)?;
        Ok(Self {
            world,
            _inhabitant: inhabitant,
        })
    }

    /// Every query so far.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.world.arrivals().clone()
    }

    /// Forgets the queries so far.
    pub fn forget(&self) {
        self.world.arrivals().clear();
    }

    /// Answers after this time: as far away as resolvers are.
    pub fn delay(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.world.delay.store(delay, Ordering::Relaxed);
    }

    /// Whether queries meet silence: they are counted and not answered.
    pub fn gone(&self, gone: bool) {
        self.world.gone.store(gone, Ordering::Relaxed);
    }

    /// The address that a name below `example.com` has.
    #[must_use]
    pub fn address_of(name: &str) -> [u8; 4] {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let sum = (name.bytes()).fold(7u16, |sum, byte| sum.wrapping_mul(31) ^ u16::from(byte));
        let [high, low] = sum.to_be_bytes();
        [198, 51, high, low]
    }
}

impl World {
    fn arrivals(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer, after the time that it takes; `None` for silence.
    async fn answer(&self, message: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
        let query = Message::from_vec(message).ok()?;
        let question = query.queries.first()?;
        let name = question.name().to_ascii().to_ascii_lowercase();
        let kind = question.query_type();
        self.arrivals().push(Arrival {
            name: name.clone(),
            kind: kind.to_string(),
            from: from.ip(),
        });
        let delay = Duration::from_micros(self.delay.load(Ordering::Relaxed));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if self.gone.load(Ordering::Relaxed) {
            return None;
        }
        let mut reply = Message::new(
            query.metadata.id,
            MessageType::Response,
            query.metadata.op_code,
        );
        reply.metadata.recursion_desired = true;
        reply.metadata.recursion_available = true;
        reply.add_query(question.clone());
        reply.edns.clone_from(&query.edns);
        match data(&name, kind) {
            Some(Some(data)) => {
                reply.add_answer(Record::from_rdata(question.name().clone(), TTL, data));
            }
            Some(None) => {
                reply.add_authority(record(SOA).ok()?);
            }
            None => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                reply.add_authority(record(SOA).ok()?);
            }
        }
        reply.to_vec().ok()
    }
}

/// `None` where there is no such name, `Some(None)` where it has nothing of
/// this type.
fn data(name: &str, kind: RecordType) -> Option<Option<RData>> {
    if !name.ends_with(".example.com.") {
        return None;
    }
    let [a, b, c, d] = External::address_of(name);
    Some(match kind {
        RecordType::A => Some(RData::A(A::new(a, b, c, d))),
        RecordType::AAAA => Some(RData::AAAA(AAAA::new(
            0x2001,
            0xdb8,
            0,
            0,
            0,
            0,
            u16::from_be_bytes([a, b]),
            u16::from_be_bytes([c, d]),
        ))),
        _ => None,
    })
}

async fn datagrams(socket: Arc<UdpSocket>, world: Arc<World>) {
    let mut buffer = vec![0; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let (socket, world) = (Arc::clone(&socket), Arc::clone(&world));
        let message = buffer[..length].to_vec();
        tokio::spawn(async move {
            if let Some(answer) = world.answer(&message, from).await {
                let _ = socket.send_to(&answer, from).await;
            }
        });
    }
}

async fn connections(listener: TcpListener, world: Arc<World>) {
    loop {
        if let Ok((stream, from)) = listener.accept().await {
            tokio::spawn(connection(stream, from, Arc::clone(&world)));
        }
    }
}

async fn connection(stream: TcpStream, from: SocketAddr, world: Arc<World>) {
    let (mut reader, mut writer) = stream.into_split();
    let (answers, mut queue) = mpsc::unbounded_channel::<Vec<u8>>();
    tokio::spawn(async move {
        while let Some(answer) = queue.recv().await {
            let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
            let framed = [&length.to_be_bytes()[..], &answer].concat();
            if writer.write_all(&framed).await.is_err() {
                return;
            }
        }
    });
    while let Ok(length) = reader.read_u16().await {
        let mut message = vec![0; usize::from(length)];
        if reader.read_exact(&mut message).await.is_err() {
            return;
        }
        let (answers, world) = (answers.clone(), Arc::clone(&world));
        tokio::spawn(async move {
            if let Some(answer) = world.answer(&message, from).await {
                let _ = answers.send(answer);
            }
        });
    }
}
