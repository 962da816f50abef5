//! The command line: node-cache's, CoreDNS's, and two flags of our own.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use corefile::{duration, quote};
use pando::cli::{self, Options};
use pando::golang::flag::{self, Flag, FlagError, Kind, Value};
use tracing::{info, warn};

/// What the command line asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Serve this node.
    Run(Box<Flags>),
    /// Print the version.
    Version,
    /// Print the directives that are built in.
    Plugins,
    /// Print how to call it.
    Help,
}

/// The values of the flags.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Flags {
    /// What the server is run with. Its Corefile, `-conf`, is the one that is
    /// written from the template.
    pub server: Options,
    /// `-dns.port`: where DNS is answered; for the packet rules.
    pub port: u16,
    /// `-localip`: the addresses to claim, all of one family.
    pub local_ips: Vec<IpAddr>,
    /// `-localip` as it was written, for the template.
    pub local_ip_text: String,
    /// `-setupinterface`: whether to claim the addresses.
    pub setup_interface: bool,
    /// `-interfacename`: the device that has them.
    pub interface_name: String,
    /// `-setupiptables`: whether to set packet rules.
    pub setup_iptables: bool,
    /// `-firewall`: what sets them.
    pub firewall: Choice,
    /// `-skipteardown`: leave interface and rules at the end.
    pub skip_teardown: bool,
    /// `-syncinterval`: how often interface and rules are checked.
    pub interval: Duration,
    /// `-health-port`: the port of the `health` plugin; for the packet rules.
    pub health_port: u16,
    /// `-metrics-listen-address`.
    pub metrics_address: String,
    /// `-basecorefile`: the template.
    pub template: PathBuf,
    /// `-kubednscm`: the directory of kube-dns's ConfigMap.
    pub kube_dns: Option<PathBuf>,
    /// `-upstreamsvc`: the Service that stands for `__PILLAR__CLUSTER__DNS__`.
    pub upstream_service: String,
    /// `-reloadwithsignal`: reload when the Corefile has been written.
    pub reload: bool,
    /// `-handover`: the socket by which instances replace each other.
    pub handover: Option<PathBuf>,
    /// Whether `-corefile` was given, which has no effect: `-conf` names the file.
    pub corefile: bool,
}

/// Who sets packet rules.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Choice {
    /// What the node runs.
    #[default]
    Auto,
    /// nftables.
    Nft,
    /// iptables.
    Iptables,
}

/// Why the command line is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UsageError {
    /// A flag is wrong: exit code 2, with the usage.
    #[error("{0}")]
    Flag(FlagError),
    /// Words where none belong: exit code 1.
    #[error("extra command line arguments: [{}]", .0.join(" "))]
    Extra(Vec<String>),
    /// A value makes no sense: exit code 1.
    #[error("[FATAL] Error parsing flags - {0}, Exiting")]
    Invalid(#[from] ValueError),
}

impl UsageError {
    /// Says so on standard error, with the usage where that helps; the exit code.
    pub fn tell(&self, program: &str) -> u8 {
        match self {
            Self::Flag(_) => {
                eprint!("{self}\n{}", usage(program));
                2
            }
            Self::Extra(_) | Self::Invalid(_) => {
                eprintln!("{self}");
                1
            }
        }
    }
}

/// Why a value makes no sense, in node-cache's words where it has some.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// Not an address.
    #[error("invalid localip specified - {}", quote(.0))]
    LocalIp(String),
    /// IPv4 among IPv6 or the other way round.
    #[error("unexpected IP Family for localIP - \"{0}\", want IPv6={1}")]
    Family(IpAddr, bool),
    /// Not from 1 to 65535.
    #[error("invalid port specified - {}", quote(.0))]
    Port(String),
    /// Not from 1 to 65535.
    #[error("invalid healthcheck port specified - {}", quote(.0))]
    HealthPort(String),
    /// Never, or always.
    #[error("invalid syncinterval specified - {0}, want more than 0")]
    Interval(duration::Duration),
    /// Not one of [`Choice`].
    #[error("invalid firewall specified - {}, want auto, nft or iptables", quote(.0))]
    Firewall(String),
    /// Longer than the kernel's names, or none.
    #[error("invalid interfacename specified - {}, want 1 to 15 octets", quote(.0))]
    InterfaceName(String),
}

/// node-cache's default of `-syncinterval`, see [`interval`].
const INTERVAL: duration::Duration = duration::Duration::from_nanos(60);
/// Where kube-dns's ConfigMap is taken from if it is there.
const KUBE_DNS: &str = "/etc/kube-dns";
/// Octets in the name of a device, see `IFNAMSIZ`.
const NAME_LIMIT: usize = 15;

