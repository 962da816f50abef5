//! Zones that come and go with catalogs.

use std::sync::atomic::Ordering;

use tokio::net::UdpSocket;

use super::super::members::AT_ONCE;
use super::primaries::{BEHIND, BOUND, Primary, ask, chain, notify, until};
use super::streams::name;
use super::*;
use crate::chain::Chain;
use crate::plugin::{Assembled, Hooks, Kept, Settings, testing, transfer};
use crate::wire::Request;

#[tokio::test]
async fn members_come_and_go_with_their_catalog() {
    let mut primary = Primary::start().await;
    primary.lists("cat.test.", 1, &["a one.test."]);
    primary.has_www("one.test.", 1, "192.0.2.1");
    primary.has_www("two.test.", 5, "192.0.2.2");
    let chain = chain(&format!(
        "secondary cat.test {{\ntransfer from {}\ncatalog\n}}",
        primary.address
    ));
    until(&chain, "one.test.", "192.0.2.1").await;
    assert!(ask(&chain, "two.test.").await.contains(BEHIND));
    assert!(ask(&chain, "x.one.test.").await.starts_with("NXDOMAIN aa"));
    // A member is told of changes as others are.
    primary.has_www("one.test.", 2, "192.0.2.51");
    primary.told(&chain, "one.test.").await;
    until(&chain, "one.test.", "192.0.2.51").await;

    primary.lists("cat.test.", 2, &["b two.test."]);
    assert!(notify(&chain, "cat.test.").await);
    until(&chain, "two.test.", "192.0.2.2").await;
    assert!(ask(&chain, "one.test.").await.contains(BEHIND));
    assert!(!notify(&chain, "one.test.").await);

    // With the same ID it goes on: what is older is not taken.
    primary.has_www("two.test.", 4, "192.0.2.32");
    primary.lists("cat.test.", 3, &["b two.test.", "c one.test."]);
    assert!(notify(&chain, "cat.test.").await);
    until(&chain, "one.test.", "192.0.2.51").await;
    primary.told(&chain, "two.test.").await;
    assert!(ask(&chain, "two.test.").await.contains("192.0.2.2"));
    // With another one it begins anew.
    primary.lists("cat.test.", 4, &["d two.test.", "c one.test."]);
    assert!(notify(&chain, "cat.test.").await);
    until(&chain, "two.test.", "192.0.2.32").await;
}

#[tokio::test]
async fn only_what_may_be_listed_is_served() {
    let (catalog, own) = (Primary::start().await, Primary::start().await);
    catalog.lists(
        "cat.test.",
        1,
        &[
            "a tenant.allowed.test.",
            "b tenant.denied.test.",
            "c own.allowed.test.",
            "d cat.test.",
        ],
    );
    for zone in [
        "tenant.allowed.test.",
        "tenant.denied.test.",
        "own.allowed.test.",
    ] {
        catalog.has_www(zone, 9, "192.0.2.66");
    }
    own.has_www("own.allowed.test.", 1, "192.0.2.1");
    let chain = chain(&format!(
        "secondary cat.test {{\ntransfer from {}\ncatalog Allowed.test cat.test\n}}\n\
         secondary own.allowed.test {{\ntransfer from {}\n}}",
        catalog.address, own.address
    ));
    until(&chain, "tenant.allowed.test.", "192.0.2.66").await;
    until(&chain, "own.allowed.test.", "192.0.2.1").await;
    assert!(ask(&chain, "tenant.denied.test.").await.contains(BEHIND));
    assert!(ask(&chain, "cat.test.").await.starts_with("NXDOMAIN"));
}

#[tokio::test]
async fn a_broken_catalog_changes_nothing() {
    let mut primary = Primary::start().await;
    primary.lists("cat.test.", 1, &["a one.test."]);
    primary.has_www("one.test.", 1, "192.0.2.1");
    primary.has_www("two.test.", 1, "192.0.2.2");
    let chain = chain(&format!(
        "secondary cat.test {{\ntransfer from {}\ncatalog\n}}",
        primary.address
    ));
    until(&chain, "one.test.", "192.0.2.1").await;
    primary.has(
        "cat.test.",
        2,
        &[
            "@ 0 NS invalid.",
            "version 0 TXT \"1\"",
            "www 9 A 192.0.2.7",
        ],
    );
    primary.told(&chain, "cat.test.").await;
    assert!(ask(&chain, "one.test.").await.contains("192.0.2.1"));
    assert!(ask(&chain, "cat.test.").await.starts_with("NXDOMAIN"));
    primary.lists("cat.test.", 3, &["a one.test.", "b two.test."]);
    primary.told(&chain, "cat.test.").await;
    until(&chain, "two.test.", "192.0.2.2").await;
}

