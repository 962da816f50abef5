//! `console`: a page that shows what the server does, as it does it.
//!
//! ```text
//! console [ADDRESS]
//! ```
//!
//! An extension; CoreDNS has no such directive. ADDRESS defaults to
//! `localhost:9153`. The page is at `/`, beside `/metrics` or `/health` where
//! `prometheus` or `health` have the same address; what it shows comes from
//! `/console/events`, once a second, and is only gathered while somebody
//! looks. It shows the whole process whichever blocks name it; the codes of
//! answers are those of blocks that have `prometheus`. An address that cannot be opened
//! is logged and does not keep the server from starting.
//!
//! The page changes nothing and shows no argument of the Corefile, but it
//! does show names that clients ask for and the namespaces that they are in.
//! Whoever can reach ADDRESS can read that: leave it at localhost and come by
//! `kubectl port-forward`, or keep others away by NetworkPolicy. Other web
//! sites cannot read it through a visitor's browser: requests must be for
//! localhost, an IP address or the host of ADDRESS. Sixteen can watch at a
//! time.

use std::sync::Arc;

use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use self::guard::Guard;
use self::live::Live;
use super::{Block, BuildError, Builder, Definition, Parsed, Spec};
use crate::http::{self, Body, Route, Site};

mod figures;
mod guard;
mod live;
mod page;
mod reading;

pub(super) static DEFINITION: Definition = Definition {
    name: "console",
    parse,
};

const TARGET: &str = "plugin/console";
/// So that the page finds it beneath a proxy's path, too, it asks for it by
/// a relative reference.
const EVENTS: &str = "/console/events";

#[derive(Debug)]
struct ConsoleSpec {
    address: String,
}

fn parse(directive: &corefile::Directive, _: &Block) -> Parsed {
    let mut words = directive.dispenser();
    let mut address = "localhost:9153".to_owned();
    let mut seen = false;
    while words.next() {
        if std::mem::replace(&mut seen, true) {
            return Err(words.once_err());
        }
        if let Some(given) = http::address(&mut words)? {
            address = given;
        }
        if words.next_block() {
            return Err(words.unknown_property_err(&[]));
        }
    }
    Ok(Box::new(ConsoleSpec { address }))
}

impl Spec for ConsoleSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        let site = match Site::shared(builder.kept, builder.control, &self.address) {
            Ok(site) => site,
            Err(error) => {
                tracing::error!(target: TARGET, "Failed to start console handler: {error}");
                return Ok(());
            }
        };
        let history = Arc::clone(builder.kept.history());
        // Who watches goes on watching over a reload.
        let live = builder.kept.take_or("console", || {
            Ok::<_, BuildError>(Arc::new(Live::new(history)))
        })?;
        let open = || Ok::<_, BuildError>(Arc::new(Console::open(&site, live, &self.address)));
        let key = format!("console {}", self.address);
        builder.kept.take_or(&key, open).map(drop)
    }
}

/// The page and its events at one address.
struct Console {
    _routes: [Route; 2],
}

impl Console {
    fn open(site: &Site, live: Arc<Live>, address: &str) -> Self {
        let guard = Arc::new(Guard::new(address));
        let page = guarded(Arc::clone(&guard), |_| page::response());
        let events = guarded(guard, move |request| match request.method() {
            // It would keep one of the places for nobody.
            &Method::HEAD => events(None),
            _ => match live.watch() {
                Some(body) => events(Some(body)),
                None => busy(),
            },
        });
        let routes = [site.route("/", page), site.route(EVENTS, events)];
        routes.iter().for_each(Route::serve);
        Self { _routes: routes }
    }
}

/// Lets `answer` have the requests that [`Guard`] finds nothing wrong with.
fn guarded(
    guard: Arc<Guard>,
    answer: impl Fn(&Request<Incoming>) -> Response<Body> + Send + Sync + 'static,
) -> http::Handler {
    Arc::new(move |request| {
        let refusal = guard.refusal(request.method(), request.uri(), request.headers());
        let mut response = match refusal {
            Some(refusal) => refusal.response(),
            None => answer(request),
        };
        let headers = response.headers_mut();
        for (name, value) in [
            // Nobody but this page itself may read it, frame it, or keep it.
            (header::CACHE_CONTROL, "no-store"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (name, value) in [
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    })
}

/// The head of server-sent events, with what follows.
fn events(body: Option<http_body_util::channel::Channel<bytes::Bytes>>) -> Response<Body> {
    let mut response = Response::new(match body {
        Some(body) => Either::Right(body),
        None => Either::Left(Full::default()),
    });
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    response
}

fn busy() -> Response<Body> {
    let text = format!("{} pages watch this server already\n", live::MOST_WATCHERS);
    let mut response = http::text(StatusCode::SERVICE_UNAVAILABLE, text);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testing::refusal;

    #[test]
    fn setups_are_accepted_and_refused() {
        for (text, error) in [
            ("console", ""),
            ("console :9153", ""),
            ("console localhost:0", ""),
            ("console {\n}", ""),
            ("console 9153", "address 9153: missing port in address"),
            (
                "console a:1 b:2",
                "Corefile:1 - Error during parsing: Wrong argument count or unexpected line ending after 'b:2'",
            ),
            (
                "console\nconsole",
                "this plugin can only be used once per Server Block",
            ),
            (
                "console {\npassword x\n}",
                "Corefile:2 - Error during parsing: unknown property 'password'",
            ),
        ] {
            assert_eq!(refusal(&DEFINITION, text), error, "{text}");
        }
    }
}
