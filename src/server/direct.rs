//! A server without sockets: a datagram in, its reply out, on the thread that asks.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use super::job::{Desk, Job};
use super::listener::Local;
use super::{ListenAddress, Plan};
use crate::chain::Proto;

/// Serves one address of a plan to a program that has the datagrams itself.
///
/// They go the way of those that a worker receives, from the first octet to
/// the last; only what bounds a worker (queries in flight, fair shares) is
/// left to the caller.
pub struct Direct {
    local: Rc<Local>,
    desk: Rc<Desk>,
    /// For the next datagram, as within a batch.
    job: Cell<Option<Box<Job>>>,
    /// The address that counts as asked.
    asked: SocketAddr,
    proto: Proto,
}

impl Direct {
    /// Serves what `plan` has on `address`; `None` where that is nothing.
    pub fn new(plan: &Plan, address: &ListenAddress) -> Option<Self> {
        let mut listeners = plan.listeners.iter();
        let listener = listeners.find(|listener| listener.address() == address)?;
        let ip = address.ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Some(Self {
            local: Local::new(listener.clone()),
            desk: Desk::new(usize::MAX),
            job: Cell::default(),
            asked: (ip, address.port).into(),
            proto: Proto::Udp,
        })
    }

    /// The same for messages that came in another way.
    #[must_use]
    pub fn over(self, proto: Proto) -> Self {
        Self { proto, ..self }
    }

    /// Answers a message as it is answered over the network. `reply` holds the
    /// answer's octets then, and none where the client is to get no answer.
    ///
    /// It is ready when polled first, unless a plugin waits; where one asks
    /// upstreams, this must run on a [`tokio::task::LocalSet`].
    pub async fn answer(&self, client: SocketAddr, datagram: &[u8], reply: &mut Vec<u8>) {
        reply.clear();
        let idle = self.job.take();
        let mut job = idle.unwrap_or_else(|| self.desk.job(&self.local, self.proto));
        if let Err(reject) = job.exchange.request.parse(datagram) {
            self.job.set(Some(job));
            reply.extend(reject.answer(datagram).into_iter().flatten());
            return;
        }
        job.address(client, self.asked);
        let mut job = match self.desk.begin(job) {
            Ok(job) => job,
            Err(mut bench) => {
                let job = bench.finish().await;
                self.desk.keep(bench);
                job
            }
        };
        if job.conclude(&self.desk.census) {
            reply.extend_from_slice(job.exchange.finished());
        }
        job.exchange.reset();
        self.job.set(Some(job));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::chain::{Chain, Exchange, Next, Plugin, Serving};
    use crate::server::Block;
    use crate::wire::{NameBuf, Rcode, Reply, Request, rtype};

    /// Lets go of the thread once, then answers.
    struct Waits;

    impl Plugin for Waits {
        fn name(&self) -> &'static str {
            "waits"
        }

        fn serve<'a>(&'a self, exchange: &'a mut Exchange, _: Next<'a>) -> Serving<'a> {
            Box::pin(async move {
                tokio::task::yield_now().await;
                exchange.answer().set_rcode(Rcode::NXDOMAIN);
                Ok(Rcode::NXDOMAIN)
            })
        }
    }

    #[tokio::test]
    async fn a_datagram_gets_what_a_socket_would_send() {
        let block = Block {
            zones: vec!["example.org".parse::<NameBuf>().unwrap()],
            chain: Chain::from_iter([Arc::new(Waits) as Arc<dyn Plugin>]),
            view: None,
            debug: false,
            stacktrace: false,
        };
        let address = ListenAddress::any(53);
        let plan = Plan::new([(address.clone(), vec![block])]);
        assert!(Direct::new(&plan, &ListenAddress::any(54)).is_none());
        let direct = Direct::new(&plan, &address).unwrap();
        let client = (Ipv4Addr::LOCALHOST, 1053).into();
        let mut reply = vec![1];
        for (name, expected) in [
            ("www.example.org", Rcode::NXDOMAIN),
            ("example.net", Rcode::REFUSED),
            ("example.org", Rcode::NXDOMAIN),
        ] {
            let mut request = Request::new();
            request.ask(7, name.parse::<NameBuf>().unwrap().name(), rtype::A);
            let mut datagram = Vec::new();
            request.write(7, &mut datagram);
            direct.answer(client, &datagram, &mut reply).await;
            let mut answer = Reply::new();
            answer.adopt(&reply, &request).unwrap();
            assert_eq!(answer.rcode(), expected, "{name}");
            // A header that promises a question, and no question.
            direct.answer(client, &datagram[..12], &mut reply).await;
            assert_eq!(reply[..2], datagram[..2]);
            assert_eq!(reply[3] & 0xF, Rcode::SERVFAIL.0 as u8);
            // A reply gets no reply.
            datagram[2] |= 0x80;
            direct.answer(client, &datagram, &mut reply).await;
            assert!(reply.is_empty());
        }
    }
}
