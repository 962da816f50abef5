//! The table of connections of the kernel: every query of a Pod is an entry,
//! and without a free one it is dropped.

use std::fs;
use std::time::Duration;

use super::cluster::Vantage;
use super::finding::Finding;

const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const STATISTICS: &str = "/proc/net/stat/nf_conntrack";

/// What goes wrong now, and not at some time since the node started.
const BETWEEN: Duration = Duration::from_secs(1);

/// Packets that are lost for want of an entry, or of one of their own.
const LOST: [(&str, &str); 3] = [
    (
        "insert_failed",
        "two queries from one port raced (A and AAAA at once, without a node agent)",
    ),
    ("drop", "the table was full, or an entry could not be had"),
    ("early_drop", "entries were thrown out to make room"),
];

/// Nothing is known of where this runs while the API server is away; the
/// table of a machine that may be a node is looked at then.
pub(super) async fn check(vantage: Vantage, known: bool) -> Vec<Finding> {
    if vantage.pod && !vantage.node {
        return vec![Finding::not_checked(
            "this Pod has a table of its own: run it with hostNetwork, or on a node",
        )];
    }
    if known && !vantage.node {
        return vec![Finding::not_checked("this is no node of the cluster")];
    }
    let number = |path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let (Some(count), Some(max)) = (number(COUNT), number(MAX)) else {
        return vec![Finding::not_checked(format!(
            "there is no {COUNT}: nothing is tracked here"
        ))];
    };
    let mut found = vec![fill(count, max)];
    let statistics = || fs::read_to_string(STATISTICS).ok();
    let before = statistics();
    tokio::time::sleep(BETWEEN).await;
    match (before, statistics()) {
        (Some(before), Some(after)) => found.extend(lost(&before, &after)),
        _ => found.push(Finding::not_checked(format!("there is no {STATISTICS}"))),
    }
    found
}

fn fill(count: u64, max: u64) -> Finding {
    if max == 0 {
        return Finding::ok(format!("{count} entries in use, without a limit"));
    }
    let percent = count.saturating_mul(100) / max;
    let what = format!("{count} of {max} entries in use ({percent} %)");
    let advice = "raise net.netfilter.nf_conntrack_max (kube-proxy: --conntrack-max-per-core), and see what holds them: conntrack -L";
    match percent {
        95.. => Finding::error(what).advise(advice),
        80.. => Finding::warning(what).advise(advice),
        _ => Finding::ok(what),
    }
}

/// What the counters of all CPUs say between two readings.
fn lost(before: &str, after: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, meaning) in LOST {
        let (Some(before), Some(after)) = (sum(before, name), sum(after, name)) else {
            continue;
        };
        let now = after.wrapping_sub(before);
        if now > 0 {
            let what = format!(
                "{name}: {now} more within a second, {after} since the node started: {meaning}"
            );
            found.push(Finding::warning(what).advise(
                "a node agent takes DNS out of the table; resolvers can take turns (options single-request-reopen)",
            ));
        } else if after > 0 {
            found.push(Finding::info(format!(
                "{name}: {after} since the node started, none within the last second"
            )));
        }
    }
    found
}

/// A column of hexadecimal numbers, a line for each CPU.
fn sum(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let column = lines
        .next()?
        .split_ascii_whitespace()
        .position(|word| word == name)?;
    let cells = lines.filter_map(|line| line.split_ascii_whitespace().nth(column));
    Some(
        cells
            .filter_map(|cell| u64::from_str_radix(cell, 16).ok())
            .fold(0, u64::wrapping_add),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::doctor::finding::Severity;

    #[test]
    fn a_full_table_is_an_error() {
        for (count, max, severity) in [
            (10, 1000, Severity::Ok),
            (799, 1000, Severity::Ok),
            (800, 1000, Severity::Warning),
            (950, 1000, Severity::Error),
            (1, 0, Severity::Ok),
        ] {
            assert_eq!(fill(count, max).severity, severity, "{count} of {max}");
        }
    }

    #[test]
    fn counters_are_summed_over_cpus_and_compared() {
        let header = "entries  searched found new invalid ignore delete delete_list insert insert_failed drop early_drop icmp_error\n";
        let cpu =
            |failed: u32| format!("0000001b  0 0 0 0 0 0 0 0 {failed:08x} 00000000 00000000 0\n");
        let before = format!("{header}{}{}", cpu(10), cpu(1));
        let after = format!("{header}{}{}", cpu(10), cpu(6));
        assert_eq!(sum(&before, "insert_failed"), Some(11));
        let found = lost(&before, &after);
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .what
                .starts_with("insert_failed: 5 more within a second, 16 since"),
            "{}",
            found[0].what
        );
        assert_eq!(lost(&before, &before)[0].severity, Severity::Info);
        assert_eq!(lost("", "nonsense\n"), []);
    }
}
