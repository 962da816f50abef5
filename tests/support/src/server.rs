//! The server under test, and CoreDNS as its peer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::{BOUND, Client, Page, Port, Process, page, until};

/// A DNS server to be started on a Corefile.
///
/// In the Corefile and in added files, `$PORT` is the port for DNS, `$DIR` the
/// folder of the Corefile, and any other `$WORD_PORT` (`$HEALTH_PORT`,
/// `$METRICS_PORT`) a free port of its own. A server block without a port is
/// served on `$PORT` as well: the default port is set by flag.
#[derive(Debug)]
pub struct ServerBuilder {
    binary: PathBuf,
    corefile: String,
    files: Vec<(String, String)>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    ip: IpAddr,
}

impl ServerBuilder {
    /// Runs `binary`, or what `PANDO_BIN` names in place of the `pando` that a
    /// test passes as `env!("CARGO_BIN_EXE_pando")`: so a test can be held
    /// against CoreDNS.
    #[must_use]
    pub fn pando(binary: &str, corefile: &str) -> Self {
        match std::env::var_os("PANDO_BIN") {
            Some(other) => Self::new(other, corefile),
            None => Self::new(binary, corefile),
        }
    }

    /// Runs `binary`.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>, corefile: &str) -> Self {
        Self {
            binary: binary.into(),
            corefile: corefile.to_owned(),
            files: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            ip: Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// Runs the CoreDNS that `COREDNS_BIN` names; `None` where it names none.
    #[must_use]
    pub fn coredns(corefile: &str) -> Option<Self> {
        let binary = std::env::var_os("COREDNS_BIN")?;
        Some(Self::new(binary, corefile))
    }

    /// Writes a file beside the Corefile.
    #[must_use]
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Adds a command-line argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The address to ask, where `bind` leaves out 127.0.0.1.
    #[must_use]
    pub fn ip(mut self, ip: IpAddr) -> Self {
        self.ip = ip;
        self
    }

    /// Starts it and waits until it answers over UDP and accepts over TCP.
    ///
    /// # Errors
    ///
    /// When it ends first or is not there within [`BOUND`]; shows its output.
    pub async fn start(self) -> anyhow::Result<Server> {
        let mut server = self.spawn()?;
        let started = tokio::time::timeout(BOUND, async {
            while !server.listens().await {
                if server.process.ended() {
                    let status = server.process.wait_exit(BOUND).await?;
                    bail!("ended with {status}:\n{}", server.process.shown());
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            Ok(())
        });
        match started.await {
            Ok(Ok(())) => Ok(server),
            Ok(Err(error)) => Err(error),
            Err(_) => bail!("not up within {BOUND:?}:\n{}", server.process.shown()),
        }
    }

    /// Starts it and waits for nothing: for a server that must not come up.
    ///
    /// # Errors
    ///
    /// When the binary cannot be run.
    pub fn spawn(self) -> anyhow::Result<Server> {
        let folder = tempfile::Builder::new().prefix("pando-").tempdir()?;
        let mut server = Server {
            address: (self.ip, 0).into(),
            ports: HashMap::new(),
            folder,
            process: Process::spawn(Command::new("true"), None)?,
        };
        let port = server.port("PORT");
        server.address.set_port(port);
        server.write("Corefile", &self.corefile)?;
        for (name, text) in &self.files {
            server.write(name, text)?;
        }
        let mut command = Command::new(&self.binary);
        command
            .current_dir(server.folder.path())
            .arg("-conf")
            .arg(server.path("Corefile"))
            .arg("-dns.port")
            .arg(port.to_string())
            .args(&self.arguments)
            .envs(self.environment);
        server.process = Process::spawn(command, None)?;
        Ok(server)
    }
}

/// A running DNS server in a folder of its own; gone when dropped.
///
/// Everything that a [`Process`] does can be asked of it too.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
    ports: HashMap<String, Port>,
    folder: TempDir,
}

impl Server {
    /// Where it answers DNS.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::to(self.address)
    }

    /// The address whose port the Corefile calls `$NAME`, as
    /// `server.at("HEALTH_PORT")`.
    #[must_use]
    pub fn at(&mut self, name: &str) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.port(name))
    }

    /// The page at `path` of the HTTP listener on `$NAME`.
    ///
    /// # Errors
    ///
    /// When nothing listens there.
    pub async fn page(&mut self, name: &str, path: &str) -> anyhow::Result<Page> {
        page(self.at(name), path, &[]).await
    }

    /// The value of a metric, by its name with labels exactly as printed;
    /// `None` when it is not there. The Corefile's listener must be on
    /// `$METRICS_PORT`.
    ///
    /// # Errors
    ///
    /// When nothing listens there.
    pub async fn metric(&mut self, name: &str) -> anyhow::Result<Option<f64>> {
        let metrics = self.page("METRICS_PORT", "/metrics").await?.body;
        let value = metrics.lines().find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(' ')?;
            value.split(' ').next()?.parse().ok()
        });
        Ok(value)
    }

    /// The path of a file in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its folder, which holds the Corefile.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file in its folder with `$PORT` and the like replaced. The
    /// file changes at once and whole, as a mounted ConfigMap does.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        let text = self.fill_in(text);
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let new = path.with_extension("new");
        std::fs::write(&new, text)?;
        std::fs::rename(&new, &path).with_context(|| format!("write {}", path.display()))
    }

    /// Waits until `/ready` on `$READY_PORT` says 200.
    ///
    /// # Errors
    ///
    /// After [`BOUND`], with the output.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let ready = self.at("READY_PORT");
        let ready = until("ready", BOUND, || async move {
            let page = page(ready, "/ready", &[]).await.ok()?;
            page.status.is_success().then_some(())
        });
        let ready = ready.await;
        ready.with_context(|| self.process.shown())
    }

    /// Whether it accepts connections and answers datagrams. The datagram has
    /// an opcode that is refused (NOTIMP) before any plugin sees it.
    async fn listens(&self) -> bool {
        let tcp = TcpStream::connect(self.address).await;
        let probe = [0, 1, 0x78, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let client = self.client().bound(std::time::Duration::from_millis(500));
        tcp.is_ok() && matches!(client.raw_udp(&probe).await, Ok(Some(_)))
    }

    fn port(&mut self, name: &str) -> u16 {
        let ports = self.ports.entry(name.to_owned());
        ports.or_insert_with(Port::claim).number()
    }

    fn fill_in(&mut self, text: &str) -> String {
        let mut parts = text.split('$');
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let word: String = (part.chars())
                .take_while(|c| c.is_ascii_uppercase() || *c == '_')
                .collect();
            let rest = &part[word.len()..];
            match word.as_str() {
                "DIR" => out += &self.folder.path().to_string_lossy(),
                word if word == "PORT" || word.ends_with("_PORT") => {
                    out += &self.port(word).to_string();
                }
                word => out = out + "$" + word,
            }
            out += rest;
        }
        out
    }
}