const fn text(name: &'static str, default: &'static str, help: &'static str) -> Flag {
    let kind = Kind::Text(default);
    Flag { name, kind, help }
}

const fn switch(name: &'static str, default: bool, help: &'static str) -> Flag {
    let kind = Kind::Switch(default);
    Flag { name, kind, help }
}

#[rustfmt::skip]
const OWN: [Flag; 15] = [
    text("localip", "", "comma-separated string of ip addresses to bind dnscache to"),
    switch("setupinterface", true, "indicates whether network interface should be setup"),
    text("interfacename", "nodelocaldns", "name of the interface to be created"),
    Flag {
        name: "syncinterval",
        kind: Kind::Duration(INTERVAL),
        help: "interval(in seconds) to check for iptables rules",
    },
    text("metrics-listen-address", "0.0.0.0:9353", "address to serve metrics on"),
    switch("setupiptables", true, "indicates whether iptables rules should be setup"),
    text("basecorefile", "/etc/coredns/Corefile.base", "Path to the template Corefile for node-cache"),
    text("corefile", "/etc/Corefile", "Path to the Corefile to be used by node-cache"),
    text("kubednscm", "", "Path where the kube-dns configmap will be mounted"),
    text("upstreamsvc", "kube-dns", "Service name whose cluster IP is upstream for node-cache"),
    text("health-port", "8080", "port used by health plugin"),
    switch("skipteardown", false, "indicates whether iptables rules should be torn down on exit"),
    switch("reloadwithsignal", false, "use SIGUSR1 on self to reload CoreDNS"),
    text("firewall", "auto", "what sets the packet rules: auto, nft or iptables"),
    text("handover", "", "Path of the socket by which a new instance replaces an old one"),
];

/// Reads the arguments, the program's name not among them.
///
/// # Errors
///
/// In node-cache's words.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Command, UsageError> {
    let given = match flag::read(&all(), arguments) {
        Ok(given) => given,
        Err(FlagError::Help) => return Ok(Command::Help),
        Err(error) => return Err(UsageError::Flag(error)),
    };
    let mut flags = Flags::default();
    let (mut version, mut plugins) = (false, false);
    let mut span = INTERVAL;
    let mut health_port = None;
    let mut firewall = None;
    for (name, value) in given.values {
        let Some((name, value)) = flags.server.take(name, value) else {
            continue;
        };
        match (name, value) {
            ("localip", Value::Text(text)) => flags.local_ip_text = text,
            ("interfacename", Value::Text(text)) => flags.interface_name = text,
            ("metrics-listen-address", Value::Text(text)) => flags.metrics_address = text,
            ("basecorefile", Value::Text(text)) => flags.template = text.into(),
            ("corefile", _) => flags.corefile = true,
            ("kubednscm", Value::Text(text)) => flags.kube_dns = path(text),
            ("upstreamsvc", Value::Text(text)) => flags.upstream_service = text,
            ("health-port", Value::Text(text)) => health_port = Some(text),
            ("firewall", Value::Text(text)) => firewall = Some(text),
            ("handover", Value::Text(text)) => flags.handover = path(text),
            ("setupinterface", Value::Switch(on)) => flags.setup_interface = on,
            ("setupiptables", Value::Switch(on)) => flags.setup_iptables = on,
            ("skipteardown", Value::Switch(on)) => flags.skip_teardown = on,
            ("reloadwithsignal", Value::Switch(on)) => flags.reload = on,
            ("syncinterval", Value::Duration(value)) => span = value,
            ("version", Value::Switch(on)) => version = on,
            ("plugins", Value::Switch(on)) => plugins = on,
            _ => {}
        }
    }
    if !given.rest.is_empty() {
        return Err(UsageError::Extra(given.rest));
    }
    match (version, plugins) {
        (true, _) => return Ok(Command::Version),
        (_, true) => return Ok(Command::Plugins),
        _ => {}
    }
    flags.local_ips = addresses(&flags.local_ip_text)?;
    let port = flags.server.port.clone();
    flags.port = self::port(&port).ok_or(ValueError::Port(port))?;
    if let Some(text) = health_port {
        flags.health_port = self::port(&text).ok_or(ValueError::HealthPort(text))?;
    }
    flags.interval = interval(span).ok_or(ValueError::Interval(span))?;
    flags.firewall = match firewall.as_deref() {
        None | Some("auto") => Choice::Auto,
        Some("nft") => Choice::Nft,
        Some("iptables") => Choice::Iptables,
        Some(other) => return Err(ValueError::Firewall(other.to_owned()).into()),
    };
    if !(1..=NAME_LIMIT).contains(&flags.interface_name.len()) {
        return Err(ValueError::InterfaceName(flags.interface_name).into());
    }
    Ok(Command::Run(Box::new(flags)))
}

