//! An agent on loopback, without interface and rules, and what stands around it.

use std::fs;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pando_test::{BOUND, Client, Load, Page, Port, Process, Reply, Rule, Upstream, page, until};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::block_in_place;

/// Queries a second under load.
const RATE: u32 = 2000;

/// Who puts a node under load: two of them are more than a small machine may
/// have time for, and answers come late then.
static TURN: Mutex<()> = Mutex::const_new(());

/// What all agents of one node have in common.
pub(crate) struct Node {
    pub(crate) folder: TempDir,
    pub(crate) upstream: Upstream,
    dns: Port,
    health: Port,
    metrics: Port,
    turn: OnceLock<MutexGuard<'static, ()>>,
}

/// One agent; killed when dropped, with its worker.
pub(crate) struct Agent {
    process: Process,
    /// Its workers so far, of which the test must leave none behind.
    workers: Vec<u32>,
}

impl Node {
    /// With an upstream that takes 5 ms for everything, so that queries wait.
    pub(crate) async fn new() -> Self {
        let upstream = Upstream::start().await.unwrap();
        let reply = Reply::rcode("NXDOMAIN").after(Duration::from_millis(5));
        upstream.rule(Rule::new(reply));
        let node = Self {
            folder: tempfile::tempdir().unwrap(),
            upstream,
            dns: Port::claim(),
            health: Port::claim(),
            metrics: Port::claim(),
            turn: OnceLock::new(),
        };
        node.corefile("");
        node
    }

    /// Writes the template, at once and whole; `more` is one more line of the
    /// server block.
    pub(crate) fn corefile(&self, more: &str) {
        let text = format!(
            ".:{} {{\n bind 127.0.0.1\n cache 30\n forward . {} {{\n force_tcp\n }}\n health 127.0.0.1:{}\n prometheus 127.0.0.1:0\n {more}\n}}\n",
            self.dns.number(),
            self.upstream.address(),
            self.health.number(),
        );
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path("base")).unwrap();
    }

    /// Writes the template and what the next worker reads, whoever is faster:
    /// the agent looks at the template now and then.
    pub(crate) fn corefile_now(&self, more: &str) {
        self.corefile(more);
        fs::copy(self.path("base"), self.path("new")).unwrap();
        fs::rename(self.path("new"), self.path("Corefile")).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.dns.number()).into()
    }

    pub(crate) fn client(&self) -> Client {
        Client::to(self.address())
    }

    /// One node at a time, until it is dropped.
    pub(crate) fn load(&self) -> Load {
        let turn = || block_in_place(|| TURN.blocking_lock());
        self.turn.get_or_init(turn);
        Load::here(self.address(), RATE)
    }

    /// Where the agent's metrics and its worker's are.
    pub(crate) fn metrics(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.metrics.number()).into()
    }

    pub(crate) async fn page(&self, path: &str) -> anyhow::Result<Page> {
        page(self.metrics(), path, &[]).await
    }

    /// The value of a metric by its whole name.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let page = self.page("/metrics").await.unwrap();
        let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
        page.body.lines().find_map(value)
    }

    pub(crate) fn command(&self, name: &str) -> Command {
        let binary = std::env::var_os("PANDO_NODE_BIN");
        let mut command =
            Command::new(binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_pando-node").into()));
        command
            .args([
                "-localip",
                "127.0.0.1",
                "-setupinterface=false",
                "-setupiptables=false",
            ])
            .args(["-dns.port", &self.dns.number().to_string()])
            .args([
                "-metrics-listen-address",
                &format!("127.0.0.1:{}", self.metrics.number()),
            ])
            .arg("-basecorefile")
            .arg(self.path("base"))
            .arg("-conf")
            .arg(self.path(name));
        command
    }

    /// Starts an agent that can be replaced, and waits for nothing.
    pub(crate) fn spawn(&self, name: &str) -> Agent {
        let mut command = self.command(name);
        command.arg("-handover").arg(self.path("handover.sock"));
        Agent::spawn(command)
    }

    /// Starts the first agent and waits until it serves.
    pub(crate) async fn start(&self) -> Agent {
        let mut agent = self.spawn("Corefile");
        agent.serves().await;
        agent
    }

    /// Starts another agent and waits until it has taken over.
    pub(crate) async fn succeed(&self, name: &str) -> Agent {
        let mut agent = self.spawn(name);
        agent.says("Took over from the other instance").await;
        agent.note_worker();
        agent
    }
}

impl Agent {
    pub(crate) fn spawn(command: Command) -> Self {
        Self {
            process: Process::spawn(command, None).unwrap(),
            workers: Vec::new(),
        }
    }

    /// Waits for a line that was not there at this count of lines.
    pub(crate) async fn says_after(&self, lines: usize, part: &str) {
        self.wait_for_line_after(lines, part, BOUND).await.unwrap();
    }

    pub(crate) async fn says(&self, part: &str) {
        self.says_after(0, part).await;
    }

    /// Waits until its first worker serves.
    pub(crate) async fn serves(&mut self) {
        self.next_serves(None).await;
    }

    /// Waits until a worker serves that is not this one.
    async fn next_serves(&mut self, last: Option<u32>) {
        let serves = || async {
            let worker = self.worker().filter(|worker| Some(*worker) != last)?;
            let line = format!("Worker {worker} serves");
            let lines = self.lines();
            (lines.iter().any(|said| said.text.ends_with(&line))).then_some(())
        };
        let serves = until("a worker that serves", BOUND, serves).await;
        serves.unwrap_or_else(|error| panic!("{error}:\n{}", self.shown()));
        self.note_worker();
    }

    /// The process of its worker.
    pub(crate) fn worker(&self) -> Option<u32> {
        let pid = self.pid()?;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().last()?.parse().ok()
    }

    /// Leaves its worker of now behind in no case.
    pub(crate) fn note_worker(&mut self) {
        self.workers.extend(self.worker());
    }

    /// Kills the worker and waits until another one serves: how long there was
    /// none.
    pub(crate) async fn kill_worker(&mut self) -> Duration {
        let worker = self.worker().unwrap();
        let killed = Instant::now();
        kill(worker);
        self.next_serves(Some(worker)).await;
        killed.elapsed()
    }

    /// Kills the agent itself; its worker is not told.
    pub(crate) async fn kill_parent(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Ends it as kubelet does.
    pub(crate) async fn end(mut self) -> String {
        self.signal("TERM").await.unwrap();
        let status = self.wait_exit(BOUND).await.unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.shown());
        self.shown()
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

impl Drop for Agent {
    fn drop(&mut self) {
        for worker in &self.workers {
            if is_alive(*worker) {
                kill(*worker);
            }
        }
    }
}

/// Kills a process.
pub(crate) fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Whether a process is there, and is one of ours.
pub(crate) fn is_alive(pid: u32) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.starts_with(b"pando-node")
}

/// Waits until a process is gone.
pub(crate) async fn gone(pid: u32) {
    let gone = || async { (!is_alive(pid)).then_some(()) };
    until("the end of a worker", BOUND, gone).await.unwrap();
}

/// Waits until this many more queries are answered.
pub(crate) async fn answers(load: &Load, count: u64) {
    answers_for(load, count, Duration::ZERO).await;
}

/// The same for at least this long.
pub(crate) async fn answers_for(load: &Load, count: u64, time: Duration) {
    let (goal, begun) = (load.answered() + count, Instant::now());
    let enough = || async { (load.answered() >= goal && begun.elapsed() >= time).then_some(()) };
    until("answers", BOUND + time, enough).await.unwrap();
}
