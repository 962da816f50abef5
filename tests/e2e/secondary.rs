//! `secondary`: a copy of the cluster's zone on another server.

use std::time::{Duration, Instant};

use pando_test::{Ask, BOUND, Client, Port, Server, until};

use crate::pando;

/// How soon a change shows in the copy. Manifests are looked at every second.
const SOON: Duration = Duration::from_secs(10);

/// A cluster of this many Services, and one of the address's last octet.
fn objects(services: u8, last: u8) -> String {
    let mut yaml = "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n".to_owned();
    let ips = (0..services).map(|at| (format!("s-{at}"), format!("10.96.1.{at}")));
    for (name, ip) in ips.chain([("web".to_owned(), format!("10.96.2.{last}"))]) {
        yaml += &format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: shop }}\n\
             spec: {{ clusterIP: {ip}, ports: [{{ name: http, port: 80 }}] }}\n"
        );
    }
    yaml
}

async fn shows(server: &Server, name: &str, want: &[&str]) {
    let what = format!("{name} {want:?}");
    let there = until(&what, SOON, || async {
        let answer = server.client().ask(name, "A").await.ok()?;
        (answer.data() == want).then_some(())
    });
    there.await.unwrap();
}

async fn primary(port: u16) -> Server {
    let corefile = format!(
        "cluster.local {{
    debug
    errors
    kubernetes {{
        manifests cluster.yaml
    }}
    transfer {{
        to 127.0.0.1:{port}
    }}
}}"
    );
    let server = pando(&corefile).file("cluster.yaml", &objects(100, 1));
    server.start().await.unwrap()
}

fn copy(primary: &Server, port: &str, options: &str) -> String {
    let from = primary.address();
    format!(
        "cluster.local{port} {{
    debug
    errors
    cache
    secondary {{
        transfer from {from}
        {options}
    }}
}}"
    )
}

#[tokio::test]
async fn a_copy_is_told_of_changes_and_takes_what_differs() {
    // The two must know each other's port: the copy's is free until it starts.
    let claimed = Port::claim();
    let port = claimed.number();
    let mut primary = primary(port).await;
    let corefile = copy(&primary, &format!(":{port}"), "");
    let _server = pando(&corefile).spawn().unwrap();
    let client = Client::to(([127, 0, 0, 1], port).into());
    let name = "web.shop.svc.cluster.local";
    let shows = async |want: &str| {
        let there = until(want, SOON, || async {
            let answer = client.ask(name, "A").await.ok()?;
            (answer.data() == [want]).then_some(())
        });
        there.await.unwrap();
    };
    shows("10.96.2.1").await;
    let denied = client
        .ask("later.shop.svc.cluster.local", "A")
        .await
        .unwrap();
    assert_eq!(denied.rcode(), "NXDOMAIN");

    for last in 2..5 {
        primary.write("cluster.yaml", &objects(100, last)).unwrap();
        let wanted = Instant::now();
        shows(&format!("10.96.2.{last}")).await;
        println!("shown after {:?}", wanted.elapsed());
    }
    // One address less and one more, each between two SOAs; not the zone.
    let line = "Outgoing transfer of 6 records of zone \"cluster.local.\"";
    primary.wait_for_line(line, BOUND).await.unwrap();
}

#[tokio::test]
async fn a_copy_that_nobody_tells_asks() {
    let mut primary = primary(1).await;
    let server = pando(&copy(&primary, "", "refresh 1s"))
        .start()
        .await
        .unwrap();
    shows(&server, "web.shop.svc.cluster.local", &["10.96.2.1"]).await;
    shows(&server, "new.shop.svc.cluster.local", &[]).await;
    let more = objects(100, 9)
        + "---\napiVersion: v1\nkind: Service\n\
        metadata: { name: new, namespace: shop }\nspec: { clusterIP: 10.96.3.1, ports: [{ port: 80 }] }\n";
    primary.write("cluster.yaml", &more).unwrap();
    // No denial is kept, neither here nor there.
    shows(&server, "new.shop.svc.cluster.local", &["10.96.3.1"]).await;
    shows(&server, "web.shop.svc.cluster.local", &["10.96.2.9"]).await;

    // The primary goes away: its zone stays.
    primary.kill().await.unwrap();
    shows(&server, "web.shop.svc.cluster.local", &["10.96.2.9"]).await;
}

#[tokio::test]
async fn without_a_primary_names_fail_and_say_why() {
    let corefile = "cluster.local {\n secondary {\n transfer from 127.0.0.1:1\n }\n}";
    let server = pando(corefile).start().await.unwrap();
    let ask = Ask::new("web.shop.svc.cluster.local", "A").edns(1232);
    let answer = server.client().udp(&ask).await.unwrap();
    assert_eq!(answer.rcode(), "SERVFAIL");
    // An Extended DNS Error: 14, Not Ready.
    assert!(answer.to_string().contains(" 15:000e"), "{answer}");
}
