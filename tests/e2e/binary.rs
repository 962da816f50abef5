//! The binary with nothing but the arguments that a test gives it.

use std::path::{Path, PathBuf};

use pando_test::{BOUND, Process};
use tokio::process::Command;

/// The binary under test, or what `PANDO_BIN` names in its place.
pub(crate) fn binary() -> PathBuf {
    let other = std::env::var_os("PANDO_BIN");
    other.map_or_else(|| env!("CARGO_BIN_EXE_pando").into(), PathBuf::from)
}

/// What a run of the binary left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Starts the binary in a folder with these arguments.
pub(crate) fn spawn(folder: &Path, arguments: &[&str], stdin: Option<&str>) -> Process {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(folder);
    Process::spawn(command, stdin.map(str::to_owned)).expect("the binary starts")
}

/// Runs the binary to its end.
pub(crate) async fn run(folder: &Path, arguments: &[&str]) -> Ran {
    let mut process = spawn(folder, arguments, None);
    let status = process.wait_exit(BOUND).await.expect("an end");
    Ran {
        code: status.code(),
        stdout: process.stdout(),
        stderr: process.stderr(),
    }
}
