//! Pages over plain HTTP, for health, readiness and metrics, and events that
//! a server sends as they come.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::BOUND;

/// What a web server sent.
#[derive(Clone, Debug)]
pub struct Page {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as text.
    pub body: String,
}

/// Gets `path` from a server, with these headers beside `Host` or in its place.
///
/// # Errors
///
/// When the server refuses or takes over 10 s.
pub async fn page(
    server: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> anyhow::Result<Page> {
    let get = async {
        let (response, connection) = get(server, path, headers).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        connection.abort();
        Ok(Page {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    };
    let got: Result<anyhow::Result<Page>, _> = timeout(Duration::from_secs(10), get).await;
    got.map_err(anyhow::Error::from)
        .flatten()
        .with_context(|| format!("GET http://{server}{path}"))
}

/// Server-sent events (HTML standard, section 9.2), for as long as it is kept.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    connection: JoinHandle<hyper::Result<()>>,
    text: String,
}

/// Asks for the events at `path`.
///
/// # Errors
///
/// When the server sends something else; says what.
pub async fn events(server: SocketAddr, path: &str) -> anyhow::Result<Events> {
    let (response, connection) = timeout(BOUND, get(server, path, &[])).await??;
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        let body = timeout(BOUND, body.collect()).await??.to_bytes();
        bail!("{}: {}", head.status, String::from_utf8_lossy(&body));
    }
    Ok(Events {
        body,
        connection,
        text: String::new(),
    })
}

impl Events {
    /// The data of the next event; `None` where the server has ended them.
    ///
    /// # Errors
    ///
    /// When none comes within [`BOUND`].
    pub async fn next(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let mut lines = event.lines();
                let data = lines.find_map(|line| line.strip_prefix("data: "));
                let data = data.map(str::to_owned);
                self.text = rest.to_owned();
                match data {
                    Some(data) => return Ok(Some(data)),
                    None => continue,
                }
            }
            let Some(frame) = timeout(BOUND, self.body.frame()).await? else {
                return Ok(None);
            };
            if let Ok(data) = frame?.into_data() {
                self.text += std::str::from_utf8(&data)?;
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

async fn get(
    server: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> anyhow::Result<(Response<Incoming>, JoinHandle<hyper::Result<()>>)> {
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::get(path).body(Empty::<Bytes>::new())?;
    let own = HeaderValue::try_from(server.to_string())?;
    request.headers_mut().insert(HOST, own);
    for (name, value) in headers {
        let (name, value) = (HeaderName::try_from(*name)?, HeaderValue::try_from(*value)?);
        request.headers_mut().insert(name, value);
    }
    Ok((sender.send_request(request).await?, connection))
}
