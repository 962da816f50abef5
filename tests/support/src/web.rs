//! One page over plain HTTP, for health, readiness and metrics.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::header::HOST;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

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

/// Gets `path` from a server, with these headers beside `Host`.
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
        let stream = TcpStream::connect(server).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request = Request::get(path).header(HOST, server.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender
            .send_request(request.body(Empty::<Bytes>::new())?)
            .await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        connection.abort();
        Ok(Page {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    };
    let got: Result<anyhow::Result<Page>, _> =
        tokio::time::timeout(Duration::from_secs(10), get).await;
    got.map_err(anyhow::Error::from)
        .flatten()
        .with_context(|| format!("GET http://{server}{path}"))
}
