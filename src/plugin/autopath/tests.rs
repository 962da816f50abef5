use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;
use crate::chain::Chain;
use crate::plugin::testing::{self, Answer, ask, query, refusal, shown};
use crate::wire::rtype;

/// Answers by name, NXDOMAIN by default, and knows who asks.
#[derive(Default)]
struct Names {
    answers: BTreeMap<String, Answer>,
    asked: Mutex<Vec<String>>,
    search: Vec<NameBuf>,
    ndots: Option<u8>,
}

impl Names {
    fn new(answers: &[(&str, Rcode, &[&str])]) -> Self {
        let answers = answers.iter().map(|(name, rcode, records)| {
            let silent = records == &["fails"];
            let records = if silent { &[][..] } else { records };
            let answer = Answer {
                silent,
                ..Answer::new(*rcode, records)
            };
            ((*name).to_owned(), answer)
        });
        Self {
            answers: answers.collect(),
            ..Self::default()
        }
    }
}

impl Plugin for Names {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, _: Next<'a>) -> Serving<'a> {
        let name = exchange.request.qname().to_string();
        let denied = Answer::new(Rcode::NXDOMAIN, &["!zone. 5 SOA"]);
        let answer = self.answers.get(&name.to_lowercase()).unwrap_or(&denied);
        self.asked.lock().unwrap().push(name);
        let served = match answer.rcode {
            // As a plugin has it that leaves the reply to the server.
            Rcode::REFUSED => Ok(Rcode::REFUSED),
            _ => testing::write(exchange, answer),
        };
        Box::pin(std::future::ready(served))
    }

    fn auto_pather(&self) -> Option<&dyn AutoPather> {
        Some(self)
    }
}

impl AutoPather for Names {
    fn search(&self, _: &Exchange) -> Option<Search<'_>> {
        let (first, rest) = self.search.split_first()?;
        Some(Search {
            first: first.clone(),
            rest,
            ndots: self.ndots,
        })
    }
}

fn names(text: &str) -> Vec<NameBuf> {
    let domains = text.split(' ').filter(|domain| !domain.is_empty());
    domains.map(|domain| domain.parse().unwrap()).collect()
}

/// The plugin of a piece of Corefile in front of `end`.
fn chain(text: &str, end: &Arc<Names>) -> Result<Chain, String> {
    let directive = corefile::Directive::new("Corefile", text);
    let block = testing::block();
    parse(&directive, &block).map_err(|error| error.first_line().to_owned())?;
    let (mut plugins, hooks) =
        testing::build(&DEFINITION, text).map_err(|error| error.to_string())?;
    plugins.push(end.clone());
    for hook in hooks.assembled {
        hook(&Assembled {
            block: &block,
            chain: &plugins,
            servers: &[],
            view: "",
        });
    }
    for hook in hooks.startup {
        futures_util::FutureExt::now_or_never(hook())
            .unwrap()
            .map_err(|error| error.to_string())?;
    }
    Ok(plugins.into())
}

const LIST: &str = "ns.svc.zone. svc.zone. zone. host.test.";

async fn walked(end: Names, qname: &str) -> (String, String) {
    let end = Arc::new(Names {
        search: names(LIST),
        ..end
    });
    let chain = chain("autopath @kubernetes", &end).unwrap();
    let answer = ask(&chain, qname, rtype::A).await;
    assert_eq!(answer.request.qname().to_string(), qname);
    let asked = end.asked.lock().unwrap().join(" ");
    (shown(&answer), asked)
}

