//! The images of `deploy/Dockerfile` as `tests/image/build.sh` leaves them,
//! run by runc as a Pod's containers are: a root that is read-only and has
//! nothing but the image, no privilege but what the manifests give.

#[path = "image/container.rs"]
mod container;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use pando_test::{BOUND, Client, ControlPlane, Netns, Port, dns_rules, until};
use serde_json::Value;
use tempfile::TempDir;

use container::{Container, Image, Mount};

const NET_BIND_SERVICE: &str = "CAP_NET_BIND_SERVICE";
const NET_ADMIN: &str = "CAP_NET_ADMIN";

fn folder(files: &[(&str, &str)]) -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().expect("a folder");
    // As the kubelet has it: open to who is not root.
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), open).expect("set");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

/// Asks until there is an answer, as the data of its records.
async fn asked(server: SocketAddr, name: &str) -> anyhow::Result<Vec<String>> {
    let client = Client::to(server);
    until(&format!("an answer for {name}"), BOUND, || async {
        let answer = client.ask(name, "A").await.ok()?;
        let data: Vec<String> = answer.data().iter().map(ToString::to_string).collect();
        (!data.is_empty()).then_some(data)
    })
    .await
}

#[test]
fn the_cluster_dns_is_one_program() {
    let Some(image) = Image::find("pando") else {
        return;
    };
    assert_eq!(
        image.files(),
        [
            "/etc/ssl/certs/ca-certificates.crt",
            "/pando",
            "/usr/share/doc/pando/LICENSE",
            "/usr/share/doc/pando/sbom.cdx.json",
        ]
    );
    let config = &image.config["config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], serde_json::json!(["/pando"]));
}

#[test]
fn the_agent_has_a_firewall_and_no_shell() {
    let Some(image) = Image::find("pando-node") else {
        return;
    };
    let files = image.files();
    for program in ["/pando-node", "/pando-node-worker", "/usr/sbin/nft"] {
        assert!(files.iter().any(|file| file == program), "{files:?}");
    }
    let rest = files.iter().filter(|file| {
        let known = ["/lib", "/lib64", "/pando-node", "/pando-node-worker"];
        let below = [
            "/etc/ssl/certs/",
            "/usr/lib/",
            "/usr/lib64/ld-linux",
            "/usr/sbin/",
            "/usr/share/doc/",
            "/var/lib/dpkg/status.d/",
        ];
        !known.contains(&file.as_str()) && !below.iter().any(|folder| file.starts_with(folder))
    });
    assert_eq!(rest.collect::<Vec<_>>(), Vec::<&String>::new());
    for file in files.iter().filter(|file| file.starts_with("/usr/sbin/")) {
        let firewall = ["nft", "iptables", "ip6tables", "xtables"];
        let name = file.trim_start_matches("/usr/sbin/");
        assert!(firewall.iter().any(|word| name.starts_with(word)), "{name}");
    }
}

#[test]
fn both_say_what_they_are_and_what_is_in_them() {
    for name in ["pando", "pando-node"] {
        let Some(image) = Image::find(name) else {
            return;
        };
        let label = |name: &str| {
            let labels = &image.config["config"]["Labels"];
            labels[format!("org.opencontainers.image.{name}")]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(label("title"), name);
        assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(label("revision"), "0123456");
        assert!(label("licenses").contains("Apache-2.0"));
        assert!(label("source").starts_with("https://"));

        let path = format!("usr/share/doc/{name}/sbom.cdx.json");
        let text = fs::read_to_string(image.rootfs.join(path)).expect("an SBOM");
        let bill: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(bill["bomFormat"], "CycloneDX");
        assert_eq!(bill["metadata"]["component"]["name"], name);
        let parts = bill["components"].as_array().expect("components");
        let crates = ["hickory-proto", "rustls", "tokio"];
        for part in crates {
            assert!(parts.iter().any(|found| found["name"] == part), "{part}");
        }
        // What tests alone are made of is not in it.
        assert!(!parts.iter().any(|found| found["name"] == "proptest"));
    }
}

/// Not root, one capability, no new privileges, a root that is read-only; and
/// the API server's name is looked up where the Pod's resolv.conf says.
#[tokio::test]
async fn it_serves_port_53_from_an_empty_root() {
    let Some(image) = Image::runnable("pando") else {
        return;
    };
    let corefile = ".:53 {
    log
    errors
    hosts {
        192.0.2.1 api.example.org
        fallthrough
    }
    kubernetes cluster.local {
        manifests /etc/coredns/cluster.yaml
    }
}
other.example:53 {
    errors
    kubernetes other.example {
        endpoint https://api.example.org:6443
        startup_timeout 100ms
    }
}
";
    let cluster = include_str!("../../deploy/demo/cluster.yaml");
    let config = folder(&[("Corefile", corefile), ("cluster.yaml", cluster)]);
    let node = folder(&[("resolv.conf", "nameserver 127.0.0.1\n")]);
    let netns = Netns::create("image").expect("a namespace");
    let mut container = Container::start(
        &image,
        Some(&netns),
        &["-conf", "/etc/coredns/Corefile"],
        &[NET_BIND_SERVICE],
        &[
            Mount::read("/etc/coredns", config.path()),
            Mount::read("/etc/resolv.conf", &node.path().join("resolv.conf")),
        ],
    );
    let name = "web.shop.svc.cluster.local.";
    let here = (Ipv4Addr::LOCALHOST, 53).into();
    let (answer, _inhabitant) = netns
        .inhabit(move || asked(here, name))
        .unwrap_or_else(|error| panic!("{error:#}: {}", container.shown()));
    assert_eq!(answer, ["10.96.0.80"]);
    let looked_up = container.wait_for_line("A IN api.example.org.", BOUND);
    looked_up.await.expect("the API server's name is asked for");
    assert!(container.terminate().await.success());
}

/// By name and with the cluster's certificate, as the kubeconfig says.
#[tokio::test]
async fn it_speaks_to_an_api_server_from_an_empty_root() {
    let Some(image) = Image::runnable("pando") else {
        return;
    };
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let account = plane.account("image", &dns_rules()).await;
    let account = account.expect("an account");
    let read = |path: &Path| fs::read_to_string(path).expect("a file");
    let mut kubeconfig: Value = serde_json::from_str(&read(&account.kubeconfig)).expect("JSON");
    let cluster = &mut kubeconfig["clusters"][0]["cluster"];
    cluster["server"] = format!("https://localhost:{}", plane.port()).into();
    cluster["certificate-authority"] = "/etc/coredns/ca.crt".into();
    kubeconfig["users"][0]["user"]["tokenFile"] = "/etc/coredns/token".into();
    let port = Port::claim();
    let corefile = format!(
        ".:{} {{
    bind 127.0.0.1
    errors
    kubernetes cluster.local {{
        kubeconfig /etc/coredns/kubeconfig test
    }}
}}",
        port.number()
    );
    let config = folder(&[
        ("Corefile", &corefile),
        ("kubeconfig", &kubeconfig.to_string()),
        ("ca.crt", &read(&plane.path("ca.crt"))),
        ("token", &read(&account.token)),
        ("hosts", "127.0.0.1 localhost\n"),
    ]);
    let mut container = Container::start(
        &image,
        None,
        &["-conf", "/etc/coredns/Corefile"],
        &[NET_BIND_SERVICE],
        &[
            Mount::read("/etc/coredns", config.path()),
            Mount::read("/etc/hosts", &config.path().join("hosts")),
        ],
    );
    let here = (Ipv4Addr::LOCALHOST, port.number()).into();
    let answer = asked(here, "kubernetes.default.svc.cluster.local.").await;
    let answer = answer.unwrap_or_else(|error| panic!("{error:#}: {}", container.shown()));
    assert_eq!(answer, ["10.96.0.1"]);
    assert!(container.terminate().await.success());
}

