//! Any text at all: no panic, an end, and the same outcome every time.

use std::{
    io,
    path::{Path, PathBuf},
};

use corefile::{Directive, Host, duration, key, parse};
use proptest::prelude::*;

/// A world in which every variable and every file is there.
struct Everything {
    value: String,
    file: String,
}

impl Host for Everything {
    fn env(&self, name: &str) -> Option<String> {
        (name != "NONE").then(|| self.value.clone())
    }

    fn read(&self, _: &Path) -> io::Result<String> {
        Ok(self.file.clone())
    }

    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        Ok(vec![pattern.into(), "/b".into()])
    }

    fn absolute(&self, path: &str) -> io::Result<String> {
        Ok(format!("/{path}"))
    }

    fn warn(&self, _: &str) {}
}

/// Texts of the pieces that mean something to the parser.
fn corefile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "{", "}", "\n", " ", "\"", "\\", "#", "\r", ",", ":", "(s)", "import", "import s\n",
            "import f\n", "s", "{$A}", "{%A%}", "{$NONE}", "{$", "%}", "\u{feff}", "log", "cache",
            "10.0.0.0/9", "\u{a0}", "\0", "é", "(s) {\n", ". {\n", "\n}\n",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn parse_ends_and_repeats(text in corefile(), value in corefile(), file in corefile()) {
        let host = Everything { value, file };
        let parsed = parse("Corefile", &text, &["log", "cache"], &host);
        match &parsed {
            Ok(tree) => {
                tree.canonical_json();
                if let Err(error) = key::inspect(tree, 53) {
                    prop_assert!(error.render().starts_with(error.first_line()));
                }
                for directive in tree.blocks.iter().flat_map(|block| &block.directives) {
                    let mut words = directive.dispenser();
                    prop_assert!(words.next());
                }
            }
            Err(error) => prop_assert!(error.render().starts_with(error.first_line())),
        }
        prop_assert_eq!(parse("Corefile", &text, &["log", "cache"], &host), parsed);
    }

    #[test]
    fn every_word_is_dispensed_once(text in corefile()) {
        let directive = Directive::new("Testfile", &text);
        let mut words = directive.dispenser();
        let mut seen = 0;
        while words.next() {
            seen += 1;
            words.arg_err().render();
            seen += words.clone().remaining_args().len() - words.remaining_args().len();
            while words.next_block() {
                prop_assert!(words.token().is_some());
            }
            prop_assert!(seen <= directive.tokens.len());
        }
    }

    #[test]
    fn zones_are_names(text in "[a-c0-9./:]{0,20}|[^\\\\]{0,300}") {
        // Without backslashes: what comes after an escape is not looked at. And
        // its length is looked at before letters that grow (U+023A) are made small.
        prop_assume!(text.to_lowercase().len() <= text.len());
        for zone in key::normalize_exact(&text) {
            prop_assert!(key::is_fqdn(&zone));
            prop_assert!(key::is_domain_name(&zone));
            prop_assert_eq!(key::normalize(&zone), zone.as_str());
        }
    }

    #[test]
    fn any_text_as_a_zone(text in "[ac0-9./:\\\\]{0,20}") {
        for zone in key::normalize_exact(&text) {
            prop_assert!(zone.ends_with('.'));
        }
    }

    #[test]
    fn durations_print_as_they_parse(nanos: i64) {
        let span = duration::Duration::from_nanos(nanos);
        prop_assert_eq!(duration::parse(&span.to_string()), Ok(span));
    }

    #[test]
    fn any_text_as_a_duration(text in "[-+0-9.hmsnuµ]{0,24}|.{0,40}") {
        let _ = duration::parse(&text);
    }
}
