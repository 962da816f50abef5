use tokio::sync::Semaphore;

use super::*;

const FRESH: &str = "NOERROR aa | www.example.org. 100 A 192.0.2.1";
const STALE: &str = "NOERROR aa | www.example.org. 0 A 192.0.2.1";

#[test]
fn what_is_asked_for_often_is_fetched_in_time() {
    for (text, hits, wait, fetched) in [
        ("prefetch 2 1m 10%", 2, 90, true),
        ("prefetch 2 1m 10%", 2, 89, false),
        ("prefetch 2 1m 50%", 2, 50, true),
        ("prefetch 3 1m 90%", 2, 20, false),
        ("prefetch 3 1m 90%", 3, 20, true),
        // The last hit comes too late for the others to count.
        ("prefetch 2 5s 90%", 2, 20, false),
        ("prefetch 1 5s 90%", 1, 20, true),
    ] {
        run(async {
            let script = Script::new(Rcode::NOERROR, &[GOOD]);
            let chain = chain(&format!("cache {{\n{text}\n}}"), &script);
            ask(&chain, NAME, A).await;
            if text.contains("1m") {
                // The hits come no more than a minute apart.
                seconds(wait / 2);
            }
            for _ in 1..hits {
                ask(&chain, NAME, A).await;
            }
            seconds(if text.contains("1m") {
                wait - wait / 2
            } else {
                wait
            });
            script.answers(Answer::new(Rcode::NOERROR, &[OTHER]));
            let seen = shown(&ask(&chain, NAME, A).await);
            assert!(
                seen.ends_with(&format!("{} A 192.0.2.1", 100 - wait)),
                "{text}: {seen}"
            );
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            assert_eq!(script.calls(), 1 + usize::from(fetched), "{text}");
            let seen = shown(&ask(&chain, NAME, A).await);
            let new = "NOERROR aa | www.example.org. 100 A 192.0.2.2";
            assert_eq!(seen == new, fetched, "{text}: {seen}");
        });
    }
}

#[test]
fn one_refresh_at_a_time() {
    run(async {
        let script = Script::new(Rcode::NOERROR, &[GOOD]);
        let chain = chain("cache {\nprefetch 1 1h 90%\n}", &script);
        ask(&chain, NAME, A).await;
        seconds(50);
        let gate = Arc::new(Semaphore::new(0));
        *script.gate.lock().unwrap() = Some(gate.clone());
        for _ in 0..3 {
            ask(&chain, NAME, A).await;
        }
        script.called(2).await;
        for _ in 0..3 {
            ask(&chain, NAME, A).await;
        }
        assert_eq!(script.calls(), 2);
        gate.add_permits(9);
        script.called(2).await;
        assert_eq!(shown(&ask(&chain, NAME, A).await), FRESH);
        // The new item knows how often the old one was asked for.
        seconds(50);
        ask(&chain, NAME, A).await;
        script.called(3).await;
    });
}

#[test]
fn a_refresh_that_finds_an_answer_drops_the_denial() {
    run(async {
        let script = Script::new(Rcode::NXDOMAIN, &[SOA]);
        let chain = chain("cache {\nprefetch 1 1h 90%\n}", &script);
        ask(&chain, NAME, A).await;
        seconds(50);
        script.answers(Answer::new(Rcode::NOERROR, &[GOOD]));
        assert_eq!(
            shown(&ask(&chain, NAME, A).await),
            "NXDOMAIN aa | !example.org. 50 SOA"
        );
        script.called(2).await;
        assert_eq!(shown(&ask(&chain, NAME, A).await), FRESH);
        // A fresh answer came in time from a worker that did not see the denial go.
        assert_eq!(script.calls(), 2);
    });
}

