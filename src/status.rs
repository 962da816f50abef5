//! What plugins say of themselves to people.

use serde::Serialize;

/// How the things are doing that a plugin depends on; see [`Plugin::status`].
///
/// [`Plugin::status`]: crate::chain::Plugin::status
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The zones that it answers for.
    pub zones: Vec<ZoneStatus>,
    /// The servers that it asks.
    pub upstreams: Vec<UpstreamStatus>,
}

/// A zone that is a copy of something else.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ZoneStatus {
    /// How good the copy is.
    pub state: ZoneState,
    /// The zone, with its final dot.
    pub zone: String,
    /// The directive that answers for it.
    pub plugin: &'static str,
    /// The serial of its SOA, once there is one.
    pub serial: Option<u32>,
    /// What is in it, or what is wrong.
    pub detail: String,
}

/// How good a copy is. The worst come first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ZoneState {
    /// Nothing was heard for as long as it is good: queries fail.
    Expired,
    /// Nothing is known yet: queries fail.
    Loading,
    /// What a file from an earlier run said.
    Stale,
    /// What was heard last; nobody answers at the moment.
    Retrying,
    /// Up to date as far as is known.
    Current,
}

/// A server that is asked.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct UpstreamStatus {
    /// Whether it answers.
    pub health: Health,
    /// Its name in metrics: `192.0.2.1:53`.
    pub to: String,
    /// The directive that asks it.
    pub plugin: &'static str,
    /// The zone whose queries it gets, with its final dot.
    pub zone: String,
}

/// Whether an upstream answers. The worst come first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// More checks in a row failed than `max_fails` allows: it gets no queries
    /// while another one is up.
    Down,
    /// Checks fail.
    Suspect,
    /// `max_fails 0`: it is never checked.
    Unchecked,
    /// No check has failed since the last that succeeded.
    Up,
}
