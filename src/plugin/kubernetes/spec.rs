//! What the Corefile says about `kubernetes` (CoreDNS `plugin/kubernetes/setup.go`).

use std::time::Duration;

use corefile::{Dispenser, Error, duration, number, quote};

use super::reverse;
use super::selector::Selector;
use crate::plugin::Block;
use crate::wire::NameBuf;

/// The directive, option by option.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    /// The zones, in the order written.
    pub(super) zones: Vec<NameBuf>,
    /// The zone that the targets of PTR records lie in: the first of `zones`
    /// that is not a reverse zone.
    pub(super) primary: NameBuf,
    /// Those of `zones` that answer from ServiceImports.
    pub(super) multicluster: Vec<NameBuf>,
    /// Where the cluster's state comes from.
    pub(super) source: Source,
    /// The only namespaces to show; empty shows all.
    pub(super) namespaces: Vec<String>,
    /// Which namespaces to show, by label.
    pub(super) namespace_labels: Option<Selector>,
    /// Which Services, EndpointSlices and Pods to show, by label.
    pub(super) labels: Option<Selector>,
    /// What names below `pod` mean.
    pub(super) pods: PodMode,
    /// The node whose pods are clients of this server.
    pub(super) node: Option<String>,
    /// Whether endpoints without a hostname are named after their pod.
    pub(super) endpoint_pod_names: bool,
    /// The TTL of answers in seconds, 0 to 3600.
    pub(super) ttl: u32,
    /// Whether EndpointSlices are watched.
    pub(super) endpoints: bool,
    /// Whether topology zones have names.
    pub(super) zonal: bool,
    /// Whether a service without ready endpoints does not exist.
    pub(super) ignore_empty_service: bool,
    /// The zones whose names go on to the next plugin when they do not exist.
    pub(super) fall: Vec<NameBuf>,
    /// How long the start waits for the cluster's state.
    pub(super) startup_timeout: Duration,
    /// A file that keeps the state for a start without an API server.
    pub(super) snapshot: Option<String>,
    /// Deprecated things that were said; logged when the directive comes into force.
    pub(super) warnings: Vec<String>,
}

/// Where objects come from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Source {
    /// The API server's URL; `None` means the one of the pod's environment.
    pub(super) endpoint: Option<String>,
    /// Files with client certificate, key and CA.
    pub(super) tls: Option<[String; 3]>,
    /// A kubeconfig file and the context to use of it.
    pub(super) kubeconfig: Option<(String, Option<String>)>,
    /// Files or folders with objects, in the place of an API server.
    pub(super) manifests: Vec<String>,
}

/// The option `pods`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum PodMode {
    /// There are none.
    #[default]
    Disabled,
    /// Any address in a namespace that exists is a pod.
    Insecure,
    /// A pod is one that the API server knows.
    Verified,
}

const DEFAULT_TTL: u32 = 5;
const DEFAULT_STARTUP_TIMEOUT: Duration = Duration::from_secs(5);

const PROPERTIES: &[&str] = &[
    "endpoint",
    "tls",
    "kubeconfig",
    "namespaces",
    "namespace_labels",
    "labels",
    "pods",
    "endpoint_pod_names",
    "ttl",
    "noendpoints",
    "zonal",
    "fallthrough",
    "ignore",
    "multicluster",
    "startup_timeout",
    "apiserver_qps",
    "apiserver_burst",
    "apiserver_max_inflight",
    "manifests",
    "node",
    "snapshot",
];

/// Reads the directive; it may stand once in a block.
pub(super) fn parse(directive: &corefile::Directive, block: &Block) -> Result<Options, Error> {
    let mut words = directive.dispenser();
    words.next();
    let options = stanza(&mut words, block)?;
    match words.next() {
        true => Err(words.once_err()),
        false => Ok(options),
    }
}

