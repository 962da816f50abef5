//! What is wrong with a Corefile, where, and what to do about it.

use std::{fmt, ops::Range, sync::Arc};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::{
    source::{Source, Token},
    suggest,
};

/// An error in a Corefile.
///
/// Its first line is what CoreDNS prints, to the letter, so that scripts keep
/// matching. Below it come the line of the Corefile with the place marked, what
/// was expected there and, for a misspelt word, the nearest valid one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Report>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    first_line: String,
    place: Option<Place>,
    expected: Option<String>,
    help: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Word(Token),
    /// A file as a whole, where no word is at hand.
    File(Arc<Source>),
}

impl Error {
    /// An error of which CoreDNS prints the message alone.
    pub fn plain(message: impl Into<String>) -> Self {
        Self(Box::new(Report {
            first_line: message.into(),
            place: None,
            expected: None,
            help: Vec::new(),
        }))
    }

    /// The same error, about `token`: its line shows below the first one.
    pub fn at(mut self, token: &Token) -> Self {
        self.0.place = Some(Place::Word(token.clone()));
        self
    }

    /// `FILE:LINE - Error during parsing: MSG`.
    pub(crate) fn parsing(main: &Arc<Source>, token: Option<&Token>, message: &str) -> Self {
        Self::located(main, token, &format!("Error during parsing: {message}"))
    }

    /// `FILE:LINE - Syntax error: Unexpected token 'X', expecting 'E'`.
    pub(crate) fn syntax(main: &Arc<Source>, token: Option<&Token>, expected: &str) -> Self {
        let word = token.map_or("", |token| &token.text);
        let message = format!("Syntax error: Unexpected token '{word}', expecting '{expected}'");
        Self::located(main, token, &message).expecting(format!("`{expected}`"))
    }

    fn located(main: &Arc<Source>, token: Option<&Token>, message: &str) -> Self {
        let (file, line) = token.map_or((&*main.name, 0), |token| (token.file(), token.line));
        let mut error = Self::plain(format!("{file}:{line} - {message}"));
        error.0.place = Some(match token {
            Some(token) => Place::Word(token.clone()),
            None => Place::File(Arc::clone(main)),
        });
        error
    }

    /// Says which plugin refused: `plugin/NAME: ` before the first line.
    pub fn in_plugin(self, name: &str) -> Self {
        self.within(&format!("plugin/{name}"))
    }

    /// Says what was being done: `CONTEXT: ` before the first line.
    pub fn within(mut self, context: &str) -> Self {
        self.0.first_line.insert_str(0, &format!("{context}: "));
        self
    }

    /// Says what would have been right at the place: `a number of seconds`.
    pub fn expecting(mut self, what: impl Into<String>) -> Self {
        self.0.expected = Some(what.into());
        self
    }

    /// Adds a line of advice.
    pub fn help(mut self, advice: impl Into<String>) -> Self {
        self.0.help.push(advice.into());
        self
    }

    /// Names the one of `candidates` that the word at the place was probably
    /// meant to be, if one is near.
    pub fn suggest(self, candidates: &[&str]) -> Self {
        let near = match &self.0.place {
            Some(Place::Word(token)) => suggest::nearest(&token.text, candidates),
            _ => None,
        };
        match near {
            Some(word) => {
                let advice = format!("did you mean `{word}`?");
                self.help(advice)
            }
            None => self,
        }
    }

    /// What CoreDNS prints: the error without the annotated line. A quoted word
    /// with a line break in it can make this more than one line.
    pub fn first_line(&self) -> &str {
        &self.0.first_line
    }

    /// The word that the error is about.
    pub fn token(&self) -> Option<&Token> {
        match self.0.place.as_ref()? {
            Place::Word(token) => Some(token),
            Place::File(_) => None,
        }
    }

    /// The whole message, the same as `Display` writes.
    pub fn render(&self) -> String {
        let mut lines = Group::with_level(Level::ERROR);
        match &self.0.place {
            Some(Place::Word(token)) => {
                lines = lines.element(snippet(token, self.0.expected.as_deref()));
            }
            _ => {
                if let Some(expected) = &self.0.expected {
                    lines = lines.element(Level::NOTE.message(format!("expected {expected}")));
                }
            }
        }
        for advice in &self.0.help {
            lines = lines.element(Level::HELP.message(advice));
        }
        if lines.is_empty() {
            return self.0.first_line.clone();
        }
        let lines = Renderer::plain().render(&[lines]);
        format!("{}\n{}", self.0.first_line, lines)
    }
}

/// The first line of the source that `token` is on, with the word marked.
fn snippet<'t>(
    token: &'t Token,
    expected: Option<&str>,
) -> Snippet<'t, annotate_snippets::Annotation<'t>> {
    let text = &*token.source.text;
    let (line, span) = line_of(text, token.range());
    let mut mark = AnnotationKind::Primary.span(span);
    if let Some(expected) = expected {
        mark = mark.label(format!("expected {expected}"));
    }
    Snippet::source(line)
        .path(token.file())
        .line_start(token.line as usize)
        .annotation(mark)
}

/// The line that `span` begins on, and the part of it that is in `span`.
fn line_of(text: &str, span: Range<usize>) -> (&str, Range<usize>) {
    let head = text.get(..span.start).unwrap_or(text);
    let start = head.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(start..).unwrap_or("");
    let line = line.split('\n').next().unwrap_or("").trim_end_matches('\r');
    let (line, start) = match line.strip_prefix('\u{feff}') {
        Some(rest) if start == 0 => (rest, line.len() - rest.len()),
        _ => (line, start),
    };
    let from = span.start.saturating_sub(start).min(line.len());
    let to = span.end.saturating_sub(start).clamp(from, line.len());
    (line, from..to)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render())
    }
}

impl std::error::Error for Error {}
