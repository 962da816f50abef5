//! What the documents say of the project is true of it.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

/// Writes `docs/corefile.md` anew instead of comparing it.
const UPDATE: &str = "UPDATE_DOCS";
/// Where the part of `docs/corefile.md` begins that comes from the sources.
const DIRECTIVES: &str =
    "<!-- From the sources of the plugins: `UPDATE_DOCS=1 cargo test --test docs`. -->\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below `folder` with this ending, what is built left out.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && !path.is_symlink() {
                if name != "target" && name != "node_modules" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|end| end == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn matches(pattern: &str, text: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).expect("a pattern");
    let found = pattern.captures_iter(text).map(|found| found[1].to_owned());
    found.collect()
}

#[test]
fn the_book_has_every_page() {
    let docs = root().join("docs");
    let linked = matches(r"\]\(([^)]+)\)", &read(&docs.join("SUMMARY.md")));
    let pages = files(&docs, "md").into_iter().map(|path| {
        let path = path.strip_prefix(&docs).expect("below docs");
        path.to_string_lossy().into_owned()
    });
    let pages: BTreeSet<String> = pages.filter(|page| page != "SUMMARY.md").collect();
    assert_eq!(linked, pages, "SUMMARY.md and the pages of docs/");
}

#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    for page in files(root(), "md") {
        let folder = page.parent().expect("a folder");
        for link in matches(r"\]\(([^)#\s]+)[^)]*\)", &read(&page)) {
            let elsewhere = link.contains("://") || link.starts_with("mailto:");
            if !elsewhere && !folder.join(&link).exists() {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

/// Tests stand in the documents as `module::test`; there must be one of that
/// name in that module.
#[test]
fn tests_that_documents_name_exist() {
    let mut sources = BTreeSet::new();
    for folder in ["src", "tests", "nodelocal", "corefile-compat"] {
        for path in files(&root().join(folder), "rs") {
            sources.extend(matches(r"fn ([a-z0-9_]+)\(", &read(&path)));
        }
    }
    let mut missing = Vec::new();
    for page in files(&root().join("docs"), "md") {
        for test in matches(r"`(?:[a-z0-9_#]+::)+([a-z0-9_]{12,})`", &read(&page)) {
            if !sources.contains(&test) {
                missing.push(format!("{}: {test}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// A tag that is left out is `latest`: another version, or none at all.
#[test]
fn images_that_are_run_are_of_this_version() {
    let image =
        Regex::new(r"(--image=|=|-t )ghcr\.io/pando-dns/[a-z-]+(:\S+)?").expect("a pattern");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for ending in ["md", "yaml"] {
        for page in files(root(), ending) {
            for found in image.captures_iter(&read(&page)) {
                seen += 1;
                let tag = found.get(2).map_or("", |tag| tag.as_str());
                if tag != concat!(":", env!("CARGO_PKG_VERSION")) {
                    wrong.push(format!("{}: {}", page.display(), &found[0]));
                }
            }
        }
    }
    assert!(wrong.is_empty() && seen > 4, "{seen}, {wrong:#?}");
}

#[test]
fn the_corefile_reference_is_what_the_plugins_say() {
    let path = root().join("docs/corefile.md");
    let page = read(&path);
    let (head, told) = page.split_once(DIRECTIVES).expect("the mark");
    let plugins = Command::new(env!("CARGO_BIN_EXE_pando"))
        .arg("-plugins")
        .output();
    let plugins = String::from_utf8(plugins.expect("the binary").stdout).expect("names");
    let meant: String = plugins.lines().map(section).collect();
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, format!("{head}{DIRECTIVES}{meant}")).expect("the page");
    } else {
        assert!(told == meant, "docs/corefile.md is old: set {UPDATE}=1");
    }
}

#[test]
fn every_directive_is_listed_as_built_in_or_not() {
    let (head, _) = read(&root().join("docs/corefile.md"))
        .split_once(DIRECTIVES)
        .map(|(head, rest)| (head.to_owned(), rest.to_owned()))
        .expect("the mark");
    let line = |built: bool| {
        let names = pando::plugin::ORDER.iter();
        let names = names.filter(|(_, definition)| definition.is_some() == built);
        let names: Vec<String> = names.map(|(name, _)| format!("`{name}`")).collect();
        format!("\n{}\n", names.join(" "))
    };
    assert!(head.contains(&line(true)), "built in:{}", line(true));
    assert!(head.contains(&line(false)), "not built:{}", line(false));
}

/// A directive as the head of its source file tells it.
fn section(directive: &str) -> String {
    let source = read(&root().join(format!("src/plugin/{directive}.rs")));
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines: Vec<&str> = lines
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let text = lines.join("\n");
    let text = text
        .strip_prefix(&format!("`{directive}`: "))
        .unwrap_or_else(|| panic!("{directive}: its head begins with its name"));
    // Links of rustdoc are none here: [text](path::to) and [`item`].
    let links = Regex::new(r"\[([^\]]+)\]\([A-Za-z_:]+\)").expect("a pattern");
    let text = links.replace_all(text, "$1");
    let (first, rest) = text.split_at(text.len().min(1));
    format!("\n## {directive}\n\n{}{rest}\n", first.to_uppercase())
}
