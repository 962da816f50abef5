//! The contract that every plugin keeps.
//!
//! A query travels as an [`Exchange`] along the plugins of its server block.
//! Each plugin answers, or passes the exchange on with [`Next::serve`] and
//! may look at the reply, or change it, when that comes back. The semantics
//! are those of CoreDNS's `ServeDNS`, with one simplification: a reply is
//! not written to a socket by the plugin that makes it but stands in the
//! exchange until the whole chain has returned.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use smallvec::SmallVec;
use tokio::sync::watch;

use crate::clock::Tick;
use crate::denial::{Denial, Why};
use crate::metrics::server::BlockSeries;
use crate::status::Status;
use crate::wire::{Ede, Name, NameBuf, Rcode, Reply, Request, Stored};

/// One stage on the way of a query.
///
/// Plugins are shared by all workers and live as long as the configuration
/// that made them. What a plugin must keep per worker it keeps in a
/// thread-local of its own.
pub trait Plugin: Send + Sync + 'static {
    /// The directive's name, as in the Corefile.
    fn name(&self) -> &'static str;

    /// Answers the exchange or passes it on.
    ///
    /// The future is polled at once and in place. It runs on one worker from
    /// its beginning to its end, so it need not be `Send`; it must not block.
    /// A plugin with nothing to do returns `next.serve(exchange)` itself, as
    /// this does, and costs no allocation; [`done`] costs none either.
    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        next.serve(exchange)
    }

    /// Whether it lets every query pass and has its turn on the way back, in
    /// [`Plugin::review`]. Then nobody calls [`Plugin::serve`], and those at
    /// the head of a chain cost no allocation. Asked once, for the [`Chain`].
    fn reviews(&self) -> bool {
        false
    }

    /// Looks at what comes back, and may change the reply. The plugins behind
    /// may have changed the request; [`Exchange::asked`] says what it was.
    fn review(&self, _exchange: &mut Exchange, _served: &Served) {}

    /// Whether it can answer yet, for the `ready` plugin. `None`: it has no
    /// opinion and never delays readiness.
    fn ready(&self) -> Option<bool> {
        None
    }

    /// Whether it stays ready once it was. What does not is asked each time.
    fn stays_ready(&self) -> bool {
        true
    }

    /// The zones that it can hand out whole, for the `transfer` plugin.
    fn transferer(&self) -> Option<&dyn Transferer> {
        None
    }

    /// What it knows of the search lists of clients, for `autopath @NAME`.
    fn auto_pather(&self) -> Option<&dyn AutoPather> {
        None
    }

    /// To how many octets of the queried name, in wire form, a client's
    /// search list was appended, if it can tell. Asked of a sample of the
    /// names that it denies as [`Denial::SearchPath`].
    fn relative(&self, _request: &Request) -> Option<usize> {
        None
    }

    /// What it knows of whose addresses clients have.
    fn directory(&self) -> Option<&dyn Directory> {
        None
    }

    /// The zones whose names it answers for alone and from state that may
    /// change at any moment: nothing behind it ever sees such a name, and
    /// nothing in front of it keeps an answer to one.
    fn live_zones(&self) -> &[NameBuf] {
        &[]
    }

    /// Zones within [`Plugin::live_zones`] of which it passes names on, so
    /// that what answers them may be kept.
    fn passed_zones(&self) -> &[NameBuf] {
        &[]
    }

    /// How the zones and upstreams are doing that it depends on, for people
    /// (`console`). Never called on a worker.
    fn status(&self) -> Status {
        Status::default()
    }

    /// Why it answers a query as it does, where it knows more than the answer
    /// shows. Asked behind its turn, and never on the way of a query: by what
    /// explains answers to people.
    fn why(&self, _exchange: &Exchange) -> Option<Why> {
        None
    }

    /// What it knows about a query before the chain runs, for `log`, `view`
    /// and `rewrite`: values of labels such as `kubernetes/namespace`.
    fn metadata(&self, _exchange: &Exchange, _label: &str) -> Option<String> {
        None
    }
}

/// A reply on its way.
pub type Serving<'a> = Pin<Box<dyn Future<Output = Served> + 'a>>;

/// The [`Serving`] of a reply that stands already: NOERROR, without an allocation.
pub fn done<'a>() -> Serving<'a> {
    Box::pin(Done)
}

