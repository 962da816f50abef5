//! From what a name stands for to the records of an answer (CoreDNS
//! `plugin/backend_lookup.go`).

use std::net::IpAddr;

use smallvec::SmallVec;

use super::apex;
use super::external_name::Chain;
use super::lookup::{Found, Rules, Seen, find};
use super::names::{Asked, Dialect, Subtree};
use super::reverse;
use super::snapshot::{Entry, Snapshot};
use super::soa;
use super::versions::Versions;
use crate::denial::Denial;
use crate::wire::{Name, NameBuf, Owner, RData, Reader, Reply, Request, Section, rtype};

/// How a query ends, as far as the snapshot knows.
pub(super) enum Outcome {
    /// The records are in the reply.
    Answered,
    /// The name exists and has no such record.
    NoData,
    /// The name does not exist.
    NoName(Denial),
    /// The answer is with another plugin, behind these CNAMEs.
    Follow(Box<Chain>),
    /// Not for us to answer: a zone transfer.
    Refused,
}

/// A query, and what it is answered from.
pub(super) struct Asking<'a> {
    pub(super) rules: &'a Rules,
    pub(super) snapshot: &'a Snapshot,
    /// Where the zone is handed out, this says which serial it has.
    pub(super) versions: &'a Versions,
    /// The addresses of this server.
    pub(super) local: &'a [IpAddr],
    /// The zone that the targets of PTR records lie in.
    pub(super) primary: Name<'a>,
    /// The zone as configured, in lower case.
    pub(super) zone: Name<'a>,
    pub(super) multicluster: bool,
    /// The TTL in seconds.
    pub(super) ttl: u32,
    pub(super) request: &'a Request,
    /// The labels of the name in front of the zone, in lower case.
    pub(super) prefix: &'a [u8],
}

/// What RFC 1035 calls the schema version of the zone (DNS specification, 2.1).
const VERSION: &[u8] = b"1.1.0";
const VERSION_TTL: u32 = 28_800;

impl<'a> Asking<'a> {
    /// Answers as far as the snapshot can.
    pub(super) fn answer(&self, reply: &mut Reply) -> Outcome {
        match self.request.qtype() {
            rtype::A | rtype::AAAA => self.addresses(reply),
            rtype::SRV => self.services(reply),
            rtype::TXT => self.text(reply),
            rtype::PTR => self.pointers(reply),
            rtype::CNAME => self.alias(reply),
            rtype::SOA => {
                if !self.prefix.is_empty() {
                    return Outcome::NoData;
                }
                self.push_soa(reply, Section::Answer);
                Outcome::Answered
            }
            rtype::NS if self.prefix.is_empty() && self.zone_is_lower() => {
                apex::name_servers(self, reply)
            }
            rtype::AXFR | rtype::IXFR => Outcome::Refused,
            _ => match self.find() {
                Found::Missing(why) if !self.is_server() => Outcome::NoName(why),
                _ => Outcome::NoData,
            },
        }
    }

    /// Appends the zone's SOA.
    pub(super) fn push_soa(&self, reply: &mut Reply, section: Section) {
        let serial = self
            .versions
            .serial()
            .unwrap_or_else(|| self.snapshot.zone_serial(self.multicluster));
        soa::push(
            reply,
            section,
            self.prefix.len(),
            self.zone,
            self.ttl,
            serial,
        );
    }

