//! kube-dns's ConfigMap: a directory with the files `stubDomains` and
//! `upstreamNameservers` (and `federations`, which has no effect any more but
//! is checked). Other files are nobody's business.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use corefile::{io_message, quote};
use thiserror::Error;

/// What the ConfigMap asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Config {
    /// Zones with servers of their own.
    pub stub_domains: BTreeMap<String, Vec<String>>,
    /// Who is asked for all other names outside of the cluster, at most three;
    /// none: the node's resolv.conf.
    pub upstream_nameservers: Vec<String>,
}

/// The files as they are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Files {
    federations: Option<String>,
    stub_domains: Option<String>,
    upstream_nameservers: Option<String>,
}

/// Why the directory cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A file or the directory itself.
    #[error("open {}: {}", .0.display(), io_message(.1))]
    Open(PathBuf, io::Error),
    /// It is a file.
    #[error("config path {} is not a directory", quote(&.0.to_string_lossy()))]
    NotADirectory(PathBuf),
    /// Not text.
    #[error("non-utf8 data in {}", .0.display())]
    NotText(PathBuf),
    /// No ConfigMap can be so large.
    #[error("{} is longer than {LIMIT} octets", .0.display())]
    TooLong(PathBuf),
}

/// Why the ConfigMap is not followed.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file that is not what it should be.
    #[error("Invalid configuration for {0}, ignoring update: {1}")]
    Syntax(&'static str, String),
    /// A value that cannot be.
    #[error("Invalid configuration: {0}, ignoring update")]
    Value(String),
    /// What `forward` would not take.
    #[error("Invalid config: {0}")]
    Forward(String),
}

/// Octets of a ConfigMap, and so of a file of it.
const LIMIT: u64 = 1 << 20;
/// Entries of `upstreamNameservers`.
const NAMESERVERS: usize = 3;

impl Files {
    /// Reads the directory.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; a file that is not there is none.
    pub fn read(directory: &Path) -> Result<Self, ReadError> {
        let open = |error| ReadError::Open(directory.to_owned(), error);
        if !directory.metadata().map_err(open)?.is_dir() {
            return Err(ReadError::NotADirectory(directory.to_owned()));
        }
        let read = |name| read(directory.join(name));
        Ok(Self {
            federations: read("federations")?,
            stub_domains: read("stubDomains")?,
            upstream_nameservers: read("upstreamNameservers")?,
        })
    }

    /// What they say.
    ///
    /// # Errors
    ///
    /// The first value that is not valid: then none of them is to be followed.
    pub fn config(&self) -> Result<Config, ConfigError> {
        if let Some(text) = &self.federations {
            check_federations(text)?;
        }
        let config = Config {
            stub_domains: json("stubDomains", self.stub_domains.as_deref())?,
            upstream_nameservers: json(
                "upstreamNameservers",
                self.upstream_nameservers.as_deref(),
            )?,
        };
        config.check()?;
        Ok(config)
    }
}

fn read(path: PathBuf) -> Result<Option<String>, ReadError> {
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError::Open(path, error)),
    };
    let mut data = Vec::new();
    if let Err(error) = file.take(LIMIT + 1).read_to_end(&mut data) {
        return Err(ReadError::Open(path, error));
    }
    if data.len() as u64 > LIMIT {
        return Err(ReadError::TooLong(path));
    }
    match String::from_utf8(data) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(ReadError::NotText(path)),
    }
}

/// As Go reads it: `null` is nothing.
fn json<T>(key: &'static str, text: Option<&str>) -> Result<T, ConfigError>
where
    T: Default + serde::de::DeserializeOwned,
{
    let Some(text) = text else {
        return Ok(T::default());
    };
    match serde_json::from_str::<Option<T>>(text) {
        Ok(value) => Ok(value.unwrap_or_default()),
        Err(error) => {
            let reason = format!("Invalid JSON {}: {error}", quote(text));
            Err(ConfigError::Syntax(key, reason))
        }
    }
}

impl Config {
    fn check(&self) -> Result<(), ConfigError> {
        for (domain, servers) in &self.stub_domains {
            if !is_subdomain(domain) {
                let reason = format!("invalid domain name: {}", quote(domain));
                return Err(ConfigError::Value(reason));
            }
            if let Some(wrong) = servers.iter().find(|server| !is_server(server)) {
                let reason = format!("invalid nameserver: {}", quote(wrong));
                return Err(ConfigError::Value(reason));
            }
            if servers.is_empty() {
                return Err(ConfigError::Forward(format!(
                    "invalid nameservers [] for the stub domain {domain}: no nameservers found"
                )));
            }
        }
        if self.upstream_nameservers.len() > NAMESERVERS {
            let reason = "upstreamNameserver cannot have more than three entries";
            return Err(ConfigError::Value(reason.to_owned()));
        }
        for server in &self.upstream_nameservers {
            check_upstream(server).map_err(ConfigError::Value)?;
        }
        Ok(())
    }
}

/// `name=domain`, separated by commas.
fn check_federations(text: &str) -> Result<(), ConfigError> {
    let fail = |reason| Err(ConfigError::Syntax("federations", reason));
    if text.trim().is_empty() {
        return Ok(());
    }
    for pair in text.split(',') {
        let Some((name, domain)) = pair.split_once('=') else {
            return fail("invalid format, must be key=value".to_owned());
        };
        let (name, domain) = (name.trim(), domain.trim());
        if !is_label(name) || name.len() > 63 {
            return fail(format!("{} not a valid federation name", quote(name)));
        }
        if !is_subdomain(domain) {
            return fail(format!("{} not a valid domain name", quote(domain)));
        }
    }
    Ok(())
}

/// An address with or without a port, or a name.
fn is_server(text: &str) -> bool {
    match split_port(text) {
        Some((host, port)) => host.parse::<IpAddr>().is_ok() && is_port(port),
        None => text.parse::<IpAddr>().is_ok() || is_subdomain(text),
    }
}

fn check_upstream(text: &str) -> Result<(), String> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let Some((host, port)) = split_port(text) else {
        return Err(format!("address {text}: missing port in address"));
    };
    if host.parse::<IpAddr>().is_err() {
        return Err(format!("bad IP address: {}", quote(host)));
    }
    match is_port(port) {
        true => Ok(()),
        false => Err(format!("bad port number: {}", quote(port))),
    }
}

