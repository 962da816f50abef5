use super::*;
use crate::host::tests::Fake;

/// The tree on one line a directive: `key key / name: word word`.
fn shape(text: &str, host: &Fake) -> String {
    let tree = match parse("Corefile", text, &[], host) {
        Ok(tree) => tree,
        Err(error) => return error.first_line().to_owned(),
    };
    let mut lines = Vec::new();
    for block in &tree.blocks {
        let keys: Vec<_> = block.keys.iter().map(|key| &*key.text).collect();
        let mut line = keys.join(" ");
        for directive in &block.directives {
            let words = directive.tokens.iter().map(|t| &*t.text);
            let words: Vec<_> = words.collect();
            line += &format!(" / {}: {}", directive.name, words.join(" "));
        }
        lines.push(line);
    }
    lines.join("\n")
}

#[test]
fn blocks() {
    let cases = [
        ("", ""),
        (" # nothing\n", ""),
        ("a", "a"),
        ("a b, c", "a b c"),
        ("a,b", "a,b"),
        ("a\nx y\nz", "a / x: x y / z: z"),
        ("a {\n}\nb {\n x\n}", "a\nb / x: x"),
        ("a,\nb c {\n}", "a b c"),
        ("a\n{\n x\n}", "a / x: x"),
        ("a { x y\n}", "a / x: x y"),
        (
            "a {\n x 1 {\n  y {\n   z\n  }\n }\n w\n}",
            "a / x: x 1 { y { z } } / w: w",
        ),
        ("a {\n x\n {\n y\n }\n}", "a / x: x { y }"),
        ("a {\n x 1\n y\n x 2\n}", "a / x: x 1 x 2 / y: y"),
        // Without keys there is nothing to serve.
        ("{\n x\n}\na {\n}", "a"),
        // Without braces the block ends at a brace or at the end.
        ("a\nx\n}\nb\ny", "a / x: x\nb / y: y"),
        ("a {\n}\n}\n", "a\n}"),
    ];
    for (text, want) in cases {
        assert_eq!(shape(text, &Fake::default()), want, "{text:?}");
    }
}

#[test]
fn environment() {
    let host = Fake::default()
        .var("ZONE", "example.org")
        .var("TWO", "a b")
        .var("NAME", "x")
        .var("BRACE", "{")
        .var("END", "}");
    let cases = [
        ("{$ZONE}:53 {%ZONE%} {$NO}", "example.org:53 example.org"),
        ("{$TWO} {\n}", "a b"),
        ("{$NO},\na {\n}", " a"),
        // The name decides, the word stays as it is written.
        ("a\n{$NAME} 1\nx 2", "a / x: {$NAME} 1 x 2"),
        ("a {\n x {$NO} {$TWO}\n}", "a / x: x  a b"),
        // Braces are looked for before anything is replaced, but for keys.
        ("a {\n x {$BRACE} {$END}\n}", "a / x: x { }"),
        // Where keys end such a brace counts, but it does not open the block.
        ("a {$BRACE}\n x\n}", "a / {: {$BRACE} / x: x"),
    ];
    for (text, want) in cases {
        assert_eq!(shape(text, &host), want, "{text:?}");
    }
}

#[test]
fn endless_environment_is_refused() {
    let host = Fake::default().var("A", "{$A}");
    for text in [
        "{$A}",
        "a\n{$A}",
        "a\nx {$A}",
        "import {$A}",
        "a\nx {\nimport {$A}\n}",
    ] {
        let error = parse("Corefile", text, &[], &host).unwrap_err();
        assert!(
            error.first_line().ends_with(
                " - Error during parsing: Environment variable {$A} leads back to itself"
            ),
            "{error}"
        );
    }
}

