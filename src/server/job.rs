//! Serving one query on a worker: polled once in place, parked if it waits.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::listener::Local;
use super::mmsg::Outgoing;
use super::parked::Parked;
use crate::chain::{Exchange, Proto};
use crate::clock;
use crate::metrics::namespaces::Census;

/// Jobs and benches beyond this many are freed and not kept for the next query.
const SPARES: usize = 128;
/// Jobs whose buffers outgrew this many octets are freed, too.
const SPARE_BUFFER: usize = 16 << 10;

/// A query that a worker serves, and where its reply goes.
pub(super) struct Job {
    pub exchange: Exchange,
    local: Option<Rc<Local>>,
    /// Whether the reply must say which address it comes from: the one that
    /// was asked.
    pub names_source: bool,
}

impl Job {
    fn new() -> Box<Self> {
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Box::new(Self {
            exchange: Exchange::new(nobody, nobody, Proto::Udp),
            local: None,
            names_source: false,
        })
    }

    /// Fills in who asks whom; the request is there already.
    pub(super) fn address(&mut self, client: SocketAddr, asked: SocketAddr) {
        self.exchange.client = client;
        self.exchange.local = asked;
        self.exchange.arrived = clock::now();
    }

    /// Makes the reply ready to be sent and counts the query: whether there is
    /// a reply.
    pub(super) fn conclude(&mut self, census: &Census) -> bool {
        let replied = self.exchange.finish().is_some();
        if let Some(local) = &self.local {
            local.count(&self.exchange, census);
        }
        replied
    }

    /// Says that the reply is sent.
    pub(super) fn sent(&self) {
        if let Some(local) = &self.local {
            local
                .tally()
                .sent(self.exchange.arrived, clock::refresh(), 1);
        }
    }

    /// The finished reply and its way back.
    pub(super) fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            bytes: self.exchange.finished(),
            to: self.exchange.client,
            from: self.names_source.then(|| self.exchange.local.ip()),
        }
    }
}

/// A future that serves job after job, so that a query allocates none.
///
/// It waits for the tray to be filled, serves what lies there, puts it back
/// and begins anew; it is polled by hand for what is answered at once, and
/// by a task of its own while a query waits.
pub(super) struct Bench {
    tray: Rc<Tray>,
    work: Pin<Box<dyn Future<Output = Infallible>>>,
}

#[derive(Default)]
struct Tray {
    todo: Cell<Option<Box<Job>>>,
    done: Cell<Option<Box<Job>>>,
}

async fn work(tray: Rc<Tray>) -> Infallible {
    loop {
        let next = poll_fn(|_| tray.todo.take().map_or(Poll::Pending, Poll::Ready));
        let mut job = next.await;
        if let Some(local) = job.local.clone() {
            local.serve(&mut job.exchange).await;
        }
        tray.done.set(Some(job));
    }
}

