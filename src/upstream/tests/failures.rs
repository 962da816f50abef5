//! Upstreams that are dead, slow or unwilling, and limits.

use super::*;

#[test]
fn one_dead_upstream_costs_two_timeouts_and_reads_like_go() {
    worker(async {
        let server = Server::start(|_| Action::Drop).await;
        let options = Options {
            read_timeout: 100 * MS,
            ..Options::default()
        };
        let group = group(options, &[server.addr]);
        let started = Instant::now();
        let error = group
            .exchange(Buf::copy_of(&query("a")), UDP)
            .await
            .unwrap_err();
        // And not the 2 s, twice, that are the default.
        let took = started.elapsed();
        assert!((200 * MS..4000 * MS).contains(&took), "{took:?}");
        until("two queries", || server.queries_named("a") >= 2).await;
        assert_eq!(server.queries_named("a"), 2);
        let text = error.to_string();
        let end = format!("->{}: i/o timeout", server.addr);
        assert!(
            text.starts_with("read udp 127.0.0.1:") && text.ends_with(&end),
            "{text}"
        );
        assert_eq!(group.pools()[0].in_flight(), 0);
    });
}

#[test]
fn a_closed_port_fails_at_once() {
    worker(async {
        let closed = closed_port().await;
        let addr = closed.addr;
        let group = group(Options::default(), &[addr]);
        let started = Instant::now();
        let udp = group
            .exchange(Buf::copy_of(&query("a")), UDP)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            udp.ends_with(&format!("->{addr}: read: connection refused")),
            "{udp}"
        );
        let tcp = group
            .exchange(Buf::copy_of(&query("a")), TCP)
            .await
            .unwrap_err()
            .to_string();
        assert_eq!(tcp, format!("dial tcp {addr}: connect: connection refused"));
        assert!(started.elapsed() < 2000 * MS, "no timeout is waited for");
    });
}

#[test]
fn without_a_limit_on_attempts_a_closed_port_is_tried_for_five_seconds_with_pauses() {
    worker(async {
        let closed = closed_port().await;
        let options = Options {
            max_connect_attempts: Some(0),
            max_fails: 0,
            ..Options::default()
        };
        let group = group(options, &[closed.addr]);
        let started = Instant::now();
        group
            .exchange(Buf::copy_of(&query("a")), UDP)
            .await
            .unwrap_err();
        assert!(started.elapsed() >= 4500 * MS);
        let metrics = &group.upstreams[0].metrics;
        let attempts = metrics.hits(UDP) + metrics.misses(UDP);
        assert!((5..40).contains(&attempts), "{attempts}");
    });
}

#[test]
fn a_dead_first_upstream_costs_little_and_is_found_out() {
    worker(async {
        let dead = Server::start(|_| Action::Drop).await;
        let live = Server::start(|seen| Action::Reply(reply(&seen.message, [10, 0, 0, 2]))).await;
        for policy in [Policy::Sequential, Policy::Random, Policy::RoundRobin] {
            let options = Options {
                policy,
                ..Options::default()
            };
            let group = group(options, &[dead.addr, live.addr]);
            for _ in 0..4 {
                let started = Instant::now();
                let answer = group
                    .exchange(Buf::copy_of(&query("a")), UDP)
                    .await
                    .unwrap();
                assert_eq!(answer.upstream(), live.addr);
                // And not after the 2 s that the first may take.
                assert!(
                    started.elapsed() < 2000 * MS,
                    "{policy} {:?}",
                    started.elapsed()
                );
            }
            // It is checked once it was asked, which `random` may not have done yet.
            while !group.upstreams[0].health.is_suspect() {
                group
                    .exchange(Buf::copy_of(&query("a")), UDP)
                    .await
                    .unwrap();
                tokio::time::sleep(10 * MS).await;
            }
            let started = Instant::now();
            group
                .exchange(Buf::copy_of(&query("a")), UDP)
                .await
                .unwrap();
            // Nor after the half second that `sequential` gives one in good health.
            assert!(
                started.elapsed() < 500 * MS,
                "{policy} {:?}",
                started.elapsed()
            );
        }
        // Over TCP a dead upstream may be one that accepts and says nothing.
        let group = group(sequential(), &[dead.addr, live.addr]);
        let answer = group
            .exchange(Buf::copy_of(&query("a")), TCP)
            .await
            .unwrap();
        assert_eq!(answer.upstream(), live.addr);
    });
}

