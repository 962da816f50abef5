//! The HTTP endpoints: health, ready, metrics, and the page of `console`.
//!
//! A [`Site`] is one listening address. Directives that name the same one
//! share it, each with a path of its own ([`Route`]), and a reload keeps the
//! socket. All of it runs on the control runtime.

mod connections;
mod patience;
mod routes;
mod site;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, header};

pub use routes::Route;
pub use site::Site;

/// What a response carries: a whole, or parts as they come.
pub type Body = Either<Full<Bytes>, Channel<Bytes>>;

/// Answers a request; it must not block.
pub type Handler = Arc<dyn Fn(&Request<Incoming>) -> Response<Body> + Send + Sync>;

/// A response of plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// What Go's mux says to a path that it does not know.
pub fn not_found() -> Response<Body> {
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
