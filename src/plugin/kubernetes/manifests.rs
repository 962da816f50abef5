//! `manifests PATH…`: the cluster's objects from files, as `kubectl get -o
//! yaml` (or `-o json`) prints them. Files are looked at once a second.
//!
//! A document that cannot be read is named in the log, and the others are
//! served.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::model::Kind;
use super::selector::Selector;
use super::store::{Shared, StoreConfig};
use super::writer::Writer;

const POLL: Duration = Duration::from_secs(1);

/// Manifests that cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot read manifests {}: {source}", path.display())]
pub struct ManifestsError {
    path: PathBuf,
    source: io::Error,
}

/// Files and what they said when they were last read.
pub(super) struct Manifests {
    paths: Vec<PathBuf>,
    config: StoreConfig,
    seen: Vec<(PathBuf, Stamp)>,
}

type Stamp = Option<(SystemTime, u64)>;

impl Manifests {
    pub(super) fn new(paths: Vec<PathBuf>, config: StoreConfig) -> Self {
        Self {
            paths,
            config,
            seen: Vec::new(),
        }
    }

    /// Reads the files for the first time, when an unreadable one is an
    /// error.
    pub(super) fn load_first(mut self, shared: &Shared) -> Result<Self, ManifestsError> {
        let files = self.files()?;
        self.seen = stamps(&files);
        self.load(&files, shared)?;
        Ok(self)
    }

    /// Reads the files again whenever one of them changes.
    pub(super) async fn run(mut self, shared: Arc<Shared>) {
        let mut ticks = tokio::time::interval(POLL);
        loop {
            ticks.tick().await;
            let files = match self.files() {
                Ok(files) => files,
                Err(error) => {
                    shared.write(|writer| writer.unhealthy(Kind::Services, &error.to_string()));
                    continue;
                }
            };
            let stamps = stamps(&files);
            if stamps == self.seen {
                continue;
            }
            // A file that is being written may be read half: look again.
            tokio::time::sleep(POLL / 10).await;
            match self.load(&files, &shared) {
                Ok(()) => self.seen = stamps,
                Err(error) => {
                    shared.write(|writer| writer.unhealthy(Kind::Services, &error.to_string()));
                }
            }
        }
    }

    fn files(&self) -> Result<Vec<PathBuf>, ManifestsError> {
        files(&self.paths)
    }

    fn load(&self, files: &[PathBuf], shared: &Shared) -> Result<(), ManifestsError> {
        let texts = read(files)?;
        let kinds = self.config.kinds();
        shared.write(|writer| {
            let mut loader = Loader {
                config: &self.config,
                kinds: &kinds,
                writer,
                namespaces: None,
            };
            loader.begin();
            for (path, text) in &texts {
                loader.text(path, text);
            }
            loader.finish();
        });
        shared.publish();
        Ok(())
    }
}

/// The files behind the paths: a folder stands for the YAML and JSON files in
/// it, in the order of their names.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ManifestsError> {
    let mut files = Vec::new();
    for path in paths {
        let wrap = |source| ManifestsError {
            path: path.clone(),
            source,
        };
        if !fs::metadata(path).map_err(wrap)?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(wrap)? {
            let file = entry.map_err(wrap)?.path();
            let extension = file.extension().and_then(|e| e.to_str());
            if matches!(extension, Some("yaml" | "yml" | "json")) {
                inside.push(file);
            }
        }
        inside.sort();
        files.append(&mut inside);
    }
    Ok(files)
}

fn read(files: &[PathBuf]) -> Result<Vec<(&PathBuf, String)>, ManifestsError> {
    let mut texts = Vec::new();
    for path in files {
        let text = fs::read_to_string(path).map_err(|source| ManifestsError {
            path: path.clone(),
            source,
        })?;
        texts.push((path, text));
    }
    Ok(texts)
}

/// All objects behind the paths, of whatever kind, lists taken apart. What is
/// namespaced and names no namespace has none.
///
/// # Errors
///
/// A file that cannot be read. A document that cannot be is named in the log.
pub(crate) fn objects(paths: &[PathBuf]) -> Result<Vec<Value>, ManifestsError> {
    let mut objects = Vec::new();
    for (path, text) in read(&files(paths)?)? {
        documents_of(path, &text, &mut |value| {
            each_object(value, &mut |object| objects.push(Value::Object(object)));
        });
    }
    Ok(objects)
}

fn stamps(files: &[PathBuf]) -> Vec<(PathBuf, Stamp)> {
    let stamp = |path: &PathBuf| {
        let meta = fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    };
    files
        .iter()
        .map(|path| (path.clone(), stamp(path)))
        .collect()
}

struct Loader<'a> {
    config: &'a StoreConfig,
    kinds: &'a [Kind],
    writer: &'a mut Writer,
    /// The namespaces that objects lie in, until a Namespace is seen: the
    /// output of `kubectl get services,endpointslices -A` has none.
    namespaces: Option<BTreeSet<String>>,
}

