//! Queries outlive the process that has received them.
#![forbid(unsafe_code)]

use std::fs::File;
use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Stdio;
use std::sync::Arc;

use pando::chain::{Exchange, Next, Plugin, Serving};
use pando::server::socket::{Opener, bind_tcp, bind_udp};
use pando::server::{Block, ListenAddress, Plan, Server};
use pando::wire::{NameBuf, Rcode};
use pando_test::{Ask, BOUND, Client};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// Set for a process that is the server: where its ledger is.
const LEDGER: &str = "PANDO_TEST_LEDGER";
/// Set where `wait.` waits for ever.
const WAITS: &str = "PANDO_TEST_WAITS";
/// What a process ends with that serves `death.`.
const DEAD: i32 = 86;

/// Says on standard error what it is asked.
struct Script;

impl Plugin for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, _: Next<'a>) -> Serving<'a> {
        Box::pin(async move {
            let name = exchange.request.name().to_string();
            if name == "wait." && std::env::var_os(WAITS).is_some() {
                // Said when the query is parked, since who is told kills.
                tokio::task::spawn_local(async { eprintln!("asked wait.") });
                return pending().await;
            }
            eprintln!("asked {name}");
            if name == "death." {
                std::process::exit(DEAD);
            }
            exchange.answer();
            Ok(Rcode::NOERROR)
        })
    }
}

/// Its standard input is the socket.
struct Inherited;

impl Opener for Inherited {
    fn udp(&self, _: SocketAddr, _: usize) -> io::Result<UdpSocket> {
        Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
    }

    /// At any port: nobody asks there, and the number of a UDP socket may be
    /// taken for TCP.
    fn tcp(&self, address: SocketAddr, _: usize) -> io::Result<TcpListener> {
        bind_tcp(SocketAddr::new(address.ip(), 0), false)
    }

    fn http(&self, address: SocketAddr) -> io::Result<TcpListener> {
        bind_tcp(address, false)
    }
}

/// The server: no test, unless it is run as one by the tests below.
#[tokio::test]
async fn server() {
    let Ok(ledger) = std::env::var(LEDGER) else {
        return;
    };
    let ledger = File::options().read(true).write(true).open(ledger).unwrap();
    let stdin = UdpSocket::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
    let address = stdin.local_addr().unwrap();
    let mut server = Server::start(1, Arc::new(Inherited), Some(ledger.into())).unwrap();
    let block = Block {
        zones: vec![NameBuf::new()],
        chain: [Arc::new(Script) as Arc<dyn Plugin>].into(),
        view: None,
        debug: false,
        stacktrace: false,
    };
    let listen = ListenAddress::of(address.ip(), address.port());
    let plan = Plan::new([(listen, vec![block])]);
    let opened = server.open(&plan).unwrap();
    server.apply(&plan, opened).await;
    // Killed long before, or else it must not stay.
    tokio::time::sleep(2 * BOUND).await;
}

/// What a parent keeps.
struct House {
    socket: UdpSocket,
    ledger: File,
}

/// A server process.
struct Life {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl House {
    fn new() -> Self {
        Self {
            socket: bind_udp("127.0.0.1:0".parse().unwrap(), false).unwrap(),
            ledger: tempfile::tempfile().unwrap(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn start(&self, waits: bool) -> Life {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let ledger = self.ledger.as_raw_fd();
        let socket = self.socket.as_fd().try_clone_to_owned().unwrap();
        command
            .args(["server", "--exact", "--nocapture"])
            .env(LEDGER, format!("/proc/{}/fd/{ledger}", std::process::id()))
            .stdin(socket)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if waits {
            command.env(WAITS, "");
        }
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let lines = BufReader::new(stderr).lines();
        Life { child, lines }
    }
}

impl Life {
    /// Waits until it is asked for this name.
    async fn asked(&mut self, name: &str) {
        let wanted = format!("asked {name}");
        let mut said = Vec::new();
        while let Some(line) = self.line().await {
            if line == wanted {
                return;
            }
            said.push(line);
        }
        panic!("ended before it was asked {name}: {said:#?}");
    }

    async fn line(&mut self) -> Option<String> {
        timeout(BOUND, self.lines.next_line())
            .await
            .unwrap()
            .unwrap()
    }

    /// Waits until it ends by itself; what it was asked.
    async fn dies(mut self) -> Vec<String> {
        let mut asked = Vec::new();
        while let Some(line) = self.line().await {
            asked.extend(line.strip_prefix("asked ").map(str::to_owned));
        }
        let status = timeout(BOUND, self.child.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(DEAD));
        asked
    }
}

#[tokio::test]
async fn a_query_that_waits_is_answered_by_the_next_process() {
    let house = House::new();
    let client = Client::to(house.address()).bound(BOUND);
    let client = tokio::spawn(async move { client.ask("wait", "A").await });
    // Two processes wait in vain.
    for _ in 0..2 {
        let mut life = house.start(true);
        life.asked("wait.").await;
        life.child.kill().await.unwrap();
    }
    let _life = house.start(false);
    let answer = client.await.unwrap().unwrap();
    assert_eq!(answer.rcode(), "NOERROR");
}

#[tokio::test]
async fn a_query_of_death_is_served_twice_and_the_others_of_its_batch_are_answered() {
    let house = House::new();
    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(house.address()).await.unwrap();
    // All of them are there when the first process begins: one batch.
    let asks = ["first", "death", "last"].map(|name| Ask::new(name, "A").bytes());
    for ask in &asks {
        client.send(ask).await.unwrap();
    }
    let first = house.start(false).dies().await;
    assert_eq!(first, ["first.", "death."]);
    let second = house.start(false).dies().await;
    assert_eq!(second.last().unwrap(), "death.");
    let _third = house.start(false);
    let mut open = vec![&asks[0][..2], &asks[2][..2]];
    let mut answer = [0; 512];
    while !open.is_empty() {
        let received = timeout(BOUND, client.recv(&mut answer)).await;
        received.unwrap().unwrap();
        let rcode = answer[3] & 0x0f;
        assert_eq!(rcode, 0);
        open.retain(|id| answer[..2] != **id);
    }
    // The third one has left the query of death out and lives.
    let client = Client::to(house.address());
    assert_eq!(client.ask("new", "A").await.unwrap().rcode(), "NOERROR");
}
