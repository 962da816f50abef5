//! A site with an agent on it, and the looks that tests take at it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use pando_test::{Agent, Arrival, BOUND, Cluster, ClusterDns, Page, Site, page, until};
use tokio::sync::{Mutex, MutexGuard};

/// One house at a time: queries keep their rate only where the machine has
/// time for them.
static TURN: Mutex<()> = Mutex::const_new(());

/// The comments of node-cache's rules.
const RULES: [&str; 2] = [
    "NodeLocal DNS Cache: skip conntrack",
    "NodeLocal DNS Cache: allow DNS traffic",
];

/// A site with the cluster's DNS running.
pub(crate) struct House {
    pub(crate) dns: ClusterDns,
    pub(crate) site: Site,
    _turn: MutexGuard<'static, ()>,
}

/// Which cluster's DNS is behind the node.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Behind {
    Pando,
    /// CoreDNS where `COREDNS_BIN` names it, else Pando.
    CoreDns,
}

impl House {
    /// `None` where it is skipped.
    pub(crate) async fn build(behind: Behind, pods: &[&str]) -> Option<Self> {
        let turn = TURN.lock().await;
        let site = Site::build(pods).await.expect("a site")?;
        let coredns = std::env::var_os("COREDNS_BIN").map(PathBuf::from);
        let pando = pando();
        let who = match (behind, &coredns) {
            (Behind::CoreDns, Some(coredns)) => Cluster::CoreDns(coredns),
            _ => Cluster::Pando(&pando),
        };
        let transfer = "transfer cluster.local {\n        to *\n    }";
        let dns = site.cluster_dns(who, transfer).await;
        Some(Self {
            dns: dns.expect("the cluster's DNS"),
            site,
            _turn: turn,
        })
    }

    /// Starts the agent and waits for nothing.
    pub(crate) fn agent(&self, corefile: &str, arguments: &[&str]) -> Agent {
        self.agent_by(&[], corefile, arguments)
    }

    /// Starts the agent by another program, as `env PATH=/nowhere`.
    pub(crate) fn agent_by(&self, by: &[&str], corefile: &str, arguments: &[&str]) -> Agent {
        let binary = agent_binary();
        let node = &self.site.node;
        let mut all = vec![];
        if is_node_cache() {
            // It cannot work without a dummy device, which this kernel may
            // not have; what it sets up late is set up before.
            all.extend(["-setupinterface=false", "-setupiptables=false"]);
            for address in [Site::LOCAL, Site::KUBE_DNS] {
                let _ = node.ip(&format!("addr add {address}/32 dev lo\n"));
            }
        }
        all.extend(arguments);
        let command = match by {
            [] => node.command(binary),
            [program, arguments @ ..] => {
                let mut command = node.command(program);
                command.args(arguments).arg(binary);
                command
            }
        };
        let agent = self.site.agent(command, corefile, &all);
        agent.expect("the agent starts")
    }

    /// Starts the agent and waits until it answers Pods for the cluster's zone
    /// on its own address and has set up what it must.
    pub(crate) async fn serving(&self, corefile: &str, arguments: &[&str]) -> Agent {
        let agent = self.agent(corefile, arguments);
        self.served(&agent).await;
        if !is_node_cache() {
            let rules = until("rules", BOUND, || async {
                let state = self.state();
                (RULES.iter().all(|rule| state.contains(rule))).then_some(())
            });
            rules.await.with_context(|| agent.shown()).expect("rules");
        }
        agent
    }

    /// Waits until Pods are served.
    pub(crate) async fn served(&self, agent: &Agent) {
        let pod = &self.site.pods[0];
        let up = until("the agent serves", BOUND, || async {
            let name = "web.payments.svc.cluster.local";
            let answer = pod.ask(Site::LOCAL, name, "A").await.ok()?;
            (answer.data() == ["10.96.1.2"]).then_some(())
        });
        up.await.with_context(|| agent.shown()).expect("serves");
    }

