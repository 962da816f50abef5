//! The series that rules, dashboards and runbooks name are series that the
//! sources name, so that none is renamed in one place alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;

use super::{files, groups, list, read, root, rule_files, text};

/// Every file below a folder.
fn below(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            below(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push_str(&read(&path));
        }
    }
}

#[test]
fn series_that_are_named_exist() {
    let mut sources = String::new();
    below(&root().join("src"), &mut sources);
    below(&root().join("nodelocal/src"), &mut sources);
    let name = Regex::new(r#""((?:pando|coredns)_[a-z0-9_]+)""#).unwrap();
    let known: BTreeSet<&str> = (name.captures_iter(&sources))
        .map(|found| found.extract::<1>().1[0])
        .collect();
    let groups = groups();
    let recorded: BTreeSet<&str> = (groups.iter())
        .flat_map(|group| list(&group["rules"]))
        .map(|rule| text(rule, "record"))
        .collect();

    let named = Regex::new(r"\b((?:pando|coredns)_[a-z0-9_]+|pando:[a-z0-9_:]+)").unwrap();
    // What is called so and is no series: a table of packet rules.
    let others = ["pando_node"];
    let pages = rule_files().into_iter();
    let pages = pages.chain(files("deploy/monitoring/dashboards", "json"));
    let pages = pages.chain(files("docs/runbooks", "md"));
    let mut unknown = BTreeSet::new();
    for page in pages {
        for name in named.find_iter(&read(&page)).map(|found| found.as_str()) {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end));
            let exists = |name: &str| known.contains(name) || recorded.contains(name);
            if !exists(name) && !family.is_some_and(exists) && !others.contains(&name) {
                unknown.insert(format!("{}: {name}", page.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}