#[tokio::test]
async fn the_first_name_that_exists_is_the_answer() {
    let ok = Rcode::NOERROR;
    for (answers, qname, seen, steps) in [
        (
            &[(
                "web.ns.svc.zone.",
                ok,
                &["web.ns.svc.zone. 5 A 10.0.0.1"][..],
            )][..],
            "Web.ns.svc.zone.",
            "NOERROR | web.ns.svc.zone. 5 A 10.0.0.1",
            1,
        ),
        (
            &[("web.x.svc.zone.", ok, &["web.x.svc.zone. 5 A 10.0.0.1"])],
            "web.x.NS.svc.zone.",
            "NOERROR | web.x.NS.svc.zone. 5 CNAME web.x.svc.zone. | web.x.svc.zone. 5 A 10.0.0.1",
            2,
        ),
        (
            &[
                ("db.host.test.", ok, &["db.host.test. 9 A 10.0.0.2"]),
                ("db.", ok, &["db. 9 A 10.0.0.3"]),
            ],
            "db.ns.svc.zone.",
            "NOERROR | db.ns.svc.zone. 9 CNAME db.host.test. | db.host.test. 9 A 10.0.0.2",
            4,
        ),
        (
            &[
                ("Example.ORG.", Rcode::SERVFAIL, &[]),
                (
                    "example.org.",
                    ok,
                    &[
                        "example.org. 60 CNAME www.test.",
                        "www.test. 30 A 192.0.2.1",
                    ],
                ),
            ],
            "Example.ORG.ns.svc.zone.",
            "NOERROR | Example.ORG.ns.svc.zone. 60 CNAME example.org. \
             | example.org. 60 CNAME www.test. | www.test. 30 A 192.0.2.1",
            5,
        ),
        // A name without the type ends the walk, and there is nothing to lead to.
        (
            &[("v4.zone.", ok, &["!zone. 5 SOA"])],
            "v4.ns.svc.zone.",
            "NOERROR | !zone. 5 SOA",
            3,
        ),
        // Of failures the next step makes good.
        (
            &[
                ("a.svc.zone.", Rcode::REFUSED, &[]),
                ("a.zone.", ok, &["a.zone. 5 A 10.0.0.4"]),
            ],
            "a.ns.svc.zone.",
            "NOERROR | a.ns.svc.zone. 5 CNAME a.zone. | a.zone. 5 A 10.0.0.4",
            3,
        ),
        (
            &[
                ("a.", ok, &["a. 5 A 10.0.0.5"]),
                ("a.ns.svc.zone.", Rcode::REFUSED, &[]),
            ],
            "a.ns.svc.zone.",
            "NOERROR | a.ns.svc.zone. 5 CNAME a. | a. 5 A 10.0.0.5",
            5,
        ),
    ] {
        let (answer, asked) = walked(Names::new(answers), qname).await;
        assert_eq!(answer, seen, "{asked}");
        assert_eq!(asked.split(' ').count(), steps, "{asked}");
    }
}

