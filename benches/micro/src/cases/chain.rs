//! Datagram to datagram by the kubeadm Corefile: all but the system calls.

use std::hint::black_box;
use std::rc::Rc;

use pando::server::Direct;
use pando::wire::{Rcode, rtype};

use super::Turns;
use crate::server::{at_once, client, expect, kubeadm, query};
use crate::{Case, cluster};

pub(super) fn cases() -> anyhow::Result<Vec<Case>> {
    let server = Rc::new(kubeadm()?);
    let ten = cluster::ENDPOINTS;
    let (found, missing) = (Rcode::NOERROR, Rcode::NXDOMAIN);
    [
        (
            "chain, cluster A",
            cluster::services(),
            rtype::A,
            (found, 1),
        ),
        (
            "chain, cluster AAAA, no data",
            cluster::services(),
            rtype::AAAA,
            (found, 0),
        ),
        (
            "chain, headless 10",
            cluster::headless(),
            rtype::A,
            (found, ten),
        ),
        (
            "chain, step of the search walk",
            cluster::walk(),
            rtype::A,
            (missing, 0),
        ),
        ("chain, PTR", cluster::reverse(), rtype::PTR, (found, 1)),
        (
            "chain, cached external",
            cluster::external(),
            rtype::A,
            (found, 2),
        ),
    ]
    .into_iter()
    .map(|(name, names, qtype, expected)| answer(&server, name, &names, qtype, expected))
    .collect()
}

fn answer(
    server: &Rc<Direct>,
    name: &'static str,
    names: &[String],
    qtype: u16,
    expected: (Rcode, usize),
) -> anyhow::Result<Case> {
    let server = server.clone();
    let mut reply = Vec::new();
    let mut queries = Vec::new();
    for asked in names {
        let query = query(asked, qtype)?;
        at_once(server.answer(client(), &query, &mut reply));
        expect(&query, &reply, expected)?;
        queries.push(query);
    }
    let mut queries = Turns::new(queries);
    Ok(Case::new(name, move || {
        at_once(server.answer(client(), black_box(queries.take()), &mut reply));
        black_box(&reply);
    }))
}
