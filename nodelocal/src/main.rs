//! The agent of a node: the parent.
//!
//! It is a program of its own, since each page of a program that is touched
//! counts in its process: the server is many megabytes of it.

use std::os::unix::process::CommandExt;
use std::process::{Command, exit};

use anyhow::Context;
use pando::telemetry;
use pando_node::child::Program;
use pando_node::flags::{self, Flags};
use pando_node::supervisor;

/// Log lines of the parent that may wait for their writer. There are few, and
/// room for more is memory.
const LINES: usize = 256;

fn main() {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let code = match flags::parse(arguments.clone()) {
        Ok(command) => run(command, arguments, &program).unwrap_or_else(|error| {
            telemetry::flush();
            eprintln!("{error:#}");
            1
        }),
        Err(error) => error.tell(&program),
    };
    telemetry::flush();
    // Threads that still wait for something must not hold up the end.
    exit(code.into());
}

fn run(command: flags::Command, arguments: Vec<String>, program: &str) -> anyhow::Result<u8> {
    let worker = Program::beside_this()?;
    match command {
        flags::Command::Run(flags) => return supervise(*flags, arguments, worker),
        flags::Command::Help => eprint!("{}", flags::usage(program)),
        // Of the server, which says so itself.
        flags::Command::Version | flags::Command::Plugins => {
            return Err(Command::new(worker.path()).args(arguments).exec().into());
        }
    }
    Ok(0)
}

fn supervise(flags: Flags, arguments: Vec<String>, worker: Program) -> anyhow::Result<u8> {
    telemetry::init(LINES).context("cannot start a thread")?;
    flags.announce();
    // One thread: it waits for most of the time, and threads are memory.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot watch descriptors")?;
    runtime.block_on(supervisor::run(flags, arguments, worker))
}
