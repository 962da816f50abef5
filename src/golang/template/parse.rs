//! Words to trees.

use std::collections::BTreeMap;

use super::Error;
use super::funcs;
use super::lex::{Item, Kind, lex};
use super::node::{Branch, BranchKind, Command, Expr, ExprKind, List, Node, Number, Pipe};
use crate::golang::strconv::{
    Unquoted, parse_float, parse_int, parse_uint, quote, unquote, unquote_char,
};

/// How deep parentheses and control structures may nest.
const MAX_DEPTH: usize = 200;

/// Parses a template into its own tree and those that it defines.
pub(super) fn parse(name: &str, text: &str) -> Result<BTreeMap<String, List>, Error> {
    let mut parser = Parser {
        name,
        items: lex(text),
        at: 0,
        furthest: 0,
        variables: vec!["$".into()],
        ranges: 0,
        depth: 0,
        action_line: 0,
        trees: BTreeMap::new(),
    };
    let root = parser.root()?;
    parser.add(name.to_owned(), root)?;
    Ok(parser.trees)
}

struct Parser<'t> {
    name: &'t str,
    items: Vec<Item<'t>>,
    at: usize,
    /// The item that errors name the line of.
    furthest: usize,
    /// The variables that are declared, innermost last.
    variables: Vec<String>,
    /// How many loops are open.
    ranges: usize,
    depth: usize,
    /// The line that the open action began on; 0 where none is open.
    action_line: usize,
    trees: BTreeMap<String, List>,
}

/// What ends a list of nodes.
enum Ending {
    End,
    Else,
}

impl Ending {
    fn show(&self) -> &'static str {
        match self {
            Self::End => "{{end}}",
            Self::Else => "{{else}}",
        }
    }
}

/// A node, or what ends the list that it would be in.
enum Next {
    Node(Node),
    Ending(Ending),
}

type Parsed<T> = Result<T, Error>;

