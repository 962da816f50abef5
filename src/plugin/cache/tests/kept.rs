use super::*;
use crate::wire::{Edns, flags};

/// What the second client sees of replies of all kinds, and whether it was
/// answered from the cache.
#[test]
fn replies_are_kept_by_their_kind() {
    let (no, nx, fail) = (Rcode::NOERROR, Rcode::NXDOMAIN, Rcode::SERVFAIL);
    let cname = "www.example.org. 100 CNAME web.example.org.";
    for (name, qtype, rcode, records, kept, seen) in [
        (
            "an answer",
            A,
            no,
            &[GOOD][..],
            true,
            "NOERROR aa | www.example.org. 100 A 192.0.2.1",
        ),
        (
            "one TTL for all",
            A,
            no,
            &[GOOD, "www.example.org. 30 A 192.0.2.2", "+x. 7 A 192.0.2.3"],
            true,
            "NOERROR aa | www.example.org. 7 A 192.0.2.1 | www.example.org. 7 A 192.0.2.2 | +x. 7 A 192.0.2.3",
        ),
        (
            "no more than an hour",
            A,
            no,
            &["www.example.org. 86400 A 192.0.2.1"],
            true,
            "NOERROR aa | www.example.org. 3600 A 192.0.2.1",
        ),
        (
            "no less than five seconds",
            A,
            no,
            &["www.example.org. 0 A 192.0.2.1"],
            true,
            "NOERROR aa | www.example.org. 5 A 192.0.2.1",
        ),
        (
            "aliases to an answer",
            A,
            no,
            &[cname, "web.example.org. 60 A 192.0.2.1"],
            true,
            "NOERROR aa | www.example.org. 60 CNAME web.example.org. | web.example.org. 60 A 192.0.2.1",
        ),
        (
            "aliases to nothing",
            A,
            no,
            &[cname],
            false,
            "NOERROR | www.example.org. 100 CNAME web.example.org.",
        ),
        (
            "aliases to no data",
            A,
            no,
            &[cname, SOA],
            true,
            "NOERROR aa | www.example.org. 100 CNAME web.example.org. | !example.org. 100 SOA",
        ),
        (
            "an alias that was asked for",
            5,
            no,
            &[cname],
            true,
            "NOERROR aa | www.example.org. 100 CNAME web.example.org.",
        ),
        (
            "another type than was asked for",
            MX,
            no,
            &[GOOD],
            false,
            "NOERROR | www.example.org. 100 A 192.0.2.1",
        ),
        (
            "another name than was asked for",
            A,
            no,
            &["web.example.org. 9 A 192.0.2.1"],
            false,
            "NOERROR | web.example.org. 9 A 192.0.2.1",
        ),
        (
            "no data",
            MX,
            no,
            &[SOA],
            true,
            "NOERROR aa | !example.org. 100 SOA",
        ),
        (
            "no data for long",
            MX,
            no,
            &["!example.org. 86400 SOA"],
            true,
            "NOERROR aa | !example.org. 1800 SOA",
        ),
        ("nothing at all", A, no, &[], true, "NOERROR aa"),
        (
            "only additional records",
            A,
            no,
            &["+www.example.org. 0 A 192.0.2.1"],
            true,
            "NOERROR aa | +www.example.org. 5 A 192.0.2.1",
        ),
        (
            "a referral",
            A,
            no,
            &[
                "!example.org. 86400 NS ns.example.org.",
                "+ns.example.org. 900 A 192.0.2.1",
            ],
            true,
            "NOERROR aa | !example.org. 5 NS ns.example.org. | +ns.example.org. 5 A 192.0.2.1",
        ),
        (
            "no such name",
            A,
            nx,
            &[SOA],
            true,
            "NXDOMAIN aa | !example.org. 100 SOA",
        ),
        ("no such name and no SOA", A, nx, &[], false, "NXDOMAIN"),
        (
            "no such name and an answer",
            A,
            nx,
            &[cname, SOA],
            false,
            "NXDOMAIN | www.example.org. 5 CNAME web.example.org. | !example.org. 5 SOA",
        ),
        ("a failure", A, fail, &[], true, "SERVFAIL aa"),
        (
            "a failure with records",
            A,
            fail,
            &[SOA],
            true,
            "SERVFAIL aa | !example.org. 5 SOA",
        ),
        ("not implemented", A, Rcode::NOTIMP, &[], true, "NOTIMP aa"),
        (
            "refused",
            A,
            Rcode::REFUSED,
            &[GOOD],
            false,
            "REFUSED | www.example.org. 5 A 192.0.2.1",
        ),
        ("malformed", A, Rcode::FORMERR, &[], false, "FORMERR"),
        (
            "a transfer",
            252,
            no,
            &[GOOD],
            false,
            "NOERROR | www.example.org. 5 A 192.0.2.1",
        ),
    ] {
        run(async {
            let script = Script::new(rcode, records);
            let chain = chain("cache", &script);
            let first = shown(&ask(&chain, NAME, qtype).await);
            let second = shown(&ask(&chain, NAME, qtype).await);
            assert_eq!(second, seen, "{name}");
            assert_eq!(
                first,
                seen.replacen(" aa", "", 1),
                "{name}: TTLs from the first on"
            );
            assert_eq!(script.calls(), if kept { 1 } else { 2 }, "{name}");
        });
    }
}