impl Bench {
    fn new() -> Self {
        let tray = Rc::new(Tray::default());
        Self {
            work: Box::pin(work(tray.clone())),
            tray,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Option<Box<Job>> {
        match self.work.as_mut().poll(context) {
            Poll::Pending => self.tray.done.take(),
            Poll::Ready(never) => match never {},
        }
    }

    /// Waits for the query on the bench.
    pub(super) async fn finish(&mut self) -> Box<Job> {
        poll_fn(|context| {
            clock::refresh();
            self.poll(context).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// What all queries of a worker share: spare jobs and benches, and the queries that wait.
pub(super) struct Desk {
    #[expect(clippy::vec_box, reason = "a job goes from hand to hand as a pointer")]
    jobs: RefCell<Vec<Box<Job>>>,
    benches: RefCell<Vec<Bench>>,
    pub parked: Rc<Parked>,
    pub census: Census,
}

impl Desk {
    pub(super) fn new(in_flight: usize) -> Rc<Self> {
        Rc::new(Self {
            jobs: RefCell::default(),
            benches: RefCell::default(),
            parked: Parked::new(in_flight),
            census: Census::new(),
        })
    }

    /// A job with an empty exchange, for one query after another that comes
    /// in by a listener.
    pub(super) fn job(&self, local: &Rc<Local>, proto: Proto) -> Box<Job> {
        let spare = self.jobs.borrow_mut().pop();
        let mut job = spare.unwrap_or_else(Job::new);
        job.exchange.proto = proto;
        job.exchange.resolver = Some(local.clone());
        job.local = Some(local.clone());
        job
    }

    /// Takes a job back once its last reply is sent.
    pub(super) fn recycle(&self, mut job: Box<Job>) {
        job.exchange.reset();
        // Neither may keep an old configuration alive.
        job.exchange.resolver = None;
        job.local = None;
        let buffer = job.exchange.buffer_size();
        let mut jobs = self.jobs.borrow_mut();
        if jobs.len() < SPARES && buffer <= SPARE_BUFFER {
            jobs.push(job);
        }
    }

    /// Serves a job in place as far as it goes: the job when it is done, or
    /// the bench on which it waits.
    pub(super) fn begin(&self, job: Box<Job>) -> Result<Box<Job>, Bench> {
        let spare = self.benches.borrow_mut().pop();
        let mut bench = spare.unwrap_or_else(Bench::new);
        bench.tray.todo.set(Some(job));
        // Nobody is to be woken by this poll: what is still waiting is
        // polled again by the task that it then gets.
        match bench.poll(&mut Context::from_waker(Waker::noop())) {
            Some(job) => {
                self.keep(bench);
                Ok(job)
            }
            None => Err(bench),
        }
    }

    /// Takes an idle bench back.
    #[inline]
    pub(super) fn keep(&self, bench: Bench) {
        let mut benches = self.benches.borrow_mut();
        if benches.len() < SPARES {
            benches.push(bench);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;
    use crate::chain::{Next, Plugin, Serving};
    use crate::server::{Block, ListenAddress, Listener};
    use crate::wire::{NameBuf, Rcode, rtype};

    /// Lets go of the worker once, then answers.
    struct Waits;

    impl Plugin for Waits {
        fn name(&self) -> &'static str {
            "waits"
        }

        fn serve<'a>(&'a self, exchange: &'a mut Exchange, _: Next<'a>) -> Serving<'a> {
            Box::pin(async move {
                tokio::task::yield_now().await;
                exchange.answer();
                Ok(Rcode::NOERROR)
            })
        }
    }

    fn local(plugins: Vec<Arc<dyn Plugin>>) -> Rc<Local> {
        let block = Block {
            zones: vec![NameBuf::new()],
            chain: plugins.into(),
            view: None,
            debug: false,
            stacktrace: false,
        };
        let (alive, _) = oneshot::channel();
        let listener = Listener::new(ListenAddress::any(53), vec![block], Arc::new(alive));
        Local::new(Arc::new(listener))
    }

    fn asked(desk: &Desk, local: &Rc<Local>) -> Box<Job> {
        let mut job = desk.job(local, Proto::Tcp);
        let name: NameBuf = "example.org".parse().unwrap();
        job.exchange.request.ask(7, name.name(), rtype::A);
        let client = (Ipv4Addr::LOCALHOST, 1053).into();
        job.address(client, client);
        job
    }

    #[tokio::test]
    async fn what_waits_keeps_its_bench_and_what_is_ready_does_not() {
        let desk = Desk::new(8);
        let (ready, waits) = (local(vec![]), local(vec![Arc::new(Waits)]));
        let done = desk.begin(asked(&desk, &ready)).ok().unwrap();
        assert_eq!(done.exchange.reply().unwrap().rcode(), Rcode::REFUSED);
        let mut bench = desk.begin(asked(&desk, &waits)).err().unwrap();
        // Another query is served meanwhile.
        assert!(desk.begin(asked(&desk, &ready)).is_ok());
        let job = bench.finish().await;
        assert_eq!(job.exchange.reply().unwrap().rcode(), Rcode::NOERROR);
        // The bench serves the next one as if nothing had been.
        desk.keep(bench);
        assert!(desk.begin(asked(&desk, &ready)).is_ok());
    }

    #[tokio::test]
    async fn an_idle_job_holds_on_to_no_configuration() {
        let desk = Desk::new(8);
        let local = local(vec![]);
        let job = desk.begin(asked(&desk, &local)).ok().unwrap();
        assert!(Rc::strong_count(&local) > 1);
        desk.recycle(job);
        assert_eq!(Rc::strong_count(&local), 1);
    }
}
