//! `forward`: asks other servers.
//!
//! ```text
//! forward FROM TO... {
//!     except NAMES...
//!     force_tcp
//!     prefer_udp
//!     expire DURATION                      # 10s
//!     max_age DURATION                     # 0s: no limit
//!     max_idle_conns N                     # 0: no limit
//!     read_timeout DURATION                # 2s
//!     max_fails N                          # 2
//!     max_connect_attempts N               # two for each upstream
//!     health_check DURATION [no_rec] [domain FQDN]    # 0.5s, the root
//!     policy random|round_robin|sequential # random
//!     max_concurrent N                     # 0: no limit
//!     next RCODE...
//!     next_on_nodata
//!     failover RCODE...
//!     failfast_all_unhealthy_upstreams
//!     source_address IP
//!     resolver IP[:PORT]...
//!     doh_method POST|GET
//!     tls
//!     tls_servername NAME
//! }
//! ```
//!
//! FROM is the zone whose queries are forwarded. TO is `IP[:PORT]` or
//! `dns://IP[:PORT]`, a file like `/etc/resolv.conf`, or a host name, which is
//! resolved once, when the configuration comes into force. A TO with `tls://`
//! or `https://` is refused for now, and the last three options therefore
//! have no effect. `forward` may stand in a block several times; the first
//! whose FROM and `except` let a query through takes it, and `next` hands it
//! to the one after that.

mod resolve;
mod setup;
mod to;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use super::unasked::Unasked;
use super::{BuildError, Builder, Definition, Spec};
use crate::chain::{Exchange, Failure, Next, Plugin, Proto, Served, Serving};
use crate::status::{Status, UpstreamStatus};
use crate::upstream::{self, Answer, Buf, Error, Group, Transport};
use crate::wire::{Ede, Name, NameBuf, Rcode};

use self::setup::Stanza;
use self::to::To;

pub(super) static DEFINITION: Definition = Definition {
    name: "forward",
    parse: |directive, _| Ok(Box::new(ForwardSpec(setup::parse(directive)?))),
};

/// All `forward` of a block.
#[derive(Debug)]
struct ForwardSpec(Vec<Stanza>);

impl Spec for ForwardSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        upstream::register_metrics();
        for stanza in self.0 {
            if builder.settings.is_offline() {
                let scope = Scope::of(&stanza);
                let takes = move |name: Name<'_>| scope.takes(name);
                builder.push(Arc::new(Unasked::new(DEFINITION.name, takes)));
                continue;
            }
            builder.push(Arc::new(Forward::new(stanza)?));
        }
        Ok(())
    }
}

/// What a TO is, before anything is looked up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Destination {
    /// An address.
    Address(SocketAddr),
    /// The name of a file in the form of `/etc/resolv.conf` or, where there
    /// is none, of a host.
    Indirect(String),
}

/// What a TO of the Corefile is, for the tools beside the server.
///
/// # Errors
///
/// In the words of the setup.
pub fn destination(to: &str) -> Result<Destination, String> {
    Ok(match to::parse(to)? {
        To::Address((address, _)) => Destination::Address(address),
        To::Indirect { path, .. } => Destination::Indirect(path),
    })
}

/// The addresses that a TO leads to from this host. Reads files and resolves
/// names, and so blocks.
///
/// # Errors
///
/// In the words of the setup.
pub fn upstreams(to: &str) -> Result<Vec<SocketAddr>, String> {
    let found = to::expand(&[to::parse(to)?], &[])?;
    Ok(found.into_iter().map(|(address, _)| address).collect())
}

/// One `forward`.
struct Forward {
    scope: Scope,
    next_rcodes: Vec<u16>,
    next_on_nodata: bool,
    group: Arc<Group>,
}

/// The names that a `forward` is for.
struct Scope {
    from: NameBuf,
    except: Vec<NameBuf>,
}

impl Scope {
    fn of(stanza: &Stanza) -> Self {
        Self {
            from: stanza.from.clone(),
            except: stanza.except.clone(),
        }
    }

