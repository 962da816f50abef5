//! The fields that are read, as the API spells them. Any of them may be
//! absent or null: Go writes a nil list as null.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use smallvec::SmallVec;

/// A string, borrowed unless it had escapes in it.
#[derive(Deserialize)]
pub(super) struct Str<'a>(#[serde(borrow)] Cow<'a, str>);

impl Str<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

pub(super) trait HasMeta<'a> {
    fn meta(&self) -> &Meta<'a>;
}

macro_rules! has_meta {
    ($($name:ident),*) => {$(
        impl<'a> HasMeta<'a> for $name<'a> {
            fn meta(&self) -> &Meta<'a> {
                &self.metadata
            }
        }
    )*};
}

has_meta!(Namespace, Service, Import, Slice, Pod);

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta<'a> {
    #[serde(borrow)]
    name: Option<Str<'a>>,
    #[serde(borrow)]
    namespace: Option<Str<'a>>,
    #[serde(borrow)]
    resource_version: Option<Str<'a>>,
    #[serde(borrow)]
    labels: Option<Pairs<'a>>,
    #[serde(borrow)]
    annotations: Option<Annotations<'a>>,
    deletion_timestamp: Option<IgnoredAny>,
}

impl Meta<'_> {
    pub(super) fn name(&self) -> &str {
        self.name.as_ref().map_or("", Str::as_str)
    }

    pub(super) fn namespace(&self) -> &str {
        self.namespace.as_ref().map_or("", Str::as_str)
    }

    pub(super) fn version(&self) -> &str {
        self.resource_version.as_ref().map_or("", Str::as_str)
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.labels.iter().flat_map(|pairs| pairs.0.iter());
        pairs.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.labels()
            .find(|(k, _)| *k == key)
            .map(|(_, value)| value)
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        let pairs = &self.annotations.as_ref()?.0.0;
        pairs
            .iter()
            .find(|(k, _)| k.as_str() == key)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn terminating(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

#[derive(Deserialize)]
pub(super) struct Namespace<'a> {
    #[serde(borrow)]
    pub(super) metadata: Meta<'a>,
}

#[derive(Deserialize)]
pub(super) struct Service<'a> {
    #[serde(borrow)]
    pub(super) metadata: Meta<'a>,
    #[serde(borrow)]
    pub(super) spec: Option<ServiceSpec<'a>>,
    #[serde(borrow)]
    pub(super) status: Option<ServiceStatus<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceSpec<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<Str<'a>>,
    #[serde(borrow, rename = "clusterIP")]
    pub(super) cluster_ip: Option<Str<'a>>,
    #[serde(borrow, rename = "clusterIPs")]
    pub(super) cluster_ips: Option<Vec<Str<'a>>>,
    #[serde(borrow, rename = "externalIPs")]
    pub(super) external_ips: Option<Vec<Str<'a>>>,
    #[serde(borrow)]
    pub(super) external_name: Option<Str<'a>>,
    #[serde(borrow)]
    pub(super) ports: Option<Vec<Port<'a>>>,
    pub(super) selector: Option<Something>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceStatus<'a> {
    #[serde(borrow)]
    pub(super) load_balancer: Option<LoadBalancer<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct LoadBalancer<'a> {
    #[serde(borrow)]
    pub(super) ingress: Option<Vec<Ingress<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Ingress<'a> {
    #[serde(borrow)]
    pub(super) ip: Option<Str<'a>>,
    #[serde(borrow)]
    pub(super) hostname: Option<Str<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Port<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Str<'a>>,
    #[serde(borrow)]
    pub(super) protocol: Option<Str<'a>>,
    pub(super) port: Option<i64>,
}

#[derive(Deserialize)]
pub(super) struct Import<'a> {
    #[serde(borrow)]
    pub(super) metadata: Meta<'a>,
    #[serde(borrow)]
    pub(super) spec: Option<ImportSpec<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ImportSpec<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<Str<'a>>,
    #[serde(borrow)]
    pub(super) ips: Option<Vec<Str<'a>>>,
    #[serde(borrow)]
    pub(super) ports: Option<Vec<Port<'a>>>,
}