/// Two catalogs that list `one.test.`, served by the first, with these IDs.
async fn two_catalogs(old_id: &str, new_id: &str) -> (Primary, Primary, Chain) {
    let (mut old, mut new) = (Primary::start().await, Primary::start().await);
    old.lists("old.test.", 1, &[&format!("{old_id} one.test.")]);
    old.has_www("one.test.", 7, "192.0.2.1");
    new.lists("new.test.", 1, &[]);
    let chain = chain(&format!(
        "secondary old.test {{\ntransfer from {}\ncatalog\n}}\n\
         secondary new.test {{\ntransfer from {}\ncatalog\n}}",
        old.address, new.address
    ));
    until(&chain, "one.test.", "192.0.2.1").await;
    new.lists(
        "new.test.",
        2,
        &[&format!("{new_id} one.test."), "x other.test."],
    );
    new.has_www("other.test.", 1, "192.0.2.3");
    new.told(&chain, "new.test.").await;
    until(&chain, "other.test.", "192.0.2.3").await;
    // Nobody has given it away.
    old.told(&chain, "one.test.").await;
    assert!(ask(&chain, "one.test.").await.contains("192.0.2.1"));
    (old, new, chain)
}

#[tokio::test]
async fn a_member_changes_hands_and_keeps_its_copy() {
    let (mut old, mut new, chain) = two_catalogs("a", "a").await;
    old.lists("old.test.", 2, &["a one.test. new.test.", "y more.test."]);
    old.has_www("more.test.", 1, "192.0.2.4");
    old.told(&chain, "old.test.").await;
    until(&chain, "more.test.", "192.0.2.4").await;
    // It is for the new catalog to take it, with its next version.
    old.told(&chain, "one.test.").await;
    new.lists("new.test.", 3, &["a one.test."]);
    new.told(&chain, "new.test.").await;
    // The new primary does not have it yet; then its serial does not matter.
    new.was_asked("one.test.").await;
    assert!(ask(&chain, "one.test.").await.contains("192.0.2.1"));
    new.has_www("one.test.", 1, "192.0.2.2");
    until(&chain, "one.test.", "192.0.2.2").await;
    // It stays when the old catalog lets it go.
    old.lists("old.test.", 3, &[]);
    old.told(&chain, "old.test.").await;
    until(&chain, "more.test.", BEHIND).await;
    assert!(ask(&chain, "one.test.").await.contains("192.0.2.2"));
}

#[tokio::test]
async fn a_member_with_another_id_begins_anew_in_new_hands() {
    let (mut old, mut new, chain) = two_catalogs("a", "b").await;
    old.lists("old.test.", 2, &["a one.test. new.test.", "y more.test."]);
    old.has_www("more.test.", 1, "192.0.2.4");
    old.told(&chain, "old.test.").await;
    until(&chain, "more.test.", "192.0.2.4").await;
    new.lists("new.test.", 3, &["b one.test."]);
    new.told(&chain, "new.test.").await;
    until(&chain, "one.test.", "SERVFAIL").await;
    new.has_www("one.test.", 1, "192.0.2.2");
    until(&chain, "one.test.", "192.0.2.2").await;
}

#[tokio::test]
async fn who_lists_a_zone_that_is_let_go_gets_it() {
    let (mut old, new, chain) = two_catalogs("a", "a").await;
    new.has_www("one.test.", 1, "192.0.2.2");
    old.lists("old.test.", 2, &[]);
    old.told(&chain, "old.test.").await;
    until(&chain, "one.test.", "192.0.2.2").await;
}

