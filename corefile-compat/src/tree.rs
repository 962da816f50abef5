//! The parsed Corefile.

use std::sync::Arc;

use crate::{
    dispenser::Dispenser,
    lexer,
    source::{Source, Token},
};

/// A parsed Corefile: its server blocks in the order of the file.
///
/// No block at all (an empty file) means the default configuration to CoreDNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corefile {
    /// The server blocks, snippets taken out and imports put in.
    pub blocks: Vec<ServerBlock>,
    /// The text that the blocks came from.
    pub source: Arc<Source>,
}

/// `keys… { directives }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerBlock {
    /// What stands before the brace, at least one word, commas taken off. See
    /// [`key::inspect`](crate::key::inspect) for what they mean.
    pub keys: Vec<Token>,
    /// The directives, one for each name, in the order of first appearance.
    /// (What runs first is not decided by this order.)
    pub directives: Vec<Directive>,
}

impl ServerBlock {
    /// The directive of that name, if the block has it.
    pub fn directive(&self, name: &str) -> Option<&Directive> {
        self.directives.iter().find(|d| d.name == name)
    }
}

/// All that a server block says about one directive name.
///
/// A directive may occur several times in a block; its words then follow each
/// other here, and a [`Dispenser`] comes upon the name again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// The name, environment references replaced.
    pub name: String,
    /// The words, the name (as written) first. Braces are words.
    pub tokens: Vec<Token>,
    /// The main file, which errors name when no word is at hand.
    pub(crate) main: Arc<Source>,
}

impl Directive {
    /// A directive of its own, for trying a plugin's setup on a piece of
    /// Corefile: `Directive::new("Testfile", "cache 30")`.
    ///
    /// The text is split into words and nothing else: no check of braces, no
    /// environment, no import. The first word is the name.
    pub fn new(file: &str, text: &str) -> Self {
        let main = Source::new(file, text, false);
        let tokens = lexer::lex(&main);
        Self {
            name: tokens
                .first()
                .map_or_else(String::new, |t| t.text.to_string()),
            tokens,
            main,
        }
    }

    /// A walk over the words, which begins before the name.
    pub fn dispenser(&self) -> Dispenser<'_> {
        Dispenser::new(&self.tokens, &self.main)
    }
}
