//! Rules by nftables: in a table of our own, which is replaced as a whole.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use super::rules::{End, Hook, Rule};
use crate::command::{self, CommandError};

/// Nobody else's.
const TABLE: &str = "inet pando_node";
/// What nft complains about when a table is not there.
const ABSENT: &str = "No such file or directory";

#[derive(Clone, Debug)]
pub(super) struct Nft {
    program: PathBuf,
}

impl Nft {
    pub(super) fn find() -> Option<Self> {
        let program = command::find("nft")?;
        Some(Self { program })
    }

    pub(super) async fn read(&self) -> Result<String, CommandError> {
        let arguments = format!("-s list table {TABLE}");
        let arguments: Vec<_> = arguments.split(' ').collect();
        match command::run(&self.program, &arguments, "", |_| true).await {
            Err(CommandError::Failed { complaint, .. }) if complaint.contains(ABSENT) => {
                Ok(String::new())
            }
            other => other,
        }
    }

    pub(super) async fn load(&self, rules: &[Rule]) -> Result<(), CommandError> {
        self.run(&script(rules)).await
    }

    pub(super) async fn remove(&self) -> Result<(), CommandError> {
        self.run(&gone()).await
    }

    /// Runs commands as one transaction.
    pub(super) async fn run(&self, script: &str) -> Result<(), CommandError> {
        command::run(&self.program, &["-f", "-"], script, |_| false).await?;
        Ok(())
    }

    /// Those of the lines that tell of tables and their chains that are wanted.
    pub(super) async fn chains(
        &self,
        wanted: impl FnMut(&str) -> bool,
    ) -> Result<String, CommandError> {
        command::run(&self.program, &["list", "chains"], "", wanted).await
    }

    /// Those of a table's lines that are wanted, without counters; none where
    /// it is not there.
    pub(super) async fn table(
        &self,
        family: &str,
        table: &str,
        wanted: impl FnMut(&str) -> bool,
    ) -> Result<String, CommandError> {
        let arguments = ["-s", "list", "table", family, table];
        match command::run(&self.program, &arguments, "", wanted).await {
            Err(CommandError::Failed { complaint, .. }) if complaint.contains(ABSENT) => {
                Ok(String::new())
            }
            other => other,
        }
    }
}

impl fmt::Display for Nft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nft in table {TABLE}")
    }
}

/// Removes the table whether it is there or not: it is, before it goes.
fn gone() -> String {
    format!("table {TABLE} {{ }}\ndelete table {TABLE}\n")
}

fn script(rules: &[Rule]) -> String {
    let mut script = gone();
    // Writing to a string does not fail.
    let _ = writeln!(script, "table {TABLE} {{");
    for hook in Hook::ALL {
        let (chain, place, priority) = match hook {
            Hook::RawPrerouting => ("raw_prerouting", "prerouting", "raw"),
            Hook::RawOutput => ("raw_output", "output", "raw"),
            Hook::FilterInput => ("filter_input", "input", "filter"),
            Hook::FilterOutput => ("filter_output", "output", "filter"),
        };
        let _ = writeln!(
            script,
            "\tchain {chain} {{\n\t\ttype filter hook {place} priority {priority}; policy accept;"
        );
        for rule in rules.iter().filter(|rule| rule.hook == hook) {
            let _ = writeln!(script, "\t\t{}", line(*rule));
        }
        script.push_str("\t}\n");
    }
    script.push_str("}\n");
    script
}

fn line(rule: Rule) -> String {
    let family = if rule.address.is_ipv6() { "ip6" } else { "ip" };
    let (address, port) = match rule.end {
        End::Source => ("saddr", "sport"),
        End::Destination => ("daddr", "dport"),
    };
    let verdict = if rule.hook.is_raw() {
        "notrack"
    } else {
        "accept"
    };
    format!(
        "{family} {address} {} {} {port} {} {verdict} comment \"{}\"",
        rule.address,
        rule.protocol.name(),
        rule.port,
        rule.comment()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::rules;

    #[test]
    fn the_table_is_replaced_in_one_transaction() {
        let script = script(&rules::all(&["169.254.20.10".parse().unwrap()], 53, 8080));
        assert_eq!(
            script,
            "table inet pando_node { }
delete table inet pando_node
table inet pando_node {
	chain raw_prerouting {
		type filter hook prerouting priority raw; policy accept;
		ip daddr 169.254.20.10 tcp dport 53 notrack comment \"NodeLocal DNS Cache: skip conntrack\"
		ip daddr 169.254.20.10 udp dport 53 notrack comment \"NodeLocal DNS Cache: skip conntrack\"
	}
	chain raw_output {
		type filter hook output priority raw; policy accept;
		ip saddr 169.254.20.10 tcp sport 53 notrack comment \"NodeLocal DNS Cache: skip conntrack\"
		ip saddr 169.254.20.10 udp sport 53 notrack comment \"NodeLocal DNS Cache: skip conntrack\"
		ip daddr 169.254.20.10 tcp dport 53 notrack comment \"NodeLocal DNS Cache: skip conntrack\"
		ip daddr 169.254.20.10 udp dport 53 notrack comment \"NodeLocal DNS Cache: skip conntrack\"
		ip daddr 169.254.20.10 tcp dport 8080 notrack comment \"NodeLocal DNS Cache: skip conntrack\"
		ip saddr 169.254.20.10 tcp sport 8080 notrack comment \"NodeLocal DNS Cache: skip conntrack\"
	}
	chain filter_input {
		type filter hook input priority filter; policy accept;
		ip daddr 169.254.20.10 tcp dport 53 accept comment \"NodeLocal DNS Cache: allow DNS traffic\"
		ip daddr 169.254.20.10 udp dport 53 accept comment \"NodeLocal DNS Cache: allow DNS traffic\"
	}
	chain filter_output {
		type filter hook output priority filter; policy accept;
		ip saddr 169.254.20.10 tcp sport 53 accept comment \"NodeLocal DNS Cache: allow DNS traffic\"
		ip saddr 169.254.20.10 udp sport 53 accept comment \"NodeLocal DNS Cache: allow DNS traffic\"
	}
}
"
        );
        let line = line(rules::all(&["fd00::a".parse().unwrap()], 53, 8080)[0]);
        assert!(line.starts_with("ip6 daddr fd00::a tcp dport 53 notrack"));
    }
}
