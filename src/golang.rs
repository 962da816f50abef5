//! Pieces of Go's standard library whose behaviour a Corefile exposes.
//!
//! Regular expressions, templates and numbers in a Corefile are read by
//! CoreDNS with Go's `regexp`, `text/template` and `strconv`. What those
//! accept, and the words in which they refuse, is part of the contract.

pub mod fmt;
pub mod regex;
pub mod strconv;
pub mod template;
pub mod value;
