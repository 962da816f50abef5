//! The server binary.

use std::process::exit;

use anyhow::Context;
use pando::cli::{self, Command, UsageError};
use pando::command::{self, Tool};
use pando::{app, telemetry};

fn main() {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let code = match cli::parse(arguments) {
        Ok(command) => run(command, &program).unwrap_or_else(|error| {
            telemetry::flush();
            eprintln!("{error}");
            1
        }),
        Err(error @ UsageError::Flag(_)) => {
            eprint!("{error}\n{}", cli::usage(&program));
            2
        }
        Err(error @ UsageError::Extra(_)) => {
            eprintln!("{error}");
            1
        }
        Err(error @ UsageError::Tool(_)) => {
            eprint!("{error}");
            2
        }
    };
    telemetry::flush();
    // Threads that still wait for something must not hold up the end.
    exit(code.into());
}

fn run(command: Command, program: &str) -> anyhow::Result<u8> {
    match command {
        Command::Version => print!("{}", app::version()),
        Command::Plugins => print!("{}", app::plugins()),
        Command::Help => eprint!("{}", cli::usage(program)),
        Command::ToolHelp(help) => print!("{help}"),
        Command::Tool(tool) => return use_tool(tool),
        Command::Check(options) => print!("{}", app::check(&options)?),
        Command::Serve(options) => {
            telemetry::init(telemetry::LINES).context("cannot start a thread")?;
            let runtime = app::control().context("cannot start threads")?;
            let served = runtime.block_on(app::run(options, app::Host::default()));
            runtime.shutdown_background();
            return Ok(served?);
        }
    }
    Ok(0)
}

fn use_tool(tool: Tool) -> anyhow::Result<u8> {
    telemetry::warn_on_stderr();
    let runtime = app::control().context("cannot start threads")?;
    let used = runtime.block_on(tool.run());
    runtime.shutdown_background();
    Ok(used.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        command::UNABLE
    }))
}
