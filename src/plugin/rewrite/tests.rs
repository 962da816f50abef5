use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Mutex;

use futures_util::FutureExt;

use super::*;
use crate::chain::{Chain, Proto, Resolver};
use crate::presentation::record;
use crate::wire::{Edns, Request, Section, flags, rtype};

fn rules(text: &str) -> Result<Vec<Rule>, String> {
    let directive = corefile::Directive::new("Corefile", text);
    let mut rules = Vec::new();
    let mut tokens = directive.dispenser();
    while tokens.next() {
        let mut args = tokens.remaining_args();
        if args.len() < 2 {
            while tokens.next_block() {
                args.push(tokens.val());
            }
        }
        rules.push(rule::parse(&args)?);
    }
    Ok(rules)
}

/// What stands behind `rewrite`: keeps what it was asked, answers by script.
struct Backend {
    script: &'static str,
    asked: Mutex<Vec<String>>,
}

/// The records of a script that are for this question; a word of an rcode
/// alone is returned without anything written, behind `!` with an error.
fn play(script: &str, exchange: &mut Exchange) -> Served {
    let failing = [
        ("SERVFAIL", Rcode::SERVFAIL),
        ("REFUSED", Rcode::REFUSED),
        ("DROP", Rcode::NOERROR),
    ];
    for (word, rcode) in failing {
        if script == word {
            return Ok(rcode);
        }
        if script.strip_prefix('!') == Some(word) {
            return Err(Failure::new(rcode, "broken"));
        }
    }
    let reply = exchange.answer();
    let mut section = Section::Answer;
    let mut records = Vec::new();
    for line in script.lines().map(str::trim) {
        match line {
            "" => {}
            "authority" => section = Section::Authority,
            "additional" => section = Section::Additional,
            "NXDOMAIN" => reply.set_rcode(Rcode(3)),
            "OPT" => {
                reply.edns_or_insert(1232).push_option(0xFFEE, b"changed");
            }
            line => {
                let mut record = record::parse(line).unwrap().unwrap();
                record.section = section;
                records.push(record);
            }
        }
    }
    reply.replace_records(&records);
    Ok(Rcode::NOERROR)
}

impl Plugin for Backend {
    fn name(&self) -> &'static str {
        "backend"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, _: Next<'a>) -> Serving<'a> {
        self.asked.lock().unwrap().push(question(&exchange.request));
        Box::pin(std::future::ready(play(self.script, exchange)))
    }
}

/// `name type class`, and the OPT where there is one.
fn question(request: &Request) -> String {
    let mut text = format!(
        "{} {} {}",
        request.qname(),
        rtype::mnemonic(request.qtype()).unwrap_or("?"),
        crate::wire::class::mnemonic(request.qclass()).unwrap_or("?")
    );
    if let Some(edns) = request.edns() {
        text.push_str(&format!(" OPT({}", edns.udp_size));
        for (code, data) in edns.options() {
            let hex: String = data.iter().map(|octet| format!("{octet:02x}")).collect();
            text.push_str(&format!(" {code:#x}={hex}"));
        }
        text.push(')');
    }
    text
}

/// Answers lookups of the server's own by script.
struct Own(&'static str, RefCell<Vec<String>>);

impl Resolver for Own {
    fn resolve<'a>(&'a self, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        self.1.borrow_mut().push(question(&exchange.request));
        let _ = play(self.0, exchange);
        Box::pin(std::future::ready(()))
    }
}

/// What happened to one query.
struct Outcome {
    asked: Vec<String>,
    looked_up: Vec<String>,
    served: Served,
    /// Question, code and records as text; `None` without an answer.
    answer: Option<Vec<String>>,
    exchange: Exchange,
}

fn run(
    corefile: &str,
    name: &str,
    qtype: u16,
    edns: &[(u16, &[u8])],
    script: &'static str,
) -> Outcome {
    let lookups = "new.test. 7 A 192.0.2.77";
    let own = Rc::new(Own(lookups, RefCell::default()));
    let rewrite = Rewrite::new(rules(corefile).unwrap());
    let backend = Arc::new(Backend {
        script,
        asked: Mutex::default(),
    });
    let chain = Chain::from_iter([Arc::new(rewrite) as Arc<dyn Plugin>, backend.clone()]);
    let client = "192.0.2.53:40212".parse().unwrap();
    let mut exchange = Exchange::new(client, "127.0.0.1:53".parse().unwrap(), Proto::Udp);
    exchange.resolver = Some(own.clone());
    exchange
        .request
        .ask(7, parse_name(name).unwrap().name(), qtype);
    if !edns.is_empty() {
        let opt = exchange.request.edns_or_insert(1400);
        for (code, data) in edns.iter().filter(|(code, _)| *code != 0) {
            opt.push_option(*code, data);
        }
    }
    let served = Next::new(&chain)
        .serve(&mut exchange)
        .now_or_never()
        .unwrap();
    let answer = exchange.reply().map(|reply| {
        let question = crate::wire::Name::read(&mut crate::wire::Reader::new(reply.question()));
        let mut shown = vec![format!("{:?} {}", question.unwrap(), reply.rcode().0)];
        shown.extend(reply.to_records().iter().map(show));
        shown
    });
    Outcome {
        asked: std::mem::take(&mut backend.asked.lock().unwrap()),
        looked_up: own.1.take(),
        served,
        answer,
        exchange,
    }
}

