//! The HTTP side of a double.

mod list;
mod watching;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::store::{RESOURCES, Requirement, Resource, Scope};
use super::{Fault, Request, Shared};

/// An error that closes the connection in the middle of a body.
pub(super) type Cut = std::io::Error;
type Body = Channel<Bytes, Cut>;

pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with this task: the set aborts them.
    let mut open = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        // As Go's servers: an event must not wait for the last one's ACK.
        let _ = stream.set_nodelay(true);
        while open.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { answer(request, shared).await }
        });
        open.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            // A client that leaves is no one's error.
            let _ = connection.await;
        });
    }
}

/// What a request asks for, once its path and query are understood.
struct Asked {
    request: Request,
    resource: &'static Resource,
    scope: Scope,
    name: Option<String>,
}

async fn answer(
    http: hyper::Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Body>, std::io::Error> {
    let mut request = Request {
        method: http.method().to_string(),
        path: http.uri().path().to_owned(),
        query: decode_query(http.uri().query().unwrap_or_default()),
        authorization: header(&http, AUTHORIZATION),
        user_agent: header(&http, USER_AGENT),
        status: 0,
    };
    let reply = choose(&request, &shared).await;
    request.status = reply.as_ref().map_or(0, |reply| reply.status().as_u16());
    shared.requests.send_modify(|all| all.push(request));
    match reply {
        Ok(reply) => Ok(reply),
        Err(Unanswered::Close) => Err(cut()),
        Err(Unanswered::Hang) => std::future::pending().await,
    }
}

enum Unanswered {
    Close,
    Hang,
}

async fn choose(request: &Request, shared: &Arc<Shared>) -> Result<Response<Body>, Unanswered> {
    let Some((resource, namespace, name)) = find(&request.path) else {
        let text = "the server could not find the requested resource";
        return Ok(status(404, text));
    };
    let fault = shared.fault_for(resource.plural, request.is_watch());
    let mut cut_at = None;
    match fault {
        Some(Fault::Status(403)) => return Ok(forbidden(resource, request)),
        Some(Fault::Status(code)) => return Ok(status(code, "as the test ordered")),
        Some(Fault::Hang) => return Err(Unanswered::Hang),
        Some(Fault::Close) => return Err(Unanswered::Close),
        Some(Fault::Slow(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::Cut(bytes)) => cut_at = Some(bytes),
        Some(Fault::Gone) if request.is_watch() => return Ok(watching::gone_at_once()),
        Some(Fault::Gone) => return Ok(status(410, "The resourceVersion is too old")),
        None => {}
    }
    let token = shared.settings().token.clone();
    if token.is_some_and(|token| request.authorization != Some(format!("Bearer {token}"))) {
        return Ok(status(401, "Unauthorized"));
    }
    if request.method != "GET" {
        return Ok(status(405, "the test edits objects, not the client"));
    }
    let selector = |name| Requirement::parse(request.parameter(name).unwrap_or_default());
    let (Some(labels), Some(fields)) = (selector("labelSelector"), selector("fieldSelector"))
    else {
        return Ok(status(400, "unable to parse requirement"));
    };
    let asked = Asked {
        scope: Scope {
            plural: resource.plural,
            namespace,
            labels,
            fields,
        },
        resource,
        name,
        request: request.clone(),
    };
    let reply = if asked.request.is_watch() {
        watching::watch(asked, shared)
    } else {
        list::read(&asked, shared)
    };
    Ok(match cut_at {
        Some(bytes) => cut_after(reply, bytes),
        None => reply,
    })
}

/// The resource, namespace and name in a path.
fn find(path: &str) -> Option<(&'static Resource, Option<String>, Option<String>)> {
    RESOURCES.iter().find_map(|resource| {
        let rest = path.strip_prefix(resource.root)?.strip_prefix('/')?;
        let words: Vec<_> = rest.split('/').collect();
        match words[..] {
            [plural] if plural == resource.plural => Some((resource, None, None)),
            ["namespaces", name] if resource.plural == "namespaces" => {
                Some((resource, None, Some(format!("/{name}"))))
            }
            ["namespaces", namespace, plural] if plural == resource.plural => {
                Some((resource, Some(namespace.to_owned()), None))
            }
            ["namespaces", namespace, plural, name] if plural == resource.plural => {
                let key = format!("{namespace}/{name}");
                Some((resource, Some(namespace.to_owned()), Some(key)))
            }
            _ => None,
        }
    })
}

fn header(http: &hyper::Request<Incoming>, name: hyper::header::HeaderName) -> Option<String> {
    let value = http.headers().get(name)?;
    Some(value.to_str().ok()?.to_owned())
}

fn decode_query(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let code = [bytes.next(), bytes.next()].map(|digit| digit.unwrap_or(b'0'));
                let code = std::str::from_utf8(&code).unwrap_or_default();
                out.extend(u8::from_str_radix(code, 16));
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn text_reply(code: u16, body: String) -> Response<Body> {
    let (mut sender, channel) = Channel::new(1);
    // The channel is empty and holds one frame.
    let _ = sender.try_send(Frame::data(Bytes::from(body)));
    respond(code, channel)
}

fn respond(code: u16, body: Body) -> Response<Body> {
    let mut reply = Response::new(body);
    *reply.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = hyper::header::HeaderValue::from_static("application/json");
    reply.headers_mut().insert(CONTENT_TYPE, json);
    reply
}

fn status(code: u16, message: &str) -> Response<Body> {
    text_reply(code, status_object(code, message).to_string())
}

/// In the words of RBAC, which name what is missing.
fn forbidden(resource: &Resource, request: &Request) -> Response<Body> {
    let verb = if request.is_watch() { "watch" } else { "list" };
    let plural = resource.plural;
    let group = resource
        .api_version
        .split_once('/')
        .map_or("", |(group, _)| group);
    let full = [plural, group].join(".");
    let full = full.trim_end_matches('.');
    let text = format!(
        "{full} is forbidden: User \"test\" cannot {verb} resource \"{plural}\" in API group \"{group}\" at the cluster scope"
    );
    status(403, &text)
}

fn status_object(code: u16, message: &str) -> Value {
    let reason = match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    };
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    })
}

fn cut() -> std::io::Error {
    std::io::Error::other("the test cuts this connection")
}

/// Passes on the first bytes of a body and then breaks the connection.
fn cut_after(reply: Response<Body>, mut left: usize) -> Response<Body> {
    use http_body_util::BodyExt;
    let (head, mut body) = reply.into_parts();
    let (mut sender, channel): (Sender<Bytes, Cut>, _) = Channel::new(1);
    tokio::spawn(async move {
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(mut data) = frame.into_data() else {
                continue;
            };
            data.truncate(left);
            left -= data.len();
            if sender.send_data(data).await.is_err() {
                return;
            }
            if left == 0 {
                // What was sent must be on its way before the connection goes.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                break;
            }
        }
        sender.abort(cut());
    });
    Response::from_parts(head, channel)
}
