use super::*;

mod catalogs;
mod following;
mod members;
mod primaries;
mod setup;
mod streams;
