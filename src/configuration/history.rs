//! What a process has made of its Corefiles, for people.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::chain::Chain;

/// The configuration in force and the last reload. One for a process.
#[derive(Default)]
pub struct History(Mutex<State>);

#[derive(Clone, Default)]
struct State {
    in_force: Option<Arc<InForce>>,
    last_reload: Option<Reload>,
}

/// A configuration that is served.
pub struct InForce {
    /// When it came into force.
    pub since: SystemTime,
    /// The name of its file, as `-conf` has it.
    pub name: String,
    /// See [`Text::hash`](super::Text::hash).
    pub hash: String,
    /// How often the file is looked at (`reload`); `None` is never.
    pub looked_at: Option<Duration>,
    /// Its server blocks.
    pub blocks: Vec<Outline>,
}

/// A server block in a few words: what anybody may see who may not read the
/// Corefile. Arguments of directives are left out, for they can be secrets.
#[derive(Clone)]
pub struct Outline {
    /// Its zones, each with its final dot.
    pub zones: Vec<String>,
    /// The listeners that it is served on, as the `server` label of metrics.
    pub servers: Vec<String>,
    /// The name of its view; empty where there is none.
    pub view: String,
    /// Its directives, in the order of the chain.
    pub directives: Vec<&'static str>,
    /// Its plugins.
    pub chain: Chain,
}

/// The Corefile was read anew.
#[derive(Clone, Debug)]
pub struct Reload {
    /// When.
    pub at: SystemTime,
    /// Why the configuration before stays in force, if it does.
    pub error: Option<String>,
}

impl History {
    /// A configuration has come into force.
    pub fn begin(&self, in_force: InForce) {
        self.write(|state| {
            // The first one is no reload.
            state.last_reload = state.in_force.as_ref().map(|_| Reload {
                at: in_force.since,
                error: None,
            });
            state.in_force = Some(Arc::new(in_force));
        });
    }

    /// A Corefile could not come into force.
    pub fn failed(&self, error: &str) {
        self.write(|state| {
            state.last_reload = Some(Reload {
                at: SystemTime::now(),
                error: Some(error.to_owned()),
            });
        });
    }

    /// The configuration in force, from the first start on.
    pub fn in_force(&self) -> Option<Arc<InForce>> {
        self.write(|state| state.in_force.clone())
    }

    /// The last reload, if there was any.
    pub fn last_reload(&self) -> Option<Reload> {
        self.write(|state| state.last_reload.clone())
    }

    fn write<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
