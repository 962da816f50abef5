use corefile::Host;

use super::*;

struct NoHost;

impl Host for NoHost {
    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, _: &std::path::Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn glob(&self, _: &str) -> std::io::Result<Vec<std::path::PathBuf>> {
        Ok(Vec::new())
    }

    fn absolute(&self, path: &str) -> std::io::Result<String> {
        Ok(path.to_owned())
    }

    fn warn(&self, _: &str) {}
}

fn draft(text: &str) -> Result<Draft, Error> {
    let text = Text {
        name: "Corefile".to_owned(),
        text: text.to_owned(),
    };
    Draft::parse(&text, "53", &NoHost)
}

fn build(text: &str) -> Result<Configuration, ConfigurationError> {
    draft(text)?.build(&Handle::current(), Kept::default())
}

/// What follows something follows it for a configuration: one that is refused
/// after it was built, say for a port in use, must not go on asking and reading.
#[tokio::test]
async fn one_that_never_comes_into_force_leaves_nothing_running() {
    for directive in [
        "hosts /nowhere",
        "loadbalance weighted /nowhere",
        "secondary {\n transfer from 192.0.2.1\n }",
        "secondary {\n transfer from 192.0.2.1\n catalog\n }",
        "kubernetes cluster.local {\n manifests /dev/null\n }\n transfer {\n to *\n }",
        "forward . 192.0.2.1",
        "health 127.0.0.1:0",
        "prometheus 127.0.0.1:0",
    ] {
        let running = || Handle::current().metrics().num_alive_tasks();
        let before = running();
        drop(build(&format!(". {{\n {directive}\n}}")).unwrap());
        let ended = async {
            while running() > before {
                tokio::task::yield_now().await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(5), ended).await;
        assert!(ended.is_ok(), "{directive}: {} run on", running() - before);
    }
}

#[tokio::test]
async fn blocks_are_grouped_by_address() {
    let configuration = build(
        "example.org example.net:1053 {\n whoami\n}\n\
         . {\n whoami\n}\n\
         example.com {\n bind 127.0.0.1 ::1\n}\n\
         10.0.0.0/15:1053 {\n whoami\n}\n",
    );
    let plan = configuration.unwrap().plan;
    let shown: Vec<String> = plan
        .listeners()
        .map(|listener| format!("{}: {}", listener.address(), listener.zones().join(" ")))
        .collect();
    assert_eq!(
        shown,
        [
            ":53: . example.org.",
            ":1053: 0.10.in-addr.arpa. 1.10.in-addr.arpa. example.net.",
            "127.0.0.1:53: example.com.",
            "[::1]:53: example.com.",
        ]
    );
}

#[tokio::test]
async fn the_first_line_of_an_error_is_coredns_own() {
    for (text, line) in [
        (
            ". {\n geoip /x\n}",
            "Corefile:2 - Error during parsing: directive 'geoip' is not supported yet",
        ),
        (
            ". {\n wohami\n}",
            "Corefile:2 - Error during parsing: Unknown directive 'wohami'",
        ),
        (
            ". {\n whoami now\n}",
            "plugin/whoami: Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'now'",
        ),
        (
            "tls://. {\n whoami\n}",
            "Corefile:1 - Error during parsing: tls:// is not supported yet",
        ),
        (
            "https://. {\n}",
            "Corefile:1 - Error during parsing: https:// is not supported yet",
        ),
        (
            ". {\n}\n. {\n}",
            "cannot serve dns://.:53 - it is already defined",
        ),
        (
            ". {\n bind 127.0.0.1\n}\n. {\n}",
            "cannot serve dns://.:53 - zone overlap listener capacity with dns://.:53 on 127.0.0.1",
        ),
        (
            ". {\n bind eth77\n}",
            "plugin/bind: not a valid IP address or interface name: \"eth77\"",
        ),
        (
            ". {\n reload 1s\n}",
            "plugin/reload: interval value must be greater or equal to 2s",
        ),
        (
            "a..b {\n}",
            "error inspecting server blocks: zone is not a valid domain name: a..b",
        ),
        // The order of the chain decides which of two mistakes is told.
        (
            ". {\n whoami now\n reload 1s\n}",
            "plugin/reload: interval value must be greater or equal to 2s",
        ),
    ] {
        let error = build(text)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert_eq!(error.lines().next(), Some(line), "{text}");
    }
}

#[tokio::test]
async fn an_empty_file_means_the_default() {
    for text in ["", "\n# nothing\n"] {
        let configuration = build(text).unwrap();
        let listener = configuration.plan.listeners().next().unwrap();
        assert_eq!(listener.address().to_string(), ":53");
        assert_eq!(listener.zones(), ["."]);
    }
}

#[tokio::test]
async fn the_last_reload_counts_for_the_process() {
    let configuration = build("a {\n reload 10s 0s\n}\nb {\n reload 20s 0s\n}\nc {\n}").unwrap();
    assert_eq!(configuration.reload, Some(Duration::from_secs(20)));
    assert_eq!(build("a {\n}").unwrap().reload, None);
}

#[test]
fn a_draft_says_what_each_block_will_do() {
    let described =
        draft("example.org:1053 . {\n whoami\n log\n}\na {\n bind ::1\n}\nb {\n}").unwrap();
    assert_eq!(
        described.describe().unwrap(),
        "example.org. . on :1053 :53: log, whoami\n\
         a. on [::1]:53: bind\n\
         b. on :53: refuse every query\n"
    );
}

#[test]
fn a_port_that_is_none_is_refused() {
    let text = Text::default_for("53");
    let error = Draft::parse(&text, "99999", &NoHost).unwrap_err();
    assert_eq!(error.first_line(), "address 99999: invalid port");
}

#[test]
fn the_hash_is_coredns_own_and_knows_lines() {
    let hash = |text: &str| {
        let text = Text {
            name: "Corefile".to_owned(),
            text: text.to_owned(),
        };
        text.hash(&NoHost).unwrap()
    };
    let plain = hash(". {\n whoami\n}\n");
    assert_eq!(plain.len(), 128);
    assert_eq!(plain, hash(". {\n  whoami # who\n}\n"));
    assert_ne!(plain, hash(". {\n\n whoami\n}\n"));
}