    fn takes(&self, name: Name<'_>) -> bool {
        name.is_under(self.from.name())
            && (name.eq_ignore_case(self.from.name())
                || !self.except.iter().any(|zone| name.is_under(zone.name())))
    }
}

impl Forward {
    fn new(stanza: Stanza) -> Result<Self, BuildError> {
        if let Some(warning) = &stanza.warning {
            tracing::warn!(target: "plugin/forward", "{warning}");
        }
        let upstreams = to::expand(&stanza.to, &stanza.resolvers).map_err(BuildError::new)?;
        Ok(Self {
            scope: Scope::of(&stanza),
            next_rcodes: stanza.next_rcodes,
            next_on_nodata: stanza.next_on_nodata,
            group: Arc::new(Group::new(stanza.options, upstreams)),
        })
    }

    /// Whether the plugin behind this one is to try its luck.
    fn leaves(&self, answer: &Answer, next: &Next<'_>) -> bool {
        (self.next_rcodes.contains(&answer.rcode) || self.next_on_nodata && answer.is_nodata())
            && next
                .plugins()
                .next()
                .is_some_and(|plugin| plugin.name() == DEFINITION.name)
    }

    async fn ask(&self, exchange: &mut Exchange, next: Next<'_>) -> Served {
        let query = Buf::filled(|buffer| exchange.request.write(exchange.request.id(), buffer));
        let client = match exchange.proto {
            Proto::Udp => Transport::Udp,
            Proto::Tcp => Transport::Tcp,
        };
        let answer = match self.group.exchange(query, client).await {
            Ok(answer) => answer,
            Err(error) => return refuse(exchange, error),
        };
        if self.leaves(&answer, &next) {
            return next.serve(exchange).await;
        }
        exchange
            .metadata
            .push(("forward/upstream", answer.upstream_name().to_owned()));
        match exchange.adopt(&answer.message) {
            Ok(_) => Ok(Rcode::NOERROR),
            Err(error) => Err(Failure::servfail(format!("dns: {error}"))
                .explained(Ede::new(Ede::NETWORK_ERROR, "malformed upstream reply"))),
        }
    }
}

impl Plugin for Forward {
    fn name(&self) -> &'static str {
        DEFINITION.name
    }

    fn serve<'a>(&'a self, exchange: &'a mut Exchange, next: Next<'a>) -> Serving<'a> {
        if !self.scope.takes(exchange.request.name()) {
            return next.serve(exchange);
        }
        Box::pin(self.ask(exchange, next))
    }

    fn status(&self) -> Status {
        let upstreams = self.group.health();
        Status {
            upstreams: upstreams
                .map(|(to, health)| UpstreamStatus {
                    health,
                    to: to.to_owned(),
                    plugin: DEFINITION.name,
                    zone: self.scope.from.to_string(),
                })
                .collect(),
            ..Status::default()
        }
    }
}

/// What a client gets whose query nobody answered.
fn refuse(exchange: &mut Exchange, error: Error) -> Served {
    let message = error.to_string();
    Err(match error {
        // CoreDNS answers this one itself, and logs nothing.
        Error::WrongReply(_) => {
            exchange.answer().set_rcode(Rcode::FORMERR);
            exchange.explain(Ede::new(
                Ede::NETWORK_ERROR,
                "upstream answered another question",
            ));
            return Ok(Rcode::NOERROR);
        }
        Error::InvalidRequest(_) => Failure::new(Rcode::FORMERR, message),
        Error::TooManyQueries(_) => Failure::new(Rcode::REFUSED, message).explained(Ede::new(
            Ede::PROHIBITED,
            "too many concurrent queries to upstreams",
        )),
        Error::NoHealthy => Failure::servfail(message)
            .explained(Ede::new(Ede::NO_REACHABLE_AUTHORITY, "no healthy upstream")),
        Error::Failed(_) => Failure::servfail(message)
            .explained(Ede::new(Ede::NETWORK_ERROR, "upstreams did not answer")),
    })
}
