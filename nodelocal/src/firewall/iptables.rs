//! Rules by iptables: in chains of our own, to which one jump at the front of
//! each built-in chain leads. A table is changed at once, by its `restore`,
//! which holds the lock for no longer than that takes; all that there is to
//! read is in its pipe before it asks for the lock.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;

use super::nft::Nft;
use super::rules::{End, Hook, Rule};
use crate::command::{self, CommandError};

/// With what the names of our chains begin.
const PREFIX: &str = "PANDO-NODE-";
/// Seconds for which the lock is waited for.
const WAIT: &str = "5";
/// The tables that have rules of ours, each with its hooks.
const TABLES: [(&str, [Hook; 2]); 2] = [
    ("raw", [Hook::RawPrerouting, Hook::RawOutput]),
    ("filter", [Hook::FilterInput, Hook::FilterOutput]),
];

#[derive(Clone, Debug)]
pub(super) struct Iptables {
    save: PathBuf,
    restore: PathBuf,
    backend: Backend,
    is_ipv6: bool,
    /// The tables whose built-in chains were not all there before they were
    /// needed here, as nft listed them then.
    before: Option<Vec<(&'static str, String)>>,
}

/// Which iptables it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Backend {
    /// The one over nftables.
    Nft,
    /// The one that was there before.
    Legacy,
}

impl Iptables {
    /// The one that the node calls `iptables`, whichever that is.
    pub(super) async fn default(is_ipv6: bool) -> Option<Self> {
        // The other one will be found out to be it.
        let mut iptables = Self::named("", Backend::Legacy, is_ipv6)?;
        let mut is_nft = false;
        let version = |line: &str| {
            is_nft |= line.contains("(nf_tables)");
            false
        };
        let asked = command::run(&iptables.restore, &["--version"], "", version).await;
        asked.ok()?;
        if is_nft {
            iptables.backend = Backend::Nft;
        }
        Some(iptables)
    }

    /// That one.
    pub(super) async fn find(backend: Backend, is_ipv6: bool) -> Option<Self> {
        let suffix = match backend {
            Backend::Nft => "-nft",
            Backend::Legacy => "-legacy",
        };
        if let Some(iptables) = Self::named(suffix, backend, is_ipv6) {
            return Some(iptables);
        }
        let default = Self::default(is_ipv6).await;
        default.filter(|default| default.backend == backend)
    }

    fn named(suffix: &str, backend: Backend, is_ipv6: bool) -> Option<Self> {
        let program = if is_ipv6 { "ip6tables" } else { "iptables" };
        Some(Self {
            save: command::find(&format!("{program}{suffix}-save"))?,
            restore: command::find(&format!("{program}{suffix}-restore"))?,
            backend,
            is_ipv6,
            before: None,
        })
    }

    pub(super) fn backend(&self) -> Backend {
        self.backend
    }

    pub(super) async fn read(&self) -> Result<String, CommandError> {
        let mut text = String::new();
        for (table, _) in TABLES {
            text += &self.table(table).await?;
        }
        Ok(text)
    }

    pub(super) async fn load(&mut self, rules: &[Rule]) -> Result<(), CommandError> {
        if self.before.is_none() {
            self.before = Some(self.listed().await);
        }
        let mut script = String::new();
        for (table, hooks) in TABLES {
            script += &fill(table, &hooks, rules, &self.table(table).await?);
        }
        self.run(&script).await
    }

    pub(super) async fn remove(&mut self) -> Result<(), CommandError> {
        let mut script = String::new();
        for (table, hooks) in TABLES {
            script += &empty(table, &hooks, &self.table(table).await?);
        }
        if !script.is_empty() {
            self.run(&script).await?;
        }
        self.drop_made_chains().await;
        Ok(())
    }

    /// Whether the kubelet or kube-proxy has left its marks there.
    pub(super) async fn serves_kubernetes(&self) -> bool {
        let mut found = false;
        let marks = |line: &str| {
            found |=
                line.starts_with(":KUBE-IPTABLES-HINT") || line.starts_with(":KUBE-KUBELET-CANARY");
            false
        };
        let saved = command::run(&self.save, &["-t", "mangle"], "", marks).await;
        saved.is_ok() && found
    }

    /// The lines of a table that are about our chains.
    async fn table(&self, table: &str) -> Result<String, CommandError> {
        let ours = |line: &str| line.contains(PREFIX);
        command::run(&self.save, &["-t", table], "", ours).await
    }