#[derive(Deserialize)]
pub(super) struct Slice<'a> {
    #[serde(borrow)]
    pub(super) metadata: Meta<'a>,
    #[serde(borrow, default)]
    pub(super) endpoints: Option<Vec<Endpoint<'a>>>,
    #[serde(borrow, default)]
    pub(super) ports: Option<Vec<Port<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Endpoint<'a> {
    #[serde(borrow)]
    addresses: Option<Few<'a>>,
    conditions: Option<Conditions>,
    #[serde(borrow)]
    hostname: Option<Str<'a>>,
    #[serde(borrow)]
    target_ref: Option<TargetRef<'a>>,
    #[serde(borrow)]
    zone: Option<Str<'a>>,
}

impl Endpoint<'_> {
    /// Absent or null means ready, says the API.
    pub(super) fn ready(&self) -> bool {
        self.conditions
            .as_ref()
            .and_then(|c| c.ready)
            .unwrap_or(true)
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = &Str<'_>> {
        self.addresses.iter().flat_map(|few| few.0.iter())
    }

    pub(super) fn hostname(&self) -> &str {
        self.hostname.as_ref().map_or("", Str::as_str)
    }

    /// Empty when the name is too long for a label.
    pub(super) fn pod(&self) -> &str {
        let name = self
            .target_ref
            .as_ref()
            .and_then(|target| target.name.as_ref());
        name.map(Str::as_str)
            .filter(|name| name.len() < 64)
            .unwrap_or("")
    }

    pub(super) fn zone(&self) -> &str {
        self.zone.as_ref().map_or("", Str::as_str)
    }
}

#[derive(Deserialize)]
struct Conditions {
    ready: Option<bool>,
}

#[derive(Deserialize)]
struct TargetRef<'a> {
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Pod<'a> {
    #[serde(borrow)]
    pub(super) metadata: Meta<'a>,
    #[serde(borrow)]
    pub(super) spec: Option<PodSpec<'a>>,
    #[serde(borrow)]
    pub(super) status: Option<PodStatus<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpec<'a> {
    pub(super) host_network: Option<bool>,
    #[serde(borrow)]
    pub(super) dns_policy: Option<Str<'a>>,
    #[serde(borrow)]
    pub(super) dns_config: Option<DnsConfig<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct DnsConfig<'a> {
    pub(super) searches: Option<Vec<IgnoredAny>>,
    #[serde(borrow)]
    pub(super) options: Option<Vec<DnsOption<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct DnsOption<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Str<'a>>,
    #[serde(borrow)]
    pub(super) value: Option<Str<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct PodStatus<'a> {
    #[serde(borrow, rename = "podIP")]
    pub(super) pod_ip: Option<Str<'a>>,
    #[serde(borrow, rename = "hostIP")]
    pub(super) host_ip: Option<Str<'a>>,
}

/// A list that has one element nearly always: the addresses of an endpoint.
struct Few<'a>(SmallVec<[Str<'a>; 1]>);

impl<'de: 'a, 'a> Deserialize<'de> for Few<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Visit<'a> {
            type Value = Few<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of addresses")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Few<'a>, A::Error> {
                let mut few = SmallVec::new();
                while let Some(item) = list.next_element()? {
                    few.push(item);
                }
                Ok(Few(few))
            }
        }

        deserializer.deserialize_seq(Visit(PhantomData))
    }
}

/// A map of strings in its order.
struct Pairs<'a>(Vec<(Str<'a>, Str<'a>)>);

/// As [`Pairs`], for the values that may be megabytes: only those that are
/// asked for later are kept.
struct Annotations<'a>(Pairs<'a>);

/// Whether a map holds anything.
pub(super) struct Something(pub(super) bool);

impl<'de> Deserialize<'de> for Something {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(VisitSomething)
    }
}

struct VisitSomething;

impl<'de> Visitor<'de> for VisitSomething {
    type Value = Something;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Something, A::Error> {
        let mut any = false;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            any = true;
        }
        Ok(Something(any))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(VisitPairs(|_: &str| true, PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wanted = |key: &str| key == "endpoints.kubernetes.io/last-change-trigger-time";
        deserializer
            .deserialize_map(VisitPairs(wanted, PhantomData))
            .map(Self)
    }
}

struct VisitPairs<'a, F>(F, PhantomData<&'a ()>);

impl<'de: 'a, 'a, F: Fn(&str) -> bool> Visitor<'de> for VisitPairs<'a, F> {
    type Value = Pairs<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'a>, A::Error> {
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key::<Str<'a>>()? {
            if self.0(key.as_str()) {
                pairs.push((key, map.next_value()?));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Pairs(pairs))
    }
}
