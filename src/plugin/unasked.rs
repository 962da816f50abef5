//! What stands in the place of a plugin that asks other servers where those are
//! to be left alone ([`Settings::is_offline`](super::Settings::is_offline)).

use crate::chain::{Exchange, Failure, Next, Plugin, Serving};
use crate::wire::Name;

/// What the failure says with which such a query ends.
pub const UNASKED: &str = "other servers are not asked";

/// Takes the queries of a plugin and asks nobody.
pub(super) struct Unasked<F> {
    name: &'static str,
    takes: F,
}

impl<F: Fn(Name<'_>) -> bool> Unasked<F> {
    /// In the place of `name`, which would see to the names that `takes` says.
    pub(super) fn new(name: &'static str, takes: F) -> Self {
        Self { name, takes }
    }
}

impl<F: Fn(Name<'_>) -> bool + Send + Sync + 'static> Plugin for Unasked<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        match (self.takes)(exchange.request.name()) {
            true => Box::pin(std::future::ready(Err(Failure::servfail(UNASKED)))),
            false => next.serve(exchange),
        }
    }
}
