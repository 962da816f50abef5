//! The server that answers: the kubeadm Corefile without its sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use anyhow::{Context as _, ensure};
use corefile::SystemHost;
use pando::configuration::{Configuration, Draft, Text};
use pando::plugin::Kept;
use pando::server::{Direct, ListenAddress};
use pando::wire::{NameBuf, Rcode, Reply, Request, Section};
use tokio::net::UdpSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use crate::cluster;

/// What the control side does is done when a case begins: a runtime that
/// rests whenever nobody waits by it keeps every other thread out of the
/// counts.
pub(crate) fn control() -> anyhow::Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// The client of all queries.
pub(crate) fn client() -> SocketAddr {
    (Ipv4Addr::new(10, 244, 1, 77), 40_000).into()
}

/// A query as a resolver with EDNS sends it.
pub(crate) fn query(name: &str, qtype: u16) -> anyhow::Result<Vec<u8>> {
    let mut request = Request::new();
    request.ask(0x4711, name.parse::<NameBuf>()?.name(), qtype);
    request.edns_or_insert(1232);
    let mut datagram = Vec::new();
    request.write(request.id(), &mut datagram);
    Ok(datagram)
}

/// What a future yields that waits for nothing.
pub(crate) fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits for something"),
    }
}

/// Makes sure that a reply is what a case is about: its code, and how many answers it has.
pub(crate) fn expect(query: &[u8], reply: &[u8], expected: (Rcode, usize)) -> anyhow::Result<()> {
    let mut request = Request::new();
    let parsed = request.parse(query);
    ensure!(parsed.is_ok(), "{parsed:?}");
    let mut answer = Reply::new();
    answer.adopt(reply, &request)?;
    let got = (answer.rcode(), answer.count(Section::Answer));
    ensure!(
        got == expected,
        "{}: {got:?}, not {expected:?}",
        request.name()
    );
    Ok(())
}

/// The kubeadm Corefile over the cluster. Names of the world outside are in the cache.
pub(crate) fn kubeadm() -> anyhow::Result<Direct> {
    let control = control()?;
    let upstream = control.block_on(UdpSocket::bind("127.0.0.1:0"))?;
    let manifests = cluster::file()?;
    // Of kubeadm's directives those without a part in a query are left out:
    // health, ready, reload.
    let text = format!(
        ".:53 {{
            errors
            kubernetes cluster.local in-addr.arpa ip6.arpa {{
                pods insecure
                fallthrough in-addr.arpa ip6.arpa
                ttl 30
                manifests {}
            }}
            prometheus 127.0.0.1:0
            forward . {} {{
                max_concurrent 1000
            }}
            cache 30 {{
                disable success cluster.local
                disable denial cluster.local
            }}
            loop
            loadbalance
        }}",
        manifests.path().display(),
        upstream.local_addr()?,
    );
    let configuration = configure(&control, &text)?;
    let address = ListenAddress::any(53);
    let direct = Direct::new(&configuration.plan, &address).context("nothing on port 53")?;
    LocalSet::new().block_on(&control, async {
        tokio::select! {
            ended = answer_all(&upstream) => ended,
            filled = fill(&direct) => filled,
        }
    })?;
    Ok(direct)
}

/// What a Corefile says, begun.
fn configure(control: &Runtime, text: &str) -> anyhow::Result<Configuration> {
    let text = Text {
        name: "Corefile".to_owned(),
        text: text.to_owned(),
    };
    let draft = Draft::parse(&text, "53", &SystemHost::default())?;
    let mut configuration = draft.build(control.handle(), Kept::default())?;
    for hook in std::mem::take(&mut configuration.hooks.startup) {
        control.block_on(hook())?;
    }
    Ok(configuration)
}

/// Has every external name in the cache.
async fn fill(direct: &Direct) -> anyhow::Result<()> {
    let mut reply = Vec::new();
    for name in cluster::external() {
        let query = query(&name, pando::wire::rtype::A)?;
        direct.answer(client(), &query, &mut reply).await;
        expect(&query, &reply, (Rcode::NOERROR, 2))?;
    }
    Ok(())
}

/// An upstream that has two addresses for every name.
async fn answer_all(socket: &UdpSocket) -> anyhow::Result<()> {
    let mut buffer = [0; 1232];
    loop {
        let (len, client) = socket.recv_from(&mut buffer).await?;
        let mut request = Request::new();
        if request
            .parse(buffer.get(..len).unwrap_or_default())
            .is_err()
        {
            continue;
        }
        let mut reply = Reply::new();
        reply.start(&request);
        let addresses = [192, 0, 2, 1, 192, 0, 2, 2];
        reply.push_addresses(300, pando::wire::rtype::A, &addresses);
        socket
            .send_to(reply.finish(&request, 1232, &[]), client)
            .await?;
    }
}
