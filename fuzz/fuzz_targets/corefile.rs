//! A Corefile, an imported file and a variable, NUL between them: no panic, an
//! end, the same outcome twice, and every error can be shown.
#![no_main]

use std::{
    io,
    path::{Path, PathBuf},
};

use corefile::{Host, key, parse};
use libfuzzer_sys::fuzz_target;

struct World<'d> {
    file: &'d [u8],
    value: &'d [u8],
}

impl Host for World<'_> {
    fn env(&self, _: &str) -> Option<String> {
        Some(corefile::decode(self.value))
    }

    fn read(&self, _: &Path) -> io::Result<String> {
        Ok(corefile::decode(self.file))
    }

    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        Ok(vec![pattern.into()])
    }

    fn absolute(&self, path: &str) -> io::Result<String> {
        Ok(format!("/{path}"))
    }

    fn warn(&self, _: &str) {}
}

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |&byte| byte == 0);
    let text = corefile::decode(parts.next().unwrap_or_default());
    let world = World {
        file: parts.next().unwrap_or_default(),
        value: parts.next().unwrap_or_default(),
    };
    let parsed = parse("Corefile", &text, &[], &world);
    assert_eq!(parse("Corefile", &text, &[], &world), parsed);
    let outcome = parsed.and_then(|tree| {
        tree.canonical_json();
        for directive in tree.blocks.iter().flat_map(|block| &block.directives) {
            let mut words = directive.dispenser();
            while words.next() {
                words.remaining_args();
                while words.next_block() {
                    words.remaining_tokens();
                }
            }
        }
        key::inspect(&tree, 53)
    });
    if let Err(error) = outcome {
        assert!(error.render().starts_with(error.first_line()));
    }
});
