//! What was found, and how it is shown.

use std::fmt::Write as _;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Info,
    /// It could not be looked at; says why.
    NotChecked,
    /// It works, but not for everybody or not for long.
    Warning,
    /// Names do not resolve, or will not after the next restart.
    Error,
}

/// One thing that was found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) what: String,
    /// The line of the Corefile, as `Corefile:7`.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<String>,
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

impl Finding {
    fn new(severity: Severity, what: impl Into<String>) -> Self {
        Self {
            severity,
            what: what.into(),
            place: None,
            advice: None,
        }
    }

    pub(super) fn ok(what: impl Into<String>) -> Self {
        Self::new(Severity::Ok, what)
    }

    pub(super) fn info(what: impl Into<String>) -> Self {
        Self::new(Severity::Info, what)
    }

    pub(super) fn warning(what: impl Into<String>) -> Self {
        Self::new(Severity::Warning, what)
    }

    pub(super) fn error(what: impl Into<String>) -> Self {
        Self::new(Severity::Error, what)
    }

    pub(super) fn not_checked(why: impl std::fmt::Display) -> Self {
        Self::new(Severity::NotChecked, why.to_string())
    }

    /// Where in the Corefile.
    #[must_use]
    pub(super) fn at(mut self, token: &corefile::Token) -> Self {
        self.place = Some(format!("{}:{}", token.file(), token.line));
        self
    }

    /// What to do about it.
    #[must_use]
    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// What one check found.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// The name of the check.
    pub(super) check: &'static str,
    pub(super) findings: Vec<Finding>,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) sections: Vec<Section>,
    /// Why it cannot be said whether all is well.
    pub(super) problem: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    healthy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
    findings: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    check: &'static str,
    #[serde(flatten)]
    finding: &'a Finding,
}

impl Report {
    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.sections.iter().flat_map(|section| &section.findings)
    }

    fn count(&self, severity: Severity) -> usize {
        let all = self.findings();
        all.filter(|finding| finding.severity == severity).count()
    }

    /// What matters could be looked at, and nothing of it is an error.
    pub(super) fn healthy(&self) -> bool {
        self.problem.is_none() && self.count(Severity::Error) == 0
    }

    /// For programs.
    pub(super) fn json(&self) -> serde_json::Result<String> {
        let findings = self.sections.iter().flat_map(|section| {
            let check = section.check;
            let entry = move |finding| Entry { check, finding };
            section.findings.iter().map(entry)
        });
        let document = Document {
            healthy: self.healthy(),
            problem: self.problem.as_deref(),
            findings: findings.collect(),
        };
        serde_json::to_string_pretty(&document).map(|text| text + "\n")
    }

    /// For people: a paragraph for each check and a last line that sums up.
    pub(super) fn text(&self, colour: bool) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        for section in &self.sections {
            let _ = writeln!(text, "{}", section.check);
            for finding in &section.findings {
                let label = label(finding.severity, colour);
                let place = finding.place.as_deref();
                let place = place.map_or_else(String::new, |place| format!("{place}: "));
                let what = shown(&format!("{place}{}", finding.what));
                let _ = writeln!(text, "  {label} {what}");
                if let Some(advice) = &finding.advice {
                    let _ = writeln!(text, "              {}", shown(advice));
                }
            }
        }
        let some = |count, one: &str| match count {
            1 => format!("1 {one}"),
            _ => format!("{count} {one}s"),
        };
        let verdict = match self.count(Severity::Error) {
            0 if self.problem.is_some() => "not known",
            0 => "healthy",
            _ => "unhealthy",
        };
        let _ = writeln!(
            text,
            "{verdict}: {}, {}, {} not checked",
            some(self.count(Severity::Error), "error"),
            some(self.count(Severity::Warning), "warning"),
            self.count(Severity::NotChecked),
        );
        text
    }
}

fn label(severity: Severity, colour: bool) -> String {
    let (word, code) = match severity {
        Severity::Ok => ("ok", "32"),
        Severity::Info => ("info", "36"),
        Severity::NotChecked => ("not checked", "2"),
        Severity::Warning => ("warning", "33"),
        Severity::Error => ("error", "31"),
    };
    match colour {
        true => format!("\x1b[{code}m{word:<11}\x1b[0m"),
        false => format!("{word:<11}"),
    }
}

/// Text in one line. What stands in a cluster's objects may hold anything, and
/// must not move the cursor of whoever reads it.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let lints = vec![
            Finding::warning("odd \u{1b}[2J\nname").advise("rename it"),
            Finding::not_checked("forbidden"),
        ];
        let sections = vec![
            Section {
                check: "service",
                findings: vec![Finding::ok("10.96.0.10")],
            },
            Section {
                check: "corefile",
                findings: lints,
            },
        ];
        Report {
            sections,
            problem: None,
        }
    }

    #[test]
    fn people_get_a_line_for_each_finding_and_no_escapes_of_others() {
        let text = report().text(false);
        assert_eq!(
            text,
            "service\n  ok          10.96.0.10\ncorefile\n  warning     odd \\u{1b}[2J\\nname\n              rename it\n  not checked forbidden\nhealthy: 0 errors, 1 warning, 1 not checked\n"
        );
        let coloured = report().text(true);
        assert!(coloured.contains("\u{1b}[33mwarning    \u{1b}[0m odd \\u{1b}"));
    }

    #[test]
    fn programs_get_documented_fields() {
        let mut report = report();
        report.sections[1].findings.push(Finding::error("no"));
        let document: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(document["healthy"], false);
        assert_eq!(
            document["findings"][1],
            serde_json::json!({
                "check": "corefile", "severity": "warning",
                "what": "odd \u{1b}[2J\nname", "do": "rename it",
            })
        );
        assert_eq!(document["findings"][2]["severity"], "not_checked");
        assert!(document.get("problem").is_none());
    }

    #[test]
    fn what_could_not_be_looked_at_is_not_called_healthy() {
        let mut report = report();
        report.problem = Some("the API server is away".to_owned());
        let text = report.text(false);
        assert!(
            text.ends_with("\nnot known: 0 errors, 1 warning, 1 not checked\n"),
            "{text}"
        );
        let document: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(document["healthy"], false);
        assert_eq!(document["problem"], "the API server is away");
        report.sections[1].findings.push(Finding::error("no"));
        assert!(report.text(false).contains("\nunhealthy: 1 error, "));
    }
}
