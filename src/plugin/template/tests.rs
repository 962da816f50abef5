mod language;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;

use futures_util::FutureExt;

use super::*;
use crate::chain::{Chain, Proto, Resolver};
use crate::plugin::Block;
use crate::presentation::parse_name;

/// Directives and CoreDNS's own first lines; an empty one means that it starts.
const SETUPS: &[(&str, &str)] = &[
    (
        "template",
        "Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'template'",
    ),
    (
        "template IN",
        "Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'IN'",
    ),
    (
        "template XX A",
        "Corefile:2 - Error during parsing: invalid query class XX",
    ),
    (
        "template in A",
        "Corefile:2 - Error during parsing: invalid query class in",
    ),
    (
        "template IN XX",
        "Corefile:2 - Error during parsing: invalid RR class XX",
    ),
    (
        "template IN a",
        "Corefile:2 - Error during parsing: invalid RR class a",
    ),
    ("template IN A", ""),
    ("template ANY ANY", ""),
    ("template IN A example.org {\n}", ""),
    (
        "template IN A {\n match\n}",
        "Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'match'",
    ),
    (
        "template IN A {\n match [\n}",
        "Corefile:3 - Error during parsing: could not parse regex: [, error parsing regexp: missing closing ]: `[`",
    ),
    (
        "template IN A {\n match a**\n}",
        "Corefile:3 - Error during parsing: could not parse regex: a**, error parsing regexp: invalid nested repetition operator: `**`",
    ),
    (
        "template IN A {\n match (?P<n>a) (b\n}",
        "Corefile:3 - Error during parsing: could not parse regex: (b, error parsing regexp: missing closing ): `(b`",
    ),
    (
        "template IN A {\n match \"(a\" \n}",
        "Corefile:3 - Error during parsing: could not parse regex: (a, error parsing regexp: missing closing ): `(a`",
    ),
    (
        "template IN A {\n answer\n}",
        "Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'answer'",
    ),
    (
        "template IN A {\n answer \"{{ .Name }\n\"\n}",
        "Corefile:3 - Error during parsing: could not compile template: {{ .Name }",
    ),
    (
        "template IN A {\n answer \"{{ .Name\"\n}",
        "Corefile:3 - Error during parsing: could not compile template: {{ .Name, template: answer:1: unclosed action",
    ),
    (
        "template IN A {\n answer \"{{ foo }}\"\n}",
        "Corefile:3 - Error during parsing: could not compile template: {{ foo }}, template: answer:1: function \"foo\" not defined",
    ),
    (
        "template IN A {\n answer \"ok\" \"{{ if }}\"\n}",
        "Corefile:3 - Error during parsing: could not compile template: {{ if }}, template: answer:1: missing value for if",
    ),
    ("template IN A {\n answer \"{{ parseInt }}\"\n}", ""),
    (
        "template IN A {\n additional\n}",
        "Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'additional'",
    ),
    (
        "template IN A {\n additional \"{{ foo }}\"\n}",
        "Corefile:3 - Error during parsing: could not compile template: {{ foo }}, template: additional:1: function \"foo\" not defined",
    ),
    (
        "template IN A {\n authority\n}",
        "Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'authority'",
    ),
    (
        "template IN A {\n authority \"{{ end }}\"\n}",
        "Corefile:3 - Error during parsing: could not compile template: {{ end }}, template: authority:1: unexpected {{end}}",
    ),
    (
        "template IN A {\n rcode\n}",
        "Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'rcode'",
    ),
    (
        "template IN A {\n rcode FOO\n}",
        "Corefile:3 - Error during parsing: unknown rcode FOO",
    ),
    (
        "template IN A {\n rcode nxdomain\n}",
        "Corefile:3 - Error during parsing: unknown rcode nxdomain",
    ),
    (
        "template IN A {\n rcode 3\n}",
        "Corefile:3 - Error during parsing: unknown rcode 3",
    ),
    (
        "template IN A {\n rcode NXDOMAIN SERVFAIL\n}",
        "Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'SERVFAIL'",
    ),
    ("template IN A {\n rcode NOTIMPL\n}", ""),
    (
        "template IN A {\n ederror\n}",
        "Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'ederror'",
    ),
    (
        "template IN A {\n ederror 1 2 3\n}",
        "Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after '3'",
    ),
    (
        "template IN A {\n ederror x\n}",
        "Corefile:3 - Error during parsing: error parsing extended DNS error code x, strconv.ParseUint: parsing \"x\": invalid syntax",
    ),
    (
        "template IN A {\n ederror 65536\n}",
        "Corefile:3 - Error during parsing: error parsing extended DNS error code 65536, strconv.ParseUint: parsing \"65536\": value out of range",
    ),
    ("template IN A {\n ederror 21 \"Blocked\"\n}", ""),
    ("template IN A {\n ederror 21\n}", ""),
    ("template IN A {\n fallthrough\n}", ""),
    ("template IN A {\n fallthrough example.org a..b\n}", ""),
    ("template IN A {\n upstream\n}", ""),
    ("template IN A {\n upstream a b c\n}", ""),
    (
        "template IN A {\n foo\n}",
        "Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'foo'",
    ),
    (
        "template IN A {\n foo bar\n}",
        "Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'foo'",
    ),
    (
        "template IN A example.org:53 10.0.0.0/8 {\n match .*\n}",
        "",
    ),
    ("template IN A { match .*\n}", ""),
    ("template IN NSAP-PTR", ""),
    ("template CS A", ""),
    (
        "template IN TYPE1",
        "Corefile:2 - Error during parsing: invalid RR class TYPE1",
    ),
    (
        "template CLASS1 A",
        "Corefile:2 - Error during parsing: invalid query class CLASS1",
    ),
    (
        "template IN A\ntemplate IN B",
        "Corefile:3 - Error during parsing: invalid RR class B",
    ),
    (
        "template IN A {\n match a{1001}\n}",
        "Corefile:3 - Error during parsing: could not parse regex: a{1001}, error parsing regexp: invalid repeat count: `{1001}`",
    ),
    (
        "template IN A {\n match \\d{2,1}\n}",
        "Corefile:3 - Error during parsing: could not parse regex: \\d{2,1}, error parsing regexp: invalid repeat count: `{2,1}`",
    ),
    (
        "template IN A {\n match (?i)a(?=b)\n}",
        "Corefile:3 - Error during parsing: could not parse regex: (?i)a(?=b), error parsing regexp: invalid or unsupported Perl syntax: `(?=`",
    ),
    (
        "template IN A {\n match \\8\n}",
        "Corefile:3 - Error during parsing: could not parse regex: \\8, error parsing regexp: invalid escape sequence: `\\8`",
    ),
    (
        "template IN A {\n answer \"{{ template }}\"\n}",
        "Corefile:3 - Error during parsing: could not compile template: {{ template }}, template: answer:1: unexpected \"}}\" in template clause",
    ),
    (
        "template IN A {\n answer \"{{ define \\\"x\\\" }}\"\n}",
        "Corefile:3 - Error during parsing: could not compile template: {{ define \"x\" }}, template: answer:1: unexpected EOF",
    ),
    (
        "template IN A {\n answer \"{{ \\\"a }}\"\n}",
        "Corefile:3 - Error during parsing: could not compile template: {{ \"a }}, template: answer:1: unterminated quoted string",
    ),
    (
        "template IN A {\n answer \"{{ 1x }}\"\n}",
        "Corefile:3 - Error during parsing: could not compile template: {{ 1x }}, template: answer:1: bad number syntax: \"1x\"",
    ),
    (
        "template IN A {\n answer \"{{ . | 1 }}\"\n}",
        "Corefile:3 - Error during parsing: could not compile template: {{ . | 1 }}, template: answer:1: non executable command in pipeline stage 2",
    ),
    (
        "template IN A {\n answer \"{{ (1 }}\"\n}",
        "Corefile:3 - Error during parsing: could not compile template: {{ (1 }}, template: answer:1: unclosed left paren",
    ),
    (
        "template IN A {\n answer \"{{ break }}\"\n}",
        "Corefile:3 - Error during parsing: could not compile template: {{ break }}, template: answer:1: {{break}} outside {{range}}",
    ),
    (
        "template IN A {\n answer \"a\n\n{{ break }}\"\n}",
        "Corefile:3 - Error during parsing: could not compile template: a",
    ),
];

