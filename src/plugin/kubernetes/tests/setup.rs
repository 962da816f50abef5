//! The directive: what is accepted, what is refused, and in which words.

use std::time::Duration;

use corefile::SystemHost;

use super::spec::{Options, PodMode, Source, parse};
use super::*;
use crate::plugin::{BuildError, Builder, Hooks, Kept};

/// Reads the directive from line 2 of a Corefile, in a block of two zones.
fn read(text: &str) -> Result<Options, String> {
    let corefile = format!("cluster.local 10.0.0.0/8 {{\n{text}\n}}\n");
    let tree = corefile::parse(
        "Corefile",
        &corefile,
        &["kubernetes"],
        &SystemHost::default(),
    );
    let tree = tree.map_err(|error| error.first_line().to_owned())?;
    let keys = corefile::key::inspect(&tree, 53).unwrap().remove(0);
    let directive = tree.blocks[0].directive("kubernetes").unwrap();
    parse(directive, &Block::new(keys)).map_err(|error| error.first_line().to_owned())
}

/// Reads one with these lines in its block.
fn with(lines: &str) -> Result<Options, String> {
    read(&format!("kubernetes coredns.local {{\n{lines}\n}}"))
}

fn names(zones: &[NameBuf]) -> Vec<String> {
    zones.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults() {
    let options = read("kubernetes").unwrap();
    assert_eq!(
        names(&options.zones),
        ["cluster.local.", "10.in-addr.arpa."]
    );
    assert_eq!(options.primary.to_string(), "cluster.local.");
    assert_eq!(options.source, Source::default());
    assert_eq!((options.ttl, options.pods), (5, PodMode::Disabled));
    assert_eq!(options.startup_timeout, Duration::from_secs(5));
    assert!(options.endpoints && !options.zonal && !options.endpoint_pod_names);
    assert!(options.fall.is_empty() && options.namespaces.is_empty());
    assert!(options.labels.is_none() && options.namespace_labels.is_none());
    assert!(options.snapshot.is_none() && options.node.is_none() && options.warnings.is_empty());
}

#[test]
fn zones() {
    for (text, zones, primary) in [
        (
            "kubernetes coredns.local",
            "coredns.local.",
            "coredns.local.",
        ),
        (
            "kubernetes Coredns.local test.local",
            "coredns.local. test.local.",
            "coredns.local.",
        ),
        (
            "kubernetes 10.0.0.0/15 a.b",
            "0.10.in-addr.arpa. 1.10.in-addr.arpa. a.b.",
            "a.b.",
        ),
        // The tree itself does not count as a reverse zone.
        (
            "kubernetes in-addr.arpa a.b",
            "in-addr.arpa. a.b.",
            "in-addr.arpa.",
        ),
        ("kubernetes a.b a..b", "a.b.", "a.b."),
    ] {
        let options = read(text).unwrap();
        assert_eq!(names(&options.zones).join(" "), zones, "{text}");
        assert_eq!(options.primary.to_string(), primary, "{text}");
    }
}

#[test]
fn options_are_read() {
    let all = with(
        "endpoint http://localhost:9090 http://localhost:9091\n\
         tls cert key ca\n\
         namespaces demo\n\
         namespaces test other\n\
         labels environment in (production, staging, qa),application=nginx\n\
         pods verified\n\
         endpoint_pod_names\n\
         ttl 30\n\
         zonal\n\
         fallthrough ip6.arpa foo.com\n\
         ignore empty_service\n\
         multicluster coredns.local\n\
         startup_timeout 1m30s\n\
         apiserver_qps 100.5\n\
         apiserver_burst 10\n\
         apiserver_max_inflight 0\n\
         node worker-1\n\
         snapshot /var/lib/pando/state",
    )
    .unwrap();
    assert_eq!(
        all.source.endpoint.as_deref(),
        Some("http://localhost:9090")
    );
    assert_eq!(
        all.source.tls,
        Some(["cert", "key", "ca"].map(str::to_owned))
    );
    assert_eq!(
        all.warnings,
        [
            "Multiple endpoints have been deprecated, only the first specified endpoint 'http://localhost:9090' is used"
        ]
    );
    assert_eq!(all.namespaces, ["demo", "test", "other"]);
    assert_eq!(
        all.labels.unwrap().to_string(),
        "application=nginx,environment in (production,qa,staging)"
    );
    assert_eq!((all.pods, all.ttl), (PodMode::Verified, 30));
    assert!(all.endpoint_pod_names && all.zonal && all.ignore_empty_service);
    assert_eq!(names(&all.fall), ["ip6.arpa.", "foo.com."]);
    assert_eq!(names(&all.multicluster), ["coredns.local."]);
    assert_eq!(all.startup_timeout, Duration::from_secs(90));
    assert_eq!(all.snapshot.as_deref(), Some("/var/lib/pando/state"));
    assert_eq!(all.node.as_deref(), Some("worker-1"));

    let other = with("kubeconfig file context\nnamespace_labels istio-injection=enabled\nnoendpoints\nfallthrough").unwrap();
    assert_eq!(
        other.source.kubeconfig,
        Some(("file".into(), Some("context".into())))
    );
    assert_eq!(
        other.namespace_labels.unwrap().to_string(),
        "istio-injection=enabled"
    );
    assert_eq!(
        (names(&other.fall), other.endpoints),
        (vec![".".to_owned()], false)
    );

    assert_eq!(
        with("manifests a.yaml b\nmanifests c")
            .unwrap()
            .source
            .manifests,
        ["a.yaml", "b", "c"]
    );
    // What is said twice: the last one counts.
    assert_eq!(
        names(&with("fallthrough a\nfallthrough b").unwrap().fall),
        ["b."]
    );
    assert_eq!(
        with("pods insecure\npods disabled").unwrap().pods,
        PodMode::Disabled
    );
    assert!(!with("ignore").unwrap().ignore_empty_service);
    assert_eq!(
        with("startup_timeout -1s").unwrap().startup_timeout,
        Duration::ZERO
    );
    assert_eq!(with("ttl 0").unwrap().ttl, 0);
    assert_eq!(with("ttl 3600 7").unwrap().ttl, 3600);
}

#[test]
fn refusals_have_coredns_words() {
    let args = |line: u32, word: &str| {
        format!(
            "Corefile:{line} - Error during parsing: Wrong argument count or unexpected line ending after '{word}'"
        )
    };
    let at = |line: u32, why: &str| format!("Corefile:{line} - Error during parsing: {why}");
    for (lines, want) in [
        ("labels", args(3, "labels")),
        ("namespaces", args(3, "namespaces")),
        ("namespace_labels", args(3, "namespace_labels")),
        ("endpoint", args(3, "endpoint")),
        ("pods", args(3, "pods")),
        ("pods verified insecure", args(3, "insecure")),
        ("ttl", args(3, "ttl")),
        ("tls cert key", args(3, "key")),
        ("tls a b c d", args(3, "d")),
        ("kubeconfig", args(3, "kubeconfig")),
        ("kubeconfig file context extraarg", args(3, "extraarg")),
        ("noendpoints ixnay", args(3, "ixnay")),
        ("zonal x", args(3, "x")),
        ("endpoint_pod_names giant_seed", args(3, "giant_seed")),
        ("startup_timeout", args(3, "startup_timeout")),
        ("apiserver_qps", args(3, "apiserver_qps")),
        ("apiserver_burst 1 2", args(3, "2")),
        ("manifests", args(3, "manifests")),
        ("snapshot a b", args(3, "b")),
        ("node", args(3, "node")),
        ("node a b", args(3, "b")),
        (
            "node \"\"",
            at(3, "node needs the name of the node that this runs on"),
        ),
        (
            "pods giant_seed",
            "wrong value for pods: giant_seed,  must be one of: disabled, verified, insecure".into(),
        ),
        (
            "labels environment in (production, qa",
            "unable to parse label selector value: 'environment in (production, qa': couldn't parse the selector string \
             \"environment in (production, qa\": unable to parse requirement: found '', expected: ',' or ')'"
                .into(),
        ),
        (
            "namespace_labels a!=b",
            "unable to parse namespace_label selector value: 'a!=b': \"!=\" is not a valid label selector operator".into(),
        ),
        ("ttl one", "strconv.Atoi: parsing \"one\": invalid syntax".into()),
        ("ttl 3601", at(3, "ttl must be in range [0, 3600]: 3601")),
        ("ttl -1", at(3, "ttl must be in range [0, 3600]: -1")),
        ("ignore nothing", "unable to parse ignore value: 'nothing'".into()),
        (
            "startup_timeout 5",
            "failed to parse startup_timeout: 5, time: missing unit in duration \"5\"".into(),
        ),
        ("apiserver_qps x", at(3, "invalid apiserver_qps \"x\": strconv.ParseFloat: parsing \"x\": invalid syntax")),
        ("apiserver_qps 1e99", at(3, "invalid apiserver_qps \"1e99\": strconv.ParseFloat: parsing \"1e99\": value out of range")),
        ("apiserver_qps -1", at(3, "apiserver_qps must be >= 0")),
        ("apiserver_burst x", at(3, "invalid apiserver_burst \"x\": strconv.Atoi: parsing \"x\": invalid syntax")),
        ("apiserver_burst -1", at(3, "apiserver_burst must be >= 0")),
        ("apiserver_max_inflight -5", at(3, "apiserver_max_inflight must be >= 0")),
        ("resyncperiod 5m", at(3, "unknown property 'resyncperiod'")),
        ("upstream 1.1.1.1", at(3, "unknown property 'upstream'")),
        ("transfer to *", at(3, "unknown property 'transfer'")),
        (
            "namespaces a\nnamespace_labels b=c",
            at(5, "namespaces and namespace_labels cannot both be set"),
        ),
        (
            "multicluster a.b coredns.local",
            at(4, "is not authoritative for the multicluster zone a.b. (authoritative zones: [coredns.local.])"),
        ),
        ("noendpoints\nzonal", at(5, "zonal requires the endpoint cache; remove noendpoints")),
        (
            "manifests a\nendpoint http://b",
            at(5, "manifests stand in for an API server; remove endpoint, tls and kubeconfig"),
        ),
        ("manifests a\nsnapshot b", at(5, "manifests are on disk already; remove snapshot")),
    ] {
        assert_eq!(with(lines).err(), Some(want), "{lines}");
    }
    for (text, want) in [
        (
            "kubernetes 10.0.0.0/8",
            "non-reverse zone name must be used",
        ),
        ("kubernetes a..b", "non-reverse zone name must be used"),
        (
            "kubernetes a\nkubernetes b",
            "this plugin can only be used once per Server Block",
        ),
        (
            "kubernetes a {\nttl x\n}\nkubernetes b",
            "strconv.Atoi: parsing \"x\": invalid syntax",
        ),
    ] {
        assert_eq!(read(text).err().as_deref(), Some(want), "{text}");
    }
}

#[test]
fn what_cannot_be_opened_is_named_as_coredns_does() {
    for (lines, want) in [
        (
            "endpoint http://127.0.0.1:1\ntls /none/a /none/b /none/c",
            "invalid configuration: [\
             unable to read client-cert /none/a for  due to open /none/a: no such file or directory, \
             unable to read client-key /none/b for  due to open /none/b: no such file or directory, \
             unable to read certificate-authority /none/c for  due to open /none/c: no such file or directory]",
        ),
        (
            "kubeconfig /none/kubeconfig",
            "stat /none/kubeconfig: no such file or directory",
        ),
    ] {
        let mut kept = Kept::default();
        let built = watching(&with(lines).unwrap(), &mut kept, &mut Hooks::default());
        assert_eq!(
            built.err().map(|error| error.to_string()).as_deref(),
            Some(want),
            "{lines}"
        );
    }
}

#[test]
fn an_unchanged_directive_keeps_its_watch() {
    let demo =
        |options: &str| with(&format!("manifests deploy/demo/cluster.yaml\n{options}")).unwrap();
    let mut kept = Kept::default();
    let mut hooks = Hooks::default();
    let mut built =
        |options: &Options, kept: &mut Kept| watching(options, kept, &mut hooks).unwrap();
    let first = built(&demo(""), &mut kept);
    // Two blocks of one configuration, and one of the next.
    let second = built(&demo("ttl 30"), &mut kept);
    let mut kept = kept.next();
    let third = built(&demo("fallthrough"), &mut kept);
    let other = built(&demo("noendpoints"), &mut kept);
    let snapshot = first.load();
    assert!(Arc::ptr_eq(&snapshot, &second.load()) && Arc::ptr_eq(&snapshot, &third.load()));
    assert!(!Arc::ptr_eq(&snapshot, &other.load()));
}

/// Starts the watch of a directive on a runtime that is not there for long.
fn watching(options: &Options, kept: &mut Kept, hooks: &mut Hooks) -> Result<View, BuildError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (block, mut settings, mut chain) = (Block::default(), Default::default(), Vec::new());
    let mut builder = Builder::new(
        &block,
        &mut settings,
        runtime.handle(),
        kept,
        &mut chain,
        hooks,
    );
    start::watch(options, &mut builder)
}