#[test]
fn snippets() {
    let cases = [
        ("(s) {\n x\n}\na {\n import s\n}", "a / x: x"),
        (
            "(s) {\n x {\n  y\n }\n}\na {\n import s\n z\n}",
            "a / x: x { y } / z: z",
        ),
        ("(s) {\n}\na {\n import s\n x\n}", "a / x: x"),
        ("(s) {\n b {\n  x\n }\n}\nimport s\na {\n}", "b / x: x\na"),
        (
            "(s) {\n x\n}\n(t) {\n import s\n}\na {\n import t\n}",
            "a / x: x",
        ),
        (
            "(s) {\n 1 2\n}\na {\n x {\n  import s\n }\n}",
            "a / x: x { 1 2 }",
        ),
        ("(s) {\n b\n}\na,\nimport s\n{\n x\n}", "a b / x: x"),
        // Only at the start of a line is it an import.
        ("(s) {\n y\n}\na {\n x import s\n}", "a / x: x import s"),
        ("(s) {\n y\n}\na import s {\n}", "a import s"),
        // Only one key makes a snippet, and only with something after it.
        ("(s) b {\n x\n}", "(s) b / x: x"),
        ("(s)", "(s)"),
    ];
    for (text, want) in cases {
        assert_eq!(shape(text, &Fake::default()), want, "{text:?}");
    }
}

#[test]
fn files() {
    let host = Fake::default()
        .var("FILE", "x")
        .dir("/work/dir")
        .file("/work/x", "x 1\n")
        .file("/work/block", "b {\n x\n}\n")
        .file("/work/c/2.server", "c2 {\n import ../x\n}\n")
        .file("/work/c/1.server", "c1 {\n}\n")
        .file("/work/snippet", "(s) {\n y\n}\n")
        .file("/work/user", "import s\n");
    let cases = [
        ("a {\n import x\n z\n}", "a / x: x 1 / z: z"),
        ("a {\n import /work/x\n}", "a / x: x 1"),
        ("a {\n import {$FILE}\n}", "a / x: x 1"),
        ("a {\n y {\n  import x\n }\n}", "a / y: y { x 1 }"),
        ("import block\na {\n}", "b / x: x\na"),
        ("a {\n}\nimport c/*.server\n", "a\nc1\nc2 / x: x 1"),
        ("import snippet\na {\n import s\n}", "a / y: y"),
        ("(s) {\n z\n}\na {\n import user\n}", "a / z: z"),
        ("(x) {\n z\n}\na {\n import x\n}", "a / z: z"),
        (
            "a {\n import dir\n}",
            "Corefile:2 - Error during parsing: Could not import /work/dir: is a directory",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(shape(text, &host), want, "{text:?}");
    }
    assert!(host.warnings.borrow().is_empty());
}

#[test]
fn a_pattern_that_matches_nothing_is_a_warning() {
    let host = Fake::default();
    assert_eq!(shape("import custom/*.server\na {\n}", &host), "a");
    assert_eq!(
        *host.warnings.borrow(),
        ["No files matching import glob pattern: custom/*.server"]
    );
}

#[test]
fn imports_that_multiply_are_refused_in_bounded_memory() {
    // Each snippet doubles the one before: a million million words.
    let mut text = String::from("(s0) {\n x\n y\n}\n");
    for i in 1..40 {
        let j = i - 1;
        text += &format!("(s{i}) {{\n import s{j}\n import s{j}\n}}\n");
    }
    text += "a {\n import s39\n}\n";
    assert_eq!(
        shape(&text, &Fake::default()),
        "Corefile:6 - Error during parsing: maximum snippet import depth (10000) exceeded"
    );
    let host = Fake::default().file("/work/x", &format!("x\nimport x\n{}", "y\n".repeat(100)));
    assert_eq!(
        shape("a {\n import x\n}", &host),
        "/work/x:2 - Error during parsing: maximum file import depth (10000) exceeded"
    );
}

#[test]
fn words_know_their_place() {
    let host = Fake::default().file("/work/x", "\n  hosts\n");
    let tree = parse("Corefile", ". {\n  log\n  import x\n}\n", &[], &host).unwrap();
    let places: Vec<_> = tree.blocks[0]
        .directives
        .iter()
        .flat_map(|d| &d.tokens)
        .map(|t| (t.file(), t.line, t.col, &*t.text))
        .collect();
    assert_eq!(
        places,
        [("Corefile", 2, 3, "log"), ("/work/x", 2, 3, "hosts")]
    );
}

#[test]
fn environment_that_multiplies_is_refused_in_bounded_memory() {
    let host = Fake::default().var("A", &"a".repeat(1 << 19));
    let text = format!("a\nx {}", "{$A} ".repeat(200));
    assert_eq!(
        shape(&text, &host),
        "Corefile:2 - Error during parsing: Environment variables bring in more than 67108864 bytes"
    );
}
