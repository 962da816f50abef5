//! The servers that are measured.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;

/// How long a server may take to answer for the first time.
const START: Duration = Duration::from_secs(10);
/// Clock ticks a second in `/proc/PID/stat`: the same on every Linux.
const TICKS: f64 = 100.0;

/// A running server.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) pid: u32,
    child: Child,
    _folder: TempDir,
}

impl Target {
    pub(crate) fn echo() -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        Self::start("echo", &program, |port, _| {
            Ok(vec!["echo".to_owned(), port.to_string()])
        })
    }

    pub(crate) fn server(
        name: &'static str,
        program: PathBuf,
        corefile: &str,
    ) -> anyhow::Result<Self> {
        Self::start(name, &program, |port, folder| {
            let path = folder.join("Corefile");
            fs::write(&path, corefile)?;
            let path = path.display().to_string();
            let port = port.to_string();
            Ok(["-conf", &path, "-dns.port", &port]
                .map(str::to_owned)
                .to_vec())
        })
    }

    fn start(
        name: &'static str,
        program: &Path,
        arguments: impl FnOnce(u16, &Path) -> anyhow::Result<Vec<String>>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("taskset")
            .args(["-c", "0"])
            .arg(program)
            .args(arguments(port, folder.path())?)
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("taskset {}", program.display()))?;
        let mut target = Self {
            name,
            port,
            pid: child.id(),
            child,
            _folder: folder,
        };
        target.wait()?;
        Ok(target)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let probe = UdpSocket::bind("127.0.0.1:0")?;
        probe.connect(("127.0.0.1", self.port))?;
        probe.set_read_timeout(Some(Duration::from_millis(50)))?;
        let begun = Instant::now();
        while begun.elapsed() < START {
            // An opcode that servers refuse at once.
            let _ = probe.send(&[0, 1, 0x78, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            if probe.recv(&mut [0; 512]).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}", self.name);
            }
        }
        bail!("{} does not answer", self.name)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of a process so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    pub(crate) total: Duration,
    pub(crate) user: Duration,
}

impl Cpu {
    /// Total to the nanosecond from the scheduler, user in ticks.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let run: u64 = text.split(' ').next().unwrap_or_default().parse()?;
            total += run;
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in parentheses may hold spaces; utime is field 14.
        let (_, fields) = stat.rsplit_once(") ").context("stat")?;
        let ticks: f64 = fields.split(' ').nth(11).context("utime")?.parse()?;
        Ok(Self {
            total: Duration::from_nanos(total),
            user: Duration::from_secs_f64(ticks / TICKS),
        })
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            total: self.total.saturating_sub(earlier.total),
            user: self.user.saturating_sub(earlier.user),
        }
    }
}

/// Moves this process to a core, if there is one of that number.
pub(crate) fn pin_self(core: usize) {
    let pid = std::process::id().to_string();
    let _ = Command::new("taskset")
        .args(["-cp", &core.to_string(), &pid])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
