//! The command line: CoreDNS's, as Go's `flag` package reads it, `pando check`, and the tools.

use std::path::PathBuf;

use crate::command::Tool;
use crate::golang::flag::{self, Flag, FlagError, Kind, Value};

/// What the command line asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Serve.
    Serve(Options),
    /// Say what a Corefile means, and serve nothing.
    Check(Options),
    /// Print the version.
    Version,
    /// Print the directives that are built in.
    Plugins,
    /// Print how to call it.
    Help,
    /// Use one of the tools beside the server.
    Tool(Tool),
    /// Print how to call a tool.
    ToolHelp(String),
}

/// The values of the flags.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// `-conf`: the Corefile; `stdin` is standard input, `None` is `Corefile`
    /// in the working directory or, if there is none, the default configuration.
    pub conf: Option<String>,
    /// `-dns.port` or `-p`: the port of plain DNS where a key names none.
    pub port: String,
    /// `-pidfile`: where to leave the process id.
    pub pidfile: Option<PathBuf>,
    /// `-quiet`: no banner and no list of zones.
    pub quiet: bool,
    /// Whether `cache` cuts beneath what is denied where it does not say
    /// `cut`. No flag: for programs that serve as part of a node.
    pub cut: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            conf: None,
            port: "53".to_owned(),
            pidfile: None,
            quiet: false,
            cut: false,
        }
    }
}

/// Why the command line is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UsageError {
    /// A flag is wrong: exit code 2, with the usage.
    #[error("{0}")]
    Flag(FlagError),
    /// Words where none belong: exit code 1.
    #[error("extra command line arguments: [{}]{}", .0.join(" "), tool_meant(.0))]
    Extra(Vec<String>),
    /// The flags of a tool are wrong: exit code 2.
    #[error("{0}")]
    Tool(String),
}

/// The tool whose name was misspelt, as a second line.
fn tool_meant(words: &[String]) -> String {
    let names = [&["check"], &Tool::NAMES[..]].concat();
    let meant = words
        .first()
        .and_then(|word| corefile::nearest(word, &names));
    meant.map_or_else(String::new, |tool| {
        format!("\ndid you mean `pando {tool}`?")
    })
}

/// CoreDNS's flags.
pub const FLAGS: [Flag; 7] = [
    Flag {
        name: "conf",
        kind: Kind::Text(""),
        help: "Corefile to load (default \"Corefile\")",
    },
    Flag {
        name: "dns.port",
        kind: Kind::Text("53"),
        help: "Default port",
    },
    Flag {
        name: "p",
        kind: Kind::Text("53"),
        help: "Default port",
    },
    Flag {
        name: "pidfile",
        kind: Kind::Text(""),
        help: "Path to write pid file",
    },
    Flag {
        name: "plugins",
        kind: Kind::Switch(false),
        help: "List installed plugins",
    },
    Flag {
        name: "quiet",
        kind: Kind::Switch(false),
        help: "Quiet mode (no initialization output)",
    },
    Flag {
        name: "version",
        kind: Kind::Switch(false),
        help: "Show version",
    },
];

impl Options {
    /// Takes the value of one of [`FLAGS`]; gives back what is for somebody else.
    pub fn take(&mut self, name: &'static str, value: Value) -> Option<(&'static str, Value)> {
        match (name, value) {
            ("conf", Value::Text(text)) => self.conf = Some(text).filter(|text| !text.is_empty()),
            ("pidfile", Value::Text(text)) => {
                self.pidfile = Some(text).filter(|text| !text.is_empty()).map(Into::into);
            }
            ("dns.port" | "p", Value::Text(text)) => self.port = text,
            ("quiet", Value::Switch(on)) => self.quiet = on,
            other => return Some(other),
        }
        None
    }
}

