//! The objects of a double and their history.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

/// The resource version of an empty cluster. 0 and 1 mean something else.
pub(super) const FIRST: u64 = 100;

/// What the API server calls a kind of object.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Resource {
    /// The path before the namespace or the plural name.
    pub(super) root: &'static str,
    pub(super) plural: &'static str,
    pub(super) kind: &'static str,
    pub(super) api_version: &'static str,
    pub(super) namespaced: bool,
}

pub(super) const RESOURCES: [Resource; 5] = [
    core("services", "Service", true),
    core("namespaces", "Namespace", false),
    core("pods", "Pod", true),
    Resource {
        root: "/apis/discovery.k8s.io/v1",
        plural: "endpointslices",
        kind: "EndpointSlice",
        api_version: "discovery.k8s.io/v1",
        namespaced: true,
    },
    Resource {
        root: "/apis/multicluster.x-k8s.io/v1alpha1",
        plural: "serviceimports",
        kind: "ServiceImport",
        api_version: "multicluster.x-k8s.io/v1alpha1",
        namespaced: true,
    },
];

const fn core(plural: &'static str, kind: &'static str, namespaced: bool) -> Resource {
    Resource {
        root: "/api/v1",
        plural,
        kind,
        api_version: "v1",
        namespaced,
    }
}

/// An object, encoded once for everyone who is sent it.
#[derive(Debug)]
pub(super) struct Object {
    resource: &'static Resource,
    /// Without `kind` and `apiVersion`: as an item of a list.
    item: String,
    labels: Vec<(String, String)>,
    /// Texts by their path, `metadata.name`: what a field selector may name.
    fields: Vec<(String, String)>,
}

impl Object {
    fn new(resource: &'static Resource, mut value: Value) -> Self {
        let texts = |path: &str, value: &Value| -> Vec<(String, String)> {
            let members = value.as_object().into_iter().flatten();
            let texts = members.filter_map(|(key, value)| {
                Some((format!("{path}{key}"), value.as_str()?.to_owned()))
            });
            texts.collect()
        };
        if let Some(members) = value.as_object_mut() {
            members.remove("kind");
            members.remove("apiVersion");
        }
        let sections = value.as_object().into_iter().flatten();
        let fields = sections.flat_map(|(section, value)| texts(&format!("{section}."), value));
        Self {
            resource,
            labels: texts("", &value["metadata"]["labels"]),
            fields: fields.collect(),
            item: value.to_string(),
        }
    }

    /// As an item of a list, which does not say what it is: the list does.
    pub(super) fn item(&self) -> &str {
        &self.item
    }

    /// By itself.
    pub(super) fn text(&self) -> String {
        let Resource {
            kind, api_version, ..
        } = self.resource;
        let members = self.item.trim_start_matches('{');
        format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",{members}")
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        find(&self.fields, "metadata.namespace")
    }

    /// As it is told when it is gone: with the version of its end.
    fn last(&self, version: u64) -> Self {
        let mut value: Value = serde_json::from_str(&self.item).unwrap_or_default();
        value["metadata"]["resourceVersion"] = json!(version.to_string());
        Self::new(self.resource, value)
    }
}

fn find<'a>(texts: &'a [(String, String)], key: &str) -> Option<&'a str> {
    let found = texts.iter().find(|(known, _)| known == key);
    found.map(|(_, value)| value.as_str())
}

/// The objects of one kind by `namespace/name`.
pub(super) type Objects = BTreeMap<Arc<str>, Arc<Object>>;

/// One change: what an object was before and is after it.
#[derive(Debug)]
struct Change {
    version: u64,
    plural: &'static str,
    key: Arc<str>,
    before: Option<Arc<Object>>,
    after: Option<Arc<Object>>,
}

/// An event of a watch.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) kind: &'static str,
    pub(super) object: Arc<Object>,
}

