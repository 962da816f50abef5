//! Follows one collection of the API: makes the requests that the state
//! machine asks for and hands what they bring to the writer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::Response;
use kube::client::Body;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Api, ApiError, chain};
use super::frames::{self, Event, FrameError, Items, Lines, ListMeta, Status};
use super::model::Kind;
use super::store::Shared;
use super::watch::{Effect, Input, Machine, Request};

/// How long a server that lives may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until it begins to answer.
    pub(super) answer: Duration,
    /// Between two pieces of a list.
    pub(super) list: Duration,
    /// Between two pieces of a watch. The API server sends a bookmark about
    /// once a minute.
    pub(super) watch: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(15),
            list: Duration::from_secs(30),
            watch: Duration::from_secs(100),
        }
    }
}

/// While a burst lasts, what has come so far is published this often.
const FOLD: Duration = Duration::from_millis(1);
/// As client-go asks for.
const PAGE: usize = 500;

/// One collection and how it is selected.
pub(super) struct Reflector {
    pub(super) kind: Kind,
    /// `labelSelector` of every request.
    pub(super) labels: Option<String>,
    /// `fieldSelector` of every request.
    pub(super) fields: Option<String>,
    pub(super) api: Arc<Api>,
    pub(super) shared: Arc<Shared>,
    pub(super) patience: Patience,
    machine: Machine,
}

