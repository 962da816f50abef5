//! Who answers which path.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Handler;

/// The paths of one port.
///
/// `localhost:9153` and `:9153` are two listeners, and the kernel gives what
/// comes to localhost to the first: so they have one table, in which each
/// path knows at which address it was asked for.
#[derive(Default)]
pub(super) struct Routes(Mutex<Vec<Entry>>);

struct Entry {
    id: u64,
    at: Option<IpAddr>,
    path: &'static str,
    handler: Handler,
}

impl Entry {
    fn takes(&self, local: IpAddr, path: &str) -> bool {
        self.path == path && self.at.is_none_or(|at| at == local)
    }
}

impl Routes {
    /// Who answers `path` on a connection to `local`: the latest to say so.
    pub(super) fn find(&self, local: IpAddr, path: &str) -> Option<Handler> {
        let local = local.to_canonical();
        let entries = self.entries();
        let found = entries.iter().rfind(|entry| entry.takes(local, path));
        found.map(|entry| Arc::clone(&entry.handler))
    }

    /// Whether anything is answered that was asked for at this address.
    pub(super) fn any(&self, at: Option<IpAddr>) -> bool {
        self.entries().iter().any(|entry| entry.at == at)
    }

    /// A path of the listener at `at`, all addresses where that is unspecified.
    pub(super) fn route(
        self: &Arc<Self>,
        at: IpAddr,
        path: &'static str,
        handler: Handler,
    ) -> Route {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Route {
            routes: Arc::clone(self),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            at: scope(at),
            path,
            handler,
        }
    }

    fn remove(&self, id: u64) {
        self.entries().retain(|entry| entry.id != id);
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a listening address says of the connections that a path is for.
pub(super) fn scope(at: IpAddr) -> Option<IpAddr> {
    let at = at.to_canonical();
    (!at.is_unspecified()).then_some(at)
}

/// A path of a directive. Answered from [`Route::serve`] on until this is dropped.
pub struct Route {
    routes: Arc<Routes>,
    id: u64,
    at: Option<IpAddr>,
    path: &'static str,
    handler: Handler,
}

impl Route {
    /// Answers the path from now on, in the place of whoever did before.
    pub fn serve(&self) {
        let mut entries = self.routes.entries();
        entries.retain(|entry| entry.id != self.id);
        entries.push(Entry {
            id: self.id,
            at: self.at,
            path: self.path,
            handler: Arc::clone(&self.handler),
        });
    }

    /// Whether somebody answers the path already.
    pub fn is_served(&self) -> bool {
        let entries = self.routes.entries();
        let same = |entry: &Entry| entry.path == self.path && entry.at == self.at;
        entries.iter().any(same)
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.routes.remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;
    use hyper::StatusCode;

    fn said(word: &'static str) -> Handler {
        Arc::new(move |_| text(StatusCode::OK, word))
    }

    /// Whether `handler` answers `path` on a connection to `local`.
    fn answers(routes: &Routes, local: &str, path: &str, handler: &Handler) -> bool {
        let found = routes.find(local.parse().unwrap(), path);
        found.is_some_and(|found| Arc::ptr_eq(&found, handler))
    }

    #[test]
    fn a_path_is_answered_where_it_was_asked_for() {
        let routes = Arc::new(Routes::default());
        let (here, everywhere) = (said("here"), said("everywhere"));
        let loopback = routes.route("127.0.0.1".parse().unwrap(), "/", Arc::clone(&here));
        let all = routes.route("::".parse().unwrap(), "/metrics", Arc::clone(&everywhere));
        assert!(routes.find("127.0.0.1".parse().unwrap(), "/").is_none());
        loopback.serve();
        all.serve();
        // Accepted by the listener of both families.
        for local in ["127.0.0.1", "::ffff:127.0.0.1"] {
            assert!(answers(&routes, local, "/", &here), "{local}");
            assert!(answers(&routes, local, "/metrics", &everywhere), "{local}");
        }
        assert!(routes.find("10.0.0.1".parse().unwrap(), "/").is_none());
        assert!(answers(&routes, "10.0.0.1", "/metrics", &everywhere));
    }

    #[test]
    fn the_latest_answers_and_the_one_before_once_that_is_gone() {
        let routes = Arc::new(Routes::default());
        let at = "127.0.0.1".parse().unwrap();
        let (old, new) = (said("old"), said("new"));
        let before = routes.route(at, "/ready", Arc::clone(&old));
        let after = routes.route(at, "/ready", Arc::clone(&new));
        assert!(!before.is_served());
        before.serve();
        assert!(after.is_served(), "by the other one");
        after.serve();
        assert!(answers(&routes, "127.0.0.1", "/ready", &new));
        // It never came into force.
        drop(after);
        assert!(answers(&routes, "127.0.0.1", "/ready", &old));
        drop(before);
        assert!(!routes.any(Some(at)));
    }
}
