//! The command line: CoreDNS's, as Go's `flag` package reads it, and `pando check`.

use std::fmt::Write as _;
use std::path::PathBuf;

use corefile::quote;

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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            conf: None,
            port: "53".to_owned(),
            pidfile: None,
            quiet: false,
        }
    }
}

/// Why the command line is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UsageError {
    /// A flag is wrong: exit code 2, with the usage.
    #[error("{0}")]
    Flag(String),
    /// Words where none belong: exit code 1.
    #[error("extra command line arguments: [{}]", .0.join(" "))]
    Extra(Vec<String>),
}

const FLAGS: [(&str, Kind, &str); 7] = [
    (
        "conf",
        Kind::Text,
        "Corefile to load (default \"Corefile\")",
    ),
    ("dns.port", Kind::Text, "Default port (default \"53\")"),
    ("p", Kind::Text, "Default port (default \"53\")"),
    ("pidfile", Kind::Text, "Path to write pid file"),
    ("plugins", Kind::Switch, "List installed plugins"),
    (
        "quiet",
        Kind::Switch,
        "Quiet mode (no initialization output)",
    ),
    ("version", Kind::Switch, "Show version"),
];

#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Text,
    Switch,
}

/// Reads the arguments, the program's name not among them.
///
/// A flag may have one dash or two, its value behind `=` or, unless it is a
/// switch, in the next argument. Flags end at the first argument that is none.
///
/// # Errors
///
/// In Go's words.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Command, UsageError> {
    let mut arguments = arguments.into_iter().peekable();
    let check = arguments.next_if(|argument| argument == "check").is_some();
    let mut options = Options::default();
    let (mut version, mut plugins) = (false, false);
    while let Some(argument) = arguments.next_if(|argument| is_flag(argument)) {
        if argument == "--" {
            break;
        }
        let text = argument
            .strip_prefix("--")
            .or_else(|| argument.strip_prefix('-'));
        let text = text.filter(|text| !text.starts_with(['-', '=']) && !text.is_empty());
        let text = text.ok_or_else(|| UsageError::Flag(format!("bad flag syntax: {argument}")))?;
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let Some((_, kind, _)) = FLAGS.iter().find(|(known, ..)| *known == name) else {
            if matches!(name, "h" | "help") {
                return Ok(Command::Help);
            }
            let message = format!("flag provided but not defined: -{name}");
            return Err(UsageError::Flag(message));
        };
        if *kind == Kind::Switch {
            let on = switch(name, value.as_deref())?;
            match name {
                "plugins" => plugins = on,
                "quiet" => options.quiet = on,
                _ => version = on,
            }
            continue;
        }
        let missing = || UsageError::Flag(format!("flag needs an argument: -{name}"));
        let value = value.or_else(|| arguments.next()).ok_or_else(missing)?;
        match name {
            "conf" => options.conf = Some(value).filter(|value| !value.is_empty()),
            "pidfile" => {
                options.pidfile = Some(value)
                    .filter(|value| !value.is_empty())
                    .map(Into::into)
            }
            _ => options.port = value,
        }
    }
    let extra: Vec<String> = arguments.collect();
    if !extra.is_empty() {
        return Err(UsageError::Extra(extra));
    }
    Ok(match (check, version, plugins) {
        (true, ..) => Command::Check(options),
        (_, true, _) => Command::Version,
        (_, _, true) => Command::Plugins,
        _ => Command::Serve(options),
    })
}

fn is_flag(argument: &str) -> bool {
    argument.len() > 1 && argument.starts_with('-')
}

/// Go's `strconv.ParseBool`.
fn switch(name: &str, value: Option<&str>) -> Result<bool, UsageError> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => Err(UsageError::Flag(format!(
            "invalid boolean value {} for -{name}: parse error",
            quote(value)
        ))),
    }
}

/// How to call it, as Go's `flag` package prints it.
pub fn usage(program: &str) -> String {
    let mut text = format!("Usage of {program}:\n");
    for (name, kind, help) in FLAGS {
        let value = if kind == Kind::Text { " string" } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(text, "  -{name}{value}\n    \t{help}");
    }
    text.push_str("Subcommand:\n  check [-conf string]\n    \tCheck the Corefile, say what it means, serve nothing\n");
    text
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
