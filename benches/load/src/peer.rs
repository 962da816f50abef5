//! The servers that are measured.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use pando_test::{Port, Process};
use tempfile::TempDir;
use tokio::process::Command;

use crate::cpu::Cores;
use crate::message::Query;
use crate::upstream::Upstream;

/// How long a server may take to answer as it must for the first time.
const START: Duration = Duration::from_secs(20);
/// Between two attempts.
const ATTEMPT: Duration = Duration::from_millis(20);

/// A server of the table, in the order of its rows.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Program {
    /// The echo; without it there are no multiples.
    Floor,
    /// `PANDO_BIN`, or the `pando` beside this program.
    Pando,
    /// `COREDNS_BIN`.
    Coredns,
}

/// What surrounds the servers.
pub(crate) struct Surroundings<'a> {
    pub(crate) cores: Cores,
    pub(crate) api: String,
    pub(crate) upstream: &'a mut Upstream,
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Pando => "pando",
            Self::Coredns => "coredns",
        }
    }

    /// Its binary, `None` where there is none.
    pub(crate) fn binary(self) -> anyhow::Result<Option<PathBuf>> {
        let named = |variable| std::env::var_os(variable).map(PathBuf::from);
        let this = std::env::current_exe()?;
        Ok(match self {
            Self::Floor => Some(this),
            Self::Pando => named("PANDO_BIN").or_else(|| Some(this.with_file_name("pando"))),
            Self::Coredns => named("COREDNS_BIN"),
        })
    }
}

/// A running server.
pub(crate) struct Peer {
    pub(crate) program: Program,
    pub(crate) pid: u32,
    process: Process,
    port: Port,
    _ports: Vec<Port>,
    _folder: TempDir,
}

impl Peer {
    /// Starts a server on the servers' core.
    ///
    /// # Errors
    ///
    /// When its binary cannot be run.
    pub(crate) fn start(
        program: Program,
        binary: &PathBuf,
        surroundings: &Surroundings<'_>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("pando-load-").tempdir()?;
        let port = Port::claim();
        let ports = [Port::claim(), Port::claim(), Port::claim()];
        let mut command = Command::new(binary);
        command.current_dir(folder.path());
        match program {
            Program::Floor => {
                command.arg("floor").arg(port.number().to_string());
            }
            Program::Pando | Program::Coredns => {
                let [health, ready, metrics] = ports.each_ref().map(Port::number);
                let (api, upstream) = (&surroundings.api, surroundings.upstream.port());
                let text = format!(
                    ". {{
    errors
    health 127.0.0.1:{health} {{
        lameduck 5s
    }}
    ready 127.0.0.1:{ready}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        endpoint {api}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    prometheus 127.0.0.1:{metrics}
    forward . 127.0.0.1:{upstream} {{
        max_concurrent 1000
    }}
    cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
    loop
    reload
    loadbalance
}}
"
                );
                std::fs::write(folder.path().join("Corefile"), text)?;
                command.args(["-conf", "Corefile", "-dns.port"]);
                command.arg(port.number().to_string());
            }
        }
        let spawn = || Process::spawn(command, None);
        let process = surroundings.cores.on_server(spawn)?;
        Ok(Self {
            program,
            pid: process.pid().context("has just started")?,
            process,
            port,
            _ports: ports.into(),
            _folder: folder,
        })
    }

    pub(crate) fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port.number())
    }

    /// Waits until it answers each of these as it must.
    ///
    /// # Errors
    ///
    /// When it does not within 20 seconds, or ends: with its output.
    pub(crate) fn wait(
        &mut self,
        probes: &[&Query],
        upstream: &mut Upstream,
    ) -> anyhow::Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(self.address())?;
        socket.set_nonblocking(true)?;
        let begun = Instant::now();
        let mut last = "nothing".to_owned();
        let (mut query, mut reply) = (Vec::new(), [0; 1500]);
        for probe in probes {
            'asked: loop {
                if self.process.ended() {
                    bail!("{} ended:\n{}", self.program.name(), self.process.shown());
                }
                if begun.elapsed() > START {
                    let name = self.program.name();
                    bail!("{name} answers {last}:\n{}", self.process.shown());
                }
                probe.write(&mut query, 1, &mut 0);
                let _ = socket.send(&query);
                let sent = Instant::now();
                while sent.elapsed() < ATTEMPT {
                    upstream.serve()?;
                    let Ok(len) = socket.recv(&mut reply) else {
                        continue;
                    };
                    let reply = reply.get(..len).unwrap_or_default();
                    if probe.expected.fits(reply) || self.program == Program::Floor {
                        break 'asked;
                    }
                    last = format!("{reply:02x?}");
                }
            }
        }
        Ok(())
    }

    /// All that it wrote.
    pub(crate) fn output(&self) -> String {
        self.process.shown()
    }
}
