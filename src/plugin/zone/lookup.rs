//! Answers from a zone (CoreDNS `plugin/file/lookup.go`; RFC 1034 section
//! 4.3.2, RFC 4592, RFC 6672).

use std::collections::HashSet;

use super::key::{self, Key};
use super::node::{Node, Set};
use super::store::Zone;
use crate::wire::{
    Name, NameBuf, Owner, RData, Rcode, Reader, Reply, Request, Section, class, rtype,
};

/// How a query ends, as far as the zone knows.
pub(in crate::plugin) enum Outcome {
    /// The records are in the reply, and so is the response code.
    Answered,
    /// Denied in the reply: the name does not exist, or exists only because
    /// others lie below it. What may be passed on to the next plugin.
    NoName,
    /// What the reply says ends in an alias for this name, which the whole
    /// server is to be asked for.
    Follow(Box<NameBuf>),
    /// No answer is possible.
    Failed,
}

/// Aliases are followed within the zone this often.
const MAX_CHAIN: usize = 9;
/// The name that a DNAME leads to is too long (RFC 6672 section 2.2).
const YXDOMAIN: Rcode = Rcode(6);

/// A query and the zone that answers it.
pub(in crate::plugin) struct Lookup<'a> {
    zone: &'a Zone,
    request: &'a Request,
    qtype: u16,
    dnssec: bool,
}

impl<'a> Lookup<'a> {
    /// The query in `request`, whose name lies in the zone.
    pub(in crate::plugin) fn new(zone: &'a Zone, request: &'a Request) -> Self {
        Self {
            zone,
            request,
            qtype: request.qtype(),
            dnssec: request.dnssec_ok(),
        }
    }

    /// Answers into a fresh reply.
    pub(in crate::plugin) fn answer(&self, reply: &mut Reply) -> Outcome {
        let name = self.request.name();
        let Some(key) = Key::in_zone(name, self.zone.origin()) else {
            return Outcome::Failed;
        };
        let key = key.octets();
        if key.is_empty() && self.apex(reply) {
            return Outcome::Answered;
        }
        match self.cut_above(key) {
            Some(Cut::Alias(node, dname)) => return self.redirect(reply, node, dname),
            Some(Cut::Delegation(node)) => {
                self.refer(reply, node);
                return Outcome::Answered;
            }
            None => {}
        }
        let place = match self.zone.tree.seek(key) {
            Ok(node) if self.owns_more_than_apex(node) => return self.found(reply, node),
            // As in CoreDNS the apex on its own is no more than the parent of others.
            Ok(_) => {
                self.push_soa(reply, Section::Authority);
                return Outcome::NoName;
            }
            Err(place) => place,
        };
        let (before, behind) = (self.zone.tree.before(place), self.zone.tree.behind(place));
        if behind.is_some_and(|node| node.key.starts_with(key)) {
            self.push_soa(reply, Section::Authority);
            self.push_denial(reply, before);
            return Outcome::NoName;
        }
        let near = |node: Option<Node<'_>>| node.map_or(&[][..], |node| key::common(key, node.key));
        let encloser = std::cmp::max_by_key(near(before), near(behind), |key| key.len());
        let wildcard = Key::wildcard(encloser);
        if self.zone.kinds.wildcards > 0 {
            match self.zone.tree.seek(wildcard.octets()) {
                Ok(source) => return self.expand(reply, source, before),
                Err(place) => {
                    let behind = self.zone.tree.behind(place);
                    if behind.is_some_and(|node| node.key.starts_with(wildcard.octets())) {
                        self.push_soa(reply, Section::Authority);
                        return Outcome::Answered;
                    }
                }
            }
        }
        reply.set_rcode(Rcode::NXDOMAIN);
        self.push_soa(reply, Section::Authority);
        if self.dnssec {
            self.push_denial(reply, before);
            let place = self.zone.tree.seek(wildcard.octets());
            let other = place.err().and_then(|place| self.zone.tree.before(place));
            if other.map(|node| node.key) != before.map(|node| node.key) {
                self.push_denial(reply, other);
            }
        }
        Outcome::NoName
    }

