//! What the parent says about itself over HTTP: `/metrics`, with the
//! worker's below its own, and `/health`.
//!
//! A few lines of HTTP/1 of our own in place of a library, because each page
//! of a program that is touched counts in a process that shall stay small.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::errors::SetupErrors;
use crate::event::Event;

/// How long a client may take for its request, and for taking the response.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the worker may take for its metrics.
const SCRAPE: Duration = Duration::from_secs(2);
/// Octets of a request up to the end of its head.
const HEAD: usize = 4096;
/// Octets of the worker's metrics that are copied at a time.
const COPY: usize = 8192;
/// Clients at once. For one more the oldest goes, among those who have asked
/// for nothing yet if there are any: who holds connections open on the node's
/// address keeps the kubelet's probe out no more than Prometheus.
const CLIENTS: usize = 16;

/// What the parent knows of its state.
#[derive(Debug, Default)]
pub struct Status {
    /// Whether a worker serves.
    pub serving: AtomicBool,
    /// Whether clients are sent elsewhere.
    pub fail_open: AtomicBool,
    /// Workers that ended without being told to.
    pub restarts: AtomicU64,
    /// Those of them that were killed because they gave no sign of life.
    pub hangs: AtomicU64,
    /// Hand-overs from another instance.
    pub taken: AtomicU64,
    /// Hand-overs to another instance.
    pub given: AtomicU64,
    /// How the last worker ended.
    reason: Mutex<String>,
}

impl Status {
    /// How the last worker ended.
    pub fn ended(&self, how: &str) {
        how.clone_into(&mut self.reason.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// 200 or 503, and a line.
    fn health(&self) -> (u16, String) {
        if self.serving.load(Relaxed) {
            return (200, "OK".to_owned());
        }
        let mut text = match self.fail_open.load(Relaxed) {
            true => "no worker stays up or comes to serve, so interface and rules are removed"
                .to_owned(),
            false => "no worker serves".to_owned(),
        };
        let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if !reason.is_empty() {
            // Writing to a string does not fail.
            let _ = write!(text, "; the last one ended with {reason}");
        }
        (503, text)
    }

    fn exposition(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        family(
            "pando_node_fail_open",
            "gauge",
            "Whether no worker stays up or comes to serve, so that interface and packet rules are removed.",
            &[("", self.fail_open.load(Relaxed).into())],
        );
        family(
            "pando_node_handovers_total",
            "counter",
            "Counter of sockets and cache taken over from another instance, and given to one.",
            &[
                ("{direction=\"given\"}", self.given.load(Relaxed)),
                ("{direction=\"taken\"}", self.taken.load(Relaxed)),
            ],
        );
        family(
            "pando_node_worker_hangs_total",
            "counter",
            "Counter of workers that were killed because they gave no sign of life.",
            &[("", self.hangs.load(Relaxed))],
        );
        family(
            "pando_node_worker_restarts_total",
            "counter",
            "Counter of workers that ended without being told to.",
            &[("", self.restarts.load(Relaxed))],
        );
        family(
            "pando_node_worker_serving",
            "gauge",
            "Whether a worker serves.",
            &[("", self.serving.load(Relaxed).into())],
        );
        text
    }
}

/// Serves a listener until the task is aborted.
pub(crate) async fn serve(
    listener: TcpListener,
    status: Arc<Status>,
    errors: Arc<SetupErrors>,
    scrapes: mpsc::UnboundedSender<Event>,
) {
    // In the order of their coming; they end with this task.
    let mut clients: Vec<Client> = Vec::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely; a pause lets some be closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (status, errors, scrapes) = (status.clone(), errors.clone(), scrapes.clone());
        clients.retain(|client| !client.task.is_finished());
        if clients.len() >= CLIENTS {
            let silent = |client: &Client| !client.asked.load(Relaxed);
            clients.remove(clients.iter().position(silent).unwrap_or(0));
        }
        let asked = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let asked = asked.clone();
            async move {
                // A client that goes away or talks nonsense is no event here.
                let _ = answer(stream, &asked, &status, &errors, &scrapes).await;
            }
        });
        clients.push(Client { asked, task });
    }
}

