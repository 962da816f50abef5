//! The HTTP endpoints: health, ready, metrics.
//!
//! A [`Site`] is one listening address with a handler that can be exchanged,
//! so that a reload keeps the socket. All of it runs on the control runtime.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use corefile::io_message;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::server::socket::Opener;

/// Answers a request; it must not block.
pub type Handler = Arc<dyn Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync>;

/// How long a client may take for its request, and a connection may be idle.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections served at once; more wait in the backlog.
const MAX_CONNECTIONS: usize = 256;

/// A listening address.
pub struct Site {
    local: SocketAddr,
    opener: Arc<dyn Opener>,
    handler: Arc<ArcSwapOption<Handler>>,
    /// Its end closes the listener; open connections end by themselves.
    open: watch::Sender<bool>,
}

impl Site {
    /// Binds `address`, `host:port` with an empty host for all addresses, and
    /// serves it until the site is dropped. Without a handler every path is
    /// not found.
    ///
    /// # Errors
    ///
    /// CoreDNS's words around the system's.
    pub fn open(control: &Handle, opener: Arc<dyn Opener>, address: &str) -> io::Result<Arc<Self>> {
        let listener = bind(&*opener, address)?;
        let local = listener.local_addr()?;
        let _guard = control.enter();
        let listener = TcpListener::from_std(listener)?;
        let (open, closed) = watch::channel(true);
        let handler = Arc::new(ArcSwapOption::empty());
        control.spawn(accept(listener, handler.clone(), closed));
        Ok(Arc::new(Self {
            local,
            opener,
            handler,
            open,
        }))
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Closes the listener; clients are refused from now on.
    pub fn close(&self) {
        self.open.send_replace(false);
        self.opener.close(self.local);
    }

    /// Whether requests have a handler yet.
    pub fn is_served(&self) -> bool {
        self.handler.load().is_some()
    }

    /// Answers requests with `handler` from now on.
    pub fn serve(&self, handler: Handler) {
        self.handler.store(Some(Arc::new(handler)));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.opener.close(self.local);
    }
}

async fn accept(
    listener: TcpListener,
    handler: Arc<ArcSwapOption<Handler>>,
    mut closed: watch::Receiver<bool>,
) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else {
            return;
        };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closed.changed() => return,
        };
        let Ok((stream, _)) = stream else {
            // Out of descriptors, most likely; a pause lets some be closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let handler = handler.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = match handler.load_full() {
                    Some(handler) => handler(&request),
                    None => not_found(),
                };
                async { Ok::<_, std::convert::Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away or talks nonsense is no event here.
            let _ = connection.await;
            drop(permit);
        });
    }
}

/// Binds as CoreDNS does, with SO_REUSEPORT: two instances may share the port in a hand-over.
fn bind(opener: &dyn Opener, address: &str) -> io::Result<std::net::TcpListener> {
    let wildcard = address.strip_prefix(':').and_then(|port| port.parse().ok());
    let candidates: Vec<SocketAddr> = match wildcard {
        Some(port) => vec![
            (Ipv6Addr::UNSPECIFIED, port).into(),
            (Ipv4Addr::UNSPECIFIED, port).into(),
        ],
        None => address.to_socket_addrs()?.collect(),
    };
    let mut failure = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address");
    for candidate in candidates {
        match opener.http(candidate) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(io::Error::new(
        failure.kind(),
        format!("listen tcp {address}: bind: {}", io_message(&failure)),
    ))
}

/// A response of plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// What Go's mux says to a path that it does not know.
pub fn not_found() -> Response<Full<Bytes>> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// The `[ADDRESS]` behind a directive, `host:port`; `None` where there is none.
///
/// # Errors
///
/// More than one word, or one that is no address.
pub fn address(words: &mut corefile::Dispenser<'_>) -> Result<Option<String>, corefile::Error> {
    match words.remaining_args()[..] {
        [] => Ok(None),
        [address] => {
            check_host_port(address).map_err(|error| words.plain_err(error))?;
            Ok(Some(address.to_owned()))
        }
        _ => Err(words.arg_err()),
    }
}

/// Checks `host:port` as Go's `net.SplitHostPort` does, with its words.
fn check_host_port(address: &str) -> Result<(), String> {
    let problem = |what: &str| Err(format!("address {address}: {what}"));
    let Some(colon) = address.rfind(':') else {
        return problem("missing port in address");
    };
    let host = if let Some(rest) = address.strip_prefix('[') {
        let Some(end) = rest.find(']') else {
            return problem("missing ']' in address");
        };
        match rest.get(end + 1..) {
            Some("") | None => return problem("missing port in address"),
            Some(after) if end + 2 == colon && after.starts_with(':') => {}
            Some(after) if after.starts_with(':') => return problem("too many colons in address"),
            Some(_) => return problem("missing port in address"),
        }
        rest.get(..end).unwrap_or_default()
    } else {
        let host = address.get(..colon).unwrap_or_default();
        if host.contains(':') {
            return problem("too many colons in address");
        }
        host
    };
    if host.contains('[') || (!address.starts_with('[') && address.contains('[')) {
        return problem("unexpected '[' in address");
    }
    if !address.starts_with('[') && address.contains(']') {
        return problem("unexpected ']' in address");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_as_go_does() {
        for (address, error) in [
            (":8080", ""),
            ("localhost:9153", ""),
            ("[::1]:8080", ""),
            ("127.0.0.1:", ""),
            ("8080", "address 8080: missing port in address"),
            ("::1:80", "address ::1:80: too many colons in address"),
            ("[::1]", "address [::1]: missing port in address"),
            ("[::1:80", "address [::1:80: missing ']' in address"),
            ("[::1]80", "address [::1]80: missing port in address"),
            ("a]:80", "address a]:80: unexpected ']' in address"),
        ] {
            let found = check_host_port(address).err().unwrap_or_default();
            assert_eq!(found, error, "{address}");
        }
    }
}