/// All objects by plural name, with all changes ever.
#[derive(Debug)]
pub(super) struct Store {
    /// Which cluster this is, of those that the double has been.
    cluster: u32,
    version: u64,
    oldest: u64,
    objects: BTreeMap<&'static str, Objects>,
    changes: Vec<Change>,
}

impl Default for Store {
    fn default() -> Self {
        let mut store = Self {
            cluster: 0,
            version: FIRST,
            oldest: FIRST,
            objects: BTreeMap::new(),
            changes: Vec::new(),
        };
        store.fill();
        store
    }
}

impl Store {
    /// Another cluster, whose objects have other UIDs.
    pub(super) fn rebuild(&mut self) {
        let cluster = self.cluster + 1;
        *self = Self {
            cluster,
            ..Self::default()
        };
        self.fill();
    }

    /// Gives it the namespaces that every cluster has.
    fn fill(&mut self) {
        self.version = FIRST;
        self.changes.clear();
        for name in ["default", "kube-system"] {
            let metadata = json!({ "name": name });
            let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
            // A Namespace with a name is one of the kinds.
            let _ = self.apply(object);
        }
        self.oldest = self.version;
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Whether a watch or a continued list may start from this version.
    pub(super) fn remembers(&self, version: u64) -> bool {
        version >= self.oldest
    }

    pub(super) fn compact(&mut self) {
        self.version += 1;
        self.oldest = self.version;
    }

    pub(super) fn apply(&mut self, mut object: Value) -> anyhow::Result<u64> {
        let of = |resource: &&Resource| {
            object["kind"] == resource.kind && object["apiVersion"] == resource.api_version
        };
        let Some(resource) = RESOURCES.iter().find(of) else {
            bail!("not a kind that the double serves");
        };
        let metadata = object["metadata"].as_object_mut().context("no metadata")?;
        let name = metadata.get("name").and_then(Value::as_str);
        let name = name.context("no name")?.to_owned();
        if resource.namespaced {
            metadata
                .entry("namespace")
                .or_insert_with(|| json!("default"));
        }
        let namespace = metadata.get("namespace").and_then(Value::as_str);
        let namespace = namespace.unwrap_or_default().to_owned();
        ensure!(
            resource.namespaced != namespace.is_empty(),
            "a namespace where there is none"
        );
        if metadata
            .get("labels")
            .is_some_and(|labels| *labels == json!({}))
        {
            metadata.remove("labels");
        }
        let key: Arc<str> = format!("{namespace}/{name}").into();
        let objects = self.objects.entry(resource.plural).or_default();
        let before = objects.get(&key).cloned();
        self.version += 1;
        metadata.insert("resourceVersion".into(), json!(self.version.to_string()));
        let uid = match &before {
            Some(before) => json!(find(&before.fields, "metadata.uid")),
            None => json!(format!(
                "{:08x}-0000-0000-0000-{:012x}",
                self.cluster, self.version
            )),
        };
        metadata.insert("uid".into(), uid);
        metadata
            .entry("creationTimestamp")
            .or_insert_with(|| json!("2026-01-01T00:00:00Z"));
        let object = Arc::new(Object::new(resource, object));
        objects.insert(Arc::clone(&key), Arc::clone(&object));
        self.log(resource.plural, key, before, Some(object));
        Ok(self.version)
    }

    pub(super) fn delete(&mut self, plural: &str, namespace: &str, name: &str) -> Option<u64> {
        let key = format!("{namespace}/{name}");
        let objects = self.objects.get_mut(plural)?;
        let (key, before) = objects.remove_entry(key.as_str())?;
        self.version += 1;
        self.log(before.resource.plural, key, Some(before), None);
        Some(self.version)
    }

    fn log(
        &mut self,
        plural: &'static str,
        key: Arc<str>,
        before: Option<Arc<Object>>,
        after: Option<Arc<Object>>,
    ) {
        self.changes.push(Change {
            version: self.version,
            plural,
            key,
            before,
            after,
        });
    }

    /// The objects of a kind as they were at `version`, in the order of keys.
    pub(super) fn at(&self, plural: &str, version: u64) -> Objects {
        let mut objects = self.objects.get(plural).cloned().unwrap_or_default();
        let undone = self.changes.iter().rev();
        for change in undone.take_while(|change| change.version > version) {
            if change.plural != plural {
                continue;
            }
            match &change.before {
                Some(before) => objects.insert(Arc::clone(&change.key), Arc::clone(before)),
                None => objects.remove(&change.key),
            };
        }
        objects
    }

    /// The events after `version` for who watches these objects. An object
    /// that begins or ceases to fit is added or deleted to that watcher.
    pub(super) fn since(&self, version: u64, scope: &Scope) -> Vec<Event> {
        let start = self
            .changes
            .partition_point(|change| change.version <= version);
        let changes = self.changes.iter().skip(start);
        changes.filter_map(|change| change.event(scope)).collect()
    }
}

impl Change {
    fn event(&self, scope: &Scope) -> Option<Event> {
        if self.plural != scope.plural {
            return None;
        }
        let before = self.before.as_ref().filter(|object| scope.holds(object));
        let after = self.after.as_ref().filter(|object| scope.holds(object));
        let (kind, object) = match (before, after) {
            (None, None) => return None,
            (None, Some(after)) => ("ADDED", Arc::clone(after)),
            (Some(_), Some(after)) => ("MODIFIED", Arc::clone(after)),
            (Some(before), None) => ("DELETED", Arc::new(before.last(self.version))),
        };
        Some(Event { kind, object })
    }
}

/// Which objects a request is about.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) plural: &'static str,
    pub(super) namespace: Option<String>,
    pub(super) labels: Vec<Requirement>,
    pub(super) fields: Vec<Requirement>,
}

