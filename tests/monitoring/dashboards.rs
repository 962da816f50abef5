//! Dashboards that Grafana can show, and that have something to show.

use std::collections::BTreeSet;
use std::path::Path;

use pando_test::{Dashboard, Prometheus};
use regex::Regex;
use serde_json::Value;

use super::scene::{FAILING, Scene};
use super::{files, list, read, root, text};

fn dashboard(path: &Path) -> Dashboard {
    Dashboard::read(path).unwrap_or_else(|error| panic!("{}: {error:#}", path.display()))
}

#[test]
fn dashboards_can_be_imported_and_lie_flat() {
    let source = Regex::new(r#""uid":"([^"]*)""#).unwrap();
    let mut ids = BTreeSet::new();
    for path in files("deploy/monitoring/dashboards", "json") {
        let board = dashboard(&path);
        let path = path.display();
        let id = text(&board.json, "uid");
        assert!(
            ids.insert(id.to_owned()) && id.starts_with("pando-"),
            "{path}: {id}"
        );
        assert!(text(&board.json, "title").starts_with("Pando / "), "{path}");
        let variables = list(&board.json["templating"]["list"]);
        assert_eq!(text(&variables[0], "type"), "datasource", "{path}");
        // What a server of somebody's own calls its data source is not known here.
        let all = board.json.to_string();
        let mut sources = source.captures_iter(&all).map(|uid| uid[1].to_owned());
        assert!(
            sources.all(|uid| uid == "${datasource}" || uid == id),
            "{path}"
        );

        let panels = list(&board.json["panels"]);
        let numbers: BTreeSet<Option<u64>> =
            panels.iter().map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(numbers.len(), panels.len(), "{path}");
        let mut taken = BTreeSet::new();
        for panel in &board.panels {
            let [left, top, width, height] = panel.place;
            assert!(left + width <= 24, "{path}: {}", panel.title);
            let cells = (left..left + width).flat_map(|x| (top..top + height).map(move |y| (x, y)));
            for cell in cells {
                assert!(
                    taken.insert(cell),
                    "{path}: {} lies on another",
                    panel.title
                );
            }
            assert!(!panel.expressions.is_empty(), "{path}: {}", panel.title);
        }
    }
    assert_eq!(ids.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_of_the_cluster_dns_shows_something() {
    if !Prometheus::installed() {
        return;
    }
    let board = dashboard(&root().join("deploy/monitoring/dashboards/cluster-dns.json"));
    let mut scene = Scene::start(FAILING).await;
    let prometheus = scene.scraped_as(&["kube-dns"]).await;
    prometheus.have_values(&board.expressions()).await.unwrap();
    let annotations = list(&board.json["annotations"]["list"]);
    for expression in annotations
        .iter()
        .map(|annotation| text(annotation, "expr"))
    {
        prometheus.query(expression).await.unwrap();
    }
    for variable in list(&board.json["templating"]["list"]) {
        let query = text(variable, "definition");
        let Some((selector, label)) = label_values(query) else {
            assert_eq!(text(variable, "type"), "datasource");
            continue;
        };
        let selector = selector.replace("$cluster", ".*").replace("$job", ".+");
        let found = prometheus.query(&selector).await.unwrap();
        assert!(!found.is_empty(), "{query}");
        assert!(label == "cluster" || found.iter().all(|series| !series.label(label).is_empty()));
    }
}

/// `label_values(SELECTOR, LABEL)`, a function of Grafana's.
fn label_values(query: &str) -> Option<(&str, &str)> {
    let inner = query.strip_prefix("label_values(")?.strip_suffix(')')?;
    inner.rsplit_once(", ")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runbooks_ask_can_be_asked() {
    if !Prometheus::installed() {
        return;
    }
    let prometheus = Prometheus::start(&[], &[]).await.unwrap();
    let mut asked = 0;
    for page in files("docs/runbooks", "md") {
        let text = read(&page);
        let blocks = text.split("```promql\n").skip(1);
        let blocks = blocks.filter_map(|block| block.split_once("```"));
        for expression in blocks.flat_map(|(block, _)| block.lines()) {
            let answer = prometheus.query(expression).await;
            answer.unwrap_or_else(|error| panic!("{}: {error:#}", page.display()));
            asked += 1;
        }
    }
    assert!(asked > 30, "{asked}");
}

/// The variables of a dashboard are all that it may leave open.
#[test]
fn no_other_variable_is_used() {
    for path in files("deploy/monitoring/dashboards", "json") {
        let board = dashboard(&path);
        let names = list(&board.json["templating"]["list"]).iter();
        let known: BTreeSet<&str> = names
            .map(|variable: &Value| text(variable, "name"))
            .collect();
        assert_eq!(
            known,
            BTreeSet::from(["cluster", "datasource", "instance", "job"])
        );
        for expression in board.expressions() {
            assert!(
                !expression.contains('$'),
                "{}: {expression}",
                path.display()
            );
        }
    }
}
