//! The parsed form of a template, and how Go prints it.

use std::fmt;

use crate::golang::strconv::quote;

/// A part of a template that errors can point to.
pub(super) trait Place: fmt::Display {
    /// Its offset in the text, in octets.
    fn pos(&self) -> usize;
}

/// Nodes one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct List(pub(super) Vec<Node>);

impl List {
    /// Whether there is nothing but blanks.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|node| match node {
            Node::Text(_, text) => text.trim().is_empty(),
            _ => false,
        })
    }
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(usize, String),
    Action(usize, Pipe),
    Break(usize),
    Continue(usize),
    Branch(Box<Branch>),
    Template {
        pos: usize,
        name: String,
        pipe: Option<Pipe>,
    },
}

/// `if`, `with` or `range`.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    pub(super) kind: BranchKind,
    pub(super) pipe: Pipe,
    pub(super) list: List,
    pub(super) otherwise: Option<List>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BranchKind {
    If,
    With,
    Range,
}

impl BranchKind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::If => "if",
            Self::With => "with",
            Self::Range => "range",
        }
    }
}

/// Commands of which each gets the result of the one before.
#[derive(Clone, Debug)]
pub(super) struct Pipe {
    pub(super) pos: usize,
    /// The variables that get the result, with their dollar signs.
    pub(super) names: Vec<String>,
    /// Whether they exist already.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// A function, field or value and what it is given.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) pos: usize,
    pub(super) first: Expr,
    pub(super) rest: Vec<Expr>,
}

#[derive(Clone, Debug)]
pub(super) struct Expr {
    pub(super) pos: usize,
    pub(super) kind: ExprKind,
}

#[derive(Clone, Debug)]
pub(super) enum ExprKind {
    Bool(bool),
    Dot,
    Nil,
    Number(Number),
    Str {
        quoted: String,
        text: String,
    },
    /// Names without their dots.
    Field(Vec<String>),
    /// The variable with its dollar sign, then fields.
    Variable(Vec<String>),
    Chain(Box<Expr>, Vec<String>),
    Function(String),
    Pipe(Box<Pipe>),
}

/// A number under every type that can hold it.
#[derive(Clone, Debug, Default)]
pub(super) struct Number {
    pub(super) text: String,
    pub(super) int: Option<i64>,
    pub(super) uint: Option<u64>,
    pub(super) float: Option<f64>,
    pub(super) complex: Option<(f64, f64)>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|node| write!(f, "{node}"))
    }
}

impl Place for Node {
    fn pos(&self) -> usize {
        match self {
            Self::Text(pos, _) | Self::Action(pos, _) | Self::Break(pos) | Self::Continue(pos) => {
                *pos
            }
            Self::Branch(branch) => branch.pipe.pos,
            Self::Template { pos, .. } => *pos,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_, text) => f.write_str(text),
            Self::Action(_, pipe) => write!(f, "{{{{{pipe}}}}}"),
            Self::Break(_) => f.write_str("{{break}}"),
            Self::Continue(_) => f.write_str("{{continue}}"),
            Self::Branch(branch) => {
                let Branch {
                    kind, pipe, list, ..
                } = &**branch;
                write!(f, "{{{{{} {pipe}}}}}{list}", kind.word())?;
                if let Some(otherwise) = &branch.otherwise {
                    write!(f, "{{{{else}}}}{otherwise}")?;
                }
                f.write_str("{{end}}")
            }
            Self::Template { name, pipe, .. } => {
                write!(f, "{{{{template {}", quote(name))?;
                if let Some(pipe) = pipe {
                    write!(f, " {pipe}")?;
                }
                f.write_str("}}")
            }
        }
    }
}

impl Place for Pipe {
    fn pos(&self) -> usize {
        self.pos
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.names.is_empty() {
            let sign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.names.join(", "))?;
        }
        for (at, command) in self.commands.iter().enumerate() {
            let pipe = if at > 0 { " | " } else { "" };
            write!(f, "{pipe}{command}")?;
        }
        Ok(())
    }
}

impl Place for Command {
    fn pos(&self) -> usize {
        self.pos
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt_operand(f)?;
        self.rest.iter().try_for_each(|arg| {
            f.write_str(" ")?;
            arg.fmt_operand(f)
        })
    }
}

impl Expr {
    /// Prints it with the parentheses that a pipeline among operands has.
    fn fmt_operand(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Pipe(pipe) => write!(f, "({pipe})"),
            _ => fmt::Display::fmt(self, f),
        }
    }
}

impl Place for Expr {
    fn pos(&self) -> usize {
        self.pos
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Bool(value) => write!(f, "{value}"),
            ExprKind::Dot => f.write_str("."),
            ExprKind::Nil => f.write_str("nil"),
            ExprKind::Number(number) => f.write_str(&number.text),
            ExprKind::Str { quoted, .. } => f.write_str(quoted),
            ExprKind::Field(names) => write!(f, ".{}", names.join(".")),
            ExprKind::Variable(names) => f.write_str(&names.join(".")),
            ExprKind::Chain(node, names) => {
                node.fmt_operand(f)?;
                write!(f, ".{}", names.join("."))
            }
            ExprKind::Function(name) => f.write_str(name),
            ExprKind::Pipe(pipe) => write!(f, "{pipe}"),
        }
    }
}
