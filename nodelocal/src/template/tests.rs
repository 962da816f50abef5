use super::*;

const BASE: &str = "cluster.local:53 {
    bind __PILLAR__LOCAL__DNS__
    forward . __PILLAR__CLUSTER__DNS__ {
            force_tcp
    }
}
.:53 {
    bind __PILLAR__LOCAL__DNS__ __PILLAR__DNS__SERVER__
    forward . __PILLAR__UPSTREAM__SERVERS__ {
            force_tcp
    }
}
";

fn values(cluster_dns: Option<&str>) -> Values {
    Values {
        cluster_dns: cluster_dns.map(|text| text.parse().unwrap()),
        local: "169.254.20.10 10.0.0.10".to_owned(),
        port: 53,
    }
}

fn config(stub: &[(&str, &[&str])], upstream: &[&str]) -> Config {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    Config {
        stub_domains: stub
            .iter()
            .map(|(name, servers)| ((*name).to_owned(), owned(servers)))
            .collect(),
        upstream_nameservers: owned(upstream),
    }
}

#[test]
fn without_a_config_map_the_node_resolves() {
    assert_eq!(
        render(BASE, &Config::default(), &values(Some("9.10.11.12"))),
        "cluster.local:53 {
    bind 169.254.20.10 10.0.0.10
    forward . 9.10.11.12 {
            force_tcp
    }
}
.:53 {
    bind 169.254.20.10 10.0.0.10 \n    forward . /etc/resolv.conf {
            force_tcp
    }
}
"
    );
}

#[test]
fn custom_upstreams_are_asked_over_udp() {
    let config = config(
        &[
            ("b.local", &["2.2.2.2:10053", "3.3.3.3"]),
            ("a.local", &["1.1.1.1"]),
        ],
        &["2.2.2.2:10053", "3.3.3.3"],
    );
    let text = render(BASE, &config, &values(None));
    assert!(text.contains("    forward . <nil> {\n"), "{text}");
    assert!(
        text.ends_with(
            "
    forward . 2.2.2.2:10053 3.3.3.3
}

a.local:53 {
    errors
    cache 30
    bind 169.254.20.10 10.0.0.10
    forward . 1.1.1.1
}

b.local:53 {
    errors
    cache 30
    bind 169.254.20.10 10.0.0.10
    forward . 2.2.2.2:10053 3.3.3.3
}
"
        ),
        "{text}"
    );
    // Indented in another way, it keeps what it says.
    let text = render(
        "  forward . __PILLAR__UPSTREAM__SERVERS__ {",
        &config,
        &values(None),
    );
    assert!(text.starts_with("  forward . 2.2.2.2:10053 3.3.3.3 {\n"));
}

#[test]
fn the_environment_names_services_in_its_way() {
    assert_eq!(
        variable("kube-dns-upstream"),
        "KUBE_DNS_UPSTREAM_SERVICE_HOST"
    );
}

struct Node {
    folder: tempfile::TempDir,
    template: Template,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("Corefile.base"), BASE).unwrap();
        fs::create_dir(path("kube-dns")).unwrap();
        let flags = Flags {
            template: path("Corefile.base"),
            kube_dns: Some(path("kube-dns")),
            server: pando::cli::Options {
                conf: Some(path("Corefile").display().to_string()),
                ..Default::default()
            },
            ..Flags::default()
        };
        let template = Template::new(&flags, Arc::new(SetupErrors::default()));
        Self { folder, template }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn corefile(&self) -> String {
        fs::read_to_string(self.folder.path().join("Corefile")).unwrap()
    }

    fn errors(&self) -> String {
        let text = self.template.errors.exposition();
        let line = text.lines().find(|line| line.contains("\"configmap\""));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    }
}

#[test]
fn the_corefile_follows_template_and_config_map() {
    let mut node = Node::new();
    assert!(node.template.poll());
    assert!(!node.template.poll());
    assert!(node.corefile().contains("forward . /etc/resolv.conf"));

    node.write("kube-dns/stubDomains", r#"{"acme.local": ["1.1.1.1"]}"#);
    assert!(node.template.poll());
    assert!(node.corefile().contains("\nacme.local:53 {\n"));

    node.write("Corefile.base", "whoami\n");
    assert!(node.template.poll());
    assert!(node.corefile().starts_with("whoami\n\nacme.local:53 {\n"));

    // Nothing but the Corefile is left in its folder.
    let mut names: Vec<_> = fs::read_dir(node.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["Corefile", "Corefile.base", "kube-dns"]);
    assert_eq!(node.errors(), "0");
}

#[test]
fn what_is_wrong_is_said_once_and_changes_nothing() {
    let mut node = Node::new();
    node.write("kube-dns/stubDomains", r#"{"acme.local": ["1.1.1.1"]}"#);
    assert!(node.template.poll());
    let good = node.corefile();
    node.write("kube-dns/stubDomains", "{");
    for _ in 0..2 {
        assert!(!node.template.poll());
        assert_eq!(node.corefile(), good);
        assert_eq!(node.errors(), "1");
    }
    fs::remove_file(node.folder.path().join("Corefile.base")).unwrap();
    for _ in 0..2 {
        assert!(!node.template.poll());
        assert_eq!(node.errors(), "2");
    }
    fs::remove_dir_all(node.folder.path().join("kube-dns")).unwrap();
    node.write("Corefile.base", "whoami");
    for written in [true, false] {
        assert_eq!(node.template.poll(), written);
        assert_eq!(node.errors(), "3");
    }
}

/// A small disk, until it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: &Path) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8k", "tmpfs"])
            .arg(path)
            .output();
        let mounted = mount.is_ok_and(|mount| mount.status.success());
        mounted.then(|| Self(path.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let path = &self.0;
        let umount = std::process::Command::new("umount").arg(path).status();
        assert!(umount.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_full_disk_keeps_the_corefile_that_is_there() {
    let mut node = Node::new();
    let path = node.folder.path().join("disk");
    let Some(_disk) = Disk::mount(&path) else {
        return println!("skipped: nothing can be mounted here");
    };
    node.template.corefile = path.join("Corefile");
    assert!(node.template.poll());
    let good = fs::read_to_string(path.join("Corefile")).unwrap();
    // Nothing else fits, and then more is to be written than the disk takes.
    fs::write(path.join("other"), [0; 4096]).unwrap();
    node.write("Corefile.base", &format!("{BASE}# {}\n", "-".repeat(5000)));
    for _ in 0..2 {
        assert!(!node.template.poll());
        assert_eq!(fs::read_to_string(path.join("Corefile")).unwrap(), good);
        assert_eq!(node.errors(), "1");
    }
    assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
    fs::remove_file(path.join("other")).unwrap();
    assert!(node.template.poll());
}

#[test]
fn a_link_stays_a_link() {
    let mut node = Node::new();
    let path = |name: &str| node.folder.path().join(name);
    node.write("real", "");
    std::os::unix::fs::symlink(path("real"), path("Corefile")).unwrap();
    assert!(node.template.poll());
    assert!(path("Corefile").is_symlink());
    assert_eq!(fs::read_to_string(path("real")).unwrap(), node.corefile());
}
