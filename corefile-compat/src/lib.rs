//! The Corefile: text to tree, with errors worth reading.
#![forbid(unsafe_code)]