/// It has no size, so a box of it is no allocation.
struct Done;

impl Future for Done {
    type Output = Served;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Served> {
        Poll::Ready(Ok(Rcode::NOERROR))
    }
}

/// What a plugin returns: a response code, or a failure that `errors` logs.
///
/// As in CoreDNS the code counts only if no reply was written: the server
/// then answers SERVFAIL, REFUSED, FORMERR and NOTIMP with an empty reply
/// and takes any other code to mean that the client gets no answer.
pub type Served = Result<Rcode, Failure>;

/// Why a query failed. No larger than a pointer, because every query has
/// room for one on its way.
#[derive(Clone, Debug)]
pub struct Failure(Box<Reason>);

/// What a [`Failure`] says.
#[derive(Clone, Debug)]
pub struct Reason {
    /// The code for the client if nothing was written.
    pub rcode: Rcode,
    /// What `errors` logs.
    pub message: Cow<'static, str>,
    /// What an EDNS client is told along with the code (RFC 8914).
    pub ede: Option<Ede>,
}

impl Failure {
    /// A failure of ours: SERVFAIL.
    pub fn servfail(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Rcode::SERVFAIL, message)
    }

    /// A failure with a response code of its own.
    pub fn new(rcode: Rcode, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Reason {
            rcode,
            message: message.into(),
            ede: None,
        }))
    }

    /// The same failure, explained to the client.
    pub fn explained(mut self, ede: Ede) -> Self {
        self.0.ede = Some(ede);
        self
    }

    /// What it says.
    pub fn into_reason(self) -> Reason {
        *self.0
    }
}

impl Deref for Failure {
    type Target = Reason;

    fn deref(&self) -> &Reason {
        &self.0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What remains of the chain behind a plugin.
#[derive(Clone, Copy)]
pub struct Next<'a> {
    chain: &'a Chain,
    at: usize,
}

/// The plugins of a server block, first to last.
#[derive(Clone)]
pub struct Chain(Arc<[Stage]>);

struct Stage {
    plugin: Arc<dyn Plugin>,
    /// What [`Plugin::reviews`] says.
    reviews: bool,
}

impl FromIterator<Arc<dyn Plugin>> for Chain {
    fn from_iter<I: IntoIterator<Item = Arc<dyn Plugin>>>(plugins: I) -> Self {
        let stage = |plugin: Arc<dyn Plugin>| Stage {
            reviews: plugin.reviews(),
            plugin,
        };
        Self(plugins.into_iter().map(stage).collect())
    }
}

impl<I: IntoIterator<Item = Arc<dyn Plugin>>> From<I> for Chain {
    fn from(plugins: I) -> Self {
        plugins.into_iter().collect()
    }
}

impl Chain {
    /// Its plugins.
    pub fn plugins(&self) -> impl Iterator<Item = &dyn Plugin> {
        self.0.iter().map(|stage| &*stage.plugin)
    }

    /// Whether it has no plugin at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> Next<'a> {
    /// The whole chain of a server block.
    pub fn new(chain: &'a Chain) -> Self {
        Self { chain, at: 0 }
    }

    /// Passes the exchange on. At the end of the chain that is a failure, as
    /// in CoreDNS: nobody was there to answer.
    pub fn serve(self, exchange: &'a mut Exchange) -> Serving<'a> {
        match self.chain.0.get(self.at) {
            Some(stage) if stage.reviews => Box::pin(self.reviewed(exchange)),
            Some(stage) => {
                let at = self.at + 1;
                stage.plugin.serve(exchange, Next { at, ..self })
            }
            None => {
                let last = self.chain.plugins().last();
                let last = last.map_or("", |plugin| plugin.name());
                Box::pin(std::future::ready(Err(Failure::servfail(format!(
                    "plugin/{last}: no next plugin found"
                )))))
            }
        }
    }

    /// The same as a future in place: passes the exchange to the first plugin
    /// that does more than review, and lets those in front of it review.
    pub async fn reviewed(self, exchange: &mut Exchange) -> Served {
        let stages = self.stages();
        let ahead = stages.iter().take_while(|stage| stage.reviews);
        let (ahead, _) = stages.split_at(ahead.count());
        let at = self.at + ahead.len();
        let served = Next { at, ..self }.serve(exchange).await;
        for stage in ahead.iter().rev() {
            stage.plugin.review(exchange, &served);
        }
        served
    }

    fn stages(&self) -> &'a [Stage] {
        self.chain.0.get(self.at..).unwrap_or_default()
    }

