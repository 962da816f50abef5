//! Exchanges with scripted servers on real sockets.

mod server;

use std::cell::Cell;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::task::LocalSet;
use tokio::time::timeout;

use self::server::{Action, Server, query, reply};
use super::metrics::Dropped;
use super::{Answer, Buf, Error, Group, Options, Policy, Transport, message};

const UDP: Transport = Transport::Udp;
const TCP: Transport = Transport::Tcp;
const MS: Duration = Duration::from_millis(1);

/// Runs a test as a worker runs queries, and not for ever.
fn worker<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let bounded = async { timeout(Duration::from_secs(30), test).await };
    LocalSet::new()
        .block_on(&runtime, bounded)
        .expect("the test ends in time");
}

fn group(options: Options, upstreams: &[SocketAddr]) -> Arc<Group> {
    let named = upstreams.iter().map(|addr| (*addr, addr.to_string()));
    Arc::new(Group::new(options, named))
}

fn sequential() -> Options {
    Options {
        policy: Policy::Sequential,
        ..Options::default()
    }
}

/// An address where nobody listens.
async fn closed_port() -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.local_addr().unwrap()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(10 * MS).await;
    }
    panic!("never happened: {what}");
}

fn address_of(answer: &Answer) -> Option<Ipv4Addr> {
    answer
        .message
        .last_chunk::<4>()
        .map(|octets| Ipv4Addr::from(*octets))
}

#[test]
fn a_query_goes_out_as_it_came_and_the_reply_comes_back_with_its_id() {
    worker(async {
        let server = Server::start(|seen| Action::Reply(reply(&seen.message, [10, 0, 0, 1]))).await;
        let group = group(Options::default(), &[server.addr]);
        for transport in [UDP, TCP] {
            let mut query = query("MiXed.example.org");
            // Something in every part of the message that is not ours to change.
            query[3] |= 0x10;
            query[11] = 1;
            query.extend([
                0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 6, 0xfd, 0xe9, 0, 2, 7, 7,
            ]);
            let answer = group
                .exchange(Buf::copy_of(&query), transport)
                .await
                .unwrap();
            assert_eq!(message::id(&answer.message), message::id(&query));
            assert_eq!(address_of(&answer), Some([10, 0, 0, 1].into()));
            assert_eq!(answer.upstream(), server.addr);
            assert_eq!(answer.upstream_name(), server.addr.to_string());
            let seen = server.last_seen();
            assert_eq!(seen.transport, transport);
            assert_eq!(seen.message[2..], query[2..]);
            assert_eq!(seen.peer.ip(), server.addr.ip());
        }
    });
}

#[test]
fn transports_are_chosen_by_options_and_client() {
    #[rustfmt::skip]
    let table = [
        (false, false, UDP, UDP), (false, false, TCP, TCP),
        (true, false, UDP, TCP), (true, true, UDP, TCP),
        (false, true, TCP, UDP), (false, true, UDP, UDP),
    ];
    worker(async move {
        let server = Server::start(|seen| Action::Reply(reply(&seen.message, [1; 4]))).await;
        for (force_tcp, prefer_udp, client, expected) in table {
            let options = Options {
                force_tcp,
                prefer_udp,
                ..Options::default()
            };
            let group = group(options, &[server.addr]);
            let answer = group
                .exchange(Buf::copy_of(&query("a")), client)
                .await
                .unwrap();
            assert_eq!(
                answer.transport, expected,
                "{force_tcp} {prefer_udp} {client}"
            );
        }
    });
}

#[test]
fn truncated_replies_reach_the_client_unless_udp_is_only_preferred() {
    worker(async {
        let server = Server::start(|seen| {
            let mut reply = reply(&seen.message, [1; 4]);
            if seen.transport == UDP {
                reply[2] |= 2;
            }
            Action::Reply(reply)
        })
        .await;
        let plain = group(Options::default(), &[server.addr]);
        let answer = plain
            .exchange(Buf::copy_of(&query("a")), UDP)
            .await
            .unwrap();
        assert!(message::is_truncated(&answer.message));

        let options = Options {
            prefer_udp: true,
            ..Options::default()
        };
        let preferring = group(options, &[server.addr]);
        let answer = preferring
            .exchange(Buf::copy_of(&query("a")), UDP)
            .await
            .unwrap();
        assert!(!message::is_truncated(&answer.message));
        assert_eq!(answer.transport, TCP);
    });
}

