//! The state on disk, for a start while the API server is away.
//!
//! Lines: a header with the format's version and the serials, one object a
//! line in the API's own JSON behind a letter for its kind, and at the end
//! the SHA-256 of all before. The API's JSON, so that there is one decoder
//! and a person can read the file.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::model::{External, Kind, Pod, Port, SearchList, Service, ServiceKind, Slice};
use super::snapshot::Snapshot;
use super::writer::Writer;

const MAGIC: &str = "pando-snapshot 1";

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error("it is not of this version")]
    Version,
    #[error("it is damaged: its checksum does not match")]
    Checksum,
}

impl LoadError {
    /// Whether there is no file at all, as before the first run.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Read(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Writes a snapshot beside `path` and puts it in its place when it is whole.
pub(super) fn save(snapshot: &Snapshot, path: &Path) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    // What the cluster runs is nobody else's business on this machine.
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&temporary)?;
    let mut out = Hashing {
        inner: BufWriter::with_capacity(64 << 10, file),
        hash: Sha256::new(),
    };
    write(snapshot, &mut out)?;
    let Hashing { mut inner, hash } = out;
    writeln!(inner, "# {}", hex(&hash.finalize()))?;
    inner
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()?;
    fs::rename(&temporary, path)
}

/// Reads a file into `writer` and marks what it says as stale. Returns how
/// many objects that were.
pub(super) fn load(path: &Path, kinds: &[Kind], writer: &mut Writer) -> Result<usize, LoadError> {
    // Twice: nothing of a damaged file may be used, and holding it all
    // would double the memory that a start needs.
    verify(path)?;
    let mut objects = 0;
    let mut lines = Lines::open(path)?;
    let header = lines.next()?.ok_or(LoadError::Version)?;
    let serials = header
        .strip_prefix(MAGIC.as_bytes())
        .ok_or(LoadError::Version)?;
    let serials: [u32; 3] = serde_json::from_slice(serials).map_err(|_| LoadError::Version)?;
    while let Some(line) = lines.next()? {
        let Some((letter, object)) = line.split_first() else {
            continue;
        };
        let kind = Kind::ALL.into_iter().find(|kind| tag(*kind) == *letter);
        if let Some(kind) = kind.filter(|kind| kinds.contains(kind)) {
            writer.upsert(kind, object);
            objects += 1;
        }
    }
    writer.index.mark_stale(serials[0], serials[1], serials[2]);
    writer.take_triggered();
    Ok(objects)
}

fn verify(path: &Path) -> Result<(), LoadError> {
    let mut hash = Sha256::new();
    let mut lines = Lines::open(path)?;
    match lines.next()? {
        Some(header) if header.starts_with(MAGIC.as_bytes()) => hash.update(header),
        _ => return Err(LoadError::Version),
    }
    while let Some(line) = lines.next()? {
        if let Some(sum) = line.strip_prefix(b"# ") {
            let same = sum.trim_ascii() == hex(&hash.finalize()).as_bytes();
            return same.then_some(()).ok_or(LoadError::Checksum);
        }
        hash.update(line);
    }
    Err(LoadError::Checksum)
}

struct Lines {
    file: BufReader<File>,
    line: Vec<u8>,
}

impl Lines {
    fn open(path: &Path) -> io::Result<Self> {
        let file = BufReader::with_capacity(64 << 10, File::open(path)?);
        Ok(Self {
            file,
            line: Vec::new(),
        })
    }

    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let read = self.file.read_until(b'\n', &mut self.line)?;
        Ok((read > 0).then_some(self.line.as_slice()))
    }
}

struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tag(kind: Kind) -> u8 {
    match kind {
        Kind::Services => b'S',
        Kind::EndpointSlices => b'E',
        Kind::Namespaces => b'N',
        Kind::Pods => b'P',
        Kind::ServiceImports => b'I',
        Kind::ImportSlices => b'M',
    }
}

fn write(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let serials = [
        snapshot.serial(),
        snapshot.external_serial(),
        snapshot.multicluster_serial(),
    ];
    writeln!(out, "{MAGIC}{}", json!(serials))?;
    for name in snapshot.namespaces() {
        line(out, Kind::Namespaces, &json!({"metadata": {"name": name}}))?;
    }
    for entry in snapshot.services.iter() {
        if let Some(service) = entry.service() {
            line(out, Kind::Services, &service_json(service))?;
        }
        for slice in entry.slices() {
            let label = "kubernetes.io/service-name";
            slice_line(
                out,
                Kind::EndpointSlices,
                slice,
                &json!({label: &*slice.service}),
            )?;
        }
    }
    for entry in snapshot.imports.iter() {
        if let Some(service) = entry.service() {
            line(out, Kind::ServiceImports, &import_json(service))?;
        }
        for slice in entry.slices() {
            let labels = json!({
                "multicluster.kubernetes.io/service-name": &*slice.service,
                "multicluster.kubernetes.io/source-cluster": slice.cluster(),
            });
            slice_line(out, Kind::ImportSlices, slice, &labels)?;
        }
    }
    for pod in snapshot.pods.values() {
        line(out, Kind::Pods, &pod_json(pod))?;
    }
    Ok(())
}