impl Loader<'_> {
    fn begin(&mut self) {
        self.namespaces = self.config.namespace_labels.is_none().then(BTreeSet::new);
        for kind in self.kinds {
            self.writer.begin(*kind);
        }
    }

    fn finish(&mut self) {
        for name in self.namespaces.take().into_iter().flatten() {
            let object = serde_json::json!({"metadata": {"name": name}});
            self.writer
                .upsert(Kind::Namespaces, object.to_string().as_bytes());
        }
        for kind in self.kinds {
            self.writer.finish(*kind);
            self.writer.healthy(*kind);
        }
    }

    fn text(&mut self, path: &Path, text: &str) {
        documents_of(path, text, &mut |value| {
            each_object(value, &mut |object| self.object(object));
        });
    }

    fn object(&mut self, mut object: Map<String, Value>) {
        let name = kind_of(&object).to_owned();
        let kinds: &[Kind] = match &*name {
            "Service" => &[Kind::Services],
            "EndpointSlice" => &[Kind::EndpointSlices, Kind::ImportSlices],
            "Namespace" => &[Kind::Namespaces],
            "Pod" => &[Kind::Pods],
            "ServiceImport" => &[Kind::ServiceImports],
            // Deployments and the like lie in the same files.
            _ => return,
        };
        if name == "Namespace" {
            self.namespaces = None;
        } else if let Some(meta) = object
            .entry("metadata")
            .or_insert_with(|| Value::Object(Default::default()))
            .as_object_mut()
        {
            let namespace = meta.entry("namespace").or_insert_with(|| "default".into());
            if let (Some(namespace), Some(known)) = (namespace.as_str(), &mut self.namespaces) {
                known.insert(namespace.to_owned());
            }
        }
        let text = Value::Object(object);
        for kind in kinds {
            if self.kinds.contains(kind) && self.selected(*kind, &text) {
                self.writer.upsert(*kind, text.to_string().as_bytes());
            }
        }
    }

    /// What the API server would do.
    fn selected(&self, kind: Kind, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let matches = |selector: &Option<Selector>| {
            let label = |key: &str| labels.get(key).and_then(Value::as_str);
            selector
                .as_ref()
                .is_none_or(|selector| selector.matches(label))
        };
        match kind {
            Kind::Namespaces | Kind::ServiceImports => matches(&self.config.namespace_labels),
            Kind::Services | Kind::EndpointSlices => matches(&self.config.labels),
            Kind::ImportSlices => {
                matches(&self.config.labels)
                    && !labels["multicluster.kubernetes.io/service-name"].is_null()
            }
            Kind::Pods => {
                let phase = object["status"]["phase"].as_str().unwrap_or("");
                let node = object["spec"]["nodeName"].as_str();
                let here = self.config.node.is_none() || node == self.config.node.as_deref();
                here && matches(&self.config.labels)
                    && !["Succeeded", "Failed", "Unknown"].contains(&phase)
            }
        }
    }
}

/// What the documents of a file say; one that cannot be read is named in the log.
fn documents_of(path: &Path, text: &str, each: &mut dyn FnMut(Value)) {
    let complain = |line: usize, why: &str| {
        tracing::error!(
            target: "plugin/kubernetes",
            "Manifests {}:{line}: {why}",
            path.display()
        );
    };
    if text.trim_start().starts_with('{') {
        for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
            match value {
                Ok(value) => each(value),
                Err(error) => return complain(error.line(), &error.to_string()),
            }
        }
        return;
    }
    for (line, document) in documents(text) {
        let options = serde_saphyr::options! { budget: None, with_snippet: false };
        match serde_saphyr::from_str_with_options::<Option<Value>>(document, options) {
            Ok(value) => each(value.unwrap_or_default()),
            Err(error) => {
                let within = error.location().map_or(1, |at| at.line() as usize);
                complain(line + within - 1, &error.to_string());
            }
        }
    }
}

/// The objects of a document: the items of a list, and theirs.
fn each_object(value: Value, each: &mut dyn FnMut(Map<String, Value>)) {
    let Value::Object(mut object) = value else {
        return;
    };
    let name = kind_of(&object).to_owned();
    let Some(Value::Array(items)) = object.get_mut("items").filter(|_| name.ends_with("List"))
    else {
        return each(object);
    };
    let of_list = name.strip_suffix("List").unwrap_or("").to_owned();
    for mut item in std::mem::take(items) {
        // Items of a typed list may leave out what they are.
        if let Some(item) = item.as_object_mut().filter(|_| !of_list.is_empty()) {
            item.entry("kind").or_insert_with(|| of_list.clone().into());
        }
        each_object(item, each);
    }
}

fn kind_of(object: &Map<String, Value>) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or("")
}

/// The documents of a YAML stream, each with its first line, so that one
/// that does not parse does not take the others with it.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut first, mut at) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.trim_start() != rest || rest.is_empty());
        if marker {
            documents.push((first, text.get(start..at).unwrap_or("")));
            start = at + line.len();
            first = number + 2;
        }
        at += line.len();
    }
    documents.push((first, text.get(start..).unwrap_or("")));
    documents.retain(|(_, document)| !document.trim().is_empty());
    documents
}

#[cfg(test)]
mod tests;
