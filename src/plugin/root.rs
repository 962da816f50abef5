//! `root`: where relative file names of a block begin.
//!
//! ```text
//! root PATH
//! ```
//!
//! The default is the working directory; the last one counts. A path that
//! does not exist is worth a warning, one that cannot be looked at an error.

use std::io;
use std::path::PathBuf;

use corefile::{Directive, io_message};

use super::{Block, BuildError, Builder, Definition, Parsed, Spec};

pub(super) static DEFINITION: Definition = Definition {
    name: "root",
    parse,
};

#[derive(Debug, Eq, PartialEq)]
struct RootSpec(PathBuf);

fn parse(directive: &Directive, _: &Block) -> Parsed {
    Ok(Box::new(read(directive)?))
}

fn read(directive: &Directive) -> Result<RootSpec, corefile::Error> {
    let mut words = directive.dispenser();
    let mut path = PathBuf::new();
    while words.next() {
        if !words.next_arg() {
            return Err(words.arg_err());
        }
        path = words.val().into();
    }
    Ok(RootSpec(path))
}

impl Spec for RootSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        let path = self.0;
        match path.metadata() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::warn!(target: "root", "Root path does not exist: {}", path.display());
            }
            Err(error) => {
                let shown = path.display();
                let reason = io_message(&error);
                return Err(BuildError::new(format!(
                    "unable to access root path '{shown}': stat {shown}: {reason}"
                )));
            }
        }
        builder.settings.root = path;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setups_are_accepted_and_refused_as_coredns_does() {
        for (text, root) in [
            ("root /etc", Ok("/etc")),
            ("root /a\nroot /b", Ok("/b")),
            (
                "root",
                Err(
                    "Testfile:1 - Error during parsing: Wrong argument count or unexpected line ending after 'root'",
                ),
            ),
        ] {
            let found = read(&Directive::new("Testfile", text));
            let found = found.map_err(|error| error.first_line().to_owned());
            let root = root
                .map(|root| RootSpec(root.into()))
                .map_err(str::to_owned);
            assert_eq!(found, root, "{text}");
        }
    }
}
