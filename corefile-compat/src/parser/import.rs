//! Snippets, and the `import` of snippets and files.

use std::path::Path;

use super::Parser;
use crate::{
    env,
    error::Error,
    host::io_message,
    lexer, path,
    source::{Source, Token},
};

/// The most snippets that may be put in while a Corefile is read.
const MAX_SNIPPETS: usize = 10_000;

/// The most file patterns that may be put in while a Corefile is read. The
/// error speaks of ten thousand, as CoreDNS's does.
const MAX_FILES: usize = 100_000;

/// The most words that may be put in while a Corefile is read. CoreDNS has no
/// such limit: there, imports that multiply end with the memory.
const MAX_WORDS: usize = 2_000_000;

impl Parser<'_> {
    /// Keeps the words of a `(name) { … }` block, up to the closing brace.
    pub(super) fn define_snippet(&mut self, name: String) -> Result<(), Error> {
        if self.snippets.contains_key(&name) {
            return Err(self
                .err(&format!(
                    "redeclaration of previously declared snippet {name}"
                ))
                .help("snippets are shared by the whole Corefile and its imports"));
        }
        if self.val() != "{" {
            return Err(self.syntax_err("{"));
        }
        let mut words = Vec::new();
        let mut open = 1;
        while self.next() {
            match self.val() {
                "}" => open -= 1,
                "{" => open += 1,
                _ => {}
            }
            if open == 0 {
                break;
            }
            words.extend(self.current.clone());
        }
        if open > 0 {
            return Err(self.syntax_err("}"));
        }
        if self.imports(&words, &name)? {
            return Err(self
                .snippet_depth()
                .help(format!("snippet `{name}` imports itself")));
        }
        self.snippets.insert(name, words);
        Ok(())
    }

    /// Whether a line of `words` imports `name`.
    fn imports(&self, words: &[Token], name: &str) -> Result<bool, Error> {
        let mut before: Option<&Token> = None;
        for pair in words.windows(2) {
            let [word, arg] = pair else { break };
            let first = before.is_none_or(|before| before.starts_elsewhere(word));
            before = Some(word);
            if first && &*word.text == "import" {
                let arg = env::replace(&arg.text, self.host)
                    .map_err(|endless| self.err(&endless.to_string()).at(arg))?
                    .unwrap_or_else(|| arg.text.to_string());
                if arg == name {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Puts what is imported in the place of `import X`, where the walk is.
    /// Afterwards the walk is before the first word that was put in.
    pub(super) fn import(&mut self) -> Result<(), Error> {
        let before = self.previous.take();
        if !self.next_arg() {
            return Err(self
                .err(&format!(
                    "Wrong argument count or unexpected line ending after '{}'",
                    self.val()
                ))
                .expecting("a snippet, a file or a pattern after this"));
        }
        let Some(arg) = self.current.clone() else {
            return Ok(());
        };
        let arg = self.replace_env(&arg)?;
        if arg.text.is_empty() {
            return Err(self.err("Import requires a non-empty filepath"));
        }
        if self.next_arg() {
            return Err(self
                .err("Import takes only one argument (glob pattern or file)")
                .expecting("the end of the line"));
        }
        if let Some(words) = self.snippets.get(&*arg.text) {
            if self.snippet_imports >= MAX_SNIPPETS
                || self.imported.saturating_add(words.len()) > MAX_WORDS
            {
                return Err(self.snippet_depth());
            }
            self.snippet_imports += 1;
            self.imported += words.len();
            self.rest.extend(words.iter().rev().cloned());
        } else {
            if self.file_imports >= MAX_FILES {
                return Err(self.file_depth());
            }
            self.file_imports += 1;
            let words = self.import_files(&arg)?;
            self.imported = self.imported.saturating_add(words.len());
            if self.imported > MAX_WORDS {
                return Err(self.file_depth());
            }
            self.rest.extend(words.into_iter().rev());
        }
        self.current = before;
        Ok(())
    }

    /// The words of all files that the pattern `arg` names.
    fn import_files(&mut self, arg: &Token) -> Result<Vec<Token>, Error> {
        let from = self.host.absolute(arg.file()).map_err(|error| {
            self.err(&format!(
                "Failed to get absolute path of file: {}: {}",
                self.source.name,
                io_message(&error)
            ))
        })?;
        let pattern = if arg.text.starts_with('/') {
            arg.text.to_string()
        } else {
            path::join(&path::dir(&from), &arg.text)
        };
        if pattern.matches('*').count() > 1
            || pattern.matches('?').count() > 1
            || (pattern.contains('[') && pattern.contains(']'))
        {
            return Err(self.err(&format!(
                "Glob pattern may only contain one wildcard (*), but has others: {pattern}"
            )));
        }
        let files = self.host.glob(&pattern).map_err(|error| {
            self.err(&format!(
                "Failed to use import pattern {}: {}",
                arg.text,
                io_message(&error)
            ))
        })?;
        if files.is_empty() {
            if !pattern.contains(['*', '?', '[', ']']) {
                return Err(self
                    .err(&format!("File to import not found: {}", arg.text))
                    .help(format!(
                        "looked for a snippet of that name and for {pattern}"
                    ))
                    .suggest(&self.snippets.keys().map(String::as_str).collect::<Vec<_>>()));
            }
            self.host.warn(&format!(
                "No files matching import glob pattern: {}",
                arg.text
            ));
        }
        let mut words = Vec::new();
        for file in files {
            words.extend_from_slice(self.import_file(&file)?);
        }
        Ok(words)
    }

    /// The words of one file, which is read once only.
    fn import_file(&mut self, file: &Path) -> Result<&[Token], Error> {
        let shown = file.to_string_lossy().into_owned();
        if !self.files.contains_key(&shown) {
            let failed = |why: String| self.err(&format!("Could not import {shown}: {why}"));
            let text = self.host.read(file).map_err(|error| match error.kind() {
                std::io::ErrorKind::IsADirectory => failed("is a directory".to_owned()),
                _ => failed(format!("open {shown}: {}", io_message(&error))),
            })?;
            let name = self
                .host
                .absolute(&shown)
                .map_err(|error| failed(io_message(&error)))?;
            let words = lexer::lex(&Source::new(&name, &text, true));
            self.files.insert(shown.clone(), words);
        }
        Ok(self.files.get(&shown).map_or(&[], Vec::as_slice))
    }

    fn snippet_depth(&self) -> Error {
        self.err(&format!(
            "maximum snippet import depth ({MAX_SNIPPETS}) exceeded"
        ))
    }

    fn file_depth(&self) -> Error {
        self.err(&format!(
            "maximum file import depth ({MAX_SNIPPETS}) exceeded"
        ))
        .help("does this file import itself?")
    }
}