fn line(out: &mut impl Write, kind: Kind, object: &Value) -> io::Result<()> {
    out.write_all(&[tag(kind)])?;
    serde_json::to_writer(&mut *out, object)?;
    out.write_all(b"\n")
}

fn service_json(service: &Service) -> Value {
    let ips: Vec<String> = match service.kind {
        ServiceKind::Headless => vec!["None".to_owned()],
        _ => service.cluster_ips().map(|ip| ip.to_string()).collect(),
    };
    let ingress: Vec<Value> = service
        .external
        .iter()
        .map(|external| match external {
            External::Ip(ip) => json!({"ip": ip.to_string()}),
            External::Hostname(name) => json!({"hostname": name}),
        })
        .collect();
    let kind = match service.kind {
        ServiceKind::ExternalName => "ExternalName",
        _ => "ClusterIP",
    };
    json!({
        "metadata": {"namespace": &*service.namespace, "name": &*service.name},
        "spec": {
            "type": kind,
            "clusterIPs": ips,
            "externalName": &service.external_name,
            "ports": ports_json(&service.ports),
            // That there is one is all that is known of it.
            "selector": if service.selected { json!({"": ""}) } else { json!({}) },
        },
        "status": {"loadBalancer": {"ingress": ingress}},
    })
}

fn import_json(import: &Service) -> Value {
    let kind = match import.kind {
        ServiceKind::Headless => "Headless",
        _ => "ClusterSetIP",
    };
    let ips: Vec<String> = import.cluster_ips().map(|ip| ip.to_string()).collect();
    json!({
        "metadata": {"namespace": &*import.namespace, "name": &*import.name},
        "spec": {"type": kind, "ips": ips, "ports": ports_json(&import.ports)},
    })
}

/// Without the stand-in that an object without ports has.
fn ports_json(ports: &[Port]) -> Value {
    let real = ports.iter().filter(|port| **port != Port::none());
    real.map(|p| json!({"name": &p.name, "protocol": p.protocol.label(), "port": p.number}))
        .collect()
}

