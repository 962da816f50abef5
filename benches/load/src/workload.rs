//! What is asked.

use crate::cluster::{ENDPOINTS, SEARCH, Service};
use crate::message::{Expected, Family, Query};
use crate::program::Program;

/// External names that Pods ask for, each with one address of either family.
const EXTERNAL: usize = 200;
/// Lookups of the mix, in tenths: names of the Pod's own namespace, names
/// with another namespace, external names.
const MIX: [usize; 3] = [4, 3, 3];
/// Lookups in the mix.
const LOOKUPS: usize = 1000;

/// A workload of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Workload {
    /// A and AAAA of 1,000 Services.
    Cluster,
    /// A of 100 headless Services with ten endpoints each.
    Headless,
    /// What ndots:5 makes of external names: each below every domain of the
    /// search path, A and AAAA, all NXDOMAIN.
    Walk,
    /// A and AAAA of 200 external names, all in the cache.
    Cached,
    /// A of external names, each of them asked for once.
    Cold,
    /// What a Pod with ndots:5 sends for ten lookups: four names of its
    /// namespace, three with another namespace, three external ones.
    Mixed,
    /// A and AAAA of 1,000 Services over eight TCP connections, 24 queries at a
    /// time on each.
    Tcp,
    /// As `cold`, with TCP to the upstream, as the node cache asks.
    UpstreamTcp,
}

/// How a server is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// What a workload may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    /// Of whose cost it is a multiple.
    pub(crate) of: Program,
    pub(crate) times: f64,
}

impl Workload {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Headless => "headless",
            Self::Walk => "walk",
            Self::Cached => "cached",
            Self::Cold => "cold",
            Self::Mixed => "mixed",
            Self::Tcp => "tcp",
            Self::UpstreamTcp => "upstream-tcp",
        }
    }

    /// What is asked, in one line.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Cluster => "A and AAAA of 1,000 Services",
            Self::Headless => "A of 100 headless Services with ten endpoints each",
            Self::Walk => "external names below each domain of the search path, all NXDOMAIN",
            Self::Cached => "A and AAAA of 200 external names, from the cache",
            Self::Cold => "A of external names, each asked for once",
            Self::Mixed => "what ndots:5 makes of names near, far and external, 4 : 3 : 3",
            Self::Tcp => "A and AAAA of 1,000 Services over 8 connections, pipelined",
            Self::UpstreamTcp => "A of external names, each once, over TCP to the upstream",
        }
    }

    /// How the servers are asked.
    pub(crate) fn transport(self) -> Transport {
        match self {
            Self::Tcp => Transport::Tcp,
            _ => Transport::Udp,
        }
    }

    /// How the servers ask their upstream.
    pub(crate) fn upstream(self) -> Transport {
        match self {
            Self::UpstreamTcp => Transport::Tcp,
            _ => Transport::Udp,
        }
    }

    /// Whether it can be answered without the names of the cluster.
    pub(crate) fn is_external(self) -> bool {
        matches!(self, Self::Cached | Self::Cold | Self::UpstreamTcp)
    }

    /// What it may cost Pando.
    pub(crate) fn bar(self) -> Bar {
        let (of, times) = match self {
            Self::Cold | Self::Tcp | Self::UpstreamTcp => (Program::Coredns, 0.5),
            _ => (Program::Floor, 1.25),
        };
        Bar { of, times }
    }

    /// The queries, which are sent in this order again and again.
    pub(crate) fn queries(self) -> Vec<Query> {
        match self {
            Self::Cluster | Self::Tcp => {
                Service::all().flat_map(|service| found(&service)).collect()
            }
            Self::Headless => Service::all_headless()
                .map(|service| {
                    let expected = Expected::records(ENDPOINTS as u16);
                    Query::new(&service.full_name(), Family::A, expected)
                })
                .collect(),
            Self::Walk => externals().flat_map(|name| walk(&name)).collect(),
            Self::Cached => externals().flat_map(|name| cached(&name)).collect(),
            Self::Cold | Self::UpstreamTcp => vec![Query::fresh(
                "cold.example",
                Family::A,
                Expected::records(1),
            )],
            Self::Mixed => mixed(),
        }
    }
}

fn externals() -> impl Iterator<Item = String> {
    (0..EXTERNAL).map(|index| format!("api-{index}.example.com"))
}

fn pair(name: &str, expected: [Expected; 2]) -> impl Iterator<Item = Query> {
    let families = Family::BOTH.into_iter().zip(expected);
    families.map(move |(family, expected)| Query::new(name, family, expected))
}

/// An address, and no IPv6.
fn found(service: &Service) -> Vec<Query> {
    let expected = [Expected::records(1), Expected::records(0)];
    pair(&service.full_name(), expected).collect()
}

fn missing(name: &str) -> Vec<Query> {
    pair(name, [Expected::NXDOMAIN; 2]).collect()
}

fn cached(name: &str) -> Vec<Query> {
    pair(name, [Expected::records(1); 2]).collect()
}

fn walk(name: &str) -> Vec<Query> {
    SEARCH
        .iter()
        .flat_map(|domain| missing(&format!("{name}.{domain}")))
        .collect()
}

fn mixed() -> Vec<Query> {
    let [near, far, _] = MIX;
    let is_near = |service: &Service| service.namespace == crate::cluster::POD_NAMESPACE;
    let nears: Vec<Service> = Service::all().filter(is_near).collect();
    let fars: Vec<Service> = Service::all().filter(|service| !is_near(service)).collect();
    let externals: Vec<String> = externals().collect();
    // The same mix in every run.
    let mut random = fastrand::Rng::with_seed(11);
    let mut lookup = |index: usize| match index % MIX.iter().sum::<usize>() {
        tenth if tenth < near => random.choice(&nears).map(found),
        tenth if tenth < near + far => random.choice(&fars).map(|service| {
            // Tried below the Pod's own namespace first.
            let [own, ..] = SEARCH;
            let wrong = format!("{}.{}.{own}", service.name, service.namespace);
            [missing(&wrong), found(service)].concat()
        }),
        _ => random
            .choice(&externals)
            .map(|name| [walk(name), cached(name)].concat()),
    };
    let mut lookups: Vec<Vec<Query>> = (0..LOOKUPS).filter_map(&mut lookup).collect();
    random.shuffle(&mut lookups);
    lookups.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_what_ndots_5_makes_of_it() {
        let queries = Workload::Mixed.queries();
        // Two queries for a name of the own namespace, four with another
        // namespace, eight for an external name.
        assert_eq!(queries.len(), LOOKUPS / 10 * (4 * 2 + 3 * 4 + 3 * 8));
        let missing = queries
            .iter()
            .filter(|query| query.expected == Expected::NXDOMAIN);
        assert_eq!(missing.count(), LOOKUPS / 10 * (3 * 2 + 3 * 6));
    }
}
