//! Which requests are answered: those that a web page of somebody else could
//! not have made a browser send, or not read the answer to.

use std::net::IpAddr;

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Response, StatusCode, Uri};

use crate::http::{self, Body};

/// Knows the names of the server.
pub(super) struct Guard {
    /// The host of ADDRESS; empty where it has none.
    host: String,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// It is not for reading.
    Method,
    /// It is for a host that is not this one. A name that leads here and that
    /// anybody can own is how a web site reads what only its visitor can
    /// reach (DNS rebinding).
    Host,
    /// Another web site asks. It could not read the answer, but take up a place.
    Origin,
}

impl Guard {
    pub(super) fn new(address: &str) -> Self {
        let host = address.rsplit_once(':').map_or("", |(host, _)| host);
        Self {
            host: host.to_ascii_lowercase(),
        }
    }

    pub(super) fn refusal(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Option<Refusal> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Some(Refusal::Method);
        }
        if !self.is_here(uri, headers) {
            return Some(Refusal::Host);
        }
        // Sent by browsers, and by no page's wish; `none` is a user's own doing.
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let same = matches!(site, None | Some(b"same-origin" | b"none"));
        // A link that a user follows is fine.
        let link = headers.get("sec-fetch-mode").map(HeaderValue::as_bytes) == Some(b"navigate");
        (!same && !link).then_some(Refusal::Origin)
    }

    fn is_here(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let Ok(host) = Authority::try_from(host.as_bytes()) else {
            return false;
        };
        self.knows(host.host()) && uri.host().is_none_or(|host| self.knows(host))
    }

    fn knows(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || !self.host.is_empty() && host.eq_ignore_ascii_case(&self.host)
    }
}

impl Refusal {
    pub(super) fn response(self) -> Response<Body> {
        match self {
            Self::Method => {
                let mut response =
                    http::text(StatusCode::METHOD_NOT_ALLOWED, "this page is for reading\n");
                response
                    .headers_mut()
                    .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                response
            }
            Self::Host => http::text(
                StatusCode::MISDIRECTED_REQUEST,
                "the page is served for localhost, IP addresses and the host that `console` names in the Corefile\n",
            ),
            Self::Origin => http::text(
                StatusCode::FORBIDDEN,
                "the page is not for other web sites\n",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(address: &str, headers: &[(&'static str, &str)]) -> Option<Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Guard::new(address).refusal(&Method::GET, &Uri::from_static("/"), &map)
    }

    #[test]
    fn a_name_that_anybody_can_own_is_refused() {
        for (address, host, here) in [
            ("localhost:9153", "localhost:9153", true),
            ("localhost:9153", "LOCALHOST", true),
            ("localhost:9153", "127.0.0.1:8001", true),
            (":9153", "[fd00::1]:9153", true),
            (":9153", "10.0.0.1", true),
            ("pando.corp:80", "Pando.corp", true),
            ("localhost:9153", "pando.corp", false),
            (":9153", "evil.example:9153", false),
            (":9153", "127.0.0.1.evil.example", false),
            (":9153", "localhost.evil.example", false),
            (":9153", "user@127.0.0.1 x", false),
            (":9153", "", false),
            (":9153", "é", false),
        ] {
            let found = refusal(address, &[("host", host)]);
            assert_eq!(found.is_none(), here, "{address} {host}: {found:?}");
        }
        assert_eq!(refusal(":1", &[]), Some(Refusal::Host));
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(refusal(":1", &two), Some(Refusal::Host));
    }

    #[test]
    fn another_site_may_lead_here_and_not_ask_from_there() {
        for (site, mode, refused) in [
            ("same-origin", "cors", false),
            ("none", "navigate", false),
            ("cross-site", "navigate", false),
            ("cross-site", "cors", true),
            ("cross-site", "no-cors", true),
            ("same-site", "cors", true),
        ] {
            let headers = [
                ("host", "localhost"),
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
            ];
            let found = refusal(":1", &headers) == Some(Refusal::Origin);
            assert_eq!(found, refused, "{site} {mode}");
        }
    }

    #[test]
    fn nothing_but_reading_is_allowed() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        let guard = Guard::new(":1");
        let uri = Uri::from_static("/");
        for (method, refused) in [
            (Method::GET, None),
            (Method::HEAD, None),
            (Method::POST, Some(Refusal::Method)),
            (Method::OPTIONS, Some(Refusal::Method)),
        ] {
            assert_eq!(guard.refusal(&method, &uri, &headers), refused, "{method}");
        }
        let elsewhere = Uri::from_static("http://evil.example/");
        let found = guard.refusal(&Method::GET, &elsewhere, &headers);
        assert_eq!(found, Some(Refusal::Host));
    }
}
