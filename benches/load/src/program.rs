//! The programs that are measured, and where they are.

use std::path::PathBuf;
use std::process::Command;

use crate::workload::Workload;

/// A server of the table, in the order of its rows.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Program {
    /// The echo; without it there are no multiples.
    Floor,
    /// `PANDO_BIN`, or the `pando` beside this program.
    Pando,
    /// `COREDNS_BIN`.
    Coredns,
    /// `NODE_CACHE_BIN`. It has no names of the cluster.
    NodeCache,
    /// Of the system, with the names of the cluster as local data.
    Unbound,
    /// Of the system: a packet cache before the upstream.
    Dnsdist,
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Pando => "pando",
            Self::Coredns => "coredns",
            Self::NodeCache => "node-cache",
            Self::Unbound => "unbound",
            Self::Dnsdist => "dnsdist",
        }
    }

    /// Whether it can answer a workload.
    pub(crate) fn serves(self, workload: Workload) -> bool {
        match self {
            Self::NodeCache | Self::Dnsdist => workload.is_external(),
            _ => true,
        }
    }

    /// Its binary, `None` where it is not on this machine.
    pub(crate) fn binary(self) -> anyhow::Result<Option<PathBuf>> {
        let named = |variable| std::env::var_os(variable).map(PathBuf::from);
        let this = std::env::current_exe()?;
        Ok(match self {
            Self::Floor => Some(this),
            Self::Pando => named("PANDO_BIN").or_else(|| Some(this.with_file_name("pando"))),
            Self::Coredns => named("COREDNS_BIN"),
            Self::NodeCache => named("NODE_CACHE_BIN"),
            Self::Unbound => installed("unbound"),
            Self::Dnsdist => installed("dnsdist"),
        })
    }

    /// What it says of its version, in one line.
    pub(crate) fn version(self) -> Option<String> {
        let flag = match self {
            Self::Floor => return None,
            Self::Pando | Self::Coredns => "-version",
            // Says it while it starts, and then looks for its Corefile.
            Self::NodeCache => return Some("as built".to_owned()),
            Self::Unbound => "-V",
            Self::Dnsdist => "--version",
        };
        first_line(Command::new(self.binary().ok()??).arg(flag))
    }
}

/// The first line that a command prints, `None` when it fails.
pub(crate) fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().filter(|_| output.status.success());
    line.map(str::to_owned)
}

/// Looks where servers are, which a user's `PATH` may leave out.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let mut files = folders.map(|folder| folder.join(name));
    files.find(|file| file.is_file())
}
