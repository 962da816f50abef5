//! Packets at random: a good query with octets changed, cut and added.

use pando_test::{Ask, Server};

use crate::pando;

const COREFILE: &str = "example.org {\n prometheus 127.0.0.1:$METRICS_PORT\n whoami\n}\n";

async fn is_well(server: &mut Server) {
    let answer = server.client().ask("example.org", "A").await.unwrap();
    assert_eq!(answer.rcode(), "NOERROR");
    assert_eq!(
        server.metric("coredns_panics_total").await.unwrap(),
        Some(0.0)
    );
}

#[tokio::test]
async fn garbage_costs_nothing_but_the_reply() {
    let mut server = pando(COREFILE).start().await.unwrap();
    let good = Ask::new("example.org", "A")
        .edns(1232)
        .option(10, b"01234567")
        .bytes();
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server.address()).await.unwrap();
    // xorshift: the same garbage each time.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for round in 0..5000 {
        let mut query = good.clone();
        for _ in 0..=random() % 4 {
            let at = random() % query.len();
            query[at] = random() as u8;
        }
        query.truncate(random() % (query.len() * 2));
        socket.send(&query).await.unwrap();
        if round % 100 == 99 {
            is_well(&mut server).await;
        }
    }
    assert!(!server.ended());
}
