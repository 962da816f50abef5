//! What the rules are, whoever sets them: node-cache's twelve for each address.

use std::net::IpAddr;

/// With what the comment of every rule begins.
pub(super) const COMMENT: &str = "NodeLocal DNS Cache: ";

/// One rule. It ends the way of what it is about through its chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rule {
    pub(super) hook: Hook,
    pub(super) protocol: Protocol,
    /// Whose address and port they are.
    pub(super) end: End,
    pub(super) address: IpAddr,
    pub(super) port: u16,
}

/// Where a rule stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hook {
    RawPrerouting,
    RawOutput,
    FilterInput,
    FilterOutput,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    Source,
    Destination,
}

impl Hook {
    pub(super) const ALL: [Self; 4] = [
        Self::RawPrerouting,
        Self::RawOutput,
        Self::FilterInput,
        Self::FilterOutput,
    ];

    /// Rules before conntrack keep packets out of it, those behind it let them
    /// through.
    pub(super) fn is_raw(self) -> bool {
        matches!(self, Self::RawPrerouting | Self::RawOutput)
    }
}

impl Protocol {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl Rule {
    /// Whether it keeps what comes in out of conntrack.
    pub(super) fn is_for_queries(&self) -> bool {
        self.hook.is_raw() && self.end == End::Destination
    }

    pub(super) fn comment(self) -> String {
        let what = match self.hook.is_raw() {
            true => "skip conntrack",
            false => "allow DNS traffic",
        };
        format!("{COMMENT}{what}")
    }
}

/// The rules of these addresses. `port` is that of DNS; that of `health` is
/// for the kubelet's probes alone.
pub(super) fn all(addresses: &[IpAddr], port: u16, health_port: u16) -> Vec<Rule> {
    use End::{Destination, Source};
    use Hook::{FilterInput, FilterOutput, RawOutput, RawPrerouting};
    use Protocol::{Tcp, Udp};

    let mut rules = Vec::with_capacity(12 * addresses.len());
    for &address in addresses {
        rules.extend(
            [
                (RawPrerouting, Tcp, Destination, port),
                (RawPrerouting, Udp, Destination, port),
                (FilterInput, Tcp, Destination, port),
                (FilterInput, Udp, Destination, port),
                (RawOutput, Tcp, Source, port),
                (RawOutput, Udp, Source, port),
                (FilterOutput, Tcp, Source, port),
                (FilterOutput, Udp, Source, port),
                // Who asks from this node itself, as Pods with its network do.
                (RawOutput, Tcp, Destination, port),
                (RawOutput, Udp, Destination, port),
                (RawOutput, Tcp, Destination, health_port),
                (RawOutput, Tcp, Source, health_port),
            ]
            .map(|(hook, protocol, end, port)| Rule {
                hook,
                protocol,
                end,
                address,
                port,
            }),
        );
    }
    rules
}
