//! Asking a primary over TCP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::catalog::CatalogError;
use super::incoming::{Incoming, TransferError, Transferred};
use crate::plugin::zone::{Soa, Zone};
use crate::wire::{self, Name, Reader, Request, flags, rtype};

/// For a connection, and for each message on it.
const STEP: Duration = Duration::from_secs(5);
/// For a whole transfer.
const WHOLE: Duration = Duration::from_secs(120);

/// Why a primary is of no use now.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no primary to ask")]
    NoPrimary,
    #[error("dial tcp {0}: {1}")]
    Connect(SocketAddr, std::io::Error),
    #[error("{0}: {1}")]
    Stream(SocketAddr, std::io::Error),
    #[error("{0}: i/o timeout")]
    Timeout(SocketAddr),
    #[error("{0}: {1}")]
    Transfer(SocketAddr, TransferError),
    #[error("{0}: {1}")]
    Catalog(SocketAddr, CatalogError),
}

/// The newest version of the zone that the primary has; without `base` whole.
pub(super) async fn fetch(
    primary: SocketAddr,
    origin: Name<'_>,
    base: Option<Arc<Zone>>,
) -> Result<Transferred, FetchError> {
    let Some(base) = base else {
        return transfer(primary, Incoming::new(origin, None, id())).await;
    };
    let serial = base.soa().serial;
    match transfer(primary, Incoming::new(origin, Some(base), id())).await {
        // It speaks, but not IXFR, or its differences are not from what we have.
        Err(FetchError::Transfer(_, error)) => {
            tracing::debug!(
                target: super::TARGET,
                "No differences of {origin} from {primary}: {error}; asking for the whole zone"
            );
            match soa(primary, origin).await?.is_newer_than(serial) {
                true => transfer(primary, Incoming::new(origin, None, id())).await,
                false => Ok(Transferred::Current),
            }
        }
        other => other,
    }
}

fn id() -> u16 {
    rand::random()
}

async fn transfer(primary: SocketAddr, mut incoming: Incoming) -> Result<Transferred, FetchError> {
    let all = async {
        let mut stream = ask(primary, &incoming.question()).await?;
        let mut message = Vec::new();
        loop {
            receive(primary, &mut stream, &mut message).await?;
            let taken = incoming.take(&message);
            match taken.map_err(|error| FetchError::Transfer(primary, error))? {
                Some(transferred) => return Ok(transferred),
                // A long zone must not keep others from their turn.
                None => tokio::task::yield_now().await,
            }
        }
    };
    let done = timeout(WHOLE, all).await;
    done.unwrap_or(Err(FetchError::Timeout(primary)))
}

async fn soa(primary: SocketAddr, origin: Name<'_>) -> Result<Soa, FetchError> {
    let mut request = Request::new();
    request.ask(id(), origin, rtype::SOA);
    request.set_flag(flags::RD, false);
    let mut message = Vec::new();
    request.write(request.id(), &mut message);
    let mut stream = ask(primary, &message).await?;
    receive(primary, &mut stream, &mut message).await?;
    read_soa(&request, &message).map_err(|error| FetchError::Transfer(primary, error))
}

fn read_soa(request: &Request, message: &[u8]) -> Result<Soa, TransferError> {
    if Reader::new(message).u16("header")? != request.id() {
        return Err(TransferError::Stray);
    }
    let mut reply = wire::Reply::new();
    reply.adopt(message, request)?;
    if reply.rcode() != wire::Rcode::NOERROR {
        return Err(TransferError::Rcode(reply.rcode()));
    }
    let answer = reply.section(wire::Section::Answer).next();
    let record = answer.ok_or(TransferError::NoStart)?.to_record()?;
    Soa::of(&record, request.name()).map_err(|_| TransferError::NoStart)
}

async fn ask(primary: SocketAddr, message: &[u8]) -> Result<TcpStream, FetchError> {
    let io = |error| FetchError::Stream(primary, error);
    let sent = async {
        let connected = TcpStream::connect(primary).await;
        let mut stream = connected.map_err(|error| FetchError::Connect(primary, error))?;
        // A question fits 16 bits: a name, four numbers, and one SOA.
        let mut framed = (message.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(message);
        stream.write_all(&framed).await.map_err(io)?;
        Ok(stream)
    };
    let sent = timeout(STEP, sent).await;
    sent.unwrap_or(Err(FetchError::Timeout(primary)))
}

async fn receive(
    primary: SocketAddr,
    stream: &mut TcpStream,
    message: &mut Vec<u8>,
) -> Result<(), FetchError> {
    let received = timeout(STEP, async {
        let len = stream.read_u16().await?;
        message.resize(usize::from(len), 0);
        stream.read_exact(message).await.map(drop)
    });
    match received.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(FetchError::Stream(primary, error)),
        Err(_) => Err(FetchError::Timeout(primary)),
    }
}
