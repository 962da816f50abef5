//! Why a name is denied, and why an answer is what it is.

use std::fmt;

/// Why an answer is NXDOMAIN, as the label `cause` of metrics has it.
///
/// It is for people who ask why a client finds no name; the answer does not
/// depend on it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Denial {
    /// Only a search list makes such a name: `search` of resolv.conf(5) with
    /// `ndots:5`, as kubelet writes it. Beneath a zone of `kubernetes` that
    /// is a name which does not exist and
    ///
    /// 1. has neither `svc` nor `pod` right in front of the zone:
    ///    `api.stripe.com.cluster.local`;
    /// 2. has nothing but one label in front of those, which is no namespace:
    ///    `redis.svc.cluster.local`;
    /// 3. has more labels than any record:
    ///    `a.b.stripe.com.payments.svc.cluster.local`;
    /// 4. has a second label that should be a port's protocol and is neither
    ///    TCP nor UDP nor SCTP:
    ///    `api.stripe.com.payments.svc.cluster.local`;
    /// 5. should be an endpoint's, but what stands in the place of its
    ///    Service is none but a namespace, or `svc`, or
    ///    [top level](is_top_level):
    ///    `redis.payments.payments.svc.cluster.local`,
    ///    `stripe.com.payments.svc.cluster.local`;
    /// 6. has `svc`, or what is top level, in the place of its namespace:
    ///    `redis.payments.svc.svc.cluster.local`,
    ///    `api.stripe.com.svc.cluster.local`.
    ///
    /// So is a name that `cache` with `cut` has denied for one above it.
    SearchPath,
    /// The namespace exists, the Service does not.
    NoSuchService,
    /// The namespace does not exist, or the Corefile does not show it.
    NoSuchNamespace,
    /// The Service exists and has no such endpoint or port, or no ready
    /// endpoint at all; or no Pod, Service or endpoint has the address; or a
    /// zone that is served from records, such as one of `hosts` or
    /// `secondary`, has no such name.
    NoSuchHost,
    /// An upstream said so, now or when the answer was cached.
    Upstream,
    /// The Corefile says so: a `template` with `rcode NXDOMAIN`.
    Blocked,
}

impl Denial {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::SearchPath,
        Self::NoSuchService,
        Self::NoSuchNamespace,
        Self::NoSuchHost,
        Self::Upstream,
        Self::Blocked,
    ];

    /// The word for it in metrics, on pages and in the output of tools.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SearchPath => "search_path",
            Self::NoSuchService => "no_such_service",
            Self::NoSuchNamespace => "no_such_namespace",
            Self::NoSuchHost => "no_such_host",
            Self::Upstream => "upstream",
            Self::Blocked => "blocked",
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an answer is what it is, in words.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Why {
    /// What decided it: "namespace `com` does not exist".
    pub text: String,
    /// Names that exist and were perhaps meant, with their trailing dots.
    pub near: Vec<String>,
}

/// Whether a label in lower case looks like the last one of a name of the
/// internet, with so many labels in front of it.
///
/// These are the frequent ones that few would call a namespace or a Service
/// (not `es`, `mq` or `qa`); those that somebody
/// might are counted where the name is as long as only an endpoint's may be.
pub fn is_top_level(label: &[u8], in_front: usize) -> bool {
    match label {
        b"io" | b"co" | b"ai" | b"me" | b"tv" | b"eu" | b"us" | b"ca" | b"br" | b"uk" | b"ie"
        | b"fr" | b"be" | b"nl" | b"de" | b"at" | b"ch" | b"it" | b"pl" | b"cz" | b"dk" | b"se"
        | b"no" | b"fi" | b"ru" | b"in" | b"cn" | b"jp" | b"kr" | b"sg" | b"au" | b"nz" => true,
        b"com" | b"net" | b"org" | b"edu" | b"gov" | b"mil" | b"int" | b"info" | b"biz"
        | b"arpa" => true,
        b"app" | b"dev" | b"cloud" | b"internal" | b"local" | b"lan" | b"home" | b"corp" => {
            in_front > 1
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_order() {
        for (number, denial) in Denial::ALL.into_iter().enumerate() {
            assert_eq!(denial as usize, number);
            assert_eq!(denial.to_string(), denial.as_str());
        }
    }

    #[test]
    fn words_that_may_be_namespaces_count_in_long_names_alone() {
        for (label, in_front, is) in [
            ("com", 1, true),
            ("io", 1, true),
            ("db", 2, false),
            ("dev", 1, false),
            ("dev", 2, true),
            ("payments", 2, false),
            ("", 2, false),
        ] {
            assert_eq!(is_top_level(label.as_bytes(), in_front), is, "{label}");
        }
    }
}