#[tokio::test]
async fn where_nothing_exists_the_client_walks_on() {
    let (answer, asked) = walked(Names::default(), "a.b.ns.svc.zone.").await;
    assert_eq!(answer, "NXDOMAIN | !zone. 5 SOA");
    assert_eq!(
        asked,
        "a.b.ns.svc.zone. a.b.svc.zone. a.b.zone. a.b.host.test. a.b."
    );
    // A failure ends the walk, and nobody hears of what came before.
    let failing = Names::new(&[("a.zone.", Rcode::SERVFAIL, &["fails"])]);
    let (answer, asked) = walked(failing, "a.ns.svc.zone.").await;
    assert_eq!(answer, "-");
    assert_eq!(asked, "a.ns.svc.zone. a.svc.zone. a.zone.");
    // Below a long domain a name may be too long; it is left out.
    let long = format!(
        "{0}.{0}.{0}.{1}.ns.svc.zone.",
        "a".repeat(60),
        "b".repeat(55)
    );
    let end = Arc::new(Names {
        search: names(&format!("ns.svc.zone. {}.test.", "c".repeat(60))),
        ..Names::default()
    });
    let chain = chain("autopath @kubernetes", &end).unwrap();
    assert_eq!(
        shown(&ask(&chain, &long, rtype::A).await),
        "NXDOMAIN | !zone. 5 SOA"
    );
    assert_eq!(end.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_begins_no_walk_passes() {
    let here = |list: &str, ndots| Names {
        search: names(list),
        ndots,
        ..Names::default()
    };
    for (text, end, qname, steps) in [
        (
            "autopath @kubernetes",
            here(LIST, Some(5)),
            "a.b.ns.svc.zone.",
            5,
        ),
        // Not below the first domain.
        (
            "autopath @kubernetes",
            here(LIST, None),
            "a.other.svc.zone.",
            1,
        ),
        ("autopath @kubernetes", here(LIST, None), "ns.svc.zone.", 1),
        ("autopath @kubernetes", here(LIST, None), "example.org.", 1),
        // The client is not known.
        ("autopath @kubernetes", here("", None), "a.ns.svc.zone.", 1),
        // Another zone.
        (
            "autopath svc.zone @kubernetes",
            here(LIST, None),
            "a.ns.svc.zone.",
            5,
        ),
        (
            "autopath example.org @kubernetes",
            here(LIST, None),
            "a.ns.svc.zone.",
            1,
        ),
        // The client has asked for `a.b` already, but not for `a`.
        (
            "autopath @kubernetes",
            here(LIST, Some(1)),
            "a.b.ns.svc.zone.",
            1,
        ),
        (
            "autopath @kubernetes",
            here(LIST, Some(1)),
            "a.ns.svc.zone.",
            5,
        ),
        (
            "autopath @kubernetes",
            here(LIST, Some(0)),
            "a.ns.svc.zone.",
            1,
        ),
        // No such plugin in the block.
        ("autopath @erratic", here(LIST, None), "a.ns.svc.zone.", 1),
    ] {
        let end = Arc::new(end);
        let chain = chain(text, &end).unwrap();
        ask(&chain, qname, rtype::AAAA).await;
        let asked = end.asked.lock().unwrap();
        assert_eq!(asked.len(), steps, "{text} {qname} {asked:?}");
    }
}

#[tokio::test]
async fn a_file_has_the_list_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    let text = "nameserver 1.2.3.4\ndomain foo.com\nsearch bar.com baz.com\noptions ndots:5\n";
    std::fs::write(&path, text).unwrap();
    let end = Names::new(&[("a.baz.com.", Rcode::NOERROR, &["a.baz.com. 5 A 192.0.2.1"])]);
    let end = Arc::new(end);
    let chain = chain(&format!("autopath {}", path.display()), &end).unwrap();
    let answer = ask(&chain, "a.bar.com.", rtype::A).await;
    assert_eq!(
        shown(&answer),
        "NOERROR | a.bar.com. 5 CNAME a.baz.com. | a.baz.com. 5 A 192.0.2.1"
    );
    // A client that may have no reply gets none.
    let mut silent = query("a.bar.com.", rtype::A);
    silent.answer();
    let (answer, _) = testing::serve(&chain, silent).await;
    assert!(answer.reply().is_some());
}

#[tokio::test]
async fn what_is_refused_and_how() {
    let missing = "failed to parse \"kubernetes\": open kubernetes: no such file or directory";
    let other: Arc<Names> = Arc::default();
    for (text, error) in [
        ("autopath", "no resolv-conf specified"),
        ("autopath kubernetes", missing),
        (
            "autopath \"\"",
            "failed to parse \"\": open : no such file or directory",
        ),
        (
            "autopath @autopath",
            "plugin/autopath: autopath does not implement the AutoPather interface",
        ),
    ] {
        assert_eq!(chain(text, &other).err().as_deref(), Some(error), "{text}");
    }
    for text in [
        "autopath @kubernetes",
        "autopath example.org @kubernetes",
        "autopath 10.0.0.0/8 @kubernetes",
        "autopath @erratic",
    ] {
        assert_eq!(refusal(&DEFINITION, text), "");
        assert!(chain(text, &other).is_ok(), "{text}");
    }
}
