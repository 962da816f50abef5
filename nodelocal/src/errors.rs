//! What went wrong with the node, counted.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

const NAME: &str = "coredns_nodecache_setup_errors_total";

/// The counters of `coredns_nodecache_setup_errors_total`, for the process.
#[derive(Debug, Default)]
pub struct SetupErrors {
    counts: [AtomicU64; ErrorType::ALL.len()],
}

/// What went wrong; the label `errortype`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorType {
    /// Packet rules could not be read or set, by whatever sets them.
    Iptables,
    /// Somebody else held the xtables lock for too long.
    IptablesLock,
    /// The interface or an address could not be added.
    InterfaceAdd,
    /// Interface or addresses are not as they must be.
    InterfaceCheck,
    /// The Corefile could not be made from the ConfigMaps.
    ConfigMap,
}

impl ErrorType {
    const ALL: [Self; 5] = [
        Self::ConfigMap,
        Self::InterfaceAdd,
        Self::InterfaceCheck,
        Self::Iptables,
        Self::IptablesLock,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::IptablesLock => "iptables_lock",
            Self::InterfaceAdd => "interface_add",
            Self::InterfaceCheck => "interface_check",
            Self::ConfigMap => "configmap",
        }
    }
}

impl SetupErrors {
    /// One more.
    pub fn count(&self, what: ErrorType) {
        let counts = ErrorType::ALL.iter().zip(&self.counts);
        for (_, count) in counts.filter(|(known, _)| **known == what) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All five in Prometheus's text format, zeros too.
    pub fn exposition(&self) -> String {
        let mut text = format!(
            "# HELP {NAME} The number of errors during periodic network setup for node-cache\n\
             # TYPE {NAME} counter\n"
        );
        for (what, count) in ErrorType::ALL.iter().zip(&self.counts) {
            let (label, count) = (what.label(), count.load(Ordering::Relaxed));
            // Writing to a string does not fail.
            let _ = writeln!(text, "{NAME}{{errortype=\"{label}\"}} {count}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_there_from_the_start() {
        let errors = SetupErrors::default();
        errors.count(ErrorType::IptablesLock);
        errors.count(ErrorType::IptablesLock);
        errors.count(ErrorType::ConfigMap);
        let text = errors.exposition();
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "coredns_nodecache_setup_errors_total{errortype=\"configmap\"} 1",
                "coredns_nodecache_setup_errors_total{errortype=\"interface_add\"} 0",
                "coredns_nodecache_setup_errors_total{errortype=\"interface_check\"} 0",
                "coredns_nodecache_setup_errors_total{errortype=\"iptables\"} 0",
                "coredns_nodecache_setup_errors_total{errortype=\"iptables_lock\"} 2",
            ]
        );
    }
}
