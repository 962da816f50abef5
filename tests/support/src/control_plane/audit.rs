//! What service accounts did at the API server, from its audit log.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::ControlPlane;

pub(super) const POLICY: &str = "audit-policy.json";
pub(super) const LOG: &str = "audit.log";

/// A request of a service account, as RBAC judges it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Deed {
    /// `list`, `watch`, …
    pub verb: String,
    /// The API group; empty for the core.
    pub group: String,
    /// `pods`, or with a subresource `deployments/scale`.
    pub resource: String,
    /// The HTTP status of the answer.
    pub status: u64,
}

/// Service accounts' requests alone are written down: what the tests do as an
/// administrator is of no interest.
pub(super) fn write_policy(folder: &Path) -> anyhow::Result<()> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            { "level": "Metadata", "userGroups": ["system:serviceaccounts"] },
            { "level": "None" },
        ],
    });
    Ok(fs::write(folder.join(POLICY), policy.to_string())?)
}

impl ControlPlane {
    /// Every request for a resource that the service account `name` of
    /// kube-system has made so far, in order. A watch counts from its begin.
    ///
    /// # Errors
    ///
    /// When the audit log cannot be read.
    pub fn deeds(&self, name: &str) -> anyhow::Result<Vec<Deed>> {
        let path = self.path(LOG);
        let log = match fs::read_to_string(&path) {
            Ok(log) => log,
            // Nobody has done anything.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let user = format!("system:serviceaccount:kube-system:{name}");
        // The last line may not be written whole yet.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let mut deeds = Vec::new();
        for line in whole.lines() {
            let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            if event["user"]["username"] == *user && event["objectRef"].is_object() {
                deeds.push(Deed::read(&event));
            }
        }
        Ok(deeds)
    }
}

impl Deed {
    fn read(event: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &event["objectRef"];
        let mut resource = text(&object["resource"]);
        if let Some(sub) = object["subresource"].as_str() {
            resource = format!("{resource}/{sub}");
        }
        Self {
            verb: text(&event["verb"]),
            group: text(&object["apiGroup"]),
            resource,
            status: event["responseStatus"]["code"].as_u64().unwrap_or(0),
        }
    }
}
