//! Queries go on while the agent is killed, replaced, and cannot run: none is
//! left without an answer.

use std::time::{Duration, Instant};

use anyhow::Context;
use pando_test::{Agent, BOUND, Load, Site, until};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinHandle;

use crate::corefiles;
use crate::rooms::{Behind, House, SOON, count, only_for_the_agent};

/// Queries a second, from 256 ports.
const RATE: u32 = 2000;
/// How many answers say that it goes on.
const WELL: u64 = 300;

/// Waits until so many more queries were answered.
async fn answered(load: &Load, more: u64) {
    answered_for(load, more, Duration::ZERO).await;
}

/// The same for at least this long.
async fn answered_for(load: &Load, more: u64, time: Duration) {
    let (from, begun) = (load.answered(), Instant::now());
    let well = until("answers go on", BOUND + time, || async {
        (load.answered() >= from + more && begun.elapsed() >= time).then_some(())
    });
    well.await.expect("answers");
}

/// Ends a load: everything was answered, and well.
async fn none_lost(load: Load) {
    let tally = load.finish().await.expect("a load");
    println!("{tally}");
    assert_eq!(tally.unanswered, 0, "{tally}");
    assert_eq!(tally.rcodes.get("NOERROR"), Some(&tally.sent), "{tally}");
}

/// The process that serves: a child of the agent's first process.
pub(crate) fn worker(agent: &Agent) -> Option<Pid> {
    child(agent.pid()?)
}

fn child(pid: u32) -> Option<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    // Others set packet rules.
    let serves = |pid: &&str| {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
        command.is_ok_and(|command| command.contains("worker"))
    };
    Pid::from_raw(children.split_whitespace().find(serves)?.parse().ok()?)
}

async fn kill_worker(agent: &Agent) {
    let old = until("a worker", BOUND, || async { worker(agent) });
    let old = old.await.expect("a worker");
    kill_process(old, Signal::KILL).expect("killed");
    let next = until("the next worker", BOUND, || async {
        worker(agent).filter(|&pid| pid != old)
    });
    next.await.expect("another worker");
}

