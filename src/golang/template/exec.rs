//! Running a template.

use std::rc::Rc;

use super::node::{Branch, BranchKind, Command, Expr, ExprKind, List, Node, Number, Pipe, Place};
use super::{Error, Template, funcs};
use crate::golang::fmt::print;
use crate::golang::strconv::quote;
use crate::golang::value::{Signature, Type, Value};

/// How deep templates may invoke each other.
const MAX_DEPTH: usize = 100;
/// The most that a template may write, in octets.
const MAX_OUTPUT: usize = 1 << 20;
/// How many times the loops of one run may go round in all.
const MAX_ROUNDS: usize = 1 << 20;

pub(super) fn execute(template: &Template, data: Value) -> Result<String, Error> {
    let mut out = String::new();
    let mut rounds = 0;
    let mut state = State {
        template,
        name: &template.name,
        out: &mut out,
        rounds: &mut rounds,
        at: None,
        variables: vec![("$".into(), data.clone())],
        depth: 0,
    };
    if let Some(root) = template.tree(&template.name) {
        state.walk_list(&data, root)?;
    }
    Ok(out)
}

struct State<'t, 'o> {
    template: &'t Template,
    /// The template that runs, which may be one that was defined.
    name: &'t str,
    out: &'o mut String,
    rounds: &'o mut usize,
    /// What errors point to.
    at: Option<&'t dyn Place>,
    variables: Vec<(String, Value)>,
    depth: usize,
}

/// How a node was left.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// What a command is given besides its own arguments: the result of the one
/// before it in the pipeline.
type Final = Option<Value>;

