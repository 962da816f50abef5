//! What `pando explain` has found: the form of `-o json`, and what the text is
//! made of. Fields are only ever added.

use serde::Serialize;

use super::answer::Answer;
use super::walk::{Candidate, Verdict};
use crate::wire::rtype;

/// The whole finding.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// The name as given.
    pub(super) name: String,
    /// Whose rules the walk keeps: `glibc` or `musl`.
    pub(super) libc: &'static str,
    /// What the client's resolver is told.
    pub(super) resolver: Resolver,
    /// The server that was asked, `ADDRESS:PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<String>,
    /// The Corefile that was evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) corefile: Option<Corefile>,
    /// The names that were asked for, in order.
    pub(super) steps: Vec<Step>,
    /// Whether an application gets what it wants; absent where it could not be
    /// found out, because upstreams were not asked or the server is silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resolves: Option<bool>,
    /// What it gets: addresses, or the RDATA of the type that was asked for.
    pub(super) answers: Vec<String>,
    /// How many queries that took.
    pub(super) queries: usize,
    /// How many of them asked for a name that was not the one.
    pub(super) queries_in_vain: usize,
    /// Whether the server and the Corefile came to different answers.
    pub(super) differs: bool,
    /// What follows for whoever wrote the name or the Pod.
    pub(super) advice: Vec<String>,
    /// What could not be known, and what was assumed in its place.
    pub(super) notes: Vec<String>,
}

/// What decides the walk.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Resolver {
    /// Where it is from: a file, or a Pod.
    pub(super) source: String,
    /// The search list.
    pub(super) search: Vec<String>,
    /// With this many dots a name is tried as it is first.
    pub(super) ndots: u8,
    /// Who is asked.
    pub(super) nameservers: Vec<String>,
}

/// A Corefile as the client meets it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Corefile {
    /// The file.
    pub(super) file: String,
    /// The listener that took the queries: `:53`.
    pub(super) listener: String,
    /// The client's address.
    pub(super) client: String,
}

/// One name of the walk.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    /// The name that was asked for.
    pub(super) name: String,
    /// The domain of the search list that made it; absent: it is as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) domain: Option<String>,
    /// One for each type.
    pub(super) queries: Vec<Query>,
    #[serde(skip)]
    pub(super) candidate: Candidate,
}

/// One query.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Query {
    /// `A`, `AAAA`, …
    #[serde(rename = "type")]
    pub(super) rtype: String,
    /// What the Corefile comes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) evaluated: Option<Evaluated>,
    /// What the server said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) asked: Option<Asked>,
    /// Whether the two differ.
    pub(super) differs: bool,
}

/// What a running server said. Which of its plugins did cannot be seen.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Asked {
    /// An answer.
    Answer(Answer),
    /// None, and why.
    Error(String),
}

/// What a Corefile comes to.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Evaluated {
    /// The answer; absent where the client gets none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<Answer>,
    /// The server block: its keys, and where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) block: Option<String>,
    /// The plugin that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) plugin: Option<&'static str>,
    /// Why it answers so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    /// Why the name does not exist, as the label `cause` of
    /// `pando_nxdomain_total` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<&'static str>,
    /// Names that exist and may have been meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) near: Vec<String>,
    /// Whether upstreams would be asked, and were not (`--offline`).
    pub(super) not_asked: bool,
    /// Every plugin that the query came to, in order.
    pub(super) visits: Vec<Visit>,
}

/// A query comes to a plugin.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Visit {
    /// The directive.
    pub(super) plugin: &'static str,
    /// The server block.
    pub(super) block: String,
    /// The name as the plugins in front of it have left it.
    pub(super) name: String,
    /// The type, likewise.
    #[serde(rename = "type")]
    pub(super) rtype: String,
    /// 0 for the client's query, more for those that the server asks itself
    /// on the way: the target of a CNAME, for one.
    pub(super) depth: u8,
    /// The response code with which the query left it; absent where it left
    /// without one and the client is to get no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rcode: Option<String>,
    /// Why, where the plugin knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    /// The failure that `errors` would log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<String>,
}

/// Whether the server was asked and said nothing at all.
pub(super) fn is_silent(steps: &[Step]) -> bool {
    let mut queries = steps.iter().flat_map(|step| &step.queries).peekable();
    let silence = |query: &Query| matches!(query.asked, Some(Asked::Error(_)));
    queries.peek().is_some() && queries.all(silence)
}

impl Asked {
    pub(super) fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answer(answer) => Some(answer),
            Self::Error(_) => None,
        }
    }
}

impl Evaluated {
    fn verdict(&self) -> Verdict {
        match &self.answer {
            _ if self.not_asked => Verdict::Unknown,
            Some(answer) => answer.verdict(),
            None => Verdict::Silence,
        }
    }
}

impl Query {
    pub(super) fn new(qtype: u16, evaluated: Option<Evaluated>, asked: Option<Asked>) -> Self {
        let differs = match (&evaluated, &asked) {
            (Some(evaluated), Some(asked)) if !evaluated.not_asked => {
                match (&evaluated.answer, asked.answer()) {
                    (Some(ours), Some(theirs)) => !ours.agrees(theirs),
                    (ours, theirs) => ours.is_some() || theirs.is_some(),
                }
            }
            _ => false,
        };
        Self {
            rtype: rtype::display(qtype).to_string(),
            evaluated,
            asked,
            differs,
        }
    }

    /// The answer that counts: the server's, where one was asked.
    pub(super) fn answer(&self) -> Option<&Answer> {
        match (&self.asked, &self.evaluated) {
            (Some(asked), _) => asked.answer(),
            (None, Some(evaluated)) => evaluated.answer.as_ref(),
            (None, None) => None,
        }
    }

    /// What it is worth to a resolver.
    pub(super) fn verdict(&self) -> Verdict {
        match (&self.asked, &self.evaluated) {
            (Some(Asked::Answer(answer)), _) => answer.verdict(),
            (Some(Asked::Error(_)), _) | (None, None) => Verdict::Silence,
            (None, Some(evaluated)) => evaluated.verdict(),
        }
    }

    /// Queries that were spent: a truncated answer costs another one.
    pub(super) fn spent(&self) -> usize {
        1 + usize::from(self.answer().is_some_and(|answer| answer.tcp))
    }
}

impl Step {
    /// What a resolver makes of the answers: any records will do, and else the
    /// first answer counts.
    pub(super) fn verdict(&self) -> Verdict {
        let mut verdicts = self.queries.iter().map(Query::verdict);
        let first = verdicts.clone().next().unwrap_or(Verdict::Silence);
        let found = verdicts.any(|verdict| verdict == Verdict::Found);
        if found { Verdict::Found } else { first }
    }

    /// What an application gets of it.
    pub(super) fn answers(&self) -> Vec<String> {
        let answers = self.queries.iter().filter_map(|query| {
            let answer = query.answer()?;
            Some(answer.data(&query.rtype).map(ToOwned::to_owned))
        });
        answers.flatten().collect()
    }

    /// Queries that were spent on it.
    pub(super) fn spent(&self) -> usize {
        self.queries.iter().map(Query::spent).sum()
    }
}
