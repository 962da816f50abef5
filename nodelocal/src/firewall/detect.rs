//! Who sets packet rules on this node.

use std::fs;

use super::iptables::{Backend, Iptables};
use super::nft::Nft;
use super::{FirewallError, Tool};
use crate::flags::Choice;

/// What tells who looks after this node's rules.
#[derive(Debug, Default, Eq, PartialEq)]
struct Signs {
    /// kube-proxy uses nftables.
    kube_proxy: bool,
    /// The kubelet or kube-proxy uses iptables over nftables.
    iptables: bool,
    /// The `INPUT` of iptables over nftables drops what no rule accepts, so
    /// that an ACCEPT has to stand there.
    dropping: bool,
}

/// Finds what sets the rules: the one that is asked for, or the one that
/// kube-proxy and the kubelet use, or nft, or what there is.
///
/// # Errors
///
/// [`FirewallError::Missing`].
pub(super) async fn tool(choice: Choice, is_ipv6: bool) -> Result<Tool, FirewallError> {
    let nft = Nft::find();
    if choice == Choice::Nft {
        let missing = FirewallError::Missing("There is no nft");
        return nft.map(Tool::Nft).ok_or(missing);
    }
    let signs = match &nft {
        Some(nft) => signs(nft, is_ipv6).await,
        None => None,
    };
    // An nft that cannot even list is of no use, unless to say why.
    let is_usable = signs.is_some();
    let signs = signs.unwrap_or_default();
    let used = match (legacy(is_ipv6).await, choice) {
        _ if signs.kube_proxy && choice == Choice::Auto => None,
        (Some(legacy), _) => Some(legacy),
        _ if signs.iptables || signs.dropping => Iptables::find(Backend::Nft, is_ipv6).await,
        _ => None,
    };
    let nft = nft.filter(|_| choice == Choice::Auto);
    match (used, nft) {
        (Some(iptables), _) => Ok(Tool::Iptables(iptables)),
        (None, Some(nft)) if is_usable => Ok(Tool::Nft(nft)),
        (None, nft) => {
            let missing = FirewallError::Missing(match choice {
                Choice::Iptables => "There is no iptables-restore",
                _ => "There is neither nft nor iptables-restore",
            });
            let iptables = any_iptables(is_ipv6).await.map(Tool::Iptables);
            iptables.or_else(|| nft.map(Tool::Nft)).ok_or(missing)
        }
    }
}

/// All that could have set our rules in an earlier life, but for `tool`.
pub(super) async fn others(tool: &Tool, is_ipv6: bool) -> Vec<Tool> {
    let mut others = Vec::new();
    if !matches!(tool, Tool::Nft(_)) {
        others.extend(Nft::find().map(Tool::Nft));
    }
    for backend in [Backend::Nft, Backend::Legacy] {
        let is_tool = matches!(tool, Tool::Iptables(iptables) if iptables.backend() == backend);
        if is_tool || (backend == Backend::Legacy && !has_legacy_table("raw", is_ipv6)) {
            continue;
        }
        let found = Iptables::find(backend, is_ipv6).await;
        others.extend(found.map(Tool::Iptables));
    }
    others
}

async fn any_iptables(is_ipv6: bool) -> Option<Iptables> {
    if let Some(default) = Iptables::default(is_ipv6).await {
        return Some(default);
    }
    match Iptables::find(Backend::Nft, is_ipv6).await {
        Some(nft) => Some(nft),
        None => Iptables::find(Backend::Legacy, is_ipv6).await,
    }
}

/// A chain of another table that drops packets whatever our own table accepts.
pub(super) async fn dropping_chain(tool: &Tool, is_ipv6: bool) -> Option<String> {
    let Tool::Nft(nft) = tool else { return None };
    let mut reader = Reader::default();
    let mut found = None;
    let read = nft.chains(|line| {
        if found.is_none() && reader.read(line) == Some("drop") && reader.sees_input(is_ipv6) {
            found = Some(format!("chain {} of table {}", reader.chain, reader.table));
        }
        false
    });
    read.await.ok()?;
    found
}

