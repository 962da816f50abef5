//! Counts by callgrind: this program runs itself under it and reads the dumps.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::baseline::Cost;

/// The word by which this program is told to be the one that is counted.
pub(crate) const COUNT: &str = "count";
/// Calls in the first section of a case; the second has twice as many, and
/// the difference is what so many calls cost and nothing else.
const CALLS: usize = 512;
/// Calls before anything counts: buffers grow, series are made, caches learn.
const WARM_UP: usize = 64;
/// Dumps of a case: up to its first call that counts, and a section each.
const DUMPS: usize = 3;
/// Runs, of which the median counts: the seeds of hash tables differ from
/// process to process, and with them who shares a bucket with whom.
const RUNS: usize = 3;
/// What the system allocator is asked by.
const ALLOCATORS: [&str; 5] = [
    "malloc",
    "calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
];

/// Calls every case, with marks between the sections; prints their names.
pub(crate) fn run_cases() -> anyhow::Result<()> {
    for mut case in pando_micro::all()? {
        println!("{}", case.name);
        for calls in [WARM_UP, CALLS, 2 * CALLS] {
            (0..calls).for_each(|_| (case.call)());
            mark(calls);
        }
    }
    Ok(())
}

/// Callgrind dumps what it has counted whenever this returns, and begins anew.
#[inline(never)]
fn mark(calls: usize) {
    black_box(calls);
}

/// What a call of each case costs.
pub(crate) fn measure() -> anyhow::Result<Vec<(String, Cost)>> {
    let mut runs = (0..RUNS)
        .map(|_| run())
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut medians = runs.pop().context("no run")?;
    for (index, (name, cost)) in medians.iter_mut().enumerate() {
        let others = runs.iter().filter_map(|run| run.get(index));
        let mut costs: Vec<Cost> = others.map(|(_, cost)| *cost).chain([*cost]).collect();
        ensure!(costs.len() == RUNS, "{name}: not in every run");
        costs.sort_by(|a, b| a.instructions.total_cmp(&b.instructions));
        *cost = costs[RUNS / 2];
    }
    Ok(medians)
}

fn run() -> anyhow::Result<Vec<(String, Cost)>> {
    let folder = tempfile::tempdir()?;
    let dumps = folder.path().join("dump");
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--compress-strings=no",
            "--dump-line=no",
        ])
        .arg("--dump-after=pando_instructions::callgrind::mark*")
        .arg(format!("--callgrind-out-file={}", dumps.display()))
        .arg(format!(
            "--log-file={}",
            folder.path().join("log").display()
        ))
        .arg(std::env::current_exe()?)
        .arg(COUNT)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run valgrind: apt-get install valgrind")?;
    ensure!(output.status.success(), "valgrind: {}", output.status);
    let names = String::from_utf8(output.stdout)?;
    let cost = |(index, name): (usize, &str)| -> anyhow::Result<(String, Cost)> {
        let section = |offset: usize| {
            // Dumps are numbered from 1.
            let number = DUMPS * index + 1 + offset;
            read(&dumps.with_extension(number.to_string()))
        };
        let (once, twice) = (section(1)?, section(2)?);
        let each = |once: u64, twice: u64| (twice as f64 - once as f64) / CALLS as f64;
        let cost = Cost {
            instructions: each(once.instructions, twice.instructions),
            allocations: each(once.allocations, twice.allocations),
        };
        Ok((name.to_owned(), cost))
    };
    names.lines().enumerate().map(cost).collect()
}

/// What a dump says of its section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Section {
    instructions: u64,
    allocations: u64,
}

fn read(path: &Path) -> anyhow::Result<Section> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    parse(&text).with_context(|| format!("{}: no totals", path.display()))
}

/// Reads callgrind's format: `totals:` at its end, and on the way for each
/// callee of each function `cfn=NAME`, `calls=COUNT …`.
fn parse(dump: &str) -> Option<Section> {
    let (mut instructions, mut allocations) = (None, 0);
    let mut callee = "";
    for line in dump.lines() {
        if let Some(name) = line.strip_prefix("cfn=") {
            // A function within itself has its depth behind its name.
            callee = name.split('\'').next().unwrap_or(name);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let count = calls.split(' ').next().and_then(|count| count.parse().ok());
            if ALLOCATORS.contains(&callee) {
                allocations += count.unwrap_or(0);
            }
        } else if let Some(total) = line.strip_prefix("totals:") {
            instructions = total.trim().parse().ok();
        }
    }
    let instructions = instructions?;
    Some(Section {
        instructions,
        allocations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_has_totals_and_calls() {
        let dump = "\
version: 1
events: Ir
fn=pando::wire::request::parse
0 1200
cob=/lib/libc.so.6
cfn=malloc
calls=3 0
0 300
cfn=malloc_hook
calls=50 0
0 5
fn=alloc::raw_vec::grow
0 70
cfn=realloc'2
calls=2 0
0 90

totals: 1665
";
        let expected = Section {
            instructions: 1665,
            allocations: 5,
        };
        assert_eq!(parse(dump), Some(expected));
        assert_eq!(parse("version: 1\n"), None);
    }
}