/// Written by hand: there are as many endpoints as all else together.
fn slice_line(out: &mut impl Write, kind: Kind, slice: &Slice, labels: &Value) -> io::Result<()> {
    let meta = json!({"namespace": &*slice.namespace, "name": &slice.name, "labels": labels});
    out.write_all(&[tag(kind)])?;
    write!(
        out,
        r#"{{"metadata":{meta},"ports":{},"endpoints":["#,
        ports_json(slice.ports())
    )?;
    for (at, endpoint) in slice.endpoints().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        write!(out, r#"{comma}{{"addresses":["{}"]"#, endpoint.ip)?;
        for (key, value) in [("hostname", endpoint.hostname), ("zone", endpoint.zone)] {
            if !value.is_empty() {
                write!(out, r#","{key}":{}"#, Value::from(value))?;
            }
        }
        if !endpoint.pod.is_empty() {
            write!(
                out,
                r#","targetRef":{{"name":{}}}"#,
                Value::from(endpoint.pod)
            )?;
        }
        out.write_all(b"}")?;
    }
    out.write_all(b"]}\n")
}

fn pod_json(pod: &Pod) -> Value {
    let labels: serde_json::Map<String, Value> = pod
        .labels
        .iter()
        .flat_map(|labels| labels.iter())
        .map(|(key, value)| (key.to_string(), Value::from(&**value)))
        .collect();
    let spec = match pod.search {
        SearchList::DEFAULT => json!({}),
        SearchList::Cluster { ndots } => json!({
            "dnsConfig": {"options": [{"name": "ndots", "value": ndots.to_string()}]},
        }),
        SearchList::Unknown => json!({"dnsPolicy": "None"}),
    };
    json!({
        "metadata": {"namespace": &*pod.namespace, "name": &pod.name, "labels": labels},
        "spec": spec,
        "status": {"podIP": pod.ip.map(|ip| ip.to_string())},
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::index::Index;
    use super::super::slim::{Decoder, Keep};
    use super::*;

    const KEEP: Keep = Keep {
        pod_names: true,
        zones: true,
        pod_labels: true,
    };

    fn writer() -> Writer {
        Writer::new(
            Index::new(&Kind::ALL),
            Decoder::new(KEEP),
            &Kind::ALL,
            std::sync::Arc::new(super::super::store::Unobserved),
        )
    }

    fn filled() -> Writer {
        let mut writer = writer();
        for (kind, json) in [
            (Kind::Namespaces, r#"{"metadata":{"name":"ns"}}"#),
            (
                Kind::Services,
                r#"{"metadata":{"namespace":"ns","name":"dual"},"spec":{"clusterIPs":["10.0.0.1","fd00::1"],
                    "externalIPs":["192.0.2.1"],"ports":[{"name":"a","protocol":"UDP","port":53}]},
                    "status":{"loadBalancer":{"ingress":[{"hostname":"lb.test"}]}}}"#,
            ),
            (
                Kind::Services,
                r#"{"metadata":{"namespace":"ns","name":"head"},"spec":{"clusterIP":"None"}}"#,
            ),
            (
                Kind::Services,
                r#"{"metadata":{"namespace":"ns","name":"ext"},"spec":{"type":"ExternalName","externalName":"a.test"}}"#,
            ),
            (
                Kind::EndpointSlices,
                r#"{"metadata":{"namespace":"ns","name":"head-1","labels":{"kubernetes.io/service-name":"head"}},
                    "ports":[{"port":null,"name":"x"}],
                    "endpoints":[{"addresses":["10.1.0.1"],"hostname":"h","zone":"z","targetRef":{"name":"p\"1"}},{"addresses":["fd00::2"]}]}"#,
            ),
            (
                Kind::ServiceImports,
                r#"{"metadata":{"namespace":"ns","name":"imp"},"spec":{"type":"Headless","ips":[]}}"#,
            ),
            (
                Kind::ImportSlices,
                r#"{"metadata":{"namespace":"ns","name":"imp-1","labels":{"multicluster.kubernetes.io/service-name":"imp",
                    "multicluster.kubernetes.io/source-cluster":"east"}},"endpoints":[{"addresses":["10.2.0.1"]}]}"#,
            ),
            (
                Kind::Pods,
                r#"{"metadata":{"namespace":"ns","name":"p","labels":{"app":"x"}},"status":{"podIP":"10.1.0.1"}}"#,
            ),
            (
                Kind::Pods,
                r#"{"metadata":{"namespace":"ns","name":"q"},"status":{"podIP":"10.1.0.2"},
                    "spec":{"dnsConfig":{"options":[{"name":"ndots","value":"2"}]}}}"#,
            ),
            (
                Kind::Pods,
                r#"{"metadata":{"namespace":"ns","name":"r"},"status":{"podIP":"10.1.0.3"},"spec":{"hostNetwork":true}}"#,
            ),
        ] {
            writer.upsert(kind, json.as_bytes());
        }
        for kind in Kind::ALL {
            writer.begin(kind);
        }
        writer
    }

    fn text(snapshot: &Snapshot) -> Vec<String> {
        let mut out = Vec::new();
        write(snapshot, &mut out).expect("into memory");
        let mut lines: Vec<String> = String::from_utf8_lossy(&out)
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn what_was_saved_is_loaded_and_stale() {
        let dir = Dir::new("roundtrip");
        let path = dir.0.join("state");
        let before = filled().index.snapshot();
        save(&before, &path).expect("saves");
        let mode = fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "nobody else may read it");
        let mut writer = writer();
        assert_eq!(load(&path, &Kind::ALL, &mut writer).expect("loads"), 10);
        let after = writer.index.snapshot();
        assert_eq!(text(&after), text(&before));
        assert_eq!(text(&before).len(), 11);
        let search = |last| {
            let mut pods = after.pods_by_ip([10, 1, 0, last].into());
            pods.next().map(|pod| pod.search)
        };
        let own = |ndots| Some(SearchList::Cluster { ndots });
        assert_eq!((search(1), search(2)), (own(5), own(2)));
        assert_eq!(search(3), Some(SearchList::Unknown));
        assert!(after.stale() && !after.synced());
        assert_eq!(after.serial(), before.serial());
    }

    #[test]
    fn a_damaged_file_is_not_used_at_all() {
        let dir = Dir::new("damage");
        let path = dir.0.join("state");
        save(&filled().index.snapshot(), &path).expect("saves");
        let good = fs::read(&path).expect("there");
        let cut = good.len() / 2;
        let mut flipped = good.clone();
        flipped[cut] ^= 1;
        let of_later = [b"pando-snapshot 2".as_slice(), &good[MAGIC.len()..]].concat();
        for (what, bytes) in [
            ("cut", &good[..cut]),
            ("flipped", &flipped),
            ("later", &of_later),
            ("empty", b""),
            ("without its last line", &good[..good.len() - 68]),
        ] {
            fs::write(&path, bytes).expect("writes");
            let mut writer = writer();
            let error = load(&path, &Kind::ALL, &mut writer).expect_err(what);
            assert!(!error.is_absent(), "{what}");
            assert_eq!(writer.index.snapshot().services().count(), 0, "{what}");
        }
        let absent = load(&dir.0.join("none"), &Kind::ALL, &mut writer()).expect_err("absent");
        assert!(absent.is_absent());
    }

    struct Dir(std::path::PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pando-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