#[test]
fn broken_blocks_are_refused_in_coredns_words() {
    for (text, expected) in SETUPS {
        let directive = corefile::Directive::new("Corefile", &format!("\n{text}"));
        let error = setup::parse(&directive, &Block::default()).err();
        let message = error.map(|error| error.first_line().to_owned());
        // A template of several lines makes a message of several.
        let line = message
            .as_deref()
            .and_then(|message| message.lines().next());
        assert_eq!(line.unwrap_or_default(), *expected, "{text}");
    }
    let long = format!("template IN A {{\n match {}\n}}", "a".repeat(10_001));
    let directive = corefile::Directive::new("Corefile", &long);
    let error = setup::parse(&directive, &Block::default()).err().unwrap();
    assert!(
        error
            .first_line()
            .ends_with("regex pattern too long: 10001 > 10000")
    );
    // Newer than CoreDNS 1.14.7.
    for word in ["var a 1", "expr true"] {
        let text = format!("template IN A {{\n {word}\n}}");
        let directive = corefile::Directive::new("Corefile", &text);
        let error = setup::parse(&directive, &Block::default()).err().unwrap();
        assert!(
            error.first_line().contains("Wrong argument count"),
            "{word}"
        );
    }
}

fn templates(text: &str) -> Templates {
    let corefile = "example.org {\n whoami\n}";
    let corefile = corefile::parse(
        "Corefile",
        corefile,
        &["whoami"],
        &corefile::SystemHost::default(),
    );
    let mut keys = corefile::key::inspect(&corefile.unwrap(), 53).unwrap();
    let block = Block::new(keys.remove(0));
    let directive = corefile::Directive::new("Corefile", text);
    setup::parse_templates(&directive, &block)
        .map(Templates::new)
        .unwrap_or_else(|error| panic!("{}", error.first_line()))
}