/// How to call it, in node-cache's form.
pub fn usage(program: &str) -> String {
    let defaults = flag::defaults(&all());
    format!(
        "Usage of {program}:\nRuns Pando v{} as a nodelocal cache listening on the specified ip:port\n\n{defaults}",
        env!("CARGO_PKG_VERSION")
    )
}

impl Flags {
    /// Says which files are used, as node-cache does when it starts.
    pub fn announce(&self) {
        info!("Starting pando-node {}", env!("CARGO_PKG_VERSION"));
        info!(
            "Using Corefile {}",
            self.server.conf.as_deref().unwrap_or_default()
        );
        let pidfile = self.server.pidfile.clone().unwrap_or_default();
        info!("Using Pidfile {}", pidfile.display());
        if self.corefile && self.server.conf.is_none() {
            warn!("-corefile is not used, as node-cache does not: name the Corefile by -conf");
        }
    }

    /// The directory of kube-dns's ConfigMap: the one that is named, or the
    /// usual one if it is there.
    pub fn kube_dns_directory(&self) -> Option<PathBuf> {
        let usual = || Some(PathBuf::from(KUBE_DNS)).filter(|path| path.exists());
        self.kube_dns.clone().or_else(usual)
    }

    /// Whether the addresses are IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.local_ips.first().is_some_and(IpAddr::is_ipv6)
    }
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            // Corefiles of node-cache do not say it, and it is what a node is for.
            server: Options {
                cut: true,
                ..Options::default()
            },
            port: 53,
            local_ips: Vec::new(),
            local_ip_text: String::new(),
            setup_interface: true,
            interface_name: "nodelocaldns".to_owned(),
            setup_iptables: true,
            firewall: Choice::Auto,
            skip_teardown: false,
            interval: Duration::from_secs(60),
            health_port: 8080,
            metrics_address: "0.0.0.0:9353".to_owned(),
            template: "/etc/coredns/Corefile.base".into(),
            kube_dns: None,
            upstream_service: "kube-dns".to_owned(),
            reload: false,
            handover: None,
            corefile: false,
        }
    }
}

fn all() -> Vec<Flag> {
    [&cli::FLAGS[..], &OWN].concat()
}

