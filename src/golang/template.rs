//! Go's `text/template`: the whole language, without user-defined functions
//! but `parseInt`.
//!
//! Messages are those of Go where an operator may meet them: what does not
//! parse, and what goes wrong while a template runs. Depth and output are
//! bounded, tighter than in Go.

mod exec;
mod funcs;
mod lex;
mod node;
mod parse;

use std::collections::BTreeMap;

use self::node::List;
use super::value::Value;

/// A template and those that it defines.
#[derive(Debug)]
pub struct Template {
    name: String,
    text: String,
    trees: BTreeMap<String, List>,
}

/// Why a template does not parse or does not run, in Go's words.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Template {
    /// Parses a template.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        Ok(Self {
            name: name.to_owned(),
            text: text.to_owned(),
            trees: parse::parse(name, text)?,
        })
    }

    /// Runs the template on `data` and returns what it writes.
    pub fn execute(&self, data: Value) -> Result<String, Error> {
        exec::execute(self, data)
    }

    /// The template as Go prints a parsed one: without comments, blanks in
    /// actions evened out.
    pub fn source(&self) -> String {
        self.tree(&self.name)
            .map(List::to_string)
            .unwrap_or_default()
    }

    fn tree(&self, name: &str) -> Option<&List> {
        self.trees.get(name)
    }
}
