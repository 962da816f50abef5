//! Sockets and connections: how many, how long, from where.

use super::*;

#[test]
fn a_thousand_at_once_each_get_their_own_answer_from_few_ports() {
    worker(async {
        let server = Server::start(|seen| {
            let tag = seen.message[13..15].to_vec();
            // All wait at the same time, and are answered out of order.
            let late = 300 * MS + MS * u32::from(tag[1] % 7);
            Action::Later(late, reply(&seen.message, [10, 0, tag[0], tag[1]]))
        })
        .await;
        for transport in [UDP, TCP] {
            let group = group(Options::default(), &[server.addr]);
            let before = server.peers(transport);
            let queries = (0..1000_u32).map(|n| {
                let tag = [b'a' + (n / 26 % 26) as u8, b'a' + (n % 26) as u8];
                let group = &group;
                async move {
                    // No faster than the kernel takes datagrams for one socket.
                    tokio::time::sleep(MS * (n / 50)).await;
                    let name = format!("{}{}x{n}", tag[0] as char, tag[1] as char);
                    let answer = group
                        .exchange(Buf::copy_of(&query(&name)), transport)
                        .await
                        .unwrap();
                    assert_eq!(address_of(&answer), Some([10, 0, tag[0], tag[1]].into()));
                }
            });
            join_all(queries).await;
            let ports = server.peers(transport) - before;
            assert!((4..=24).contains(&ports), "{transport}: {ports} ports");
            assert_eq!(group.pools()[0].in_flight(), 0);
        }
    });
}

/// Every query allocates it, and what is larger malloc keeps in no list of a thread's own.
#[test]
fn an_exchange_is_not_large() {
    let group = group(Options::default(), &[]);
    let exchange = group.exchange(Buf::default(), UDP);
    let size = size_of_val(&exchange);
    assert!(size <= 900, "{size} octets");
}

#[test]
fn source_ports_change_and_are_spread() {
    worker(async {
        let server = Server::start(|seen| Action::Reply(reply(&seen.message, [1; 4]))).await;
        let group = group(Options::default(), &[server.addr]);
        for _ in 0..1100 {
            group
                .exchange(Buf::copy_of(&query("a")), UDP)
                .await
                .unwrap();
        }
        let ports = server.ports(UDP);
        assert!(ports.len() >= 5, "{ports:?}");
        let (low, high) = (ports.iter().min().unwrap(), ports.iter().max().unwrap());
        assert!(high - low > 50, "not one after the other: {ports:?}");
        let ids = server.ids();
        assert!(ids.len() > 1050, "of 1100 IDs only {} differ", ids.len());
    });
}

#[test]
fn connections_are_reused_until_they_expire() {
    worker(async {
        let server = Server::start(|seen| Action::Reply(reply(&seen.message, [1; 4]))).await;
        for transport in [UDP, TCP] {
            let options = Options {
                expire: 1000 * MS,
                ..Options::default()
            };
            let group = group(options, &[server.addr]);
            let metrics = &group.upstreams[0].metrics;
            for _ in 0..3 {
                group
                    .exchange(Buf::copy_of(&query("a")), transport)
                    .await
                    .unwrap();
            }
            assert_eq!((metrics.hits(transport), metrics.misses(transport)), (2, 1));
            let pool = Rc::clone(&group.pools()[0]);
            until("the unused socket is closed", || {
                pool.open_links(transport) == 0
            })
            .await;
            group
                .exchange(Buf::copy_of(&query("a")), transport)
                .await
                .unwrap();
            assert_eq!((metrics.hits(transport), metrics.misses(transport)), (2, 2));
        }
    });
}

#[test]
fn nothing_is_reused_when_it_expires_at_once_or_is_too_old() {
    worker(async {
        let server = Server::start(|seen| Action::Reply(reply(&seen.message, [1; 4]))).await;
        for transport in [UDP, TCP] {
            let at_once = Options {
                expire: Duration::ZERO,
                ..Options::default()
            };
            let group_at_once = group(at_once, &[server.addr]);
            for _ in 0..3 {
                group_at_once
                    .exchange(Buf::copy_of(&query("a")), transport)
                    .await
                    .unwrap();
            }
            assert_eq!(group_at_once.upstreams[0].metrics.misses(transport), 3);

            let aged = Options {
                max_age: 100 * MS,
                ..Options::default()
            };
            let aged = group(aged, &[server.addr]);
            let metrics = &aged.upstreams[0].metrics;
            let before = metrics.misses(transport);
            let mut asked = 0;
            while metrics.misses(transport) < before + 3 {
                aged.exchange(Buf::copy_of(&query("a")), transport)
                    .await
                    .unwrap();
                asked += 1;
                tokio::time::sleep(10 * MS).await;
            }
            // About ten each, and fewer where the machine is slow.
            assert!(asked < 100, "{asked}");
        }
    });
}

