//! What a large cluster costs. Not part of the suite:
//!
//! ```text
//! cargo test --release -p pando --lib kubernetes::store::tests::scale -- --ignored --nocapture
//! ```

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 15;

/// A list or watch event of one object, as long as those of a real cluster:
/// most of it is what no answer needs.
fn object(kind: Kind, n: u32) -> String {
    let (name, namespace) = (format!("service-{n:05}"), format!("team-{}", n % 100));
    let managed = r#"[{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:ports":{}}}}]"#;
    let ip = |net: u32, n: u32| std::net::Ipv4Addr::from((net << 24) + n);
    match kind {
        Kind::Services => format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}","uid":"00000000-0000-0000-0000-{n:012}","resourceVersion":"{n}","labels":{{"app":"{name}"}},"managedFields":{managed}}},"spec":{{"ports":[{{"name":"http","protocol":"TCP","port":80,"targetPort":8080}}],"selector":{{"app":"{name}"}},"clusterIP":"{0}","clusterIPs":["{0}"],"type":"ClusterIP","sessionAffinity":"None","ipFamilies":["IPv4"]}},"status":{{"loadBalancer":{{}}}}}}"#,
            ip(11, n)
        ),
        Kind::EndpointSlices => {
            let endpoints: Vec<String> = (0..ENDPOINTS)
                .map(|e| {
                    format!(
                        r#"{{"addresses":["{}"],"conditions":{{"ready":true,"serving":true,"terminating":false}},"targetRef":{{"kind":"Pod","namespace":"{namespace}","name":"{name}-7d4b9c6f5-{e:05}","uid":"00000000-0000-0000-0000-{e:012}"}},"nodeName":"node-{}","zone":"zone-a"}}"#,
                        ip(10, n * ENDPOINTS + e),
                        e % 500
                    )
                })
                .collect();
            format!(
                r#"{{"metadata":{{"name":"{name}-abcde","generateName":"{name}-","namespace":"{namespace}","resourceVersion":"{n}","labels":{{"app":"{name}","endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"{name}"}},"managedFields":{managed}}},"addressType":"IPv4","endpoints":[{}],"ports":[{{"name":"http","protocol":"TCP","port":8080}}]}}"#,
                endpoints.join(",")
            )
        }
        Kind::Pods => format!(
            r#"{{"metadata":{{"name":"service-{:05}-7d4b9c6f5-{:05}","namespace":"team-{}","resourceVersion":"{n}","labels":{{"app":"x"}},"managedFields":{managed}}},"spec":{{"containers":[]}},"status":{{"phase":"Running","podIP":"{}"}}}}"#,
            n / ENDPOINTS,
            n % ENDPOINTS,
            n / ENDPOINTS % 100,
            ip(10, n)
        ),
        _ => format!(r#"{{"metadata":{{"name":"team-{n}","resourceVersion":"{n}"}}}}"#),
    }
}

/// Serves the cluster and holds none of it: objects are made as they are
/// sent. Ends every stream when `again` changes.
async fn serve(listener: TcpListener, again: watch::Receiver<u32>) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut again = again.clone();
        again.mark_unchanged();
        tokio::spawn(async move {
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let path = line.split(' ').nth(1).unwrap_or("").to_owned();
                while lines
                    .next_line()
                    .await
                    .is_ok_and(|line| line.is_some_and(|l| !l.is_empty()))
                {}
                if path.contains("limit=1&") {
                    // Another cluster each time, so that all is listed anew.
                    let uid = fastrand::u64(..);
                    let body = format!(
                        r#"{{"metadata":{{"resourceVersion":"1000000"}},"items":[{{"metadata":{{"name":"kube-system","uid":"{uid}"}}}}]}}"#
                    );
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    if write.write_all((head + &body).as_bytes()).await.is_err() {
                        return;
                    }
                    continue;
                }
                let kind = Kind::ALL
                    .into_iter()
                    .rfind(|kind| path.starts_with(kind.path()));
                let count = match kind {
                    Some(Kind::Namespaces) => 100,
                    Some(Kind::Pods) => SERVICES * ENDPOINTS,
                    _ => SERVICES,
                };
                let kind = match kind {
                    Some(Kind::ImportSlices) => Kind::EndpointSlices,
                    kind => kind.unwrap_or(Kind::Services),
                };
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
                let mut out = tokio::io::BufWriter::with_capacity(32 << 10, &mut write);
                out.write_all(head.as_bytes()).await.unwrap_or_default();
                for n in 0..count {
                    let event = format!("{{\"type\":\"ADDED\",\"object\":{}}}\n", object(kind, n));
                    if out.write_all(event.as_bytes()).await.is_err() {
                        return;
                    }
                }
                let end = "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"1000000\",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}}\n";
                out.write_all(end.as_bytes()).await.unwrap_or_default();
                out.flush().await.unwrap_or_default();
                let _ = again.changed().await;
                return;
            }
        });
    }
}

/// A field of `/proc/self/status` in KiB.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0)
}

fn measure(pods: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("bound");
        let (again, changes) = watch::channel(0);
        tokio::spawn(serve(listener, changes));
        let (before, heap) = (memory("VmRSS"), memory("RssAnon"));
        let begun = Instant::now();
        let store = start(&StoreConfig {
            pods,
            ..plain(format!("http://{address}"))
        });
        synced(&store).await;
        let took = begun.elapsed();
        let after = memory("VmRSS");
        println!("pods: {pods}: {:?}", store.snapshots().load());
        println!(
            "synced in {took:.2?}; RSS {before} KiB before, {after} KiB after, peak {} KiB",
            memory("VmHWM")
        );
        let heap = memory("RssAnon").saturating_sub(heap) * 1024;
        let endpoints = u64::from(SERVICES * ENDPOINTS);
        println!("{} bytes of heap an endpoint", heap / endpoints);

        // Resets VmHWM (proc_pid_clear_refs(5)).
        std::fs::write("/proc/self/clear_refs", "5").expect("writes");
        let version = |kind| {
            store
                .status()
                .into_iter()
                .find(|s| s.kind == kind)
                .map(|s| s.healthy)
        };
        let begun = Instant::now();
        again.send_replace(1);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let idle =
            || std::future::ready((version(Kind::EndpointSlices) == Some(true)).then_some(()));
        until("relisted", BOUND, idle).await.expect("relisted");
        tokio::time::sleep(Duration::from_secs(3)).await;
        println!(
            "relisted within {:.2?}; RSS {} KiB, peak {} KiB",
            begun.elapsed(),
            memory("VmRSS"),
            memory("VmHWM")
        );
        store.shutdown().await;
    });
}

#[test]
#[ignore = "a measurement"]
fn services_and_endpoints() {
    measure(false);
}

#[test]
#[ignore = "a measurement"]
fn with_pods() {
    measure(true);
}