    /// Completes an answer that ends in an alias with what the server said
    /// about the target; `None` if it said nothing.
    pub(in crate::plugin) fn complete(&self, reply: &mut Reply, found: Option<&Reply>) {
        let mut rcode = Rcode::SERVFAIL;
        let mut denied = false;
        if let Some(found) = found {
            for view in found.section(Section::Answer) {
                if let Ok(record) = view.to_record() {
                    reply.push_record(&record);
                }
            }
            rcode = match found.rcode() {
                code @ (Rcode::NXDOMAIN | Rcode::SERVFAIL) => code,
                _ => Rcode::NOERROR,
            };
            let empty = found.count(Section::Answer) == 0;
            denied = rcode == Rcode::NXDOMAIN || (found.rcode() == Rcode::NOERROR && empty);
        }
        // RFC 6604 section 3: the code is that of the last name.
        reply.set_rcode(rcode);
        match denied {
            true => self.push_soa(reply, Section::Authority),
            false => self.push_ns(reply, Section::Authority),
        }
        self.push_additional(reply);
    }

    /// SOA and NS of the apex.
    fn apex(&self, reply: &mut Reply) -> bool {
        match self.qtype {
            rtype::SOA => {
                self.push_soa(reply, Section::Answer);
                self.push_ns(reply, Section::Authority);
            }
            rtype::NS => {
                self.push_ns(reply, Section::Answer);
                if let Some(apex) = self.zone.apex() {
                    self.push_glue(reply, apex);
                }
            }
            _ => return false,
        }
        true
    }

    /// Whether an alias to this name ends here; else the server is asked anew.
    fn owns_answer(&self, node: Node<'_>) -> bool {
        let elsewhere =
            self.qtype == rtype::NS || (self.qtype == rtype::SOA && node.key.is_empty());
        !elsewhere && self.owns_more_than_apex(node)
    }

    fn owns_more_than_apex(&self, node: Node<'_>) -> bool {
        !node.key.is_empty() || node.sets().any(|set| set.rtype != rtype::NS)
    }

