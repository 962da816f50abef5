//! What comes back, and what is made of it.

use super::*;

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
fn what_is_no_query_is_refused() {
    worker(async {
        let closed = closed_port().await;
        let group = group(Options::default(), &[closed.addr]);
        let mut two = query("a");
        two[5] = 2;
        for bytes in [vec![], vec![0; 12], two] {
            let error = group.exchange(Buf::copy_of(&bytes), UDP).await.unwrap_err();
            assert!(matches!(error, Error::InvalidRequest(_)), "{error}");
        }
    });
}

#[test]
fn less_than_a_header_is_an_error_on_a_stream_and_nothing_over_udp() {
    worker(async {
        let server = Server::start(|seen| match seen.transport {
            Transport::Udp => Action::Several(vec![
                seen.message[..11].to_vec(),
                reply(&seen.message, [1; 4]),
            ]),
            Transport::Tcp => Action::Reply(seen.message[..11].to_vec()),
        })
        .await;
        let group = group_of(&server);
        group
            .exchange(Buf::copy_of(&query("a")), UDP)
            .await
            .unwrap();
        let error = group
            .exchange(Buf::copy_of(&query("a")), TCP)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "dns: short read");
    });
}
