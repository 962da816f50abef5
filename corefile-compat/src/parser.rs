//! Words to tree.

mod import;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    env,
    error::Error,
    host::Host,
    lexer,
    source::{Source, Token},
    tree::{Corefile, Directive, ServerBlock},
};

/// The most bytes that words may come to in which references are replaced.
/// CoreDNS has no such limit: there, the memory is the end.
const MAX_REPLACED: usize = 64 << 20;

/// Parses the Corefile `text`, which errors call `file`.
///
/// `directives` are the names that are valid; with none given, any name is.
/// What the words after a name mean is not looked at.
///
/// # Errors
///
/// The first thing that is wrong, as [`Error`] describes.
pub fn parse(
    file: &str,
    text: &str,
    directives: &[&str],
    host: &dyn Host,
) -> Result<Corefile, Error> {
    let source = Source::new(file, text, false);
    let mut parser = Parser {
        previous: None,
        current: None,
        rest: lexer::lex(&source),
        source,
        directives,
        known: directives.iter().copied().collect(),
        host,
        snippets: HashMap::new(),
        files: HashMap::new(),
        snippet_imports: 0,
        file_imports: 0,
        imported: 0,
        replaced: 0,
    };
    parser.rest.reverse();
    let mut blocks = Vec::new();
    while parser.next() {
        blocks.extend(parser.block()?);
    }
    Ok(Corefile {
        blocks,
        source: parser.source,
    })
}

/// A walk over words with one word of memory, into which imports put more.
struct Parser<'p> {
    previous: Option<Token>,
    current: Option<Token>,
    /// The words to come, last one first.
    rest: Vec<Token>,
    source: Arc<Source>,
    directives: &'p [&'p str],
    known: HashSet<&'p str>,
    host: &'p dyn Host,
    snippets: HashMap<String, Vec<Token>>,
    files: HashMap<String, Vec<Token>>,
    snippet_imports: usize,
    file_imports: usize,
    /// The words that imports brought.
    imported: usize,
    /// The bytes of words in which references were replaced.
    replaced: usize,
}

/// What stands before a server block.
struct Keys {
    keys: Vec<Token>,
    /// Whether the words ended with the last key.
    end: bool,
}

