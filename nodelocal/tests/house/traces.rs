//! What the agent leaves on a node: nothing.

use pando_test::{BOUND, Site};

use crate::corefiles;
use crate::rooms::{Behind, House, only_for_the_agent};

async fn comes_and_goes(firewall: &str) {
    if only_for_the_agent() {
        return;
    }
    let Some(house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    let before = house.state();
    let mut agent = house
        .serving(&corefiles::cache_only(), &["-firewall", firewall])
        .await;
    let state = house.state();
    for address in [Site::LOCAL, Site::KUBE_DNS] {
        assert!(state.contains(&format!("inet {address}/32")), "{state}");
        // By whichever address a Pod asks, it is the agent that answers.
        let name = format!("{address}.example.com");
        let answer = house.site.pods[0].ask(address, &name, "A").await;
        assert_eq!(answer.expect("an answer").rcode(), "NOERROR");
        let arrivals = house.site.external().arrivals();
        let asked = arrivals.iter().find(|query| query.name.starts_with(&name));
        assert_eq!(asked.map(|query| query.from), Some(Site::NODE));
    }
    agent.signal("TERM").await.expect("runs");
    assert!(agent.wait_exit(BOUND).await.expect("ends").success());
    house.is_as(&before);
    assert_eq!(
        house.site.node.pids().expect("processes"),
        Vec::<i32>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_rules_by_nft() {
    comes_and_goes("nft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_rules_by_iptables() {
    comes_and_goes("iptables").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_left_where_that_is_asked_for() {
    if only_for_the_agent() {
        return;
    }
    let Some(house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    let mut agent = house
        .serving(&corefiles::cache_only(), &["-skipteardown"])
        .await;
    let with_one = house.state();
    agent.signal("TERM").await.expect("runs");
    assert!(agent.wait_exit(BOUND).await.expect("ends").success());
    house.is_as(&with_one);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_drops_what_it_does_not_know_lets_pods_in() {
    if only_for_the_agent() {
        return;
    }
    let Some(house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    for rule in [
        "-A INPUT -i lo -j ACCEPT",
        "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
        "-P INPUT DROP",
    ] {
        let command = ["iptables"].into_iter().chain(rule.split(' '));
        house.site.node.run(command).expect("a rule");
    }
    let before = house.state();
    let arguments = ["-firewall", "iptables"];
    let mut agent = house.serving(&corefiles::cache_only(), &arguments).await;
    agent.signal("TERM").await.expect("runs");
    assert!(agent.wait_exit(BOUND).await.expect("ends").success());
    house.is_as(&before);
}