    /// The zone with the letter case of the query: what CoreDNS makes names with.
    pub(super) fn zone_as_asked(&self) -> Name<'a> {
        let wire = self.request.qname().wire();
        let zone = wire.get(self.prefix.len()..).unwrap_or_default();
        Name::read(&mut Reader::new(zone)).unwrap_or(self.zone)
    }

    /// `zone_as_asked` is in lower case. CoreDNS compares it with the
    /// lower-case name here and there, so that `ns.dns` and the NS records
    /// vanish when it is not.
    fn zone_is_lower(&self) -> bool {
        let wire = self.request.qname().wire();
        wire.get(self.prefix.len()..) == Some(self.zone.wire())
    }

    /// Whether this is the server's own name, `ns.dns` in the zone.
    pub(super) fn is_server(&self) -> bool {
        self.prefix == apex::SERVER && !self.zone.is_root() && self.zone_is_lower()
    }

    pub(super) fn find(&self) -> Found<'a, 'a> {
        self.find_at(self.prefix)
    }

    fn find_at<'q>(&self, prefix: &'q [u8]) -> Found<'a, 'q> {
        let dialect = Dialect {
            multicluster: self.multicluster,
            zonal: self.rules.zonal,
        };
        // By reference: to move what was read is half as much work as to read it.
        match &Asked::parse(prefix, dialect) {
            Ok(Asked { subtree: None, .. }) => Found::Empty,
            _ if reverse::is_reverse(self.request.name()) => Found::Missing(Denial::NoSuchHost),
            Ok(asked) => find(self.rules, self.snapshot, self.multicluster, asked),
            Err(_) => Found::Missing(Denial::SearchPath),
        }
    }

    fn addresses(&self, reply: &mut Reply) -> Outcome {
        let qtype = self.request.qtype();
        if self.is_server() {
            let mut seen = Seen::new();
            for (_, ip) in apex::addresses(self.rules, self.snapshot, self.local, self.zone) {
                if seen.insert(ip) && rtype_of(ip) == qtype {
                    push_address(reply, Owner::Question, self.ttl, ip);
                }
            }
            return any(reply);
        }
        match &self.find() {
            Found::Missing(why) => return Outcome::NoName(*why),
            Found::Alias(target) => return self.follow(reply, target),
            found => match (found.whole(), qtype) {
                (Some(entry), rtype::A) => reply.push_a(self.ttl, entry.v4()),
                (Some(entry), _) => reply.push_aaaa(self.ttl, entry.v6()),
                (None, _) => each_address(found, qtype, |ip| {
                    push_address(reply, Owner::Question, self.ttl, ip);
                }),
            },
        }
        any(reply)
    }

    /// Walks the CNAMEs within the zone. A chain that ends in nothing is no
    /// answer: CoreDNS then drops all of it.
    fn follow(&self, reply: &mut Reply, target: &str) -> Outcome {
        let zone = self.zone_as_asked();
        let mut chain = Chain::new(self.ttl);
        let mut host = target.to_owned();
        loop {
            let Some(target) = chain.extend(self.request.qname(), &host) else {
                return Outcome::NoData;
            };
            let lower = target.name().to_lower();
            let Some(prefix) = lower.name().prefix_of(zone) else {
                chain.target = target;
                return Outcome::Follow(Box::new(chain));
            };
            if prefix == apex::SERVER && self.zone_is_lower() {
                let mut seen = Seen::new();
                let mut found = apex::addresses(self.rules, self.snapshot, self.local, self.zone);
                found.retain(|(_, ip)| rtype_of(*ip) == self.request.qtype() && seen.insert(*ip));
                if found.is_empty() {
                    return Outcome::NoData;
                }
                chain.push(reply);
                for (_, ip) in found {
                    push_address(reply, Owner::Name(target.name()), self.ttl, ip);
                }
                return Outcome::Answered;
            }
            match self.find_at(prefix) {
                Found::Missing(_) | Found::Empty => return Outcome::NoData,
                Found::Alias(next) => next.clone_into(&mut host),
                found => {
                    let mut ips = SmallVec::<[IpAddr; 8]>::new();
                    each_address(&found, self.request.qtype(), |ip| ips.push(ip));
                    if ips.is_empty() {
                        return Outcome::NoData;
                    }
                    chain.push(reply);
                    for ip in ips {
                        push_address(reply, Owner::Name(target.name()), self.ttl, ip);
                    }
                    return Outcome::Answered;
                }
            }
        }
    }

    fn text(&self, reply: &mut Reply) -> Outcome {
        if self.prefix == b"\x0bdns-version" {
            let version = RData::Txt(&[VERSION]);
            reply.push(Section::Answer, Owner::Question, VERSION_TTL, &version);
            return Outcome::Answered;
        }
        // CoreDNS denies what exists only as a place for other names.
        match self.find() {
            Found::Missing(why) => Outcome::NoName(why),
            Found::Empty => Outcome::NoName(Denial::NoSuchHost),
            _ => Outcome::NoData,
        }
    }

    fn alias(&self, reply: &mut Reply) -> Outcome {
        if self.is_server() {
            return Outcome::NoData;
        }
        match self.find() {
            Found::Missing(why) => Outcome::NoName(why),
            Found::Alias(target) => {
                if let Some(target) = fqdn(target) {
                    let target = RData::Cname(target.name());
                    reply.push(Section::Answer, Owner::Question, self.ttl, &target);
                }
                any(reply)
            }
            _ => Outcome::NoData,
        }
    }

    fn pointers(&self, reply: &mut Reply) -> Outcome {
        let Some(ip) = reverse::address(self.request.name()) else {
            return match self.find() {
                Found::Missing(why) => Outcome::NoName(why),
                _ => Outcome::NoData,
            };
        };
        for target in reverse::targets(self.rules, self.snapshot, self.primary, ip) {
            reply.push(
                Section::Answer,
                Owner::Question,
                self.ttl,
                &RData::Ptr(target.name()),
            );
        }
        match any(reply) {
            Outcome::NoData => Outcome::NoName(Denial::NoSuchHost),
            answered => answered,
        }
    }
}

