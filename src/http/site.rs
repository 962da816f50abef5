//! A listening address for HTTP.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use corefile::io_message;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::connections::Connections;
use super::patience::Patient;
use super::routes::{self, Route, Routes};
use super::{Handler, not_found};
use crate::plugin::Kept;
use crate::server::socket::Opener;

/// How long a client may take for its request, and a connection may be idle.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a client may take none of what it is sent.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// Connections open at once. Each can hold a page of `/metrics` that its
/// client does not take.
const MAX_CONNECTIONS: usize = 64;
/// Octets of a request's head at most, and of what is read ahead.
const MAX_HEAD: usize = 16 << 10;

/// A listening address.
pub struct Site {
    local: SocketAddr,
    opener: Arc<dyn Opener>,
    routes: Arc<Routes>,
    /// Its end closes the listener; open connections end by themselves.
    open: watch::Sender<bool>,
}

impl Site {
    /// The listener at `address`, `host:port` with an empty host for all
    /// addresses: the one that another directive or the configuration before
    /// has there, else a new one. A path without a [`Route`] is not found.
    ///
    /// # Errors
    ///
    /// CoreDNS's words around the system's.
    pub fn shared(kept: &mut Kept, control: &Handle, address: &str) -> io::Result<Arc<Self>> {
        let key = format!("http {address}");
        let site = match kept.find::<Self>(&key) {
            Some(site) => site,
            None => Self::open(kept, control, address)?,
        };
        // What the next configuration finds, of both.
        kept.put(&port_key(site.local), Arc::clone(&site.routes));
        kept.put(&key, Arc::clone(&site));
        Ok(site)
    }

    fn open(kept: &Kept, control: &Handle, address: &str) -> io::Result<Arc<Self>> {
        let opener = kept.opener();
        let listener = bind(&*opener, address)?;
        let local = listener.local_addr()?;
        let routes: Arc<Routes> = kept.find(&port_key(local)).unwrap_or_default();
        let _guard = control.enter();
        let listener = TcpListener::from_std(listener)?;
        let (open, closed) = watch::channel(true);
        control.spawn(accept(listener, Arc::clone(&routes), closed));
        Ok(Arc::new(Self {
            local,
            opener,
            routes,
            open,
        }))
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// A path of this listener, which nobody answers before [`Route::serve`].
    pub fn route(&self, path: &'static str, handler: Handler) -> Route {
        self.routes.route(self.local.ip(), path, handler)
    }

    /// Closes the listener if it has no path any more: clients are refused from now on.
    pub fn close_unused(&self) {
        if !self.routes.any(routes::scope(self.local.ip())) {
            self.open.send_replace(false);
            self.opener.close(self.local);
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.opener.close(self.local);
    }
}

/// Where the table of paths of a port is kept.
fn port_key(local: SocketAddr) -> String {
    format!("http port {}", local.port())
}

async fn accept(listener: TcpListener, routes: Arc<Routes>, mut closed: watch::Receiver<bool>) {
    let connections = Connections::new(MAX_CONNECTIONS);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closed.changed() => return,
        };
        let Ok((stream, _)) = stream else {
            // Out of descriptors, most likely; a pause lets some be closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(local) = stream.local_addr() else {
            continue;
        };
        let routes = Arc::clone(&routes);
        let place = connections.admit();
        let id = place.id();
        let serving = tokio::spawn(async move {
            let service = service_fn(|request| {
                place.touch();
                let handler = routes.find(local.ip(), request.uri().path());
                let response = handler.map_or_else(not_found, |handler| handler(&request));
                async { Ok::<_, Infallible>(response) }
            });
            let stream = Patient::new(stream, WRITE_PATIENCE);
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away or talks nonsense is no event here.
            let _ = connection.await;
        });
        connections.attach(id, serving.abort_handle());
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
