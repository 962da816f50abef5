//! The resolvers that programs in Pods use, each of which walks the search
//! list in its own way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use pando_test::Netns;

/// A program that looks up the names of its input, a line each.
pub(crate) struct Resolver {
    pub(crate) name: &'static str,
    /// Whether it goes through the search list.
    pub(crate) walks: bool,
    program: Vec<String>,
}

/// What was found: the addresses of each name, none where there is no name.
pub(crate) type Found = BTreeMap<String, BTreeSet<String>>;

impl Resolver {
    /// Looks up names from a Pod.
    pub(crate) fn look_up(&self, pod: &Netns, names: &[String]) -> anyhow::Result<Found> {
        let input = names.join("\n") + "\n";
        let output = pod.run_with(&self.program, &input)?;
        let found = output.lines().filter_map(|line| {
            let mut words = line.split(' ').map(str::to_owned);
            let name = words.next()?;
            // Java has its own way to write IPv6.
            let addresses = words.filter_map(|word| word.parse::<IpAddr>().ok());
            Some((name, addresses.map(|address| address.to_string()).collect()))
        });
        Ok(found.collect())
    }
}

/// All that this machine has; a line says which it has not.
pub(crate) fn all() -> &'static [Resolver] {
    static ALL: OnceLock<Vec<Resolver>> = OnceLock::new();
    ALL.get_or_init(|| {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let built = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let source = |name: &str| sources.join(name).display().to_string();
        let out = |name: &str| built.join(name).display().to_string();
        let (c, go, java) = (
            source("lookup.c"),
            source("lookup.go"),
            source("Lookup.java"),
        );
        let (glibc, musl, netgo) = (out("lookup-glibc"), out("lookup-musl"), out("lookup-go"));
        let known = [
            (
                "getent",
                true,
                vec![],
                vec!["sh".into(), source("lookup.sh")],
            ),
            (
                "glibc",
                true,
                vec!["cc", "-O1", "-o", &glibc, &c],
                vec![glibc.clone()],
            ),
            (
                "musl",
                true,
                vec!["musl-gcc", "-static", "-O1", "-o", &musl, &c],
                vec![musl.clone()],
            ),
            (
                "Go",
                true,
                vec!["go", "build", "-o", &netgo, &go],
                vec![netgo.clone()],
            ),
            (
                "Java",
                true,
                vec!["javac", "-d", env!("CARGO_TARGET_TMPDIR"), &java],
                vec!["java".into(), "-cp".into(), out(""), "Lookup".into()],
            ),
            (
                "c-ares",
                false,
                vec!["node", "--version"],
                vec!["node".into(), source("lookup.js")],
            ),
        ];
        let built = known
            .into_iter()
            .filter_map(|(name, walks, build, program)| {
                if let Err(reason) = run(&build) {
                    println!("skipped: {name}: {reason}");
                    return None;
                }
                Some(Resolver {
                    name,
                    walks,
                    program,
                })
            });
        built.collect()
    })
}

/// The one of this name, where the machine has it.
pub(crate) fn named(name: &str) -> Option<&'static Resolver> {
    all().iter().find(|resolver| resolver.name == name)
}

fn run(command: &[&str]) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let output = Command::new(program)
        .args(arguments)
        .env("CGO_ENABLED", "0")
        .output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