fn stanza(words: &mut Dispenser<'_>, block: &Block) -> Result<Options, Error> {
    let zones = block.origins(&words.remaining_args());
    let primary = zones.iter().find(|zone| !reverse::is_reverse(zone.name()));
    let Some(primary) = primary.cloned() else {
        return Err(words.plain_err("non-reverse zone name must be used"));
    };
    let mut options = Options {
        zones,
        primary,
        multicluster: Vec::new(),
        source: Source::default(),
        namespaces: Vec::new(),
        namespace_labels: None,
        labels: None,
        pods: PodMode::default(),
        node: None,
        endpoint_pod_names: false,
        ttl: DEFAULT_TTL,
        endpoints: true,
        zonal: false,
        ignore_empty_service: false,
        fall: Vec::new(),
        startup_timeout: DEFAULT_STARTUP_TIMEOUT,
        snapshot: None,
        warnings: Vec::new(),
    };
    while words.next_block() {
        options.property(words, block)?;
    }
    options.check(words)?;
    Ok(options)
}

impl Options {
    fn property(&mut self, words: &mut Dispenser<'_>, block: &Block) -> Result<(), Error> {
        match words.val() {
            "endpoint_pod_names" => {
                none(words)?;
                self.endpoint_pod_names = true;
            }
            "pods" => self.pods = pod_mode(words)?,
            "namespaces" => self.namespaces.extend(some(words)?),
            "endpoint" => {
                let urls = some(words)?;
                if let [first, _, ..] = &*urls {
                    self.warnings.push(format!(
                        "Multiple endpoints have been deprecated, only the first specified endpoint '{first}' is used"
                    ));
                }
                self.source.endpoint = urls.into_iter().next();
            }
            "tls" => {
                let files = <[String; 3]>::try_from(owned(words));
                self.source.tls = Some(files.map_err(|_| words.arg_err())?);
            }
            "labels" => self.labels = Some(selector(words, "label")?),
            "namespace_labels" => self.namespace_labels = Some(selector(words, "namespace_label")?),
            "fallthrough" => {
                self.fall = match &*words.remaining_args() {
                    [] => vec![NameBuf::new()],
                    zones => block.origins(zones),
                };
            }
            "ttl" => {
                let args = words.remaining_args();
                let first = args.first().ok_or_else(|| words.arg_err())?;
                let ttl =
                    number::atoi(first).map_err(|error| words.plain_err(error.to_string()))?;
                self.ttl = u32::try_from(ttl)
                    .ok()
                    .filter(|ttl| *ttl <= 3600)
                    .ok_or_else(|| words.err(format!("ttl must be in range [0, 3600]: {ttl}")))?;
            }
            "noendpoints" => {
                none(words)?;
                self.endpoints = false;
            }
            "zonal" => {
                none(words)?;
                self.zonal = true;
            }
            "ignore" => match words.remaining_args().first() {
                // CoreDNS takes a lone `ignore` to mean nothing.
                None => {}
                Some(&"empty_service") => self.ignore_empty_service = true,
                Some(what) => {
                    let message = format!("unable to parse ignore value: '{what}'");
                    return Err(words.plain_err(message).suggest(&["empty_service"]));
                }
            },
            "kubeconfig" => {
                let mut args = owned(words).into_iter();
                self.source.kubeconfig = match (args.next(), args.next(), args.next()) {
                    (Some(file), context, None) => Some((file, context)),
                    _ => return Err(words.arg_err()),
                };
            }
            "multicluster" => {
                self.multicluster = match &*words.remaining_args() {
                    [] => Vec::new(),
                    zones => block.origins(zones),
                };
            }
            "startup_timeout" => {
                let args = words.remaining_args();
                let first = args.first().ok_or_else(|| words.arg_err())?;
                let timeout = duration::parse(first).map_err(|error| {
                    words.plain_err(format!("failed to parse startup_timeout: {first}, {error}"))
                })?;
                self.startup_timeout = timeout.to_std().unwrap_or_default();
            }
            // CoreDNS reads these three and, since it applies them to a copy
            // of the configuration that nobody uses, leaves it at that. Our
            // client needs no throttle: it makes one request a collection.
            name @ "apiserver_qps" => {
                let text = only(words)?;
                let qps = parse_float(text).map_err(|error| {
                    words.err(format!("invalid {name} {}: {error}", quote(text)))
                })?;
                at_least_zero(words, name, qps >= 0.0 || qps.is_nan())?;
            }
            name @ ("apiserver_burst" | "apiserver_max_inflight") => {
                let text = only(words)?;
                let count = number::atoi(text).map_err(|error| {
                    words.err(format!("invalid {name} {}: {error}", quote(text)))
                })?;
                at_least_zero(words, name, count >= 0)?;
            }
            "manifests" => self.source.manifests.extend(some(words)?),
            "node" => match only(words)? {
                "" => {
                    let error = words.err("node needs the name of the node that this runs on");
                    return Err(error.help(
                        "in a DaemonSet: node {$NODE_NAME}, and an environment variable NODE_NAME from spec.nodeName",
                    ));
                }
                node => self.node = Some(node.to_owned()),
            },
            "snapshot" => self.snapshot = Some(only(words)?.to_owned()),
            _ => return Err(words.unknown_property_err(PROPERTIES)),
        }
        Ok(())
    }

