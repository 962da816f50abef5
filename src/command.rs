//! The tools beside the server: each asks, says what it has found, and serves nothing.
//!
//! What was found goes to standard output, what went wrong to standard error.
//! The exit code is 0 where all is well, 1 where the finding is bad, and 2
//! where the tool was called wrongly or could not find out.

pub mod diff;
pub mod doctor;
pub mod explain;
mod resolv_conf;

use std::time::Duration;

use clap::{CommandFactory, Parser};

/// The tools beside the server.
#[derive(Clone, Debug, Eq, PartialEq, clap::Subcommand)]
pub enum Tool {
    /// Look at everything that names depend on in a cluster, and say what is wrong
    Doctor(Box<doctor::Options>),
    /// Walk what a client's resolver does with a name, and say what came of each query and why
    Explain(Box<explain::Options>),
    /// Ask two servers the same and tell what differs: the rehearsal of a migration
    Diff(Box<diff::Options>),
}

/// The exit code of a tool that could not do its work.
pub const UNABLE: u8 = 2;

#[derive(Parser)]
#[command(name = "pando", disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    tool: Tool,
}

impl Tool {
    /// Their names, as the first word of the command line.
    pub const NAMES: [&str; 3] = ["doctor", "explain", "diff"];

    /// Their names and what each does, in a line.
    pub fn descriptions() -> impl Iterator<Item = (String, String)> {
        let line = Line::command();
        let tools: Vec<_> = line.get_subcommands().map(describe).collect();
        tools.into_iter()
    }

    /// Reads the arguments behind the program's name, of which the first is
    /// one of [`Tool::NAMES`]. `-conf FILE` and `-conf=FILE` are read as in
    /// the server's command line.
    ///
    /// # Errors
    ///
    /// What is wrong with them, or the help that they ask for.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, clap::Error> {
        let program = std::iter::once("pando".to_owned());
        let arguments = program.chain(arguments.into_iter().map(double_dash));
        Line::try_parse_from(arguments).map(|line| line.tool)
    }

    /// Does what the tool does, and prints what it finds: the exit code.
    ///
    /// # Errors
    ///
    /// Why it could not find out; the exit code is [`UNABLE`] then.
    pub async fn run(self) -> anyhow::Result<u8> {
        match self {
            Self::Doctor(options) => options.run().await,
            Self::Explain(options) => Ok(explain::run(&options).await?),
            Self::Diff(options) => options.run().await,
        }
    }
}

fn describe(tool: &clap::Command) -> (String, String) {
    let about = tool.get_about().map(ToString::to_string);
    (tool.get_name().to_owned(), about.unwrap_or_default())
}

/// CoreDNS's flags have one dash.
fn double_dash(argument: String) -> String {
    match argument.strip_prefix("-conf") {
        Some(rest) if rest.is_empty() || rest.starts_with('=') => format!("--conf{rest}"),
        _ => argument,
    }
}

/// How long to wait, up to ten minutes: a duration as Go writes it (`500ms`,
/// `5s`), or a number of seconds.
fn patience(text: &str) -> Result<Duration, String> {
    const MOST: Duration = Duration::from_secs(600);
    let seconds = text.parse::<u64>().ok().map(Duration::from_secs);
    let written = match seconds {
        Some(seconds) => Some(seconds),
        None => corefile::duration::parse(text)
            .map_err(|error| error.to_string())?
            .to_std(),
    };
    let bounded = written.filter(|span| !span.is_zero() && *span <= MOST);
    bounded.ok_or_else(|| "more than nothing and at most 10m, as in 500ms, 5s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_written_as_people_write_it() {
        for (text, want) in [
            ("5", Some(5000)),
            ("5s", Some(5000)),
            ("500ms", Some(500)),
            ("10m", Some(600_000)),
            ("0", None),
            ("0s", None),
            ("-1s", None),
            ("11m", None),
            ("99999999999999999999", None),
            ("x", None),
            ("", None),
        ] {
            let read = patience(text).ok().map(|span| span.as_millis());
            assert_eq!(read, want, "{text}");
        }
    }

    #[test]
    fn every_name_is_a_tool_and_the_definitions_are_sound() {
        let line = Line::command();
        let known: Vec<&str> = line.get_subcommands().map(|tool| tool.get_name()).collect();
        assert_eq!(known, Tool::NAMES);
        line.debug_assert();
    }
}
