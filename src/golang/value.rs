//! Values as a Go program sees them: what templates compute with.

use std::collections::BTreeMap;
use std::rc::Rc;

/// A value and, as far as it shows, its type.
#[derive(Clone)]
pub enum Value {
    /// No value at all: a key that a map does not have, an untyped nil.
    None,
    /// A pointer to nothing, by the name of its type.
    Null(&'static str),
    /// `bool`.
    Bool(bool),
    /// A signed integer and the name of its type.
    Int(i64, &'static str),
    /// An unsigned integer and the name of its type.
    Uint(u64, &'static str),
    /// `float64`.
    Float(f64),
    /// `complex128`: real and imaginary part.
    Complex(f64, f64),
    /// `string`.
    Str(Rc<str>),
    /// A slice and the name of its type.
    List(Rc<[Self]>, &'static str),
    /// `map[string]string`.
    Map(Rc<BTreeMap<String, String>>),
    /// A struct, or a pointer to one.
    Object(Rc<dyn Object>),
}

/// Something with fields and methods.
pub trait Object {
    /// The name of the type, with a star where it is a pointer: `*dns.Msg`.
    fn type_name(&self) -> &'static str;

    /// The fields in the order of their declaration, by name.
    fn fields(&self) -> Vec<(&'static str, Value)>;

    /// One field.
    fn field(&self, name: &str) -> Option<Value> {
        let mut fields = self.fields().into_iter();
        fields.find_map(|(at, value)| (at == name).then_some(value))
    }

    /// Whether there is a field of this name that only its package may see.
    fn hides(&self, _name: &str) -> bool {
        false
    }

    /// What a method takes; `None` where there is no such method.
    fn method(&self, _name: &str) -> Option<Signature> {
        None
    }

    /// Calls a method with as many arguments of the right types as it takes.
    fn call(&self, name: &str, _args: &[Value]) -> Result<Value, String> {
        Err(format!("no method {name}"))
    }

    /// Its text, where it has a method for that.
    fn text(&self) -> Option<String> {
        None
    }
}

/// What a function takes.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// The types of the arguments that must be there.
    pub fixed: &'static [Type],
    /// The type of any number of arguments behind them.
    pub variadic: Option<Type>,
}

/// The type of an argument.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Type {
    /// Any value.
    Any,
    /// `string`.
    Str,
    /// `int`.
    Int,
}

impl Type {
    /// Its name in Go.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Str => "string",
            Self::Int => "int",
        }
    }
}

impl Value {
    /// A string.
    pub fn str(text: impl Into<Rc<str>>) -> Self {
        Self::Str(text.into())
    }

    /// An `int`.
    pub fn int(value: i64) -> Self {
        Self::Int(value, "int")
    }

    /// A `uint16`.
    pub fn uint16(value: u16) -> Self {
        Self::Uint(value.into(), "uint16")
    }

    /// The name of its type in Go; empty for no value.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::None => "",
            Self::Null(name) | Self::Int(_, name) | Self::Uint(_, name) | Self::List(_, name) => {
                name
            }
            Self::Bool(_) => "bool",
            Self::Float(_) => "float64",
            Self::Complex(..) => "complex128",
            Self::Str(_) => "string",
            Self::Map(_) => "map[string]string",
            Self::Object(object) => object.type_name(),
        }
    }

    /// Whether `if` takes it for true: not the zero of its type, and not empty.
    pub fn is_true(&self) -> bool {
        match self {
            Self::None | Self::Null(_) => false,
            Self::Bool(value) => *value,
            Self::Int(value, _) => *value != 0,
            Self::Uint(value, _) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Complex(real, imaginary) => *real != 0.0 || *imaginary != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::List(items, _) => !items.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Object(_) => true,
        }
    }
}