    /// The plugins behind the caller, nearest first.
    pub fn plugins(&self) -> impl Iterator<Item = &'a dyn Plugin> {
        self.stages().iter().map(|stage| &*stage.plugin)
    }

    /// The same, to be kept: for work that outlives the query, such as the
    /// refresh of a cached answer.
    pub fn to_rest(self) -> Rest {
        Rest {
            chain: self.chain.clone(),
            at: self.at,
        }
    }
}

/// A [`Next`] that keeps the chain alive.
#[derive(Clone)]
pub struct Rest {
    chain: Chain,
    at: usize,
}

impl Rest {
    /// What remains of the chain, to serve an exchange.
    pub fn next(&self) -> Next<'_> {
        Next {
            chain: &self.chain,
            at: self.at,
        }
    }
}

/// How a client reached us.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Proto {
    /// A datagram.
    Udp,
    /// A stream.
    Tcp,
}

impl Proto {
    /// The word that logs and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// One query and the answer in the making.
pub struct Exchange {
    /// What was asked, with the changes that plugins have made.
    pub request: Request,
    /// The answer. Plugins reach it through [`Exchange::answer`] and
    /// [`Exchange::reply`], so that it is known whether there is one.
    reply: Reply,
    written: bool,
    /// Who asks.
    pub client: SocketAddr,
    /// The address that was asked.
    pub local: SocketAddr,
    /// How the client reached us.
    pub proto: Proto,
    /// When the query arrived; the clock of its batch.
    pub arrived: Tick,
    /// The server block that the query belongs to, once it is known.
    pub block: Option<Rc<BlockInfo>>,
    /// What was asked of that block, whatever plugins have made of it since.
    pub asked: Asked,
    /// EDNS options that the reply may echo beyond the usual ones.
    pub echoed_options: SmallVec<[u16; 2]>,
    /// Metadata that plugins attach on the way, such as `forward/upstream`.
    pub metadata: SmallVec<[(&'static str, String); 1]>,
    /// Where messages before the last one go, when a reply is a stream of
    /// them (AXFR); `None` where the transport has no room for that.
    pub stream: Option<tokio::sync::mpsc::Sender<Vec<u8>>>,
    /// How the server asks itself.
    pub resolver: Option<Rc<dyn Resolver>>,
    /// How many lookups of our own led here: bounds self-made loops.
    pub depth: u8,
}

/// A question as it came to a server block.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// The queried type.
    pub qtype: u16,
    /// Whether DNSSEC records were wanted.
    pub dnssec_ok: bool,
    /// Which of [`BlockInfo::zones`] the name was under; `None` for none.
    pub zone: Option<usize>,
}

/// What metrics and plugins want to know of the server block of a query.
///
/// Every worker has its own, so that naming it costs no shared counter.
#[derive(Debug, Default)]
pub struct BlockInfo {
    /// Tells the blocks of all listeners and configurations apart, for what
    /// plugins keep by block.
    pub id: u64,
    /// The listener, as the `server` label of metrics: `dns://:53`.
    pub server: String,
    /// The block's zones, longest first.
    pub zones: Vec<NameBuf>,
    /// The view's name; empty where there is none.
    pub view: String,
    /// What `prometheus` counts, once it has met the block.
    pub series: OnceCell<BlockSeries>,
}

impl BlockInfo {
    /// Where in the list the most specific zone stands that the name is under.
    fn position_of(&self, name: Name<'_>) -> Option<usize> {
        self.zones
            .iter()
            .position(|zone| name.is_under(zone.name()))
    }
}

/// Runs an exchange through the whole server that it came in by: zone match, view, chain.
pub trait Resolver {
    /// Serves `exchange`; afterwards its reply stands in it, or it got none.
    fn resolve<'a>(&'a self, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = ()> + 'a>>;
}

/// Lookups of our own nest at most this deep: CNAME chains across plugins.
const MAX_DEPTH: u8 = 16;

impl Exchange {
    /// An exchange to be filled again and again.
    pub fn new(client: SocketAddr, local: SocketAddr, proto: Proto) -> Self {
        Self {
            request: Request::new(),
            reply: Reply::new(),
            written: false,
            client,
            local,
            proto,
            arrived: Tick::default(),
            block: None,
            asked: Asked::default(),
            echoed_options: SmallVec::new(),
            metadata: SmallVec::new(),
            stream: None,
            resolver: None,
            depth: 0,
        }
    }

