//! What the client's resolver is told: from a file, or as the kubelet tells a Pod.

use std::path::Path;
use std::str::FromStr;

use super::report;
use super::{ExplainError, Options};
use crate::command::resolv_conf::ResolvConf;

/// Where a resolver is told everything, unless it is told otherwise.
const SYSTEM: &str = "/etc/resolv.conf";

/// Whose resolver it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Whose {
    namespace: String,
}

/// Why a word is no namespace.
#[derive(Debug, thiserror::Error)]
#[error("a namespace is a DNS label: lower-case letters, digits and dashes, at most 63")]
pub(super) struct WhoseError;

impl FromStr for Whose {
    type Err = WhoseError;

    fn from_str(text: &str) -> Result<Self, WhoseError> {
        match is_label(text) {
            true => Ok(Self {
                namespace: text.to_owned(),
            }),
            false => Err(WhoseError),
        }
    }
}

/// Whether it is a label of RFC 1123, as names of namespaces are.
fn is_label(text: &str) -> bool {
    let inside = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    let ends = !text.starts_with('-') && !text.ends_with('-');
    matches!(text.len(), 1..=63) && ends && text.bytes().all(inside)
}

/// What a resolver is told.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    /// The search list and so on.
    pub(super) conf: ResolvConf,
    /// Who says so.
    pub(super) source: String,
    /// What is not known about it.
    pub(super) notes: Vec<String>,
}

impl Resolver {
    /// The resolver that the command line speaks of.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, a domain that is none.
    pub(super) fn find(options: &Options) -> Result<Self, ExplainError> {
        match (&options.from, &options.resolv_conf) {
            (Some(whose), _) => Self::of_namespace(&whose.namespace, &options.cluster_domain),
            (None, Some(path)) => Self::read(path),
            (None, None) => Self::read(Path::new(SYSTEM)),
        }
    }

    fn read(path: &Path) -> Result<Self, ExplainError> {
        let text = std::fs::read(path).map_err(|source| ExplainError::ResolvConf {
            path: path.to_owned(),
            source,
        })?;
        let conf = ResolvConf::parse(&String::from_utf8_lossy(&text));
        let refused = conf.refused.iter().map(|word| {
            let word = super::answer::printable(word);
            format!(
                "{}: `{word}` makes no sense there and is left out",
                path.display()
            )
        });
        Ok(Self {
            notes: refused.collect(),
            conf,
            source: path.display().to_string(),
        })
    }

    /// The usual: `dnsPolicy: ClusterFirst` and no `dnsConfig`.
    fn of_namespace(namespace: &str, domain: &str) -> Result<Self, ExplainError> {
        let mut conf = ResolvConf::default();
        for domain in [
            format!("{namespace}.svc.{domain}"),
            format!("svc.{domain}"),
            domain.to_owned(),
        ] {
            conf.add_search(&domain);
        }
        if !conf.refused.is_empty() {
            return Err(ExplainError::Domain(domain.to_owned()));
        }
        conf.option("ndots:5");
        Ok(Self {
            conf,
            source: format!("a Pod of namespace {namespace} with dnsPolicy ClusterFirst"),
            notes: vec![NODE_DOMAINS.to_owned()],
        })
    }

    /// As it stands in a report.
    pub(super) fn describe(&self) -> report::Resolver {
        let search = self.conf.search.iter();
        let nameservers = self.conf.nameservers.iter();
        report::Resolver {
            source: self.source.clone(),
            search: search.map(ToString::to_string).collect(),
            ndots: self.conf.ndots,
            nameservers: nameservers.map(ToString::to_string).collect(),
        }
    }
}

/// The kubelet appends what only it knows.
const NODE_DOMAINS: &str = "the search domains of the node's own resolv.conf, which the kubelet appends to a Pod's, are not known here: --resolv-conf takes a Pod's whole file";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_label() {
        for (text, good) in [
            ("shop", true),
            ("kube-system", true),
            ("a", true),
            ("", false),
            ("Shop", false),
            ("-a", false),
            ("a.b", false),
            ("../x", false),
        ] {
            assert_eq!(text.parse::<Whose>().is_ok(), good, "{text}");
        }
        assert!("a".repeat(64).parse::<Whose>().is_err());
    }

    #[test]
    fn a_usual_pod_has_the_list_of_its_namespace() {
        let resolver = Resolver::of_namespace("shop", "cluster.local").unwrap();
        assert_eq!(
            resolver.describe().search,
            [
                "shop.svc.cluster.local.",
                "svc.cluster.local.",
                "cluster.local."
            ]
        );
        assert_eq!(resolver.conf.ndots, 5);
        assert!(Resolver::of_namespace("shop", "a..b").is_err());
    }
}
