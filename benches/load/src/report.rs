//! Tables, and what they were made with.

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::latency::Latency;
use crate::program::{Program, first_line};
use crate::round::Cost;
use crate::workload::{Bar, Transport, Workload};

/// The rounds of one workload.
pub(crate) struct Results {
    pub(crate) workload: Workload,
    /// Who was measured, in the order of the rows; nobody's rounds are empty
    /// but of who cannot answer this.
    pub(crate) rows: Vec<(Program, Vec<Cost>)>,
    /// How long the rounds took.
    pub(crate) elapsed: Duration,
    /// The time of two cores that the hypervisor gave to others meanwhile.
    pub(crate) stolen: Duration,
}

impl Cost {
    /// The middle one of each figure, and the losses of all rounds. `None`
    /// without rounds.
    fn median(rounds: &[Self]) -> Option<Self> {
        let middle = |of: fn(&Self) -> f64| middle(rounds.iter().map(of));
        let time = |of: fn(&Self) -> f64| middle(of).map(Duration::from_secs_f64);
        Some(Self {
            micros: middle(|cost| cost.micros)?,
            user: middle(|cost| cost.user)?,
            rate: middle(|cost| cost.rate)?,
            busy: middle(|cost| cost.busy)?,
            lost: rounds.iter().map(|cost| cost.lost).sum(),
            latency: Latency {
                p50: time(|cost| cost.latency.p50.as_secs_f64())?,
                p99: time(|cost| cost.latency.p99.as_secs_f64())?,
                p999: time(|cost| cost.latency.p999.as_secs_f64())?,
            },
        })
    }
}

/// `None` where there are no values.
fn middle(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

impl Results {
    /// No rounds yet.
    pub(crate) fn new(workload: Workload, programs: &[Program]) -> Self {
        Self {
            workload,
            rows: programs.iter().map(|one| (*one, Vec::new())).collect(),
            elapsed: Duration::ZERO,
            stolen: Duration::ZERO,
        }
    }

    fn median(&self, program: Program) -> Option<Cost> {
        Cost::median(self.rounds(program)?)
    }

    fn rounds(&self, program: Program) -> Option<&[Cost]> {
        let row = self.rows.iter().find(|(other, _)| *other == program);
        row.map(|(_, rounds)| rounds.as_slice())
    }

    /// CPU of a query of one program as a multiple of another's: the middle
    /// one of the multiples of the single rounds, because what slows the
    /// machine down for seconds then slows both of them.
    pub(crate) fn times(&self, program: Program, of: Program) -> Option<f64> {
        let pairs = self.rounds(program)?.iter().zip(self.rounds(of)?);
        middle(pairs.map(|(one, other)| one.micros / other.micros))
    }

    /// How Pando stands to the bar; `None` where one of both was not measured.
    fn verdict(&self) -> Option<(Bar, f64, bool)> {
        let bar = self.workload.bar();
        let times = self.times(Program::Pando, bar.of)?;
        let lost = self.median(Program::Pando)?.lost > 0;
        // A datagram may find a buffer full; a connection loses nothing.
        let lost = lost && self.workload.transport() == Transport::Tcp;
        Some((bar, times, times <= bar.times && !lost))
    }

    /// Whether Pando misses the bar.
    pub(crate) fn is_missed(&self) -> bool {
        matches!(self.verdict(), Some((_, _, false)))
    }

    /// The table, as Markdown.
    pub(crate) fn table(&self) -> String {
        let mut table = format!("## {}\n\n{}.", self.workload.name(), self.workload.about());
        if let Some((bar, times, met)) = self.verdict() {
            table += &format!(
                " Bar: ≤ {} × {}; pando: {times:.2}, {}.",
                bar.times,
                bar.of.name(),
                if met { "met" } else { "missed" },
            );
        }
        table += "\n\n| server     | × floor | × coredns | µs/query |   user | system | queries/s |  busy | lost |    p50 |    p99 |  p99.9 |\n";
        table += "|:-----------|--------:|----------:|---------:|-------:|-------:|----------:|------:|-----:|-------:|-------:|-------:|\n";
        for (program, _) in &self.rows {
            table += &self.row(*program);
        }
        let stolen = self.stolen.as_secs_f64() / 2.0 / self.elapsed.as_secs_f64() * 100.0;
        table + &format!("\nStolen by the hypervisor meanwhile: {stolen:.1} % of two cores.\n")
    }

    fn row(&self, program: Program) -> String {
        let name = program.name();
        let Some(cost) = self.median(program) else {
            let mut row = format!("| {name:10} |");
            for width in [7, 9, 8, 6, 6, 9, 5, 4, 6, 6, 6] {
                let _ = write!(row, " {:>width$} |", "-");
            }
            return row + "\n";
        };
        let times = |of| match self.times(program, of) {
            Some(times) => format!("{times:.2}"),
            None => "-".to_owned(),
        };
        let micros = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e6);
        format!(
            "| {name:10} | {:>7} | {:>9} | {:>8.3} | {:>6.3} | {:>6.3} | {:>9.0} | {:>3.0} % | {:>4} | {:>6} | {:>6} | {:>6} |\n",
            times(Program::Floor),
            times(Program::Coredns),
            cost.micros,
            cost.micros * cost.user,
            cost.micros * (1.0 - cost.user),
            cost.rate,
            cost.busy * 100.0,
            cost.lost,
            micros(cost.latency.p50),
            micros(cost.latency.p99),
            micros(cost.latency.p999),
        )
    }
}