    /// The node's links, addresses, routes and rules.
    pub(crate) fn state(&self) -> String {
        self.site.node.state().expect("a state")
    }

    /// The node's state is this one; shows the lines that are not.
    pub(crate) fn is_as(&self, before: &str) {
        let now = self.state();
        let only = |one: &str, other: &str, sign: &str| {
            let lines = one
                .lines()
                .filter(|line| !other.lines().any(|other| other == *line));
            lines
                .map(|line| format!("{sign} {line}\n"))
                .collect::<String>()
        };
        let (gone, new) = (only(before, &now, "-"), only(&now, before, "+"));
        assert!(now == before, "the node has changed:\n{gone}{new}");
    }

    /// A page of an HTTP listener on the node.
    pub(crate) async fn page(&self, address: &str, path: &str) -> anyhow::Result<Page> {
        let (address, path) = (address.parse()?, path.to_owned());
        let asked = self.site.node.thread(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build()?;
            runtime.block_on(page(address, &path, &[]))
        });
        let asked = tokio::task::spawn_blocking(move || asked.join()).await?;
        asked.map_err(|_| anyhow::anyhow!("the reader of a page panicked"))?
    }

    /// What left the node for Pods while `act` ran: to the cluster's DNS, and
    /// to the world. Transfers of the zone and what `loop` sends are the
    /// agent's own.
    pub(crate) async fn leaving<T>(
        &self,
        act: impl FnOnce() -> T,
    ) -> (T, Vec<Arrival>, Vec<Arrival>) {
        self.logged("before").await;
        let before = self.dns.asked().len();
        self.site.external().forget();
        let value = act();
        self.logged("after").await;
        let of_pods = |query: &Arrival| {
            ["A", "AAAA"].contains(&&*query.kind) && !query.name.starts_with("mark-")
        };
        let mut cluster = self.dns.asked().split_off(before);
        cluster.retain(of_pods);
        let mut world = self.site.external().arrivals();
        world.retain(|query| query.from == Site::NODE && of_pods(query));
        (value, cluster, world)
    }

    /// Waits until the cluster's DNS has logged everything so far: it logs in
    /// order, and a query of the test's own is the last.
    async fn logged(&self, mark: &str) {
        let count = self.dns.lines().len();
        let name = format!("mark-{mark}-{count}.default.svc.cluster.local");
        let asked = self
            .site
            .ask(&self.site.node, Site::CLUSTER_DNS, &name, "A");
        asked.await.expect("an answer to the mark");
        let there = self.dns.wait_for_line_after(count, &name, BOUND).await;
        there.expect("the mark in the log");
    }
}

/// The agent, or what `PANDO_NODE_BIN` names in its place: so the house can be
/// held against node-cache.
pub(crate) fn agent_binary() -> PathBuf {
    match std::env::var_os("PANDO_NODE_BIN") {
        Some(other) => other.into(),
        None => env!("CARGO_BIN_EXE_pando-node").into(),
    }
}

/// The server, which cargo builds beside the agent with the workspace; or what
/// `PANDO_BIN` names.
fn pando() -> PathBuf {
    if let Some(other) = std::env::var_os("PANDO_BIN") {
        return other.into();
    }
    let here = std::env::current_exe().expect("a path");
    let folder = here
        .parent()
        .and_then(Path::parent)
        .expect("target/debug/deps");
    let pando = folder.join("pando");
    assert!(pando.exists(), "no {}: cargo build", pando.display());
    pando
}

/// Whether it is node-cache that lives here.
pub(crate) fn is_node_cache() -> bool {
    agent_binary().ends_with("node-cache")
}

/// Whether a test is not for node-cache; it says so.
pub(crate) fn only_for_the_agent() -> bool {
    if is_node_cache() {
        println!("skipped: node-cache does not do this");
    }
    is_node_cache()
}

/// A number from the environment: long runs are by hand.
pub(crate) fn count(variable: &str, default: u32) -> u32 {
    let set = std::env::var(variable).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The bound of what takes a second or two at most.
pub(crate) const SOON: Duration = Duration::from_secs(10);
