//! Programs that do not outlive the test process.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

use anyhow::Context;

/// Runs a program and kills it when its own stdin ends. A control plane is
/// shared by tests that each have a runtime, and lives in a static that no one
/// drops; the pipe closes in every case, also when the test process is killed.
/// Signals that are meant for the whole group of processes must not take the
/// guard and leave the program.
const GUARD: &str = r#"
trap '' HUP INT TERM
log=$1; shift
exec 3<&0
"$@" >>"$log" 2>&1 </dev/null 3<&- &
program=$!
(read -r _ <&3; kill -KILL "$program") &
reader=$!
wait "$program"
status=$?
kill "$reader" 2>/dev/null
exit "$status"
"#;

/// A running program; dropping it kills the program and waits for its end.
#[derive(Debug)]
pub(super) struct Guarded {
    guard: Mutex<Child>,
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Guarded {
    /// Starts `program` with its output appended to `log`.
    pub(super) fn start(program: &Path, arguments: &[String], log: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new("sh");
        command
            .args(["-c", GUARD, "guard"])
            .arg(log)
            .arg(program)
            .args(arguments);
        Self::spawn(command, log).with_context(|| format!("start {}", program.display()))
    }

    /// Deletes `folder` when the test process is gone, as soon as the programs
    /// that write in it are gone too.
    pub(super) fn sweep(folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new("sh");
        let sweep = r#"
trap '' HUP INT TERM
read -r _
for _ in 1 2 3 4 5; do rm -rf "$0" && exit; sleep 1; done
"#;
        command.args(["-c", sweep]).arg(folder);
        Self::spawn(command, folder)
    }

    fn spawn(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let mut guard = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            stdin: guard.stdin.take(),
            guard: Mutex::new(guard),
            log: log.to_owned(),
        })
    }

    /// Whether the program has ended by itself.
    pub(super) fn ended(&self) -> bool {
        let guard = self.guard.lock();
        guard.is_ok_and(|mut guard| !matches!(guard.try_wait(), Ok(None)))
    }

    /// The last lines of the log, for error messages.
    pub(super) fn log_end(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let mut lines: Vec<_> = log.lines().rev().take(20).collect();
        lines.reverse();
        lines.join("\n")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.stdin = None;
        if let Ok(guard) = self.guard.get_mut() {
            let _ = guard.wait();
        }
    }
}