/// One term of a selector.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Scope {
    pub(super) fn holds(&self, object: &Object) -> bool {
        (self.namespace.as_deref()).is_none_or(|only| Some(only) == object.namespace())
            && (self.labels.iter()).all(|term| term.accepts(find(&object.labels, &term.key)))
            && (self.fields.iter())
                .all(|term| term.accepts(Some(find(&object.fields, &term.key).unwrap_or_default())))
    }
}

impl Requirement {
    fn accepts(&self, value: Option<&str>) -> bool {
        let among =
            |values: &[String]| value.is_some_and(|value| values.iter().any(|v| v == value));
        match &self.test {
            Test::In(values) => among(values),
            Test::NotIn(values) => !among(values),
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
        }
    }

    /// Reads a label or field selector: `a=b`, `a==b`, `a!=b`, `a in (b,c)`,
    /// `a notin (b,c)`, `a`, `!a`, joined by commas.
    pub(super) fn parse(selector: &str) -> Option<Vec<Self>> {
        let mut depth = 0;
        let terms = selector.split(|c| {
            depth += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            c == ',' && depth == 0
        });
        let terms = terms.map(str::trim).filter(|term| !term.is_empty());
        terms.map(Self::parse_term).collect()
    }

    fn parse_term(term: &str) -> Option<Self> {
        let list = |text: &str| {
            let inside = text.trim().strip_prefix('(')?.strip_suffix(')')?;
            Some(
                inside
                    .split(',')
                    .map(|word| word.trim().to_owned())
                    .collect(),
            )
        };
        let one = |text: &str| vec![text.trim().to_owned()];
        let (key, test) = if let Some((key, values)) = term.split_once(" notin ") {
            (key, Test::NotIn(list(values)?))
        } else if let Some((key, values)) = term.split_once(" in ") {
            (key, Test::In(list(values)?))
        } else if let Some((key, value)) = term.split_once("!=") {
            (key, Test::NotIn(one(value)))
        } else if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
            (key, Test::In(one(value)))
        } else if let Some(key) = term.strip_prefix('!') {
            (key, Test::Absent)
        } else {
            (term, Test::Exists)
        };
        let key = key.trim().to_owned();
        (!key.is_empty() && !key.contains(' ')).then_some(Self { key, test })
    }
}