/// The plugin behind: refuses, so that it shows when it is reached.
struct Behind;

impl Plugin for Behind {
    fn name(&self) -> &'static str {
        "behind"
    }

    fn serve<'a>(&'a self, _: &'a mut Exchange, _: Next<'a>) -> Serving<'a> {
        Box::pin(std::future::ready(Ok(Rcode::REFUSED)))
    }
}

/// Answers the server's own lookups with one address and a cut answer.
#[derive(Default)]
struct Own(RefCell<Vec<String>>);

impl Resolver for Own {
    fn resolve<'a>(&'a self, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        self.0
            .borrow_mut()
            .push(exchange.request.qname().to_string());
        let text = format!("{} 7 A 192.0.2.77", exchange.request.qname());
        let record = record::parse(&text).unwrap().unwrap();
        let reply = exchange.answer();
        reply.push_record(&record);
        reply.set_flag(flags::TC, true);
        Box::pin(std::future::ready(()))
    }
}

struct Outcome {
    served: Served,
    /// Flags, code and records by section.
    answer: Option<Vec<String>>,
    exchange: Exchange,
    looked_up: Vec<String>,
}

fn run(text: &str, name: &str, qtype: u16) -> Outcome {
    let own = Rc::new(Own::default());
    let chain = Chain::from_iter([
        Arc::new(templates(text)) as Arc<dyn Plugin>,
        Arc::new(Behind),
    ]);
    let client = "10.240.0.1:40212".parse().unwrap();
    let mut exchange = Exchange::new(client, "127.0.0.1:53".parse().unwrap(), Proto::Udp);
    exchange.resolver = Some(own.clone());
    exchange
        .request
        .ask(7, parse_name(name).unwrap().name(), qtype);
    let served = Next::new(&chain)
        .serve(&mut exchange)
        .now_or_never()
        .unwrap();
    let answer = exchange.reply().map(|reply| {
        let aa = if reply.has(flags::AA) { " aa" } else { "" };
        let tc = if reply.has(flags::TC) { " tc" } else { "" };
        let mut shown = vec![format!("{}{aa}{tc}", reply.rcode().0)];
        for record in reply.to_records() {
            let hex: String = record
                .rdata
                .iter()
                .map(|octet| format!("{octet:02x}"))
                .collect();
            shown.push(format!(
                "{:?} {} {} {} {hex}",
                record.section, record.owner, record.ttl, record.rtype
            ));
        }
        shown
    });
    Outcome {
        served,
        answer,
        exchange,
        looked_up: own.0.take(),
    }
}