    async fn run(&self, script: &str) -> Result<(), CommandError> {
        let arguments = ["--noflush", "-w", WAIT];
        command::run(&self.restore, &arguments, script, |_| false).await?;
        Ok(())
    }

    /// What nft lists of our tables: iptables over nftables makes tables and
    /// their built-in chains when they are first used.
    async fn listed(&self) -> Vec<(&'static str, String)> {
        let mut listed = Vec::new();
        let Some(nft) = Nft::find().filter(|_| self.backend == Backend::Nft) else {
            return listed;
        };
        for (table, _) in TABLES {
            if let Ok(shown) = nft.table(self.family(), table, |_| true).await {
                listed.push((table, shown));
            }
        }
        listed
    }

    /// Removes what was made for us if nobody else has come to use it. What is
    /// left otherwise has no effect, and so failing is no error.
    async fn drop_made_chains(&mut self) {
        let before = self.before.take().unwrap_or_default();
        let Some(nft) = Nft::find() else { return };
        for ((table, before), (_, hooks)) in before.iter().zip(TABLES) {
            let family = self.family();
            let shown = nft.table(family, table, |_| true).await;
            let shown = shown.unwrap_or_default();
            for chain in hooks.map(builtin) {
                if chain_of(before, chain).is_none() && is_bare(&shown, chain) {
                    let script = format!("*{table}\n-X {chain}\nCOMMIT\n");
                    let _ = self.run(&script).await;
                }
            }
            let left = nft.table(family, table, |line| line.contains("{")).await;
            if before.is_empty() && left.is_ok_and(|left| left.lines().count() == 1) {
                let _ = nft.run(&format!("delete table {family} {table}\n")).await;
            }
        }
    }

    fn family(&self) -> &'static str {
        if self.is_ipv6 { "ip6" } else { "ip" }
    }
}

impl fmt::Display for Iptables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.restore.file_name().unwrap_or_default();
        write!(f, "{} in chains {PREFIX}…", name.to_string_lossy())
    }
}

fn builtin(hook: Hook) -> &'static str {
    match hook {
        Hook::RawPrerouting => "PREROUTING",
        Hook::RawOutput | Hook::FilterOutput => "OUTPUT",
        Hook::FilterInput => "INPUT",
    }
}

/// Makes our chains anew, and the jumps to them that are not there.
fn fill(table: &str, hooks: &[Hook], rules: &[Rule], present: &str) -> String {
    // Writing to a string does not fail.
    let mut script = format!("*{table}\n");
    for hook in hooks {
        // Naming a chain empties it.
        let _ = writeln!(script, ":{PREFIX}{} - [0:0]", builtin(*hook));
    }
    for rule in rules.iter().filter(|rule| hooks.contains(&rule.hook)) {
        let _ = writeln!(script, "{}", line(*rule));
    }
    for hook in hooks {
        let chain = builtin(*hook);
        let jumps = jumps(chain, present);
        // One is enough.
        for jump in jumps.iter().skip(1) {
            let _ = writeln!(script, "-D {jump}");
        }
        if jumps.is_empty() {
            let _ = writeln!(script, "-I {chain} 1 -j {PREFIX}{chain}");
        }
    }
    script.push_str("COMMIT\n");
    script
}

/// Removes our chains and the jumps to them; nothing where none are there.
fn empty(table: &str, hooks: &[Hook], present: &str) -> String {
    let mut script = String::new();
    for hook in hooks {
        let chain = builtin(*hook);
        for jump in jumps(chain, present) {
            let _ = writeln!(script, "-D {jump}");
        }
        let declared = format!(":{PREFIX}{chain} ");
        if present.lines().any(|line| line.starts_with(&declared)) {
            let _ = writeln!(script, "-F {PREFIX}{chain}\n-X {PREFIX}{chain}");
        }
    }
    match script.is_empty() {
        true => script,
        false => format!("*{table}\n{script}COMMIT\n"),
    }
}

/// The rules of a built-in chain that lead to ours, as `-D` wants them.
fn jumps<'a>(chain: &str, present: &'a str) -> Vec<&'a str> {
    let target = format!("{PREFIX}{chain}");
    let rules = present.lines().filter_map(|line| line.strip_prefix("-A "));
    let rules = rules.filter(|rule| {
        let mut words = rule.split(' ');
        words.next() == Some(chain) && words.any(|word| word == target)
    });
    rules.collect()
}

