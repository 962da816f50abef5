//! How many queries leave the node for names that nobody asked before.

use pando_test::Arrival;

use crate::corefiles;
use crate::resolvers::{self, Resolver};
use crate::rooms::{Behind, House, count, is_node_cache, only_for_the_agent};

/// What a resolver sends for one external name under `ndots:5`: A and AAAA for
/// three names of the search list and for the name itself.
const OF_ONE_NAME: usize = 8;

/// What left the node for `names` external names.
struct Left {
    names: usize,
    cluster: Vec<Arrival>,
    world: Vec<Arrival>,
}

/// Looks up external names that are new, from a Pod, by a real resolver.
async fn walk(house: &House, resolver: &Resolver) -> Left {
    let names = count("HOUSE_NAMES", 1000);
    let host = |at: u32| format!("api-{}-{at}.{}.example.com", resolver.name, at % 97);
    let names: Vec<_> = (0..names).map(host).collect();
    let pod = &house.site.pods[0].netns;
    let (found, cluster, world) = house.leaving(|| resolver.look_up(pod, &names)).await;
    let found = found.expect(resolver.name);
    let whole = found
        .values()
        .filter(|addresses| addresses.len() == 2)
        .count();
    assert_eq!(whole, names.len(), "{}: A and AAAA of each", resolver.name);
    let left = Left {
        names: names.len(),
        cluster,
        world,
    };
    println!(
        "{}: {} names: {} queries to the cluster's DNS, {} to the world",
        resolver.name,
        left.names,
        left.cluster.len(),
        left.world.len()
    );
    left
}

impl Left {
    fn total(&self) -> usize {
        self.cluster.len() + self.world.len()
    }

    /// At most A and AAAA of the name itself, and nobody hears of the search
    /// list.
    fn only_the_names_themselves(&self) {
        let searched = self.cluster.iter().chain(&self.world);
        let searched = searched.filter(|query| !query.name.ends_with(".example.com."));
        assert_eq!(searched.collect::<Vec<_>>(), Vec::<&Arrival>::new());
        assert!(self.total() <= 2 * self.names, "{} queries", self.total());
    }
}

/// Two that ask for A and AAAA at once, and one that has no cache between
/// steps of its own either.
fn walkers() -> impl Iterator<Item = &'static Resolver> {
    ["glibc", "musl", "Go"]
        .into_iter()
        .filter_map(resolvers::named)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_on_the_node_ends_the_walk_there() {
    if only_for_the_agent() {
        return;
    }
    let Some(house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    let _agent = house.serving(&corefiles::zone_on_the_node(), &[]).await;
    for resolver in walkers() {
        walk(&house, resolver).await.only_the_names_themselves();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_list_that_is_served_needs_one_answer_a_type() {
    if only_for_the_agent() {
        return;
    }
    let Some(house) = House::build(Behind::Pando, &["shop"]).await else {
        return;
    };
    let api = house.site.api_url();
    let _agent = house
        .serving(&corefiles::search_list_served(&api), &[])
        .await;
    for resolver in walkers() {
        walk(&house, resolver).await.only_the_names_themselves();
    }
    // And no more is watched for it than the Pods of this node.
    let requests = house.site.api().requests().into_iter();
    let mut of_pods = requests.filter(|request| request.path.ends_with("/pods"));
    let own = of_pods.all(|request| {
        let selector = request.parameter("fieldSelector").unwrap_or_default();
        selector
            .split(',')
            .any(|part| part == "spec.nodeName=node-a")
    });
    assert!(own, "{:?}", house.site.api().requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_asks_a_third_of_what_it_is_asked() {
    let Some(house) = House::build(Behind::CoreDns, &["shop"]).await else {
        return;
    };
    let _agent = house.serving(&corefiles::cache_only(), &[]).await;
    for resolver in walkers() {
        let left = walk(&house, resolver).await;
        if is_node_cache() {
            assert_eq!(left.total(), OF_ONE_NAME * left.names, "it passes all on");
            continue;
        }
        assert!(
            left.total() * 3 <= OF_ONE_NAME * left.names,
            "{} queries",
            left.total()
        );
    }
}