#[test]
fn what_is_cut_or_expired_is_not_kept() {
    run(async {
        let script = Script::new(Rcode::NOERROR, &[]);
        let chain = chain("cache", &script);
        let cut = Answer {
            flags: flags::TC,
            ..Answer::new(Rcode::NOERROR, &[GOOD])
        };
        let signed = |data: &str| {
            let record = format!("www.example.org. 60 RRSIG {data}");
            let answer = Answer::new(Rcode::NOERROR, &[GOOD, &record]);
            Answer {
                dnssec_ok: true,
                ..answer
            }
        };
        for (index, (answer, kept)) in [
            (cut, false),
            (signed("expired"), false),
            (signed("valid"), true),
        ]
        .into_iter()
        .enumerate()
        {
            script.answers(answer);
            let before = script.calls();
            ask(&chain, NAME, A).await;
            let second = ask(&chain, NAME, A).await;
            assert_eq!(script.calls() - before, if kept { 1 } else { 2 }, "{index}");
            assert!(second.reply().unwrap().edns().is_none());
        }
    });
}

#[test]
fn time_passes() {
    run(async {
        let script = Script::new(Rcode::NOERROR, &[GOOD]);
        let chain = chain("cache", &script);
        for (wait, ttl, calls) in [
            (0, 100, 1),
            (1, 99, 1),
            (98, 1, 1),
            (1, 100, 2),
            (30, 70, 2),
        ] {
            seconds(wait);
            let seen = shown(&ask(&chain, NAME, A).await);
            assert!(seen.contains(&format!(" {ttl} A ")), "{seen}");
            assert_eq!(script.calls(), calls);
        }
    });
}

#[test]
fn options_bound_what_is_kept() {
    let denied = Answer::new(Rcode::NXDOMAIN, &["!example.org. 600 SOA"]);
    let good = Answer::new(Rcode::NOERROR, &["www.example.org. 600 A 192.0.2.1"]);
    let none = Answer::new(Rcode::NOERROR, &["www.example.org. 0 A 192.0.2.1"]);
    let failed = Answer::new(Rcode::SERVFAIL, &[SOA]);
    for (text, answer, ttl, kept_for) in [
        ("cache 30", &good, 30, 30),
        ("cache 30", &denied, 30, 30),
        ("cache {\nsuccess 10 60\n}", &good, 60, 60),
        ("cache {\nsuccess 10 60\n}", &denied, 600, 600),
        ("cache {\ndenial 10 60\n}", &denied, 60, 60),
        ("cache {\nsuccess 10 3600 900\n}", &good, 900, 900),
        ("cache {\nsuccess 10 3600 0\n}", &none, 0, 0),
        ("cache {\nservfail 1m\n}", &failed, 60, 60),
        ("cache {\nservfail 0\n}", &failed, 0, 0),
        ("cache {\ndisable success\n}", &good, 600, 0),
        ("cache {\ndisable success example.org\n}", &good, 600, 0),
        ("cache {\ndisable success example.com\n}", &good, 600, 600),
        ("cache {\ndisable denial\n}", &good, 600, 600),
        ("cache {\ndisable denial\n}", &denied, 600, 0),
        ("cache {\ndisable denial\n}", &failed, 5, 0),
        ("cache example.com", &good, 600, 0),
        ("cache example.org", &good, 600, 600),
    ] {
        run(async {
            let script = Script::new(Rcode::NOERROR, &[]);
            script.answers(answer.clone());
            let chain = chain(text, &script);
            let first = shown(&ask(&chain, NAME, A).await);
            assert!(first.contains(&format!(" {ttl} ")), "{text}: {first}");
            if kept_for > 0 {
                seconds(kept_for - 1);
                ask(&chain, NAME, A).await;
                assert_eq!(script.calls(), 1, "{text}: still there");
                seconds(1);
            }
            ask(&chain, NAME, A).await;
            assert_eq!(script.calls(), 2, "{text}: gone");
        });
    }
}

