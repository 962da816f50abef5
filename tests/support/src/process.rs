//! A child process whose output lines can be waited for.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// One line that a process wrote.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Whether it was written to stderr.
    pub stderr: bool,
    /// The text without its line end.
    pub text: String,
}

/// A running program. It is killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Output,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Clone, Debug)]
struct Output {
    lines: Arc<Mutex<Vec<Line>>>,
    written: watch::Sender<usize>,
}

impl Process {
    /// Starts `command` with its output captured and, unless `stdin` is
    /// `None`, that text as its input.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn spawn(mut command: Command, stdin: Option<String>) -> anyhow::Result<Self> {
        let name = command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        command
            .stdin(if stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let output = Output {
            lines: Arc::default(),
            written: watch::Sender::new(0),
        };
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            readers.push(tokio::spawn(output.clone().read(pipe, false)));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.push(tokio::spawn(output.clone().read(pipe, true)));
        }
        if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
            // A program that ends without reading its input is its own affair.
            tokio::spawn(async move { pipe.write_all(text.as_bytes()).await });
        }
        Ok(Self {
            name,
            child,
            output,
            readers,
        })
    }

    /// The process id, `None` once it has been waited for.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Everything written so far, in order of arrival.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.output.lock().clone()
    }

    /// What stdout holds so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.text(false)
    }

    /// What stderr holds so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.text(true)
    }

    fn text(&self, stderr: bool) -> String {
        let lines = self.output.lock();
        lines
            .iter()
            .filter(|line| line.stderr == stderr)
            .flat_map(|line| [line.text.as_str(), "\n"])
            .collect()
    }

    /// The first line that contains `part`, once there is one.
    ///
    /// # Errors
    ///
    /// After `bound`, or when the process ended without it; the error shows
    /// the output.
    pub async fn wait_for_line(&self, part: &str, bound: Duration) -> anyhow::Result<String> {
        self.wait_for_line_after(0, part, bound).await
    }

    /// As [`Self::wait_for_line`], passing over the first `after` lines: the
    /// length of [`Self::lines`] taken before the act that must cause the line.
    ///
    /// # Errors
    ///
    /// As [`Self::wait_for_line`].
    pub async fn wait_for_line_after(
        &self,
        after: usize,
        part: &str,
        bound: Duration,
    ) -> anyhow::Result<String> {
        let mut written = self.output.written.subscribe();
        let find = async {
            loop {
                written.mark_unchanged();
                // Before the look: what is written until then is found by it.
                let ended = self.readers.iter().all(JoinHandle::is_finished);
                let found = (self.output.lock().iter().skip(after))
                    .find(|line| line.text.contains(part))
                    .map(|line| line.text.clone());
                if found.is_some() {
                    return found;
                }
                if ended {
                    return None;
                }
                // The last reader ends without a line, so also look now and then.
                let _ = tokio::time::timeout(Duration::from_millis(50), written.changed()).await;
            }
        };
        match tokio::time::timeout(bound, find).await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => bail!("{} ended without {part:?}:\n{}", self.name, self.shown()),
            Err(_) => bail!(
                "{} did not write {part:?} within {bound:?}:\n{}",
                self.name,
                self.shown()
            ),
        }
    }

    /// Sends a signal by its name without `SIG`, as `TERM`, `INT`, `USR1`.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self
            .pid()
            .with_context(|| format!("{} has ended", self.name))?;
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -s {name} {pid}")])
            .status()
            .await?;
        anyhow::ensure!(sent.success(), "kill -s {name} {pid}: {sent}");
        Ok(())
    }

    /// Waits for the end and for the rest of the output.
    ///
    /// # Errors
    ///
    /// When the process still runs after `bound`.
    pub async fn wait_exit(&mut self, bound: Duration) -> anyhow::Result<ExitStatus> {
        let Ok(status) = tokio::time::timeout(bound, self.child.wait()).await else {
            bail!(
                "{} still runs after {bound:?}:\n{}",
                self.name,
                self.shown()
            );
        };
        for reader in self.readers.drain(..) {
            // A grandchild may hold the pipe open; its output is not awaited.
            let _ = tokio::time::timeout(Duration::from_secs(2), reader).await;
        }
        Ok(status?)
    }

    /// Kills the process and waits until it is gone.
    ///
    /// # Errors
    ///
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Whether the process has ended.
    pub fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// All output as one text, for error messages.
    #[must_use]
    pub fn shown(&self) -> String {
        let lines = self.output.lock();
        lines
            .iter()
            .flat_map(|line| [if line.stderr { "2> " } else { "1> " }, &line.text, "\n"])
            .collect()
    }
}

impl Output {
    async fn read(self, pipe: impl AsyncRead + Unpin, stderr: bool) {
        let mut pipe = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut bytes).await, Ok(1..)) {
            let text = String::from_utf8_lossy(&bytes)
                .trim_end_matches(['\n', '\r'])
                .to_owned();
            bytes.clear();
            self.lock().push(Line { stderr, text });
            self.written.send_modify(|count| *count += 1);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BOUND;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn(command, None).expect("sh starts")
    }

    #[tokio::test]
    async fn lines_of_both_pipes_are_seen_and_awaited() {
        let mut process = shell("echo one; echo two >&2; exit 3");
        assert_eq!(process.wait_for_line("tw", BOUND).await.unwrap(), "two");
        let status = process.wait_exit(BOUND).await.unwrap();
        assert_eq!(status.code(), Some(3));
        assert_eq!(
            (process.stdout(), process.stderr()),
            ("one\n".into(), "two\n".into())
        );
    }

    #[tokio::test]
    async fn a_line_that_never_comes_is_an_error_that_shows_the_output() {
        let process = shell("echo only");
        let error = process.wait_for_line("missing", BOUND).await.unwrap_err();
        assert!(error.to_string().contains("1> only"), "{error}");
    }

    #[tokio::test]
    async fn a_signal_ends_a_process() {
        let mut process =
            shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done");
        process.wait_for_line("up", BOUND).await.unwrap();
        process.signal("TERM").await.unwrap();
        assert_eq!(process.wait_exit(BOUND).await.unwrap().code(), Some(0));
        assert_eq!(process.stdout(), "up\nbye\n");
    }
}
