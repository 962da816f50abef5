//! The page: one document, with all that it needs inside.

use std::sync::LazyLock;

use bytes::Bytes;
use data_encoding::BASE64;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use sha2::{Digest, Sha256};

use crate::http::{self, Body};

const DOCUMENT: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

static PAGE: LazyLock<Page> = LazyLock::new(Page::assemble);

struct Page {
    text: Bytes,
    policy: HeaderValue,
}

impl Page {
    fn assemble() -> Self {
        let text = DOCUMENT
            .replace("/*style*/", STYLE)
            .replace("/*script*/", SCRIPT);
        let (style, script) = (hash(STYLE), hash(SCRIPT));
        let policy = format!(
            "default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        Self {
            text: text.into(),
            policy: HeaderValue::try_from(policy).expect("a policy of our own is a header"),
        }
    }
}

/// What allows one text in the document and no other (CSP 3 section 2.3.1).
fn hash(text: &str) -> String {
    format!("'sha256-{}'", BASE64.encode(&Sha256::digest(text)))
}

pub(super) fn response() -> Response<Body> {
    let mut response = http::text(StatusCode::OK, PAGE.text.clone());
    let headers = response.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, html);
    headers.insert(header::CONTENT_SECURITY_POLICY, PAGE.policy.clone());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_needs_nothing_else() {
        let text = std::str::from_utf8(&PAGE.text).unwrap();
        for (part, open, close) in [
            (STYLE, "<style>", "</style>"),
            (SCRIPT, "<script type=\"module\">", "</script>"),
        ] {
            let inside = text
                .split_once(open)
                .and_then(|(_, rest)| rest.split_once(close));
            // What is hashed is what the browser sees, to the octet.
            assert_eq!(inside.map(|(inside, _)| inside), Some(part));
            assert!(!part.contains("http"), "something from elsewhere");
        }
        assert!(!DOCUMENT.contains("src="), "something from elsewhere");
        // What would take text for markup.
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!SCRIPT.contains(way), "{way}");
        }
    }
}
