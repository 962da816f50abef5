//! Watches: a line of JSON an event, for as long as the client likes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use serde_json::{Value, json};

use super::{Asked, Body, Cut, Response, cut, respond, status, status_object};
use crate::api_double::store::{Object, Resource, Scope};
use crate::api_double::{Break, Shared};

/// How long a watch lives whose client names no `timeoutSeconds`.
const LIFE: Duration = Duration::from_secs(1800);
/// Lines that can be sent at once are sent in pieces of about this many bytes.
const PIECE: usize = 32 << 10;

struct Watch {
    shared: Arc<Shared>,
    resource: &'static Resource,
    scope: Scope,
    sender: Sender<Bytes, Cut>,
    bookmarks: bool,
    /// Everything up to this version has been sent.
    version: u64,
}

pub(super) fn watch(asked: Asked, shared: &Arc<Shared>) -> Response<Body> {
    let flag = |name| matches!(asked.request.parameter(name), Some("1" | "true"));
    let wanted = asked
        .request
        .parameter("resourceVersion")
        .unwrap_or_default();
    let initial = flag("sendInitialEvents");
    let version_match = asked.request.parameter("resourceVersionMatch");
    if initial && shared.settings().no_streaming_lists {
        let text =
            "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        return status(422, text);
    }
    if initial && version_match != Some("NotOlderThan") {
        return status(
            422,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        );
    }
    if !initial && version_match.is_some() {
        return status(422, "resourceVersionMatch is forbidden for watch");
    }
    let seconds = asked.request.parameter("timeoutSeconds");
    let life = seconds.and_then(|seconds| seconds.parse().ok());
    let life = life
        .filter(|&seconds| seconds > 0)
        .map_or(LIFE, Duration::from_secs);
    let from = wanted.parse().ok().filter(|&version: &u64| version > 0);
    let (sender, channel) = Channel::new(64);
    let watch = Watch {
        bookmarks: flag("allowWatchBookmarks"),
        shared: Arc::clone(shared),
        resource: asked.resource,
        scope: asked.scope,
        sender,
        version: from.unwrap_or(0),
    };
    tokio::spawn(watch.run(initial, from, life));
    respond(200, channel)
}

/// A watch whose only event says that it starts too far back.
pub(super) fn gone_at_once() -> Response<Body> {
    let (mut sender, channel) = Channel::new(1);
    tokio::spawn(async move { sender.send_data(line("ERROR", too_old(0)).into()).await });
    respond(200, channel)
}

fn too_old(version: u64) -> Value {
    status_object(410, &format!("too old resource version: {version}"))
}

fn line(kind: &str, object: impl std::fmt::Display) -> String {
    // The real server writes the type first.
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

impl Watch {
    /// Sends what is there, then what changes. Ends with the client or when
    /// its life is over.
    async fn run(mut self, initial: bool, from: Option<u64>, life: Duration) {
        // Subscribed before the store is read, so nothing slips between.
        let mut changed = self.shared.version.subscribe();
        let mut breaks = self.shared.breaks.subscribe();
        let mut marks = self.shared.bookmarks.subscribe();
        changed.mark_unchanged();
        let life = tokio::time::sleep(life);
        tokio::pin!(life);

        if let Some(from) = from.filter(|_| !initial) {
            if !self.shared.store().remembers(from) {
                let line = line("ERROR", too_old(from));
                let _ = self.sender.send_data(line.into()).await;
                return;
            }
        } else if !self.send_existing(initial).await {
            return;
        }
        loop {
            if !self.send_changes().await {
                return;
            }
            tokio::select! {
                () = &mut life => return,
                _ = changed.changed() => {}
                _ = marks.changed() => {
                    if self.bookmarks && !self.send_bookmark(None).await {
                        return;
                    }
                }
                _ = breaks.changed() => {
                    let how = breaks.borrow_and_update().1;
                    return self.end(how.unwrap_or(Break::End)).await;
                }
            }
        }
    }

    async fn send_existing(&mut self, initial: bool) -> bool {
        let objects = {
            let store = self.shared.store();
            self.version = store.version();
            store.at(self.resource.plural, self.version)
        };
        let held = (objects.into_values()).filter(|object| self.scope.holds(object));
        let lines: Vec<_> = held.map(|object| ("ADDED", object)).collect();
        if !self.send_lines(lines).await {
            return false;
        }
        let end = json!({ "k8s.io/initial-events-end": "true" });
        !initial || !self.bookmarks || self.send_bookmark(Some(end)).await
    }

    async fn send_changes(&mut self) -> bool {
        let events = {
            let store = self.shared.store();
            let events = store.since(self.version, &self.scope);
            self.version = store.version();
            events
        };
        let lines = events.into_iter().map(|event| (event.kind, event.object));
        self.send_lines(lines.collect()).await
    }

    /// Sends what is there at once in few pieces, as the real server does.
    async fn send_lines(&mut self, lines: Vec<(&str, Arc<Object>)>) -> bool {
        let mut lines = lines.into_iter().peekable();
        let mut piece = String::new();
        while let Some((kind, object)) = lines.next() {
            piece.push_str(&line(kind, object.text()));
            if piece.len() < PIECE && lines.peek().is_some() {
                continue;
            }
            let piece = Bytes::from(std::mem::take(&mut piece));
            if self.sender.send_data(piece).await.is_err() {
                return false;
            }
        }
        true
    }

    async fn send_bookmark(&mut self, annotations: Option<Value>) -> bool {
        let mut metadata = json!({
            "resourceVersion": self.version.to_string(),
            "creationTimestamp": null,
        });
        if let Some(annotations) = annotations {
            metadata["annotations"] = annotations;
        }
        let object = json!({
            "kind": self.resource.kind,
            "apiVersion": self.resource.api_version,
            "metadata": metadata,
        });
        let line = line("BOOKMARK", object);
        self.sender.send_data(line.into()).await.is_ok()
    }

    /// Ends the stream; what has happened by now is still told.
    async fn end(mut self, how: Break) {
        if how != Break::Freeze && !self.send_changes().await {
            return;
        }
        match how {
            Break::End => {}
            Break::Gone => {
                let line = line("ERROR", too_old(self.version));
                let _ = self.sender.send_data(line.into()).await;
            }
            Break::Cut => {
                let half = Bytes::from_static(b"{\"type\":\"ADDED\",\"object\":{\"kind\":\"Ser");
                let _ = self.sender.send_data(half).await;
                // What was sent must be on its way before the connection goes.
                tokio::time::sleep(Duration::from_millis(20)).await;
                self.sender.abort(cut());
            }
            Break::Freeze => {
                tokio::time::sleep(LIFE).await;
            }
        }
    }
}