#[tokio::test]
async fn members_take_turns() {
    let primary = Primary::start().await;
    let zones: Vec<String> = (0..3 * AT_ONCE)
        .map(|at| format!("held-{at}.test."))
        .collect();
    let members: Vec<String> = zones
        .iter()
        .enumerate()
        .map(|(at, zone)| format!("m{at} {zone}"))
        .collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    primary.lists("cat.test.", 1, &members);
    for zone in &zones {
        primary.has_www(zone, 1, "192.0.2.1");
    }
    let chain = chain(&format!(
        "secondary cat.test {{\ntransfer from {}\ncatalog\n}}",
        primary.address
    ));
    let waiting = async |count: usize| {
        while primary.waiting.load(Ordering::SeqCst) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let all = tokio::time::timeout(BOUND, waiting(AT_ONCE)).await;
    all.expect("too few at a time");
    // Nobody else comes, for as long as one may look.
    let more = tokio::time::timeout(Duration::from_millis(200), waiting(AT_ONCE + 1)).await;
    assert!(more.is_err(), "too many at a time");
    primary.gate.add_permits(1);
    for zone in &zones {
        until(&chain, zone, "192.0.2.1").await;
    }
}

#[tokio::test]
async fn members_are_handed_on_and_told_of() {
    let mut primary = Primary::start().await;
    primary.lists("cat.test.", 1, &[]);
    primary.has_www("one.test.", 1, "192.0.2.1");
    let copy = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let told = copy.local_addr().unwrap();
    let directives = [
        (&transfer::DEFINITION, format!("transfer {{\nto {told}\n}}")),
        (
            &DEFINITION,
            format!(
                "secondary cat.test {{\ntransfer from {}\ncatalog\n}}",
                primary.address
            ),
        ),
    ];
    let (plugins, hooks) = assembled(&directives, &mut Kept::default());
    for hook in hooks.started {
        hook().await.unwrap();
    }
    let chain: Chain = plugins.into();
    is_told_of(&copy, "cat.test.").await;
    primary.lists("cat.test.", 2, &["a one.test."]);
    primary.told(&chain, "cat.test.").await;
    is_told_of(&copy, "one.test.").await;

    let transferer = chain.plugins().nth(1).unwrap().transferer().unwrap();
    let records = |zone: &str| {
        let records = transferer.transfer(name(zone).name(), None, [192, 0, 2, 1].into());
        records.map(Iterator::count)
    };
    assert_eq!(records("one.test."), Some(3));
    assert_eq!(records("www.one.test."), None);
    // Changes are told of, too.
    primary.has_www("one.test.", 2, "192.0.2.2");
    primary.told(&chain, "one.test.").await;
    is_told_of(&copy, "one.test.").await;
    primary.lists("cat.test.", 3, &[]);
    primary.told(&chain, "cat.test.").await;
    assert_eq!(records("one.test."), None);
}

#[tokio::test]
async fn members_outlive_a_reload() {
    let mut primary = Primary::start().await;
    primary.lists("cat.test.", 1, &["a one.test."]);
    primary.has_www("one.test.", 1, "192.0.2.1");
    let directive = format!(
        "secondary cat.test {{\ntransfer from {}\ncatalog\n}}",
        primary.address
    );
    let directives = [(&DEFINITION, directive)];
    let mut kept = Kept::default();
    let (plugins, old) = assembled(&directives, &mut kept);
    for hook in old.startup {
        hook().await.unwrap();
    }
    // The start has waited for them.
    let chain: Chain = plugins.into();
    assert!(ask(&chain, "one.test.").await.contains("192.0.2.1"));

    let mut kept = kept.next();
    let (plugins, new) = assembled(&directives, &mut kept);
    let chain: Chain = plugins.into();
    for hook in old.shutdown {
        hook().await.unwrap();
    }
    assert!(ask(&chain, "one.test.").await.contains("192.0.2.1"));
    primary.has_www("one.test.", 2, "192.0.2.2");
    primary.told(&chain, "one.test.").await;
    until(&chain, "one.test.", "192.0.2.2").await;

    // Behind the last one nobody asks.
    for hook in new.shutdown {
        hook().await.unwrap();
    }
    while primary.asked.try_recv().is_ok() {}
    notify(&chain, "one.test.").await;
    notify(&chain, "cat.test.").await;
    let asked = tokio::time::timeout(Duration::from_millis(200), primary.asked.recv()).await;
    assert!(asked.is_err(), "{asked:?}");
}

/// A block of these directives.
fn assembled(
    directives: &[(&Definition, String)],
    kept: &mut Kept,
) -> (Vec<Arc<dyn Plugin>>, Hooks) {
    let (mut plugins, mut hooks) = (Vec::new(), Hooks::default());
    let mut settings = Settings::default();
    let (block, control) = (testing::block(), tokio::runtime::Handle::current());
    for (definition, text) in directives {
        let directive = corefile::Directive::new("Corefile", text);
        let spec = (definition.parse)(&directive, &block).unwrap();
        spec.build(&mut Builder::new(
            &block,
            &mut settings,
            &control,
            kept,
            &mut plugins,
            &mut hooks,
        ))
        .unwrap();
    }
    let block = Assembled {
        block: &block,
        chain: &plugins,
        servers: &[],
        view: "",
    };
    for hook in hooks.assembled.drain(..) {
        hook(&block);
    }
    (plugins, hooks)
}

/// Answers notifications up to one for this zone.
async fn is_told_of(copy: &UdpSocket, zone: &str) {
    let told = async {
        loop {
            let mut message = vec![0; 512];
            let (len, from) = copy.recv_from(&mut message).await.unwrap();
            message.truncate(len);
            let mut request = Request::new();
            request.parse(&message).unwrap();
            assert_eq!(request.opcode(), opcode::NOTIFY);
            message[2] |= 0x80;
            copy.send_to(&message, from).await.unwrap();
            if request.name().to_string() == zone {
                return;
            }
        }
    };
    let told = tokio::time::timeout(BOUND, told).await;
    told.unwrap_or_else(|_| panic!("not told of {zone}"));
}
