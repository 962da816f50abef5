//! What the client's resolver is told: from a file, or as the kubelet tells a Pod.

use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use super::answer::printable;
use super::cluster::{Cluster, Pod, default_source};
use super::evaluate::Text;
use super::report;
use super::{ExplainError, Options};
use crate::command::resolv_conf::ResolvConf;

/// Where a resolver is told everything, unless it is told otherwise.
const SYSTEM: &str = "/etc/resolv.conf";
/// The domain that clusters have unless somebody chose another.
const DOMAIN: &str = "cluster.local";

/// Whose resolver it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Whose {
    namespace: String,
    pod: Option<String>,
}

/// Why a word is no namespace and no Pod.
#[derive(Debug, thiserror::Error)]
#[error("NAMESPACE or NAMESPACE/POD, in lower-case letters, digits, dashes and, for a Pod, dots")]
pub(super) struct WhoseError;

impl FromStr for Whose {
    type Err = WhoseError;

    fn from_str(text: &str) -> Result<Self, WhoseError> {
        let (namespace, pod) = match text.split_once('/') {
            Some((namespace, pod)) => (namespace, Some(pod)),
            None => (text, None),
        };
        let good = pod.is_none_or(|pod| pod.len() <= 253 && pod.split('.').all(is_label));
        match is_label(namespace) && good {
            true => Ok(Self {
                namespace: namespace.to_owned(),
                pod: pod.map(ToOwned::to_owned),
            }),
            false => Err(WhoseError),
        }
    }
}

impl Whose {
    /// Whether it names a Pod, which must be looked up.
    pub(super) fn is_one_pod(&self) -> bool {
        self.pod.is_some()
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
    /// The client's address, where it is known.
    pub(super) address: Option<IpAddr>,
    /// What is not known about it.
    pub(super) notes: Vec<String>,
}

impl Resolver {
    /// The resolver that the command line speaks of.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, a domain that is none, a Pod that is not to
    /// be found.
    pub(super) async fn find(options: &Options, text: Option<&Text>) -> Result<Self, ExplainError> {
        let Some(whose) = &options.from else {
            return Self::read(match &options.resolv_conf {
                Some(path) => path,
                None => Path::new(SYSTEM),
            });
        };
        let zone = || text.and_then(Text::zone).map(|zone| zone.to_string());
        let domain = options.cluster_domain.clone().or_else(zone);
        let domain = domain.as_deref().unwrap_or(DOMAIN);
        let Some(name) = &whose.pod else {
            let source = format!("a Pod of namespace {}", whose.namespace);
            return Self::of_pod(&whose.namespace, source, &Pod::default(), None, domain);
        };
        let source = match (options.source(), text.and_then(Text::cluster)) {
            (Some(source), _) => source,
            (None, Some(source)) => source?,
            (None, None) => default_source()?,
        };
        let cluster = Cluster::open(&source).await?;
        let pod = cluster.pod(&whose.namespace, name).await?;
        let dns = cluster.dns().await;
        let source = format!("Pod {}/{name}", whose.namespace);
        Self::of_pod(&whose.namespace, source, &pod, dns, domain)
    }

    fn read(path: &Path) -> Result<Self, ExplainError> {
        let text = std::fs::read(path).map_err(|why| ExplainError::ResolvConf {
            path: path.to_owned(),
            why,
        })?;
        let conf = ResolvConf::parse(&String::from_utf8_lossy(&text));
        Ok(Self {
            notes: refused(&conf),
            conf,
            source: path.display().to_string(),
            address: None,
        })
    }