const REVERSE: &str = "template IN A example.org {\n\
    match ^ip-(?P<a>[0-9]+)-(?P<b>[0-9]+)[.]example[.]org[.]$\n\
    answer \"{{ .Name }} 60 IN A 10.0.{{ .Group.a }}.{{ .Group.b }}\"\n}";

#[test]
fn queries_find_their_template_or_pass_it() {
    const CONST: &str = "answer \"{{ .Name }} 60 IN A 192.0.2.1\"";
    const A: &str = "Answer a.example.org. 60 1 c0000201";
    let in_a = format!("template IN A {{\n {CONST}\n}}");
    let any = format!("template ANY ANY {{\n {CONST}\n}}");
    let zone = format!("template IN A b.example.org {{\n {CONST}\n}}");
    let falls = format!(
        "template IN A {{\n match ^b\n fallthrough\n rcode NXDOMAIN\n}}\ntemplate IN A {{\n {CONST}\n}}"
    );
    let falls_elsewhere = falls.replace("fallthrough", "fallthrough example.com");
    let later = format!("template IN A {{\n match ^b\n}}\ntemplate IN A {{\n {CONST}\n}}");
    let two = format!("template IN A {{\n match ^b ^a\n {CONST}\n}}");
    for (text, qtype, served, answer) in [
        (&*in_a, rtype::A, Ok(0), Some(vec!["0 aa", A])),
        (&in_a, rtype::AAAA, Ok(5), None),
        (&in_a, rtype::ANY, Ok(0), Some(vec!["0 aa", A])),
        (&any, rtype::AAAA, Ok(0), Some(vec!["0 aa", A])),
        (&zone, rtype::A, Ok(5), None),
        (&falls, rtype::A, Ok(0), Some(vec!["0 aa", A])),
        (&falls_elsewhere, rtype::A, Ok(2), None),
        (&later, rtype::A, Ok(2), None),
        (&two, rtype::A, Ok(0), Some(vec!["0 aa", A])),
        (
            "template IN A {\n rcode NXDOMAIN\n}",
            rtype::A,
            Ok(3),
            Some(vec!["3 aa"]),
        ),
        ("template IN A {\n rcode SERVFAIL\n}", rtype::A, Ok(2), None),
        (
            "template IN A {\n rcode REFUSED\n}",
            rtype::A,
            Ok(5),
            Some(vec!["5 aa"]),
        ),
        (
            "template IN A {\n authority \"{{.Zone}} 60 IN SOA a. b. 1 2 3 4 5\"\n additional \"x 1 A 192.0.2.9\"\n rcode NXDOMAIN\n}",
            rtype::A,
            Ok(3),
            Some(vec![
                "3 aa",
                "Authority example.org. 60 6 0161000162000000000100000002000000030000000400000005",
                "Additional x. 1 1 c0000209",
            ]),
        ),
    ] {
        let outcome = run(text, "a.example.org.", qtype);
        let code: Result<u16, String> = outcome
            .served
            .map(|rcode| rcode.0)
            .map_err(|e| e.to_string());
        assert_eq!(code, served, "{text}");
        let shown = outcome.answer.map(|lines| lines.join("|"));
        assert_eq!(shown, answer.map(|lines| lines.join("|")), "{text}");
    }
    let outcome = run(&in_a, "a.example.com.", rtype::A);
    assert_eq!(outcome.served.unwrap(), Rcode::REFUSED);
}

