use super::*;
use crate::wire::NameBuf;

/// Answers as a script does, for a zone whose state may change at any moment.
struct Live {
    zones: [NameBuf; 1],
    passed: [NameBuf; 1],
    script: Arc<Script>,
}

impl Plugin for Live {
    fn name(&self) -> &'static str {
        "live"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        self.script.serve(exchange, next)
    }

    fn live_zones(&self) -> &[NameBuf] {
        &self.zones
    }

    fn passed_zones(&self) -> &[NameBuf] {
        &self.passed
    }
}

/// How often the chain behind a cache is asked when a name is asked for twice.
async fn asked(between: Option<Arc<dyn Plugin>>, name: &str) -> usize {
    let script = Script::new(Rcode::NOERROR, &[&format!("{name} 100 A 192.0.2.1")]);
    let live = Arc::new(Live {
        zones: ["cluster.local.".parse().unwrap()],
        passed: ["pod.cluster.local.".parse().unwrap()],
        script: script.clone(),
    });
    let cache = Arc::new(Cache::new(CacheSpec::default()));
    let plug: Arc<dyn Plugin> = Arc::new(Plug(cache.clone()));
    let plugins = std::iter::once(plug).chain(between).chain([live as _]);
    let plugins: Vec<_> = plugins.collect();
    cache.assembled(&plugins);
    let chain = Chain::from(plugins);
    for _ in 0..2 {
        let shown = shown(&ask(&chain, name, A).await);
        assert!(
            shown.ends_with(&format!("| {name} 100 A 192.0.2.1")),
            "{shown}"
        );
    }
    script.calls()
}

#[tokio::test]
async fn names_of_a_live_zone_are_asked_for_each_time() {
    assert_eq!(asked(None, "web.cluster.local.").await, 2);
    assert_eq!(asked(None, "www.example.org.").await, 1);
    // Within the zone, but passed on to who knows how long it is good.
    assert_eq!(asked(None, "1-2-3-4.ns.pod.cluster.local.").await, 1);
}

#[tokio::test]
async fn what_might_be_answered_in_front_of_the_live_zone_is_kept() {
    struct Other;
    impl Plugin for Other {
        fn name(&self) -> &'static str {
            "hosts"
        }
    }
    assert_eq!(asked(Some(Arc::new(Other)), "web.cluster.local.").await, 1);
}