impl Deref for Server {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ask;

    const WHOAMI: &str = ".:$PORT {\n whoami\n health 127.0.0.1:$HEALTH_PORT\n prometheus 127.0.0.1:$METRICS_PORT\n}\n";

    #[tokio::test]
    async fn a_server_that_ends_at_once_is_an_error_with_its_output() {
        let builder = ServerBuilder::new("sh", "").argument("-c").spawn();
        let mut server = builder.expect("sh starts");
        // `sh -conf FILE …` is an error that sh itself explains.
        assert!(!server.wait_exit(BOUND).await.unwrap().success());
        assert!(!server.stderr().is_empty());
        let error = ServerBuilder::new("false", "").start().await.unwrap_err();
        assert!(error.to_string().contains("ended with"), "{error}");
    }

    #[tokio::test]
    async fn ports_and_the_folder_are_filled_in() {
        let mut server = ServerBuilder::new("true", "").spawn().unwrap();
        let port = server.address().port();
        server
            .write("a/b", ".:$PORT $DIR {$HOME} $$ $A_PORT $A_PORT")
            .unwrap();
        let a = server.at("A_PORT").port();
        let folder = server.folder().display().to_string();
        assert_eq!(
            std::fs::read_to_string(server.path("a/b")).unwrap(),
            format!(".:{port} {folder} {{$HOME}} $$ {a} {a}")
        );
        assert_ne!(a, port);
    }

    #[tokio::test]
    async fn coredns_answers_where_it_is_installed() {
        let Some(builder) = ServerBuilder::coredns(WHOAMI) else {
            println!("skipped: COREDNS_BIN names no CoreDNS");
            return;
        };
        let mut server = builder.start().await.unwrap();
        let ask = Ask::new("Example.org", "A").edns(1232);
        let answer = server.client().udp(&ask).await.unwrap();
        assert_eq!(answer.flags(), "qr aa rd");
        assert_eq!(answer.question(), "Example.org. IN A");
        assert_eq!(answer.additional().len(), 2, "{answer}");
        let health = server.page("HEALTH_PORT", "/health").await.unwrap();
        assert_eq!((health.status.as_u16(), health.body.as_str()), (200, "OK"));
        let name = format!(
            "coredns_plugin_enabled{{name=\"whoami\",server=\"dns://:{}\",view=\"\",zone=\".\"}}",
            server.address().port()
        );
        assert_eq!(server.metric(&name).await.unwrap(), Some(1.0));
        server.wait_for_line("CoreDNS-1.14.7", BOUND).await.unwrap();
        server.signal("TERM").await.unwrap();
        assert_eq!(server.wait_exit(BOUND).await.unwrap().code(), Some(0));
    }
}
