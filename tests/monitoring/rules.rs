//! Rules that parse, fire and do not, and have a page each.

use std::collections::BTreeSet;
use std::fs;

use pando_test::{Prometheus, promtool};
use serde_json::{Value, json};

use super::{files, groups, list, read, root, rule_files, text};

/// Writes `operator/prometheusrule.yaml` anew instead of comparing it.
const UPDATE: &str = "UPDATE_RULES";

#[tokio::test]
async fn rules_fire_when_they_must_and_not_before() {
    if !Prometheus::installed() {
        return;
    }
    let tests = files("deploy/monitoring/rules/tests", "yaml");
    let paths = tests.iter().map(|path| path.to_str().expect("UTF-8"));
    let arguments: Vec<&str> = ["test", "rules"].into_iter().chain(paths).collect();
    promtool(root(), &arguments).await.unwrap();
}

#[tokio::test]
async fn rules_have_no_lint() {
    if !Prometheus::installed() {
        return;
    }
    let files = rule_files();
    let paths = files.iter().map(|path| path.to_str().expect("UTF-8"));
    let arguments = ["check", "rules", "--lint=all", "--lint-fatal"];
    let arguments: Vec<&str> = arguments.into_iter().chain(paths).collect();
    promtool(root(), &arguments).await.unwrap();
}

fn alerts() -> Vec<Value> {
    let groups = groups();
    let rules = groups.iter().flat_map(|group| list(&group["rules"]));
    rules
        .filter(|rule| rule["alert"].is_string())
        .cloned()
        .collect()
}

fn names(alerts: &[Value]) -> BTreeSet<String> {
    alerts
        .iter()
        .map(|alert| text(alert, "alert").to_owned())
        .collect()
}

#[test]
fn each_alert_has_its_page_and_each_page_its_alert() {
    let alerts = alerts();
    for alert in &alerts {
        let name = text(alert, "alert");
        assert!(name.starts_with("Pando"), "{name}");
        let annotations = &alert["annotations"];
        let page = text(annotations, "runbook_url");
        assert!(
            page.ends_with(&format!("docs/runbooks/{name}.md")),
            "{page}"
        );
        for word in ["summary", "description"] {
            assert!(!text(annotations, word).is_empty(), "{name}: {word}");
        }
        let severity = text(&alert["labels"], "severity");
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}: {severity}"
        );
    }
    let pages = files("docs/runbooks", "md");
    let told: BTreeSet<String> = (pages.iter())
        .map(|page| {
            page.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(told, names(&alerts));
    for page in &pages {
        let text = read(page);
        for heading in ["What users feel", "Confirm", "Do", "When it is false"] {
            let heading = format!("\n## {heading}\n");
            assert!(text.contains(&heading), "{}: {heading}", page.display());
        }
    }
}

#[test]
fn each_alert_is_seen_to_fire_and_not_to_fire_in_a_test() {
    let (mut fires, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for path in files("deploy/monitoring/rules/tests", "yaml") {
        let file: Value = serde_saphyr::from_str(&read(&path)).expect("YAML");
        for case in list(&file["tests"])
            .iter()
            .flat_map(|test| list(&test["alert_rule_test"]))
        {
            let seen = match list(&case["exp_alerts"]) {
                [] => &mut quiet,
                _ => &mut fires,
            };
            seen.insert(text(case, "alertname").to_owned());
        }
    }
    let all = names(&alerts());
    assert_eq!(fires, all, "fire");
    assert!(
        all.is_subset(&quiet),
        "{:?} are never quiet",
        all.difference(&quiet)
    );
}

/// The operator takes the same rules from an object of its own kind.
#[test]
fn the_operators_object_has_the_same_rules() {
    let path = root().join("deploy/monitoring/operator/prometheusrule.yaml");
    let mut object = "# The rules of ../rules, for the Prometheus operator: `UPDATE_RULES=1 cargo test --test monitoring`.\n\
        apiVersion: monitoring.coreos.com/v1\n\
        kind: PrometheusRule\n\
        metadata:\n  name: pando\n  labels:\n    app.kubernetes.io/name: pando\n\
        spec:\n  groups:\n"
        .to_owned();
    for file in rule_files() {
        let file = read(&file);
        let (_, groups) = file.split_once("\ngroups:\n").expect("groups");
        for line in groups.lines() {
            let indent = if line.is_empty() { "" } else { "  " };
            object = object + indent + line + "\n";
        }
    }
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, &object).expect("the object");
    }
    assert!(
        read(&path) == object,
        "{} is old: set {UPDATE}=1",
        path.display()
    );
    let parsed: Value = serde_saphyr::from_str(&object).expect("YAML");
    assert_eq!(parsed["spec"]["groups"], json!(groups()));
}
