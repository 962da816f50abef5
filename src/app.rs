//! The life of the process: start, reload, end.

mod banner;
mod host;
mod loader;
mod signals;
mod watch;

use std::num::NonZero;
use std::path::Path;
use std::time::{Duration, SystemTime};

use corefile::SystemHost;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::cli::Options;
use crate::configuration::{Configuration, ConfigurationError, Draft, InForce, Text};
use crate::plugin::{self, BuildError, Hooks, Kept, Settings};
use crate::server::{ListenError, Plan, Server};
use crate::{metrics, telemetry};

pub use banner::{plugins, version};
pub use host::{Host, Request};
use loader::{LoadError, Loader};
use signals::{Signal, Signals};
use watch::Watch;

/// How long queries in flight may take when their configuration ends.
const GRACE: Duration = Duration::from_secs(5);

/// Threads for everything that is no query: watches, HTTP, reloads.
const CONTROL_THREADS: usize = 2;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The Corefile cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It cannot be served.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// A plugin cannot start.
    #[error(transparent)]
    Plugin(#[from] BuildError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system refuses threads or signal handlers.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

impl From<corefile::Error> for StartError {
    fn from(error: corefile::Error) -> Self {
        ConfigurationError::from(error).into()
    }
}

impl StartError {
    /// What CoreDNS would print, and what else there is to say below it.
    fn lines(&self) -> (String, String) {
        let text = self.to_string();
        match text.split_once('\n') {
            Some((first, rest)) => (first.to_owned(), format!("{rest}\n")),
            None => (text, String::new()),
        }
    }
}

/// The runtime of the control side.
///
/// # Errors
///
/// Where the system refuses threads.
pub fn control() -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
}

/// Serves until a signal or a request ends it; the exit code.
///
/// # Errors
///
/// Whatever keeps it from serving in the first place.
pub async fn run(options: Options, host: Host) -> Result<u8, StartError> {
    // Trapped first: a signal during the start must not kill it half-way.
    let mut signals = Signals::trap(options.pidfile.clone())?;
    raise_descriptor_limit();
    telemetry::keep_panics();
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    let server = Server::start(workers, host.opener.clone(), host.ledger)?;
    (host.started)(server.pulse());
    let mut requests = host.requests;
    let mut kept = Kept::new(host.opener);
    if let Some(file) = host.warm {
        plugin::warm_caches(&mut kept, &file);
    }
    let mut reload = false;
    let started = tokio::select! {
        started = App::start(options, server, kept, host.serving) => started,
        // The start may wait long for what it needs, say the API server.
        () = end(&mut signals, &mut requests, &mut reload) => return Ok(0),
    };
    let mut app = started?;
    if reload {
        app.reload_by_signal().await;
    }
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Reload => app.reload_by_signal().await,
                Signal::Terminate => return Ok(app.terminate().await),
                Signal::Interrupt => return Ok(app.interrupt().await),
            },
            request = host::next(&mut requests) => match request {
                Request::Reload => app.reload_by_signal().await,
                Request::Stop => return Ok(app.terminate().await),
                // Who has gone meanwhile needs no answer.
                Request::Dump(file, reply) => {
                    let _ = reply.send(plugin::dump_caches(&app.running.kept, &file));
                }
                Request::Metrics(reply) => drop(reply.send(exposition())),
            },
            () = app.watch.tick() => app.look().await,
        }
    }
}

/// Waits until the process is told to end before it serves. A reload that is
/// asked for meanwhile is noted; there is nothing to be had yet.
async fn end(
    signals: &mut Signals,
    requests: &mut Option<mpsc::Receiver<Request>>,
    reload: &mut bool,
) {
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Reload => *reload = true,
                Signal::Terminate => {
                    return info!("SIGTERM: Shutting down servers then terminating");
                }
                Signal::Interrupt => return info!("SIGINT: Shutting down"),
            },
            request = host::next(requests) => match request {
                Request::Reload => *reload = true,
                Request::Stop => {
                    return info!("SIGTERM: Shutting down servers then terminating");
                }
                Request::Dump(..) | Request::Metrics(_) => {}
            },
        }
    }
}

/// Says what a Corefile means, on standard output.
///
/// # Errors
///
/// What is wrong with it.
pub fn check(options: &Options) -> Result<String, StartError> {
    let text = load(options)?;
    Ok(Draft::parse(&text, &options.port, &SystemHost::default())?.describe()?)
}

/// Reads the Corefile that the command line names.
///
/// # Errors
///
/// Where it cannot be read.
pub fn load(options: &Options) -> Result<Text, StartError> {
    Ok(Loader::new(options).load()?)
}

/// As many descriptors as the system lets us have: every TCP connection is one.
fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Best effort: with fewer, connections are shed earlier.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn exposition() -> String {
    metrics::exposition().unwrap_or_else(|error| {
        error!("Failed to collect metrics: {error}");
        String::new()
    })
}

/// Warnings about a Corefile go where the other log lines go.
fn system() -> SystemHost {
    SystemHost::new(|message| warn!("{message}"))
}

struct App {
    options: Options,
    loader: Loader,
    server: Server,
    running: Running,
    watch: Watch,
    /// Told whenever a configuration has come into force.
    serving: Box<dyn Fn() + Send + Sync>,
}

/// The configuration in force.
struct Running {
    plan: Plan,
    hooks: Hooks,
    kept: Kept,
}