/// The house itself: where nothing happens, nothing is lost, and what is lost
/// is seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_answered_as_long_as_there_is_an_agent() {
    let Some(house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    house.site.external().delay(Duration::from_millis(3));
    let mut agent = house.serving(&corefiles::cache_only(), &[]).await;
    let load = house.site.pods[0].load(RATE);
    answered(&load, 4000).await;
    none_lost(load).await;

    let load = house.site.pods[0].load(RATE);
    answered(&load, WELL).await;
    agent.kill().await.expect("killed");
    let after = load.sent();
    let lost = until("queries into nowhere", BOUND, || async {
        (load.sent() > after + 500).then_some(())
    });
    lost.await.expect("queries");
    let tally = load.finish().await.expect("a load");
    // A few were answered by a worker that was ending.
    assert!(tally.unanswered >= 250, "{tally}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_again_and_again_loses_no_query() {
    if only_for_the_agent() {
        return;
    }
    let Some(house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    house.site.external().delay(Duration::from_millis(3));
    let begun = Instant::now();
    let agent = house.serving(&corefiles::cache_only(), &[]).await;
    let mut away = begun.elapsed();
    let load = house.site.pods[0].load(RATE);
    for _ in 0..count("HOUSE_KILLS", 30) {
        // It serves for longer than it was away, however slow the machine is:
        // otherwise workers count as not staying up, and the agent gives way.
        answered_for(&load, WELL, away).await;
        let killed = Instant::now();
        kill_worker(&agent).await;
        answered(&load, WELL).await;
        away = killed.elapsed();
    }
    none_lost(load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_lose_no_query_and_leave_the_node_as_it_was() {
    if only_for_the_agent() {
        return;
    }
    let Some(house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    house.site.external().delay(Duration::from_millis(3));
    let before = house.state();
    let handover = handover(&house);
    let arguments = ["-handover", &handover];
    let mut agent = house.serving(&corefiles::cache_only(), &arguments).await;
    let with_one = house.state();
    let load = house.site.pods[0].load(RATE);
    answered(&load, WELL).await;
    for _ in 0..count("HOUSE_UPGRADES", 5) {
        let next = house.agent(&corefiles::cache_only(), &arguments);
        took_over(&next).await;
        answered(&load, WELL).await;
        // As kubelet does once the new Pod is ready.
        end(agent).await;
        agent = next;
        answered(&load, WELL).await;
    }
    none_lost(load).await;
    house.is_as(&with_one);
    end(agent).await;
    house.is_as(&before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_is_replaced_by_one_that_adopts_the_worker() {
    if only_for_the_agent() {
        return;
    }
    let Some(house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    let before = house.state();
    let handover = handover(&house);
    let arguments = ["-handover", &handover];
    let mut agent = house.serving(&corefiles::cache_only(), &arguments).await;
    let with_one = house.state();
    let load = house.site.pods[0].load(RATE);
    answered(&load, WELL).await;
    for _ in 0..3 {
        agent.kill().await.expect("killed");
        // The worker serves on by itself.
        answered(&load, WELL).await;
        agent = house.agent(&corefiles::cache_only(), &arguments);
        took_over(&agent).await;
        answered(&load, WELL).await;
    }
    none_lost(load).await;
    house.is_as(&with_one);
    end(agent).await;
    house.is_as(&before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_adopts_addresses_and_rules_of_a_killed_one() {
    if only_for_the_agent() {
        return;
    }
    let Some(house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    let before = house.state();
    let mut killed = house.serving(&corefiles::cache_only(), &[]).await;
    let with_one = house.state();
    killed.kill().await.expect("killed");
    let gone = until("the worker ends", SOON, || async {
        house.site.node.pids().ok()?.is_empty().then_some(())
    });
    gone.await.expect("without a hand-over nobody serves on");
    house.is_as(&with_one);
    let agent = house.serving(&corefiles::cache_only(), &[]).await;
    house.is_as(&with_one);
    end(agent).await;
    house.is_as(&before);
}

#[tokio::test(flavor = "multi_thread")]
async fn coming_and_going_loses_no_query_to_the_services_address() {
    if only_for_the_agent() {
        return;
    }
    let Some(house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    let pod = &house.site.pods[0].netns;
    let load = Load::start(pod, (Site::KUBE_DNS, 53).into(), RATE);
    answered(&load, WELL).await;
    for _ in 0..count("HOUSE_VISITS", 3) {
        let agent = house.serving(&corefiles::cache_only(), &[]).await;
        answered(&load, WELL).await;
        end(agent).await;
        answered(&load, WELL).await;
    }
    none_lost(load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_fall_through_to_the_cluster_while_no_worker_can_stay_up() {
    if only_for_the_agent() {
        return;
    }
    let Some(house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    let before = house.state();
    let agent = house.serving(&corefiles::cache_only(), &[]).await;
    let with_one = house.state();
    let health = || async { house.page("10.0.0.1:9353", "/health").await.ok() };
    let killer = killing_workers(&agent);
    let gone = until("interface and rules go", BOUND, || async {
        (house.state() == before).then_some(())
    });
    let gone = gone.await.with_context(|| agent.shown());
    gone.expect("fails open");
    let page = health().await.expect("a page");
    assert_eq!(page.status, 503);
    assert!(page.body.contains("SIGKILL"), "{}", page.body);
    let web = "web.shop.svc.cluster.local";
    let answer = house.site.pods[0].ask(Site::KUBE_DNS, web, "A").await;
    assert_eq!(answer.expect("from the cluster").data(), ["10.96.1.1"]);
    let metrics = house.page("10.0.0.1:9353", "/metrics").await;
    let metrics = metrics.expect("metrics").body;
    assert!(metrics.contains("pando_node_fail_open 1"), "{metrics}");
    killer.abort();

    // By now the wait for the next worker may be the longest there is, 30 s.
    let well = until("back again", BOUND + Duration::from_secs(30), || async {
        (health().await?.status == 200).then_some(())
    });
    well.await.expect("a worker that is let live");
    let back = until("interface and rules", BOUND, || async {
        (house.state() == with_one).then_some(())
    });
    back.await.expect("claimed again");
    house.served(&agent).await;
}

/// What it gives up it gives up whole, though it is told to end meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_steps_aside_and_ends_leaves_no_trace() {
    if only_for_the_agent() {
        return;
    }
    let Some(house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    let before = house.state();
    for _ in 0..3 {
        let agent = house.serving(&corefiles::cache_only(), &[]).await;
        let killer = killing_workers(&agent);
        let line = agent.wait_for_line("No worker stays up", BOUND).await;
        line.expect("steps aside");
        killer.abort();
        end(agent).await;
        house.is_as(&before);
    }
}

/// Kills every worker that an agent starts, until the task is aborted.
fn killing_workers(agent: &Agent) -> JoinHandle<()> {
    let parent = agent.pid().expect("runs");
    tokio::spawn(async move {
        loop {
            if let Some(pid) = child(parent) {
                let _ = kill_process(pid, Signal::KILL);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
}

fn handover(house: &House) -> String {
    house
        .site
        .folder()
        .join("handover.sock")
        .display()
        .to_string()
}

/// Waits until an agent has taken over from another, when kubelet would call
/// its Pod ready.
async fn took_over(agent: &Agent) {
    let line = agent.wait_for_line("Took over", BOUND).await;
    line.expect("takes over");
}

async fn end(mut agent: Agent) {
    agent.signal("TERM").await.expect("runs");
    let status = agent.wait_exit(BOUND).await.expect("ends");
    assert!(status.success(), "{status}: {}", agent.shown());
}