impl<'t> Parser<'t> {
    fn peek(&mut self) -> Item<'t> {
        self.furthest = self.furthest.max(self.at);
        self.item(self.at).clone()
    }

    /// The item at a place; the last one, an end or an error, is there for ever.
    fn item(&self, at: usize) -> &Item<'t> {
        // The lexer's list is never empty.
        &self.items[at.min(self.items.len() - 1)]
    }

    fn next(&mut self) -> Item<'t> {
        let item = self.peek();
        self.at += 1;
        item
    }

    fn back(&mut self) {
        self.at -= 1;
    }

    fn next_word(&mut self) -> Item<'t> {
        self.skip_space();
        self.next()
    }

    fn peek_word(&mut self) -> Item<'t> {
        self.skip_space();
        self.peek()
    }

    fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
    }

    fn fail<T>(&self, message: impl AsRef<str>) -> Parsed<T> {
        let line = self.item(self.furthest).line;
        let message = message.as_ref();
        Err(Error(format!("template: {}:{line}: {message}", self.name)))
    }

    fn unexpected<T>(&self, item: &Item<'_>, context: &str) -> Parsed<T> {
        if let Kind::Error(message) = &item.kind {
            let mut extra = String::new();
            if self.action_line != 0 && self.action_line != item.line {
                extra = format!(" in action started at {}:{}", self.name, self.action_line);
                if message.ends_with(" action") {
                    extra.drain(..10);
                }
            }
            return self.fail(format!("{message}{extra}"));
        }
        self.fail(format!("unexpected {} in {context}", item.show()))
    }

    fn expect(&mut self, kind: &Kind, context: &str) -> Parsed<Item<'t>> {
        let item = self.next_word();
        match item.kind == *kind {
            true => Ok(item),
            false => self.unexpected(&item, context),
        }
    }

    fn add(&mut self, name: String, list: List) -> Parsed<()> {
        match self.trees.get(&name) {
            Some(old) if !old.is_empty() => match list.is_empty() {
                true => Ok(()),
                false => self.fail(format!(
                    "template: multiple definition of template {}",
                    quote(&name)
                )),
            },
            _ => {
                self.trees.insert(name, list);
                Ok(())
            }
        }
    }

    fn root(&mut self) -> Parsed<List> {
        let mut list = List::default();
        while self.peek().kind != Kind::End {
            if self.peek().kind == Kind::Open {
                let before = self.at;
                self.next();
                if is_keyword(&self.next_word(), "define") {
                    self.definition()?;
                    continue;
                }
                self.at = before;
            }
            match self.text_or_action()? {
                Next::Node(node) => list.0.push(node),
                Next::Ending(ending) => {
                    return self.fail(format!("unexpected {}", ending.show()));
                }
            }
        }
        Ok(list)
    }

    /// A template of its own, which sees no variables from outside.
    fn definition(&mut self) -> Parsed<()> {
        const CONTEXT: &str = "define clause";
        let item = self.next_word();
        if !matches!(item.kind, Kind::Str | Kind::RawStr) {
            return self.unexpected(&item, CONTEXT);
        }
        let name = self.unquoted(&item)?;
        self.expect(&Kind::Close, CONTEXT)?;
        self.own_tree(name, CONTEXT)
    }

    fn own_tree(&mut self, name: String, context: &str) -> Parsed<()> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (list, ending) = self.list()?;
        self.variables = variables;
        self.ranges = ranges;
        if let Ending::Else = ending {
            return self.fail(format!("unexpected {} in {context}", ending.show()));
        }
        self.add(name, list)
    }

    fn unquoted(&self, item: &Item<'_>) -> Parsed<String> {
        match unquote(item.text) {
            Some(text) => Ok(text),
            None => self.fail("invalid syntax"),
        }
    }

    fn list(&mut self) -> Parsed<(List, Ending)> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail("max expression depth exceeded");
        }
        let mut list = List::default();
        while self.peek_word().kind != Kind::End {
            match self.text_or_action()? {
                Next::Node(node) => list.0.push(node),
                Next::Ending(ending) => {
                    self.depth -= 1;
                    return Ok((list, ending));
                }
            }
        }
        self.fail("unexpected EOF")
    }

    fn text_or_action(&mut self) -> Parsed<Next> {
        let item = self.next_word();
        match item.kind {
            Kind::Text => Ok(Next::Node(Node::Text(item.pos, item.text.to_owned()))),
            Kind::Open => {
                self.action_line = item.line;
                let next = self.action()?;
                self.action_line = 0;
                Ok(next)
            }
            _ => self.unexpected(&item, "input"),
        }
    }

    fn action(&mut self) -> Parsed<Next> {
        let item = self.next_word();
        if item.kind != Kind::Keyword {
            self.back();
            let pos = item.pos;
            let pipe = self.pipeline("command", &Kind::Close)?;
            return Ok(Next::Node(Node::Action(pos, pipe)));
        }
        let node = match item.text {
            "if" => self.branch(BranchKind::If)?,
            "with" => self.branch(BranchKind::With)?,
            "range" => self.branch(BranchKind::Range)?,
            "end" => {
                self.expect(&Kind::Close, "end")?;
                return Ok(Next::Ending(Ending::End));
            }
            "else" => {
                let word = self.peek_word();
                if !is_keyword(&word, "if") && !is_keyword(&word, "with") {
                    self.expect(&Kind::Close, "else")?;
                }
                return Ok(Next::Ending(Ending::Else));
            }
            "break" | "continue" => {
                let context = format!("{{{{{}}}}}", item.text);
                let close = self.next_word();
                if close.kind != Kind::Close {
                    return self.unexpected(&close, &context);
                }
                if self.ranges == 0 {
                    return self.fail(format!("{context} outside {{{{range}}}}"));
                }
                match item.text {
                    "break" => Node::Break(item.pos),
                    _ => Node::Continue(item.pos),
                }
            }
            "template" => {
                const CONTEXT: &str = "template clause";
                let (pos, name) = self.template_name(CONTEXT)?;
                let mut pipe = None;
                if self.next_word().kind != Kind::Close {
                    self.back();
                    pipe = Some(self.pipeline(CONTEXT, &Kind::Close)?);
                }
                Node::Template { pos, name, pipe }
            }
            "block" => {
                const CONTEXT: &str = "block clause";
                let (pos, name) = self.template_name(CONTEXT)?;
                let pipe = Some(self.pipeline(CONTEXT, &Kind::Close)?);
                self.own_tree(name.clone(), CONTEXT)?;
                Node::Template { pos, name, pipe }
            }
            // `define` anywhere but at the top.
            _ => {
                self.back();
                self.next_word();
                return self.unexpected(&item, "command");
            }
        };
        Ok(Next::Node(node))
    }

    fn template_name(&mut self, context: &str) -> Parsed<(usize, String)> {
        let item = self.next_word();
        match item.kind {
            Kind::Str | Kind::RawStr => Ok((item.pos, self.unquoted(&item)?)),
            _ => self.unexpected(&item, context),
        }
    }

    fn branch(&mut self, kind: BranchKind) -> Parsed<Node> {
        let variables = self.variables.len();
        let pipe = self.pipeline(kind.word(), &Kind::Close)?;
        let loops = usize::from(kind == BranchKind::Range);
        self.ranges += loops;
        let (list, ending) = self.list()?;
        self.ranges -= loops;
        let mut otherwise = None;
        if let Ending::Else = ending {
            let word = self.peek();
            let chained = kind != BranchKind::Range && is_keyword(&word, kind.word());
            otherwise = Some(if chained {
                // `{{else if}}`: the inner branch takes the one `{{end}}`.
                self.next();
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return self.fail("max expression depth exceeded");
                }
                let inner = self.branch(kind)?;
                self.depth -= 1;
                List(vec![inner])
            } else {
                let (list, ending) = self.list()?;
                if let Ending::Else = ending {
                    return self.fail(format!("expected end; found {}", ending.show()));
                }
                list
            });
        }
        self.variables.truncate(variables);
        Ok(Node::Branch(Box::new(Branch {
            kind,
            pipe,
            list,
            otherwise,
        })))
    }

    fn pipeline(&mut self, context: &str, end: &Kind) -> Parsed<Pipe> {
        let mut pipe = Pipe {
            pos: self.peek_word().pos,
            names: Vec::new(),
            assigns: false,
            commands: Vec::new(),
        };
        self.declarations(context, &mut pipe)?;
        loop {
            let item = self.next_word();
            match item.kind {
                ref kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawStr
                | Kind::Str
                | Kind::Variable
                | Kind::LeftParen => {
                    self.back();
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&item, context),
            }
        }
        if pipe.commands.is_empty() {
            return self.fail(format!("missing value for {context}"));
        }
        for (at, command) in pipe.commands.iter().enumerate().skip(1) {
            if command.first.is_constant() {
                return self.fail(format!(
                    "non executable command in pipeline stage {}",
                    at + 1
                ));
            }
        }
        Ok(pipe)
    }

    /// `$x :=`, `$x =`, and in a loop `$i, $x :=`.
    fn declarations(&mut self, context: &str, pipe: &mut Pipe) -> Parsed<()> {
        loop {
            let variable = self.peek_word();
            if variable.kind != Kind::Variable {
                return Ok(());
            }
            let before = self.at;
            self.next();
            let sign = self.peek_word();
            let comma = sign.kind == Kind::Char && sign.text == ",";
            if !comma && !matches!(sign.kind, Kind::Assign | Kind::Declare) {
                self.at = before;
                return Ok(());
            }
            self.next();
            pipe.names.push(variable.text.to_owned());
            self.variables.push(variable.text.to_owned());
            if !comma {
                pipe.assigns = sign.kind == Kind::Assign;
                return Ok(());
            }
            if context != "range" || pipe.names.len() >= 2 {
                return self.fail(format!("too many declarations in {context}"));
            }
            if !matches!(
                self.peek_word().kind,
                Kind::Variable | Kind::Close | Kind::RightParen
            ) {
                return self.fail("range can only initialize variables");
            }
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        let pos = self.peek_word().pos;
        let mut args = Vec::new();
        loop {
            self.skip_space();
            args.extend(self.operand()?);
            let item = self.next();
            match item.kind {
                Kind::Space => {}
                Kind::Close | Kind::RightParen => {
                    self.back();
                    break;
                }
                Kind::Pipe => break,
                _ => return self.unexpected(&item, "operand"),
            }
        }
        let mut args = args.into_iter();
        match args.next() {
            Some(first) => Ok(Command {
                pos,
                first,
                rest: args.collect(),
            }),
            None => self.fail("empty command"),
        }
    }

    fn operand(&mut self) -> Parsed<Option<Expr>> {
        let Some(term) = self.term()? else {
            return Ok(None);
        };
        let first = self.peek();
        if first.kind != Kind::Field {
            return Ok(Some(term));
        }
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.next().text.trim_start_matches('.').to_owned());
        }
        let kind = match term.kind {
            ExprKind::Field(mut names) => {
                names.append(&mut fields);
                ExprKind::Field(names)
            }
            ExprKind::Variable(mut names) => {
                names.append(&mut fields);
                ExprKind::Variable(names)
            }
            ExprKind::Function(_) | ExprKind::Pipe(_) | ExprKind::Chain(..) => {
                ExprKind::Chain(Box::new(term), fields)
            }
            _ => {
                return self.fail(format!(
                    "unexpected . after term {}",
                    quote(&term.to_string())
                ));
            }
        };
        Ok(Some(Expr {
            pos: first.pos,
            kind,
        }))
    }

    fn term(&mut self) -> Parsed<Option<Expr>> {
        let item = self.next_word();
        let kind = match item.kind {
            Kind::Identifier => {
                if funcs::signature(item.text).is_none() {
                    return self.fail(format!("function {} not defined", quote(item.text)));
                }
                ExprKind::Function(item.text.to_owned())
            }
            Kind::Dot => ExprKind::Dot,
            Kind::Nil => ExprKind::Nil,
            Kind::Variable => {
                if !self.variables.iter().any(|name| name == item.text) {
                    return self.fail(format!("undefined variable {}", quote(item.text)));
                }
                ExprKind::Variable(vec![item.text.to_owned()])
            }
            Kind::Field => ExprKind::Field(vec![item.text.trim_start_matches('.').to_owned()]),
            Kind::Bool => ExprKind::Bool(item.text == "true"),
            Kind::CharConstant | Kind::Complex | Kind::Number => {
                match Number::parse(item.text, &item.kind) {
                    Ok(number) => ExprKind::Number(number),
                    Err(message) => return self.fail(message),
                }
            }
            Kind::LeftParen => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return self.fail("max expression depth exceeded");
                }
                let pipe = self.pipeline("parenthesized pipeline", &Kind::RightParen)?;
                self.depth -= 1;
                return Ok(Some(Expr {
                    pos: pipe.pos,
                    kind: ExprKind::Pipe(Box::new(pipe)),
                }));
            }
            Kind::Str | Kind::RawStr => ExprKind::Str {
                text: self.unquoted(&item)?,
                quoted: item.text.to_owned(),
            },
            _ => {
                self.back();
                return Ok(None);
            }
        };
        Ok(Some(Expr {
            pos: item.pos,
            kind,
        }))
    }
}

