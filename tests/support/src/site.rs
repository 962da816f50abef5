//! A node with Pods, the cluster's DNS behind it, and the world behind that,
//! each in a network namespace.
//!
//! ```text
//! pod 0 ─ 10.244.0.2 ──┐                      ┌ 10.0.0.2    the cluster's DNS
//! pod 1 ─ 10.244.1.2 ──┤ node ── 10.0.0.0/24 ─┤ 10.96.0.1   the API server
//!                      │ 10.0.0.1             └ 198.18.0.53 the world
//! ```
//!
//! Rules on the node lead the Services 10.96.0.10 (`kube-dns`) and 10.96.0.11
//! (`kube-dns-upstream`) to the cluster's DNS, as kube-proxy's do. An agent
//! takes 169.254.20.10 and 10.96.0.10, and as long as it does not, Pods that
//! ask the latter reach the cluster's DNS.

mod agent;
mod cluster;
mod external;
mod load;
mod objects;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

pub use agent::Agent;
pub use cluster::{Cluster, ClusterDns};
pub use external::{Arrival, External};
pub use load::{Load, Tally};
use objects::SERVICES;

use crate::netns::{Inhabitant, Netns, link};
use crate::{Answer, ApiDouble, Client};

/// The name of the node, as in `spec.nodeName` of its Pods.
const NODE_NAME: &str = "node-a";
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 20, 10));
const KUBE_DNS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10));
const UPSTREAM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 11));
const API: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));
const EXTERNAL: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 53));
const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const CLUSTER_DNS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

/// The whole site. Its namespaces, and what runs in them, end with it.
#[derive(Debug)]
pub struct Site {
    // Dropped in this order: the namespaces last.
    external: External,
    api: ApiDouble,
    _api: Inhabitant,
    folder: TempDir,
    /// The Pods, in the order in which they were asked for.
    pub pods: Vec<Pod>,
    /// The node.
    pub node: Netns,
    /// Everything that is not on the node.
    pub cluster: Netns,
}

/// A Pod on the node.
#[derive(Debug)]
pub struct Pod {
    /// Its network, with the resolv.conf that kubelet would write.
    pub netns: Netns,
    /// Its namespace in the cluster.
    pub namespace: String,
    /// Its address.
    pub address: Ipv4Addr,
}

impl Site {
    /// 169.254.20.10, where the agent answers.
    pub const LOCAL: IpAddr = LOCAL;
    /// The address of the Service `kube-dns`, which the agent answers for.
    pub const KUBE_DNS: IpAddr = KUBE_DNS;
    /// The address of the Service `kube-dns-upstream`.
    pub const UPSTREAM: IpAddr = UPSTREAM;
    /// The resolver outside, in the node's resolv.conf.
    pub const EXTERNAL: IpAddr = EXTERNAL;
    /// The cluster's DNS itself.
    pub const CLUSTER_DNS: IpAddr = CLUSTER_DNS;
    /// The node's own address.
    pub const NODE: IpAddr = NODE;

    /// Builds it with a Pod for each of these namespaces (`shop` and
    /// `payments` exist). `None` with one line printed where there can be no
    /// network namespaces.
    ///
    /// # Errors
    ///
    /// When the system refuses something.
    pub async fn build(namespaces: &[&str]) -> anyhow::Result<Option<Self>> {
        if let Some(reason) = Netns::missing() {
            println!("skipped: {reason}");
            return Ok(None);
        }
        for program in ["iptables", "ip6tables", "nft"] {
            if Command::new(program)
                .arg("--version")
                .output()
                .await
                .is_err()
            {
                println!("skipped: no {program}");
                return Ok(None);
            }
        }
        let (node, cluster) = (Netns::create("node")?, Netns::create("cluster")?);
        // Its addresses of IPv6 come and change by themselves after a while.
        let _ = node.sysctl("net/ipv6/conf/default/addr_gen_mode", "1");
        link((&node, "eth0"), (&cluster, "eth0"))?;
        node.sysctl("net/ipv4/ip_forward", "1")?;
        node.ip(&format!(
            "addr add {NODE}/24 dev eth0\nroute add default via {CLUSTER_DNS}\n"
        ))?;
        cluster.ip(&format!(
            "addr add {CLUSTER_DNS}/24 dev eth0\nroute add 10.244.0.0/16 via {NODE}\n"
        ))?;
        for address in [API, EXTERNAL] {
            cluster.ip(&format!("addr add {address}/32 dev lo\n"))?;
        }
        node.resolv_conf(&format!("nameserver {EXTERNAL}\n"))?;
        foreign_rules(&node)?;
        let pods = namespaces.iter().enumerate();
        let pods = pods.map(|(at, namespace)| Pod::create(&node, at, namespace));
        let pods = pods.collect::<anyhow::Result<Vec<_>>>()?;

        let external = External::start(&cluster, (EXTERNAL, 53).into())?;
        let described = pods
            .iter()
            .map(|pod| (pod.namespace.clone(), pod.address.to_string()));
        let objects = objects::objects(&described.collect::<Vec<_>>());
        let (api, inhabitant) = cluster.inhabit(|| ApiDouble::start_on(API))?;
        api.apply(&objects);
        let folder = tempfile::Builder::new().prefix("pando-site-").tempdir()?;
        fs::write(folder.path().join("cluster.json"), objects.to_string())?;
        Ok(Some(Self {
            external,
            api,
            _api: inhabitant,
            folder,
            pods,
            node,
            cluster,
        }))
    }

