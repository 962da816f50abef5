//! Whether the accounts may do what is done in their names, and nothing else: by
//! running on their tokens, against an API server with RBAC on.

use std::collections::BTreeSet;

use pando_test::{Account, BOUND, ControlPlane, Deed, Reply, Rule, Server, Upstream, until};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{apply, filled, folder, object, render};
use crate::distributions::adapted;

/// Verb, API group and resource.
type Right = (String, String, String);

/// A kustomization, the account in it, and what its Corefile becomes first.
struct Case {
    name: &'static str,
    account: &'static str,
    change: fn(&str) -> String,
}

const CASES: [Case; 6] = [
    Case {
        name: "cluster-dns/base",
        account: "coredns",
        change: str::to_owned,
    },
    Case {
        name: "cluster-dns/overlays/pods",
        account: "coredns",
        change: |corefile| corefile.replace("pods insecure", "pods verified"),
    },
    Case {
        name: "cluster-dns/overlays/multicluster",
        account: "coredns",
        change: |corefile| {
            let zones = "kubernetes cluster.local clusterset.local ";
            let corefile = corefile.replace("kubernetes cluster.local ", zones);
            let option = "pods insecure\n multicluster clusterset.local";
            corefile.replace("pods insecure", option)
        },
    },
    Case {
        name: "cluster-dns/overlays/gke",
        account: "pando",
        change: str::to_owned,
    },
    Case {
        name: "node-agent/overlays/zone",
        account: "node-local-dns",
        change: str::to_owned,
    },
    Case {
        name: "node-agent/overlays/autopath",
        account: "node-local-dns",
        change: str::to_owned,
    },
];

/// An API server that does not stream its lists, as 1.33 and those before 1.32
/// did not: there both verbs are needed of each collection, and with streams
/// `list` of namespaces alone.
async fn plane() -> Option<&'static ControlPlane> {
    static PLANE: OnceCell<Option<ControlPlane>> = OnceCell::const_new();
    let start = async || {
        let flags = ["--feature-gates=WatchList=false"];
        let plane = ControlPlane::start_with(&flags).await.expect("starts")?;
        let definition = include_str!("../../fixtures/multicluster.yaml");
        let (definition, _) = definition.split_once("\n---\n").expect("documents");
        plane.apply(definition).await.expect("defined");
        let imports = "/apis/multicluster.x-k8s.io/v1alpha1/serviceimports";
        let served = until("ServiceImports are served", BOUND, || async {
            plane.request("GET", imports, &Value::Null).await.ok()
        });
        served.await.expect("served");
        Some(plane)
    };
    PLANE.get_or_init(start).await.as_ref()
}

#[tokio::test]
async fn each_account_may_do_what_is_done_and_no_more() {
    let Some(plane) = plane().await else { return };
    let upstream = nobody().await;
    for case in &CASES {
        let shown = case.name;
        let manifest = render(plane, &folder(case.name)).await;
        let objects = apply(plane, &manifest, &[]).await.expect("applied");
        let granted = rights(role(&objects));
        known(plane, case.account, &granted).await;
        let account = plane.account_of(case.account).await.expect("a token");
        let before = plane.deeds(case.account).expect("the log").len();

        let corefile = corefile(case, &objects, &account, &upstream);
        let mut server = start(&corefile);
        answers(&server).await;
        // The last of the watches begins after the first answers.
        let used = || async {
            let deeds = plane
                .deeds(case.account)
                .expect("the log")
                .split_off(before);
            assert!(deeds.iter().all(|deed| deed.status != 403), "{deeds:#?}");
            let used: BTreeSet<Right> = deeds.into_iter().map(right).collect();
            (used == granted).then_some(())
        };
        let all = until("all that is granted is used", BOUND, used).await;
        all.unwrap_or_else(|error| {
            let used = plane
                .deeds(case.account)
                .expect("the log")
                .split_off(before);
            panic!("{shown}: {error:#}: {granted:#?}, {used:#?}")
        });
        let metrics = server
            .page("METRICS_PORT", "/metrics")
            .await
            .expect("metrics");
        assert!(!metrics.body.contains("code=\"403\""), "{}", metrics.body);
        server.signal("TERM").await.expect("told");
        server.wait_exit(BOUND).await.expect("ends");
        assert!(!server.shown().contains("forbidden"), "{}", server.shown());
    }

    // And where one of them is missing, the log says which.
    let case = &CASES[0];
    let manifest = render(plane, &folder(case.name)).await;
    let objects = apply(plane, &manifest, &[]).await.expect("applied");
    let account = plane.account_of(case.account).await.expect("a token");
    let corefile = corefile(case, &objects, &account, &upstream);
    let granted = rights(role(&objects));
    for missing in &granted {
        let mut fewer = granted.clone();
        fewer.remove(missing);
        let rules: Vec<Value> = fewer
            .iter()
            .map(|(verb, group, resource)| {
                json!({ "verbs": [verb], "apiGroups": [group], "resources": [resource] })
            })
            .collect();
        let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:coredns";
        let taken = plane
            .request("PATCH", role, &json!({ "rules": rules }))
            .await;
        taken.expect("taken away");
        known(plane, case.account, &fewer).await;
        let server = start(&corefile);
        let (verb, group, resource) = missing;
        let said =
            format!("needs the RBAC verb {verb:?} on resource {resource:?} in API group {group:?}");
        let told = server.wait_for_line(&said, BOUND).await;
        told.expect("what is missing is named");
    }
}