fn line(rule: Rule) -> String {
    let (address, port) = match rule.end {
        End::Source => ("-s", "--sport"),
        End::Destination => ("-d", "--dport"),
    };
    let length = match rule.address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    let target = if rule.hook.is_raw() {
        "NOTRACK"
    } else {
        "ACCEPT"
    };
    format!(
        "-A {PREFIX}{} -p {} {address} {}/{length} {port} {} -j {target} -m comment --comment \"{}\"",
        builtin(rule.hook),
        rule.protocol.name(),
        rule.address,
        rule.port,
        rule.comment()
    )
}

/// The lines of a chain in a table that nft has listed.
fn chain_of<'a>(table: &'a str, chain: &str) -> Option<Vec<&'a str>> {
    let start = format!("chain {chain} {{");
    let mut lines = table.lines().map(str::trim);
    lines.find(|line| *line == start)?;
    Some(lines.take_while(|line| *line != "}").collect())
}

/// Whether a built-in chain in a table that nft has listed has no rules and
/// lets all through.
fn is_bare(table: &str, chain: &str) -> bool {
    match chain_of(table, chain).as_deref() {
        Some([base]) => base.starts_with("type ") && base.ends_with("policy accept;"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::rules;

    #[test]
    fn chains_are_replaced_and_a_jump_made_once() {
        let rules = rules::all(&["10.0.0.10".parse().unwrap()], 53, 8080);
        let (table, hooks) = &TABLES[1];
        let chains = "*filter
:PANDO-NODE-INPUT - [0:0]
:PANDO-NODE-OUTPUT - [0:0]
-A PANDO-NODE-INPUT -p tcp -d 10.0.0.10/32 --dport 53 -j ACCEPT -m comment --comment \"NodeLocal DNS Cache: allow DNS traffic\"
-A PANDO-NODE-INPUT -p udp -d 10.0.0.10/32 --dport 53 -j ACCEPT -m comment --comment \"NodeLocal DNS Cache: allow DNS traffic\"
-A PANDO-NODE-OUTPUT -p tcp -s 10.0.0.10/32 --sport 53 -j ACCEPT -m comment --comment \"NodeLocal DNS Cache: allow DNS traffic\"
-A PANDO-NODE-OUTPUT -p udp -s 10.0.0.10/32 --sport 53 -j ACCEPT -m comment --comment \"NodeLocal DNS Cache: allow DNS traffic\"
";
        assert_eq!(
            fill(table, hooks, &rules, ""),
            format!(
                "{chains}-I INPUT 1 -j PANDO-NODE-INPUT\n-I OUTPUT 1 -j PANDO-NODE-OUTPUT\nCOMMIT\n"
            )
        );
        let present = ":PANDO-NODE-INPUT - [0:0]\n-A INPUT -j PANDO-NODE-INPUT\n\
                       -A INPUT -p udp -j PANDO-NODE-INPUT\n-A OUTPUT -j PANDO-NODE-OUTPUT\n";
        assert_eq!(
            fill(table, hooks, &rules, present),
            format!("{chains}-D INPUT -p udp -j PANDO-NODE-INPUT\nCOMMIT\n")
        );
    }

    #[test]
    fn what_is_there_is_removed_and_nothing_else() {
        let (table, hooks) = &TABLES[0];
        assert_eq!(empty(table, hooks, ""), "");
        assert_eq!(
            empty(
                table,
                hooks,
                ":PANDO-NODE-OUTPUT - [0:0]\n-A OUTPUT -j PANDO-NODE-OUTPUT\n\
                 -A PANDO-NODE-OUTPUT -j CT --notrack\n"
            ),
            "*raw\n-D OUTPUT -j PANDO-NODE-OUTPUT\n-F PANDO-NODE-OUTPUT\n-X PANDO-NODE-OUTPUT\nCOMMIT\n"
        );
    }

    #[test]
    fn a_chain_that_somebody_uses_is_not_bare() {
        const TABLE: &str = "table ip raw {
	chain PREROUTING {
		type filter hook prerouting priority raw; policy accept;
	}

	chain OUTPUT {
	}
}
";
        assert!(is_bare(TABLE, "PREROUTING"));
        assert!(!is_bare(TABLE, "OUTPUT"));
        assert!(!is_bare(TABLE, "INPUT"));
        for other in ["policy drop;", "policy accept;\n\t\tdrop"] {
            let table = TABLE.replace("policy accept;", other);
            assert!(!is_bare(&table, "PREROUTING"), "{other}");
        }
    }
}
