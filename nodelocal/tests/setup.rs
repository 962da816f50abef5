//! Interface and packet rules, on nodes that are network namespaces, by the
//! programs of this machine.

use std::fs::File;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pando_node::errors::SetupErrors;
use pando_node::flags::{Choice, Flags};
use pando_node::setup::Setup;
use pando_test::Netns;

const LOCAL: &str = "169.254.20.10";
const KUBE_DNS: &str = "10.96.0.10";

/// Who uses the legacy iptables: its lock is one for all network namespaces,
/// and one test holds it for longer than others would wait.
static XTABLES: Mutex<()> = Mutex::new(());

fn xtables() -> MutexGuard<'static, ()> {
    XTABLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node and an agent's part in it.
struct Node {
    netns: Netns,
    flags: Flags,
    errors: Arc<SetupErrors>,
    setup: Setup,
}

impl Node {
    /// `None`, and says so, where there can be no namespaces.
    fn new(change: impl FnOnce(&mut Flags)) -> Option<Self> {
        if let Some(reason) = Netns::missing() {
            println!("skipped: {reason}");
            return None;
        }
        let mut flags = Flags {
            local_ips: addresses(&[LOCAL, KUBE_DNS]),
            ..Flags::default()
        };
        change(&mut flags);
        let errors = Arc::new(SetupErrors::default());
        Some(Self {
            netns: Netns::create("node").unwrap(),
            setup: Setup::new(&flags, errors.clone()),
            flags,
            errors,
        })
    }

    fn rules(choice: Choice) -> Option<Self> {
        Self::new(|flags| {
            flags.setup_interface = false;
            flags.firewall = choice;
        })
    }

    fn ensure(&mut self) {
        run(&self.netns, async || self.setup.ensure().await);
    }

    fn release(&mut self) {
        run(&self.netns, async || self.setup.release().await);
    }

    fn remove(&mut self) {
        run(&self.netns, async || self.setup.remove().await);
    }

    /// Another agent with the same flags, that knows nothing of the first.
    fn restart(&mut self) {
        self.setup = Setup::new(&self.flags, self.errors.clone());
    }

    fn state(&self) -> String {
        self.netns.state().unwrap()
    }

    fn shell(&self, script: &str) -> String {
        self.netns.run(["sh", "-ec", script]).unwrap()
    }

    fn errors(&self, kind: &str) -> u64 {
        let text = self.errors.exposition();
        let label = format!("errortype=\"{kind}\"}} ");
        let count = text.lines().find_map(|line| line.split_once(&label));
        count.unwrap().1.parse().unwrap()
    }

    fn no_errors(&self) {
        let text = self.errors.exposition();
        assert!(
            text.lines().skip(2).all(|line| line.ends_with(" 0")),
            "{text}"
        );
    }
}

fn run<T: Send>(netns: &Netns, act: impl AsyncFnOnce() -> T + Send) -> T {
    let done = netns.enter(|| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(act())
    });
    done.unwrap()
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn count(text: &str, pattern: &str) -> usize {
    text.matches(pattern).count()
}

mod interface {
    use super::*;

    fn node(texts: &[&str]) -> Option<Node> {
        Node::new(|flags| {
            flags.setup_iptables = false;
            flags.local_ips = addresses(texts);
        })
    }

    #[test]
    fn addresses_come_and_go() {
        for (texts, length) in [
            (&[LOCAL, KUBE_DNS][..], 32),
            (&["fd00:20::10", "fd00:96::a"], 128),
        ] {
            let Some(mut node) = node(texts) else { return };
            let before = node.state();
            node.ensure();
            let state = node.state();
            for text in texts {
                assert!(state.contains(&format!(" {text}/{length} ")), "{state}");
            }
            // A second look changes nothing, an address that went comes back.
            node.ensure();
            assert_eq!(node.state(), state);
            let lines: Vec<_> = state.lines().collect();
            let line = lines.iter().find(|line| line.contains(texts[0])).unwrap();
            let device = line.split_whitespace().nth(1).unwrap();
            node.shell(&format!("ip addr del {}/{length} dev {device}", texts[0]));
            node.ensure();
            assert_eq!(sorted(&node.state()), sorted(&state));
            node.remove();
            assert_eq!(node.state(), before);
            node.no_errors();
        }
    }

