//! What cannot work is said, and never makes the node's DNS worse: a Pod that
//! asks the Service `kube-dns` gets its answer, from whoever is left.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use pando_test::{Agent, BOUND, Process, Site, until};

use crate::corefiles;
use crate::rooms::{Behind, House, SOON, only_for_the_agent};

async fn house() -> Option<House> {
    match only_for_the_agent() {
        true => None,
        false => House::build(Behind::Pando, &["shop"]).await,
    }
}

/// One line says it, with all of these words.
async fn says(agent: &Agent, words: &[&str]) {
    let said = until("a line", SOON, || async {
        let lines = agent.lines();
        let whole = |text: &str| words.iter().all(|word| text.contains(word));
        lines.iter().any(|line| whole(&line.text)).then_some(())
    });
    let shown = || agent.shown();
    said.await
        .unwrap_or_else(|_| panic!("no line with {words:?}:\n{}", shown()));
}

/// The Service's address answers.
async fn no_worse(house: &House) {
    let web = "web.shop.svc.cluster.local";
    let answer = house.site.pods[0].ask(Site::KUBE_DNS, web, "A").await;
    assert_eq!(answer.expect("an answer").data(), ["10.96.1.1"]);
}

/// It neither serves nor has touched the node, and says why.
async fn stays_away(house: &House, agent: Agent, words: &[&str]) {
    says(&agent, words).await;
    no_worse(house).await;
    let state = house.state();
    assert!(
        !state.contains("169.254.20.10"),
        "{state}\n{}",
        agent.shown()
    );
    drop(agent);
}

async fn setup_errors(house: &House, kind: &str) {
    let name = format!("coredns_nodecache_setup_errors_total{{errortype=\"{kind}\"}} ");
    let counted = until(&name, BOUND, || async {
        let page = house.page("10.0.0.1:9353", "/metrics").await.ok()?;
        let line = page
            .body
            .lines()
            .find_map(|line| line.strip_prefix(&name).map(str::to_owned));
        (line? != "0").then_some(())
    });
    counted.await.expect("a counted error");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_another_interface_stays_there() {
    let Some(house) = house().await else { return };
    let node = &house.site.node;
    node.ip("addr add 169.254.20.10/32 dev pod0\n")
        .expect("an address");
    let before = house.state();
    let mut agent = house.agent(&corefiles::cache_only(), &[]);
    says(&agent, &["169.254.20.10", "pod0"]).await;
    no_worse(&house).await;
    agent.signal("TERM").await.expect("runs");
    agent.wait_exit(BOUND).await.expect("ends");
    house.is_as(&before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_another_server_is_left_to_it() {
    let Some(house) = house().await else { return };
    let taken = house.site.node.enter(|| {
        let udp = UdpSocket::bind("0.0.0.0:53")?;
        Ok::<_, std::io::Error>((udp, TcpListener::bind("0.0.0.0:53")?))
    });
    let _taken = taken.expect("entered").expect("the port");
    let agent = house.agent(&corefiles::cache_only(), &[]);
    stays_away(&house, agent, &["169.254.20.10:53", "in use"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_net_admin_nothing_is_set_up() {
    let Some(house) = house().await else { return };
    let by = [
        "setpriv",
        "--inh-caps=-net_admin",
        "--bounding-set=-net_admin",
    ];
    let agent = house.agent_by(&by, &corefiles::cache_only(), &[]);
    stays_away(&house, agent, &["NET_ADMIN"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_firewall_it_serves_without_rules() {
    let Some(house) = house().await else { return };
    let by = ["env", "PATH=/nowhere"];
    let agent = house.agent_by(&by, &corefiles::cache_only(), &[]);
    house.served(&agent).await;
    says(&agent, &["nft", "iptables"]).await;
    no_worse(&house).await;
    setup_errors(&house, "iptables").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_upstream_service_nothing_is_set_up() {
    let Some(house) = house().await else { return };
    let by = ["env", "-u", "KUBE_DNS_UPSTREAM_SERVICE_HOST"];
    let agent = house.agent_by(&by, &corefiles::cache_only(), &[]);
    stays_away(
        &house,
        agent,
        &["kube-dns-upstream", "KUBE_DNS_UPSTREAM_SERVICE_HOST"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_corefile_that_can_be_read_nothing_is_set_up() {
    let Some(house) = house().await else { return };
    let agent = house.agent("cluster.local:53 {\n    frobnicate\n}\n", &[]);
    stays_away(&house, agent, &["frobnicate"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_that_cannot_be_read_is_left_out() {
    let Some(house) = house().await else { return };
    let folder = house.site.folder().join("kube-dns");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("stubDomains"), "{\"corp.example\": 10.1.1.1").expect("written");
    let path = folder.display().to_string();
    let agent = house
        .serving(&corefiles::cache_only(), &["-kubednscm", &path])
        .await;
    says(&agent, &["nvalid", "stubDomains"]).await;
    no_worse(&house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_at_the_hand_over_gets_nothing() {
    let Some(house) = house().await else { return };
    let folder = house.site.folder().join("shared");
    std::fs::create_dir(&folder).expect("a folder");
    let chmod = ["chmod", "0777", &folder.display().to_string()];
    house.site.node.run(chmod).expect("for all");
    // The host's other users have the folder too, as a hostPath.
    house
        .site
        .node
        .run(["chmod", "0755", &house.site.folder().display().to_string()])
        .expect("chmod");
    let path = folder.join("handover.sock");
    let _stranger = stranger(&house, &path).await;
    let path = path.display().to_string();
    let agent = house
        .serving(&corefiles::cache_only(), &["-handover", &path])
        .await;
    says(&agent, &[&path]).await;
    no_worse(&house).await;
}

/// A program of another user that listens there and takes what it gets.
async fn stranger(house: &House, path: &Path) -> Process {
    let script = "use Socket;
        socket(my $listener, PF_UNIX, SOCK_SEQPACKET, 0) or die;
        bind($listener, pack_sockaddr_un($ARGV[0])) and listen($listener, 9) or die $!;
        chmod 0777, $ARGV[0];
        $| = 1;
        print \"listening\\n\";
        my @taken;
        while (accept(my $one, $listener)) { push @taken, $one }";
    let mut command = house.site.node.command("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "perl",
        "-e",
        script,
    ]);
    command.arg(path);
    let process = Process::spawn(command, None);
    let process = process.expect("perl starts");
    process
        .wait_for_line("listening", BOUND)
        .await
        .expect("listens");
    process
}