#[test]
fn keepttl_does_not_count_down() {
    run(async {
        let script = Script::new(Rcode::NOERROR, &[GOOD]);
        let chain = chain("cache {\nkeepttl\n}", &script);
        ask(&chain, NAME, A).await;
        seconds(99);
        assert_eq!(
            shown(&ask(&chain, NAME, A).await),
            "NOERROR aa | www.example.org. 100 A 192.0.2.1"
        );
        seconds(1);
        ask(&chain, NAME, A).await;
        assert_eq!(script.calls(), 2);
    });
}

#[test]
fn queries_that_differ_are_kept_apart() {
    run(async {
        let script = Script::new(Rcode::NOERROR, &[]);
        let chain = chain("cache", &script);
        type Change = fn(&mut Request);
        let changes: [(Change, usize); 8] = [
            (|_| (), 1),
            (|request| request.edns_or_insert(4096).flags = Edns::DO, 2),
            (|request| request.set_flag(flags::CD, true), 3),
            (|request| request.set_qtype(AAAA), 4),
            (|request| request.set_qclass(3), 5),
            (|request| request.edns_or_insert(1232).flags = 0, 5),
            (|request| request.set_flag(flags::RD, false), 5),
            (
                |request| {
                    request.set_qname(
                        "WWW.example.ORG"
                            .parse::<crate::wire::NameBuf>()
                            .unwrap()
                            .name(),
                    )
                },
                5,
            ),
        ];
        for (change, calls) in changes {
            let mut exchange = query(NAME, A);
            change(&mut exchange.request);
            testing::serve(&chain, exchange).await.1.unwrap();
            assert_eq!(script.calls(), calls);
        }
    });
}

#[test]
fn the_header_is_the_clients() {
    run(async {
        let script = Script::new(Rcode::NOERROR, &[]);
        let answer = Answer::new(Rcode::NOERROR, &[GOOD]);
        script.answers(Answer {
            flags: flags::RA | flags::AD,
            ..answer
        });
        let chain = chain("cache", &script);
        assert_eq!(
            shown(&ask(&chain, NAME, A).await),
            "NOERROR ra | www.example.org. 100 A 192.0.2.1"
        );
        assert!(script.last().has(flags::AD), "asked for with AD");
        assert!(!script.last().has(flags::CD));

        let mut exchange = query("WWW.example.org", A);
        exchange.request.set_flag(flags::AD, true);
        exchange.request.set_flag(flags::RD, false);
        let (exchange, served) = testing::serve(&chain, exchange).await;
        assert_eq!(served.unwrap(), Rcode::NOERROR);
        assert_eq!(
            shown(&exchange),
            "NOERROR aa ra ad | WWW.example.org. 100 A 192.0.2.1"
        );
        assert!(!exchange.reply().unwrap().has(flags::RD));
        assert!(exchange.request.has(flags::AD), "left as it was");
        assert_eq!(script.calls(), 1);
    });
}