impl App {
    async fn start(
        options: Options,
        mut server: Server,
        kept: Kept,
        serving: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self, StartError> {
        let loader = Loader::new(&options);
        let text = loader.load()?;
        let configuration = bring_up(&mut server, &text, &options, kept).await?;
        serving();
        if !options.quiet {
            telemetry::print(banner::zones(&configuration.plan));
        }
        if let Some(path) = &options.pidfile {
            write_pid(path);
        }
        let watch = Watch::begin(configuration.reload, &text);
        begin(&configuration, &text, &watch);
        if !options.quiet {
            telemetry::print(version());
        }
        Ok(Self {
            options,
            loader,
            server,
            running: Running::of(configuration),
            watch,
            serving,
        })
    }

    /// Serves another Corefile; what is served stays where that fails.
    async fn restart(&mut self, text: &Text) -> Result<(), StartError> {
        info!("Reloading");
        let kept = self.running.kept.next();
        let brought_up = bring_up(&mut self.server, text, &self.options, kept).await;
        let configuration = brought_up.inspect_err(|error| {
            let (first, rest) = error.lines();
            error!("Restart failed: {first}");
            self.running.kept.history().failed(&first);
            telemetry::print(rest);
        })?;
        (self.serving)();
        self.watch = Watch::begin(configuration.reload, text);
        begin(&configuration, text, &self.watch);
        let old = std::mem::replace(&mut self.running, Running::of(configuration));
        old.end().await;
        info!("Reloading complete");
        Ok(())
    }

    async fn reload_by_signal(&mut self) {
        info!("SIGUSR1: Reloading");
        let text = match self.loader.load() {
            Ok(text) => text,
            Err(error) => {
                self.running.kept.history().failed(error.reason());
                return error!("SIGUSR1: loading updated Caddyfile: {}", error.reason());
            }
        };
        if let Err(error) = self.restart(&text).await {
            let (first, _) = error.lines();
            error!("SIGUSR1: starting with listener file descriptors: {first}");
        }
    }

    /// Serves the Corefile anew if it has changed.
    async fn look(&mut self) {
        let Some(text) = self.watch.look(&self.loader, self.running.kept.history()) else {
            return;
        };
        let result = self.restart(&text).await;
        watch::count(&text, result.is_ok());
        if let Err(error) = result {
            let (first, _) = error.lines();
            error!(target: "plugin/reload", "Corefile changed but reload failed: starting with listener file descriptors: {first}");
        }
    }

    async fn terminate(mut self) -> u8 {
        info!("SIGTERM: Shutting down servers then terminating");
        let code = self.shut_down("SIGTERM").await;
        self.remove_pid();
        if !self.server.stop(GRACE).await {
            error!("SIGTERM stop: queries still wait after {GRACE:?}");
        }
        code
    }

    async fn interrupt(mut self) -> u8 {
        info!("SIGINT: Shutting down");
        self.remove_pid();
        self.shut_down("SIGINT").await
    }

    /// Tells every plugin that it ends: the exit code.
    async fn shut_down(&mut self, signal: &str) -> u8 {
        let hooks = std::mem::take(&mut self.running.hooks);
        hooks.ending.into_iter().for_each(|hook| hook());
        let mut code = 0;
        for hook in hooks.shutdown.into_iter().chain(hooks.final_shutdown) {
            if let Err(error) = hook().await {
                error!("{signal} shutdown: {error}");
                code = 4;
            }
        }
        code
    }

    fn remove_pid(&self) {
        signals::remove_pid(self.options.pidfile.as_deref());
    }
}

impl Running {
    fn of(configuration: Configuration) -> Self {
        let mut kept = configuration.kept;
        kept.settle();
        Self {
            plan: configuration.plan,
            hooks: configuration.hooks,
            kept,
        }
    }

    /// Lets its queries finish and ends, with all that nobody has taken over:
    /// nothing of it is left afterwards.
    async fn end(self) {
        if !self.plan.ended(GRACE).await {
            warn!("Queries of the old configuration still wait after {GRACE:?}");
        }
        for hook in self.hooks.shutdown {
            if let Err(error) = hook().await {
                error!("Restart failed: {error}");
            }
        }
    }
}

/// Notes that a configuration has come into force.
fn begin(configuration: &Configuration, text: &Text, watch: &Watch) {
    configuration.kept.history().begin(InForce {
        since: SystemTime::now(),
        name: text.name.clone(),
        hash: watch.hash().to_owned(),
        looked_at: configuration.reload,
        blocks: configuration.blocks.clone(),
    });
}

/// Makes a Corefile the one that is served.
async fn bring_up(
    server: &mut Server,
    text: &Text,
    options: &Options,
    kept: Kept,
) -> Result<Configuration, StartError> {
    let settings = Settings {
        cut: options.cut,
        ..Settings::default()
    };
    let draft = Draft::parse(text, &options.port, &system())?.begin_with(settings);
    let mut configuration = draft.build(&Handle::current(), kept)?;
    let debug = telemetry::is_debug();
    telemetry::set_debug(configuration.debug);
    let served = serve(server, &mut configuration).await;
    if let Err(error) = served {
        telemetry::set_debug(debug);
        return Err(error);
    }
    Ok(configuration)
}

async fn serve(server: &mut Server, configuration: &mut Configuration) -> Result<(), StartError> {
    for hook in std::mem::take(&mut configuration.hooks.startup) {
        hook().await?;
    }
    let opened = server.open(&configuration.plan)?;
    server.apply(&configuration.plan, opened).await;
    for hook in std::mem::take(&mut configuration.hooks.started) {
        if let Err(error) = hook().await {
            error!("{error}");
        }
    }
    Ok(())
}

fn write_pid(path: &Path) {
    let pid = format!("{}\n", std::process::id());
    if let Err(error) = std::fs::write(path, pid) {
        let reason = corefile::io_message(&error);
        error!("Could not write pidfile: open {}: {reason}", path.display());
    }
}
