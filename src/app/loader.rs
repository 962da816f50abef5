//! Where the Corefile comes from.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::sync::OnceLock;

use corefile::{decode, io_message};

use crate::cli::Options;
use crate::configuration::Text;

/// The file that is looked for where `-conf` names none.
const DEFAULT: &str = "Corefile";

/// Why a Corefile cannot be read; in CoreDNS's words.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file that `-conf` names.
    #[error("loading Caddyfile via flag: {0}")]
    Flag(String),
    /// `Corefile` in the working directory.
    #[error("{0}")]
    Default(String),
}

impl LoadError {
    /// The reason alone, as CoreDNS has it when it reads the file anew.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Flag(reason) | Self::Default(reason) => reason,
        }
    }
}

/// Reads the Corefile, now and at each reload.
pub(super) struct Loader {
    conf: Option<String>,
    port: String,
    /// A pipe can be read once; a reload has the same text again.
    stdin: OnceLock<String>,
}

impl Loader {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            conf: options.conf.clone(),
            port: options.port.clone(),
            stdin: OnceLock::new(),
        }
    }

    pub(super) fn load(&self) -> Result<Text, LoadError> {
        match self.conf.as_deref() {
            Some("stdin") if self.stdin.get().is_some() || !io::stdin().is_terminal() => {
                self.read_stdin()
            }
            None | Some("stdin") => self.read_default(),
            Some(conf) => read(conf).map_err(|(_, message)| LoadError::Flag(message)),
        }
    }

    fn read_stdin(&self) -> Result<Text, LoadError> {
        let text = match self.stdin.get() {
            Some(text) => text.clone(),
            None => {
                let mut bytes = Vec::new();
                let read = io::stdin().lock().read_to_end(&mut bytes);
                read.map_err(|error| {
                    LoadError::Flag(format!("read /dev/stdin: {}", io_message(&error)))
                })?;
                self.stdin.get_or_init(|| decode(&bytes)).clone()
            }
        };
        Ok(Text {
            name: "/dev/stdin".to_owned(),
            text,
        })
    }

    fn read_default(&self) -> Result<Text, LoadError> {
        match read(DEFAULT) {
            Err((io::ErrorKind::NotFound, _)) => Ok(Text::default_for(&self.port)),
            Err((_, message)) => Err(LoadError::Default(message)),
            Ok(text) => Ok(text),
        }
    }
}

fn read(path: &str) -> Result<Text, (io::ErrorKind, String)> {
    match fs::read(path) {
        Ok(bytes) => Ok(Text {
            name: path.to_owned(),
            text: decode(&bytes),
        }),
        Err(error) => {
            // Go opens a folder and fails to read it.
            let did = match error.kind() {
                io::ErrorKind::IsADirectory => "read",
                _ => "open",
            };
            Err((
                error.kind(),
                format!("{did} {path}: {}", io_message(&error)),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(conf: &str) -> Result<Text, String> {
        let options = Options {
            conf: Some(conf.to_owned()),
            ..Options::default()
        };
        Loader::new(&options)
            .load()
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_read_is_told_in_gos_words() {
        for (conf, message) in [
            (
                "/nonexistent/x",
                "open /nonexistent/x: no such file or directory",
            ),
            ("/", "read /: is a directory"),
        ] {
            assert_eq!(
                load(conf),
                Err(format!("loading Caddyfile via flag: {message}"))
            );
        }
    }
}
