//! The floor under programming latency: a client that follows the slices and
//! does nothing but remember the first address of each, and a thread that
//! answers every datagram with that of the Service asked for.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use http_body_util::BodyExt;
use kube::client::{Body, Client};
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::server::Api;

/// The first argument that makes this program the floor.
pub(crate) const COMMAND: &str = "floor";

type Known = Arc<Mutex<HashMap<String, Ipv4Addr>>>;

pub(crate) fn arguments(api: &Api, port: u16) -> Vec<OsString> {
    let (kind, place) = match api {
        Api::Url(url) => ("url", url.into()),
        Api::Kubeconfig(path) => ("kubeconfig", path.into()),
    };
    vec![COMMAND.into(), port.to_string().into(), kind.into(), place]
}

pub(crate) fn run() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let [port, kind, place] = &*arguments else {
        bail!("floor PORT url|kubeconfig PLACE");
    };
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port.parse()?))?;
    let known = Known::default();
    let answers = Arc::clone(&known);
    std::thread::spawn(move || answer(&socket, &answers));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let config = match &**kind {
            "url" => kube::Config::new(place.parse()?),
            _ => {
                let file = Kubeconfig::read_from(place)?;
                kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
            }
        };
        follow(Client::try_from(config)?, &known).await
    })
}

async fn follow(client: Client, known: &Known) -> anyhow::Result<()> {
    let path = "/apis/discovery.k8s.io/v1/endpointslices?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let request = hyper::Request::get(path).body(Body::empty())?;
    let mut body = client.send(request).await?.into_body();
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        rest.extend_from_slice(&data);
        let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
            continue;
        };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        for line in rest.drain(..=end).as_slice().split(|byte| *byte == b'\n') {
            if let Some((service, address)) = read(line) {
                known.insert(service.to_owned(), address);
            }
        }
    }
    bail!("the watch ended")
}

/// The Service that a slice names, and its first address.
fn read(line: &[u8]) -> Option<(&str, Ipv4Addr)> {
    let line = std::str::from_utf8(line).ok()?;
    let after = |key: &str| line.split_once(key)?.1.split('"').next();
    let service = after("\"kubernetes.io/service-name\":\"")?;
    let address = after("\"addresses\":[\"")?;
    Some((service, address.parse().ok()?))
}

fn answer(socket: &UdpSocket, known: &Known) -> Option<()> {
    let mut buffer = [0; 512];
    loop {
        let (len, client) = socket.recv_from(&mut buffer).ok()?;
        let service = service(buffer.get(..len)?).unwrap_or_default();
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let address = known.get(service).copied();
        drop(known);
        let mut end = len;
        if let Some(address) = address {
            end += 4;
            buffer.get_mut(len..end)?.copy_from_slice(&address.octets());
        }
        let sent = socket.send_to(buffer.get(..end)?, client);
        sent.context("send").ok()?;
    }
}

/// The first label of the name in a query.
fn service(query: &[u8]) -> Option<&str> {
    let (len, rest) = query.get(12..)?.split_first()?;
    std::str::from_utf8(rest.get(..usize::from(*len))?).ok()
}