#[test]
fn a_reply_cut_inside_a_record_becomes_an_empty_one_with_tc() {
    worker(async {
        let server = Server::start(|seen| {
            let mut reply = reply(&seen.message, [1; 4]);
            reply.truncate(reply.len() - 3);
            Action::Reply(reply)
        })
        .await;
        let group = group(Options::default(), &[server.addr]);
        let asked = query("a.example");
        let answer = group.exchange(Buf::copy_of(&asked), UDP).await.unwrap();
        assert!(message::is_truncated(&answer.message));
        assert_eq!(answer.message[4..12], [0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(answer.message.len(), asked.len());
        // A stream has no such excuse.
        let error = group.exchange(Buf::copy_of(&asked), TCP).await.unwrap_err();
        assert_eq!(error.to_string(), "dns: overflow unpacking message");
    });
}

#[test]
fn forged_replies_are_dropped_counted_and_cost_the_port() {
    worker(async {
        let server = Server::start(|seen| {
            let good = reply(&seen.message, [10, 0, 0, 1]);
            let mut id = reply(&seen.message, [6, 6, 6, 6]);
            id[0] ^= 0x55;
            let mut query = reply(&seen.message, [6, 6, 6, 6]);
            query[2] &= 0x7f;
            let mut name = reply(&seen.message, [6, 6, 6, 6]);
            name[13] ^= 0x01;
            let mut qtype = reply(&seen.message, [6, 6, 6, 6]);
            let at = seen.message.len() - 3;
            qtype[at] = 28;
            Action::Several(vec![vec![0; 3], id, query, name, qtype, good])
        })
        .await;
        let group = group(Options::default(), &[server.addr]);
        let answer = group
            .exchange(Buf::copy_of(&query("bank.example")), UDP)
            .await
            .unwrap();
        assert_eq!(address_of(&answer), Some([10, 0, 0, 1].into()));
        let metrics = &group.upstreams[0].metrics;
        assert_eq!(metrics.dropped(Dropped::NotAReply), 2);
        assert_eq!(metrics.dropped(Dropped::UnknownId), 1);
        assert_eq!(metrics.dropped(Dropped::OtherQuestion), 2);
        let first = server.last_seen().peer;
        group
            .exchange(Buf::copy_of(&query("bank.example")), UDP)
            .await
            .unwrap();
        assert_ne!(server.last_seen().peer, first);
    });
}

#[test]
fn letter_case_of_the_reply_does_not_matter() {
    worker(async {
        let server = Server::start(|seen| {
            let mut reply = reply(&seen.message, [1; 4]);
            reply[12..seen.message.len() - 4].make_ascii_uppercase();
            Action::Reply(reply)
        })
        .await;
        let group = group(Options::default(), &[server.addr]);
        group
            .exchange(Buf::copy_of(&query("quiet.example")), UDP)
            .await
            .unwrap();
    });
}

#[test]
fn an_error_without_question_and_another_question_over_tcp_are_wrong_replies() {
    worker(async {
        let server = Server::start(|seen| {
            let mut reply = reply(&seen.message, [1; 4]);
            match seen.transport {
                Transport::Udp => {
                    reply.truncate(12);
                    reply[3] |= 4;
                    reply[4..12].fill(0);
                }
                Transport::Tcp => reply[13] ^= 1,
            }
            Action::Reply(reply)
        })
        .await;
        let group = group(Options::default(), &[server.addr]);
        for transport in [UDP, TCP] {
            let error = group
                .exchange(Buf::copy_of(&query("abc")), transport)
                .await
                .unwrap_err();
            assert_eq!(error, Error::WrongReply(server.addr));
        }
    });
}

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
        let took = started.elapsed();
        assert!((200 * MS..900 * MS).contains(&took), "{took:?}");
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
        let addr = closed_port().await;
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
        assert!(started.elapsed() < 1000 * MS);
    });
}

