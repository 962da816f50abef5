//! What a program sees that runs the server inside itself and keeps its sockets.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex};

use pando::app::{self, Host, Request, StartError};
use pando::cli::Options;
use pando::server::socket::{Opener, bind_tcp, bind_udp};
use pando_test::{BOUND, Client, Port, Reply, Rule, Upstream, page};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Opens on addresses that need not be there and keeps a descriptor of each.
#[derive(Default)]
struct Holder {
    udp: Mutex<HashMap<(SocketAddr, usize), UdpSocket>>,
    http: Mutex<Vec<SocketAddr>>,
    closed: Mutex<Vec<SocketAddr>>,
}

impl Opener for Holder {
    fn udp(&self, address: SocketAddr, worker: usize) -> io::Result<UdpSocket> {
        let socket = bind_udp(address, true)?;
        let kept = socket.try_clone()?;
        self.udp.lock().unwrap().insert((address, worker), kept);
        Ok(socket)
    }

    fn tcp(&self, address: SocketAddr, _: usize) -> io::Result<TcpListener> {
        bind_tcp(address, true)
    }

    fn http(&self, address: SocketAddr) -> io::Result<TcpListener> {
        self.http.lock().unwrap().push(address);
        bind_tcp(address, true)
    }

    fn close(&self, address: SocketAddr) {
        self.closed.lock().unwrap().push(address);
    }
}

/// Quietly by this Corefile.
fn options(corefile: &Path) -> Options {
    Options {
        conf: Some(corefile.to_str().unwrap().to_owned()),
        quiet: true,
        ..Options::default()
    }
}

/// The server, run by this program.
struct Run {
    ended: JoinHandle<Result<u8, StartError>>,
    requests: mpsc::Sender<Request>,
    serving: mpsc::UnboundedReceiver<()>,
}

impl Run {
    /// Starts it and waits until it serves.
    async fn start(options: Options, host: Host) -> Self {
        let (requests, receiver) = mpsc::channel(4);
        let (told, serving) = mpsc::unbounded_channel();
        let host = Host {
            serving: Box::new(move || told.send(()).unwrap()),
            requests: Some(receiver),
            ..host
        };
        let mut run = Self {
            ended: tokio::spawn(app::run(options, host)),
            requests,
            serving,
        };
        run.serves().await;
        run
    }

