//! The Corefile: node-cache's template with its `__PILLAR__…__` words filled
//! in, and a server block for each of kube-dns's stub domains.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use corefile::io_message;
use pando::telemetry;
use tracing::{error, info, warn};

use crate::errors::{ErrorType, SetupErrors};
use crate::flags::Flags;
use crate::kube_dns::{Config, Files};

/// How often the template and kube-dns's ConfigMap are looked at.
pub const POLL: Duration = Duration::from_secs(10);

const UPSTREAM_SERVERS: &str = "__PILLAR__UPSTREAM__SERVERS__";
const CLUSTER_DNS: &str = "__PILLAR__CLUSTER__DNS__";
const LOCAL_DNS: &str = "__PILLAR__LOCAL__DNS__";
const DNS_SERVER: &str = "__PILLAR__DNS__SERVER__";
/// Where names are asked for that ConfigMaps say nothing about.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What becomes plain UDP where the ConfigMap names upstreams.
const TCP_BLOCK: &str =
    "\n    forward . __PILLAR__UPSTREAM__SERVERS__ {\n            force_tcp\n    }\n";
/// Seconds for which answers of stub domains are kept.
const STUB_TTL: u32 = 30;

/// The template and what it is filled from, followed.
#[derive(Debug)]
pub struct Template {
    path: PathBuf,
    corefile: PathBuf,
    kube_dns: Option<PathBuf>,
    values: Values,
    errors: Arc<SetupErrors>,
    files: Option<Files>,
    config: Config,
    written: Option<String>,
    /// What was said last of either, so that it is said once.
    kube_dns_trouble: Option<String>,
    trouble: Option<String>,
}

/// What the words of the template stand for, the ConfigMap's not among them.
#[derive(Debug)]
struct Values {
    cluster_dns: Option<IpAddr>,
    local: String,
    port: u16,
}

impl Template {
    /// Writes nothing yet. The address of the cluster DNS is taken from the
    /// environment, as the kubelet gives every Service's to a container.
    pub fn new(flags: &Flags, errors: Arc<SetupErrors>) -> Self {
        let service = &flags.upstream_service;
        let name = variable(service);
        let value = std::env::var(&name).unwrap_or_default();
        let cluster_dns = value.parse::<IpAddr>().ok();
        if cluster_dns.is_none() {
            warn!(
                "Unable to lookup IP address of Upstream service {service}, env ${name} `{value}` \
                 (the Service must be there before this Pod; -upstreamsvc names another)"
            );
        }
        let kube_dns = flags.kube_dns_directory();
        if kube_dns.is_none() {
            info!("Skipping kube-dns configmap sync as no directory was specified");
        }
        Self {
            path: flags.template.clone(),
            corefile: flags.server.conf.clone().unwrap_or_default().into(),
            kube_dns,
            values: Values {
                cluster_dns: cluster_dns.map(|address| address.to_canonical()),
                local: flags.local_ip_text.replace(',', " "),
                port: flags.port,
            },
            errors,
            files: None,
            config: Config::default(),
            written: None,
            kube_dns_trouble: None,
            trouble: None,
        }
    }

    /// Writes the Corefile if it is another one than what was written last.
    /// Says whether it was.
    ///
    /// What goes wrong is logged and counted, once until it is something else;
    /// what was good stays.
    pub fn poll(&mut self) -> bool {
        self.follow_kube_dns();
        match self.write() {
            Ok(written) => {
                self.trouble = None;
                written
            }
            Err(trouble) => {
                if self.trouble.as_ref() != Some(&trouble) {
                    error!("{trouble}");
                    self.errors.count(ErrorType::ConfigMap);
                    self.trouble = Some(trouble);
                }
                false
            }
        }
    }