/// A client that is being served, until this is dropped.
struct Client {
    /// Whether its request has come.
    asked: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    mut stream: TcpStream,
    asked: &AtomicBool,
    status: &Status,
    errors: &SetupErrors,
    scrapes: &mpsc::UnboundedSender<Event>,
) -> io::Result<()> {
    let head = timeout(PATIENCE, head(&mut stream)).await??;
    asked.store(true, Relaxed);
    let (code, text, metrics) = match path(&head) {
        Some("/metrics") => {
            let own = errors.exposition() + &status.exposition();
            (200, own, worker(scrapes).await)
        }
        Some("/health") => {
            let (code, text) = status.health();
            (code, text, None)
        }
        Some(_) => (404, "404 page not found\n".to_owned(), None),
        None => (400, "400 Bad Request".to_owned(), None),
    };
    timeout(PATIENCE, respond(&mut stream, code, &text, metrics)).await?
}

/// The head of a request, as far as it has come in.
async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

/// The path of a GET request.
fn path(head: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(head.split(|octet| *octet == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let path = target.split('?').next()?;
    (method == "GET" && version.starts_with("HTTP/1.")).then_some(path)
}

/// The worker's metrics, if there is one and it is quick.
async fn worker(scrapes: &mpsc::UnboundedSender<Event>) -> Option<File> {
    let (scrape, answer) = oneshot::channel();
    scrapes.send(Event::Scrape(scrape)).ok()?;
    let file = async { answer.await.ok()?.await.ok()? };
    timeout(SCRAPE, file).await.ok()?.map(File::from)
}

async fn respond(
    stream: &mut TcpStream,
    code: u16,
    text: &str,
    more: Option<File>,
) -> io::Result<()> {
    let reason = match code {
        200 => "OK",
        404 => "Not Found",
        503 => "Service Unavailable",
        _ => "Bad Request",
    };
    let length = more
        .as_ref()
        .map_or(Ok(0), |file| Ok::<_, io::Error>(file.metadata()?.len()))?;
    let total = length + text.len() as u64;
    let head = format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {total}\r\nConnection: close\r\n\r\n{text}"
    );
    stream.write_all(head.as_bytes()).await?;
    if let Some(file) = more {
        let mut buffer = vec![0; COPY];
        let mut at = 0;
        while at < length {
            let read = file.read_at(&mut buffer, at)?;
            let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else {
                break;
            };
            stream.write_all(part).await?;
            at += read as u64;
        }
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_answered_has_a_path() {
        for (head, expected) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Some("/metrics")),
            ("GET /health?x=1 HTTP/1.0\r\n\r\n", Some("/health")),
            ("POST /metrics HTTP/1.1\r\n\r\n", None),
            ("GET /metrics\r\n\r\n", None),
            ("GET / HTTP/2\r\n", None),
            ("\u{1}\u{2}", None),
            ("", None),
        ] {
            assert_eq!(path(head.as_bytes()), expected, "{head:?}");
        }
    }

    #[tokio::test]
    async fn silent_clients_keep_no_probe_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (scrapes, _events) = mpsc::unbounded_channel();
        let served = serve(listener, Arc::default(), Arc::default(), scrapes);
        let serving = tokio::spawn(served);
        let mut silent = Vec::new();
        for _ in 0..CLIENTS * 3 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut probe = TcpStream::connect(address).await.unwrap();
        probe
            .write_all(b"GET /health HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        // Long before the silent ones are closed for their silence.
        let read = timeout(PATIENCE / 2, probe.read_to_string(&mut answer)).await;
        read.expect("an answer").unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        serving.abort();
    }

    #[test]
    fn health_says_why_not() {
        let status = Status::default();
        assert_eq!(status.health(), (503, "no worker serves".to_owned()));
        status.ended("signal: 9 (SIGKILL)");
        status.fail_open.store(true, Relaxed);
        let text = "no worker stays up or comes to serve, so interface and rules are removed; the last one ended with signal: 9 (SIGKILL)";
        assert_eq!(status.health(), (503, text.to_owned()));
        status.serving.store(true, Relaxed);
        assert_eq!(status.health(), (200, "OK".to_owned()));
    }
}