/// `host:port` or `[host]:port`.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(rest) => Some((rest.strip_suffix(']')?, port)),
        None if host.contains(':') => None,
        None => Some((host, port)),
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Kubernetes' `IsDNS1123Subdomain` (RFC 1123, lower case).
fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !label.is_empty()
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(stub: &str, upstream: &str) -> Files {
        let file = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Files {
            federations: None,
            stub_domains: file(stub),
            upstream_nameservers: file(upstream),
        }
    }

    #[test]
    fn zones_and_servers_are_taken_as_written() {
        let files = files(
            r#"{"acme.local": ["1.1.1.1", "[fd00::1]:5353"], "b": ["dns.example", "::1"]}"#,
            r#"["8.8.8.8", "8.8.4.4:54", "[fd00::2]:1"]"#,
        );
        let config = files.config().unwrap();
        let zones: Vec<_> = config
            .stub_domains
            .iter()
            .map(|(zone, servers)| format!("{zone} {}", servers.join(" ")))
            .collect();
        assert_eq!(
            zones,
            ["acme.local 1.1.1.1 [fd00::1]:5353", "b dns.example ::1"]
        );
        assert_eq!(
            config.upstream_nameservers,
            ["8.8.8.8", "8.8.4.4:54", "[fd00::2]:1"]
        );
    }

    #[test]
    fn null_and_nothing_are_nothing() {
        assert_eq!(files("null", "null").config().unwrap(), Config::default());
        assert_eq!(Files::default().config().unwrap(), Config::default());
    }

    #[test]
    fn one_wrong_value_spoils_it() {
        const STUB: &str = "Invalid configuration for stubDomains, ignoring update: ";
        for (stub, upstream, message) in [
            (
                "{",
                "",
                format!("{STUB}Invalid JSON \"{{\": EOF while parsing an object at line 1 column 1"),
            ),
            (
                r#"{"Acme": ["1.1.1.1"]}"#,
                "",
                "Invalid configuration: invalid domain name: \"Acme\", ignoring update".to_owned(),
            ),
            (
                r#"{"a": ["1.1.1.1:x"]}"#,
                "",
                "Invalid configuration: invalid nameserver: \"1.1.1.1:x\", ignoring update"
                    .to_owned(),
            ),
            (
                r#"{"a": []}"#,
                "",
                "Invalid config: invalid nameservers [] for the stub domain a: no nameservers found"
                    .to_owned(),
            ),
            (
                "",
                r#"["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"]"#,
                "Invalid configuration: upstreamNameserver cannot have more than three entries, ignoring update".to_owned(),
            ),
            (
                "",
                r#"["dns.example"]"#,
                "Invalid configuration: address dns.example: missing port in address, ignoring update".to_owned(),
            ),
            (
                "",
                r#"["dns.example:53"]"#,
                "Invalid configuration: bad IP address: \"dns.example\", ignoring update".to_owned(),
            ),
            (
                "",
                r#"["1.1.1.1:0"]"#,
                "Invalid configuration: bad port number: \"0\", ignoring update".to_owned(),
            ),
        ] {
            let error = files(stub, upstream).config().unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn federations_are_checked() {
        for (text, fine) in [
            ("", true),
            ("a=b.example, c=d", true),
            ("a", false),
            ("a.b=c", false),
            ("a=B", false),
        ] {
            let files = Files {
                federations: Some(text.to_owned()),
                ..Files::default()
            };
            assert_eq!(files.config().is_ok(), fine, "{text}");
        }
    }

    #[test]
    fn a_directory_that_is_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Files::read(folder.path()).unwrap(), Files::default());
        let file = folder.path().join("stubDomains");
        std::fs::write(&file, [0xff]).unwrap();
        for (path, message) in [
            (
                folder.path(),
                format!("non-utf8 data in {}", file.display()),
            ),
            (
                &file,
                format!("config path \"{}\" is not a directory", file.display()),
            ),
            (
                Path::new("/nowhere"),
                "open /nowhere: no such file or directory".to_owned(),
            ),
        ] {
            assert_eq!(Files::read(path).unwrap_err().to_string(), message);
        }
    }
}
