//! Command lines as Go's `flag` package reads them, and its help.
//!
//! A flag may have one dash or two, its value behind `=` or, unless it is a
//! switch, in the next argument. Flags end at the first argument that is none,
//! or at `--`.

use std::fmt::{self, Write as _};

use corefile::duration::{self, Duration};
use corefile::{number, quote};

/// One flag of a program.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without dashes.
    pub name: &'static str,
    /// What it takes, and what holds without it.
    pub kind: Kind,
    /// One line.
    pub help: &'static str,
}

/// What a flag takes, with its default.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text.
    Text(&'static str),
    /// Nothing, or a truth value behind `=`.
    Switch(bool),
    /// A duration with its unit.
    Duration(Duration),
}

/// A value that was given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// Of a [`Kind::Text`].
    Text(String),
    /// Of a [`Kind::Switch`].
    Switch(bool),
    /// Of a [`Kind::Duration`].
    Duration(Duration),
}

/// What stood on a command line.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Given {
    /// Flags by name in the order in which they were given.
    pub values: Vec<(&'static str, Value)>,
    /// The arguments that are no flags.
    pub rest: Vec<String>,
}

/// Why a command line is not taken. Go prints it with the usage and exits, with
/// code 2 but for `-h`, whose code is 0.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FlagError {
    /// `-h` or `-help`.
    #[error("flag: help requested")]
    Help,
    /// Dashes and no name.
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    /// Not among the flags.
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    /// Nothing follows it.
    #[error("flag needs an argument: -{0}")]
    Missing(&'static str),
    /// A switch whose value is no truth value.
    #[error("invalid boolean value {} for -{}: parse error", quote(.1), .0)]
    Switch(&'static str, String),
    /// A value that cannot be read.
    #[error("invalid value {} for flag -{}: parse error", quote(.1), .0)]
    Value(&'static str, String),
}

/// Reads the arguments, the program's name not among them.
///
/// # Errors
///
/// In Go's words. The first that is wrong.
pub fn read(
    flags: &[Flag],
    arguments: impl IntoIterator<Item = String>,
) -> Result<Given, FlagError> {
    let mut arguments = arguments.into_iter().peekable();
    let mut given = Given::default();
    while let Some(argument) = arguments.next_if(|argument| is_flag(argument)) {
        if argument == "--" {
            break;
        }
        let (name, value) = split(&argument)?;
        let Some(flag) = flags.iter().find(|flag| flag.name == name) else {
            return Err(match name {
                "h" | "help" => FlagError::Help,
                _ => FlagError::Unknown(name.to_owned()),
            });
        };
        let value = match (flag.kind, value) {
            (Kind::Switch(_), None) => Value::Switch(true),
            (_, Some(value)) => flag.read(value.to_owned())?,
            (_, None) => flag.read(arguments.next().ok_or(FlagError::Missing(flag.name))?)?,
        };
        given.values.push((flag.name, value));
    }
    given.rest = arguments.collect();
    Ok(given)
}

/// The flags by name, each with its help and its default where that is not
/// empty: Go's `PrintDefaults`.
pub fn defaults(flags: &[Flag]) -> String {
    let mut flags: Vec<_> = flags.iter().collect();
    flags.sort_unstable_by_key(|flag| flag.name);
    let mut text = String::new();
    for flag in flags {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{flag}");
    }
    text
}

impl Flag {
    fn read(&self, text: String) -> Result<Value, FlagError> {
        match self.kind {
            Kind::Text(_) => Ok(Value::Text(text)),
            Kind::Switch(_) => match number::parse_bool(&text) {
                Ok(on) => Ok(Value::Switch(on)),
                Err(_) => Err(FlagError::Switch(self.name, text)),
            },
            Kind::Duration(_) => match duration::parse(&text) {
                Ok(duration) => Ok(Value::Duration(duration)),
                Err(_) => Err(FlagError::Value(self.name, text)),
            },
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, help } = self;
        match kind {
            Kind::Text("") => write!(f, "  -{name} string\n    \t{help}"),
            Kind::Text(default) => {
                let default = quote(default);
                write!(f, "  -{name} string\n    \t{help} (default {default})")
            }
            Kind::Switch(false) => write!(f, "  -{name}\n    \t{help}"),
            Kind::Switch(true) => write!(f, "  -{name}\n    \t{help} (default true)"),
            Kind::Duration(default) => {
                write!(f, "  -{name} duration\n    \t{help} (default {default})")
            }
        }
    }
}

fn is_flag(argument: &str) -> bool {
    argument.len() > 1 && argument.starts_with('-')
}

/// Name and value of `-name=value`.
fn split(argument: &str) -> Result<(&str, Option<&str>), FlagError> {
    let text = argument
        .strip_prefix("--")
        .or_else(|| argument.strip_prefix('-'))
        .filter(|text| !text.starts_with(['-', '=']) && !text.is_empty())
        .ok_or_else(|| FlagError::Syntax(argument.to_owned()))?;
    Ok(match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: [Flag; 3] = [
        Flag {
            name: "wait",
            kind: Kind::Duration(Duration::from_nanos(60)),
            help: "how long",
        },
        Flag {
            name: "on",
            kind: Kind::Switch(true),
            help: "whether",
        },
        Flag {
            name: "name",
            kind: Kind::Text("x"),
            help: "who",
        },
    ];

    fn parse(text: &str) -> Result<Given, FlagError> {
        read(&FLAGS, text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn values_come_in_their_order() {
        let given = parse("-on=false --name a -wait 30ns -name= -- -on").unwrap();
        assert_eq!(
            given.values,
            [
                ("on", Value::Switch(false)),
                ("name", Value::Text("a".to_owned())),
                ("wait", Value::Duration(Duration::from_nanos(30))),
                ("name", Value::Text(String::new())),
            ]
        );
        assert_eq!(given.rest, ["-on"]);
    }

    #[test]
    fn mistakes_are_told_in_gos_words() {
        for (text, message) in [
            ("-h", "flag: help requested"),
            ("-x", "flag provided but not defined: -x"),
            ("-name", "flag needs an argument: -name"),
            ("---name", "bad flag syntax: ---name"),
            ("-on=2", "invalid boolean value \"2\" for -on: parse error"),
            (
                "-wait 30",
                "invalid value \"30\" for flag -wait: parse error",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn the_help_is_sorted_and_names_defaults() {
        assert_eq!(
            defaults(&FLAGS),
            "  -name string\n    \twho (default \"x\")\n  -on\n    \twhether (default true)\n  \
             -wait duration\n    \thow long (default 60ns)\n"
        );
    }
}
