//! The servers that are measured, each in a process of its own on core 0.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;
use pando_test::Port;
use tempfile::TempDir;

use crate::floor;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Floor,
    Pando,
    Coredns,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Floor, Self::Pando, Self::Coredns];

    /// `None` where it is not on this machine.
    pub(crate) fn program(self) -> Option<PathBuf> {
        let here = std::env::current_exe().ok()?;
        let named = |name| std::env::var_os(name).map(PathBuf::from);
        match self {
            Self::Floor => Some(here),
            Self::Pando => Some(named("PANDO_BIN").unwrap_or_else(|| here.with_file_name("pando"))),
            Self::Coredns => named("COREDNS_BIN"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Floor => "floor",
            Self::Pando => "pando",
            Self::Coredns => "coredns",
        })
    }
}

/// Where the API server is.
#[derive(Clone, Debug)]
pub(crate) enum Api {
    Url(String),
    Kubeconfig(PathBuf),
}

/// A running server; it is killed when dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) pid: u32,
    pub(crate) started: Instant,
    ready: SocketAddr,
    child: Child,
    folder: TempDir,
    _ports: [Port; 3],
}

impl Server {
    pub(crate) fn start(kind: Kind, api: &Api, pods: &str) -> anyhow::Result<Self> {
        let program = kind.program().context("not on this machine")?;
        let ports = [Port::claim(), Port::claim(), Port::claim()];
        let [port, ready, metrics] = ports.each_ref().map(Port::number);
        let folder = tempfile::tempdir()?;
        let corefile = folder.path().join("Corefile");
        fs::write(&corefile, text(api, pods, ready, metrics))?;
        let log = File::create(folder.path().join("log"))?;
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(&program);
        match kind {
            Kind::Floor => command.args(floor::arguments(api, port)),
            Kind::Pando | Kind::Coredns => {
                command.arg("-conf").arg(&corefile);
                command.args(["-dns.port", &port.to_string()])
            }
        };
        let started = Instant::now();
        let child = command
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("taskset {}", program.display()))?;
        Ok(Self {
            port,
            pid: child.id(),
            started,
            ready: (Ipv4Addr::LOCALHOST, ready).into(),
            child,
            folder,
            _ports: ports,
        })
    }

    /// Whether `/ready` says 200.
    pub(crate) fn ready(&self) -> bool {
        let page = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect(self.ready)?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"GET /ready HTTP/1.1\r\nhost: ready\r\nconnection: close\r\n\r\n")?;
            let mut line = [0; 12];
            stream.read_exact(&mut line)?;
            Ok(line == *b"HTTP/1.1 200")
        };
        page().unwrap_or(false)
    }

    /// A field of `/proc/PID/status` in megabytes (10⁶ bytes).
    pub(crate) fn memory(&self, field: &str) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let value = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: f64 = value.with_context(|| field.to_owned())?.parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    /// Begins to measure `VmHWM` anew.
    pub(crate) fn forget_peak(&self) -> anyhow::Result<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.pid), "5")?)
    }

    /// What it has said, in an error.
    pub(crate) fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(20)..);
        let ended = self.child.try_wait().ok().flatten();
        let ended = ended.map_or_else(|| "runs".to_owned(), |status| status.to_string());
        error.context(format!("{ended}:\n{}", tail.unwrap_or_default().join("\n")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// kubeadm's Corefile, without what asks the outside world.
fn text(api: &Api, pods: &str, ready: u16, metrics: u16) -> String {
    let api = match api {
        Api::Url(url) => format!("endpoint {url}"),
        Api::Kubeconfig(path) => format!("kubeconfig {}", path.display()),
    };
    format!(
        ". {{
    errors
    ready 127.0.0.1:{ready}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        {api}
        pods {pods}
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    prometheus 127.0.0.1:{metrics}
    cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
    reload
    loadbalance
}}
"
    )
}

/// CPU time of a process so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu(Duration);

impl Cpu {
    /// To the nanosecond, from the scheduler.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let run = text.split(' ').next();
            total += run.context("schedstat")?.parse::<u64>()?;
        }
        if total == 0 {
            bail!("no CPU time of {pid}");
        }
        Ok(Self(Duration::from_nanos(total)))
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