impl<'t> State<'t, '_> {
    fn fail<T>(&self, message: impl AsRef<str>) -> Result<T, Error> {
        let message = message.as_ref();
        let Some(place) = self.at else {
            return Err(Error(format!("template: {}: {message}", self.name)));
        };
        let before = self.template.text.get(..place.pos()).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        let column = match before.rfind('\n') {
            Some(newline) => before.len() - newline - 1,
            None => before.len(),
        };
        Err(Error(format!(
            "template: {}:{line}:{column}: executing {} at <{place}>: {message}",
            self.template.name,
            quote(self.name)
        )))
    }

    fn write(&mut self, text: &str) -> Result<(), Error> {
        if self.out.len() + text.len() > MAX_OUTPUT {
            return self.fail("output is too large");
        }
        self.out.push_str(text);
        Ok(())
    }

    fn walk_list(&mut self, dot: &Value, list: &'t List) -> Result<Flow, Error> {
        for node in &list.0 {
            match self.walk(dot, node)? {
                Flow::On => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::On)
    }

    fn walk(&mut self, dot: &Value, node: &'t Node) -> Result<Flow, Error> {
        self.at = Some(node);
        match node {
            Node::Text(_, text) => self.write(text)?,
            Node::Action(_, pipe) => {
                let value = self.pipeline(dot, pipe)?;
                if pipe.names.is_empty() {
                    self.at = Some(node);
                    self.write(&print(&value))?;
                }
            }
            Node::Break(_) => return Ok(Flow::Break),
            Node::Continue(_) => return Ok(Flow::Continue),
            Node::Branch(branch) => {
                let mark = self.variables.len();
                let flow = match branch.kind {
                    BranchKind::Range => self.range(dot, node, branch)?,
                    _ => self.if_or_with(dot, branch)?,
                };
                self.variables.truncate(mark);
                return Ok(flow);
            }
            Node::Template { name, pipe, .. } => {
                let template = self.template;
                let Some((name, tree)) = template.trees.get_key_value(name) else {
                    return self.fail(format!("template {} not defined", quote(name)));
                };
                if self.depth == MAX_DEPTH {
                    return self.fail(format!("exceeded maximum template depth ({MAX_DEPTH})"));
                }
                let data = match pipe {
                    Some(pipe) => self.pipeline(dot, pipe)?,
                    None => Value::None,
                };
                let mut inner = State {
                    template,
                    name,
                    out: self.out,
                    rounds: self.rounds,
                    at: self.at,
                    variables: vec![("$".into(), data.clone())],
                    depth: self.depth + 1,
                };
                inner.walk_list(&data, tree)?;
            }
        }
        Ok(Flow::On)
    }

    fn if_or_with(&mut self, dot: &Value, branch: &'t Branch) -> Result<Flow, Error> {
        let value = self.pipeline(dot, &branch.pipe)?;
        match (&branch.otherwise, value.is_true(), branch.kind) {
            (_, true, BranchKind::With) => self.walk_list(&value, &branch.list),
            (_, true, _) => self.walk_list(dot, &branch.list),
            (Some(otherwise), false, _) => self.walk_list(dot, otherwise),
            (None, false, _) => Ok(Flow::On),
        }
    }

    fn range(&mut self, dot: &Value, node: &'t Node, branch: &'t Branch) -> Result<Flow, Error> {
        self.at = Some(node);
        let value = self.pipeline(dot, &branch.pipe)?;
        let names = &branch.pipe.names;
        let pairs: Box<dyn Iterator<Item = (Value, Value)>> =
            match &value {
                Value::None | Value::Null(_) => Box::new(std::iter::empty()),
                Value::Int(..) | Value::Uint(..) if names.len() > 1 => {
                    return self.fail(format!(
                        "can't use {} to iterate over more than one variable",
                        print(&value)
                    ));
                }
                Value::Int(count, name) => {
                    let name = *name;
                    Box::new((0..*count).map(move |at| (Value::None, Value::Int(at, name))))
                }
                Value::Uint(count, name) => {
                    let name = *name;
                    Box::new((0..*count).map(move |at| (Value::None, Value::Uint(at, name))))
                }
                Value::List(items, _) => {
                    let items = Rc::clone(items);
                    Box::new((0..items.len()).filter_map(move |at| {
                        Some((Value::int(at as i64), items.get(at)?.clone()))
                    }))
                }
                Value::Map(map) => {
                    let pairs: Vec<_> = map
                        .iter()
                        .map(|(key, value)| (Value::str(&**key), Value::str(&**value)))
                        .collect();
                    Box::new(pairs.into_iter())
                }
                _ => return self.fail(format!("range can't iterate over {}", print(&value))),
            };
        let mark = self.variables.len();
        let mut went_round = false;
        for (index, element) in pairs {
            went_round = true;
            *self.rounds += 1;
            if *self.rounds > MAX_ROUNDS {
                return self.fail("loops go round too often");
            }
            match names.as_slice() {
                [first, second] if branch.pipe.assigns => {
                    self.assign(first, index)?;
                    self.assign(second, element.clone())?;
                }
                [first] if branch.pipe.assigns => self.assign(first, element.clone())?,
                [_, _] => {
                    self.set_top(2, index);
                    self.set_top(1, element.clone());
                }
                [_] => self.set_top(1, element.clone()),
                _ => {}
            }
            let flow = self.walk_list(&element, &branch.list)?;
            self.variables.truncate(mark);
            if flow == Flow::Break {
                break;
            }
        }
        match &branch.otherwise {
            Some(otherwise) if !went_round => self.walk_list(dot, otherwise),
            _ => Ok(Flow::On),
        }
    }

    fn set_top(&mut self, from_top: usize, value: Value) {
        let at = self.variables.len().checked_sub(from_top);
        if let Some((_, slot)) = at.and_then(|at| self.variables.get_mut(at)) {
            *slot = value;
        }
    }

    fn assign(&mut self, name: &str, value: Value) -> Result<(), Error> {
        let mut variables = self.variables.iter_mut().rev();
        match variables.find(|(at, _)| at == name) {
            Some((_, slot)) => {
                *slot = value;
                Ok(())
            }
            None => self.fail(format!("undefined variable: {name}")),
        }
    }

    fn pipeline(&mut self, dot: &Value, pipe: &'t Pipe) -> Result<Value, Error> {
        self.at = Some(pipe);
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(dot, command, last)?);
        }
        let value = last.unwrap_or(Value::None);
        for name in &pipe.names {
            match pipe.assigns {
                true => self.assign(name, value.clone())?,
                false => self.variables.push((name.clone(), value.clone())),
            }
        }
        Ok(value)
    }

    fn command(&mut self, dot: &Value, command: &'t Command, last: Final) -> Result<Value, Error> {
        let first = &command.first;
        let args = &command.rest;
        match &first.kind {
            ExprKind::Field(names) => {
                self.at = Some(first);
                self.fields(dot, dot.clone(), first, names, args, last)
            }
            ExprKind::Chain(node, names) => self.chain(dot, first, node, names, args, last),
            ExprKind::Variable(names) => self.variable(dot, first, names, args, last),
            ExprKind::Function(name) => {
                self.at = Some(first);
                self.function(dot, command, name, args, last)
            }
            ExprKind::Pipe(pipe) => {
                self.no_function(first, args, &last)?;
                self.pipeline(dot, pipe)
            }
            kind => {
                self.at = Some(first);
                self.no_function(first, args, &last)?;
                match kind {
                    ExprKind::Dot => Ok(dot.clone()),
                    ExprKind::Nil => self.fail("nil is not a command"),
                    _ => self.constant(first),
                }
            }
        }
    }

    fn no_function(&self, first: &Expr, args: &[Expr], last: &Final) -> Result<(), Error> {
        match args.is_empty() && last.is_none() {
            true => Ok(()),
            false => {
                let shown = match &first.kind {
                    ExprKind::Pipe(pipe) => pipe.to_string(),
                    _ => first.to_string(),
                };
                self.fail(format!("can't give argument to non-function {shown}"))
            }
        }
    }

    /// A literal where nothing says which type it should have.
    fn constant(&mut self, expr: &'t Expr) -> Result<Value, Error> {
        self.at = Some(expr);
        match &expr.kind {
            ExprKind::Bool(value) => Ok(Value::Bool(*value)),
            ExprKind::Str { text, .. } => Ok(Value::str(&**text)),
            ExprKind::Number(number) => self.number(number),
            _ => self.fail(format!(
                "can't handle assignment of {expr} to empty interface argument"
            )),
        }
    }

    fn number(&self, number: &Number) -> Result<Value, Error> {
        let text = &number.text;
        let hexadecimal = text.len() > 2
            && (text.starts_with("0x") || text.starts_with("0X"))
            && !text.contains(['p', 'P']);
        let floats = !hexadecimal && !text.starts_with('\'');
        match (number.complex, number.float, number.int) {
            (Some((real, imaginary)), ..) => Ok(Value::Complex(real, imaginary)),
            (_, Some(float), _) if floats && text.contains(['.', 'e', 'E', 'p', 'P']) => {
                Ok(Value::Float(float))
            }
            (.., Some(int)) => Ok(Value::int(int)),
            _ => self.fail(format!("{text} overflows int")),
        }
    }

    fn variable(
        &mut self,
        dot: &Value,
        expr: &'t Expr,
        names: &'t [String],
        args: &'t [Expr],
        last: Final,
    ) -> Result<Value, Error> {
        self.at = Some(expr);
        let Some((name, fields)) = names.split_first() else {
            return Ok(Value::None);
        };
        let mut variables = self.variables.iter().rev();
        let Some(value) = variables.find_map(|(at, value)| (at == name).then(|| value.clone()))
        else {
            return self.fail(format!("undefined variable: {name}"));
        };
        if fields.is_empty() {
            self.no_function(expr, args, &last)?;
            return Ok(value);
        }
        self.fields(dot, value, expr, fields, args, last)
    }

    fn chain(
        &mut self,
        dot: &Value,
        expr: &'t Expr,
        node: &'t Expr,
        names: &'t [String],
        args: &'t [Expr],
        last: Final,
    ) -> Result<Value, Error> {
        self.at = Some(expr);
        if let ExprKind::Nil = node.kind {
            return self.fail(format!("indirection through explicit nil in {expr}"));
        }
        let value = self.argument(dot, Type::Any, node)?;
        self.fields(dot, value, expr, names, args, last)
    }

    /// The fields of `receiver` one after the other; the last may be a method
    /// and gets the arguments.
    fn fields(
        &mut self,
        dot: &Value,
        receiver: Value,
        expr: &'t Expr,
        names: &'t [String],
        args: &'t [Expr],
        last: Final,
    ) -> Result<Value, Error> {
        let Some((name, before)) = names.split_last() else {
            return Ok(receiver);
        };
        let mut receiver = receiver;
        for name in before {
            receiver = self.field(dot, receiver, expr, name, &[], None)?;
        }
        self.field(dot, receiver, expr, name, args, last)
    }

    fn field(
        &mut self,
        dot: &Value,
        receiver: Value,
        expr: &'t Expr,
        name: &str,
        args: &'t [Expr],
        last: Final,
    ) -> Result<Value, Error> {
        let has_args = !args.is_empty() || last.is_some();
        let type_name = receiver.type_name();
        match &receiver {
            Value::None => return Ok(Value::None),
            Value::Null(_) => {
                return self.fail(format!("nil pointer evaluating {type_name}.{name}"));
            }
            Value::Object(object) => {
                if let Some(signature) = object.method(name) {
                    let args = self.arguments(dot, name, signature, args, last)?;
                    let called = object.call(name, &args);
                    return called.or_else(|message| {
                        self.at = Some(expr);
                        self.fail(format!("error calling {name}: {message}"))
                    });
                }
                if object.hides(name) {
                    return self.fail(format!(
                        "{name} is an unexported field of struct type {type_name}"
                    ));
                }
                if let Some(value) = object.field(name) {
                    if has_args {
                        return self.fail(format!(
                            "{name} has arguments but cannot be invoked as function"
                        ));
                    }
                    return Ok(value);
                }
            }
            Value::Map(map) => {
                if has_args {
                    return self.fail(format!("{name} is not a method but has arguments"));
                }
                return Ok(match map.get(name) {
                    Some(value) => Value::str(&**value),
                    None => Value::None,
                });
            }
            _ => {}
        }
        self.fail(format!("can't evaluate field {name} in type {type_name}"))
    }

    fn function(
        &mut self,
        dot: &Value,
        place: &'t dyn Place,
        name: &str,
        args: &'t [Expr],
        last: Final,
    ) -> Result<Value, Error> {
        let Some(signature) = funcs::signature(name) else {
            return self.fail(format!("{} is not a defined function", quote(name)));
        };
        if name == "and" || name == "or" {
            return self.and_or(dot, name, signature, args, last);
        }
        let callee = args.first().map(ToString::to_string);
        let values = self.arguments(dot, name, signature, args, last)?;
        funcs::call(name, &values, callee.as_deref()).or_else(|message| {
            self.at = Some(place);
            self.fail(format!("error calling {name}: {message}"))
        })
    }

    /// These look at no more arguments than they need.
    fn and_or(
        &mut self,
        dot: &Value,
        name: &str,
        signature: Signature,
        args: &'t [Expr],
        last: Final,
    ) -> Result<Value, Error> {
        self.check_count(name, signature, args.len(), last.is_some())?;
        let mut value = Value::None;
        for arg in args {
            value = self.argument(dot, Type::Any, arg)?;
            if value.is_true() == (name == "or") {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn check_count(
        &self,
        name: &str,
        signature: Signature,
        written: usize,
        has_last: bool,
    ) -> Result<(), Error> {
        let given = written + usize::from(has_last);
        let wanted = signature.fixed.len();
        match signature.variadic {
            Some(_) if given < wanted => self.fail(format!(
                "wrong number of args for {name}: want at least {wanted} got {written}"
            )),
            None if given != wanted => self.fail(format!(
                "wrong number of args for {name}: want {wanted} got {given}"
            )),
            _ => Ok(()),
        }
    }

    fn arguments(
        &mut self,
        dot: &Value,
        name: &str,
        signature: Signature,
        args: &'t [Expr],
        last: Final,
    ) -> Result<Vec<Value>, Error> {
        self.check_count(name, signature, args.len(), last.is_some())?;
        let type_of = |at: usize| {
            let fixed = signature.fixed.get(at).copied();
            fixed.or(signature.variadic).unwrap_or(Type::Any)
        };
        let mut values = Vec::with_capacity(args.len() + 1);
        for (at, arg) in args.iter().enumerate() {
            values.push(self.argument(dot, type_of(at), arg)?);
        }
        if let Some(last) = last {
            values.push(self.typed(last, type_of(args.len()))?);
        }
        Ok(values)
    }

    fn argument(&mut self, dot: &Value, wanted: Type, expr: &'t Expr) -> Result<Value, Error> {
        self.at = Some(expr);
        let value = match &expr.kind {
            ExprKind::Dot => dot.clone(),
            ExprKind::Nil if wanted == Type::Any => return Ok(Value::None),
            ExprKind::Nil => return self.fail(format!("cannot assign nil to {}", wanted.name())),
            ExprKind::Field(names) => self.fields(dot, dot.clone(), expr, names, &[], None)?,
            ExprKind::Variable(names) => self.variable(dot, expr, names, &[], None)?,
            ExprKind::Pipe(pipe) => self.pipeline(dot, pipe)?,
            ExprKind::Function(name) => self.function(dot, expr, name, &[], None)?,
            ExprKind::Chain(node, names) => self.chain(dot, expr, node, names, &[], None)?,
            kind => {
                return match (wanted, kind) {
                    (Type::Any, _) => self.constant(expr),
                    (Type::Str, ExprKind::Str { text, .. }) => Ok(Value::str(&**text)),
                    (Type::Str, _) => self.fail(format!("expected string; found {expr}")),
                    (Type::Int, ExprKind::Number(Number { int: Some(int), .. })) => {
                        Ok(Value::int(*int))
                    }
                    (Type::Int, _) => self.fail(format!("expected integer; found {expr}")),
                };
            }
        };
        self.typed(value, wanted)
    }

    fn typed(&self, value: Value, wanted: Type) -> Result<Value, Error> {
        match (wanted, &value) {
            (Type::Any, _) | (Type::Str, Value::Str(_)) | (Type::Int, Value::Int(_, "int")) => {
                Ok(value)
            }
            (_, Value::None) => self.fail(format!("invalid value; expected {}", wanted.name())),
            _ => self.fail(format!(
                "wrong type for value; expected {}; got {}",
                wanted.name(),
                value.type_name()
            )),
        }
    }
}
