//! What each program is told: the same names and the same upstream, one core.

use std::fs;
use std::io;
use std::path::Path;

use crate::cluster::Service;
use crate::program::Program;
use crate::workload::Transport;

/// Where a server is and whom it asks. All addresses are 127.0.0.1.
pub(crate) struct Setting<'a> {
    /// Its own folder, in which it is started.
    pub(crate) folder: &'a Path,
    pub(crate) port: u16,
    /// Ports for HTTP: health, readiness, metrics.
    pub(crate) http: [u16; 3],
    /// The URL of the API server.
    pub(crate) api: &'a str,
    pub(crate) upstream: u16,
    /// How it must ask the upstream.
    pub(crate) over: Transport,
}

impl Setting<'_> {
    /// Writes the configuration of a program; returns its arguments.
    pub(crate) fn write(&self, program: Program) -> io::Result<Vec<String>> {
        let file = |name: &str, text: &str| fs::write(self.folder.join(name), text);
        let port = self.port.to_string();
        let arguments: &[&str] = match program {
            Program::Floor => &["floor", &port],
            Program::Pando | Program::Coredns => {
                file("Corefile", &self.corefile())?;
                &["-conf", "Corefile", "-dns.port", &port]
            }
            Program::NodeCache => {
                // It writes the second from the first.
                file("Corefile.base", &self.node_cache())?;
                file("Corefile", &self.node_cache())?;
                &[
                    "-conf=Corefile",
                    "-basecorefile=Corefile.base",
                    &format!("-dns.port={port}"),
                    "-localip=127.0.0.1",
                    "-setupinterface=false",
                    "-setupiptables=false",
                    "-skipteardown=true",
                    &format!("-metrics-listen-address=127.0.0.1:{}", self.http[1]),
                ]
            }
            Program::Unbound => {
                file("unbound.conf", &self.unbound())?;
                &["-d", "-p", "-c", "unbound.conf"]
            }
            Program::Dnsdist => {
                file("dnsdist.conf", &self.dnsdist())?;
                &["--supervised", "--disable-syslog", "-C", "dnsdist.conf"]
            }
        };
        Ok(arguments.iter().map(|&argument| argument.into()).collect())
    }

    fn force_tcp(&self) -> &'static str {
        match self.over {
            Transport::Udp => "",
            Transport::Tcp => "force_tcp",
        }
    }

    /// kubeadm's, but for addresses and, where it is asked for, `force_tcp`.
    fn corefile(&self) -> String {
        let Self { api, upstream, .. } = self;
        let [health, ready, metrics] = self.http;
        let force_tcp = self.force_tcp();
        format!(
            ". {{
    errors
    health 127.0.0.1:{health} {{
        lameduck 5s
    }}
    ready 127.0.0.1:{ready}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        endpoint {api}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    prometheus 127.0.0.1:{metrics}
    forward . 127.0.0.1:{upstream} {{
        max_concurrent 1000
        {force_tcp}
    }}
    cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
    loop
    reload
    loadbalance
}}
"
        )
    }

    /// The block for external names of the node cache's manifest.
    fn node_cache(&self) -> String {
        let Self { port, upstream, .. } = self;
        let [health, _, metrics] = self.http;
        let force_tcp = self.force_tcp();
        format!(
            ".:{port} {{
    errors
    cache 30
    reload
    loop
    bind 127.0.0.1
    forward . 127.0.0.1:{upstream} {{
        {force_tcp}
    }}
    prometheus 127.0.0.1:{metrics}
    health 127.0.0.1:{health}
}}
"
        )
    }

    /// A resolver that forwards, with one thread.
    fn unbound(&self) -> String {
        let Self { port, upstream, .. } = self;
        let tcp = match self.over {
            Transport::Udp => "no",
            Transport::Tcp => "yes",
        };
        let mut text = format!(
            "server:
    interface: 127.0.0.1
    port: {port}
    do-ip6: no
    num-threads: 1
    username: \"\"
    chroot: \"\"
    directory: \".\"
    pidfile: \"\"
    use-syslog: no
    log-time-ascii: yes
    do-daemonize: no
    do-not-query-localhost: no
    module-config: \"iterator\"
    outgoing-range: 4096
    num-queries-per-thread: 2048
    incoming-num-tcp: 64
    outgoing-num-tcp: 64
    local-zone: \"cluster.local.\" static
    local-data: \"cluster.local. 30 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 30\"
"
        );
        for service in Service::all().chain(Service::all_headless()) {
            let name = service.full_name();
            for address in service.addresses() {
                text += &format!("    local-data: \"{name}. 30 IN A {address}\"\n");
            }
        }
        text + &format!(
            "remote-control:
    control-enable: no
forward-zone:
    name: \".\"
    forward-addr: 127.0.0.1@{upstream}
    forward-tcp-upstream: {tcp}
"
        )
    }

    /// A packet cache for half a minute, as the Corefile has it.
    fn dnsdist(&self) -> String {
        let Self { port, upstream, .. } = self;
        let tcp = matches!(self.over, Transport::Tcp);
        format!(
            "setLocal('127.0.0.1:{port}')
setSecurityPollSuffix('')
newServer({{address='127.0.0.1:{upstream}', tcpOnly={tcp}}})
getServer(0):setUp()
getPool(''):setCache(newPacketCache(10000, {{maxTTL=30}}))
"
        )
    }
}
