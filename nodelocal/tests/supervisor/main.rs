//! What clients see of an agent whose processes are killed, replaced and broken.
#![forbid(unsafe_code)]
// Tests time what they test.
#![allow(clippy::disallowed_methods)]

mod monitoring;
mod node;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use node::{Agent, Node, answers, answers_for, gone, is_alive};
use pando_test::{BOUND, Events, Port, Reply, Rule, events, until};
use rustix::process::Signal;

/// Until the agent has made up its mind about a worker, at most.
const LONG: Duration = Duration::from_secs(60);

/// How often, where the environment does not say otherwise.
fn times(variable: &str, usual: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect(variable),
        Err(_) => usual,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_query_is_lost_with_its_worker() {
    let node = Node::new().await;
    let begun = Instant::now();
    let mut agent = node.start().await;
    let mut away = begun.elapsed();
    let load = node.load();
    let kills = times("KILLS", 100);
    for _ in 0..kills {
        // It serves for longer than there was none, however slow the machine
        // is: otherwise workers count as not staying up.
        answers_for(&load, 500, away).await;
        away = agent.kill_worker().await;
    }
    answers(&load, 500).await;
    let tally = load.finish().await.unwrap();
    println!("{kills} kills: {tally}");
    assert_eq!(tally.unanswered, 0, "{tally}");
    let restarts = node.metric("pando_node_worker_restarts_total").await;
    assert_eq!(restarts, Some(kills as f64));
    assert_eq!(node.metric("pando_node_fail_open").await, Some(0.0));
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_query_is_lost_in_upgrades() {
    let node = Node::new().await;
    let mut agent = node.start().await;
    let load = node.load();
    let upgrades = times("UPGRADES", 10);
    for upgrade in 0..upgrades {
        answers(&load, 200).await;
        let next = node.succeed(&format!("Corefile{upgrade}")).await;
        let old = std::mem::replace(&mut agent, next);
        answers(&load, 200).await;
        let said = old.end().await;
        assert!(said.contains("Another instance has taken over"), "{said}");
        assert!(!said.contains("Tearing down"), "{said}");
    }
    answers(&load, 200).await;
    let tally = load.finish().await.unwrap();
    println!("{upgrades} upgrades: {tally}");
    assert_eq!(tally.unanswered, 0, "{tally}");
    let given = "pando_node_handovers_total{direction=\"taken\"}";
    assert_eq!(node.metric(given).await, Some(1.0));
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_one_serves_again_when_its_successor_dies() {
    let node = Node::new().await;
    let old = node.start().await;
    let load = node.load();
    answers(&load, 200).await;
    let first = old.worker().unwrap();
    let mut new = node.succeed("Corefile2").await;
    gone(first).await;
    let orphan = new.worker().unwrap();
    let lines = old.lines().len();
    new.kill_parent().await;
    old.says_after(lines, "serving again").await;
    // Its worker has served meanwhile, and does not stay beside the old one's:
    // a successor that called would find either of both.
    gone(orphan).await;
    answers(&load, 500).await;
    // And is replaced as if nothing had been.
    let lines = old.lines().len();
    let again = node.succeed("Corefile3").await;
    answers(&load, 200).await;
    let tally = load.finish().await.unwrap();
    assert_eq!(tally.unanswered, 0, "{tally}");
    old.says_after(lines, "Another instance has taken over")
        .await;
    old.end().await;
    again.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_of_a_successor_that_dies_at_once_does_not_stay() {
    let node = Node::new().await;
    let old = node.start().await;
    let load = node.load();
    answers(&load, 200).await;
    let mut new = node.spawn("Corefile2");
    let orphan = until("a worker", BOUND, || async { new.worker() });
    let orphan = orphan.await.unwrap();
    new.kill_parent().await;
    old.says("ended before it served; serving on").await;
    gone(orphan).await;
    let again = node.succeed("Corefile3").await;
    old.says("Another instance has taken over").await;
    answers(&load, 200).await;
    let tally = load.finish().await.unwrap();
    assert_eq!(tally.unanswered, 0, "{tally}");
    old.end().await;
    again.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_serves_on_when_both_instances_are_gone() {
    let node = Node::new().await;
    let mut old = node.start().await;
    let mut new = node.succeed("Corefile2").await;
    let load = node.load();
    answers(&load, 200).await;
    let worker = new.worker().unwrap();
    // At the same time, as far as they can tell.
    node::signal(old.pid().unwrap(), Signal::STOP);
    for agent in [&new, &old] {
        node::kill(agent.pid().unwrap());
    }
    old.kill_parent().await;
    new.kill_parent().await;
    answers(&load, 500).await;
    let again = node.succeed("Corefile3").await;
    gone(worker).await;
    answers(&load, 200).await;
    let tally = load.finish().await.unwrap();
    assert_eq!(tally.unanswered, 0, "{tally}");
    again.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_hangs_is_replaced_and_what_waits_is_answered() {
    let node = Node::new().await;
    let mut agent = node.start().await;
    node.client().ask("a.example", "A").await.unwrap();
    let worker = agent.worker().unwrap();
    let lines = agent.lines().len();
    node::signal(worker, Signal::STOP);
    // It is asked before anybody knows, and waits for as long as it takes.
    let patient = node.client().bound(LONG);
    let waiting = tokio::spawn(async move { patient.ask("b.example", "A").await });
    let line = format!("Worker {worker} gives no sign of life for 10s: killing it");
    agent.wait_for_line_after(lines, &line, LONG).await.unwrap();
    agent.says_after(lines, " serves").await;
    agent.note_worker();
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.rcode(), "NXDOMAIN");
    gone(worker).await;
    assert_eq!(
        node.metric("pando_node_worker_hangs_total").await,
        Some(1.0)
    );
    assert_eq!(
        node.metric("pando_node_worker_restarts_total").await,
        Some(1.0)
    );
    assert_eq!(node.metric("pando_node_fail_open").await, Some(0.0));
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stands_still_for_a_while_is_left_alone() {
    let node = Node::new().await;
    let agent = node.start().await;
    let worker = agent.worker().unwrap();
    for _ in 0..2 {
        node::signal(worker, Signal::STOP);
        // Of time itself there is no event.
        tokio::time::sleep(Duration::from_secs(7)).await;
        node::signal(worker, Signal::CONT);
        assert!(node.client().ask("a.example", "A").await.is_ok());
    }
    assert_eq!(agent.worker(), Some(worker));
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_stood_still_finds_its_worker_alive() {
    let node = Node::new().await;
    let agent = node.start().await;
    let worker = agent.worker().unwrap();
    let both = [worker, agent.pid().unwrap()];
    for pid in both {
        node::signal(pid, Signal::STOP);
    }
    tokio::time::sleep(Duration::from_secs(15)).await;
    // The parent looks before its worker can say anything.
    for pid in [both[1], both[0]] {
        node::signal(pid, Signal::CONT);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(node.client().ask("a.example", "A").await.is_ok());
    assert_eq!(agent.worker(), Some(worker));
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_begins_with_what_the_cache_knew() {
    let node = Node::new().await;
    let records = ["known.example. 60 IN A 192.0.2.7"];
    node.upstream.answer("known.example.", "A", &records);
    let mut old = node.start().await;
    let client = node.client();
    client.ask("known.example", "A").await.unwrap();
    let new = node.succeed("Corefile2").await;
    let answer = client.ask("known.example", "A").await.unwrap();
    assert_eq!(answer.data(), ["192.0.2.7"]);
    assert_eq!(node.upstream.count("known.example.", "A"), 1);
    // Also from a worker whose parent is gone.
    old.kill_parent().await;
    drop(old);
    let mut new = new;
    new.kill_parent().await;
    let newest = node.succeed("Corefile3").await;
    client.ask("known.example", "A").await.unwrap();
    assert_eq!(node.upstream.count("known.example.", "A"), 1);
    newest.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_ends_hands_back() {
    let node = Node::new().await;
    let old = node.start().await;
    let load = node.load();
    answers(&load, 200).await;
    let new = node.succeed("Corefile2").await;
    answers(&load, 200).await;
    let said = new.end().await;
    assert!(said.contains("The other instance serves again"), "{said}");
    answers(&load, 200).await;
    let tally = load.finish().await.unwrap();
    assert_eq!(tally.unanswered, 0, "{tally}");
    old.end().await;
    assert!(!node.path("handover.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_cannot_serve_changes_nothing() {
    let node = Node::new().await;
    let old = node.start().await;
    let worker = old.worker();
    node.corefile("no_such_directive");
    let new = node.spawn("Corefile2");
    new.says("starting another in 2s").await;
    let new = new.end().await;
    assert!(!new.contains("Tearing down"), "{new}");
    old.says("ended before it served; serving on").await;
    assert_eq!(old.worker(), worker);
    assert!(node.client().ask("a.example", "A").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_start_at_once_one_takes_over() {
    let node = Node::new().await;
    let [one, other] = ["Corefile", "Corefile2"].map(|name| node.spawn(name));
    let took = |agent: &Agent| {
        let lines = agent.lines();
        let took = |text: &str| text.contains("Took over from the other instance");
        lines.iter().any(|line| took(&line.text)).then_some(())
    };
    let which = until("one that took over", BOUND, || async {
        took(&one)
            .map(|()| false)
            .or_else(|| took(&other).map(|()| true))
    });
    let (old, mut new) = match which.await.unwrap() {
        true => (one, other),
        false => (other, one),
    };
    new.note_worker();
    old.says("Another instance has taken over").await;
    old.end().await;
    assert!(node.client().ask("a.example", "A").await.is_ok());
    assert!(node.path("handover.sock").exists());
    new.end().await;
    assert!(!node.path("handover.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_long_to_end_is_waited_for() {
    let node = Node::new().await;
    let base = fs::read_to_string(node.path("base")).unwrap();
    let lame = base.replace("\n prometheus", " {\n lameduck 12s\n }\n prometheus");
    fs::write(node.path("base"), lame).unwrap();
    let mut old = node.start().await;
    old.signal("TERM").await.unwrap();
    old.says("Going into lameduck mode").await;
    let new = node.spawn("Corefile2");
    new.says("it is ending; waiting").await;
    // Only then may it claim what the old one takes away.
    new.wait_for_line(" serves", LONG).await.unwrap();
    let status = old.wait_exit(BOUND).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(
        !new.shown().contains("without hand-over"),
        "{}",
        new.shown()
    );
    assert!(node.path("handover.sock").exists());
    assert!(node.client().ask("a.example", "A").await.is_ok());
    fs::write(node.path("base"), base).unwrap();
    new.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_as_many_descriptors_as_it_may() {
    let node = Node::new().await;
    let agent = node.command("Corefile");
    let mut command = tokio::process::Command::new("prlimit");
    command.arg("--nofile=64:4096");
    command.arg(agent.as_std().get_program());
    command.args(agent.as_std().get_args());
    let mut agent = Agent::spawn(command);
    agent.serves().await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", agent.pid().unwrap())).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let files: Vec<_> = files.unwrap().split_whitespace().collect();
    assert_eq!(files[3..5], ["4096", "4096"], "{limits}");
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_serves_on_without_its_parent_until_another_comes() {
    let node = Node::new().await;
    let mut old = node.start().await;
    let load = node.load();
    let worker = old.worker().unwrap();
    old.kill_parent().await;
    old.wait_for_line("The parent is gone; serving on", BOUND)
        .await
        .unwrap();
    answers(&load, 500).await;
    let new = node.succeed("Corefile2").await;
    gone(worker).await;
    answers(&load, 500).await;
    let tally = load.finish().await.unwrap();
    assert_eq!(tally.unanswered, 0, "{tally}");
    new.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_nobody_can_take_over_from_ends_with_its_parent() {
    let node = Node::new().await;
    let mut agent = Agent::spawn(node.command("Corefile"));
    agent.serves().await;
    let worker = agent.worker().unwrap();
    agent.kill_parent().await;
    gone(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_the_worker_finish_and_leaves_nothing() {
    let node = Node::new().await;
    let slow = Reply::answer(&["slow.example. 60 IN A 192.0.2.2"]);
    let slow = slow.after(Duration::from_millis(800));
    node.upstream.rule(Rule::new(slow).name("slow.example."));
    let mut command = node.command("Corefile");
    command.arg("-handover").arg(node.path("handover.sock"));
    command.arg("-pidfile").arg(node.path("pid"));
    let mut agent = Agent::spawn(command);
    agent.serves().await;
    let pid = fs::read_to_string(node.path("pid")).unwrap();
    assert_eq!(pid.trim().parse().ok(), agent.pid());
    let client = node.client();
    let waiting = tokio::spawn(async move { client.ask("slow.example", "A").await });
    node.upstream.wait_seen(1, BOUND).await.unwrap();
    let worker = agent.worker().unwrap();
    let said = agent.end().await;
    assert!(said.contains("SIGTERM"), "{said}");
    assert_eq!(waiting.await.unwrap().unwrap().data(), ["192.0.2.2"]);
    assert!(!is_alive(worker));
    assert!(!node.path("pid").exists() && !node.path("handover.sock").exists());
    std::net::UdpSocket::bind(node.address()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_before_a_worker_serves_ends_it_all() {
    let node = Node::new().await;
    node.corefile("no_such_directive");
    let agent = node.spawn("Corefile");
    agent.says("starting another in 1s").await;
    agent.end().await;
}

/// Whatever its worker is just about.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_a_start_at_once() {
    let node = Node::new().await;
    for milliseconds in (0..60).step_by(4) {
        let agent = node.spawn("Corefile");
        agent.says("Updated Corefile").await;
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        let told = Instant::now();
        agent.end().await;
        let took = told.elapsed();
        // Far less than the parent waits before it kills.
        assert!(took < Duration::from_secs(10), "{milliseconds}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn something_else_at_the_path_is_left_alone() {
    let node = Node::new().await;
    let path = node.path("handover.sock");
    fs::write(&path, "a file").unwrap();
    let mut agent = node.spawn("Corefile");
    agent.serves().await;
    agent
        .says("handover.sock is no socket; going on without hand-over")
        .await;
    assert!(node.client().ask("a.example", "A").await.is_ok());
    agent.end().await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_and_gives_nothing() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can be somebody else");
    }
    let nobody = 65_534;
    let (theirs, ours) = (Node::new().await, Node::new().await);
    for node in [&theirs, &ours] {
        fs::set_permissions(node.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    }
    // The other one has the socket.
    let binary = theirs.path("pando-node");
    // By another process: a child that a test beside this one starts would hold
    // open for writing what is to be run.
    let copied = tokio::process::Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_pando-node"))
        .arg(env!("CARGO_BIN_EXE_pando-node-worker"))
        .arg(theirs.folder.path())
        .status();
    assert!(copied.await.unwrap().success());
    let as_nobody = |node: &Node| {
        let mut command = tokio::process::Command::new(&binary);
        command.args(node.command("Corefile").as_std().get_args());
        command.arg("-handover").arg(theirs.path("handover.sock"));
        command.uid(nobody).gid(nobody);
        Agent::spawn(command)
    };
    let mut stranger = as_nobody(&theirs);
    stranger.serves().await;
    let mut command = ours.command("Corefile");
    command.arg("-handover").arg(theirs.path("handover.sock"));
    let mut agent = Agent::spawn(command);
    agent.serves().await;
    agent
        .says("has user id 65534, not 0: a stranger; going on without hand-over")
        .await;
    stranger
        .says("a process with user id 0, not 65534, is refused")
        .await;
    assert!(ours.client().ask("a.example", "A").await.is_ok());
    assert!(theirs.client().ask("a.example", "A").await.is_ok());
    agent.end().await;
    stranger.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_stay_up_is_told_and_tried_again() {
    let node = Node::new().await;
    let mut agent = node.start().await;
    assert_eq!(node.page("/health").await.unwrap().body, "OK");
    // A template that makes the next worker fail is no reason to end this one.
    node.corefile_now("no_such_directive");
    node::kill(agent.worker().unwrap());
    agent.says("No worker stays up").await;
    let health = node.page("/health").await.unwrap();
    assert_eq!(health.status.as_u16(), 503);
    assert!(
        health.body.contains("no worker stays up"),
        "{}",
        health.body
    );
    assert!(health.body.contains("exit status: 1"), "{}", health.body);
    assert_eq!(node.metric("pando_node_fail_open").await, Some(1.0));
    agent.says("starting another in 2s").await;
    node.corefile_now("");
    agent.says("A worker serves again").await;
    agent.serves().await;
    assert!(node.client().ask("a.example", "A").await.is_ok());
    assert_eq!(node.page("/health").await.unwrap().body, "OK");
    assert_eq!(node.metric("pando_node_fail_open").await, Some(0.0));
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_come_to_serve_leaves_clients_to_the_cluster() {
    let node = Node::new().await;
    let agent = node.start().await;
    // The next one waits for an API server that there is none of.
    node.corefile_now(
        "kubernetes cluster.local {\n endpoint http://127.0.0.1:1\n startup_timeout 10m\n }",
    );
    node::kill(agent.worker().unwrap());
    let line = "No worker comes to serve";
    agent.wait_for_line(line, LONG).await.unwrap();
    assert_eq!(node.metric("pando_node_fail_open").await, Some(1.0));
    assert_eq!(node.page("/health").await.unwrap().status.as_u16(), 503);
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_has_the_metrics_of_both() {
    let node = Node::new().await;
    let mut agent = node.start().await;
    node.client().ask("a.example", "A").await.unwrap();
    let page = node.page("/metrics").await.unwrap();
    for part in [
        "coredns_nodecache_setup_errors_total{errortype=\"iptables\"} 0\n",
        "pando_node_worker_serving 1\n",
        "\ncoredns_dns_requests_total",
    ] {
        assert!(page.body.contains(part), "{part}");
    }
    assert_eq!(node.page("/").await.unwrap().status.as_u16(), 404);
    // The worker's own page is reached through its parent while it is away.
    agent.kill_worker().await;
    let back = || async {
        node.metric("pando_node_worker_serving")
            .await
            .filter(|it| *it == 1.0)
    };
    until("a worker", BOUND, back).await.unwrap();
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parent_is_small() {
    let node = Node::new().await;
    let agent = node.start().await;
    node.page("/metrics").await.unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid().unwrap())).unwrap();
    let octets = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap()
            .trim_matches(|c: char| !c.is_ascii_digit())
            .parse::<u64>()
            .unwrap()
            << 10
    };
    // Its own memory; its code is as small as it should be where it is released.
    assert!(octets("RssAnon:") <= 2 << 20, "{status}");
    if std::env::var_os("PANDO_NODE_BIN").is_some() {
        assert!(octets("VmRSS:") <= 4 << 20, "{status}");
    }
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigusr1_reloads() {
    let node = Node::new().await;
    let agent = node.start().await;
    node.corefile_now("template ANY ANY {\n rcode REFUSED\n }");
    agent.signal("USR1").await.unwrap();
    agent.says("Reloading complete").await;
    let answer = node.client().ask("a.example", "A").await.unwrap();
    assert_eq!(answer.rcode(), "REFUSED");
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_shows_the_worker_and_is_back_with_the_next() {
    let node = Node::new().await;
    let port = Port::claim();
    let console: std::net::SocketAddr = ([127, 0, 0, 1], port.number()).into();
    node.corefile(&format!("console {console}"));
    let mut agent = node.start().await;
    let watch = || async { events(console, "/console/events").await.ok() };
    let mut before = watch().await.unwrap();
    let shows = async |events: &mut Events| {
        let event = events.next().await.unwrap().unwrap();
        assert!(
            event.contains(&node.upstream.address().to_string()),
            "{event}"
        );
    };
    shows(&mut before).await;
    agent.kill_worker().await;
    // The end of the connection, in whatever way it comes.
    while let Ok(Some(_)) = before.next().await {}
    let mut after = until("the page", BOUND, watch).await.unwrap();
    shows(&mut after).await;
    agent.end().await;
}
