//! The agent of a node: the worker, which `pando-node` starts.

use std::process::exit;

use pando::{app, telemetry};
use pando_node::flags::{self, Command};
use pando_node::worker;

fn main() {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let code = match flags::parse(arguments) {
        Ok(Command::Run(flags)) => worker::run(*flags).unwrap_or_else(|error| {
            telemetry::flush();
            eprintln!("{error:#}");
            1
        }),
        Ok(Command::Version) => {
            print!("{}", app::version());
            0
        }
        Ok(Command::Plugins) => {
            print!("{}", app::plugins());
            0
        }
        Ok(Command::Help) => {
            eprint!("{}", flags::usage(&program));
            0
        }
        Err(error) => error.tell(&program),
    };
    telemetry::flush();
    // Threads that still wait for something must not hold up the end.
    exit(code.into());
}