    /// The highest name on the way to `key` where the zone ends.
    fn cut_above(&self, key: &[u8]) -> Option<Cut<'a>> {
        let kinds = &self.zone.kinds;
        if kinds.delegations + kinds.dnames == 0 {
            return None;
        }
        key::ancestry(key).find_map(|at| {
            let node = self.zone.tree.find(at)?;
            let dname = node.set(rtype::DNAME).filter(|_| at != key);
            if let Some(dname) = dname {
                return Some(Cut::Alias(node, dname));
            }
            self.delegates(node, at == key)
                .then_some(Cut::Delegation(node))
        })
    }

    /// A DS is with the parent, everything else with the child.
    fn delegates(&self, node: Node<'_>, itself: bool) -> bool {
        let kept = node.key.is_empty() || (self.qtype == rtype::DS && itself);
        !kept && node.set(rtype::NS).is_some()
    }

    fn found(&self, reply: &mut Reply, node: Node<'_>) -> Outcome {
        self.answer_by(reply, node, |_| ())
    }

    /// A wildcard answers for the name asked; `before` is its neighbour.
    fn expand(&self, reply: &mut Reply, source: Node<'_>, before: Option<Node<'_>>) -> Outcome {
        // No closer name exists.
        self.answer_by(reply, source, |reply| self.push_denial(reply, before))
    }

    /// Answers with what stands at this name; `prove` adds what a positive
    /// answer needs behind the NS of the zone.
    fn answer_by(
        &self,
        reply: &mut Reply,
        node: Node<'_>,
        prove: impl FnOnce(&mut Reply),
    ) -> Outcome {
        self.answer_from(reply, node);
        match self.alias_at(node) {
            Some(target) => self.chase(reply, target),
            None if node.set(self.qtype).is_some() => {
                self.push_ns(reply, Section::Authority);
                prove(reply);
                self.push_additional(reply);
                Outcome::Answered
            }
            None => {
                self.push_soa(reply, Section::Authority);
                self.push_nsec(reply, node);
                Outcome::Answered
            }
        }
    }

    /// Where an alias at this name leads.
    fn alias_at(&self, node: Node<'_>) -> Option<NameBuf> {
        let set = node
            .set(rtype::CNAME)
            .filter(|_| self.qtype != rtype::CNAME)?;
        target_of(set)
    }

    /// The records of the type asked for, or the alias, of the name asked for.
    fn answer_from(&self, reply: &mut Reply, node: Node<'_>) {
        let wanted = match self.alias_at(node) {
            Some(_) => rtype::CNAME,
            None => self.qtype,
        };
        self.push_set(reply, Section::Answer, self.owner(), node, wanted);
    }

    /// A DNAME answers for what lies below it.
    fn redirect(&self, reply: &mut Reply, node: Node<'_>, dname: Set<'_>) -> Outcome {
        let owner = key::name(node.key, self.zone.origin());
        let Some((ttl, rdata)) = dname.records().next() else {
            return Outcome::Failed;
        };
        let Ok(target) = Name::read(&mut Reader::new(rdata)) else {
            return Outcome::Failed;
        };
        self.push_set(
            reply,
            Section::Answer,
            Owner::Name(owner.name()),
            node,
            rtype::DNAME,
        );
        let name = self.request.name();
        let Some(becomes) = substitute(name, owner.name(), target) else {
            reply.set_rcode(YXDOMAIN);
            return Outcome::Answered;
        };
        if becomes.name().eq_ignore_case(name) {
            return Outcome::Failed;
        }
        let cname = RData::Cname(becomes.name());
        reply.push(Section::Answer, self.owner(), ttl, &cname);
        if self.qtype == rtype::CNAME {
            self.push_ns(reply, Section::Authority);
            return Outcome::Answered;
        }
        self.chase(reply, becomes.name().to_lower())
    }

    /// Follows aliases as far as they stay in the zone.
    fn chase(&self, reply: &mut Reply, target: NameBuf) -> Outcome {
        let mut target = target;
        for _ in 0..MAX_CHAIN {
            let Some(key) = Key::in_zone(target.name(), self.zone.origin()) else {
                return Outcome::Follow(Box::new(target));
            };
            let key = key.octets();
            if let Some(Cut::Delegation(node)) = self.cut_above(key) {
                self.refer(reply, node);
                return Outcome::Answered;
            }
            let node = self.zone.tree.find(key);
            let Some(node) = node.filter(|node| self.owns_answer(*node)) else {
                return Outcome::Follow(Box::new(target));
            };
            let owner = Owner::Name(target.name());
            let Some(next) = self.alias_at(node) else {
                self.push_set(reply, Section::Answer, owner, node, self.qtype);
                break;
            };
            self.push_set(reply, Section::Answer, owner, node, rtype::CNAME);
            target = next;
        }
        self.push_ns(reply, Section::Authority);
        self.push_additional(reply);
        Outcome::Answered
    }

    /// Names the servers of a delegated zone.
    fn refer(&self, reply: &mut Reply, node: Node<'_>) {
        if reply.count(Section::Answer) == 0 {
            reply.set_flag(crate::wire::flags::AA, false);
        }
        let owner = key::name(node.key, self.zone.origin());
        let owner = Owner::Name(owner.name());
        self.push_records(reply, Section::Authority, owner, node.set(rtype::NS));
        if self.dnssec {
            self.push_set(reply, Section::Authority, owner, node, rtype::DS);
        }
        self.push_glue(reply, node);
    }

    /// The addresses of name servers below the name that they serve.
    fn push_glue(&self, reply: &mut Reply, node: Node<'_>) {
        let cut = key::name(node.key, self.zone.origin());
        let servers = node.set(rtype::NS).into_iter().flat_map(Set::records);
        for (_, rdata) in servers {
            if let Ok(server) = Name::read(&mut Reader::new(rdata))
                && server.is_under(cut.name())
            {
                self.push_addresses(reply, server);
            }
        }
    }

    fn push_addresses(&self, reply: &mut Reply, host: Name<'_>) {
        let host = host.to_lower();
        let key = Key::in_zone(host.name(), self.zone.origin());
        let Some(node) = key.and_then(|key| self.zone.tree.find(key.octets())) else {
            return;
        };
        let owner = Owner::Name(host.name());
        for kind in [rtype::A, rtype::AAAA] {
            self.push_set(reply, Section::Additional, owner, node, kind);
        }
    }

    /// The addresses of the hosts that the answer names.
    fn push_additional(&self, reply: &mut Reply) {
        let skip = match self.qtype {
            rtype::SRV => 6,
            rtype::MX | rtype::SVCB | rtype::HTTPS => 2,
            _ => return,
        };
        let answers = reply
            .section(Section::Answer)
            .filter(|view| view.rtype == self.qtype);
        let hosts: Vec<NameBuf> = answers.filter_map(|view| view.target(skip).ok()).collect();
        let mut seen =
            HashSet::with_capacity_and_hasher(hosts.len(), foldhash::fast::RandomState::default());
        for host in &hosts {
            if seen.insert(host.name().to_lower()) {
                self.push_addresses(reply, host.name());
            }
        }
    }

    fn push_soa(&self, reply: &mut Reply, section: Section) {
        let soa = self.zone.soa();
        let (origin, rdata) = (self.zone.origin(), RData::Other(rtype::SOA, &soa.rdata));
        reply.push(section, Owner::Name(origin), soa.ttl, &rdata);
        if let Some(apex) = self.zone.apex() {
            self.push_signatures(reply, section, Owner::Name(origin), apex, rtype::SOA);
        }
    }

    fn push_ns(&self, reply: &mut Reply, section: Section) {
        if let Some(apex) = self.zone.apex() {
            let origin = Owner::Name(self.zone.origin());
            self.push_set(reply, section, origin, apex, rtype::NS);
        }
    }

    /// The NSEC of a name, for who wants it.
    fn push_nsec(&self, reply: &mut Reply, node: Node<'_>) {
        if self.dnssec {
            let owner = key::name(node.key, self.zone.origin());
            let owner = Owner::Name(owner.name());
            self.push_set(reply, Section::Authority, owner, node, rtype::NSEC);
        }
    }

    /// The NSEC in front of a gap.
    fn push_denial(&self, reply: &mut Reply, before: Option<Node<'_>>) {
        if let Some(node) = before {
            self.push_nsec(reply, node);
        }
    }

    /// A set, with its signatures for who wants them.
    fn push_set(
        &self,
        reply: &mut Reply,
        section: Section,
        owner: Owner<'_>,
        node: Node<'_>,
        rtype: u16,
    ) {
        let Some(set) = node.set(rtype) else { return };
        self.push_records(reply, section, owner, Some(set));
        self.push_signatures(reply, section, owner, node, rtype);
    }

    fn push_records(
        &self,
        reply: &mut Reply,
        section: Section,
        owner: Owner<'_>,
        set: Option<Set<'_>>,
    ) {
        let Some(set) = set else { return };
        for (ttl, rdata) in set.records() {
            let rdata = RData::Other(set.rtype, rdata);
            reply.push_class(section, owner, class::IN, ttl, &rdata);
        }
    }

    fn push_signatures(
        &self,
        reply: &mut Reply,
        section: Section,
        owner: Owner<'_>,
        node: Node<'_>,
        covered: u16,
    ) {
        // Who asks for the signatures themselves has all of them already.
        let Some(set) = node
            .set(rtype::RRSIG)
            .filter(|_| self.dnssec && covered != rtype::RRSIG)
        else {
            return;
        };
        for (ttl, rdata) in set.records() {
            if rdata.starts_with(&covered.to_be_bytes()) {
                let rdata = RData::Other(rtype::RRSIG, rdata);
                reply.push_class(section, owner, class::IN, ttl, &rdata);
            }
        }
    }

    /// The name asked for as an answer's owner: in lower case, as in CoreDNS.
    fn owner(&self) -> Owner<'a> {
        match self.request.qname() == self.request.name() {
            true => Owner::Question,
            false => Owner::Name(self.request.name()),
        }
    }
}

/// Where a zone ends.
enum Cut<'a> {
    Delegation(Node<'a>),
    Alias(Node<'a>, Set<'a>),
}

/// The first name in the first record of a set, in lower case.
fn target_of(set: Set<'_>) -> Option<NameBuf> {
    let (_, rdata) = set.records().next()?;
    let name = Name::read(&mut Reader::new(rdata)).ok()?;
    Some(name.to_lower())
}

/// `name` with `target` in the place of `owner`; `None` if that is too long.
fn substitute(name: Name<'_>, owner: Name<'_>, target: Name<'_>) -> Option<NameBuf> {
    let prefix = name.wire().len() - owner.wire().len();
    let mut out = NameBuf::new();
    let mut taken = 0;
    for label in name.labels() {
        if taken >= prefix {
            break;
        }
        taken += 1 + label.len();
        out.push_label(label).ok()?;
    }
    out.push_name(target).ok()?;
    Some(out)
}
