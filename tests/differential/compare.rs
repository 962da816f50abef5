//! What counts as the same answer.

use std::sync::Arc;

use pando_test::{Answer, Ask, Client};
use tokio::task::JoinSet;

use crate::queries::Sent;

/// How closely answers are compared.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Closeness {
    /// Everything.
    Exact,
    /// All but TTLs and letter case: CoreDNS counts down what it caches and
    /// repeats the letters of who asked first; Pando answers cluster names
    /// afresh, and everyone in their own letters.
    Cached,
}

/// Asks both servers everything and tells what differs, an entry a query.
pub(crate) async fn differences(
    ours: Client,
    theirs: Client,
    asks: Vec<Sent>,
    closeness: Closeness,
) -> Vec<String> {
    let asks = Arc::new(asks);
    let mut tasks = JoinSet::new();
    // What a cache says depends on what was asked before: then one at a time.
    let side_by_side = if closeness == Closeness::Cached { 1 } else { 4 };
    for first in 0..side_by_side {
        let (ours, theirs, asks) = (ours.clone(), theirs.clone(), Arc::clone(&asks));
        tasks.spawn(async move {
            let mut found = Vec::new();
            for (at, sent) in asks.iter().enumerate().skip(first).step_by(side_by_side) {
                let (mine, other) = tokio::join!(ask(&ours, sent), ask(&theirs, sent));
                let (mut mine, mut other) = (show(mine, closeness), show(other, closeness));
                if mine != other && mine.truncated && other.truncated {
                    let whole = show(theirs.tcp(&sent.ask).await, closeness);
                    forgive_choice(&mut mine, &mut other, &whole);
                }
                if mine != other {
                    let how = if sent.tcp { "tcp" } else { "udp" };
                    let text = format!("{} {how}\n{}", sent.ask, diff(&mine, &other));
                    found.push((at, text));
                }
            }
            found
        });
    }
    let mut found: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    found.sort();
    found.into_iter().map(|(_, text)| text).collect()
}

async fn ask(client: &Client, sent: &Sent) -> anyhow::Result<Answer> {
    match sent.tcp {
        true => client.tcp(&sent.ask).await,
        false => client.udp(&sent.ask).await,
    }
}

/// Transfers a zone from both and tells how the two differ. The order counts
/// for the first and the last record alone: both are the SOA.
pub(crate) async fn zones(ours: &Client, theirs: &Client, zone: &str) -> Option<String> {
    let (ours, theirs) = tokio::join!(transfer(ours, zone), transfer(theirs, zone));
    // The first zone is served in every setting that transfers any.
    let empty = zone == "cluster.local." && theirs.records.is_empty();
    (empty || ours != theirs).then(|| format!("{zone} AXFR\n{}", diff(&ours, &theirs)))
}

async fn transfer(client: &Client, zone: &str) -> Shown {
    let mut shown = Shown {
        truncated: false,
        header: Vec::new(),
        records: Vec::new(),
    };
    let read = async {
        let mut stream = client.stream().await?;
        stream.send(&Ask::new(zone, "AXFR")).await?;
        let mut ends = 0;
        while ends < 2 {
            let Some(answer) = stream.receive().await? else {
                shown.header.push("closed".to_owned());
                break;
            };
            let rcode = answer.rcode();
            shown.header = vec![format!("{rcode} {}", answer.flags())];
            ends += answer
                .answer()
                .iter()
                .filter(|record| record.contains(" IN SOA "))
                .count();
            shown
                .records
                .extend(show(Ok(answer), Closeness::Exact).records);
            if rcode != "NOERROR" {
                break;
            }
        }
        anyhow::Ok(())
    };
    if let Err(error) = read.await {
        shown.header.push(format!("{error:#}"));
    }
    shown.records.sort();
    shown
}

/// An answer as lines.
#[derive(Eq, PartialEq)]
struct Shown {
    truncated: bool,
    header: Vec<String>,
    records: Vec<String>,
}

/// Without what differs on purpose: the serial of SOA (when a server last saw
/// a change), and Extended DNS Errors.
fn show(answer: anyhow::Result<Answer>, closeness: Closeness) -> Shown {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            return Shown {
                truncated: false,
                header: vec![format!("no answer: {error:#}")],
                records: Vec::new(),
            };
        }
    };
    let header = vec![
        format!("{} {}", answer.rcode(), answer.flags()),
        format!("opcode {}", answer.header() >> 11 & 0xf),
        format!("question {}", answer.question()),
        format!("edns {}", edns(&answer)),
    ];
    let mut records = Vec::new();
    for (section, lines) in [
        ("answer", answer.answer()),
        ("authority", answer.authority()),
        ("additional", answer.additional()),
    ] {
        records.extend(lines.iter().map(|record| {
            let mut words: Vec<_> = record.split(' ').collect();
            if words.get(3) == Some(&"SOA") && record.contains("hostmaster.") {
                words[6] = "SERIAL";
            }
            if words.get(3) == Some(&"SRV") && words.last() == Some(&".") {
                // From `whoami`: the client's port, another for each query.
                words[6] = "PORT";
            }
            if closeness == Closeness::Cached {
                words[1] = "ttl";
            }
            let record = words.join(" ");
            match closeness {
                Closeness::Exact => format!("{section} {record}"),
                Closeness::Cached => format!("{section} {}", record.to_ascii_lowercase()),
            }
        }));
    }
    records.sort();
    Shown {
        truncated: answer.flags().split(' ').any(|flag| flag == "tc"),
        header,
        records,
    }
}

/// Which records are left in a truncated reply depends on the order in which a
/// server learnt of them. What matters: none is made up, and about as many fit.
fn forgive_choice(ours: &mut Shown, theirs: &mut Shown, whole: &Shown) {
    let within = |shown: &Shown| {
        let mut records = shown.records.iter();
        records.all(|record| whole.records.contains(record))
    };
    let enough = ours.records.len() + 3 >= theirs.records.len();
    if within(ours) && within(theirs) && enough {
        ours.records.clear();
        theirs.records.clear();
    }
}

fn edns(answer: &Answer) -> String {
    let Some(text) = answer.edns() else {
        return "none".to_owned();
    };
    let words = text.split(' ').filter(|word| !word.starts_with("15:"));
    words.collect::<Vec<_>>().join(" ")
}

/// The lines that one has and the other has not.
fn diff(ours: &Shown, theirs: &Shown) -> String {
    let only = |mark: &str, these: &Shown, those: &Shown| {
        let mut rest: Vec<_> = those.header.iter().chain(&those.records).collect();
        let mut out = String::new();
        for line in these.header.iter().chain(&these.records) {
            match rest.iter().position(|other| *other == line) {
                Some(at) => drop(rest.swap_remove(at)),
                None => out += &format!("    {mark} {line}\n"),
            }
        }
        out
    };
    only("pando:  ", ours, theirs) + &only("coredns:", theirs, ours)
}