#[test]
fn live_replies_pass_untouched() {
    run(async {
        let script = Script::new(Rcode::NOERROR, &[]);
        let answer = Answer::new(
            Rcode::NOERROR,
            &[
                "www.example.org. 0 A 192.0.2.1",
                "www.example.org. 9 A 192.0.2.2",
            ],
        );
        script.answers(Answer {
            live: true,
            ..answer
        });
        let chain = chain("cache", &script);
        let seen = "NOERROR | www.example.org. 0 A 192.0.2.1 | www.example.org. 9 A 192.0.2.2";
        for calls in 1..4 {
            assert_eq!(shown(&ask(&chain, NAME, A).await), seen);
            assert_eq!(script.calls(), calls);
        }
        // The name is the cluster's no more.
        script.answers(Answer::new(Rcode::NOERROR, &[GOOD]));
        for _ in 0..3 {
            assert!(shown(&ask(&chain, NAME, A).await).ends_with("100 A 192.0.2.1"));
        }
        assert_eq!(script.calls(), 4);
    });
}

#[test]
fn failures_that_nobody_wrote_are_not_kept() {
    run(async {
        let script = Script::new(Rcode::SERVFAIL, &[]);
        script.answers(Answer {
            silent: true,
            ..Answer::new(Rcode::SERVFAIL, &[])
        });
        let chain = chain("cache", &script);
        for calls in 1..3 {
            let (exchange, served) = testing::serve(&chain, query(NAME, A)).await;
            assert_eq!(served.unwrap_err().rcode, Rcode::SERVFAIL);
            assert!(exchange.reply().is_none());
            assert_eq!(script.calls(), calls);
        }
    });
}

#[test]
fn a_failure_yields_to_an_answer_and_a_denial_does_not() {
    for (denial, wins) in [(Rcode::SERVFAIL, false), (Rcode::NXDOMAIN, true)] {
        let script = Script::new(Rcode::NOERROR, &[]);
        let cache = cache_of("cache");
        let mut exchange = query(NAME, A);
        let asked = cache.asked(&exchange.request);
        for (rcode, records) in [(Rcode::NOERROR, &[GOOD][..]), (denial, &[SOA])] {
            script.answers(Answer::new(rcode, records));
            run(async {
                let rest = Chain::from_iter([script.clone() as Arc<dyn Plugin>]);
                Next::new(&rest).serve(&mut exchange).await.unwrap();
            });
            cache.keep(&mut exchange, &asked, false).unwrap();
        }
        let (class, item) = cache
            .lookup(&exchange.request, asked.key, clock::now())
            .unwrap();
        assert_eq!(class == Class::Denial, wins, "{denial:?}");
        assert_eq!(item.rcode() == denial, wins);
    }
}

#[test]
fn a_full_cache_lets_go() {
    run(async {
        let script = Script::new(Rcode::NOERROR, &[]);
        let chain = chain("cache {\nsuccess 1\n}", &script);
        // The least that fits is 4 in each of 256 parts.
        let name = |index: usize| format!("{index}.example.org");
        for index in 0..1024 {
            ask(&chain, &name(index), A).await;
        }
        for index in 0..1024 {
            ask(&chain, &name(index), A).await;
        }
        assert_eq!(script.calls(), 1024, "all of them fit");
        let cache = cache_of("cache {\nsuccess 1\n}");
        let mut evicted = 0;
        for index in 0..1030 {
            let mut exchange = query(&name(index), A);
            exchange.answer();
            let asked = cache.asked(&exchange.request);
            cache.keep(&mut exchange, &asked, false).unwrap();
            evicted = cache.store.success.len();
        }
        assert_eq!(evicted, 1024);
        assert!(cache.series(&query(NAME, A)).evicted() == 6);
    });
}

#[test]
fn other_workers_see_what_one_has_kept() {
    let script = Script::new(Rcode::NOERROR, &[GOOD]);
    let chain = chain("cache", &script);
    run(async { drop(ask(&chain, NAME, A).await) });
    std::thread::scope(|scope| {
        scope.spawn(|| run(async { drop(ask(&chain, NAME, A).await) }));
    });
    assert_eq!(script.calls(), 1);
}

fn cache_of(text: &str) -> Cache {
    let directive = corefile::Directive::new("Corefile", text);
    Cache::new(CacheSpec::parse(&directive, &testing::block()).unwrap())
}
