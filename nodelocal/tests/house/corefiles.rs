//! What the agent is told to serve.

/// The Corefile of the `node-local-dns` manifest, with external names asked of
/// the node's resolvers.
pub(crate) fn cache_only() -> String {
    let cluster = block("cluster.local:53", "health 169.254.20.10:8080", CLUSTER_DNS);
    let reverse = block("in-addr.arpa:53 ip6.arpa:53", "", CLUSTER_DNS);
    cluster + &reverse + &outside("")
}

/// The same with the cluster's zone on the node, kept by transfers.
pub(crate) fn zone_on_the_node() -> String {
    let zone = format!(
        "cluster.local:53 {{
    errors
    reload
    {BIND}
    secondary {{
        transfer from 10.0.0.2
    }}
    prometheus :9253
    health 169.254.20.10:8080
}}
"
    );
    zone + &block("in-addr.arpa:53 ip6.arpa:53", "", CLUSTER_DNS) + &outside("")
}

/// The cluster's zone from a watch, and the search list served: Pods of this
/// node alone are watched.
pub(crate) fn search_list_served(api: &str) -> String {
    format!(
        ".:53 {{
    errors
    reload
    {BIND}
    kubernetes cluster.local {{
        endpoint {api}
        pods insecure
        node {{$NODE_NAME}}
    }}
    autopath @kubernetes
    cache 30
    forward . __PILLAR__UPSTREAM__SERVERS__
    prometheus :9253
    health 169.254.20.10:8080
}}
"
    )
}

/// As [`cache_only`], with what is said of old answers: `serve_stale 1h`.
pub(crate) fn with_stale(option: &str) -> String {
    let cluster = block("cluster.local:53", "health 169.254.20.10:8080", CLUSTER_DNS);
    cluster + &outside(option)
}

const BIND: &str = "bind __PILLAR__LOCAL__DNS__ __PILLAR__DNS__SERVER__";
const CLUSTER_DNS: &str = "__PILLAR__CLUSTER__DNS__";

fn block(zones: &str, extra: &str, upstream: &str) -> String {
    format!(
        "{zones} {{
    errors
    cache {{
        success 9984 30
        denial 9984 5
    }}
    reload
    loop
    {BIND}
    forward . {upstream} {{
        force_tcp
    }}
    prometheus :9253
    {extra}
}}
"
    )
}

fn outside(cache: &str) -> String {
    format!(
        ".:53 {{
    errors
    cache 30 {{
        {cache}
    }}
    reload
    loop
    {BIND}
    forward . __PILLAR__UPSTREAM__SERVERS__
    prometheus :9253
}}
"
    )
}
