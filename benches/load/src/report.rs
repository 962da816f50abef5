//! Tables.

use std::fmt::Write;
use std::time::Duration;

use crate::peer::Program;

/// One server in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// CPU time of a query, in microseconds, user and system.
    pub(crate) micros: f64,
    /// The part of it that was in user space, 0 to 1.
    pub(crate) user: f64,
    /// Queries a second.
    pub(crate) rate: f64,
    /// The part of its core that the server used, 0 to 1.
    pub(crate) busy: f64,
    pub(crate) lost: u64,
}

impl Cost {
    pub(crate) fn new(cpu: crate::cpu::Cpu, answered: u64, lost: u64, elapsed: Duration) -> Self {
        let (total, elapsed) = (cpu.total.as_secs_f64(), elapsed.as_secs_f64());
        Self {
            micros: total * 1e6 / answered.max(1) as f64,
            user: cpu.user,
            rate: answered as f64 / elapsed,
            busy: total / elapsed,
            lost,
        }
    }

    /// The middle one of each figure, and the losses of all rounds. `None`
    /// without rounds.
    fn median(rounds: &[Self]) -> Option<Self> {
        let middle = |of: fn(&Self) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        Some(Self {
            micros: middle(|cost| cost.micros)?,
            user: middle(|cost| cost.user)?,
            rate: middle(|cost| cost.rate)?,
            busy: middle(|cost| cost.busy)?,
            lost: rounds.iter().map(|cost| cost.lost).sum(),
        })
    }
}

/// The table of one workload, as Markdown.
pub(crate) fn table(rows: &[(Program, Vec<Cost>)]) -> String {
    let medians: Vec<(Program, Option<Cost>)> = rows
        .iter()
        .map(|(program, rounds)| (*program, Cost::median(rounds)))
        .collect();
    let of = |program| {
        let found = medians.iter().find(|(other, _)| *other == program);
        found.and_then(|(_, cost)| cost.map(|cost| cost.micros))
    };
    let (floor, coredns) = (of(Program::Floor), of(Program::Coredns));
    let mut table = format!(
        "| {:10} | {:>7} | {:>9} | {:>8} | {:>6} | {:>6} | {:>9} | {:>5} | {:>5} |\n",
        "server", "x floor", "x coredns", "µs/query", "user", "system", "queries/s", "busy", "lost"
    );
    table += "|------------|--------:|----------:|---------:|-------:|-------:|----------:|------:|------:|\n";
    for (program, cost) in medians {
        let Some(cost) = cost else { continue };
        let times = |of: Option<f64>| match of {
            Some(other) => format!("{:.2}", cost.micros / other),
            None => "-".to_owned(),
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            table,
            "| {:10} | {:>7} | {:>9} | {:>8.3} | {:>6.3} | {:>6.3} | {:>9.0} | {:>3.0} % | {:>5} |",
            program.name(),
            times(floor),
            times(coredns),
            cost.micros,
            cost.micros * cost.user,
            cost.micros * (1.0 - cost.user),
            cost.rate,
            cost.busy * 100.0,
            cost.lost,
        );
    }
    table
}
