//! Edits of the tables that a snapshot is made of.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::model::{Service, Slice};
use super::super::snapshot::{Entry, Tag};
use super::super::table::{IpTable, Table};

pub(super) fn service_at(
    table: &Table<Arc<Entry>>,
    hash: u64,
    namespace: &str,
    name: &str,
) -> Option<Arc<Service>> {
    entry_at(table, hash, namespace, name)?
        .shared_service()
        .cloned()
}

fn entry_at<'a>(
    table: &'a Table<Arc<Entry>>,
    hash: u64,
    namespace: &str,
    name: &str,
) -> Option<&'a Arc<Entry>> {
    let mut bucket = table.bucket(hash).iter();
    bucket.find(|entry| entry.name() == name && entry.namespace() == namespace)
}

/// A slice repeats its service's name; let it share the bytes.
pub(super) fn share_name(table: &Table<Arc<Entry>>, hash: u64, slice: &mut Slice) {
    if let Some(entry) = entry_at(table, hash, &slice.namespace, &slice.service) {
        slice.service = Arc::clone(entry.shared_name());
    }
}

pub(super) fn set_service(
    table: &mut Table<Arc<Entry>>,
    hash: u64,
    namespace: &Arc<str>,
    name: &Arc<str>,
    service: Option<Arc<Service>>,
) {
    edit_entry(table, hash, namespace, name, |entry| {
        let slices = entry.map_or_else(Vec::new, |entry| entry.shared_slices().to_vec());
        (service, slices)
    });
}

/// Puts `new` in the place of the slice of the name of `at`, or takes that
/// out.
pub(super) fn set_slice(
    table: &mut Table<Arc<Entry>>,
    hash: u64,
    at: &Arc<Slice>,
    new: Option<Arc<Slice>>,
) {
    edit_entry(table, hash, &at.namespace, &at.service, |entry| {
        let service = entry.and_then(|entry| entry.shared_service()).cloned();
        let mut slices = entry.map_or_else(Vec::new, |entry| entry.shared_slices().to_vec());
        match (
            slices.binary_search_by(|slice| slice.name.cmp(&at.name)),
            new,
        ) {
            (Ok(i), Some(new)) => slices[i] = new,
            (Ok(i), None) => drop(slices.remove(i)),
            (Err(i), Some(new)) => slices.insert(i, new),
            (Err(_), None) => {}
        }
        (service, slices)
    });
}

type Parts = (Option<Arc<Service>>, Vec<Arc<Slice>>);

fn edit_entry(
    table: &mut Table<Arc<Entry>>,
    hash: u64,
    namespace: &Arc<str>,
    name: &Arc<str>,
    f: impl FnOnce(Option<&Entry>) -> Parts,
) {
    table.edit(hash, |bucket| {
        let at = bucket
            .iter()
            .position(|e| e.name() == &**name && e.namespace() == &**namespace);
        let (service, slices) = f(at.and_then(|at| bucket.get(at)).map(|e| &**e));
        let entry = (service.is_some() || !slices.is_empty()).then(|| {
            let (namespace, name) = (Arc::clone(namespace), Arc::clone(name));
            Arc::new(Entry::new(hash, namespace, name, service, slices.into()))
        });
        match (at, entry) {
            (Some(at), Some(entry)) => bucket[at] = entry,
            (Some(at), None) => drop(bucket.remove(at)),
            (None, Some(entry)) => bucket.push(entry),
            (None, None) => {}
        }
    });
}

/// Makes the addresses of `tag` those of `new`, where they were those of
/// `old`. What stays is not touched.
pub(super) fn move_ips(
    table: &mut IpTable<Tag>,
    tag: Tag,
    old: impl Iterator<Item = IpAddr>,
    new: impl Iterator<Item = IpAddr>,
) {
    let mut old: Vec<IpAddr> = old.collect();
    let mut new: Vec<IpAddr> = new.collect();
    if old == new {
        return;
    }
    old.sort_unstable();
    new.sort_unstable();
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (Some(o), Some(n)) if o == n => {
                old.next();
                new.next();
            }
            (Some(o), n) if n.is_none_or(|n| o < n) => {
                table.remove(*o, &tag);
                old.next();
            }
            (_, Some(n)) => {
                table.insert(*n, tag);
                new.next();
            }
            (_, None) => return,
        }
    }
}