/// With the image's own nft and iptables, of both kinds.
#[tokio::test]
async fn the_agent_sets_its_rules_from_its_own_root() {
    let Some(image) = Image::runnable("pando-node") else {
        return;
    };
    let template = ".:53 {
    errors
    bind 169.254.20.10
    hosts {
        192.0.2.1 www.example.org
    }
}
";
    for (firewall, set) in [("nft", "nft"), ("iptables", "iptables")] {
        let base = folder(&[("Corefile", template)]);
        let node = folder(&[("xtables.lock", "")]);
        let written = folder(&[]);
        let netns = Netns::create("agent").expect("a namespace");
        let before = netns.state().expect("the state");
        let mut container = Container::start(
            &image,
            Some(&netns),
            &[
                "-localip=169.254.20.10",
                "-conf=/etc/coredns/Corefile",
                "-basecorefile=/etc/coredns-base/Corefile",
                &format!("-firewall={firewall}"),
            ],
            &[NET_ADMIN, NET_BIND_SERVICE],
            &[
                Mount::read("/etc/coredns-base", base.path()),
                Mount::write("/etc/coredns", written.path()),
                Mount::write("/run/xtables.lock", &node.path().join("xtables.lock")),
            ],
        );
        let by = format!("Packet rules are set by {set}");
        let said = container.wait_for_line(&by, BOUND).await;
        said.unwrap_or_else(|error| panic!("{error:#}: {}", container.shown()));
        let here = (Ipv4Addr::new(169, 254, 20, 10), 53).into();
        let (answer, _inhabitant) = netns
            .inhabit(move || asked(here, "www.example.org."))
            .unwrap_or_else(|error| panic!("{error:#}: {}", container.shown()));
        assert_eq!(answer, ["192.0.2.1"]);
        until("the rules are there", BOUND, || async {
            let state = netns.state().expect("the state");
            (state.matches("169.254.20.10").count() > 2).then_some(())
        })
        .await
        .unwrap_or_else(|error| panic!("{error:#}: {}", container.shown()));
        assert!(container.terminate().await.success(), "{firewall}");
        let after = netns.state().expect("the state");
        assert!(!after.contains("169.254.20.10"), "{before}\n{after}");
        assert!(
            !container.shown().contains("[ERROR]"),
            "{}",
            container.shown()
        );
    }
}
