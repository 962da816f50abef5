//! The agent as `deploy/kustomize/node-agent` has it.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use pando_test::{BOUND, Site, until};
use rustix::thread::CapabilitySet;

use crate::rooms::{Behind, House, only_for_the_agent};
use crate::unbroken::worker;

/// A file of the manifests.
fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kustomize/node-agent");
    let path = folder.join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The template in a ConfigMap.
fn template(name: &str) -> String {
    let manifest = file(name);
    let (_, lines) = manifest
        .split_once("\n  Corefile: |\n")
        .expect("a Corefile");
    let lines = lines
        .lines()
        .map(|line| line.strip_prefix("    ").unwrap_or(line));
    lines.map(|line| format!("{line}\n")).collect()
}

/// What the container may do: the list behind `add:`.
fn capabilities() -> Vec<String> {
    let manifest = file("base/daemonset.yaml");
    let (_, lines) = manifest
        .split_once("\n              add:\n")
        .expect("a list");
    let lines = lines.lines().map(str::trim);
    let list = lines.take_while(|line| line.starts_with("- ") || line.starts_with('#'));
    let names = list.filter_map(|line| line.strip_prefix("- "));
    names.map(str::to_lowercase).collect()
}

/// Runs a program with these capabilities at most, as the container runtime
/// does with `drop: [ALL]` and no more privileges to be had.
fn confined(capabilities: &[String]) -> Vec<String> {
    let kept: String = capabilities
        .iter()
        .map(|name| format!(",+{name}"))
        .collect();
    let bounding = format!("--bounding-set=-all{kept}");
    let words = ["setpriv", "--no-new-privs", "--inh-caps=-all", &bounding];
    words.map(str::to_owned).to_vec()
}

fn words(of: &[String]) -> Vec<&str> {
    of.iter().map(String::as_str).collect()
}

fn oom_score(pid: impl Display) -> String {
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj"));
    score.expect("it runs").trim().to_owned()
}

async fn has_rules(house: &House) -> bool {
    let rules = until("rules", BOUND, || async {
        house
            .state()
            .contains("NodeLocal DNS Cache: skip conntrack")
            .then_some(())
    });
    rules.await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_capabilities_are_enough_and_needed() {
    if only_for_the_agent() {
        return;
    }
    let all = capabilities();
    let names = ["net_admin", "net_bind_service", "net_raw", "sys_resource"];
    assert_eq!(all, names);
    let Some(house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    let base = template("base/config.yaml");
    let by = confined(&all);
    // Where even this test may not.
    let may = rustix::thread::capabilities(None)
        .expect("capabilities")
        .effective;
    let expected = match may.contains(CapabilitySet::SYS_RESOURCE) {
        true => "-1000".to_owned(),
        false => {
            println!("skipped: without SYS_RESOURCE no score can be lowered");
            oom_score("self")
        }
    };
    for firewall in ["nft", "auto"] {
        let mut agent = house.agent_by(&words(&by), &base, &["-firewall", firewall]);
        house.served(&agent).await;
        assert!(has_rules(&house).await, "{}", agent.shown());
        // The kernel leaves such processes out where it kills a whole container.
        assert_eq!(oom_score(agent.pid().expect("runs")), expected);
        let worker = worker(&agent).expect("a worker");
        assert_ne!(oom_score(worker.as_raw_nonzero()), "-1000");
        agent.signal("TERM").await.expect("runs");
        agent.wait_exit(BOUND).await.expect("ends");
    }

    // A node where the kubelet uses the iptables that is not over nftables:
    // there its INPUT decides, and no other table can overrule it.
    let kubelet = [
        "iptables-legacy",
        "-t",
        "mangle",
        "-N",
        "KUBE-IPTABLES-HINT",
    ];
    if let Err(error) = house.site.node.run(kubelet) {
        println!("skipped: no iptables-legacy: {error:#}");
        return;
    }
    for (kept, tool) in [(&all[..], "iptables-legacy"), (&all[..2], "nft")] {
        let by = confined(kept);
        let mut agent = house.agent_by(&words(&by), &base, &[]);
        house.served(&agent).await;
        let said = format!("Packet rules are set by {tool}");
        agent.wait_for_line(&said, BOUND).await.expect("which one");
        assert!(has_rules(&house).await, "{}", agent.shown());
        agent.signal("TERM").await.expect("runs");
        agent.wait_exit(BOUND).await.expect("ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_its_corefiles_serves_pods() {
    if only_for_the_agent() {
        return;
    }
    let Some(house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    let disk = house.site.folder().join("state");
    fs::create_dir(&disk).expect("a folder");
    for name in [
        "base",
        "overlays/zone",
        "overlays/copy",
        "overlays/autopath",
    ] {
        let text = template(&format!("{name}/config.yaml"));
        // In the place of the service account, for which tests/e2e/deploy stands.
        let way = format!("pods insecure\n endpoint {}", house.site.api_url());
        let text = text.replace("pods insecure", &way);
        let text = text.replace("/var/lib/pando", &disk.display().to_string());
        let mut agent = house.serving(&text, &[]).await;
        let pod = &house.site.pods[0];
        for address in [Site::LOCAL, Site::KUBE_DNS] {
            for (asked, rcode) in [
                ("web.payments.svc.cluster.local", "NOERROR"),
                ("api.example.com", "NOERROR"),
                ("none.payments.svc.cluster.local", "NXDOMAIN"),
            ] {
                let answer = pod.ask(address, asked, "A").await.expect("an answer");
                assert_eq!(answer.rcode(), rcode, "{name}: {asked} at {address}");
            }
        }
        // The first name of a walk: answered where the search list is served.
        let first = "api.example.com.shop.svc.cluster.local";
        let answer = pod.ask(Site::LOCAL, first, "A").await.expect("an answer");
        let is_walked = answer.rcode() == "NOERROR";
        assert_eq!(is_walked, name == "overlays/autopath", "{name}: {first}");
        agent.signal("TERM").await.expect("runs");
        assert!(agent.wait_exit(BOUND).await.expect("ends").success());
    }
}
