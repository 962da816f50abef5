//! A node agent on the node of a site.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::{KUBE_DNS, LOCAL, Site, UPSTREAM};
use crate::Process;

/// A started agent in a folder of its own, as a Pod has one. Killed when
/// dropped; a worker that outlives it ends with the site.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    folder: PathBuf,
}

impl Agent {
    pub(super) fn start(
        site: &Site,
        mut command: Command,
        corefile: &str,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("agent-")
            .tempdir_in(site.folder())?;
        let folder = folder.keep();
        let base = folder.join("Corefile.base");
        std::fs::write(&base, corefile)?;
        command
            .current_dir(&folder)
            .env("KUBE_DNS_UPSTREAM_SERVICE_HOST", UPSTREAM.to_string())
            .env("NODE_NAME", super::NODE_NAME)
            .args(["-localip", &format!("{LOCAL},{KUBE_DNS}")])
            .args(["-upstreamsvc", "kube-dns-upstream"])
            .arg("-conf")
            .arg(folder.join("Corefile"))
            .arg("-basecorefile")
            .arg(base)
            .args(arguments);
        let process = Process::spawn(command, None)?;
        Ok(Self { process, folder })
    }

    /// Its folder, which holds the template and the Corefile made of it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Deref for Agent {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Agent {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}