    /// Starts the cluster's DNS and waits until it answers. `extra` is added
    /// to its server block.
    ///
    /// # Errors
    ///
    /// When it does not answer within [`BOUND`](crate::BOUND).
    pub async fn cluster_dns(&self, who: Cluster<'_>, extra: &str) -> anyhow::Result<ClusterDns> {
        ClusterDns::start(self, who, extra).await
    }

    /// Starts an agent, a command of [`Netns::command`] on the node, with the
    /// arguments of the `node-local-dns` manifest and then these, on a template
    /// of a Corefile. Waits for nothing.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn agent(
        &self,
        command: Command,
        corefile: &str,
        arguments: &[&str],
    ) -> anyhow::Result<Agent> {
        Agent::start(self, command, corefile, arguments)
    }

    /// Asks a server on port 53 once, over UDP, from any namespace.
    ///
    /// # Errors
    ///
    /// When no answer comes within 2 s.
    pub async fn ask(
        &self,
        from: &Netns,
        server: IpAddr,
        name: &str,
        kind: &str,
    ) -> anyhow::Result<Answer> {
        ask(from, server, name, kind).await
    }

    /// The world outside.
    #[must_use]
    pub fn external(&self) -> &External {
        &self.external
    }

    /// The API server, for objects that change.
    #[must_use]
    pub fn api(&self) -> &ApiDouble {
        &self.api
    }

    /// Where the API server is, for who is on the node or in the cluster.
    #[must_use]
    pub fn api_url(&self) -> String {
        self.api.url()
    }

    /// The cluster's objects as a file.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.folder.path().join("cluster.json")
    }

    /// A folder that ends with the site: the node's disk.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Pod {
    fn create(node: &Netns, at: usize, namespace: &str) -> anyhow::Result<Self> {
        let netns = Netns::create(&format!("pod{at}"))?;
        let third = u8::try_from(at)?;
        let address = Ipv4Addr::new(10, 244, third, 2);
        let gateway = Ipv4Addr::new(10, 244, third, 1);
        link((node, &format!("pod{at}")), (&netns, "eth0"))?;
        node.ip(&format!("addr add {gateway}/24 dev pod{at}\n"))?;
        netns.ip(&format!(
            "addr add {address}/24 dev eth0\nroute add default via {gateway}\n"
        ))?;
        netns.resolv_conf(&format!(
            "nameserver {LOCAL}
search {namespace}.svc.cluster.local svc.cluster.local cluster.local
options ndots:5
"
        ))?;
        Ok(Self {
            netns,
            namespace: namespace.to_owned(),
            address,
        })
    }

    /// Asks a server on port 53 once, over UDP, from this Pod.
    ///
    /// # Errors
    ///
    /// When no answer comes within 2 s.
    pub async fn ask(&self, server: IpAddr, name: &str, kind: &str) -> anyhow::Result<Answer> {
        ask(&self.netns, server, name, kind).await
    }

    /// Keeps `rate` queries a second going from this Pod to 169.254.20.10.
    #[must_use]
    pub fn load(&self, rate: u32) -> Load {
        Load::start(&self.netns, SocketAddr::new(LOCAL, 53), rate)
    }
}

async fn ask(from: &Netns, server: IpAddr, name: &str, kind: &str) -> anyhow::Result<Answer> {
    let client = Client::to((server, 53).into()).bound(Duration::from_secs(2));
    let (name, kind) = (name.to_owned(), kind.to_owned());
    let asked = from.thread(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build()?;
        runtime.block_on(client.ask(&name, &kind))
    });
    let asked = tokio::task::spawn_blocking(move || asked.join()).await?;
    asked.map_err(|_| anyhow::anyhow!("the client panicked"))?
}