#[test]
fn groups_come_from_the_lower_cased_name() {
    let outcome = run(REVERSE, "IP-1-2.Example.org.", rtype::A);
    assert_eq!(
        outcome.answer.unwrap(),
        ["0 aa", "Answer ip-1-2.example.org. 60 1 0a000102"]
    );
    let outcome = run(REVERSE, "ip-x.example.org.", rtype::A);
    assert_eq!(outcome.served.unwrap(), Rcode::SERVFAIL);
    assert!(outcome.answer.is_none());
}

#[test]
fn what_a_template_writes_must_be_a_record() {
    for (answer, message) in [
        (
            "{{ .Name }} IN A 1.2.3",
            "dns: bad A A: \"1.2.3\" at line: 1:25",
        ),
        (
            "{{ .Foo }} IN A 1.2.3.4",
            "template: answer:1:3: executing \"answer\" at <.Foo>: can't evaluate field Foo in type *template.templateData",
        ),
        ("", "template: answer is no resource record"),
        (
            "{{ parseInt .Name 10 8 }} IN A 1.2.3.4",
            "template: answer:1:3: executing \"answer\" at <parseInt .Name 10 8>: error calling parseInt: strconv.ParseUint: parsing \"a.example.org.\": invalid syntax",
        ),
    ] {
        let text = format!("template IN A {{\n answer \"{answer}\"\n}}");
        let outcome = run(&text, "a.example.org.", rtype::A);
        let failure = outcome.served.unwrap_err();
        assert_eq!(
            (failure.rcode, &*failure.message),
            (Rcode::SERVFAIL, message)
        );
        assert!(outcome.answer.is_none(), "nothing half done goes out");
    }
    let labels = ["", "example.org.", "", "IN", "A", "answer"];
    let with = |family: &Family<Counter>, source: &str| {
        family.with(&[&labels[..], &[source]].concat()).value()
    };
    assert_eq!(with(&TEMPLATE_FAILURES, "{{.Foo}} IN A 1.2.3.4"), 1);
    assert_eq!(with(&RR_FAILURES, "{{.Name}} IN A 1.2.3"), 1);
}

#[test]
fn the_target_of_an_alias_is_looked_up_for_addresses() {
    let text = "template IN ANY {\n answer \"{{ .Name }} 60 IN CNAME t.example.com.\"\n}";
    let alias = "Answer a.example.org. 60 5 0174076578616d706c6503636f6d00";
    let outcome = run(text, "a.example.org.", rtype::A);
    assert_eq!(outcome.looked_up, ["t.example.com."]);
    assert_eq!(
        outcome.answer.unwrap(),
        ["0 aa tc", alias, "Answer t.example.com. 7 1 c000024d"]
    );
    let outcome = run(text, "a.example.org.", rtype::TXT);
    assert!(outcome.looked_up.is_empty());
    assert_eq!(outcome.answer.unwrap(), ["0 aa", alias]);
}

#[test]
fn an_extended_error_comes_with_an_opt_of_its_own() {
    let text = "template IN A {\n rcode NXDOMAIN\n ederror 21 \"Blocked here\"\n}";
    let mut outcome = run(text, "a.example.org.", rtype::A);
    outcome.exchange.finish().unwrap();
    let edns = outcome.exchange.reply().unwrap().edns().unwrap().clone();
    assert_eq!((edns.udp_size, edns.dnssec_ok()), (4096, true));
    assert_eq!(edns.option(Edns::EDE), Some(&b"\0\x15Blocked here"[..]));
}

#[test]
fn matches_are_counted_by_zone_class_and_type() {
    let text = "template ANY ANY count.test {\n rcode NXDOMAIN\n}";
    for qtype in [rtype::A, rtype::A, rtype::ANY, 65_000] {
        run(text, "a.count.test.", qtype);
    }
    let count = |class, rtype| MATCHES.with(&["", "count.test.", "", class, rtype]).value();
    assert_eq!(
        (count("IN", "A"), count("IN", "ANY"), count("IN", "")),
        (2, 1, 1)
    );
}
