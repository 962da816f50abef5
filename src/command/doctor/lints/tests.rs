//! What is said about which line.

use corefile::SystemHost;

use super::*;

fn found(text: &str, context: &Context) -> Vec<String> {
    let text = Text {
        name: "Corefile".to_owned(),
        text: text.to_owned(),
    };
    let found = lint(&text, &SystemHost::default(), context);
    let line = |finding: &Finding| {
        let place = finding.place.as_deref().unwrap_or("-");
        format!("{:?} {place} {}", finding.severity, finding.what)
    };
    found.iter().map(line).collect()
}

/// The kubeadm Corefile, which has nothing to say but this.
const FINE: &str = ".:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods verified
        fallthrough in-addr.arpa ip6.arpa
    }
    prometheus :9153
    forward . 192.0.2.53
    cache 30
    loop
    reload
}
";

fn changed(from: &str, to: &str) -> Vec<String> {
    assert!(FINE.contains(from), "{from}");
    found(&FINE.replace(from, to), &Context::default())
}

#[test]
fn a_good_corefile_is_ok() {
    assert_eq!(
        found(FINE, &Context::default()),
        ["Ok - 1 server block, all of it understood"]
    );
}

#[test]
fn an_empty_corefile_is_no_cluster_dns() {
    let found = found("# nothing\n", &Context::default());
    assert_eq!(
        found,
        ["Error - no server block: every query is answered with the address of who asks"]
    );
}

#[test]
fn each_lint_names_its_line() {
    for (from, to, want) in [
        (
            "fallthrough in-addr.arpa ip6.arpa",
            "fallthrough in-addr.arpa",
            "Warning Corefile:5 no fallthrough for ip6.arpa.: addresses outside the cluster have no names, and nobody else is asked",
        ),
        (
            "fallthrough in-addr.arpa ip6.arpa",
            "fallthrough",
            "Warning Corefile:7 fallthrough of cluster.local.: each name that does not exist, and with it every walk along the search path, is asked upstream",
        ),
        (
            "    ready\n",
            "",
            "Warning - no ready: a replica that does not know the cluster yet gets queries all the same",
        ),
        (
            "    loop\n",
            "",
            "Warning - no loop: a forwarding loop is not noticed",
        ),
        (
            "    errors\n",
            "",
            "Warning - no errors: failed queries leave no line in the log",
        ),
        (
            "    health\n",
            "",
            "Warning - no health: a replica that hangs is not restarted, and one that ends does not wait for its last queries",
        ),
        (
            "    cache 30\n",
            "",
            "Warning Corefile:10 forward without cache: each query for an external name goes upstream",
        ),
        (
            "forward . 192.0.2.53",
            "forward . 127.0.0.1",
            "Error Corefile:10 forward to 127.0.0.1:53, where this server block itself listens: a loop",
        ),
        (
            "forward . 192.0.2.53",
            "forward . 192.0.2.53 dns://127.0.0.53:5353",
            "Warning Corefile:10 forward to 127.0.0.53:5353: in a Pod that is the Pod itself, and no server block listens there",
        ),
        (
            "forward . 192.0.2.53",
            "forward . 192.0.2.53\n    forward . 192.0.2.54",
            "Warning Corefile:11 forward . is never asked: that of line 10 takes all its queries",
        ),
        (
            "pods verified",
            "endpoint https://a https://b\n        pods verified",
            "Warning Corefile:6 of several endpoints only the first is used: https://a",
        ),
        (
            "pods verified",
            "upstream",
            "Error Corefile:6 unknown property 'upstream'",
        ),
        (
            "pods verified",
            "resyncperiod 5m",
            "Error Corefile:6 unknown property 'resyncperiod'",
        ),
        (
            "    loop\n",
            "    loop\n    dnstap /tmp/x\n",
            "Error Corefile:13 directive 'dnstap' is not supported yet",
        ),
        (
            "    loop\n",
            "    loop\n    proxy . 192.0.2.1\n",
            "Error Corefile:13 Unknown directive 'proxy'",
        ),
        (
            "    loop\n",
            "    loop\n    hosts {\n 192.0.2.1 a.test\n }\n",
            "Error Corefile:13 hosts without fallthrough: every name that is not in it fails, and kubernetes or forward is never asked",
        ),
        (
            ".:53 {",
            "cluster.local:53 {",
            "Warning - no server block for `.`: external names are refused",
        ),
    ] {
        let found = changed(from, to);
        assert!(
            found.iter().any(|line| line.starts_with(want)),
            "{to}: {found:#?}"
        );
    }
}

