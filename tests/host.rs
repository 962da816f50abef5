//! What a program sees that runs the server inside itself and keeps its sockets.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

use pando::app::{self, Host, Request};
use pando::cli::Options;
use pando::server::socket::{Opener, bind_tcp, bind_udp};
use pando_test::{BOUND, Client, Port, Reply, Rule, Upstream, page};
use tokio::sync::{mpsc, oneshot};
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
    let (requests, receiver) = mpsc::channel(4);
    let (told, mut serving) = mpsc::unbounded_channel();
    let holder = Arc::new(Holder::default());
    let host = Host {
        opener: holder.clone(),
        serving: Box::new(move || told.send(()).unwrap()),
        requests: Some(receiver),
        ..Host::default()
    };
    let options = Options {
        conf: Some(path.to_str().unwrap().to_owned()),
        quiet: true,
        ..Options::default()
    };
    let run = tokio::spawn(app::run(options, host));

    timeout(BOUND, serving.recv()).await.unwrap().unwrap();
    let answer = Client::to(first).ask("example.org", "A").await.unwrap();
    assert_eq!(answer.rcode(), "NOERROR");
    assert_eq!(page(health, "/health", &[]).await.unwrap().body, "OK");
    assert_eq!(*holder.http.lock().unwrap(), [health]);
    let workers = std::thread::available_parallelism().unwrap().get();
    let kept: Vec<_> = holder.udp.lock().unwrap().keys().copied().collect();
    assert_eq!(kept.len(), workers);
    assert!((0..workers).all(|worker| kept.contains(&(first, worker))));

    let (reply, metrics) = oneshot::channel();
    requests.send(Request::Metrics(reply)).await.unwrap();
    let metrics = timeout(BOUND, metrics).await.unwrap().unwrap();
    assert!(metrics.contains("pando_server_dropped_total"), "{metrics}");

    corefile(second);
    requests.send(Request::Reload).await.unwrap();
    timeout(BOUND, serving.recv()).await.unwrap().unwrap();
    let answer = Client::to(second).ask("example.org", "A").await.unwrap();
    assert_eq!(answer.rcode(), "NOERROR");
    assert_eq!(*holder.closed.lock().unwrap(), [first]);

    requests.send(Request::Stop).await.unwrap();
    let code = timeout(BOUND, run).await.unwrap().unwrap().unwrap();
    assert_eq!(code, 0);
}

/// A Corefile that says nothing of `cut` means another thing to a program that
/// serves a node.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_says_whether_denials_cover_what_is_beneath() {
    let soa = "cluster.local. 30 IN SOA ns.test. admin.test. 1 2 3 4 30";
    for (cut, options, cuts) in [
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
            "cluster.local:{} {{\n bind 127.0.0.1\n cache {options}\n forward . {}\n}}\n",
            port.number(),
            upstream.address()
        );
        std::fs::write(&path, text).unwrap();
        let (requests, receiver) = mpsc::channel(4);
        let (told, mut serving) = mpsc::unbounded_channel();
        let host = Host {
            serving: Box::new(move || told.send(()).unwrap()),
            requests: Some(receiver),
            ..Host::default()
        };
        let options = Options {
            conf: Some(path.to_str().unwrap().to_owned()),
            quiet: true,
            cut,
            ..Options::default()
        };
        let run = tokio::spawn(app::run(options, host));
        timeout(BOUND, serving.recv()).await.unwrap().unwrap();
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
        requests.send(Request::Stop).await.unwrap();
        assert_eq!(timeout(BOUND, run).await.unwrap().unwrap().unwrap(), 0);
    }
}