    /// What comes back comes last.
    fn sorted(state: &str) -> Vec<&str> {
        let mut lines: Vec<_> = state.lines().collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn a_restarted_agent_adopts_what_it_finds() {
        for texts in [[LOCAL, KUBE_DNS], ["fd00:20::10", "fd00:96::a"]] {
            let Some(mut node) = node(&texts) else { return };
            let before = node.state();
            node.ensure();
            let state = node.state();
            node.restart();
            node.ensure();
            assert_eq!(node.state(), state);
            node.restart();
            node.remove();
            assert_eq!(node.state(), before);
            node.no_errors();
        }
    }

    #[test]
    fn an_address_that_was_there_stays() {
        let Some(mut node) = Node::new(|flags| {
            flags.setup_iptables = false;
            // No device of ours, whatever the kernel has.
            flags.interface_name = "lo".to_owned();
        }) else {
            return;
        };
        node.netns.ip("addr add 10.96.0.10/32 dev lo\n").unwrap();
        let before = node.state();
        node.ensure();
        assert!(node.state().contains(LOCAL));
        node.remove();
        assert_eq!(node.state(), before);
        node.no_errors();
    }

    #[test]
    fn an_address_of_another_device_is_left_to_it() {
        let Some(mut node) = node(&[LOCAL, KUBE_DNS]) else {
            return;
        };
        let lines = "link add other type veth peer name peer\naddr add 10.96.0.10/32 dev other\n";
        node.netns.ip(lines).unwrap();
        let before = node.state();
        node.ensure();
        let state = node.state();
        assert_eq!(count(&state, "inet 10.96.0.10/32"), 1, "{state}");
        assert_eq!(count(&state, "inet 169.254.20.10/32"), 1, "{state}");
        assert_eq!(node.errors("interface_check"), 1);
        node.ensure();
        assert_eq!(node.errors("interface_check"), 2);
        node.remove();
        assert_eq!(node.state(), before);
    }

    #[test]
    fn a_dummy_device_is_made_where_there_are_some() {
        let Some(mut node) = node(&[LOCAL]) else {
            return;
        };
        if node.netns.ip("link add probe type dummy\n").is_err() {
            println!("skipped: this kernel has no dummy devices");
            return;
        }
        node.ensure();
        assert!(
            node.state()
                .contains("nodelocaldns    inet 169.254.20.10/32")
        );
        node.remove();
        assert!(!node.state().contains("nodelocaldns"));
    }

    #[test]
    fn without_the_capability_it_is_told() {
        use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

        let Some(mut node) = node(&[LOCAL]) else {
            return;
        };
        let before = node.state();
        run(&node.netns, async || {
            // Of this thread alone.
            let mut sets = capabilities(None).unwrap();
            sets.effective.remove(CapabilitySet::NET_ADMIN);
            set_capabilities(None, sets).unwrap();
            node.setup.ensure().await;
        });
        assert_eq!(node.errors("interface_add"), 1);
        assert_eq!(node.state(), before);
    }
}

#[test]
fn queries_are_led_elsewhere_before_answers_are_stopped() {
    for (choice, incoming) in [(Choice::Nft, "daddr"), (Choice::Iptables, " -d ")] {
        let Some(mut node) = Node::rules(choice) else {
            return;
        };
        let untracked = |state: &str| {
            let rules = state.lines().filter(|line| line.contains("skip conntrack"));
            let (queries, answers): (Vec<_>, Vec<_>) =
                rules.partition(|line| line.contains(incoming));
            (queries.is_empty(), answers.len())
        };
        node.release();
        let before = node.state();
        node.ensure();
        let state = node.state();
        let (none, answers) = untracked(&state);
        assert!(!none && answers > 0, "{state}");
        node.release();
        assert_eq!(
            untracked(&node.state()),
            (true, answers),
            "{}",
            node.state()
        );
        node.ensure();
        assert_eq!(node.state(), state);
        node.release();
        node.remove();
        assert_eq!(node.state(), before);
        node.no_errors();
    }
}

mod nft {
    use super::*;