impl Parser<'_> {
    /// A server block, from its first key on; `None` for a snippet.
    fn block(&mut self) -> Result<Option<ServerBlock>, Error> {
        let Keys { keys, end } = self.keys()?;
        if let Some(name) = snippet_name(&keys).filter(|_| !end) {
            self.define_snippet(name.to_owned())?;
            return Ok(None);
        }
        let mut directives = Directives::default();
        if !end {
            self.body(&mut directives)?;
        }
        let directives = directives.list;
        Ok((!keys.is_empty()).then_some(ServerBlock { keys, directives }))
    }

    /// The keys, up to the brace or the first word of the next line.
    fn keys(&mut self) -> Result<Keys, Error> {
        let mut keys = Vec::new();
        let mut comma = false;
        loop {
            // Nothing is current when an import at the end of the file
            // brought nothing.
            if let Some(token) = self.current.clone() {
                let token = self.replace_env(&token)?;
                if &*token.text == "import" && self.is_new_line() {
                    self.import()?;
                    self.step();
                    continue;
                }
                if &*token.text == "{" {
                    if comma {
                        return Err(self
                            .err("Expected another address but had '{' - check for extra comma")
                            .expecting("another zone, or no comma before this"));
                    }
                    return Ok(Keys { keys, end: false });
                }
                if !token.text.is_empty() {
                    let key = token.text.strip_suffix(',');
                    comma = key.is_some();
                    keys.push(match key {
                        Some(key) => token.with_text(key),
                        None => token,
                    });
                }
            }
            if !self.next() {
                if comma {
                    return Err(self
                        .err("Unexpected EOF")
                        .expecting("another zone after the comma"));
                }
                return Ok(Keys { keys, end: true });
            }
            if !comma && self.is_new_line() {
                return Ok(Keys { keys, end: false });
            }
        }
    }

    /// `{ directives }`, or without braces all directives to the end.
    fn body(&mut self, directives: &mut Directives) -> Result<(), Error> {
        let braces = self.val() == "{";
        if !braces {
            self.back();
        }
        while self.next() {
            match self.val() {
                "}" => break,
                "import" => self.import()?,
                _ => self.directive(directives)?,
            }
        }
        if braces && self.val() != "}" {
            return Err(self.syntax_err("}"));
        }
        Ok(())
    }

    /// One directive: the rest of its line, and the blocks that open on it.
    fn directive(&mut self, directives: &mut Directives) -> Result<(), Error> {
        let Some(first) = self.current.clone() else {
            return Ok(());
        };
        let name = self.replace_env(&first)?.text;
        if !self.known.is_empty() && !self.known.contains(&*name) {
            return Err(self.unknown_directive(&name));
        }
        let tokens = directives.entry(&name, &self.source);
        tokens.push(first);
        let mut nesting = 0_usize;
        while self.next() {
            let new_line = self.is_new_line();
            match self.val() {
                "{" => nesting += 1,
                _ if new_line && nesting == 0 => {
                    self.back();
                    break;
                }
                "}" if nesting > 0 => nesting -= 1,
                "}" => {
                    return Err(self
                        .err("Unexpected '}' because no matching opening brace")
                        .expecting("`}` on a line of its own"));
                }
                "import" if new_line => {
                    self.import()?;
                    continue;
                }
                _ => {}
            }
            if let Some(token) = self.current.clone() {
                let token = self.replace_env(&token)?;
                tokens.push(token.clone());
                // Later words look back at this one as it is now.
                self.current = Some(token);
            }
        }
        if nesting > 0 {
            return Err(self
                .err("Unexpected EOF")
                .expecting(format!("`}}` to close the block of `{name}`")));
        }
        Ok(())
    }

    fn unknown_directive(&self, name: &str) -> Error {
        let error = self.err(&format!("Unknown directive '{name}'"));
        let error = match &self.current {
            // Not the one that was written but what it stands for is misspelt.
            Some(token) if *token.text != *name => error.at(&token.with_text(name)),
            _ => error,
        };
        error
            .expecting("the name of a plugin")
            .suggest(self.directives)
    }

    /// `word` with its environment references replaced.
    fn replace_env(&mut self, word: &Token) -> Result<Token, Error> {
        let text = match env::replace(&word.text, self.host) {
            Ok(None) => return Ok(word.clone()),
            Ok(Some(text)) => text,
            Err(endless) => return Err(self.err(&endless.to_string())),
        };
        self.replaced = self.replaced.saturating_add(text.len());
        if self.replaced > MAX_REPLACED {
            return Err(self.err(&format!(
                "Environment variables bring in more than {MAX_REPLACED} bytes"
            )));
        }
        Ok(word.with_text(text))
    }

    /// Steps to the next word; at the end the last one stays.
    fn next(&mut self) -> bool {
        if self.rest.is_empty() {
            return false;
        }
        self.step();
        true
    }

    /// Steps on even when there is nothing to step to.
    fn step(&mut self) {
        self.previous = self.current.take();
        self.current = self.rest.pop();
    }

    /// Undoes a step. Only [`next`](Self::next) may follow: the word before is
    /// forgotten.
    fn back(&mut self) {
        self.rest.extend(self.current.take());
        self.current = self.previous.take();
    }

    /// Steps to the next word if it is on the same line.
    fn next_arg(&mut self) -> bool {
        match (&self.current, self.rest.last()) {
            (Some(current), Some(next)) if current.same_line(next) => {
                self.step();
                true
            }
            _ => false,
        }
    }

    fn val(&self) -> &str {
        self.current.as_ref().map_or("", |token| &token.text)
    }

    /// Whether the current word is the first of its line.
    fn is_new_line(&self) -> bool {
        match (&self.previous, &self.current) {
            (None, _) => true,
            (Some(previous), Some(current)) => previous.breaks_before(current),
            (Some(_), None) => false,
        }
    }

    fn err(&self, message: &str) -> Error {
        Error::parsing(&self.source, self.current.as_ref(), message)
    }

    fn syntax_err(&self, expected: &str) -> Error {
        Error::syntax(&self.source, self.current.as_ref(), expected)
    }
}

/// The directives of a block, in order of first appearance and by name.
#[derive(Default)]
struct Directives {
    list: Vec<Directive>,
    by_name: HashMap<Arc<str>, usize>,
}

impl Directives {
    fn entry(&mut self, name: &Arc<str>, main: &Arc<Source>) -> &mut Vec<Token> {
        let next = self.list.len();
        let index = *self.by_name.entry(Arc::clone(name)).or_insert(next);
        if index == next {
            self.list.push(Directive {
                name: name.to_string(),
                tokens: Vec::new(),
                main: Arc::clone(main),
            });
        }
        &mut self.list[index].tokens
    }
}

/// The name that a block with these keys gives to a snippet: `(name)`.
fn snippet_name(keys: &[Token]) -> Option<&str> {
    match keys {
        [key] => key.text.strip_prefix('(')?.strip_suffix(')'),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
