//! One object, or a list in pages.

use serde_json::{Value, json};

use super::{Asked, Body, Response, json_reply, status};
use crate::api_double::Shared;

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
    let in_namespace = |object: &Value| {
        namespace.is_none_or(|only| object["metadata"]["namespace"].as_str() == Some(only))
    };
    let version = if exact { wanted } else { version };
    let objects = store.at(asked.resource.plural, version);
    drop(store);

    if let Some(key) = &asked.name {
        return match objects.get(key) {
            Some(object) => json_reply(200, object),
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
            after.as_ref().is_none_or(|after| key > after) && in_namespace(object)
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
    let mut items = Vec::new();
    let mut last = String::new();
    while items.len() < limit {
        let Some((key, mut object)) = rest.next() else {
            break;
        };
        if !asked.scope.holds(&object) {
            continue;
        }
        // Items of a list do not say what they are: the list does.
        if let Some(fields) = object.as_object_mut() {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        items.push(object);
        last = key;
    }
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    if rest.peek().is_some() {
        metadata["continue"] = json!(format!("{version}:{last}"));
        if asked.scope.labels.is_empty() && asked.scope.fields.is_empty() {
            metadata["remainingItemCount"] = Value::from(rest.count());
        }
    }
    let list = json!({
        "kind": format!("{}List", asked.resource.kind),
        "apiVersion": asked.resource.api_version,
        "metadata": metadata,
        "items": items,
    });
    json_reply(200, &list)
}
