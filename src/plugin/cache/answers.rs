//! Whether a reply holds what was asked for.

use crate::wire::{NameBuf, Rcode, RecordView, Reply, Request, Section, class, rtype};

/// CNAMEs that are followed; a longer chain is taken for none that ends.
const MAX_CNAMES: usize = 64;

/// Whether a NOERROR reply has a record of the queried type where the CNAME
/// chain from the queried name ends (RFC 1034 section 3.6.2, RFC 2308 section
/// 2.2). A chain that forks or loops ends nowhere.
pub(super) fn answers_question(request: &Request, reply: &Reply) -> bool {
    if reply.rcode() != Rcode::NOERROR || reply.count(Section::Answer) == 0 {
        return false;
    }
    let of_class =
        |view: &RecordView<'_>| request.qclass() == class::ANY || view.class == request.qclass();
    let answers = || reply.section(Section::Answer).filter(of_class);
    let owned = |view: &RecordView<'_>, name: &NameBuf| {
        view.owner()
            .is_ok_and(|owner| owner.name().eq_ignore_case(name.name()))
    };
    let mut name = request.name().to_buf();
    if request.qtype() == rtype::ANY {
        return answers().any(|view| owned(&view, &name));
    }
    let mut cnames: Vec<(NameBuf, NameBuf)> = Vec::new();
    for view in answers().filter(|view| view.rtype == rtype::CNAME) {
        let (Ok(owner), Ok(target)) = (view.owner(), view.target(0)) else {
            return false;
        };
        let link = (owner.name().to_lower(), target.name().to_lower());
        if !cnames.contains(&link) {
            cnames.push(link);
        }
        if cnames.len() > MAX_CNAMES {
            return false;
        }
    }
    // Each step uses up a link, so there are no more steps than links but in a loop.
    for _ in 0..=cnames.len() {
        let mut links = cnames.iter().filter(|(owner, _)| *owner == name);
        match (links.next(), links.next()) {
            (Some(_), Some(_)) => return false,
            (Some(_), None) if request.qtype() == rtype::CNAME => return true,
            (Some((_, target)), None) => name = target.clone(),
            (None, _) => {
                let wanted = |view: &RecordView<'_>| view.rtype == request.qtype();
                return answers().filter(wanted).any(|view| owned(&view, &name));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Owner, RData};

    #[test]
    fn a_chain_must_end_in_the_queried_type() {
        let (a, cname) = (rtype::A, rtype::CNAME);
        for (qtype, records, answers) in [
            (a, &["q A"][..], true),
            (a, &["Q A"], true),
            (a, &["x A"], false),
            (a, &["q x", "x A"], true),
            (a, &["x A", "q x"], true),
            (a, &["q x", "X y", "y A"], true),
            (a, &["q x", "q x", "x A"], true),
            (a, &["q x"], false),
            (a, &["q x", "y A"], false),
            (a, &["q x", "q y", "x A"], false),
            (a, &["q x", "x q", "q A"], false),
            (a, &["q q", "q A"], false),
            // An alias has no other data.
            (a, &["q x", "q A"], false),
            (cname, &["q x"], true),
            (cname, &["x y"], false),
            (cname, &["q x", "q y"], false),
            (rtype::AAAA, &["q A"], false),
            (rtype::AAAA, &["q x", "x A"], false),
            (rtype::ANY, &["q A"], true),
            (rtype::ANY, &["q x"], true),
            (rtype::ANY, &["x A"], false),
            (a, &[], false),
        ] {
            let name = |label: &str| label.parse::<NameBuf>().unwrap();
            let mut request = Request::new();
            request.ask(1, name("q").name(), qtype);
            let mut reply = Reply::new();
            reply.start(&request);
            for record in records {
                let (owner, data) = record.split_once(' ').unwrap();
                let (owner, target) = (name(owner), name(data));
                let rdata = match data {
                    "A" => RData::A([192, 0, 2, 1].into()),
                    _ => RData::Cname(target.name()),
                };
                reply.push(Section::Answer, Owner::Name(owner.name()), 5, &rdata);
            }
            assert_eq!(
                answers_question(&request, &reply),
                answers,
                "{qtype} {records:?}"
            );
            request.set_qclass(class::CH);
            assert!(!answers_question(&request, &reply), "{qtype} {records:?}");
        }
    }
}