/// Whatever the first upstream does to a connection, the second answers what the first does not.
#[test]
fn no_query_is_lost_over_tcp_while_another_upstream_lives() {
    type Bad = fn(&server::Seen, Vec<u8>) -> Action;
    let table: [(&str, Bad); 8] = [
        ("never answers", |_, _| Action::Drop),
        ("closes at once", |_, _| Action::Close),
        ("closes after each reply", |_, reply| Action::Last(reply)),
        ("closes after three replies", |seen, reply| match seen {
            seen if seen.nth_on_connection < 2 => Action::Reply(reply),
            _ => Action::Last(reply),
        }),
        ("closes after half a reply", |_, reply| Action::Half(reply)),
        (
            "answers some and then half of one",
            |seen, reply| match seen.nth_on_connection {
                0..3 => Action::Reply(reply),
                _ => Action::Half(reply),
            },
        ),
        ("answers in reverse", |seen, reply| {
            let late = 8_u32.saturating_sub(seen.nth_on_connection as u32);
            Action::Later(10 * MS * late, reply)
        }),
        ("does not speak DNS", |_, _| {
            Action::Several(vec![b"HTTP/1.1".to_vec()])
        }),
    ];
    worker(async {
        let live = Server::start(|seen| Action::Reply(reply(&seen.message, [1; 4]))).await;
        for (what, bad) in table {
            let first = Server::start(move |seen| bad(seen, reply(&seen.message, [1; 4]))).await;
            let options = Options {
                force_tcp: true,
                ..sequential()
            };
            let group = group(options, &[first.addr, live.addr]);
            for burst in [1, 100] {
                let queries = (0..burst).map(|n| {
                    let asked = query(&format!("n{n}"));
                    let group = &group;
                    async move { (group.exchange(Buf::copy_of(&asked), UDP).await, asked) }
                });
                for (answer, asked) in join_all(queries).await {
                    let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert_eq!(*answer.message, reply(&asked, [1; 4]), "{what}");
                }
            }
            assert!(first.queries() > 0, "{what}");
            assert_eq!(group.pools()[0].in_flight(), 0, "{what}");
        }
    });
}

#[test]
fn a_dead_upstream_goes_down_and_comes_back() {
    worker(async {
        let alive = Rc::new(Cell::new(false));
        let first = Server::start({
            let alive = Rc::clone(&alive);
            move |seen| {
                if alive.get() {
                    Action::Reply(reply(&seen.message, [10, 0, 0, 1]))
                } else {
                    Action::Drop
                }
            }
        })
        .await;
        let second = Server::start(|seen| Action::Reply(reply(&seen.message, [10, 0, 0, 2]))).await;
        let mut options = sequential();
        options.max_fails = 1;
        options.health_check.interval = MS;
        let group = group(options, &[first.addr, second.addr]);
        group
            .exchange(Buf::copy_of(&query("a")), UDP)
            .await
            .unwrap();
        until("two checks fail", || group.is_down(0)).await;
        let before = first.queries_named("a");
        let answer = group
            .exchange(Buf::copy_of(&query("a")), UDP)
            .await
            .unwrap();
        assert_eq!(answer.upstream(), second.addr);
        assert_eq!(first.queries_named("a"), before, "no query to what is down");
        // The checks are what the Corefile's defaults say: the root's NS, with RD.
        let check = first.last_seen().message;
        assert_eq!(check[2..], [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1]);

        alive.set(true);
        until("the next check succeeds", || !group.is_down(0)).await;
        let answer = group
            .exchange(Buf::copy_of(&query("a")), UDP)
            .await
            .unwrap();
        assert_eq!(answer.upstream(), first.addr);
    });
}

#[test]
fn when_all_are_down_one_is_tried_or_none() {
    worker(async {
        let server = Server::start(|_| Action::Drop).await;
        for failfast in [false, true] {
            let mut options = Options {
                read_timeout: 50 * MS,
                max_fails: 1,
                failfast_all_unhealthy: failfast,
                ..Options::default()
            };
            options.health_check.interval = MS;
            let group = group(options, &[server.addr]);
            group
                .exchange(Buf::copy_of(&query("x")), UDP)
                .await
                .unwrap_err();
            until("two checks fail", || group.is_down(0)).await;
            let before = server.queries_named("b");
            let error = group
                .exchange(Buf::copy_of(&query("b")), UDP)
                .await
                .unwrap_err();
            if failfast {
                let asked = server.queries_named("b") - before;
                assert_eq!((error, asked), (Error::NoHealthy, 0));
            } else {
                assert!(error.to_string().ends_with("i/o timeout"), "{error}");
                until("the one try", || server.queries_named("b") > before).await;
                let asked = server.queries_named("b") - before;
                assert_eq!(asked, 1, "one try and no more");
            }
        }
    });
}

