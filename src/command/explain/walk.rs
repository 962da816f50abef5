//! The walk of a search list: which names a resolver asks for, in which order,
//! and where it stops. Pure; it asks nobody.
//!
//! glibc: `res_search` (resolv/res_query.c); musl: `name_from_dns_search`
//! (src/network/lookup_name.c).

use crate::command::resolv_conf::ResolvConf;
use crate::wire::{NameBuf, NameError};

/// Whose rules.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Libc {
    /// glibc: Debian, Ubuntu, Red Hat, distroless.
    #[default]
    Glibc,
    /// musl: Alpine.
    Musl,
}

impl Libc {
    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
        }
    }
}

/// A name as an application writes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Written {
    name: NameBuf,
    dots: usize,
    absolute: bool,
}

impl Written {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// Where no query can have such a name.
    pub(super) fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        let absolute = crate::presentation::is_fqdn(text);
        Ok(Self {
            name: crate::presentation::fqdn(text).parse()?,
            dots: text.bytes().filter(|octet| *octet == b'.').count(),
            absolute,
        })
    }
}

/// A name that is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Candidate {
    /// The name.
    pub(super) name: NameBuf,
    /// The domain of the search list that made it; `None`: it is as written.
    pub(super) domain: Option<NameBuf>,
    /// Whether it is tried before the list although there is one.
    before: bool,
}

/// The names that are asked for while none of them is found. Names that get
/// too long with their domain are left out.
pub(super) fn candidates(written: &Written, conf: &ResolvConf, libc: Libc) -> Vec<Candidate> {
    let as_it_is = |before| Candidate {
        name: written.name.clone(),
        domain: None,
        before,
    };
    if written.absolute {
        return vec![as_it_is(false)];
    }
    let first = written.dots >= usize::from(conf.ndots);
    if first && libc == Libc::Musl {
        return vec![as_it_is(false)];
    }
    let mut all: Vec<Candidate> = first.then(|| as_it_is(true)).into_iter().collect();
    let mut tried = first;
    for domain in &conf.search {
        if domain.name().is_root() {
            // Behind it the name is not tried as it is once more.
            if !std::mem::replace(&mut tried, true) {
                all.push(as_it_is(false));
            }
            continue;
        }
        let mut name = written.name.clone();
        if name.push_name(domain.name()).is_ok() {
            all.push(Candidate {
                name,
                domain: Some(domain.clone()),
                before: false,
            });
        }
    }
    let single = written.dots == 0 && !conf.search.is_empty();
    let never = conf.no_tld_query && single && libc == Libc::Glibc;
    if !(tried || never) {
        all.push(as_it_is(false));
    }
    all
}

/// What the answers for one candidate came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// There are records.
    Found,
    /// The name exists and has no such record.
    NoData,
    /// The name does not exist.
    NoName,
    /// SERVFAIL.
    Failed,
    /// Any other code: REFUSED, for one.
    Refused,
    /// No answer.
    Silence,
    /// Nobody was asked.
    Unknown,
}

impl Verdict {
    /// Whether a resolver goes on to the next candidate.
    pub(super) fn goes_on(self, candidate: &Candidate, libc: Libc) -> bool {
        match (libc, self) {
            (_, Self::Found | Self::Unknown) => false,
            (_, Self::NoName) => true,
            (Libc::Musl, _) => false,
            // Whatever came of it, the list is walked.
            (Libc::Glibc, _) if candidate.before => true,
            (Libc::Glibc, Self::NoData | Self::Failed) => true,
            (Libc::Glibc, Self::Refused | Self::Silence) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubernetes(ndots: u8) -> ResolvConf {
        let text = "search shop.svc.cluster.local svc.cluster.local cluster.local";
        ResolvConf::parse(&format!("{text}\noptions ndots:{ndots}"))
    }

    fn names(written: &str, conf: &ResolvConf, libc: Libc) -> String {
        let written = Written::parse(written).unwrap();
        let all = candidates(&written, conf, libc);
        let names: Vec<String> = all.iter().map(|each| each.name.to_string()).collect();
        names.join(" ")
    }

    #[test]
    fn names_are_tried_in_order() {
        use Libc::{Glibc, Musl};
        let five = &kubernetes(5);
        let one = &kubernetes(1);
        let none = &ResolvConf::default();
        let root = &ResolvConf::parse("search . a.test\noptions ndots:2");
        let strict = &ResolvConf::parse("search a.test\noptions no-tld-query");
        let walk = "web.shop.svc.cluster.local. web.svc.cluster.local. web.cluster.local. web.";
        let dotted = "a.b.shop.svc.cluster.local. a.b.svc.cluster.local. a.b.cluster.local.";
        for (written, conf, libc, want) in [
            ("web", five, Glibc, walk.to_owned()),
            ("web", five, Musl, walk.to_owned()),
            ("a.b", five, Glibc, format!("{dotted} a.b.")),
            ("a.b.", five, Glibc, "a.b.".to_owned()),
            ("a.b", one, Glibc, format!("a.b. {dotted}")),
            ("a.b", one, Musl, "a.b.".to_owned()),
            ("web", none, Glibc, "web.".to_owned()),
            ("a.b", root, Glibc, "a.b. a.b.a.test.".to_owned()),
            ("a.b.c", root, Glibc, "a.b.c. a.b.c.a.test.".to_owned()),
            ("web", strict, Glibc, "web.a.test.".to_owned()),
            ("web", strict, Musl, "web.a.test. web.".to_owned()),
        ] {
            assert_eq!(names(written, conf, libc), want, "{written} {libc:?}");
        }
    }

    #[test]
    fn a_name_that_gets_too_long_is_left_out() {
        let label = "x".repeat(60);
        let long = [label.as_str(); 4].join(".");
        assert_eq!(
            names(&long, &kubernetes(5), Libc::Glibc),
            format!("{long}.")
        );
        assert!(Written::parse(&[label.as_str(); 5].join(".")).is_err());
        for none in ["", "a..b", ".a", ".."] {
            assert!(Written::parse(none).is_err(), "{none}");
        }
    }

    #[test]
    fn the_walk_ends_where_the_library_ends_it() {
        use Verdict::{Failed, Found, NoData, NoName, Refused, Silence, Unknown};
        let written = Written::parse("a.b").unwrap();
        let searched = candidates(&written, &kubernetes(5), Libc::Glibc).remove(0);
        let before = candidates(&written, &kubernetes(1), Libc::Glibc).remove(0);
        for (libc, candidate, on) in [
            (Libc::Glibc, &searched, &[NoData, NoName, Failed][..]),
            (
                Libc::Glibc,
                &before,
                &[NoData, NoName, Failed, Refused, Silence],
            ),
            (Libc::Musl, &searched, &[NoName]),
        ] {
            for verdict in [Found, NoData, NoName, Failed, Refused, Silence, Unknown] {
                let goes_on = verdict.goes_on(candidate, libc);
                assert_eq!(goes_on, on.contains(&verdict), "{libc:?} {verdict:?}");
            }
        }
    }
}