#[test]
fn stale_answers_go_out_at_once() {
    for (text, wait, stale) in [
        ("serve_stale", 100, Some(0)),
        ("serve_stale", 100 + 3599, Some(0)),
        ("serve_stale", 100 + 3600, None),
        ("serve_stale 0s", 100, None),
        ("serve_stale 1m", 159, Some(0)),
        ("serve_stale 1m", 160, None),
        ("serve_stale 1m immediate 30s", 120, Some(30)),
        ("serve_stale 1m\nkeepttl", 120, Some(100)),
        ("serve_stale 1m immediate 30s\nkeepttl", 120, Some(30)),
    ] {
        run(async {
            let script = Script::new(Rcode::NOERROR, &[GOOD]);
            let chain = chain(&format!("cache {{\n{text}\n}}"), &script);
            ask(&chain, NAME, A).await;
            seconds(wait);
            script.answers(Answer::new(Rcode::NOERROR, &[OTHER]));
            let seen = shown(&ask(&chain, NAME, A).await);
            match stale {
                None => assert_eq!(seen, "NOERROR | www.example.org. 100 A 192.0.2.2", "{text}"),
                Some(ttl) => {
                    assert_eq!(seen, STALE.replace(" 0 ", &format!(" {ttl} ")), "{text}");
                    script.called(2).await;
                    let seen = shown(&ask(&chain, NAME, A).await);
                    assert_eq!(seen, FRESH.replace("2.1", "2.2"), "{text}");
                }
            }
            assert_eq!(script.calls(), 2);
        });
    }
}

#[test]
fn a_failed_refresh_is_tried_again_after_recheck() {
    for (text, calls) in [
        ("serve_stale 1h immediate 0s", [2, 3, 4]),
        ("serve_stale 1h immediate 0s 10s", [2, 2, 3]),
        ("serve_stale 1h verify 0s", [2, 3, 4]),
        ("serve_stale 1h verify 0s 0s 10s", [2, 2, 3]),
    ] {
        run(async {
            let script = Script::new(Rcode::NOERROR, &[GOOD]);
            let chain = chain(&format!("cache {{\n{text}\n}}"), &script);
            ask(&chain, NAME, A).await;
            seconds(150);
            script.answers(Answer::new(Rcode::SERVFAIL, &[]));
            for (wait, calls) in [0, 9, 1].into_iter().zip(calls) {
                seconds(wait);
                assert_eq!(shown(&ask(&chain, NAME, A).await), STALE, "{text}");
                script.called(calls).await;
                assert_eq!(script.calls(), calls, "{text}");
            }
        });
    }
}

#[test]
fn what_verifies_takes_the_place_of_what_is_stale() {
    let good = "NOERROR | www.example.org. 100 A 192.0.2.2";
    let cut = Answer {
        flags: flags::TC,
        ..Answer::new(Rcode::NOERROR, &[OTHER])
    };
    let silent = Answer {
        silent: true,
        ..Answer::new(Rcode::SERVFAIL, &[])
    };
    for (answer, seen) in [
        (Answer::new(Rcode::NOERROR, &[OTHER]), good),
        (
            Answer::new(Rcode::NXDOMAIN, &[SOA]),
            "NXDOMAIN | !example.org. 100 SOA",
        ),
        (Answer::new(Rcode::SERVFAIL, &[]), STALE),
        (Answer::new(Rcode::REFUSED, &[]), STALE),
        (cut, STALE),
        (silent, STALE),
    ] {
        for timeout in ["", " 0s", " 1h"] {
            run(async {
                let script = Script::new(Rcode::NOERROR, &[GOOD]);
                let chain = chain(
                    &format!("cache {{\nserve_stale 1h verify{timeout}\n}}"),
                    &script,
                );
                ask(&chain, NAME, A).await;
                seconds(150);
                script.answers(answer.clone());
                let first = shown(&ask(&chain, NAME, A).await);
                let aa = if timeout == " 1h" { " aa" } else { "" };
                let want = match seen.strip_prefix("NOERROR aa") {
                    Some(_) => seen.to_owned(),
                    None => seen.replacen(" |", &format!("{aa} |"), 1),
                };
                assert_eq!(first, want, "{answer:?} {timeout}");
                // A failure is not kept: nothing hides what is stale.
                let second = shown(&ask(&chain, NAME, A).await);
                assert_eq!(
                    second.replace(" aa", ""),
                    seen.replace(" aa", ""),
                    "{answer:?}"
                );
                assert_eq!(script.calls(), if seen == STALE { 3 } else { 2 });
            });
        }
    }
}