    fn follow_kube_dns(&mut self) {
        let Some(directory) = &self.kube_dns else {
            return;
        };
        let files = match Files::read(directory) {
            Ok(files) => files,
            Err(trouble) => {
                let directory = directory.display();
                let trouble = format!("Error loading config from {directory}: {trouble}");
                if self.kube_dns_trouble.as_ref() != Some(&trouble) {
                    error!("{trouble}");
                    self.errors.count(ErrorType::ConfigMap);
                    self.kube_dns_trouble = Some(trouble);
                }
                return;
            }
        };
        self.kube_dns_trouble = None;
        if self.files.as_ref() == Some(&files) {
            return;
        }
        match files.config() {
            Ok(config) => self.config = config,
            Err(trouble) => {
                error!("{trouble}");
                self.errors.count(ErrorType::ConfigMap);
            }
        }
        self.files = Some(files);
    }

    fn write(&mut self) -> Result<bool, String> {
        let base = fs::read_to_string(&self.path).map_err(|error| {
            let path = self.path.display();
            let reason = io_message(&error);
            format!("Failed to read node-cache coreFile {path} - open {path}: {reason}")
        })?;
        let text = render(&base, &self.config, &self.values);
        if self.written.as_ref() == Some(&text) {
            return Ok(false);
        }
        replace(&self.corefile, &text).map_err(|error| {
            let path = self.corefile.display();
            let reason = io_message(&error);
            format!("Failed to write config file {path} - err open {path}: {reason}")
        })?;
        let servers = self.config.upstream_nameservers.join(" ");
        info!(
            "Updated Corefile with {} custom stubdomains and upstream servers {}",
            self.config.stub_domains.len(),
            if servers.is_empty() {
                RESOLV_CONF
            } else {
                &servers
            }
        );
        // Not an event, whose lines become one.
        telemetry::print(format!("[INFO] Using config file:\n{text}\n"));
        self.written = Some(text);
        Ok(true)
    }
}

/// The variable that has the address of a Service.
fn variable(service: &str) -> String {
    format!("{}_SERVICE_HOST", service.replace('-', "_").to_uppercase())
}

fn render(base: &str, config: &Config, values: &Values) -> String {
    let servers = config.upstream_nameservers.join(" ");
    let base = match servers.as_str() {
        "" => base.replace(UPSTREAM_SERVERS, RESOLV_CONF),
        servers => {
            let base = base.replace(TCP_BLOCK, &format!("\n    forward . {servers}\n"));
            if base.contains(UPSTREAM_SERVERS) {
                warn!(
                    "Did not find TCP upstream block to replace, assuming upstreams already use UDP."
                );
            }
            base.replace(UPSTREAM_SERVERS, servers)
        }
    };
    // What Go prints for an address that there is none.
    let cluster_dns = values
        .cluster_dns
        .map_or_else(|| "<nil>".to_owned(), |address| address.to_string());
    let mut text = base
        .replace(CLUSTER_DNS, &cluster_dns)
        .replace(LOCAL_DNS, &values.local)
        .replace(DNS_SERVER, "");
    let Values { local, port, .. } = values;
    for (domain, servers) in &config.stub_domains {
        let servers = servers.join(" ");
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n{domain}:{port} {{\n    errors\n    cache {STUB_TTL}\n    bind {local}\n    forward . {servers}\n}}\n"
        );
    }
    text
}

/// Puts the text in the place of the file, at once where that can be: a file
/// that is a mount of its own, or in a folder that cannot be written, is
/// overwritten. Where the disk is full it stays as it was.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // A symbolic link stays one.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(name) = path.file_name() {
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".new");
        let new = path.with_file_name(hidden);
        let written = create(&new, text).and_then(|()| fs::rename(&new, &path));
        if written.is_ok() {
            return Ok(());
        }
        let _ = fs::remove_file(&new);
    }
    overwrite(&path, text)
}

/// Room that the file has it keeps until all is written, so that what it said
/// before can be put back.
fn overwrite(path: &Path, text: &str) -> io::Result<()> {
    let before = fs::read(path).unwrap_or_default();
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    let mut write = |octets: &[u8]| {
        file.rewind()?;
        file.write_all(octets)?;
        file.set_len(octets.len() as u64)
    };
    write(text.as_bytes()).inspect_err(|_| {
        // It says why already.
        let _ = write(&before);
    })
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    // One that an instance left that did not get to its end.
    let _ = fs::remove_file(path);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)?
        .write_all(text.as_bytes())
}

#[cfg(test)]
mod tests;