/// Rules of others, which must be there and work after an agent came and went:
/// kube-proxy's, a firewall's, and what tracks connections.
fn foreign_rules(node: &Netns) -> anyhow::Result<()> {
    let mut services = String::new();
    for service in [KUBE_DNS, UPSTREAM] {
        for protocol in ["udp", "tcp"] {
            services += &format!(
                "-A KUBE-SERVICES -d {service}/32 -p {protocol} -m {protocol} --dport 53 \
                 -j DNAT --to-destination {CLUSTER_DNS}:53\n"
            );
        }
    }
    let nat = format!(
        "*nat
:KUBE-SERVICES - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
{services}COMMIT
"
    );
    let both = "*raw
:FOREIGN - [0:0]
-A PREROUTING -j FOREIGN
-A OUTPUT -j FOREIGN
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
-A INPUT -j KUBE-FIREWALL
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL -m conntrack --ctstate INVALID -j DROP
COMMIT
";
    let table = "table inet foreign {
    chain input {
        type filter hook input priority 10; policy accept;
        ct state established,related accept
    }
}
";
    node.run_with(["iptables-restore"], &(nat + both))?;
    node.run_with(["ip6tables-restore"], both)?;
    node.run_with(["nft", "-f", "-"], table)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BOUND;

    #[tokio::test]
    async fn pods_reach_the_world_and_what_it_does_not_answer_is_counted() {
        let Some(site) = Site::build(&["shop"]).await.unwrap() else {
            return;
        };
        let pod = &site.pods[0];
        let answer = pod.ask(EXTERNAL, "www.example.com", "A").await.unwrap();
        let [a, b, c, d] = External::address_of("www.example.com");
        assert_eq!(answer.data(), [format!("{a}.{b}.{c}.{d}")]);
        let search = "www.example.com.shop.svc.cluster.local";
        let answer = pod.ask(EXTERNAL, search, "A").await.unwrap();
        assert_eq!(answer.rcode(), "NXDOMAIN");
        let from = site.external().arrivals()[1].clone();
        assert_eq!(
            (from.name.as_str(), from.kind.as_str()),
            (&*format!("{search}."), "A")
        );

        let world = SocketAddr::new(EXTERNAL, 53);
        let well = Load::start(&pod.netns, world, 1000);
        crate::until("answers", BOUND, || async {
            (well.answered() > 300).then_some(())
        })
        .await
        .unwrap();
        let well = well.finish().await.unwrap();
        assert_eq!((well.unanswered, well.strays), (0, 0), "{well}");
        let third = well.rcodes["NXDOMAIN"];
        assert_eq!(well.rcodes["NOERROR"] + third, well.sent, "{well}");
        assert!(third.abs_diff(well.sent / 3) <= 1, "{well}");

        let ill = Load::start(&pod.netns, world, 1000);
        crate::until("answers", BOUND, || async {
            (ill.answered() > 100).then_some(())
        })
        .await
        .unwrap();
        let before = site.external().arrivals().len();
        site.external().gone(true);
        crate::until("questions", BOUND, || async {
            (site.external().arrivals().len() > before + 100).then_some(())
        })
        .await
        .unwrap();
        let ill = ill.finish().await.unwrap();
        assert!(ill.unanswered >= 100 && ill.examples.len() == 10, "{ill}");
    }

    #[tokio::test]
    async fn the_cluster_answers_and_tells_what_the_node_asked() {
        let Some(coredns) = std::env::var_os("COREDNS_BIN") else {
            println!("skipped: COREDNS_BIN names no CoreDNS");
            return;
        };
        let Some(site) = Site::build(&["shop"]).await.unwrap() else {
            return;
        };
        let cluster = Cluster::CoreDns(Path::new(&coredns));
        let dns = site.cluster_dns(cluster, "").await.unwrap();
        // No agent yet: the Service's address is the cluster's own.
        let answer = site.pods[0].ask(KUBE_DNS, "web.payments.svc.cluster.local", "A");
        assert_eq!(answer.await.unwrap().data(), ["10.96.1.2"]);
        assert_eq!(dns.asked(), [], "a Pod is not the node");
        ask(&site.node, KUBE_DNS, "db.shop.svc.cluster.local", "AAAA")
            .await
            .unwrap();
        let asked = dns.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].name, "db.shop.svc.cluster.local.");
        assert_eq!(asked[0].kind, "AAAA");
    }
}
