use std::time::SystemTime;

use super::super::dump::{Warm, write};
use super::super::spec::CacheSpec;
use super::*;
use crate::wire::{Ede, Edns, flags};

/// A cache by itself, and the chain that it stands in.
fn cache(text: &str, script: &Arc<Script>) -> (Arc<Cache>, Chain) {
    let directive = corefile::Directive::new("Corefile", text);
    let spec = CacheSpec::parse(&directive, &testing::block()).unwrap();
    let cache = Arc::new(Cache::new(spec));
    let plugins: [Arc<dyn Plugin>; 2] = [Arc::new(Plug(cache.clone())), script.clone()];
    (cache, plugins.into())
}

/// What the caches say in a file.
fn dumped(caches: &[(&str, &Arc<Cache>)]) -> (Vec<u8>, usize) {
    let named = |(name, cache): &(&str, &Arc<Cache>)| ((*name).to_owned(), (*cache).clone());
    let caches: Vec<_> = caches.iter().map(named).collect();
    let mut bytes = Vec::new();
    let count = write(&caches, &mut bytes, clock::now(), SystemTime::now()).unwrap();
    (bytes, count)
}

/// What the cache in front of `script` takes in of what another one has dumped so long ago.
fn load(text: &str, bytes: &[u8], ago: u64, script: &Arc<Script>) -> (usize, Chain) {
    let (cache, chain) = cache(text, script);
    let warm = Warm::read(bytes).unwrap();
    let entries = warm.caches.get("first").unwrap();
    let ago = Duration::from_secs(ago);
    (cache.load(entries, clock::now(), ago), chain)
}

#[test]
fn a_cache_goes_on_where_another_one_ended() {
    run(async {
        let script = Script::new(Rcode::NOERROR, &[GOOD]);
        let (first, chain) = cache("cache", &script);
        let mut secure = query(NAME, A);
        secure.request.edns_or_insert(1232).flags = Edns::DO;
        let mut unchecked = query(NAME, A);
        unchecked.request.set_flag(flags::CD, true);
        let _ = testing::serve(&chain, secure).await;
        let _ = testing::serve(&chain, unchecked).await;
        ask(&chain, NAME, A).await;
        script.answers(Answer::new(Rcode::NXDOMAIN, &[SOA]));
        ask(&chain, "No.example.org.", A).await;
        seconds(20);

        let (bytes, count) = dumped(&[("first", &first)]);
        assert_eq!(count, 4);
        let dead = Script::new(Rcode::SERVFAIL, &[]);
        let (loaded, chain) = load("cache", &bytes, 10, &dead);
        assert_eq!(loaded, 4);
        // 100 seconds, of which it was kept for 20 and written for 10.
        let seen = shown(&ask(&chain, NAME, A).await);
        assert_eq!(seen, "NOERROR aa | www.example.org. 70 A 192.0.2.1");
        seconds(69);
        let seen = shown(&ask(&chain, "nO.example.org.", A).await);
        assert_eq!(seen, "NXDOMAIN aa | !example.org. 1 SOA");
        assert_eq!(dead.calls(), 0);
        // Nobody has set both.
        let mut both = query(NAME, A);
        both.request.edns_or_insert(1232).flags = Edns::DO;
        both.request.set_flag(flags::CD, true);
        let _ = testing::serve(&chain, both).await;
        assert_eq!(dead.calls(), 1);
        seconds(1);
        ask(&chain, NAME, A).await;
        assert_eq!(dead.calls(), 2, "it expires when it would have");
    });
}

#[test]
fn what_a_cache_would_not_keep_it_does_not_take_in() {
    run(async {
        let script = Script::new(Rcode::NOERROR, &[GOOD]);
        let (first, chain) = cache("cache", &script);
        ask(&chain, NAME, A).await;
        let (bytes, _) = dumped(&[("other", &first), ("first", &first)]);
        let ended = "NOERROR aa | www.example.org. 0 A 192.0.2.1";
        for (text, ago, seen) in [
            ("cache", 99, "NOERROR aa | www.example.org. 1 A 192.0.2.1"),
            ("cache", 100, "-"),
            (
                "cache 50",
                40,
                "NOERROR aa | www.example.org. 10 A 192.0.2.1",
            ),
            ("cache 50", 50, "-"),
            ("cache {\nserve_stale 1m\n}", 159, ended),
            ("cache {\nserve_stale 1m\n}", 160, "-"),
            ("cache example.com", 0, "-"),
            ("cache {\ndisable success example.org\n}", 0, "-"),
            (
                "cache {\nkeepttl\n}",
                50,
                "NOERROR aa | www.example.org. 100 A 192.0.2.1",
            ),
        ] {
            let silent = Script::new(Rcode::NOERROR, &[]);
            silent.answers(Answer {
                silent: true,
                ..Answer::default()
            });
            let (loaded, chain) = load(text, &bytes, ago, &silent);
            assert_eq!(loaded, usize::from(seen != "-"), "{text} {ago}");
            assert_eq!(shown(&ask(&chain, NAME, A).await), seen, "{text} {ago}");
        }
    });
}

#[test]
fn a_reply_comes_out_whole() {
    let mut exchange = query(NAME, MX);
    exchange
        .metadata
        .push((item::WILDCARD, "*.example.org.".to_owned()));
    let reply = exchange.answer();
    reply.set_rcode(Rcode::SERVFAIL);
    reply.set_ede(Ede {
        code: 22,
        text: "nobody there".into(),
    });
    let script = Script::new(Rcode::NOERROR, &[]);
    let (first, _) = cache("cache", &script);
    let asked = first.asked(&exchange.request);
    first.keep(&mut exchange, &asked, false).unwrap();
    let (bytes, _) = dumped(&[("first", &first)]);
    let (second, _) = cache("cache", &script);
    let warm = Warm::read(&bytes).unwrap();
    second.load(&warm.caches["first"], clock::now(), Duration::ZERO);
    let (again, _) = dumped(&[("first", &second)]);
    // Behind the magic and the time.
    assert_eq!(bytes[22..], again[22..]);
    let shown = String::from_utf8_lossy(&again);
    assert!(shown.contains("nobody there") && shown.contains("*.example.org."));
}

#[test]
fn what_is_no_dump_is_refused_and_half_of_one_is_used() {
    assert!(Warm::read(b"").is_err());
    assert!(Warm::read(b"pando cache 2\n12345678").is_err());
    run(async {
        let script = Script::new(Rcode::NOERROR, &[GOOD]);
        let (first, chain) = cache("cache", &script);
        ask(&chain, NAME, A).await;
        let mut unchecked = query(NAME, A);
        unchecked.request.set_flag(flags::CD, true);
        let _ = testing::serve(&chain, unchecked).await;
        let (bytes, _) = dumped(&[("first", &first)]);
        let entries = &Warm::read(&bytes).unwrap().caches["first"];
        let whole = cache("cache", &script)
            .0
            .load(entries, clock::now(), Duration::ZERO);
        assert_eq!(whole, 2);
        for end in 0..entries.len() {
            let half = &entries[..end];
            let found = cache("cache", &script)
                .0
                .load(half, clock::now(), Duration::ZERO);
            assert!(found < whole, "{end}");
        }
        for end in 0..bytes.len() {
            // Cut off anywhere, it is refused or has no cache in it.
            assert!(
                Warm::read(&bytes[..end]).is_ok_and(|warm| warm.caches.is_empty()) == (end == 22)
            );
        }
    });
}