fn path(text: String) -> Option<PathBuf> {
    Some(text)
        .filter(|text| !text.is_empty())
        .map(PathBuf::from)
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

fn addresses(text: &str) -> Result<Vec<IpAddr>, ValueError> {
    let mut addresses = Vec::new();
    for word in text.split(',') {
        let address: IpAddr = word
            .parse()
            .map_err(|_| ValueError::LocalIp(word.to_owned()))?;
        // Go has one form for both.
        addresses.push(address.to_canonical());
    }
    let ipv6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    match addresses.iter().find(|ip| ip.is_ipv6() != ipv6) {
        Some(stranger) => Err(ValueError::Family(*stranger, ipv6)),
        None => Ok(addresses),
    }
}

/// What `-syncinterval` means. node-cache takes its nanoseconds for seconds, so
/// that `30ns` is half a minute; from `10s` on its product overflows, and `1s`
/// would be 31 years. A whole second and more is therefore taken as it reads.
fn interval(span: duration::Duration) -> Option<Duration> {
    const SECOND: u64 = 1_000_000_000;
    match u64::try_from(span.nanos()).ok()? {
        0 => None,
        seconds @ 1..SECOND => Some(Duration::from_secs(seconds)),
        nanos => Some(Duration::from_nanos(nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn flags(text: &str) -> Flags {
        match parse(words(text)) {
            Ok(Command::Run(flags)) => *flags,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_flags_of_the_addon_are_understood() {
        let flags = flags(
            "-localip 169.254.20.10,10.96.0.10 -conf /etc/Corefile -upstreamsvc kube-dns-upstream",
        );
        let expected = Flags {
            server: Options {
                conf: Some("/etc/Corefile".to_owned()),
                cut: true,
                ..Options::default()
            },
            local_ips: vec![
                "169.254.20.10".parse().unwrap(),
                "10.96.0.10".parse().unwrap(),
            ],
            local_ip_text: "169.254.20.10,10.96.0.10".to_owned(),
            upstream_service: "kube-dns-upstream".to_owned(),
            ..Flags::default()
        };
        assert_eq!(flags, expected);
    }

    #[test]
    fn each_flag_has_its_effect() {
        let flags = flags(
            "-localip=::1 -setupinterface=false -interfacename d0 -syncinterval 5ns \
             -metrics-listen-address :1 -setupiptables=0 -basecorefile b -corefile c \
             -kubednscm k -upstreamsvc u -health-port 81 -skipteardown -reloadwithsignal \
             -firewall nft -handover h -p 5353 -pidfile p -quiet",
        );
        let expected = Flags {
            server: Options {
                conf: None,
                port: "5353".to_owned(),
                pidfile: Some("p".into()),
                quiet: true,
                cut: true,
            },
            port: 5353,
            local_ips: vec!["::1".parse().unwrap()],
            local_ip_text: "::1".to_owned(),
            setup_interface: false,
            interface_name: "d0".to_owned(),
            setup_iptables: false,
            firewall: Choice::Nft,
            skip_teardown: true,
            interval: Duration::from_secs(5),
            health_port: 81,
            metrics_address: ":1".to_owned(),
            template: "b".into(),
            kube_dns: Some("k".into()),
            upstream_service: "u".to_owned(),
            reload: true,
            handover: Some("h".into()),
            corefile: true,
        };
        assert_eq!(flags, expected);
        assert_eq!(parse(words("-version")), Ok(Command::Version));
        assert_eq!(parse(words("-plugins")), Ok(Command::Plugins));
        assert_eq!(parse(words("-localip x -h")), Ok(Command::Help));
    }

    #[test]
    fn nanoseconds_of_the_interval_are_seconds() {
        for (text, seconds) in [
            ("60ns", 60.0),
            ("1us", 1000.0),
            ("30s", 30.0),
            ("1m", 60.0),
            ("1s", 1.0),
        ] {
            let flags = flags(&format!("-localip 10.0.0.1 -syncinterval {text}"));
            assert_eq!(flags.interval.as_secs_f64(), seconds, "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_in_node_caches_words() {
        const LOCAL: &str = "-localip 10.0.0.1";
        for (text, message) in [
            ("", "invalid localip specified - \"\""),
            ("-localip 10.0.0.1,", "invalid localip specified - \"\""),
            (
                "-localip 10.0.0.01",
                "invalid localip specified - \"10.0.0.01\"",
            ),
            (
                "-localip 10.0.0.1,::1",
                "unexpected IP Family for localIP - \"::1\", want IPv6=false",
            ),
            (
                "-localip ::1,10.0.0.1",
                "unexpected IP Family for localIP - \"10.0.0.1\", want IPv6=true",
            ),
            (&format!("{LOCAL} -p x"), "invalid port specified - \"x\""),
            (
                &format!("{LOCAL} -health-port x"),
                "invalid healthcheck port specified - \"x\"",
            ),
            (
                &format!("{LOCAL} -syncinterval 0"),
                "invalid syncinterval specified - 0s, want more than 0",
            ),
            (
                &format!("{LOCAL} -firewall pf"),
                "invalid firewall specified - \"pf\", want auto, nft or iptables",
            ),
            (
                &format!("{LOCAL} -interfacename 0123456789abcdef"),
                "invalid interfacename specified - \"0123456789abcdef\", want 1 to 15 octets",
            ),
        ] {
            assert_eq!(
                parse(words(text)).unwrap_err().to_string(),
                format!("[FATAL] Error parsing flags - {message}, Exiting"),
                "{text}"
            );
        }
        for (text, message) in [
            (
                "-syncinterval=30",
                "invalid value \"30\" for flag -syncinterval: parse error",
            ),
            ("-bogus", "flag provided but not defined: -bogus"),
            ("-localip 10.0.0.1 x", "extra command line arguments: [x]"),
        ] {
            assert_eq!(parse(words(text)).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_help_has_the_lines_of_node_cache() {
        let usage = usage("pando-node");
        for line in [
            "  -conf string\n    \tCorefile to load (default \"Corefile\")\n",
            "  -setupinterface\n    \tindicates whether network interface should be setup (default true)\n",
            "  -syncinterval duration\n    \tinterval(in seconds) to check for iptables rules (default 60ns)\n",
            "  -localip string\n    \tcomma-separated string of ip addresses to bind dnscache to\n",
        ] {
            assert!(usage.contains(line), "{usage}");
        }
    }
}