#[test]
fn a_verification_that_takes_too_long_goes_on_in_the_background() {
    run(async {
        let script = Script::new(Rcode::NOERROR, &[GOOD]);
        let chain = chain("cache {\nserve_stale 1h verify 5ms\n}", &script);
        ask(&chain, NAME, A).await;
        seconds(150);
        let gate = Arc::new(Semaphore::new(0));
        *script.gate.lock().unwrap() = Some(gate.clone());
        script.answers(Answer::new(Rcode::NOERROR, &[OTHER]));
        assert_eq!(shown(&ask(&chain, NAME, A).await), STALE);
        gate.add_permits(1);
        script.called(2).await;
        assert_eq!(
            shown(&ask(&chain, NAME, A).await),
            FRESH.replace("2.1", "2.2")
        );
        assert_eq!(script.calls(), 2);
    });
}

#[test]
fn stale_denials_are_served_too() {
    run(async {
        let script = Script::new(Rcode::NXDOMAIN, &[SOA]);
        let chain = chain("cache {\nserve_stale\n}", &script);
        ask(&chain, NAME, A).await;
        seconds(150);
        assert_eq!(
            shown(&ask(&chain, NAME, A).await),
            "NXDOMAIN aa | !example.org. 0 SOA"
        );
        script.called(2).await;
    });
}

#[test]
fn prefer_positive_keeps_to_the_last_good_answer() {
    let alias = "www.example.org. 100 CNAME gone.example.org.";
    for (policy, answer, seen) in [
        (
            false,
            Answer::new(Rcode::NXDOMAIN, &[SOA]),
            "NXDOMAIN | !example.org. 100 SOA",
        ),
        (true, Answer::new(Rcode::NXDOMAIN, &[SOA]), STALE),
        (true, Answer::new(Rcode::NOERROR, &[SOA]), STALE),
        (true, Answer::new(Rcode::SERVFAIL, &[]), STALE),
        (true, Answer::new(Rcode::NOERROR, &[alias]), STALE),
        (
            true,
            Answer::new(Rcode::NOERROR, &["!org. 9 NS ns.org."]),
            STALE,
        ),
        (true, Answer::new(Rcode::NOERROR, &[]), STALE),
        (
            true,
            Answer::new(Rcode::NOERROR, &[OTHER]),
            "NOERROR | www.example.org. 100 A 192.0.2.2",
        ),
    ] {
        run(async {
            let script = Script::new(Rcode::NOERROR, &[GOOD]);
            let policy = if policy {
                "serve_stale_policy prefer_positive"
            } else {
                ""
            };
            let chain = chain(
                &format!("cache {{\nserve_stale 1h verify\n{policy}\n}}"),
                &script,
            );
            ask(&chain, NAME, A).await;
            seconds(150);
            script.answers(answer.clone());
            for _ in 0..2 {
                let found = shown(&ask(&chain, NAME, A).await);
                assert_eq!(
                    found.replace(" aa", ""),
                    seen.replace(" aa", ""),
                    "{answer:?}"
                );
            }
        });
    }
}

#[test]
fn a_denial_that_does_not_verify_is_dropped() {
    run(async {
        let script = Script::new(Rcode::NXDOMAIN, &[SOA]);
        let chain = chain("cache {\nserve_stale 1h verify\n}", &script);
        ask(&chain, NAME, A).await;
        seconds(150);
        script.answers(Answer::new(Rcode::NOERROR, &[GOOD]));
        for _ in 0..3 {
            let seen = shown(&ask(&chain, NAME, A).await);
            assert!(seen.ends_with("100 A 192.0.2.1"), "{seen}");
        }
        assert_eq!(script.calls(), 2, "the answer is kept and nothing hides it");
    });
}