/// How to read the tables, and what they were made with.
pub(crate) fn preface(programs: &[Program]) -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut text = format!(
        "# What a query costs

`cargo run --release -p pando-load -- {}`

A server has one core, the generator, the upstream and the API server have the
other. CPU is that of the server, all threads, user and system, for one query
with 192 queries under way; `busy` is the part of the core that this took.
`×` is that CPU as a multiple, the median of the rounds' own multiples. p50, p99 and p99.9 are microseconds from a query
to its reply, at half of that rate, or at 200,000 a second where that is less:
beyond it the generator begins to queue. Each other figure is the median of the
rounds, which were interleaved and shared out among several starts of every
server; `lost` is of all rounds. A server that cannot answer a workload shows `-`.

",
        arguments.join(" ")
    );
    let kernel = first_line(Command::new("uname").args(["-srm"]));
    let rustc = first_line(Command::new("rustc").arg("--version"));
    let commit = first_line(Command::new("git").args(["describe", "--always", "--dirty"]));
    let machine = [
        ("machine", Some(processor())),
        ("kernel", kernel),
        ("rustc", rustc),
        ("pando's commit", commit),
    ];
    let versions = programs
        .iter()
        .map(|program| (program.name(), program.version()));
    for (name, version) in machine.into_iter().chain(versions) {
        if let Some(version) = version {
            let _ = writeln!(text, "- {name}: {version}");
        }
    }
    text
}

/// The first processor's model, and how many there are.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models = text.lines().filter(|line| line.starts_with("model name"));
    let models: Vec<&str> = models.filter_map(|line| line.split(": ").nth(1)).collect();
    let model = models.first().copied().unwrap_or("unknown");
    format!("{model}, {} cores", models.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(micros: &[f64]) -> Vec<Cost> {
        let cost = |micros: &f64| Cost {
            micros: *micros,
            ..Cost::default()
        };
        micros.iter().map(cost).collect()
    }

    fn results(pando: &[f64]) -> Results {
        Results {
            workload: Workload::Cluster,
            rows: vec![
                (Program::Floor, rounds(&[2.0, 9.0, 1.0])),
                (Program::Pando, rounds(pando)),
                (Program::Coredns, rounds(&[8.0])),
                (Program::Dnsdist, Vec::new()),
            ],
            elapsed: Duration::from_secs(1),
            stolen: Duration::ZERO,
        }
    }

    #[test]
    fn multiples_are_the_medians_of_the_rounds_multiples() {
        let results = results(&[2.0, 50.0, 1.0, 2.0, 3.0]);
        assert_eq!(results.times(Program::Pando, Program::Floor), Some(1.0));
        assert_eq!(results.times(Program::Pando, Program::Coredns), Some(0.25));
        assert_eq!(results.times(Program::Dnsdist, Program::Floor), None);
        assert!(!results.is_missed());
    }

    #[test]
    fn the_bar_is_missed_by_cost_and_by_loss() {
        assert!(results(&[2.6]).is_missed());
        let mut results = Results {
            workload: Workload::Tcp,
            ..results(&[2.0])
        };
        assert!(!results.is_missed());
        if let Some((_, rounds)) = results.rows.get_mut(1) {
            rounds.iter_mut().for_each(|round| round.lost = 1);
        }
        assert!(results.is_missed());
        assert!(results.table().contains("missed"));
    }

    #[test]
    fn every_row_has_as_many_columns_as_the_head() {
        let table = results(&[2.5]).table();
        let widths: Vec<usize> = table
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| line.chars().count())
            .collect();
        assert_eq!(widths, [widths.first().copied().unwrap_or(0); 6]);
        assert!(table.contains("1.25 × floor; pando: 1.25, met"));
    }
}
