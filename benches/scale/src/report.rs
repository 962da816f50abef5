//! Tables of medians, on the terminal and in `benches/results/scale.md`.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::server::Kind;

/// The name of a column and how many decimals its cells have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column(pub(crate) &'static str, pub(crate) usize);

/// What was measured, part by part.
#[derive(Default)]
pub(crate) struct Report {
    tables: Vec<Table>,
}

/// The runs of one part: cells by size and server.
pub(crate) struct Table {
    title: &'static str,
    columns: &'static [Column],
    rows: Vec<Row>,
    /// Sentences below it.
    pub(crate) notes: Vec<String>,
}

struct Row {
    size: String,
    server: String,
    runs: Vec<Vec<f64>>,
}

impl Report {
    pub(crate) fn table(&mut self, title: &'static str, columns: &'static [Column]) -> &mut Table {
        let at = self.tables.iter().position(|table| table.title == title);
        let at = at.unwrap_or_else(|| {
            self.tables.push(Table {
                title,
                columns,
                rows: Vec::new(),
                notes: Vec::new(),
            });
            self.tables.len() - 1
        });
        &mut self.tables[at]
    }

    pub(crate) fn print(&self) {
        for table in &self.tables {
            println!("{}\n\n{}", table.title, table.text());
        }
    }

    /// Puts each table in the place of the one of its title.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("scale.md");
        let mut text = std::fs::read_to_string(&path).unwrap_or_else(|_| HEAD.to_owned());
        let versions = versions();
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        for table in &self.tables {
            let body = format!(
                "{}\n`cargo run --release -p pando-scale -- {}`, {versions}\n",
                table.text(),
                arguments.join(" ")
            );
            text = replace(&text, table.title, &body);
        }
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    }
}

const HEAD: &str = "# A growing cluster\n\nWritten by `pando-scale --write`; what each part measures stands at the top of `benches/scale/src/main.rs`. MB are 10⁶ bytes. Each cell is the median of the runs.\n";

/// The text with this section in the place of the one of its title, or at
/// the end.
fn replace(text: &str, title: &str, body: &str) -> String {
    let head = format!("\n## {title}\n\n");
    let Some(start) = text.find(&head) else {
        return format!("{text}{head}{body}");
    };
    let (before, rest) = text.split_at(start);
    let after = rest.get(head.len()..).unwrap_or_default();
    let end = after.find("\n## ").unwrap_or(after.len());
    let after = after.get(end..).unwrap_or_default();
    format!("{before}{head}{body}{after}")
}

impl Table {
    pub(crate) fn add(&mut self, size: &str, server: &str, cells: Vec<f64>) {
        let same = |row: &&mut Row| row.size == size && row.server == server;
        match self.rows.iter_mut().find(same) {
            Some(row) => row.runs.push(cells),
            None => self.rows.push(Row {
                size: size.to_owned(),
                server: server.to_owned(),
                runs: vec![cells],
            }),
        }
    }

    /// The median of a cell.
    pub(crate) fn median(&self, size: &str, server: &str, column: usize) -> Option<f64> {
        let row = |row: &&Row| row.size == size && row.server == server;
        self.rows.iter().find(row)?.median(column)
    }

    fn text(&self) -> String {
        let mut lines = vec![vec!["Services".to_owned(), "server".to_owned()]];
        let names = self.columns.iter().map(|column| column.0.to_owned());
        lines.iter_mut().for_each(|line| line.extend(names.clone()));
        for row in &self.rows {
            let cells = self.columns.iter().enumerate().map(|(at, column)| {
                let median = row.median(at).filter(|value| value.is_finite());
                median.map_or_else(|| "-".to_owned(), |value| format!("{value:.*}", column.1))
            });
            let names = [row.size.clone(), row.server.clone()];
            lines.push(names.into_iter().chain(cells).collect());
        }
        let widths: Vec<usize> = (0..self.columns.len() + 2)
            .map(|at| {
                let cells = lines.iter().filter_map(|line| line.get(at));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for (number, line) in lines.iter().enumerate() {
            for (at, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let _ = match at {
                    0 | 1 => write!(text, "| {cell:width$} "),
                    _ => write!(text, "| {cell:>width$} "),
                };
            }
            text.push_str("|\n");
            if number == 0 {
                for (at, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width + 1);
                    let right = if at < 2 { "-" } else { ":" };
                    let _ = write!(text, "|{dashes}{right}");
                }
                text.push_str("|\n");
            }
        }
        let _ = match self.rows.iter().map(|row| row.runs.len()).max() {
            Some(runs @ 2..) => write!(text, "\nMedian of {runs} runs."),
            _ => write!(text, "\nOne run."),
        };
        for note in &self.notes {
            let _ = write!(text, " {note}");
        }
        text.push('\n');
        text
    }
}

impl Row {
    fn median(&self, column: usize) -> Option<f64> {
        let cells = self.runs.iter().filter_map(|run| run.get(column).copied());
        median(cells.collect())
    }
}

/// The middle value; the upper one of two.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The value that this share (0–1) of the values does not exceed.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let at = rank.saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

fn versions() -> String {
    let first_line = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().next().map(|line| line.trim().to_owned())
    };
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    let coredns = Kind::Coredns.program();
    let all = [
        Some(format!(
            "commit {}",
            first_line(Path::new("git"), &["describe", "--always", "--dirty"]).unwrap_or_default()
        )),
        coredns.and_then(|program| first_line(&program, &["-version"])),
        first_line(Path::new("rustc"), &["--version"]),
        first_line(Path::new("uname"), &["-sr"]),
        cpu,
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        let got = [0.5, 0.99, 1.0].map(|share| quantile(&values, share));
        assert_eq!(got, [100.0, 198.0, 200.0]);
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
    }

    #[test]
    fn a_section_takes_the_place_of_its_last_result() {
        let first = replace("# Head\n", "One", "1\n");
        let both = replace(&first, "Two", "2\n");
        assert_eq!(both, "# Head\n\n## One\n\n1\n\n## Two\n\n2\n");
        let again = replace(&both, "One", "3\n");
        assert_eq!(again, "# Head\n\n## One\n\n3\n\n## Two\n\n2\n");
    }
}
