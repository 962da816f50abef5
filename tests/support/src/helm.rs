//! The real helm.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{ControlPlane, Process};

/// A command is done in a second; an install waits for the API server.
const BOUND: Duration = Duration::from_secs(60);

/// helm, with a home of its own.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    home: TempDir,
}

impl Helm {
    /// The program that `HELM_BIN` names, else that of `tests/helm/build.sh`.
    /// `None`, after one printed line that says so, where it is not built.
    ///
    /// # Errors
    ///
    /// When there is no place for a home.
    pub fn find() -> anyhow::Result<Option<Self>> {
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/helm/helm");
        let named = std::env::var_os("HELM_BIN").filter(|named: &OsString| !named.is_empty());
        let program = named.map_or(built, PathBuf::from);
        if !program.is_file() {
            println!(
                "skipped: no helm at {} (tests/helm/build.sh builds it)",
                program.display()
            );
            return Ok(None);
        }
        let home = tempfile::Builder::new().prefix("pando-helm-").tempdir()?;
        Ok(Some(Self { program, home }))
    }

    /// Runs it, against `plane` where there is one, and yields its stdout.
    ///
    /// # Errors
    ///
    /// When it fails; shows its stderr.
    pub async fn run(
        &self,
        plane: Option<&ControlPlane>,
        arguments: &[&str],
    ) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, self.home.path());
        }
        let nobody = Path::new("/dev/null");
        let kubeconfig = plane.map_or(nobody, ControlPlane::kubeconfig);
        command
            .env("HOME", self.home.path())
            .env("KUBECONFIG", kubeconfig);
        let mut process = Process::spawn(command, None)?;
        let status = process.wait_exit(BOUND).await?;
        if !status.success() {
            bail!("helm {}: {}", arguments.join(" "), process.stderr());
        }
        Ok(process.stdout())
    }
}
