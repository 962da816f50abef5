//! A real Prometheus, which scrapes and evaluates by the blink of an eye.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{BOUND, Port, Process, page, until};

/// Prometheus over servers under test.
#[derive(Debug)]
pub struct Prometheus {
    _process: Process,
    address: SocketAddr,
    _port: Port,
    _folder: TempDir,
}

/// One series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The labels, with `__name__` where it is known.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// A label, or nothing.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Prometheus {
    /// Whether `prometheus` and `promtool` are installed; says in one line
    /// that a test is skipped where they are not.
    #[must_use]
    pub fn installed() -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let there = ["prometheus", "promtool"]
            .iter()
            .all(|name| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()));
        if !there {
            println!("skipped: no prometheus here (Debian: prometheus)");
        }
        there
    }

    /// Starts it with `/metrics` of these jobs scraped and these rule files
    /// evaluated twice a second, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it does not start or refuses a rule; shows its output.
    pub async fn start(jobs: &[(&str, SocketAddr)], rules: &[PathBuf]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("pando-prometheus-")
            .tempdir()?;
        let mut text = "global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\nrule_files:\n".to_owned();
        for path in rules {
            writeln!(text, "  - {}", path.display())?;
        }
        text += "scrape_configs:\n";
        for (job, address) in jobs {
            writeln!(
                text,
                "  - job_name: {job}\n    static_configs: [{{targets: ['{address}']}}]"
            )?;
        }
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, text)?;
        let port = Port::claim();
        let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"));
        let mut process = Process::spawn(command, None)?;
        let ready = async || {
            let page = page(address, "/-/ready", &[]).await.ok()?;
            page.status.is_success().then_some(())
        };
        if let Err(error) = until("Prometheus", BOUND, ready).await {
            let ended = process.ended();
            bail!("{error} (ended: {ended})\n{}", process.shown());
        }
        Ok(Self {
            _process: process,
            address,
            _port: port,
            _folder: folder,
        })
    }

    /// What an expression yields now; a scalar is a sample without labels.
    ///
    /// # Errors
    ///
    /// When it does not parse, or cannot be evaluated.
    pub async fn query(&self, expression: &str) -> anyhow::Result<Vec<Sample>> {
        let encoded: String = (expression.bytes())
            .map(|octet| match octet {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(octet).to_string(),
                _ => format!("%{octet:02X}"),
            })
            .collect();
        let data = self
            .get(&format!("/api/v1/query?query={encoded}"))
            .await
            .with_context(|| expression.to_owned())?;
        match &data["resultType"] {
            Value::String(kind) if kind == "scalar" => Ok(vec![Sample {
                labels: BTreeMap::new(),
                value: number(&data["result"])?,
            }]),
            _ => list(&data["result"]).iter().map(sample).collect(),
        }
    }

    /// The alerts whose expression holds, with the labels that they carry;
    /// `state` is `pending` or `firing`.
    ///
    /// # Errors
    ///
    /// When Prometheus does not answer.
    pub async fn alerts(&self) -> anyhow::Result<Vec<Sample>> {
        self.query("ALERTS").await.map(|alerts| {
            (alerts.into_iter())
                .filter(|alert| alert.value == 1.0)
                .collect()
        })
    }

    /// Waits until no alert's expression holds: before the first scrape, and
    /// while rules are not evaluated since, the server counts as gone.
    ///
    /// # Errors
    ///
    /// Shows those that hold after [`BOUND`].
    pub async fn raises_nothing(&self) -> anyhow::Result<()> {
        let quiet = until("no alert", BOUND, async || {
            self.alerts().await.ok()?.is_empty().then_some(())
        });
        match quiet.await {
            Ok(()) => Ok(()),
            Err(error) => bail!("{error}: {:#?}", self.alerts().await?),
        }
    }

    /// Waits until each expression yields a number.
    ///
    /// # Errors
    ///
    /// Names those that do not within [`BOUND`], or the first that cannot be
    /// evaluated.
    pub async fn have_values(&self, expressions: &[String]) -> anyhow::Result<()> {
        let all = until("a number for each", BOUND, async || {
            let without = self.without_values(expressions).await;
            without.map_or(Some(()), |names| names.is_empty().then_some(()))
        });
        let waited = all.await;
        let without = self.without_values(expressions).await?;
        waited.with_context(|| format!("no number: {without:#?}"))
    }

    async fn without_values<'a>(&self, expressions: &'a [String]) -> anyhow::Result<Vec<&'a str>> {
        let mut without = Vec::new();
        for expression in expressions {
            let samples = self.query(expression).await?;
            if !samples.iter().any(|sample| sample.value.is_finite()) {
                without.push(expression.as_str());
            }
        }
        Ok(without)
    }

    /// The rules that could not be evaluated, with the error.
    ///
    /// # Errors
    ///
    /// When Prometheus does not answer, or has not evaluated each one yet.
    pub async fn broken_rules(&self) -> anyhow::Result<Vec<String>> {
        let data = self.get("/api/v1/rules").await?;
        let mut broken = Vec::new();
        for rule in list(&data["groups"])
            .iter()
            .flat_map(|group| list(&group["rules"]))
        {
            match rule["health"].as_str() {
                Some("ok") => (),
                Some("unknown") | None => bail!("{} is not evaluated yet", rule["name"]),
                Some(_) => broken.push(format!("{}: {}", rule["name"], rule["lastError"])),
            }
        }
        Ok(broken)
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let page = page(self.address, path, &[]).await?;
        let answer: Value = serde_json::from_str(&page.body)?;
        if answer["status"] != "success" {
            bail!("{}", answer["error"]);
        }
        Ok(answer["data"].clone())
    }
}

/// Runs `promtool` in a folder.
///
/// # Errors
///
/// When it says no, with what it says.
pub async fn promtool(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(4 * BOUND, output).await??;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("promtool {arguments:?}:\n{said}");
    }
    Ok(said)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The second of `[time, "value"]`.
fn number(pair: &Value) -> anyhow::Result<f64> {
    let text = pair[1].as_str().context("no value")?;
    Ok(text.parse()?)
}

fn sample(series: &Value) -> anyhow::Result<Sample> {
    let labels = series["metric"].as_object().context("no labels")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(Sample {
        labels: (labels.iter())
            .map(|(name, value)| (name.clone(), text(value)))
            .collect(),
        value: number(&series["value"])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_expression_is_answered_or_refused() {
        if !Prometheus::installed() {
            return;
        }
        let prometheus = Prometheus::start(&[], &[]).await.unwrap();
        let one = prometheus.query("sum(vector(1)) + 1").await.unwrap();
        assert_eq!(one[0].value, 2.0);
        assert_eq!(prometheus.query("time()").await.unwrap().len(), 1);
        assert!(prometheus.query("nothing").await.unwrap().is_empty());
        let refused = prometheus.query("sum(").await.unwrap_err();
        assert!(
            format!("{refused:#}").contains("parse error"),
            "{refused:#}"
        );
        assert!(prometheus.alerts().await.unwrap().is_empty());
    }
}