    /// As the kubelet writes it (pkg/kubelet/network/dns/dns.go): by the Pod's
    /// `dnsPolicy`, and then its `dnsConfig`.
    fn of_pod(
        namespace: &str,
        source: String,
        pod: &Pod,
        dns: Option<IpAddr>,
        domain: &str,
    ) -> Result<Self, ExplainError> {
        let mut conf = ResolvConf::default();
        let mut notes = Vec::new();
        let policy = pod.spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
        let source = format!("{source} with dnsPolicy {}", printable(policy));
        let on_host = pod.spec.host_network == Some(true);
        match policy {
            "None" => {}
            "ClusterFirstWithHostNet" | "ClusterFirst" => {
                if policy == "ClusterFirst" && on_host {
                    return Err(ExplainError::NodesOwn(format!("{source} and hostNetwork")));
                }
                let domain = domain.trim_end_matches('.');
                let namespaced = format!("{namespace}.svc.{domain}");
                for domain in [&*namespaced, &format!("svc.{domain}"), domain] {
                    conf.add_search(domain);
                }
                if !conf.refused.is_empty() {
                    return Err(ExplainError::Domain(printable(domain)));
                }
                conf.option("ndots:5");
                conf.nameservers.extend(dns);
                notes.push(NODE_DOMAINS.to_owned());
            }
            _ => return Err(ExplainError::NodesOwn(source)),
        }
        if let Some(config) = &pod.spec.dns_config {
            for server in config.nameservers.iter().flatten() {
                conf.add_nameserver(server);
            }
            for domain in config.searches.iter().flatten() {
                conf.add_search(domain);
            }
            for option in config.options.iter().flatten() {
                let name = option.name.as_deref().unwrap_or_default();
                match &option.value {
                    Some(value) => conf.option(&format!("{name}:{value}")),
                    None => conf.option(name),
                }
            }
        }
        notes.extend(refused(&conf));
        let address = pod.status.pod_ip.as_deref();
        Ok(Self {
            conf,
            source,
            address: address.and_then(|address| address.parse().ok()),
            notes,
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

fn refused(conf: &ResolvConf) -> Vec<String> {
    let words = conf.refused.iter();
    let words = words.map(|word| format!("`{}` makes no sense and is left out", printable(word)));
    words.collect()
}

/// The kubelet appends what only it knows.
const NODE_DOMAINS: &str = "the kubelet appends the search domains of the node's own resolv.conf, which are not known here; --resolv-conf takes a Pod's whole file";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_a_namespace_and_a_name() {
        for (text, good) in [
            ("shop", true),
            ("shop/web-0", true),
            ("shop/web.example", true),
            ("a", true),
            ("", false),
            ("Shop", false),
            ("-a", false),
            ("a.b", false),
            ("../x", false),
            ("shop/", false),
            ("shop/../x", false),
            ("shop/a/b", false),
            ("shop/a?b", false),
        ] {
            assert_eq!(text.parse::<Whose>().is_ok(), good, "{text}");
        }
        assert!("a".repeat(64).parse::<Whose>().is_err());
    }

    fn resolver(spec: serde_json::Value) -> Result<String, String> {
        let pod = serde_json::json!({"spec": spec, "status": {"podIP": "10.0.0.9"}});
        let pod = serde_json::from_value(pod).unwrap();
        let dns = Some("10.96.0.10".parse().unwrap());
        let found = Resolver::of_pod("shop", "Pod shop/web".to_owned(), &pod, dns, "k8s.test.");
        let found = found.map_err(|error| error.to_string())?;
        assert_eq!(found.address, Some("10.0.0.9".parse().unwrap()));
        let report = found.describe();
        Ok(format!(
            "{} ndots:{} @{}",
            report.search.join(" "),
            report.ndots,
            report.nameservers.join(",")
        ))
    }

    #[test]
    fn a_pod_is_told_what_the_kubelet_tells_it() {
        use serde_json::json;

        let usual = "shop.svc.k8s.test. svc.k8s.test. k8s.test.";
        let config = json!({
            "nameservers": ["192.0.2.1"],
            "searches": ["a.test", "svc.k8s.test"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "rotate"}],
        });
        for (spec, want) in [
            (json!({}), format!("{usual} ndots:5 @10.96.0.10")),
            (
                json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}),
                format!("{usual} ndots:5 @10.96.0.10"),
            ),
            (
                json!({"dnsPolicy": "ClusterFirst", "dnsConfig": config}),
                format!("{usual} a.test. ndots:2 @10.96.0.10,192.0.2.1"),
            ),
            (
                json!({"dnsPolicy": "None", "dnsConfig": config}),
                "a.test. svc.k8s.test. ndots:2 @192.0.2.1".to_owned(),
            ),
            (json!({"dnsPolicy": "None"}), " ndots:1 @".to_owned()),
        ] {
            assert_eq!(resolver(spec.clone()), Ok(want), "{spec}");
        }
        for spec in [
            json!({"dnsPolicy": "Default"}),
            json!({"hostNetwork": true}),
        ] {
            let error = resolver(spec).unwrap_err();
            assert!(error.contains("--resolv-conf"), "{error}");
        }
    }
}
