//! The Corefile: text to tree, with errors worth reading.
//!
//! [`parse`] turns a Corefile into a [`Corefile`]: server blocks, each with its
//! keys and its directives, every word of which knows the place it came from.
//! What the words mean is decided by others: [`key`] turns the keys into zones
//! and ports, and each plugin walks the words of its directive with a
//! [`Dispenser`].
//!
//! The grammar, what is accepted and the first line of every error are those of
//! CoreDNS 1.14.7 with its caddy parser (`caddyfile/{lexer,parse,dispenser}.go`,
//! `core/dnsserver/register.go`, `plugin/normalize.go`). The crate does no I/O
//! of its own: environment and imported files come through [`Host`].
//!
//! ```
//! # use corefile::{parse, SystemHost};
//! let tree = parse("Corefile", ". {\n  cache 30\n}\n", &["cache"], &SystemHost::default())?;
//! let cache = tree.blocks[0].directive("cache").unwrap();
//! let mut words = cache.dispenser();
//! assert!(words.next());
//! assert_eq!(words.remaining_args(), ["30"]);
//! # Ok::<(), corefile::Error>(())
//! ```
#![forbid(unsafe_code)]

mod dispenser;
pub mod duration;
mod env;
mod error;
mod glob;
mod host;
mod json;
pub mod key;
mod lexer;
pub mod number;
mod parser;
mod path;
mod source;
mod suggest;
mod tree;

pub use dispenser::Dispenser;
pub use error::Error;
pub use host::{Host, SystemHost, io_message};
pub use number::quote;
pub use parser::parse;
pub use source::{Source, Token, decode};
pub use suggest::nearest;
pub use tree::{Corefile, Directive, ServerBlock};
