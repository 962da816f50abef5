//! `debug`: DEBUG lines, and panics that end the process.
//!
//! ```text
//! debug
//! ```
//!
//! It holds for the whole process as far as lines go, and for the listeners
//! of its block as far as panics go.

use corefile::Directive;

use super::{Block, BuildError, Builder, Definition, Parsed, Spec};

pub(super) static DEFINITION: Definition = Definition {
    name: "debug",
    parse,
};

#[derive(Debug)]
struct DebugSpec;

fn parse(directive: &Directive, _: &Block) -> Parsed {
    let mut words = directive.dispenser();
    while words.next() {
        if words.next_arg() {
            return Err(words.arg_err());
        }
    }
    Ok(Box::new(DebugSpec))
}

impl Spec for DebugSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        builder.settings.debug = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_no_argument() {
        for (text, accepted) in [("debug", true), ("debug off", false)] {
            let parsed = parse(&Directive::new("Testfile", text), &Block::default());
            assert_eq!(parsed.is_ok(), accepted, "{text}");
        }
    }
}
