//! A scripted DNS server on one UDP and one TCP port.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Mutex;
use tokio::task::spawn_local;

use crate::upstream::{Transport, message};

/// A query as the server saw it.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) message: Vec<u8>,
    pub(super) transport: Transport,
    pub(super) peer: SocketAddr,
    /// How many queries came before it on the same connection.
    pub(super) nth_on_connection: usize,
}

/// What to do with a query.
pub(super) enum Action {
    Reply(Vec<u8>),
    Later(Duration, Vec<u8>),
    Several(Vec<Vec<u8>>),
    /// Octet by octet, on a stream.
    Dribble(Vec<u8>),
    Drop,
    /// Close the connection it came by.
    Close,
    /// Send this, and then close the connection it came by.
    Last(Vec<u8>),
    /// Send half of this, and then close the connection it came by.
    Half(Vec<u8>),
}

pub(super) struct Server {
    pub(super) addr: SocketAddr,
    log: Rc<RefCell<Vec<Seen>>>,
    connections: Rc<Cell<usize>>,
}

type Script = Rc<dyn Fn(&Seen) -> Action>;

impl Server {
    pub(super) async fn start(script: impl Fn(&Seen) -> Action + 'static) -> Self {
        Self::start_on("127.0.0.1:0", script)
            .await
            .expect("loopback is there")
    }

    /// `None` where the address family is missing.
    pub(super) async fn start_on(
        addr: &str,
        script: impl Fn(&Seen) -> Action + 'static,
    ) -> Option<Self> {
        let script: Script = Rc::new(script);
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind(addr).await.ok()?;
            // The same number may be taken for UDP; then another one is drawn.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().ok()?).await {
                break (udp, tcp);
            }
        };
        let server = Self {
            addr: tcp.local_addr().ok()?,
            log: Rc::default(),
            connections: Rc::default(),
        };
        spawn_local(serve_udp(
            Rc::new(udp),
            Rc::clone(&script),
            Rc::clone(&server.log),
        ));
        let (log, open) = (Rc::clone(&server.log), Rc::clone(&server.connections));
        spawn_local(async move {
            while let Ok((stream, peer)) = tcp.accept().await {
                let (script, log, open) = (Rc::clone(&script), Rc::clone(&log), Rc::clone(&open));
                spawn_local(async move {
                    open.set(open.get() + 1);
                    serve_stream(stream, peer, script, log).await;
                    open.set(open.get() - 1);
                });
            }
        });
        Some(server)
    }

    pub(super) fn last_seen(&self) -> Seen {
        self.log.borrow().last().expect("a query came").clone()
    }

    /// Queries whose name is this one label.
    pub(super) fn queries_named(&self, label: &str) -> usize {
        let asked = query(label)[12..].to_vec();
        let log = self.log.borrow();
        log.iter()
            .filter(|seen| seen.message[12..] == asked)
            .count()
    }

    /// All of them.
    pub(super) fn queries(&self) -> usize {
        self.log.borrow().len()
    }

    pub(super) fn ports(&self, transport: Transport) -> HashSet<u16> {
        let log = self.log.borrow();
        let of_transport = log.iter().filter(|seen| seen.transport == transport);
        of_transport.map(|seen| seen.peer.port()).collect()
    }

    pub(super) fn peers(&self, transport: Transport) -> usize {
        self.ports(transport).len()
    }

    pub(super) fn ids(&self) -> HashSet<u16> {
        let log = self.log.borrow();
        log.iter()
            .filter_map(|seen| message::id(&seen.message))
            .collect()
    }

    pub(super) fn open_connections(&self) -> usize {
        self.connections.get()
    }
}

/// `name. A IN` with RD, without EDNS.
pub(super) fn query(name: &str) -> Vec<u8> {
    let mut query = fastrand::u16(..).to_be_bytes().to_vec();
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}

/// NOERROR with one A record.
pub(super) fn reply(query: &[u8], address: [u8; 4]) -> Vec<u8> {
    let question = message::question(query).expect("a query that we sent");
    let mut reply = query[..question.end].to_vec();
    reply[2] = 0x81;
    reply[3] = 0x80;
    reply[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    reply.extend(address);
    reply
}

async fn serve_udp(socket: Rc<UdpSocket>, script: Script, log: Rc<RefCell<Vec<Seen>>>) {
    let mut buffer = vec![0; 65536];
    while let Ok((len, peer)) = socket.recv_from(&mut buffer).await {
        let seen = Seen {
            message: buffer[..len].to_vec(),
            transport: Transport::Udp,
            peer,
            nth_on_connection: 0,
        };
        let action = script(&seen);
        log.borrow_mut().push(seen);
        let socket = Rc::clone(&socket);
        spawn_local(async move {
            match action {
                Action::Reply(reply) | Action::Dribble(reply) => {
                    let _ = socket.send_to(&reply, peer).await;
                }
                Action::Later(delay, reply) => {
                    tokio::time::sleep(delay).await;
                    let _ = socket.send_to(&reply, peer).await;
                }
                Action::Several(replies) => {
                    for reply in replies {
                        let _ = socket.send_to(&reply, peer).await;
                    }
                }
                Action::Drop | Action::Close | Action::Last(_) | Action::Half(_) => {}
            }
        });
    }
}

async fn serve_stream(
    stream: TcpStream,
    peer: SocketAddr,
    script: Script,
    log: Rc<RefCell<Vec<Seen>>>,
) {
    let (mut read, write) = stream.into_split();
    let write = Rc::new(Mutex::new(write));
    for nth_on_connection in 0.. {
        let Ok(len) = read.read_u16().await else {
            return;
        };
        let mut message = vec![0; usize::from(len)];
        if read.read_exact(&mut message).await.is_err() {
            return;
        }
        let seen = Seen {
            message,
            transport: Transport::Tcp,
            peer,
            nth_on_connection,
        };
        let action = script(&seen);
        log.borrow_mut().push(seen);
        let write = Rc::clone(&write);
        let answer = async move {
            match action {
                Action::Reply(reply) => send(&write, &reply).await,
                Action::Dribble(reply) => dribble(&write, &reply).await,
                Action::Later(delay, reply) => {
                    tokio::time::sleep(delay).await;
                    send(&write, &reply).await;
                }
                Action::Several(replies) => {
                    for reply in replies {
                        send(&write, &reply).await;
                    }
                }
                Action::Drop => {}
                Action::Close => return true,
                Action::Last(reply) => {
                    send(&write, &reply).await;
                    return true;
                }
                Action::Half(reply) => {
                    let framed = framed(&reply);
                    let (half, _) = framed.split_at(framed.len() / 2);
                    let _ = write.lock().await.write_all(half).await;
                    return true;
                }
            }
            false
        };
        // Only `Later` lets the next query overtake this one.
        let mut answer = Box::pin(answer);
        if let Some(closing) = futures_util::FutureExt::now_or_never(&mut answer) {
            if closing {
                return;
            }
        } else {
            spawn_local(answer);
        }
    }
}

fn framed(reply: &[u8]) -> Vec<u8> {
    let len = u16::try_from(reply.len()).expect("a message fits its length");
    [&len.to_be_bytes()[..], reply].concat()
}

async fn send(write: &Mutex<OwnedWriteHalf>, reply: &[u8]) {
    let _ = write.lock().await.write_all(&framed(reply)).await;
}

async fn dribble(write: &Mutex<OwnedWriteHalf>, reply: &[u8]) {
    let mut write = write.lock().await;
    for octet in framed(reply) {
        let _ = write.write_all(&[octet]).await;
        tokio::task::yield_now().await;
    }
}