    /// Waits until a configuration has come into force.
    async fn serves(&mut self) {
        let served = timeout(BOUND, self.serving.recv()).await;
        served.unwrap().unwrap();
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> T {
        let (sender, reply) = oneshot::channel();
        self.requests.send(request(sender)).await.unwrap();
        timeout(BOUND, reply).await.unwrap().unwrap()
    }

    async fn stop(self) {
        self.requests.send(Request::Stop).await.unwrap();
        let code = timeout(BOUND, self.ended).await.unwrap().unwrap();
        assert_eq!(code.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_opens_its_sockets_and_asks_it_for_things() {
    let ports = [Port::claim(), Port::claim(), Port::claim()];
    let [first, second, health] =
        (ports.each_ref()).map(|port| SocketAddr::from(([127, 0, 0, 1], port.number())));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Corefile");
    let corefile = |dns: SocketAddr| {
        let text = format!(
            ".:{} {{\n bind {}\n whoami\n health {health}\n}}\n",
            dns.port(),
            dns.ip()
        );
        std::fs::write(&path, text).unwrap();
    };
    corefile(first);
    let holder = Arc::new(Holder::default());
    let host = Host {
        opener: holder.clone(),
        ..Host::default()
    };
    let mut run = Run::start(options(&path), host).await;

    let answer = Client::to(first).ask("example.org", "A").await.unwrap();
    assert_eq!(answer.rcode(), "NOERROR");
    assert_eq!(page(health, "/health", &[]).await.unwrap().body, "OK");
    assert_eq!(*holder.http.lock().unwrap(), [health]);
    let workers = std::thread::available_parallelism().unwrap().get();
    let kept: Vec<_> = holder.udp.lock().unwrap().keys().copied().collect();
    assert_eq!(kept.len(), workers);
    assert!((0..workers).all(|worker| kept.contains(&(first, worker))));

    let metrics = run.ask(Request::Metrics).await;
    assert!(metrics.contains("pando_server_dropped_total"), "{metrics}");

    corefile(second);
    run.requests.send(Request::Reload).await.unwrap();
    run.serves().await;
    let answer = Client::to(second).ask("example.org", "A").await.unwrap();
    assert_eq!(answer.rcode(), "NOERROR");
    assert_eq!(*holder.closed.lock().unwrap(), [first]);

    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_goes_on_where_the_one_before_ended() {
    let upstream = Upstream::start().await.unwrap();
    let record = "www.example.org. 300 IN A 192.0.2.1";
    upstream.answer("www.example.org", "A", &[record]);
    let port = Port::claim();
    let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Corefile");
    let text = format!(
        ".:{} {{\n bind 127.0.0.1\n cache\n forward . {}\n}}\n",
        address.port(),
        upstream.address()
    );
    std::fs::write(&path, text).unwrap();
    let client = Client::to(address);
    let dump = tempfile::tempfile().unwrap();

    let run = Run::start(options(&path), Host::default()).await;
    client.ask("www.example.org", "A").await.unwrap();
    let file = dump.try_clone().unwrap();
    let count = run.ask(|reply| Request::Dump(file, reply)).await.unwrap();
    assert_eq!(count, 1);
    run.stop().await;

    for warm in [dump, tempfile::tempfile().unwrap()] {
        let asked = upstream.count("www.example.org.", "A");
        let empty = warm.metadata().unwrap().len() == 0;
        let host = Host {
            warm: Some(warm),
            ..Host::default()
        };
        let run = Run::start(options(&path), host).await;
        let answer = client.ask("www.example.org", "A").await.unwrap();
        assert_eq!(answer.data(), ["192.0.2.1"]);
        let asked = upstream.count("www.example.org.", "A") - asked;
        assert_eq!(asked, usize::from(empty));
        run.stop().await;
    }
}

/// A Corefile that says nothing of `cut` means another thing to a program that
/// serves a node.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_says_whether_denials_cover_what_is_beneath() {
    let soa = "cluster.local. 30 IN SOA ns.test. admin.test. 1 2 3 4 30";
    for (cut, words, cuts) in [
        (true, "", true),
        (true, "{\n cut off\n }", false),
        (false, "", false),
    ] {
        let upstream = Upstream::start().await.unwrap();
        upstream.rule(Rule::new(Reply::rcode("NXDOMAIN").authority(&[soa])));
        let nothing = Reply::rcode("NOERROR").authority(&[soa]);
        upstream.rule(Rule::new(nothing).name("svc.cluster.local"));
        let port = Port::claim();
        let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Corefile");
        let text = format!(
            "cluster.local:{} {{\n bind 127.0.0.1\n cache {words}\n forward . {}\n}}\n",
            port.number(),
            upstream.address()
        );
        std::fs::write(&path, text).unwrap();
        let options = Options {
            cut,
            ..options(&path)
        };
        let run = Run::start(options, Host::default()).await;
        let client = Client::to(address);
        client.ask("a.com.svc.cluster.local", "A").await.unwrap();
        if cuts {
            // Two places are asked for.
            upstream.wait_seen(3, BOUND).await.unwrap();
        }
        let mut asked = 0;
        for n in 0..20 {
            let name = format!("b-{n}.com.svc.cluster.local.");
            client.ask(&name, "A").await.unwrap();
            asked += upstream.count(&name, "A");
        }
        // The first of them may come before what was asked for is known.
        assert_eq!(asked < 10, cuts, "{asked} of 20 went on");
        run.stop().await;
    }
}
