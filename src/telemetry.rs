//! Log lines in CoreDNS's form, without holding up whoever logs.
//!
//! An event of `tracing` becomes `[LEVEL] plugin/NAME: message` on standard
//! output if it comes from a module under `plugin::NAME`, and
//! `[LEVEL] message` if it comes from elsewhere in Pando; so a plugin says
//! `info!("…")` and no more. An explicit target `plugin/NAME` says the same
//! where the name is another one; any other (`info!(target: "log", "…")`) has
//! no plugin in front of its lines.
//! Fields follow the message as `key=value`. Other crates' events are not
//! shown, and DEBUG only while a server block says `debug`.
//!
//! Lines go to a thread that writes them, through a queue of bounded length:
//! a slow terminal or pipe costs lines, which are counted, but no queries.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{LazyLock, OnceLock};
use std::thread;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

use crate::metrics::{Counter, Family};

/// Lines that may wait for the writer, in a server.
pub const LINES: usize = 8192;
/// How long the end of the process may wait for lines to be written.
const PATIENCE: Duration = Duration::from_secs(1);

static WRITER: OnceLock<SyncSender<Message>> = OnceLock::new();
static DEBUG: AtomicBool = AtomicBool::new(false);
static STACKS: AtomicBool = AtomicBool::new(false);
static LOST: LazyLock<Counter> = LazyLock::new(|| {
    Family::counters(
        "pando_log_lines_dropped_total",
        "Counter of log lines dropped because they could not be written fast enough.",
        &[],
    )
    .with(&[])
});

enum Message {
    /// A line with its end.
    Line(String),
    /// Told once everything before it is written.
    Flush(SyncSender<()>),
}

/// Sends the events of this process to standard output from now on, where at
/// most this many `lines` may wait for the writer.
///
/// # Errors
///
/// Where the writer's thread cannot be started.
pub fn init(lines: usize) -> io::Result<()> {
    let (sender, receiver) = sync_channel(lines);
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write(&receiver))?;
    if WRITER.set(sender).is_ok() {
        // Fails where a subscriber is set already, which then has the lines.
        let _ = tracing::subscriber::set_global_default(Registry::default().with(Lines));
    }
    Ok(())
}

/// Sends warnings and errors of this process to standard error from now on,
/// at once, and nothing else anywhere: for tools, whose output is their own.
pub fn warn_on_stderr() {
    // Fails where a subscriber is set already, which then has the lines.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(Warnings));
}

struct Warnings;

impl<S: Subscriber> Layer<S> for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        Lines::shows(metadata) && *metadata.level() <= Level::WARN
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // A closed standard error loses them, as it must.
        let _ = io::stderr().write_all(format(event).as_bytes());
    }
}

/// Shows DEBUG lines, or no longer.
pub fn set_debug(on: bool) {
    if DEBUG.swap(on, Ordering::Relaxed) != on {
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Whether DEBUG lines are shown.
pub fn is_debug() -> bool {
    DEBUG.load(Ordering::Relaxed)
}

/// Writes text as it is, in order with the log lines.
pub fn print(text: String) {
    match WRITER.get() {
        Some(writer) => match writer.try_send(Message::Line(text)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => LOST.inc(),
        },
        None => drop(io::stdout().write_all(text.as_bytes())),
    }
}

/// Waits, not for long, until everything said so far is written.
pub fn flush() {
    let Some(writer) = WRITER.get() else { return };
    let (done, written) = sync_channel(1);
    // Where the queue is full, or not written within that time, the reader is
    // stuck and the lines are lost.
    if writer.try_send(Message::Flush(done)).is_ok() {
        let _ = written.recv_timeout(PATIENCE);
    }
}

fn write(messages: &Receiver<Message>) {
    let mut out = io::BufWriter::with_capacity(16 << 10, io::stdout());
    // A closed pipe loses lines, as it must; the server goes on.
    let mut take = |message| match message {
        Message::Line(line) => drop(out.write_all(line.as_bytes())),
        Message::Flush(done) => {
            let _ = out.flush();
            let _ = done.try_send(());
        }
    };
    while let Ok(message) = messages.recv() {
        take(message);
        // What came meanwhile is written with it.
        messages.try_iter().take(LINES).for_each(&mut take);
        take(Message::Flush(sync_channel(1).0));
    }
}

/// Keeps the stack of each panic for [`last_panic`], besides what the default
/// hook prints.
pub fn keep_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        // Resolving a stack takes long: not where a query can make it happen at will.
        if !STACKS.load(Ordering::Relaxed) {
            return;
        }
        LAST_PANIC.set(Some(Backtrace::force_capture().to_string()));
    }));
}

/// Keeps stacks from now on, for as long as the process runs.
pub fn want_stacks() {
    STACKS.store(true, Ordering::Relaxed);
}

/// The stack of the last panic of this thread, if there was one since it was
/// last asked for.
pub fn last_panic() -> Option<String> {
    LAST_PANIC.take()
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

struct Lines;

impl Lines {
    fn shows(metadata: &Metadata<'_>) -> bool {
        let foreign = metadata.target().contains("::") && !metadata.target().starts_with("pando");
        !foreign
            && (*metadata.level() <= Level::INFO
                || (is_debug() && *metadata.level() <= Level::DEBUG))
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match Self::shows(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        Self::shows(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match is_debug() {
            true => LevelFilter::DEBUG,
            false => LevelFilter::INFO,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        print(format(event));
    }
}

fn format(event: &Event<'_>) -> String {
    let mut line = Line(String::with_capacity(128));
    // Writing to a string does not fail.
    let _ = write!(line.0, "[{}] ", level(*event.metadata().level()));
    if let Some(plugin) = plugin(event.metadata().target()) {
        let _ = write!(line.0, "plugin/{plugin}: ");
    }
    event.record(&mut line);
    line.0.push('\n');
    line.0
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

/// The plugin that a module belongs to.
fn plugin(target: &str) -> Option<&str> {
    if let Some(name) = target.strip_prefix("plugin/") {
        return Some(name);
    }
    let rest = target.strip_prefix("pando::plugin::")?;
    rest.split("::").next()
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let start = self.0.len();
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        // One event is one line, whatever a peer has put into it.
        if self
            .0
            .get(start..)
            .is_some_and(|text| text.contains(['\n', '\r']))
        {
            let text = self.0.split_off(start);
            self.0
                .push_str(&text.replace('\n', "\\n").replace('\r', "\\r"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_under_plugin_names_its_plugin() {
        for (target, name) in [
            ("pando::plugin::forward", Some("forward")),
            ("pando::plugin::kubernetes::watch", Some("kubernetes")),
            ("pando::server::udp", None),
            ("plugin/metrics", Some("metrics")),
            ("log", None),
        ] {
            assert_eq!(plugin(target), name, "{target}");
        }
    }

    /// Collects what would be printed.
    struct Into(std::sync::Mutex<Vec<String>>);

    impl<S: Subscriber> Layer<S> for &'static Into {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(format(event));
        }
    }

    #[test]
    fn an_event_is_one_line() {
        static LINES: Into = Into(std::sync::Mutex::new(Vec::new()));
        let subscriber = Registry::default().with(&LINES);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "log", "a query");
            tracing::warn!(target: "plugin/metrics", "a\nb");
            tracing::error!(target: "pando::plugin::forward::pool", port = 53, "no route");
        });
        assert_eq!(
            *LINES.0.lock().unwrap(),
            [
                "[INFO] a query\n",
                "[WARNING] plugin/metrics: a\\nb\n",
                "[ERROR] plugin/forward: no route port=53\n",
            ]
        );
    }
}
