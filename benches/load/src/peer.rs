//! A server that is measured, running.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use pando_test::{Port, Process};
use tempfile::TempDir;
use tokio::process::Command;

use crate::configuration::Setting;
use crate::cpu::Cores;
use crate::message::Query;
use crate::program::Program;
use crate::upstream::Upstream;
use crate::workload::Transport;

/// How long a server may take to answer as it must for the first time.
const START: Duration = Duration::from_secs(20);
/// Between two attempts.
const ATTEMPT: Duration = Duration::from_millis(20);

/// What surrounds the servers.
pub(crate) struct Surroundings {
    pub(crate) cores: Cores,
    /// The URL of the API server.
    pub(crate) api: String,
    pub(crate) upstream: Upstream,
}

/// A running server.
pub(crate) struct Peer {
    pub(crate) program: Program,
    pub(crate) pid: u32,
    process: Process,
    port: Port,
    _ports: [Port; 3],
    _folder: TempDir,
}

impl Peer {
    /// Starts a server on the servers' core; `over` is how it asks its upstream.
    ///
    /// # Errors
    ///
    /// When its binary cannot be run.
    pub(crate) fn start(
        program: Program,
        binary: &Path,
        over: Transport,
        surroundings: &Surroundings,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("pando-load-").tempdir()?;
        let port = Port::claim();
        let ports = [(); 3].map(|()| Port::claim());
        let setting = Setting {
            folder: folder.path(),
            port: port.number(),
            http: ports.each_ref().map(Port::number),
            api: &surroundings.api,
            upstream: surroundings.upstream.port(),
            over,
        };
        let mut command = Command::new(binary);
        command.current_dir(folder.path());
        command.args(setting.write(program)?);
        let spawn = || Process::spawn(command, None);
        let process = surroundings.cores.on_server(spawn)?;
        Ok(Self {
            program,
            pid: process.pid().context("has just started")?,
            process,
            port,
            _ports: ports,
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
    pub(crate) fn wait(&mut self, probes: &[Query], upstream: &mut Upstream) -> anyhow::Result<()> {
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