#[test]
fn without_a_limit_on_attempts_a_closed_port_is_tried_for_five_seconds_with_pauses() {
    worker(async {
        let addr = closed_port().await;
        let options = Options {
            max_connect_attempts: Some(0),
            max_fails: 0,
            ..Options::default()
        };
        let group = group(options, &[addr]);
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
                assert!(
                    started.elapsed() < 900 * MS,
                    "{policy} {:?}",
                    started.elapsed()
                );
            }
            let dead = &group.upstreams[0];
            until("the dead upstream fails a check", || {
                dead.health.is_suspect()
            })
            .await;
            let started = Instant::now();
            group
                .exchange(Buf::copy_of(&query("a")), UDP)
                .await
                .unwrap();
            assert!(
                started.elapsed() < 400 * MS,
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
        let started = Instant::now();
        let answer = group
            .exchange(Buf::copy_of(&query("a")), UDP)
            .await
            .unwrap();
        assert_eq!(answer.upstream(), second.addr);
        assert!(started.elapsed() < 300 * MS, "no waiting for what is down");
        assert_eq!(first.queries_named("a"), before, "and no query to it");
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
            let asked = server.queries_named("b") - before;
            if failfast {
                assert_eq!((error, asked), (Error::NoHealthy, 0));
            } else {
                assert!(error.to_string().ends_with("i/o timeout"), "{error}");
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
                expire: 200 * MS,
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
                expire: 100 * MS,
                max_age: 100 * MS,
                ..Options::default()
            };
            let aged = group(aged, &[server.addr]);
            let before = group_at_once.upstreams[0].metrics.misses(transport);
            let started = Instant::now();
            while started.elapsed() < 350 * MS {
                aged.exchange(Buf::copy_of(&query("a")), transport)
                    .await
                    .unwrap();
                tokio::time::sleep(10 * MS).await;
            }
            let misses = aged.upstreams[0].metrics.misses(transport) - before;
            assert!((3..=5).contains(&misses), "{misses}");
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
fn replies_split_and_joined_on_a_stream_are_put_together() {
    worker(async {
        let server = Server::start(|seen| Action::Dribble(reply(&seen.message, [1; 4]))).await;
        let group = group(Options::default(), &[server.addr]);
        let asked = query("a.long.name.example.org");
        let all = join_all((0..20).map(|_| group.exchange(Buf::copy_of(&asked), TCP))).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");

        // The largest message there is.
        let big = Server::start(|seen| {
            let mut reply = reply(&seen.message, [1; 4]);
            reply[7] = 2;
            let room = 65535 - reply.len() - 12;
            reply.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 0]);
            reply.extend((room as u16).to_be_bytes());
            reply.resize(65535, 0);
            Action::Reply(reply)
        })
        .await;
        let group = group_of(&big);
        for _ in 0..2 {
            let answer = group
                .exchange(Buf::copy_of(&query("a")), TCP)
                .await
                .unwrap();
            assert_eq!(answer.message.len(), 65535);
        }
    });
}

fn group_of(server: &Server) -> Arc<Group> {
    group(Options::default(), &[server.addr])
}

#[test]
fn a_large_datagram_is_read_whole() {
    worker(async {
        let server = Server::start(|seen| {
            let mut reply = reply(&seen.message, [1; 4]);
            reply[7] = 2;
            reply.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 0, 0x75, 0x30]);
            reply.resize(reply.len() + 30_000, 7);
            Action::Reply(reply)
        })
        .await;
        let answer = group_of(&server)
            .exchange(Buf::copy_of(&query("a")), UDP)
            .await
            .unwrap();
        assert!(answer.message.len() > 30_000);
        assert!(!message::is_truncated(&answer.message));
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
fn what_is_no_query_is_refused() {
    worker(async {
        let group = group(Options::default(), &[closed_port().await]);
        let mut two = query("a");
        two[5] = 2;
        for bytes in [vec![], vec![0; 12], two] {
            let error = group.exchange(Buf::copy_of(&bytes), UDP).await.unwrap_err();
            assert!(matches!(error, Error::InvalidRequest(_)), "{error}");
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