    #[test]
    fn rules_come_and_go_and_are_repaired() {
        let Some(mut node) = Node::rules(Choice::Nft) else {
            return;
        };
        node.shell(
            "nft add table inet mine; nft add chain inet mine c; nft add rule inet mine c accept",
        );
        let before = node.state();
        node.ensure();
        let state = node.state();
        assert_eq!(
            count(&state, "NodeLocal DNS Cache: skip conntrack"),
            16,
            "{state}"
        );
        assert_eq!(
            count(&state, "NodeLocal DNS Cache: allow DNS traffic"),
            8,
            "{state}"
        );
        for script in [
            "nft delete table inet pando_node",
            "nft flush chain inet pando_node raw_output",
            "nft add rule inet pando_node filter_input drop",
        ] {
            node.shell(script);
            node.ensure();
            assert_eq!(node.state(), state, "{script}");
        }
        node.restart();
        node.ensure();
        assert_eq!(node.state(), state);
        node.remove();
        assert_eq!(node.state(), before);
        node.remove();
        node.no_errors();
    }

    #[test]
    fn ipv6_has_its_own() {
        let Some(mut node) = Node::new(|flags| {
            flags.setup_interface = false;
            flags.firewall = Choice::Nft;
            flags.local_ips = addresses(&["fd00:20::10"]);
        }) else {
            return;
        };
        node.ensure();
        let state = node.state();
        assert_eq!(
            count(&state, "ip6 daddr fd00:20::10 udp dport 53 notrack"),
            2,
            "{state}"
        );
        node.no_errors();
    }
}

mod iptables {
    use super::*;

    /// The variants, by what their names have behind `iptables`.
    const VARIANTS: [&str; 2] = ["nft", "legacy"];

    /// Makes the node one of that variant, by the mark that a kubelet leaves.
    fn mark(node: &Node, variant: &str) {
        node.shell(&format!(
            "iptables-{variant} -t mangle -N KUBE-IPTABLES-HINT
             iptables-{variant} -A INPUT -s 192.0.2.1 -j DROP
             iptables-{variant} -A OUTPUT -d 192.0.2.1 -j DROP
             iptables-{variant} -t raw -A OUTPUT -d 192.0.2.1 -j ACCEPT
             iptables-{variant} -t raw -A PREROUTING -s 192.0.2.1 -j ACCEPT"
        ));
    }

    #[test]
    fn rules_come_and_go_and_are_repaired() {
        let _lock = xtables();
        for variant in VARIANTS {
            let Some(mut node) = Node::rules(Choice::Iptables) else {
                return;
            };
            mark(&node, variant);
            let before = node.state();
            node.ensure();
            let saved = format!("iptables-{variant}-save");
            let rules = || node.shell(&format!("{saved} -t raw; {saved} -t filter"));
            let text = rules();
            assert_eq!(
                count(&text, "NodeLocal DNS Cache: skip conntrack"),
                16,
                "{text}"
            );
            assert_eq!(
                count(&text, "NodeLocal DNS Cache: allow DNS traffic"),
                8,
                "{text}"
            );
            // Ours come first.
            let input: Vec<_> = text
                .lines()
                .filter(|line| line.starts_with("-A INPUT"))
                .collect();
            assert_eq!(
                input,
                [
                    "-A INPUT -j PANDO-NODE-INPUT",
                    "-A INPUT -s 192.0.2.1/32 -j DROP"
                ]
            );
            let state = node.state();
            for script in [
                "-F PANDO-NODE-INPUT",
                "-t raw -D OUTPUT 1",
                "-I INPUT -p udp -j PANDO-NODE-INPUT",
                "-A PANDO-NODE-OUTPUT -j DROP",
            ] {
                node.shell(&format!("iptables-{variant} {script}"));
                node.ensure();
                if script.starts_with("-I INPUT") {
                    // Which of two jumps goes does not matter.
                    assert_eq!(count(&node.state(), "-j PANDO-NODE-INPUT"), 1);
                    node.shell(&format!("iptables-{variant} -D INPUT 1"));
                    node.ensure();
                }
                assert_eq!(node.state(), state, "{variant} {script}");
            }
            node.restart();
            node.ensure();
            assert_eq!(node.state(), state);
            node.remove();
            assert_eq!(node.state(), before);
            node.no_errors();
        }
    }

