//! Other programs, run to their end and not for long.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use corefile::io_message;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// How long a program may run. iptables waits up to five seconds for its lock.
const PATIENCE: Duration = Duration::from_secs(10);
/// Octets that are kept of what a program complains about.
const COMPLAINT: u64 = 2048;
/// Where programs are looked for without a PATH.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a program did not do what it should.
#[derive(Debug, Error)]
pub enum CommandError {
    /// It cannot be run, or not be spoken to.
    #[error("{program}: {}", io_message(.source))]
    Start {
        /// Its name.
        program: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// It did not end in time and was killed.
    #[error("{0}: still running after {seconds} s", seconds = PATIENCE.as_secs())]
    Late(String),
    /// It said that it failed.
    #[error("{program}: {status}: {complaint}")]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error, on one line.
        complaint: String,
    },
}

/// The file that a program's name stands for, if it is installed.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| {
            let mode = file.metadata().map(|file| file.permissions().mode());
            mode.is_ok_and(|mode| mode & 0o111 != 0)
        })
}

/// Runs a program with an input, and yields those of its lines that are wanted,
/// each with its end. What it writes may be long, what is wanted should not be.
///
/// # Errors
///
/// [`CommandError`]. Dropping the future kills the program.
pub async fn run(
    program: &Path,
    arguments: &[&str],
    input: &str,
    mut wanted: impl FnMut(&str) -> bool,
) -> Result<String, CommandError> {
    let name = || {
        let name = program.file_name().unwrap_or(program.as_os_str());
        name.to_string_lossy().into_owned()
    };
    let failed = |source| CommandError::Start {
        program: name(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // Who does not read its input says so by its status.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let read = async {
        let mut kept = String::new();
        let mut lines = stdout.map(|stdout| BufReader::new(stdout).lines());
        while let Some(lines) = &mut lines
            && let Some(line) = lines.next_line().await?
        {
            if wanted(&line) {
                kept += &line;
                kept.push('\n');
            }
        }
        io::Result::Ok(kept)
    };
    let complain = async {
        let mut complaint = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = (&mut stderr)
                .take(COMPLAINT)
                .read_to_end(&mut complaint)
                .await;
            // Nobody waits because we do not read.
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        }
        complaint
    };
    let done = timeout(PATIENCE, async {
        let ((), kept, complaint) = tokio::join!(write, read, complain);
        (kept, complaint, child.wait().await)
    });
    let (kept, complaint, status) = done.await.map_err(|_| CommandError::Late(name()))?;
    let (kept, status) = (kept.map_err(failed)?, status.map_err(failed)?);
    if status.success() {
        return Ok(kept);
    }
    let complaint = String::from_utf8_lossy(&complaint);
    let complaint: Vec<_> = complaint.split_whitespace().collect();
    Err(CommandError::Failed {
        program: name(),
        status,
        complaint: complaint.join(" "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str) -> Result<String, String> {
        let shell = find("sh").expect("a shell");
        let ended = run(&shell, &["-c", script], "input\n", |line| line != "no").await;
        ended.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_program_reads_and_writes() {
        assert_eq!(
            shell("cat; echo no; echo yes").await.unwrap(),
            "input\nyes\n"
        );
        assert_eq!(shell("true").await.unwrap(), "");
    }

    #[tokio::test]
    async fn what_it_complains_about_is_told() {
        assert_eq!(
            shell("echo a >&2; echo b >&2; exit 3").await.unwrap_err(),
            "sh: exit status: 3: a b"
        );
        let ended = run(Path::new("/nowhere/nft"), &[], "", |_| true).await;
        assert_eq!(
            ended.unwrap_err().to_string(),
            "nft: no such file or directory"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_not_waited_for_forever() {
        assert_eq!(
            shell("exec sleep 1000").await.unwrap_err(),
            "sh: still running after 10 s"
        );
    }

    #[test]
    fn what_is_not_installed_is_not_found() {
        assert_eq!(find("no-such-firewall"), None);
    }
}