/// `None` where nft cannot tell.
async fn signs(nft: &Nft, is_ipv6: bool) -> Option<Signs> {
    let family = if is_ipv6 { "ip6" } else { "ip" };
    let mut signs = Signs::default();
    let mut reader = Reader::default();
    let read = nft.chains(|line| {
        let policy = reader.read(line);
        let (at, table) = reader.table.split_once(' ').unwrap_or_default();
        signs.kube_proxy |= table == "kube-proxy";
        signs.iptables |= at == family && table == "mangle" && is_mark(&reader.chain);
        signs.dropping |=
            at == family && table == "filter" && reader.chain == "INPUT" && policy == Some("drop");
        false
    });
    read.await.ok()?;
    Some(signs)
}

/// The iptables that was there before nftables, if Kubernetes uses it here.
async fn legacy(is_ipv6: bool) -> Option<Iptables> {
    if !has_legacy_table("mangle", is_ipv6) {
        return None;
    }
    let legacy = Iptables::find(Backend::Legacy, is_ipv6).await?;
    legacy.serves_kubernetes().await.then_some(legacy)
}

/// Whether a table of the old iptables is in use. Asking the program itself
/// would load the table's module.
fn has_legacy_table(table: &str, is_ipv6: bool) -> bool {
    let names = match is_ipv6 {
        true => "/proc/thread-self/net/ip6_tables_names",
        false => "/proc/thread-self/net/ip_tables_names",
    };
    let names = fs::read_to_string(names).unwrap_or_default();
    names.lines().any(|name| name == table)
}

/// Chains by which the kubelet shows which iptables it uses.
fn is_mark(chain: &str) -> bool {
    matches!(chain, "KUBE-IPTABLES-HINT" | "KUBE-KUBELET-CANARY")
}

/// Where one is in what `nft list chains` prints.
#[derive(Debug, Default)]
struct Reader {
    /// With its family: `ip filter`.
    table: String,
    chain: String,
    hook: String,
}

impl Reader {
    /// Takes one line; yields the policy if it is that of a base chain.
    fn read<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["table", family, name, ..] => {
                self.table = format!("{family} {name}");
                self.chain.clear();
            }
            ["chain", name, ..] => self.chain = (*name).to_owned(),
            ["type", _, "hook", hook, .., "policy", policy] => {
                self.hook = (*hook).to_owned();
                return Some(policy.trim_end_matches(';'));
            }
            _ => {}
        }
        None
    }

    /// Whether packets to this node pass the base chain that was read.
    fn sees_input(&self, is_ipv6: bool) -> bool {
        let family = self.table.split(' ').next().unwrap_or_default();
        let ours = if is_ipv6 { "ip6" } else { "ip" };
        self.hook == "input" && (family == "inet" || family == ours)
    }
}

#[cfg(test)]
mod tests {
    use pando_test::Netns;

    use super::*;

    #[test]
    fn a_listing_is_read_line_by_line() {
        let mut reader = Reader::default();
        let mut seen = Vec::new();
        for line in "table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
	}
	chain other {
	}
}
table ip6 nat {
	chain OUTPUT {
		type nat hook output priority dstnat; policy accept;
	}
}"
        .lines()
        {
            if let Some(policy) = reader.read(line) {
                let Reader { table, chain, .. } = &reader;
                let input = reader.sees_input(false);
                seen.push(format!("{table} {chain} {policy} {input}"));
            }
        }
        assert_eq!(
            seen,
            ["inet filter input drop true", "ip6 nat OUTPUT accept false"]
        );
    }

    #[test]
    fn a_chain_that_drops_whatever_we_accept_is_found() {
        let Some(nft) = Nft::find().filter(|_| Netns::missing().is_none()) else {
            println!("skipped: no nft, or no namespaces");
            return;
        };
        let node = Netns::create("node").unwrap();
        let tool = Tool::Nft(nft);
        let mut found = Vec::new();
        for script in [
            "add table ip6 a; add chain ip6 a six { type filter hook input priority 0; policy drop; }",
            "add table inet b; add chain inet b out { type filter hook output priority 0; policy drop; }",
            "add table inet c; add chain inet c in { type filter hook input priority 0; policy drop; }",
        ] {
            node.run(["nft", script]).unwrap();
            let chain = node.enter(|| {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = runtime.enable_all().build().unwrap();
                runtime.block_on(dropping_chain(&tool, false))
            });
            found.push(chain.unwrap());
        }
        let expected = Some("chain in of table inet c".to_owned());
        assert_eq!(found, [None, None, expected]);
    }
}
