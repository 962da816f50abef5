//! Grafana's dashboards as files.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

/// A dashboard with what its panels ask for.
#[derive(Clone, Debug)]
pub struct Dashboard {
    /// The whole file.
    pub json: Value,
    /// The panels, without the rows between them.
    pub panels: Vec<Panel>,
}

/// One panel.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What stands above it.
    pub title: String,
    /// Left, top, width and height; a row of the screen has 24 columns.
    pub place: [u64; 4],
    /// The expressions as Grafana sends them, with everything selected.
    pub expressions: Vec<String>,
}

impl Dashboard {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When this is no dashboard.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let json: Value = serde_json::from_str(&text)?;
        let panels = json["panels"].as_array().context("no panels")?;
        let panels = panels.iter().filter(|panel| panel["type"] != "row");
        let panels = panels.map(Panel::of).collect::<anyhow::Result<_>>()?;
        Ok(Self { json, panels })
    }

    /// What all panels ask for.
    #[must_use]
    pub fn expressions(&self) -> Vec<String> {
        let of = |panel: &Panel| panel.expressions.clone();
        self.panels.iter().flat_map(of).collect()
    }
}

impl Panel {
    fn of(json: &Value) -> anyhow::Result<Self> {
        let title = json["title"].as_str().context("no title")?;
        let side = |name: &str| {
            let side = json["gridPos"][name].as_u64();
            side.with_context(|| format!("{title}: no {name}"))
        };
        let targets = json["targets"].as_array().context("no targets")?;
        let expressions = targets.iter().map(|target| {
            let expression = target["expr"].as_str().context("no expression")?;
            Ok(selected(expression))
        });
        Ok(Self {
            title: title.to_owned(),
            place: [side("x")?, side("y")?, side("w")?, side("h")?],
            expressions: expressions.collect::<anyhow::Result<_>>()?,
        })
    }
}

/// With the variables filled in: everything of a minute.
fn selected(expression: &str) -> String {
    expression
        .replace("$__rate_interval", "1m")
        .replace("$cluster", ".*")
        .replace("$instance", ".*")
        .replace("$job", ".+")
}