/// The addresses of one family, each once.
fn each_address(found: &Found<'_, '_>, qtype: u16, mut each: impl FnMut(IpAddr)) {
    if let Some(entry) = found.whole() {
        match qtype {
            rtype::A => entry.v4().iter().for_each(|ip| each(IpAddr::V4(*ip))),
            _ => entry.v6().iter().for_each(|ip| each(IpAddr::V6(*ip))),
        }
        return;
    }
    match found {
        Found::Missing(_) | Found::Empty | Found::Alias(_) | Found::Cluster { .. } => {}
        Found::Endpoints(endpoints) => {
            let mut seen = Seen::new();
            let ips = endpoints.iter().map(|(_, endpoint, _)| endpoint.ip);
            ips.filter(|ip| rtype_of(*ip) == qtype && seen.insert(*ip))
                .for_each(each);
        }
        Found::Pod(ip, _) if rtype_of(*ip) == qtype => each(*ip),
        Found::Pod(..) => {}
    }
}

/// `SERVICE.NAMESPACE.svc.ZONE`; `None` where that is too long for a name.
pub(super) fn service_name(entry: &Entry, zone: Name<'_>) -> Option<NameBuf> {
    let mut name = NameBuf::new();
    push_labels(&mut name, entry.name().as_bytes())?;
    push_labels(&mut name, entry.namespace().as_bytes())?;
    name.push_label(Subtree::Services.label().as_bytes()).ok()?;
    name.push_name(zone).ok()?;
    Some(name)
}

/// Appends labels that are joined by dots.
pub(super) fn push_labels(name: &mut NameBuf, labels: &[u8]) -> Option<()> {
    labels
        .split(|octet| *octet == b'.')
        .filter(|label| !label.is_empty())
        .try_for_each(|label| name.push_label(label).ok())
}

/// A name in text form, with or without the last dot.
pub(super) fn fqdn(text: &str) -> Option<NameBuf> {
    text.parse().ok()
}

/// The type of an address's record.
pub(super) fn rtype_of(ip: IpAddr) -> u16 {
    match ip {
        IpAddr::V4(_) => rtype::A,
        IpAddr::V6(_) => rtype::AAAA,
    }
}

/// An address as RDATA.
pub(super) fn rdata_of(ip: IpAddr) -> RData<'static> {
    match ip {
        IpAddr::V4(ip) => RData::A(ip),
        IpAddr::V6(ip) => RData::Aaaa(ip),
    }
}

fn push_address(reply: &mut Reply, owner: Owner<'_>, ttl: u32, ip: IpAddr) {
    reply.push(Section::Answer, owner, ttl, &rdata_of(ip));
}

pub(super) fn any(reply: &Reply) -> Outcome {
    match reply.count(Section::Answer) {
        0 => Outcome::NoData,
        _ => Outcome::Answered,
    }
}
