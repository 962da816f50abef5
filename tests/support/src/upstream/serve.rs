//! The sockets of an upstream.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use hickory_proto::op::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::{Reply, Seen, Shared, Transport};

/// Opens both sockets and serves them until the tasks are aborted.
pub(super) async fn start(
    address: SocketAddr,
    shared: &Arc<Shared>,
) -> anyhow::Result<[JoinHandle<()>; 2]> {
    let udp = UdpSocket::bind(address).await;
    let udp = Arc::new(udp.with_context(|| format!("UDP {address}"))?);
    let tcp = TcpListener::bind(address).await;
    let tcp = tcp.with_context(|| format!("TCP {address}"))?;
    Ok([
        tokio::spawn(datagrams(udp, address.ip(), Arc::clone(shared))),
        tokio::spawn(connections(tcp, Arc::clone(shared))),
    ])
}

// The tasks of single queries live in a JoinSet of their socket's task, so
// that aborting that one ends them all and closes the socket.

async fn datagrams(socket: Arc<UdpSocket>, ip: IpAddr, shared: Arc<Shared>) {
    let mut pending = JoinSet::new();
    let mut buffer = vec![0; 65_535];
    loop {
        // A reset by a client that left is reported here; it is not ours.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        while pending.try_join_next().is_some() {}
        let Some((query, reply)) = note(&shared, Transport::Udp, from, &buffer[..length]) else {
            continue;
        };
        let socket = Arc::clone(&socket);
        pending.spawn(async move {
            tokio::time::sleep(reply.delay).await;
            let Ok(Some(bytes)) = reply.render(&query) else {
                return;
            };
            let stranger = match reply.wrong_port {
                true => UdpSocket::bind((ip, 0)).await.ok(),
                false => None,
            };
            for _ in 0..reply.copies {
                let out = stranger.as_ref().unwrap_or(&socket);
                let _ = out.send_to(&bytes, from).await;
            }
        });
    }
}

async fn connections(listener: TcpListener, shared: Arc<Shared>) {
    let mut open = JoinSet::new();
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            continue;
        };
        while open.try_join_next().is_some() {}
        shared.connections.send_modify(|count| *count += 1);
        open.spawn(connection(stream, from, Arc::clone(&shared)));
    }
}

async fn connection(stream: TcpStream, from: SocketAddr, shared: Arc<Shared>) {
    let (mut reader, mut writer) = stream.into_split();
    let (replies, mut queue) = mpsc::unbounded_channel::<(Option<Vec<u8>>, bool)>();
    let limit = shared.script().close_after;
    let read = async {
        let mut pending = JoinSet::new();
        while let Ok(length) = reader.read_u16().await {
            let mut message = vec![0; usize::from(length)];
            if reader.read_exact(&mut message).await.is_err() {
                break;
            }
            let Some((query, reply)) = note(&shared, Transport::Tcp, from, &message) else {
                break;
            };
            let replies = replies.clone();
            pending.spawn(async move {
                tokio::time::sleep(reply.delay).await;
                let bytes = reply.render(&query).ok().flatten();
                for copy in 1..=reply.copies {
                    let last = copy == reply.copies;
                    let _ = replies.send((bytes.clone(), reply.close && last));
                }
            });
        }
        // The client may have shut down its side only: answer what it asked.
        while pending.join_next().await.is_some() {}
        let _ = replies.send((None, true));
    };
    let write = async {
        let mut sent = 0;
        while let Some((bytes, close)) = queue.recv().await {
            if let Some(bytes) = bytes {
                let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
                let framed = [&length[..], &bytes[..]].concat();
                if writer.write_all(&framed).await.is_err() {
                    return;
                }
                sent += 1;
            }
            if close || limit.is_some_and(|limit| sent >= limit) {
                return;
            }
        }
    };
    tokio::select! {
        () = write => {}
        () = async { read.await; std::future::pending().await } => {}
    }
}

/// Records a query and chooses the reply; `None` for what is no query.
fn note(
    shared: &Shared,
    transport: Transport,
    from: SocketAddr,
    bytes: &[u8],
) -> Option<(Message, Reply)> {
    let query = Message::from_vec(bytes).ok()?;
    let question = query.queries.first()?;
    let seen = Seen {
        transport,
        from,
        name: question.name().to_ascii(),
        kind: question.query_type().to_string(),
        id: query.metadata.id,
        flags: u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]),
        edns: query.edns.as_ref().map(|edns| edns.max_payload()),
        dnssec_ok: (query.edns.as_ref()).is_some_and(|edns| edns.flags().dnssec_ok),
        bytes: bytes.to_vec(),
    };
    let reply = shared.choose(&seen);
    shared.seen.send_modify(|all| all.push(seen));
    Some((query, reply))
}
