//! Peers for the tests of Pando.
#![forbid(unsafe_code)]
