use super::*;

mod following;
mod setup;
mod streams;