impl Reflector {
    pub(super) fn new(
        kind: Kind,
        (labels, fields): (Option<String>, Option<String>),
        api: Arc<Api>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            kind,
            labels,
            fields,
            api,
            shared,
            patience: Patience::default(),
            machine: Machine::new(),
        }
    }

    /// Follows the collection until the task is dropped.
    pub(super) async fn run(mut self) {
        loop {
            match self.round().await {
                Effect::Follow | Effect::Listed => {}
                Effect::Next(wait) => sleep(wait).await,
                Effect::Refresh(wait) => {
                    self.api.refresh().await;
                    sleep(wait).await;
                }
            }
        }
    }

    /// One request, to its end.
    async fn round(&mut self) -> Effect {
        let request = self.machine.request();
        if matches!(request, Request::Stream | Request::Page { token: None, .. }) {
            self.shared.write(|writer| writer.begin(self.kind));
        }
        let response = match timeout(self.patience.answer, self.api.get(&self.path(&request))).await
        {
            Err(_) => return self.broken("no response"),
            Ok(Err(ApiError::Access(error))) => {
                self.broken(&error.to_string());
                return Effect::Refresh(Duration::from_secs(1));
            }
            Ok(Err(error)) => return self.broken(&error.to_string()),
            Ok(Ok(response)) => response,
        };
        if !response.status().is_success() {
            let status = read_status(response, self.patience.answer).await;
            return self.failed(&request, status);
        }
        match request {
            Request::Probe => self.probe(response).await,
            Request::Page { .. } => self.page(response).await,
            Request::Stream | Request::Watch { .. } => self.stream(&request, response).await,
        }
    }

    async fn probe(&mut self, response: Response<Body>) -> Effect {
        let mut uid = String::new();
        let read = read_list(response, self.patience.list, |item| {
            let item: serde_json::Value = serde_json::from_slice(item).unwrap_or_default();
            uid = item["metadata"]["uid"].as_str().unwrap_or("").to_owned();
        });
        match read.await {
            Ok(meta) => {
                let version = meta.metadata.resource_version;
                self.machine.step(Input::Probed {
                    cluster: uid,
                    version,
                })
            }
            Err(error) => self.broken(&error),
        }
    }

    async fn page(&mut self, response: Response<Body>) -> Effect {
        let (shared, kind) = (Arc::clone(&self.shared), self.kind);
        let read = read_list(response, self.patience.list, |item| {
            shared.write(|writer| drop(writer.upsert(kind, item)));
        });
        match read.await {
            Ok(ListMeta { metadata }) => {
                let token = metadata.token.filter(|token| !token.is_empty());
                let effect = self.machine.step(Input::Page {
                    version: metadata.resource_version,
                    token,
                });
                if effect == Effect::Listed {
                    self.listed();
                }
                effect
            }
            Err(error) => self.broken(&error),
        }
    }

    /// Reads a stream to its end and publishes what it brought.
    pub(super) async fn stream(&mut self, request: &Request, response: Response<Body>) -> Effect {
        let mut unpublished = None;
        let effect = self.follow(request, response, &mut unpublished).await;
        // The last events may arrive together with the end.
        if unpublished.is_some() {
            self.shared.publish();
        }
        effect
    }

    /// Reads a stream to its end. `unpublished` says since when events have
    /// been applied that no snapshot has.
    async fn follow(
        &mut self,
        request: &Request,
        response: Response<Body>,
        unpublished: &mut Option<Instant>,
    ) -> Effect {
        let mut body = response.into_body();
        let mut lines = Lines::default();
        let opened = Instant::now();
        if !self.machine.listing() {
            self.shared.write(|writer| writer.healthy(self.kind));
        }
        loop {
            // Publish when there is nothing more to read at once, or when a
            // burst has lasted for long enough.
            let mut ready = body.frame().now_or_never();
            let full = unpublished.is_some_and(|since| since.elapsed() > FOLD);
            if (ready.is_none() || full) && unpublished.take().is_some() {
                self.shared.publish();
            }
            if ready.is_none() {
                let silence = if self.machine.listing() {
                    self.patience.list
                } else {
                    self.patience.watch
                };
                match timeout(silence, body.frame()).await {
                    Ok(frame) => ready = Some(frame),
                    Err(_) => {
                        self.complain("the connection went silent");
                        return self.machine.step(Input::Silent);
                    }
                }
            }
            let data = match ready.flatten() {
                None => {
                    return self.machine.step(Input::Ended {
                        lasted: opened.elapsed(),
                    });
                }
                Some(Err(error)) => return self.broken(&chain(&error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_) => continue,
                },
            };
            let mut chunk = &data[..];
            let taken = self.take(&mut lines, &mut chunk);
            // What a list has brought so far would be half of a state.
            if !self.machine.listing() {
                unpublished.get_or_insert_with(Instant::now);
            }
            match taken {
                Ok(Taken::All) => {}
                Ok(Taken::Status(status)) => return self.failed(request, status),
                Err(error) => return self.broken(&error.to_string()),
            }
        }
    }

    /// Applies every event that `chunk` completes.
    fn take(&mut self, lines: &mut Lines, chunk: &mut &[u8]) -> Result<Taken, FrameError> {
        let shared = Arc::clone(&self.shared);
        shared.write(|writer| {
            while let Some(line) = lines.next(chunk)? {
                let version = match frames::event(line)? {
                    Event::Upsert(object) => writer.upsert(self.kind, &object),
                    Event::Delete(object) => writer.delete(self.kind, &object),
                    Event::Bookmark {
                        version,
                        initial_end: true,
                    } if self.machine.listing() => {
                        self.machine.step(Input::InitialEnd { version });
                        writer.finish(self.kind);
                        writer.healthy(self.kind);
                        continue;
                    }
                    Event::Bookmark { version, .. } => version,
                    Event::Error(status) => return Ok(Taken::Status(status)),
                    Event::Other => continue,
                };
                self.machine.step(Input::Progress { version });
            }
            writer.at_version(self.kind, self.machine.version());
            Ok(Taken::All)
        })
    }

    fn listed(&self) {
        self.shared.write(|writer| {
            writer.finish(self.kind);
            writer.healthy(self.kind);
            writer.at_version(self.kind, self.machine.version());
        });
        self.shared.publish();
    }

    fn broken(&mut self, why: &str) -> Effect {
        self.complain(why);
        self.machine.step(Input::Broken)
    }

    fn failed(&mut self, request: &Request, status: Status) -> Effect {
        let (resource, group) = (self.kind.resource(), self.kind.group());
        match (status.code, request) {
            // Part of the way, not an error.
            (410, _) | (400 | 422, Request::Stream) | (403 | 404, Request::Probe) => {}
            (403, _) => {
                let verb = match request {
                    Request::Page { .. } | Request::Probe => "list",
                    Request::Stream | Request::Watch { .. } => "watch",
                };
                self.complain(&format!(
                    "needs the RBAC verb {verb:?} on resource {resource:?} in API group {group:?}: {}",
                    status.message
                ));
            }
            (404, _) => self.complain(&format!(
                "the API server does not know resource {resource:?} in API group {group:?}"
            )),
            (code, _) => self.complain(&format!("{code} {}: {}", status.reason, status.message)),
        }
        self.machine.step(Input::Failed(status))
    }

    fn complain(&self, why: &str) {
        self.shared.write(|writer| writer.unhealthy(self.kind, why));
    }

    fn path(&self, request: &Request) -> String {
        if *request == Request::Probe {
            return "/api/v1/namespaces?limit=1&fieldSelector=metadata.name%3Dkube-system"
                .to_owned();
        }
        let mut path = format!("{}?", self.kind.path());
        let mut add = |key: &str, value: &str| {
            if !path.ends_with('?') {
                path.push('&');
            }
            path.push_str(key);
            path.push('=');
            encode(value, &mut path);
        };
        if let Some(labels) = &self.labels {
            add("labelSelector", labels);
        }
        if let Some(fields) = &self.fields {
            add("fieldSelector", fields);
        }
        match request {
            Request::Probe => {}
            Request::Page { token, limited } => {
                if *limited {
                    add("limit", &PAGE.to_string());
                }
                if let Some(token) = token {
                    add("continue", token);
                }
            }
            Request::Stream | Request::Watch { .. } => {
                add("watch", "1");
                add("allowWatchBookmarks", "true");
                // So that a fleet does not come back all at once.
                add("timeoutSeconds", &fastrand::u32(300..600).to_string());
            }
        }
        match request {
            Request::Stream => {
                add("sendInitialEvents", "true");
                add("resourceVersionMatch", "NotOlderThan");
            }
            Request::Watch { version } => add("resourceVersion", version),
            _ => {}
        }
        path
    }
}

