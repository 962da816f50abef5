//! What calls cost when somebody last agreed to it, and what may change.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// What a call costs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Cost {
    /// Instructions in user space.
    pub(crate) instructions: f64,
    /// Calls of the allocator that may return new memory.
    pub(crate) allocations: f64,
}

/// The file that is checked in.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Baseline {
    /// `rustc --version`: another compiler makes other code.
    pub(crate) rustc: String,
    /// The architecture that the instructions are of.
    pub(crate) arch: String,
    /// By case.
    pub(crate) cases: BTreeMap<String, Cost>,
}

/// A difference in instructions that counts as one.
const TOLERANCE: f64 = 0.05;
/// A difference in allocations that is more than an artefact of rounding.
const ALLOCATION: f64 = 0.02;

impl Baseline {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Writes costs rounded to what two runs agree on.
    pub(crate) fn write(mut self, path: &Path) -> anyhow::Result<()> {
        for cost in self.cases.values_mut() {
            cost.instructions = cost.instructions.round();
            cost.allocations = (cost.allocations * 100.0).round() / 100.0;
        }
        let text = serde_json::to_string_pretty(&self)?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())
    }

    /// Cases of the baseline that are no more.
    pub(crate) fn gone<'a>(&'a self, measured: &[(String, Cost)]) -> Vec<&'a str> {
        let known = |name: &str| measured.iter().any(|(measured, _)| measured == name);
        let names = self.cases.keys().map(String::as_str);
        names.filter(|name| !known(name)).collect()
    }
}

/// What a cost is against that of the baseline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Within the tolerance.
    Same,
    /// The baseline can be lowered.
    Better,
    /// More instructions than agreed.
    Slower,
    /// More allocations than agreed.
    Allocates,
    /// Not in the baseline.
    New,
}

impl Verdict {
    pub(crate) fn of(cost: Cost, agreed: Option<Cost>) -> Self {
        let Some(agreed) = agreed else {
            return Self::New;
        };
        let more = cost.allocations - agreed.allocations;
        let ratio = cost.instructions / agreed.instructions;
        if more > ALLOCATION {
            Self::Allocates
        } else if ratio >= 1.0 + TOLERANCE {
            Self::Slower
        } else if ratio <= 1.0 - TOLERANCE || more < -ALLOCATION {
            Self::Better
        } else {
            Self::Same
        }
    }

    /// Whether somebody has to do something before this may be merged.
    pub(crate) fn fails(self) -> bool {
        matches!(self, Self::Slower | Self::Allocates | Self::New)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "",
            Self::Better => "better: lower the baseline",
            Self::Slower => "SLOWER",
            Self::Allocates => "ALLOCATES",
            Self::New => "NOT IN THE BASELINE",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_percent_or_one_allocation_make_a_difference() {
        let cost = |instructions, allocations| Cost {
            instructions,
            allocations,
        };
        let agreed = cost(1000.0, 1.0);
        for (now, expected) in [
            (cost(1000.0, 1.0), Verdict::Same),
            (cost(1049.0, 1.0), Verdict::Same),
            (cost(1050.0, 1.0), Verdict::Slower),
            (cost(951.0, 1.0), Verdict::Same),
            (cost(950.0, 1.0), Verdict::Better),
            (cost(1000.0, 0.0), Verdict::Better),
            (cost(1000.0, 2.0), Verdict::Allocates),
            // One call in eight.
            (cost(1000.0, 1.125), Verdict::Allocates),
            // Speed does not pay for an allocation.
            (cost(500.0, 2.0), Verdict::Allocates),
            (cost(1050.0, 0.0), Verdict::Slower),
        ] {
            assert_eq!(Verdict::of(now, Some(agreed)), expected, "{now:?}");
        }
        assert_eq!(Verdict::of(agreed, None), Verdict::New);
        assert!(Verdict::New.fails() && !Verdict::Better.fails());
    }
}