fn show(record: &crate::wire::Record) -> String {
    let mut text = format!(
        "{} {} {}",
        record.owner,
        record.ttl,
        rtype::mnemonic(record.rtype).unwrap_or("?")
    );
    match (record.rtype, record.rdata.as_slice()) {
        (rtype::A, &[a, b, c, d]) => text.push_str(&format!(" {a}.{b}.{c}.{d}")),
        _ => match record.target() {
            Some(target) => text.push_str(&format!(" {target}")),
            None => text.push_str(" ?"),
        },
    }
    text
}

/// Every first line below is CoreDNS's own; an empty one means that it starts.
#[test]
fn broken_rules_are_refused_in_coredns_words() {
    let table = [
        ("", "no rule type specified for rewrite"),
        ("name", "too few arguments for a name rule"),
        ("continue", "continue rule must begin with a rule type"),
        ("stop", "stop rule must begin with a rule type"),
        ("CONTINUE", "continue rule must begin with a rule type"),
        ("foo bar baz", r#"invalid rule type "foo""#),
        (
            "answer name a b",
            "response rewrites must begin with a name rule",
        ),
        ("name a.", "too few arguments for a name rule"),
        ("name exact a.", ""),
        (
            "name a. b. c.",
            "name rule supports only exact, prefix, suffix, substring, and regex name matching, received: a.",
        ),
        (
            "name exact a. b. answer",
            "invalid arguments for exact rule",
        ),
        (
            "name exact a. b. answer name",
            "name answer rule for exact rule: 2 arguments required",
        ),
        (
            "name exact a. b. answer name x",
            "name answer rule for exact rule: 2 arguments required",
        ),
        (
            "name exact a. b. answer value x",
            "value answer rule for exact rule: 2 arguments required",
        ),
        (
            "name exact a. b. foo bar",
            "exceeded the number of arguments for a non-answer rule argument for exact rule",
        ),
        (
            "name exact a. b. answer foo",
            r#"invalid type "foo" for answer rule for exact rule"#,
        ),
        (
            "name exact a. b. answer auto answer",
            "type missing for answer rule for exact rule",
        ),
        (
            "name exact a. b. answer auto answer name a b",
            "auto name answer rule cannot be combined with explicit name anwer rules",
        ),
        (
            "name regex a. b. answer auto answer name a b",
            "auto name answer rule cannot be combined with explicit name anwer rules",
        ),
        ("name regex a. b. answer auto value a b", ""),
        ("name regex [ b.", "invalid regex matching pattern: ["),
        (
            "name regex a b{1}",
            "the rewrite regex pattern (b{1}) uses more subexpressions than its corresponding matching regex pattern (a)",
        ),
        (
            "name regex (a) b{1}{2}",
            "the rewrite regex pattern (b{1}{2}) uses more subexpressions than its corresponding matching regex pattern ((a))",
        ),
        (
            "name regex (a) {0}{1}",
            "the rewrite regex pattern ({0}{1}) uses more subexpressions than its corresponding matching regex pattern ((a))",
        ),
        (
            "name regex (a) b. answer name [ c",
            "name answer rule for regex rule: invalid regex matching pattern: [",
        ),
        (
            "name regex (a) b. answer name x {1}",
            "name answer rule for regex rule: the rewrite regex pattern ({1}) uses more subexpressions than its corresponding matching regex pattern (x)",
        ),
        (
            "name regex (a) b. answer value [ c",
            "value answer rule for regex rule: invalid regex matching pattern: [",
        ),
        (
            "name regex (a) b. answer type x y",
            r#"invalid type "type" for answer rule for regex rule"#,
        ),
        ("name exact a. *b.", "invalid regex matching pattern: *b."),
        ("name a. +b.", "invalid regex matching pattern: +b."),
        ("name suffix a. *b.", ""),
        ("class IN", "class rules must have exactly two arguments"),
        (
            "class IN CH HS",
            "class rules must have exactly two arguments",
        ),
        ("class XX IN", r#"invalid class "XX""#),
        ("class in YY", r#"invalid class "YY""#),
        ("type A", "type rules must have exactly two arguments"),
        ("type A B", r#"invalid type "B""#),
        ("type foo A", r#"invalid type "FOO""#),
        (
            "type A AAAA MX",
            "type rules must have exactly two arguments",
        ),
        ("type none A", r#"invalid type "NONE""#),
        ("type TYPE1 A", r#"invalid type "TYPE1""#),
        ("edns0", "too few arguments for an EDNS0 rule"),
        ("edns0 local", "too few arguments for an EDNS0 rule"),
        ("edns0 local foo 0xffee x", r#"invalid action: "foo""#),
        ("edns0 foo set 0xffee x", r#"invalid rule type "foo""#),
        ("edns0 foo unset 0xffee", r#"invalid rule type "foo""#),
        (
            "edns0 local set",
            "EDNS0 local rules require three or four args",
        ),
        (
            "edns0 local set 0xffee",
            "EDNS0 local rules require three or four args",
        ),
        (
            "edns0 local set 0xffee x y",
            "EDNS0 local rules require three or four args",
        ),
        (
            "edns0 local set 0xffee x revert y",
            "EDNS0 local rules require three or four args",
        ),
        (
            "edns0 local set 0xfffee x",
            r#"strconv.ParseUint: parsing "0xfffee": value out of range"#,
        ),
        (
            "edns0 local set xyz x",
            r#"strconv.ParseUint: parsing "xyz": invalid syntax"#,
        ),
        (
            "edns0 local set 0xffee 0xzz",
            "encoding/hex: invalid byte: U+007A 'z'",
        ),
        (
            "edns0 local set 0xffee 0xabc",
            "encoding/hex: odd length hex string",
        ),
        (
            "edns0 local set 0xffee {dummy}",
            r#"unsupported variable name "{dummy}""#,
        ),
        (
            "edns0 local set 0xffee {/x}",
            r#"unsupported variable name "{/x}""#,
        ),
        (
            "edns0 local set 0xffee {x/}",
            r#"unsupported variable name "{x/}""#,
        ),
        ("edns0 local set 0xffee {qname", ""),
        (
            "edns0 local unset",
            "local unset action requires exactly two arguments",
        ),
        (
            "edns0 local unset 0xffee x",
            "local unset action requires exactly two arguments",
        ),
        (
            "edns0 local unset foo",
            r#"strconv.ParseUint: parsing "foo": invalid syntax"#,
        ),
        (
            "edns0 nsid set x",
            "EDNS0 NSID rules can accept no more than one arg",
        ),
        (
            "edns0 nsid unset x",
            "nsid unset action requires exactly one argument",
        ),
        ("edns0 nsid foo", r#"invalid action: "foo""#),
        (
            "edns0 subnet set 24",
            "EDNS0 subnet rules require three or four args",
        ),
        (
            "edns0 subnet set 24 56 1",
            "EDNS0 subnet rules require three or four args",
        ),
        ("edns0 subnet set 33 56", "invalid IPv4 bit mask length 33"),
        (
            "edns0 subnet set 24 129",
            "invalid IPv6 bit mask length 129",
        ),
        (
            "edns0 subnet set a 56",
            r#"strconv.ParseUint: parsing "a": invalid syntax"#,
        ),
        (
            "edns0 subnet set 24 b",
            r#"strconv.ParseUint: parsing "b": invalid syntax"#,
        ),
        (
            "edns0 subnet set -1 56",
            r#"strconv.ParseUint: parsing "-1": invalid syntax"#,
        ),
        (
            "edns0 subnet unset 24",
            "subnet unset action requires exactly one argument",
        ),
        ("ttl", "too few (0) arguments for a ttl rule"),
        ("ttl a.", "too few (1) arguments for a ttl rule"),
        ("ttl a. x", "invalid TTL 'x' for a ttl rule"),
        ("ttl a. -", "invalid TTL '-' for a ttl rule"),
        ("ttl a. 5-2", "invalid TTL '5-2' for a ttl rule"),
        ("ttl a. 1-2-3", "invalid TTL '1-2-3' for a ttl rule"),
        ("ttl a. -5x", "invalid TTL '-5x' for a ttl rule"),
        (
            "ttl a. 4294967296",
            "invalid TTL '4294967296' for a ttl rule",
        ),
        ("ttl a. +5", "invalid TTL '+5' for a ttl rule"),
        (
            "ttl foo a. 5",
            "ttl rule supports only exact, prefix, suffix, substring, and regex name matching",
        ),
        ("ttl regex [ 5", "invalid regex pattern in a ttl rule: ["),
        ("ttl exact a. 5 6", "invalid TTL '' for a ttl rule"),
        ("rcode", "too few (0) arguments for a rcode rule"),
        ("rcode a. NOERROR", "too few (2) arguments for a rcode rule"),
        (
            "rcode a. FOO NOERROR",
            "invalid matching RCODE 'FOO' for a rcode rule",
        ),
        (
            "rcode a. NOERROR FOO",
            "invalid replacement RCODE 'FOO' for a rcode rule",
        ),
        (
            "rcode a. 24 NOERROR",
            "invalid matching RCODE '24' for a rcode rule",
        ),
        (
            "rcode foo a. 1 2",
            "rcode rule supports only exact, prefix, suffix, substring, and regex name matching",
        ),
        (
            "rcode regex [ 1 2",
            "invalid regex pattern in a rcode rule: [",
        ),
        (
            "rcode exact a. 1 2 3",
            "invalid matching RCODE '' for a rcode rule",
        ),
        (
            "rcode a. BADVERS 0",
            "invalid matching RCODE 'BADVERS' for a rcode rule",
        ),
        ("cname", "too few (0) arguments for a cname rule"),
        ("cname a", "too few (1) arguments for a cname rule"),
        ("cname foo a b", "unknown cname rewrite type: foo"),
        (
            "cname regex [ b",
            "invalid cname rewrite regex pattern: error parsing regexp: missing closing ]: `[`",
        ),
        (
            "cname regex (?P<n b",
            "invalid cname rewrite regex pattern: error parsing regexp: invalid or unsupported Perl syntax: `(?p`",
        ),
        (
            "cname exact a b c",
            "too few (4) arguments for a cname rule",
        ),
        ("{\n}", "no rule type specified for rewrite"),
        ("continue {\n}", "continue rule must begin with a rule type"),
        (
            "{\n name a. b. c.\n}",
            "name rule supports only exact, prefix, suffix, substring, and regex name matching, received: a.",
        ),
        ("name {\n a. b.\n}", ""),
        (
            "stop {\n name regex [ b\n}",
            "invalid regex matching pattern: [",
        ),
        (
            "continue {\n  name regex (.*) {1}\n  answer name x\n}",
            "name answer rule for regex rule: 2 arguments required",
        ),
    ];
    for (text, expected) in table {
        let error = rules(&format!("rewrite {text}")).err().unwrap_or_default();
        assert_eq!(error, expected, "rewrite {text}");
    }
    let long = "a".repeat(10_001);
    for (kind, to, message) in [
        ("name", "b.", "regex pattern too long"),
        ("ttl", "5", "regex pattern too long in a ttl rule"),
        ("rcode", "0 1", "regex pattern too long in a rcode rule"),
        ("cname", "b.", "regex pattern too long in a cname rule"),
    ] {
        let error = rules(&format!("rewrite {kind} regex {long} {to}")).err();
        assert_eq!(error, Some(format!("{message}: 10001 > 10000")));
    }
    let directive = corefile::Directive::new("Corefile", "rewrite name a.");
    let error = parse(&directive, &Block::default()).err().unwrap();
    assert_eq!(error.first_line(), "too few arguments for a name rule");
}

#[test]
fn the_question_becomes_another() {
    for (corefile, name, asked) in [
        ("rewrite name a.test b.test", "A.Test.", "b.test. A IN"),
        (
            "rewrite name exact a.test b.test",
            "x.a.test.",
            "x.a.test. A IN",
        ),
        ("rewrite name a.test B.Test", "a.test.", "b.test. A IN"),
        ("rewrite name prefix foo bar", "foo.test.", "bar.test. A IN"),
        (
            "rewrite name prefix foo bar",
            "foox.test.",
            "foox.test. A IN",
        ),
        (
            "rewrite name suffix a.test b.test",
            "xa.test.",
            "xb.test. A IN",
        ),
        (
            "rewrite name suffix .a.test .b.test",
            "xa.test.",
            "xa.test. A IN",
        ),
        (
            "rewrite name substring service svc",
            "x.service.service.test.",
            "x.svc.svc.test. A IN",
        ),
        (
            "rewrite name substring service svc",
            "services.test.",
            "services.test. A IN",
        ),
        (
            "rewrite name regex (.*)\\.(coredns)\\.rocks {1}.{2}.maps",
            "x.coredns.rocks.",
            "x.coredns.maps. A IN",
        ),
        (
            "rewrite name regex (.*)-(.*)\\.test\\. {2}-{1}.test",
            "a-b.test.",
            "b-a.test. A IN",
        ),
        ("rewrite name regex ^x$ y", "xx.", "xx. A IN"),
        // What a group caught is looked at for later marks.
        (
            "rewrite name regex (.*)\\.(b)\\.test\\. {1}.test",
            "{2}.b.test.",
            "b.test. A IN",
        ),
        ("rewrite type A MX", "a.test.", "a.test. MX IN"),
        ("rewrite type ANY HINFO", "a.test.", "a.test. A IN"),
        ("rewrite class IN CH", "a.test.", "a.test. A CH"),
        (
            "rewrite stop type A MX\nrewrite type MX SOA",
            "a.test.",
            "a.test. MX IN",
        ),
        (
            "rewrite continue type A MX\nrewrite type MX SOA",
            "a.test.",
            "a.test. SOA IN",
        ),
        (
            "rewrite continue name a.test b.test\nrewrite name b.test c.test",
            "a.test.",
            "c.test. A IN",
        ),
        (
            "rewrite continue {\n name a.test b.test\n}\nrewrite name suffix .test .org",
            "a.test.",
            "b.org. A IN",
        ),
    ] {
        let outcome = run(corefile, name, rtype::A, &[], "a.test. 1 A 192.0.2.1");
        assert_eq!(outcome.asked, [asked], "{corefile} for {name}");
    }
}

#[test]
fn a_name_that_is_none_fails_the_query() {
    for (corefile, name, message) in [
        ("rewrite name regex (.*) {1}", "a.test.", "a.test.."),
        (
            "rewrite continue type A MX\nrewrite name prefix a a..b",
            "a.test.",
            "a..b.test.",
        ),
    ] {
        let outcome = run(corefile, name, rtype::A, &[], "DROP");
        let failure = outcome.served.unwrap_err();
        assert_eq!(failure.rcode, Rcode::SERVFAIL);
        assert_eq!(
            failure.message,
            format!("invalid name after rewrite: {message}")
        );
        assert_eq!(question(&outcome.exchange.request), "a.test. A IN");
        assert!(outcome.asked.is_empty());
    }
    // An answer's name can become none too; then the question is the client's.
    let rule = "rewrite name regex a\\.(.*)\\. b.{1} answer name (.*) x.{1}";
    let outcome = run(rule, "a.test.", rtype::A, &[], "b.test. 5 A 192.0.2.1");
    let failure = outcome.served.unwrap_err();
    assert_eq!(failure.message, "invalid name after rewrite: x.b.test..");
    assert_eq!(question(&outcome.exchange.request), "a.test. A IN");
    assert!(outcome.answer.is_none());
    // Names made of marks cannot make the text grow without bounds.
    let hostile = format!(
        "{}.{}.{}.b.test.",
        "{2}".repeat(20),
        "{3}".repeat(20),
        "{3}".repeat(20)
    );
    let rule = "rewrite name regex (.*)\\.(.*)\\.(.*)\\.b\\.test\\. {1}{1}{1}{1}.test";
    let failure = run(rule, &hostile, rtype::A, &[], "DROP")
        .served
        .unwrap_err();
    assert!(failure.message.len() < 1 << 20);
}

#[test]
fn the_answer_is_turned_back() {
    const B: &str = "b.test. 5 CNAME x.b.test.\nx.b.test. 5 A 192.0.2.1\n\
        authority\ntest. 5 SOA b.test. b.test. 1 2 3 4 5\n\
        additional\nB.test. 5 MX 1 xb.test.";
    for (corefile, name, script, answer) in [
        (
            "rewrite name a.test b.test",
            "A.test.",
            B,
            &[
                "A.test. 0",
                "a.test. 5 CNAME x.a.test.",
                "x.a.test. 5 A 192.0.2.1",
                "test. 5 SOA a.test.",
                "B.test. 5 MX xb.test.",
            ][..],
        ),
        (
            "rewrite name prefix a b",
            "a.test.",
            "b.test. 5 A 192.0.2.1",
            &["a.test. 0", "b.test. 5 A 192.0.2.1"],
        ),
        (
            "rewrite name prefix a b answer auto",
            "a.test.",
            "b.test. 5 A 192.0.2.1",
            &["a.test. 0", "a.test. 5 A 192.0.2.1"],
        ),
        (
            "rewrite name suffix .a.test .b.test answer auto",
            "x.a.test.",
            "x.b.test. 5 CNAME y.b.test.\ny.b.test. 5 A 192.0.2.1",
            &[
                "x.a.test. 0",
                "x.a.test. 5 CNAME y.a.test.",
                "y.a.test. 5 A 192.0.2.1",
            ],
        ),
        (
            "rewrite stop {\n name regex (.*)\\.a\\.test {1}.b.test\n answer name (.*)\\.b\\.test {1}.a.test\n answer value (.*)\\.b\\.test {1}.c.test\n}",
            "x.a.test.",
            "x.b.test. 5 SRV 1 2 3 y.b.test.\n",
            &["x.a.test. 0", "x.a.test. 5 SRV y.c.test."],
        ),
        (
            "rewrite continue name a.test b.test\nrewrite name b.test c.test",
            "a.test.",
            "c.test. 5 A 192.0.2.1",
            &["a.test. 0", "a.test. 5 A 192.0.2.1"],
        ),
        // Only values of these types are names to it.
        (
            "rewrite name a.test b.test",
            "a.test.",
            "b.test. 5 AFSDB 1 b.test.\nb.test. 5 DNAME b.test.\nb.test. 5 NAPTR 1 1 \"\" \"\" \"\" b.test.",
            &[
                "a.test. 0",
                "a.test. 5 AFSDB b.test.",
                "a.test. 5 DNAME a.test.",
                "a.test. 5 NAPTR a.test.",
            ],
        ),
        (
            "rewrite type A AAAA",
            "a.test.",
            "a.test. 5 A 192.0.2.1",
            &["a.test. 0", "a.test. 5 A 192.0.2.1"],
        ),
    ] {
        let outcome = run(corefile, name, rtype::A, &[], script);
        assert_eq!(outcome.served.unwrap(), Rcode::NOERROR);
        assert_eq!(outcome.answer.unwrap(), answer, "{corefile}");
    }
}

#[test]
fn the_question_comes_back_unless_nothing_else_happens_to_the_answer() {
    let asked = |corefile, name| {
        let outcome = run(corefile, name, rtype::A, &[], "b.test. 5 A 192.0.2.1");
        outcome.exchange.reply().unwrap().question().to_vec()
    };
    let (a, mx) = ([0, 1, 0, 1], [0, 15, 0, 1]);
    assert!(asked("rewrite type A MX", "a.test.").ends_with(&a));
    assert!(asked("rewrite continue type A MX", "a.test.").ends_with(&mx));
    let both = "rewrite continue type A MX\nrewrite continue ttl a.test. 5";
    assert!(asked(both, "a.test.").ends_with(&a));
}

#[test]
fn ttls_and_codes_are_changed() {
    const TWO: &str =
        "a.test. 5 A 192.0.2.1\na.test. 500 A 192.0.2.2\nauthority\ntest. 50 NS a.test.";
    for (corefile, script, answer) in [
        (
            "rewrite ttl a.test 30",
            TWO,
            &[
                "a.test. 0",
                "a.test. 30 A 192.0.2.1",
                "a.test. 30 A 192.0.2.2",
                "test. 30 NS a.test.",
            ][..],
        ),
        (
            "rewrite ttl a.test 30-60",
            TWO,
            &[
                "a.test. 0",
                "a.test. 30 A 192.0.2.1",
                "a.test. 60 A 192.0.2.2",
                "test. 50 NS a.test.",
            ],
        ),
        (
            "rewrite ttl prefix a 30-",
            TWO,
            &[
                "a.test. 0",
                "a.test. 30 A 192.0.2.1",
                "a.test. 500 A 192.0.2.2",
                "test. 50 NS a.test.",
            ],
        ),
        (
            "rewrite ttl suffix test -30",
            TWO,
            &[
                "a.test. 0",
                "a.test. 5 A 192.0.2.1",
                "a.test. 30 A 192.0.2.2",
                "test. 30 NS a.test.",
            ],
        ),
        (
            "rewrite ttl substring foo 1",
            TWO,
            &[
                "a.test. 0",
                "a.test. 5 A 192.0.2.1",
                "a.test. 500 A 192.0.2.2",
                "test. 50 NS a.test.",
            ],
        ),
        (
            "rewrite ttl regex ^a\\. 1\nrewrite ttl a.test 2",
            "a.test. 5 A 192.0.2.1",
            &["a.test. 0", "a.test. 1 A 192.0.2.1"],
        ),
        // Rules are undone last one first.
        (
            "rewrite continue ttl a.test 1\nrewrite ttl a.test 2",
            "a.test. 5 A 192.0.2.1",
            &["a.test. 0", "a.test. 1 A 192.0.2.1"],
        ),
        (
            "rewrite rcode a.test NXDOMAIN NOERROR",
            "NXDOMAIN",
            &["a.test. 0"],
        ),
        ("rewrite rcode a.test 3 5", "NXDOMAIN", &["a.test. 5"]),
        (
            "rewrite rcode suffix other NXDOMAIN NOERROR",
            "NXDOMAIN",
            &["a.test. 3"],
        ),
        (
            "rewrite rcode a.test SERVFAIL NXDOMAIN",
            "SERVFAIL",
            &["a.test. 3"],
        ),
        (
            "rewrite rcode a.test REFUSED SERVFAIL",
            "REFUSED",
            &["a.test. 2"],
        ),
        // Once for each record: with two the second rule's result goes through the first.
        (
            "rewrite continue rcode a.test 0 3\nrewrite rcode a.test 3 5",
            "a.test. 5 A 192.0.2.1",
            &["a.test. 3", "a.test. 5 A 192.0.2.1"],
        ),
        (
            "rewrite continue rcode a.test 0 3\nrewrite rcode a.test 3 5",
            "a.test. 5 A 192.0.2.1\na.test. 5 A 192.0.2.2",
            &[
                "a.test. 5",
                "a.test. 5 A 192.0.2.1",
                "a.test. 5 A 192.0.2.2",
            ],
        ),
    ] {
        let outcome = run(corefile, "a.test.", rtype::A, &[], script);
        assert_eq!(outcome.served.unwrap(), Rcode::NOERROR, "{corefile}");
        assert_eq!(outcome.answer.unwrap(), answer, "{corefile}");
    }
}

#[test]
fn an_answer_that_nobody_wrote_is_written_through_the_rules() {
    let outcome = run(
        "rewrite name a.test b.test",
        "a.test.",
        rtype::A,
        &[],
        "!SERVFAIL",
    );
    let failure = outcome.served.unwrap_err();
    assert_eq!(
        (failure.rcode, &*failure.message),
        (Rcode::NOERROR, "broken")
    );
    assert_eq!(outcome.answer.unwrap(), ["a.test. 2"]);

    let outcome = run(
        "rewrite name a.test b.test",
        "a.test.",
        rtype::A,
        &[],
        "DROP",
    );
    assert_eq!(outcome.served.unwrap(), Rcode::NOERROR);
    assert!(outcome.answer.is_none());

    // Without a rule for the answer the server does it.
    let outcome = run(
        "rewrite continue type A MX",
        "a.test.",
        rtype::A,
        &[],
        "REFUSED",
    );
    assert_eq!(outcome.served.unwrap(), Rcode::REFUSED);
    assert!(outcome.answer.is_none());
}

#[test]
fn another_target_is_followed() {
    const CHAIN: &str =
        "a.test. 5 CNAME b.test.\nb.test. 6 CNAME old.test.\nold.test. 7 A 192.0.2.1";
    const NEW: &[&str] = &[
        "a.test. 0",
        "a.test. 5 CNAME b.test.",
        "b.test. 6 CNAME new.test.",
        "new.test. 7 A 192.0.2.77",
    ];
    for rule in [
        "cname old.test. new.test.",
        "cname exact OLD.test new.test",
        "cname prefix old new",
        "cname suffix old.test. new.test.",
        "cname substring ld ew",
        "cname regex ^old\\.(.*) new.{1}",
    ] {
        let new = match rule {
            "cname substring ld ew" => "oew.test.",
            _ => "new.test.",
        };
        let outcome = run(&format!("rewrite {rule}"), "a.test.", rtype::A, &[], CHAIN);
        assert_eq!(outcome.looked_up, [format!("{new} A IN")], "{rule}");
        let answer = outcome.answer.unwrap();
        assert_eq!(answer[0], NEW[0]);
        assert_eq!(answer[2], format!("b.test. 6 CNAME {new}"));
        assert_eq!(answer[3], NEW[3]);
    }
    let outcome = run(
        "rewrite cname other.test. new.test.",
        "a.test.",
        rtype::A,
        &[],
        CHAIN,
    );
    assert!(outcome.looked_up.is_empty());
    assert_eq!(outcome.answer.unwrap().len(), 4);
}

#[test]
fn options_are_changed_on_the_way_to_the_backend() {
    const NONE: &[(u16, &[u8])] = &[];
    const PLAIN: &[(u16, &[u8])] = &[(0, b"")];
    const LOCAL: &[(u16, &[u8])] = &[(0xFFEE, b"old"), (0xFFEE, b"two")];
    const NSID: &[(u16, &[u8])] = &[(Edns::NSID, b"id")];
    const SUBNET: &[(u16, &[u8])] = &[(Edns::SUBNET, &[0, 1, 32, 0, 1, 2, 3, 4])];
    for (rule, edns, asked) in [
        (
            "local append 0xffee abcd",
            NONE,
            "OPT(4096 0xffee=61626364)",
        ),
        (
            "local append 0xffee abcd",
            LOCAL,
            "OPT(1400 0xffee=6f6c64 0xffee=74776f 0xffee=61626364)",
        ),
        ("local set 0xffee 0xabcd", PLAIN, "OPT(1400 0xffee=abcd)"),
        (
            "local set 65518 0xabcd",
            LOCAL,
            "OPT(1400 0xffee=abcd 0xffee=74776f)",
        ),
        ("local replace 0xffee x", PLAIN, "OPT(1400)"),
        ("local replace 0xffee x", NONE, "OPT(4096)"),
        ("local unset 0xffee", LOCAL, "OPT(1400)"),
        ("local unset 0xffee", NONE, "OPT(4096)"),
        // A cookie is not a local option to CoreDNS.
        (
            "local set 10 x",
            &[(Edns::COOKIE, b"12345678")],
            "OPT(1400 0xa=3132333435363738 0xa=78)",
        ),
        (
            "local set 0xffee {qname}",
            NONE,
            "OPT(4096 0xffee=412e746573742e)",
        ),
        ("local set 0xffee {qtype}", NONE, "OPT(4096 0xffee=0001)"),
        (
            "local set 0xffee {client_ip}",
            NONE,
            "OPT(4096 0xffee=c0000235)",
        ),
        (
            "local set 0xffee {client_port}",
            NONE,
            "OPT(4096 0xffee=9d14)",
        ),
        (
            "local set 0xffee {protocol}",
            NONE,
            "OPT(4096 0xffee=756470)",
        ),
        (
            "local set 0xffee {server_ip}",
            NONE,
            "OPT(4096 0xffee=7f000001)",
        ),
        (
            "local set 0xffee {server_port}",
            NONE,
            "OPT(4096 0xffee=0035)",
        ),
        (
            "local append 0xffee {qtype}",
            LOCAL,
            "OPT(1400 0xffee=6f6c64 0xffee=74776f)",
        ),
        ("local set 0xffee {kubernetes/namespace}", NONE, ""),
        ("nsid set", NONE, "OPT(4096 0x3=)"),
        ("nsid set", NSID, "OPT(1400 0x3=)"),
        ("nsid append", NSID, "OPT(1400 0x3=6964 0x3=)"),
        ("nsid unset", NSID, "OPT(1400)"),
        ("subnet set 24 56", NONE, "OPT(4096 0x8=00011800c00002)"),
        ("subnet set 20 56", NONE, "OPT(4096 0x8=00011400c00000)"),
        ("subnet set 0 56", SUBNET, "OPT(1400 0x8=00010000)"),
        (
            "subnet append 24 56",
            SUBNET,
            "OPT(1400 0x8=0001200001020304)",
        ),
        ("subnet replace 24 56", PLAIN, "OPT(1400)"),
        ("subnet unset", SUBNET, "OPT(1400)"),
    ] {
        let corefile = format!("rewrite edns0 {rule}");
        let outcome = run(
            &corefile,
            "A.test.",
            rtype::A,
            edns,
            "a.test. 1 A 192.0.2.1",
        );
        assert_eq!(
            outcome.asked,
            [format!("A.test. A IN {asked}").trim()],
            "{rule}"
        );
    }
}

#[test]
fn options_come_back_as_they_were_where_that_is_asked() {
    const LOCAL: &[(u16, &[u8])] = &[(0xFFEE, b"old")];
    for (rule, edns, script, options) in [
        // Without `revert` the reply echoes what the backend was asked.
        ("set 0xffee new", LOCAL, "", "[(65518, [110, 101, 119])]"),
        (
            "set 0xffee new revert",
            LOCAL,
            "",
            "[(65518, [111, 108, 100])]",
        ),
        ("set 0xffee new revert", &[], "", "[]"),
        ("append 0xffee new revert", &[], "", "[]"),
        // The backend's own OPT is turned back too.
        (
            "set 0xffee new revert",
            LOCAL,
            "OPT",
            "[(65518, [111, 108, 100])]",
        ),
        ("set 0xffee new revert", &[], "OPT", "[]"),
        (
            "set 0xffee new",
            LOCAL,
            "OPT",
            "[(65518, [99, 104, 97, 110, 103, 101, 100])]",
        ),
    ] {
        let corefile = format!("rewrite edns0 local {rule}");
        let mut outcome = run(&corefile, "a.test.", rtype::A, edns, script);
        outcome.exchange.finish().unwrap();
        let reply = outcome.exchange.reply().unwrap();
        let shown: Vec<_> = reply.edns().unwrap().options().collect();
        assert_eq!(format!("{shown:?}"), options, "{rule}");
    }
}

#[test]
fn what_no_rule_is_about_passes_untouched() {
    let mut outcome = run(
        "rewrite name x.test y.test",
        "A.test.",
        rtype::A,
        &[],
        "A.test. 1 A 192.0.2.1",
    );
    assert_eq!(
        outcome.answer.as_deref().unwrap(),
        ["A.test. 0", "A.test. 1 A 192.0.2.1"]
    );
    let message = outcome.exchange.finish().unwrap();
    assert_eq!(
        u16::from_be_bytes([message[2], message[3]]) & flags::QR,
        flags::QR
    );
}