    /// Makes it ready for the next query: no reply, no metadata, no block.
    #[inline]
    pub fn reset(&mut self) {
        self.written = false;
        self.block = None;
        self.echoed_options.clear();
        self.metadata.clear();
        self.stream = None;
        self.depth = 0;
    }

    /// Comes to its server block.
    pub fn enter(&mut self, block: Rc<BlockInfo>) {
        self.asked = Asked {
            qtype: self.request.qtype(),
            dnssec_ok: self.request.dnssec_ok(),
            zone: block.position_of(self.request.name()),
        };
        self.block = Some(block);
    }

    /// Begins the answer to the request as it now stands; what was written before is dropped.
    pub fn answer(&mut self) -> &mut Reply {
        self.written = true;
        self.reply.start(&self.request);
        &mut self.reply
    }

    /// The request and a fresh answer to it, to read the one while writing the other.
    pub fn request_and_answer(&mut self) -> (&Request, &mut Reply) {
        self.written = true;
        self.reply.start(&self.request);
        (&self.request, &mut self.reply)
    }

    /// Takes over a message from elsewhere as the answer; see [`Reply::adopt`].
    /// On an error there is no answer.
    pub fn adopt(&mut self, message: &[u8]) -> Result<&mut Reply, crate::wire::Error> {
        self.written = false;
        self.reply.adopt(message, &self.request)?;
        self.written = true;
        Ok(&mut self.reply)
    }

    /// Answers with a reply that was stored, all TTLs set to `ttl` seconds;
    /// see [`Reply::restore`].
    pub fn restore(&mut self, stored: &Stored, ttl: u32) -> &mut Reply {
        self.written = true;
        self.reply.restore(stored, &self.request, ttl);
        &mut self.reply
    }

    /// The answer, if one was written.
    pub fn reply(&self) -> Option<&Reply> {
        self.written.then_some(&self.reply)
    }

    /// The answer, for a change.
    pub fn reply_mut(&mut self) -> Option<&mut Reply> {
        self.written.then_some(&mut self.reply)
    }

    /// The request and the answer that was written, for changes to both.
    pub fn parts_mut(&mut self) -> (&mut Request, Option<&mut Reply>) {
        (&mut self.request, self.written.then_some(&mut self.reply))
    }

    /// Drops the answer: the client gets none unless another is written.
    pub fn discard(&mut self) {
        self.written = false;
    }

    /// Takes the answer out, if one was written; there is none then.
    pub fn take_reply(&mut self) -> Option<Reply> {
        std::mem::take(&mut self.written).then(|| std::mem::take(&mut self.reply))
    }

    /// Answers with a reply to this request that was taken out before.
    pub fn put_reply(&mut self, reply: Reply) {
        self.reply = reply;
        self.written = true;
    }

    /// Exchanges the answer, written or not, with that of another exchange.
    pub fn swap_reply(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.reply, &mut other.reply);
        std::mem::swap(&mut self.written, &mut other.written);
    }

    /// An exchange of our own on behalf of this client: another name and
    /// type, the same flags, EDNS, addresses and transport.
    pub fn derive(&self, name: Name<'_>, qtype: u16) -> Self {
        let mut derived = Self::new(self.client, self.local, self.proto);
        derived.request.ask_as(&self.request, name, qtype);
        derived.arrived = self.arrived;
        derived.block.clone_from(&self.block);
        derived.resolver.clone_from(&self.resolver);
        derived.depth = self.depth + 1;
        derived
    }

    /// An exchange of our own that asks the same question while this one goes
    /// its way. It counts as TCP, so that size never cuts its reply.
    pub fn detach(&self) -> Self {
        let mut detached = Self::new(self.client, self.local, Proto::Tcp);
        detached.request.clone_from(&self.request);
        detached.arrived = self.arrived;
        detached.block.clone_from(&self.block);
        detached.resolver.clone_from(&self.resolver);
        detached.depth = self.depth;
        detached
    }