#[test]
fn every_mistake_is_told_at_once() {
    let found = changed(
        "    loop\n",
        "    loop\n    trace\n    dnssec\n    bufsize x\n",
    );
    let errors = found.iter().filter(|line| line.starts_with("Error"));
    assert_eq!(errors.count(), 3, "{found:#?}");
}

#[test]
fn autopath_needs_to_know_the_pods() {
    let autopath = "    autopath @kubernetes\n    loop\n";
    let text = FINE.replace("    loop\n", autopath);
    assert!(found(&text, &Context::default())[0].starts_with("Ok"));
    let found = found(
        &text.replace("pods verified", "pods insecure"),
        &Context::default(),
    );
    assert_eq!(
        found,
        [
            "Warning Corefile:12 autopath @kubernetes without `pods verified`: it cannot know whose search path to walk",
            "Info Corefile:6 pods insecure: any address has a name in every namespace, whether a Pod has it or not",
        ]
    );
}

#[test]
fn the_cluster_tells_what_is_a_loop() {
    let context = Context {
        service: vec!["10.96.0.10".parse().unwrap()],
        asks_itself: true,
        ..Context::default()
    };
    for (to, want) in [
        (
            "10.96.0.10",
            "Error Corefile:10 forward to 10.96.0.10:53, the address of the Service itself: a loop",
        ),
        (
            "/etc/resolv.conf",
            "Error Corefile:10 /etc/resolv.conf of the replicas names the cluster DNS: forward asks itself",
        ),
    ] {
        let text = FINE.replace("192.0.2.53", to);
        assert_eq!(found(&text, &context), [want]);
        assert!(
            found(&text, &Context::default())[0].starts_with("Ok"),
            "{to}"
        );
    }
    // A node agent binds the Service's address, and must not ask it.
    let agent = ".:53 {\n bind 169.254.20.10 10.96.0.10\n forward . 169.254.20.10\n cache\n}\n";
    assert_eq!(
        found(agent, &Context::default()),
        [
            "Error Corefile:3 forward to 169.254.20.10:53, where this server block itself listens: a loop"
        ]
    );
}

#[test]
fn what_only_coredns_serves_is_no_error_there() {
    let context = Context {
        server: Server::CoreDns,
        ..Context::default()
    };
    let text = FINE.replace("    loop\n", "    loop\n    dnstap /tmp/x\n");
    assert_eq!(
        found(&text, &context),
        [
            "Warning Corefile:13 directive 'dnstap' is not supported yet",
            "Info Corefile:11 cache hides changes below cluster.local. for as long as it keeps them, up to 30s by default",
        ]
    );
    let kept = "cache 30 {\n disable success cluster.local\n disable denial cluster.local\n }";
    assert!(found(&FINE.replace("cache 30", kept), &context)[0].starts_with("Ok"));
}

#[test]
fn zones_that_are_served_twice_are_found() {
    let text = format!("{FINE}\n.:53 {{\n whoami\n}}\n");
    let found = found(&text, &Context::default());
    assert!(
        found[0].starts_with("Error Corefile:16 cannot serve dns://.:53 - it is already defined"),
        "{found:#?}"
    );
}

#[test]
fn the_corefiles_of_the_distributions_are_healthy() {
    for (name, text) in [
        (
            "eks",
            include_str!("../../../../tests/corefiles/eks.corefile"),
        ),
        (
            "kops",
            include_str!("../../../../tests/corefiles/kops.corefile"),
        ),
        (
            "kubeadm",
            include_str!("../../../../tests/corefiles/kubeadm.corefile"),
        ),
        (
            "openshift",
            include_str!("../../../../tests/corefiles/openshift.corefile"),
        ),
        (
            "rke2",
            include_str!("../../../../tests/corefiles/rke2.corefile"),
        ),
    ] {
        let found = found(text, &Context::default());
        assert!(
            !found.iter().any(|line| line.starts_with("Error")),
            "{name}: {found:#?}"
        );
    }
}