#[test]
fn max_idle_conns_bounds_what_is_kept() {
    worker(async {
        let server =
            Server::start(|seen| Action::Later(20 * MS, reply(&seen.message, [1; 4]))).await;
        for transport in [UDP, TCP] {
            let options = Options {
                max_idle_conns: 1,
                ..Options::default()
            };
            let group = group(options, &[server.addr]);
            let asked = query("a");
            let all =
                join_all((0..4).map(|_| group.exchange(Buf::copy_of(&asked), transport))).await;
            assert!(all.iter().all(Result::is_ok));
            assert_eq!(group.pools()[0].open_links(transport), 1);
        }
    });
}

#[test]
fn a_connection_closed_under_a_query_is_no_failure() {
    worker(async {
        // Answers once on each connection, and closes it when it is used again.
        let server = Server::start(|seen| match seen.nth_on_connection {
            0 => Action::Reply(reply(&seen.message, [1; 4])),
            _ => Action::Close,
        })
        .await;
        let options = Options {
            max_connect_attempts: Some(1),
            ..Options::default()
        };
        let group = group(options, &[server.addr]);
        for _ in 0..5 {
            group
                .exchange(Buf::copy_of(&query("a")), TCP)
                .await
                .unwrap();
        }
        let asked = query("b");
        let all = join_all((0..200).map(|_| group.exchange(Buf::copy_of(&asked), TCP))).await;
        for result in all {
            result.unwrap();
        }
    });
}

#[test]
fn a_new_connection_closed_without_an_answer_is_a_failure() {
    worker(async {
        let server = Server::start(|_| Action::Close).await;
        let group = group(Options::default(), &[server.addr]);
        let error = group
            .exchange(Buf::copy_of(&query("a")), TCP)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "EOF");
        assert_eq!(server.queries_named("a"), 2);
    });
}

#[test]
fn queries_leave_from_the_source_address() {
    worker(async {
        let server = Server::start(|seen| Action::Reply(reply(&seen.message, [1; 4]))).await;
        let source = IpAddr::from([127, 0, 0, 9]);
        let options = Options {
            source: Some(source),
            ..Options::default()
        };
        let group = group(options, &[server.addr]);
        for transport in [UDP, TCP] {
            group
                .exchange(Buf::copy_of(&query("a")), transport)
                .await
                .unwrap();
            assert_eq!(server.last_seen().peer.ip(), source);
        }
        let options = Options {
            source: Some(IpAddr::from([192, 0, 2, 1])),
            ..Options::default()
        };
        let group = self::group(options, &[server.addr]);
        let error = group
            .exchange(Buf::copy_of(&query("a")), UDP)
            .await
            .unwrap_err()
            .to_string();
        let end = format!(
            "dial udp {}: connect: cannot assign requested address",
            server.addr
        );
        assert_eq!(error, end);
    });
}

#[test]
fn ipv6_upstreams() {
    worker(async {
        let Some(server) = Server::start_on("[::1]:0", |seen| {
            Action::Reply(reply(&seen.message, [1; 4]))
        })
        .await
        else {
            return eprintln!("skipped: this machine has no IPv6");
        };
        let group = group_of(&server);
        for transport in [UDP, TCP] {
            let answer = group
                .exchange(Buf::copy_of(&query("a")), transport)
                .await
                .unwrap();
            assert!(answer.upstream_name().starts_with("[::1]:"));
        }
    });
}

#[test]
fn a_group_that_is_gone_leaves_nothing_behind() {
    worker(async {
        let server = Server::start(|seen| Action::Reply(reply(&seen.message, [1; 4]))).await;
        let old = group(Options::default(), &[server.addr]);
        old.exchange(Buf::copy_of(&query("a")), UDP).await.unwrap();
        old.exchange(Buf::copy_of(&query("a")), TCP).await.unwrap();
        let pool = Rc::downgrade(&old.pools()[0]);
        drop(old);
        let new = group(Options::default(), &[server.addr]);
        new.exchange(Buf::copy_of(&query("a")), UDP).await.unwrap();
        assert_eq!(pool.strong_count(), 0);
        until("the old connection is closed", || {
            server.open_connections() == 0
        })
        .await;
    });
}