    /// Asks the server itself, all plugins included, for another name: the
    /// target of a CNAME, an ExternalName, the A beside an AAAA.
    ///
    /// `None`: no answer came, or lookups nest too deeply.
    pub async fn lookup(&self, name: Name<'_>, qtype: u16) -> Option<Reply> {
        let resolver = self.resolver.clone()?;
        if self.depth >= MAX_DEPTH {
            return None;
        }
        let mut derived = self.derive(name, qtype);
        resolver.resolve(&mut derived).await;
        derived.written.then_some(derived.reply)
    }

    /// Why the name that was asked for does not exist, if the answer says that.
    pub fn denial(&self) -> Option<Denial> {
        self.reply()?.denial()
    }

    /// Says why the answer is what it is, if there is an answer.
    pub fn explain(&mut self, ede: Ede) {
        if let Some(reply) = self.reply_mut() {
            reply.set_ede(ede);
        }
    }

    /// The most octets that a reply may have on this transport.
    pub fn limit(&self) -> usize {
        match self.proto {
            Proto::Tcp => crate::wire::MAX_MESSAGE,
            Proto::Udp => self.request.edns().map_or(crate::wire::MIN_UDP, |edns| {
                usize::from(edns.udp_size).max(crate::wire::MIN_UDP)
            }),
        }
    }

    /// Makes the answer ready to be sent and returns its octets; see [`Reply::finish`].
    pub fn finish(&mut self) -> Option<&[u8]> {
        if !self.written {
            return None;
        }
        let limit = self.limit();
        Some(
            self.reply
                .finish(&self.request, limit, &self.echoed_options),
        )
    }

    /// The octets that [`Exchange::finish`] returned last.
    pub fn finished(&self) -> &[u8] {
        self.reply.finished()
    }

    /// Octets that its buffers hold on to.
    pub fn buffer_size(&self) -> usize {
        self.request.buffer_size() + self.reply.buffer_size()
    }
}

/// A zone that can be handed out whole (RFC 5936).
pub trait Transferer: Send + Sync {
    /// The records of `zone` in transfer order for `client`, whose copy has
    /// `serial` (IXFR) or none (AXFR): all of them between two SOAs, or the
    /// differences from that very copy (RFC 1995 section 4). A client that is
    /// up to date gets the SOA alone. `None`: not my zone.
    fn transfer(
        &self,
        zone: Name<'_>,
        serial: Option<u32>,
        client: IpAddr,
    ) -> Option<Box<dyn Iterator<Item = crate::wire::Record> + Send + '_>>;

    /// The zones whose copies should be told of changes, each with its serial
    /// as it moves; `None` while there is nothing to hand out.
    fn changing(&self) -> Vec<(NameBuf, watch::Receiver<Option<u32>>)> {
        Vec::new()
    }

    /// Is told when [`Transferer::changing`] has come to say something else;
    /// `None` where it never does.
    fn regrouped(&self) -> Option<watch::Receiver<()>> {
        None
    }
}

/// Knows the search lists of clients (CoreDNS: `AutoPather`).
pub trait AutoPather: Send + Sync {
    /// The list that the resolver of the client walks whose query this is.
    /// `None`: it is not known for certain, and the query is served as it is.
    fn search(&self, exchange: &Exchange) -> Option<Search<'_>>;
}

/// Knows who has which address.
pub trait Directory: Send + Sync {
    /// The namespace of the client with this address; `None` where it is not
    /// known for certain.
    fn namespace_of(&self, client: IpAddr) -> Option<String>;

    /// The domains that clients search behind those of the cluster: those of
    /// their nodes.
    fn host_search(&self) -> &[NameBuf] {
        &[]
    }
}

/// A search list as the resolver that has it walks it (resolv.conf(5)).
///
/// Behind the last domain the name is tried as it is.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    /// The domain that is tried first, in lower case.
    pub first: NameBuf,
    /// The others in their order.
    pub rest: &'a [NameBuf],
    /// A name with this many dots or more is tried as it is before the list
    /// is walked; `None` where that is not known.
    pub ndots: Option<u8>,
}
