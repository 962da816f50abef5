//! One object, or a list in pages.

use serde_json::{Value, json};

use super::{Asked, Body, Response, status, text_reply};
use crate::api_double::Shared;
use crate::api_double::store::Object;

pub(super) fn read(asked: &Asked, shared: &Shared) -> Response<Body> {
    let store = shared.store();
    let request = &asked.request;
    // A page to continue names the version of the whole list and the last key.
    let (version, after) = match request.parameter("continue").unwrap_or_default() {
        "" => (store.version(), None),
        token => match token.split_once(':') {
            Some((version, key)) => (version.parse().unwrap_or(0), Some(key.to_owned())),
            None => return status(400, "continue key is not valid"),
        },
    };
    if !store.remembers(version) {
        let text =
            "The provided continue parameter is too old to display a consistent list result.";
        return status(410, text);
    }
    let exact = request.parameter("resourceVersionMatch") == Some("Exact");
    let wanted = request.parameter("resourceVersion").unwrap_or_default();
    let wanted = wanted.parse::<u64>().unwrap_or(0);
    if exact && !store.remembers(wanted) {
        return status(
            410,
            &format!("The resourceVersion for the provided list is too old: {wanted}"),
        );
    }
    if wanted > store.version() {
        return status(504, &format!("Too large resource version: {wanted}"));
    }
    let namespace = asked.scope.namespace.as_deref();
    let in_namespace =
        |object: &Object| namespace.is_none_or(|only| object.namespace() == Some(only));
    let version = if exact { wanted } else { version };
    let objects = store.at(asked.resource.plural, version);
    drop(store);

    if let Some(key) = &asked.name {
        return match objects.get(key.as_str()) {
            Some(object) => text_reply(200, object.text()),
            None => {
                let name = key.rsplit('/').next().unwrap_or_default();
                let plural = asked.resource.plural;
                status(404, &format!("{plural} {name:?} not found"))
            }
        };
    }

    // Whether there is more is decided without the selectors: the last page of
    // a selection may be empty, as it is with the real one.
    let mut rest = objects
        .into_iter()
        .filter(|(key, object)| {
            after.as_deref().is_none_or(|after| &**key > after) && in_namespace(object)
        })
        .peekable();
    let limit = request
        .parameter("limit")
        .and_then(|limit| limit.parse().ok());
    let limit = limit.filter(|&limit: &usize| limit > 0);
    let forced = shared.settings().page;
    let limit = match (limit, forced) {
        (Some(limit), Some(forced)) => limit.min(forced),
        (limit, forced) => limit.or(forced).unwrap_or(usize::MAX),
    };
    let mut items = String::new();
    let (mut taken, mut last) = (0, String::new());
    while taken < limit {
        let Some((key, object)) = rest.next() else {
            break;
        };
        if !asked.scope.holds(&object) {
            continue;
        }
        if taken > 0 {
            items.push(',');
        }
        items.push_str(object.item());
        taken += 1;
        last = key.to_string();
    }
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    if rest.peek().is_some() {
        metadata["continue"] = json!(format!("{version}:{last}"));
        if asked.scope.labels.is_empty() && asked.scope.fields.is_empty() {
            metadata["remainingItemCount"] = Value::from(rest.count());
        }
    }
    let (kind, api_version) = (asked.resource.kind, asked.resource.api_version);
    let head = format!("\"kind\":\"{kind}List\",\"apiVersion\":\"{api_version}\"");
    text_reply(
        200,
        format!("{{{head},\"metadata\":{metadata},\"items\":[{items}]}}"),
    )
}