    /// What only shows when all options are known.
    fn check(&self, words: &Dispenser<'_>) -> Result<(), Error> {
        if !self.namespaces.is_empty() && self.namespace_labels.is_some() {
            return Err(words.err("namespaces and namespace_labels cannot both be set"));
        }
        for zone in &self.multicluster {
            if !self.zones.contains(zone) {
                let zones: Vec<String> = self.zones.iter().map(ToString::to_string).collect();
                return Err(words.err(format!(
                    "is not authoritative for the multicluster zone {zone} (authoritative zones: [{}])",
                    zones.join(" ")
                )));
            }
        }
        if self.zonal && !self.endpoints {
            return Err(words.err("zonal requires the endpoint cache; remove noendpoints"));
        }
        let Source {
            endpoint,
            tls,
            kubeconfig,
            manifests,
        } = &self.source;
        if !manifests.is_empty() && (endpoint.is_some() || tls.is_some() || kubeconfig.is_some()) {
            return Err(words
                .err("manifests stand in for an API server; remove endpoint, tls and kubeconfig"));
        }
        if !manifests.is_empty() && self.snapshot.is_some() {
            return Err(words.err("manifests are on disk already; remove snapshot"));
        }
        Ok(())
    }
}

fn pod_mode(words: &mut Dispenser<'_>) -> Result<PodMode, Error> {
    match only(words)? {
        "disabled" => Ok(PodMode::Disabled),
        "insecure" => Ok(PodMode::Insecure),
        "verified" => Ok(PodMode::Verified),
        other => Err(words
            .plain_err(format!(
                "wrong value for pods: {other},  must be one of: disabled, verified, insecure"
            ))
            .suggest(&["disabled", "verified", "insecure"])),
    }
}

fn selector(words: &mut Dispenser<'_>, what: &str) -> Result<Selector, Error> {
    let text = some(words)?.join(" ");
    Selector::parse(&text).map_err(|error| {
        words.plain_err(format!(
            "unable to parse {what} selector value: '{text}': {error}"
        ))
    })
}

fn at_least_zero(words: &Dispenser<'_>, name: &str, is: bool) -> Result<(), Error> {
    match is {
        true => Ok(()),
        false => Err(words.err(format!("{name} must be >= 0"))),
    }
}

fn owned(words: &mut Dispenser<'_>) -> Vec<String> {
    words
        .remaining_args()
        .into_iter()
        .map(str::to_owned)
        .collect()
}

fn none(words: &mut Dispenser<'_>) -> Result<(), Error> {
    match words.remaining_args().is_empty() {
        true => Ok(()),
        false => Err(words.arg_err()),
    }
}

fn some(words: &mut Dispenser<'_>) -> Result<Vec<String>, Error> {
    let args = owned(words);
    match args.is_empty() {
        true => Err(words.arg_err()),
        false => Ok(args),
    }
}

fn only<'a>(words: &mut Dispenser<'a>) -> Result<&'a str, Error> {
    match *words.remaining_args() {
        [only] => Ok(only),
        _ => Err(words.arg_err()),
    }
}

/// Go's `strconv.ParseFloat` with 32 bits, hexadecimal floats left out.
fn parse_float(text: &str) -> Result<f32, String> {
    let failed = |why| {
        Err(format!(
            "strconv.ParseFloat: parsing {}: {why}",
            quote(text)
        ))
    };
    match text.parse::<f32>() {
        Ok(value) if value.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) => {
            failed("value out of range")
        }
        Ok(value) => Ok(value),
        Err(_) => failed("invalid syntax"),
    }
}
