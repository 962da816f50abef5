//! Pieces of Go's standard library whose behaviour a Corefile or a command line
//! exposes.
//!
//! Regular expressions, templates and numbers in a Corefile are read by
//! CoreDNS with Go's `regexp`, `text/template` and `strconv`, the command line
//! with its `flag`. What those accept, and the words in which they refuse, is
//! part of the contract.

pub mod flag;
pub mod fmt;
pub mod regex;
pub mod strconv;
pub mod template;
pub mod value;
