//! Errors as an operator sees them.

use corefile::{Directive, Error, SystemHost, key, parse};
use insta::assert_snapshot;

fn refused(text: &str) -> Error {
    let names = ["cache", "errors", "forward", "hosts", "kubernetes", "log"];
    match parse("Corefile", text, &names, &SystemHost::default()) {
        Ok(tree) => key::inspect(&tree, 53).unwrap_err(),
        Err(error) => error,
    }
}

#[test]
fn a_misspelt_directive() {
    assert_snapshot!(refused(".:53 {\n    errors\n    fowrard . /etc/resolv.conf\n}\n"), @r#"
    Corefile:3 - Error during parsing: Unknown directive 'fowrard'
     --> Corefile:3:5
      |
    3 |     fowrard . /etc/resolv.conf
      |     ^^^^^^^ expected the name of a plugin
      |
      = help: did you mean `forward`?
    "#);
}

#[test]
fn a_word_that_is_like_none() {
    assert_snapshot!(refused(". {\n\tproxy . 8.8.8.8\r\n}\n"), @r#"
    Corefile:2 - Error during parsing: Unknown directive 'proxy'
     --> Corefile:2:2
      |
    2 |     proxy . 8.8.8.8
      |     ^^^^^ expected the name of a plugin
    "#);
}

#[test]
fn a_brace_that_is_missing() {
    assert_snapshot!(refused(". {\n  log\n"), @r#"
    Corefile:2 - Syntax error: Unexpected token 'log', expecting '}'
     --> Corefile:2:3
      |
    2 |   log
      |   ^^^ expected `}`
    "#);
    assert_snapshot!(refused(". {\n  hosts {\n    fallthrough\n"), @r#"
    Corefile:3 - Error during parsing: Unexpected EOF
     --> Corefile:3:5
      |
    3 |     fallthrough
      |     ^^^^^^^^^^^ expected `}` to close the block of `hosts`
    "#);
}

#[test]
fn a_brace_on_the_wrong_line() {
    assert_snapshot!(refused(". {\n  log }\n"), @r#"
    Corefile:2 - Error during parsing: Unexpected '}' because no matching opening brace
     --> Corefile:2:7
      |
    2 |   log }
      |       ^ expected `}` on a line of its own
    "#);
}

#[test]
fn a_comma_too_many() {
    assert_snapshot!(refused("example.org, {\n}\n"), @r#"
    Corefile:1 - Error during parsing: Expected another address but had '{' - check for extra comma
     --> Corefile:1:14
      |
    1 | example.org, {
      |              ^ expected another zone, or no comma before this
    "#);
}

#[test]
fn a_key_that_is_no_zone() {
    assert_snapshot!(refused("example.org example..com:53 {\n  log\n}\n"), @r#"
    error inspecting server blocks: zone is not a valid domain name: example..com
     --> Corefile:1:13
      |
    1 | example.org example..com:53 {
      |             ^^^^^^^^^^^^^^^ expected [scheme://]zone[:port]
    "#);
    assert_snapshot!(refused(".:70000 {\n}\n"), @r#"
    address 70000: invalid port
     --> Corefile:1:1
      |
    1 | .:70000 {
      | ^^^^^^^ expected a port from 0 to 65535 after the last colon
    "#);
}

#[test]
fn an_import_that_is_not_there() {
    assert_snapshot!(refused("(common) {\n}\n. {\n  import comon\n}\n").to_string().replace(&*cwd(), "$DIR"), @r#"
    Corefile:4 - Error during parsing: File to import not found: comon
     --> Corefile:4:10
      |
    4 |   import comon
      |          ^^^^^
      |
      = help: looked for a snippet of that name and for $DIR/comon
      = help: did you mean `common`?
    "#);
}

#[test]
fn a_snippet_that_imports_itself() {
    assert_snapshot!(refused("(s) {\n  log\n  import s\n}\n"), @r#"
    Corefile:4 - Error during parsing: maximum snippet import depth (10000) exceeded
     --> Corefile:4:1
      |
    4 | }
      | ^
      |
      = help: snippet `s` imports itself
    "#);
}

#[test]
fn a_quoted_word_over_lines() {
    assert_snapshot!(refused(". {\n  \"a\n  b\" c\n}\n"), @r#"
    Corefile:2 - Error during parsing: Unknown directive 'a
      b'
     --> Corefile:2:3
      |
    2 |   "a
      |   ^^ expected the name of a plugin
    "#);
}

#[test]
fn an_option_that_a_plugin_does_not_have() {
    let directive = Directive::new("Corefile", "cache 30 {\n  serve_stael 1h\n}\n");
    let mut words = directive.dispenser();
    words.next();
    words.remaining_args();
    words.next_block();
    let error = words
        .unknown_property_err(&["success", "denial", "prefetch", "serve_stale"])
        .in_plugin("cache");
    assert_snapshot!(error, @r#"
    plugin/cache: Corefile:2 - Error during parsing: unknown property 'serve_stael'
     --> Corefile:2:3
      |
    2 |   serve_stael 1h
      |   ^^^^^^^^^^^
      |
      = help: did you mean `serve_stale`?
    "#);
}

#[test]
fn an_error_that_has_no_place_in_coredns() {
    let directive = Directive::new("Corefile", "cache -1\n");
    let mut words = directive.dispenser();
    words.next();
    words.next_arg();
    let error = words
        .plain_err("cache TTL can not be zero or negative: -1")
        .expecting("a number of seconds from 1")
        .in_plugin("cache");
    assert_snapshot!(error, @r#"
    plugin/cache: cache TTL can not be zero or negative: -1
     --> Corefile:1:7
      |
    1 | cache -1
      |       ^^ expected a number of seconds from 1
    "#);
    assert_snapshot!(Error::plain("no place at all"), @r#"
    no place at all
    "#);
}

fn cwd() -> String {
    std::env::current_dir()
        .unwrap()
        .to_string_lossy()
        .into_owned()
}