    #[test]
    fn what_was_made_for_the_rules_goes_with_them() {
        for script in [
            "true",
            "iptables-nft -A INPUT -s 192.0.2.1 -j DROP; nft add table ip raw",
            "iptables-nft -P OUTPUT DROP; iptables-nft -t raw -A PREROUTING -j ACCEPT",
        ] {
            let Some(mut node) = Node::rules(Choice::Iptables) else {
                return;
            };
            node.shell(script);
            let before = node.state();
            node.ensure();
            assert_ne!(node.state(), before);
            node.remove();
            assert_eq!(node.state(), before, "{script}");
            node.no_errors();
        }
    }

    #[test]
    fn what_somebody_else_has_come_to_use_stays() {
        let Some(mut node) = Node::rules(Choice::Iptables) else {
            return;
        };
        node.ensure();
        node.shell("iptables-nft -A INPUT -s 192.0.2.1 -j DROP");
        node.remove();
        let saved = node.shell("iptables-nft-save");
        assert!(
            saved.contains("-A INPUT -s 192.0.2.1/32 -j DROP"),
            "{saved}"
        );
        assert!(!saved.contains("PANDO"), "{saved}");
    }

    #[test]
    fn somebody_elses_lock_is_waited_for_but_not_forever() {
        let _lock = xtables();
        let Some(mut node) = Node::rules(Choice::Iptables) else {
            return;
        };
        mark(&node, "legacy");
        let before = node.state();
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open("/run/xtables.lock")
            .unwrap();
        lock.lock().unwrap();
        node.ensure();
        assert_eq!(node.errors("iptables_lock"), 1);
        drop(lock);
        assert_eq!(node.state(), before);
        node.ensure();
        assert_eq!(count(&node.state(), "NodeLocal DNS Cache"), 24);
        assert_eq!(node.errors("iptables_lock"), 1);
        assert_eq!(node.errors("iptables"), 0);
    }
}

mod detection {
    use super::*;

    /// Who has the rules, seen from outside.
    fn tool(node: &Node) -> Vec<&'static str> {
        let programs = [
            ("nft", "nft list table inet pando_node"),
            ("iptables-nft", "iptables-nft-save"),
            ("iptables-legacy", "iptables-legacy-save"),
        ];
        let has = |script: &str| {
            let shown = node.netns.run(["sh", "-c", script]).unwrap_or_default();
            shown.contains("NodeLocal DNS Cache")
        };
        let found = programs.into_iter().filter(|(_, script)| has(script));
        found.map(|(name, _)| name).collect()
    }

    #[test]
    fn the_node_is_followed() {
        let _lock = xtables();
        for (script, expected) in [
            ("true", "nft"),
            ("nft add table ip kube-proxy", "nft"),
            (
                "iptables-nft -t mangle -N KUBE-IPTABLES-HINT",
                "iptables-nft",
            ),
            (
                "iptables-legacy -t mangle -N KUBE-KUBELET-CANARY",
                "iptables-legacy",
            ),
            ("iptables-nft -P INPUT DROP", "iptables-nft"),
            (
                "iptables-nft -t mangle -N KUBE-IPTABLES-HINT; nft add table ip6 kube-proxy",
                "nft",
            ),
        ] {
            let Some(mut node) = Node::rules(Choice::Auto) else {
                return;
            };
            node.shell(script);
            node.ensure();
            assert_eq!(tool(&node), [expected], "{script}");
            node.no_errors();
        }
    }

    #[test]
    fn another_programs_rules_of_an_earlier_life_go() {
        let Some(mut node) = Node::rules(Choice::Iptables) else {
            return;
        };
        node.ensure();
        assert_eq!(tool(&node), ["iptables-nft"]);
        for (choice, expected) in [(Choice::Nft, "nft"), (Choice::Iptables, "iptables-nft")] {
            node.flags.firewall = choice;
            node.restart();
            node.ensure();
            assert_eq!(tool(&node), [expected]);
        }
        node.no_errors();
    }
}