/// Without a watch on the node the agent asks the API server for nothing, and may
/// not: the base and the overlay whose zone is a copy.
#[tokio::test]
async fn an_agent_without_a_watch_may_do_nothing() {
    // Of its own account's rights nothing is kept: a dry run would do.
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    for name in ["node-agent/base", "node-agent/overlays/copy"] {
        let manifest = render(plane, &folder(name)).await;
        let objects = apply(plane, &manifest, &["--dry-run=server"]).await;
        let objects = objects.expect("taken");
        let account = object(&objects, "ServiceAccount", "node-local-dns");
        assert_eq!(account["automountServiceAccountToken"], false, "{name}");
        let kinds = objects.iter().map(|object| object["kind"].as_str());
        let bound = kinds.flatten().filter(|kind| kind.contains("Role"));
        assert_eq!(bound.count(), 0, "{name}");
    }
}

/// Who answers where nobody is to be asked.
async fn nobody() -> Upstream {
    let upstream = Upstream::start().await.expect("starts");
    upstream.rule(Rule::new(Reply::rcode("NXDOMAIN")));
    upstream
}

fn corefile(case: &Case, objects: &[Value], account: &Account, upstream: &Upstream) -> String {
    let kubeconfig = account.kubeconfig.display();
    let upstream = upstream.address().to_string();
    let config = objects
        .iter()
        .find_map(|object| object["data"]["Corefile"].as_str())
        .expect("a Corefile");
    let text = filled(&(case.change)(config), "127.0.0.1", &upstream, &upstream);
    let text = text.replace("/var/lib/pando", "$DIR");
    adapted(&text, &format!("kubeconfig {kubeconfig} test"), &upstream)
}

fn start(corefile: &str) -> Server {
    let builder = crate::pando(corefile).environment("NODE_NAME", "node-a");
    builder.spawn().expect("starts")
}

async fn answers(server: &Server) {
    let answered = until("the cluster's names are answered", BOUND, || async {
        let client = server.client();
        let answer = client
            .ask("kubernetes.default.svc.cluster.local.", "A")
            .await;
        (answer.ok()?.data() == ["10.96.0.1"]).then_some(())
    });
    let answered = answered.await;
    answered.unwrap_or_else(|error| panic!("{error:#}: {}", server.shown()));
}

/// The rules of the one ClusterRole that is ours.
fn role(objects: &[Value]) -> &Value {
    let mut roles = objects
        .iter()
        .filter(|object| object["kind"] == "ClusterRole");
    let role = roles.next().expect("a role");
    assert!(roles.next().is_none(), "one role");
    &role["rules"]
}

/// Each verb on each resource; there are no other kinds of rules.
fn rights(rules: &Value) -> BTreeSet<Right> {
    let words = |value: &Value| -> Vec<String> {
        let words = value.as_array().expect("a list").iter();
        words
            .map(|word| word.as_str().expect("a word").to_owned())
            .collect()
    };
    let mut rights = BTreeSet::new();
    for rule in rules.as_array().into_iter().flatten() {
        assert_eq!(rule["nonResourceURLs"], Value::Null);
        for verb in words(&rule["verbs"]) {
            for group in words(&rule["apiGroups"]) {
                for resource in words(&rule["resources"]) {
                    rights.insert((verb.clone(), group.clone(), resource));
                }
            }
        }
    }
    rights
}

fn right(deed: Deed) -> Right {
    (deed.verb, deed.group, deed.resource)
}

/// Waits until the API server holds that the account may do this, whatever role
/// it has that from, and nothing beyond what every account may.
async fn known(plane: &ControlPlane, account: &str, granted: &BTreeSet<Right>) {
    let may = async |account: &str| {
        let user = format!("--as=system:serviceaccount:kube-system:{account}");
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": { "namespace": "kube-system" },
        });
        let create = [
            "create",
            "--validate=false",
            "--output=json",
            &user,
            "-f",
            "-",
        ];
        let reviewed = plane.kubectl(&create, &review.to_string()).await;
        let reviewed: Value = serde_json::from_str(&reviewed.expect("reviewed")).expect("JSON");
        rights(&reviewed["status"]["resourceRules"])
    };
    let everybody = may("nobody-in-particular").await;
    let what = format!("{account} may {granted:?}");
    let agreed = until(&what, BOUND, || async {
        let own: BTreeSet<Right> = &may(account).await - &everybody;
        (own == *granted).then_some(())
    });
    agreed.await.expect("as the role says");
}