/// Reads the arguments, the program's name not among them.
///
/// # Errors
///
/// In Go's words; those of a tool in clap's.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Command, UsageError> {
    let mut arguments = arguments.into_iter().peekable();
    match arguments.peek().map(String::as_str) {
        Some("help") => return Ok(Command::Help),
        Some(word) if Tool::NAMES.contains(&word) => return tool(arguments),
        _ => {}
    }
    let check = arguments.next_if(|argument| argument == "check").is_some();
    let given = match flag::read(&FLAGS, arguments) {
        Ok(given) => given,
        Err(FlagError::Help) => return Ok(Command::Help),
        Err(error) => return Err(UsageError::Flag(error)),
    };
    let mut options = Options::default();
    let (mut version, mut plugins) = (false, false);
    for (name, value) in given.values {
        match options.take(name, value) {
            Some(("plugins", Value::Switch(on))) => plugins = on,
            Some(("version", Value::Switch(on))) => version = on,
            _ => {}
        }
    }
    if !given.rest.is_empty() {
        return Err(UsageError::Extra(given.rest));
    }
    Ok(match (check, version, plugins) {
        (true, ..) => Command::Check(options),
        (_, true, _) => Command::Version,
        (_, _, true) => Command::Plugins,
        _ => Command::Serve(options),
    })
}

fn tool(arguments: impl IntoIterator<Item = String>) -> Result<Command, UsageError> {
    match Tool::parse(arguments) {
        Ok(tool) => Ok(Command::Tool(tool)),
        Err(error) if error.use_stderr() => Err(UsageError::Tool(error.to_string())),
        Err(help) => Ok(Command::ToolHelp(help.to_string())),
    }
}

/// How to call it, as Go's `flag` package prints it.
pub fn usage(program: &str) -> String {
    let tools: String = Tool::descriptions()
        .map(|(name, does)| format!("  {name} ...\n    \t{does}; {name} -h says how\n"))
        .collect();
    format!(
        "Usage of {program}:\n{}Subcommands:\n  check [-conf string]\n    \tCheck the Corefile, say what it means, serve nothing\n{tools}",
        flag::defaults(&FLAGS)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let conf = |conf: &str| Options {
            conf: Some(conf.to_owned()),
            ..Options::default()
        };
        for (text, command) in [
            ("", Command::Serve(Options::default())),
            ("-conf x", Command::Serve(conf("x"))),
            ("--conf x", Command::Serve(conf("x"))),
            ("-conf=x", Command::Serve(conf("x"))),
            ("--conf=x=y", Command::Serve(conf("x=y"))),
            ("-conf -p", Command::Serve(conf("-p"))),
            ("-conf=", Command::Serve(Options::default())),
            (
                "-p 1053 -quiet -pidfile /run/p",
                Command::Serve(Options {
                    port: "1053".to_owned(),
                    quiet: true,
                    pidfile: Some("/run/p".into()),
                    ..Options::default()
                }),
            ),
            (
                "-dns.port=1 -p 2",
                Command::Serve(Options {
                    port: "2".to_owned(),
                    ..Options::default()
                }),
            ),
            ("-quiet -quiet=false", Command::Serve(Options::default())),
            ("-version", Command::Version),
            ("-version=F", Command::Serve(Options::default())),
            ("-plugins", Command::Plugins),
            ("-version -plugins", Command::Version),
            ("-h", Command::Help),
            ("--help", Command::Help),
            ("check", Command::Check(Options::default())),
            ("check -conf x", Command::Check(conf("x"))),
            ("-conf x --", Command::Serve(conf("x"))),
        ] {
            assert_eq!(parse(words(text)), Ok(command), "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_in_gos_words() {
        for (text, message) in [
            ("-bogus", "flag provided but not defined: -bogus"),
            ("--bogus=1", "flag provided but not defined: -bogus"),
            ("-conf", "flag needs an argument: -conf"),
            ("---x", "bad flag syntax: ---x"),
            ("-=x", "bad flag syntax: -=x"),
            (
                "-quiet=maybe",
                "invalid boolean value \"maybe\" for -quiet: parse error",
            ),
            ("a b", "extra command line arguments: [a b]"),
            (
                "explian web",
                "extra command line arguments: [explian web]\ndid you mean `pando explain`?",
            ),
            (
                "-quiet a -version",
                "extra command line arguments: [a -version]",
            ),
            ("-", "extra command line arguments: [-]"),
            ("-- -version", "extra command line arguments: [-version]"),
        ] {
            assert_eq!(
                parse(words(text)).unwrap_err().to_string(),
                message,
                "{text}"
            );
        }
        assert!(
            usage("pando").starts_with("Usage of pando:\n  -conf string\n    \tCorefile to load")
        );
    }
}