fn is_keyword(item: &Item<'_>, word: &str) -> bool {
    item.kind == Kind::Keyword && item.text == word
}

impl Expr {
    fn is_constant(&self) -> bool {
        matches!(
            self.kind,
            ExprKind::Bool(_)
                | ExprKind::Dot
                | ExprKind::Nil
                | ExprKind::Number(_)
                | ExprKind::Str { .. }
        )
    }
}

impl Number {
    fn parse(text: &str, kind: &Kind) -> Result<Self, String> {
        let mut number = Self {
            text: text.to_owned(),
            ..Self::default()
        };
        match kind {
            Kind::CharConstant => {
                let inner = text.get(1..).unwrap_or_default();
                let (value, tail) = unquote_char(inner, '\'').ok_or("invalid syntax")?;
                if tail != "'" {
                    return Err(format!("malformed character constant: {text}"));
                }
                let code = match value {
                    Unquoted::Octet(octet) => u32::from(octet),
                    Unquoted::Char(c) => c as u32,
                };
                number.set_int(code.into());
                number.uint = Some(code.into());
                return Ok(number);
            }
            Kind::Complex => {
                let split = text.rfind(['+', '-']).filter(|at| *at > 0);
                let (real, imaginary) = text.split_at(split.unwrap_or(0));
                let parts = parse_float(real).zip(parse_float(imaginary.trim_end_matches('i')));
                number.set_complex(parts.ok_or("expected complex")?);
                return Ok(number);
            }
            _ => {}
        }
        if let Some(imaginary) = text.strip_suffix('i').and_then(parse_float) {
            number.set_complex((0.0, imaginary));
            return Ok(number);
        }
        number.uint = parse_uint(text, 0, 64).ok();
        if let Ok(int) = parse_int(text, 0) {
            number.set_int(int);
            if int == 0 {
                number.uint = Some(0);
            }
        } else if let Some(uint) = number.uint {
            number.float = Some(uint as f64);
        } else if let Some(float) = parse_float(text) {
            if !text.contains(['.', 'e', 'E', 'p', 'P']) {
                return Err(format!("integer overflow: {}", quote(text)));
            }
            number.float = Some(float);
            number.int = (float as i64 as f64 == float).then_some(float as i64);
            number.uint = (float as u64 as f64 == float).then_some(float as u64);
        } else {
            return Err(format!("illegal number syntax: {}", quote(text)));
        }
        Ok(number)
    }

    fn set_int(&mut self, int: i64) {
        self.int = Some(int);
        self.float = Some(int as f64);
    }

    fn set_complex(&mut self, (real, imaginary): (f64, f64)) {
        self.complex = Some((real, imaginary));
        if imaginary == 0.0 {
            self.float = Some(real);
            self.int = (real as i64 as f64 == real).then_some(real as i64);
            self.uint = (real as u64 as f64 == real).then_some(real as u64);
        }
    }
}