#[test]
fn a_slow_upstream_is_not_hurried_by_an_error_of_the_next() {
    worker(async {
        let slow =
            Server::start(|seen| Action::Later(700 * MS, reply(&seen.message, [10, 0, 0, 1])))
                .await;
        let broken = Server::start(|seen| {
            let mut reply = reply(&seen.message, [0; 4]);
            reply[3] |= 2;
            Action::Reply(reply)
        })
        .await;
        let group = group(sequential(), &[slow.addr, broken.addr]);
        let answer = group
            .exchange(Buf::copy_of(&query("a")), UDP)
            .await
            .unwrap();
        assert_eq!(answer.upstream(), slow.addr);
        assert_eq!(group.upstreams[1].metrics.hedges(), 1);
    });
}

#[test]
fn max_connect_attempts_counts_every_upstream_asked() {
    worker(async {
        let dead = Server::start(|_| Action::Drop).await;
        let live = Server::start(|seen| Action::Reply(reply(&seen.message, [1; 4]))).await;
        let mut options = sequential();
        options.max_connect_attempts = Some(1);
        options.read_timeout = 100 * MS;
        let group = group(options, &[dead.addr, live.addr]);
        group
            .exchange(Buf::copy_of(&query("a")), UDP)
            .await
            .unwrap_err();
        assert_eq!(live.queries_named("a"), 0);
    });
}

#[test]
fn failover_asks_the_next_and_returns_the_last() {
    worker(async {
        let code = |rcode: u8| {
            move |seen: &server::Seen| {
                let mut reply = reply(&seen.message, [0; 4]);
                reply[3] |= rcode;
                Action::Reply(reply)
            }
        };
        let refusing = Server::start(move |seen| code(5)(seen)).await;
        let failing = Server::start(move |seen| code(2)(seen)).await;
        let knowing = Server::start(move |seen| code(3)(seen)).await;
        #[rustfmt::skip]
        let table = [
            (vec![2, 5], vec![&refusing, &failing, &knowing], 3),
            (vec![5], vec![&refusing, &failing, &knowing], 2),
            (vec![2, 5], vec![&refusing, &failing], 2),
            (vec![], vec![&refusing, &knowing], 5),
        ];
        for (failover, servers, expected) in table {
            let options = Options {
                failover,
                ..sequential()
            };
            let addrs: Vec<_> = servers.iter().map(|server| server.addr).collect();
            let answer = group(options, &addrs)
                .exchange(Buf::copy_of(&query("a")), UDP)
                .await
                .unwrap();
            assert_eq!(answer.rcode, expected);
        }
    });
}

#[test]
fn more_than_max_concurrent_are_refused_and_dropped_queries_free_their_place() {
    worker(async {
        let server = Server::start(|_| Action::Drop).await;
        let options = Options {
            max_concurrent: 2,
            ..Options::default()
        };
        let group = group(options, &[server.addr]);
        let asked = query("a");
        for _ in 0..5 {
            let all = join_all((0..3).map(|_| group.exchange(Buf::copy_of(&asked), UDP)));
            let one = async {
                let error = group.exchange(Buf::copy_of(&asked), UDP).await.unwrap_err();
                assert_eq!(error, Error::TooManyQueries(2));
                assert_eq!(error.to_string(), "concurrent queries exceeded maximum 2");
            };
            tokio::select! {
                biased;
                _ = all => panic!("nobody answers"),
                () = one => {}
            }
            assert_eq!(
                group.pools()[0].in_flight(),
                0,
                "dropped queries are forgotten"
            );
        }
    });
}

#[test]
fn checks_ask_what_and_how_the_corefile_says() {
    worker(async {
        let server = Server::start(|_| Action::Drop).await;
        for force_tcp in [false, true] {
            let mut options = Options {
                force_tcp,
                read_timeout: 50 * MS,
                ..Options::default()
            };
            options.health_check.recursion = false;
            options.health_check.domain = b"\x05check\0".to_vec();
            let group = group(options, &[server.addr]);
            group
                .exchange(Buf::copy_of(&query("a")), UDP)
                .await
                .unwrap_err();
            until("a check is sent", || {
                let check = server.last_seen();
                let expected = b"\0\0\0\x01\0\0\0\0\0\0\x05check\0\0\x02\0\x01";
                check.transport == if force_tcp { TCP } else { UDP }
                    && check.message[2..] == *expected
            })
            .await;
        }
    });
}

#[test]
fn without_max_fails_there_are_no_checks() {
    worker(async {
        let server = Server::start(|_| Action::Drop).await;
        let options = Options {
            max_fails: 0,
            read_timeout: 20 * MS,
            ..Options::default()
        };
        let group = group(options, &[server.addr]);
        for _ in 0..5 {
            group
                .exchange(Buf::copy_of(&query("a")), UDP)
                .await
                .unwrap_err();
        }
        until("two queries for each", || server.queries_named("a") >= 10).await;
        assert_eq!(server.queries_named("a"), 10);
        assert_eq!(server.queries(), 10, "and nothing else was asked");
    });
}