enum Taken {
    All,
    Status(Status),
}

async fn read_list(
    response: Response<Body>,
    patience: Duration,
    mut found: impl FnMut(&[u8]),
) -> Result<ListMeta, String> {
    let mut body = response.into_body();
    let mut items = Items::default();
    loop {
        match timeout(patience, body.frame()).await {
            Err(_) => return Err("the connection went silent".to_owned()),
            Ok(None) => return items.finish().map_err(|error| error.to_string()),
            Ok(Some(Err(error))) => return Err(chain(&error)),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    items
                        .push(&data, &mut found)
                        .map_err(|error| error.to_string())?;
                }
            }
        }
    }
}

/// The Status that a refusal carries, or one made of what there is.
async fn read_status(response: Response<Body>, patience: Duration) -> Status {
    let code = response.status().as_u16();
    let asked = response.headers().get(hyper::header::RETRY_AFTER);
    let asked = asked.and_then(|value| value.to_str().ok()?.parse().ok());
    let body = http_body_util::Limited::new(response.into_body(), 64 << 10);
    let text = match timeout(patience, body.collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        _ => Default::default(),
    };
    let mut status: Status = serde_json::from_slice(&text).unwrap_or_else(|_| Status {
        message: String::from_utf8_lossy(&text)
            .trim()
            .chars()
            .take(200)
            .collect(),
        ..Status::default()
    });
    status.code = code;
    if let Some(seconds) = asked {
        status
            .details
            .get_or_insert_default()
            .retry_after_seconds
            .get_or_insert(seconds);
    }
    status
}

/// Percent-encodes what may not stand in a query as it is.
fn encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}
