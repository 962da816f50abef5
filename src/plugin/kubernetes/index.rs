//! The one writer of [`Snapshot`]s: takes objects in, keeps the tables that
//! answers read, and says what each change means for the zones' serials.

mod edit;

use std::collections::HashSet;
use std::sync::Arc;

use super::model::{Kind, Object, Pod, Programmed, SearchList, Service, ServiceKind, Slice};
use super::objects::Objects;
use super::snapshot::{Entry, Snapshot, State, Tag};
use super::table::Table;
use edit::{move_ips, service_at, set_service, set_slice, share_name};

/// The state that is being written, and what is needed to write it.
pub struct Index {
    next: Snapshot,
    dirty: bool,
    /// Kinds that must be read once before the state counts as synced.
    wanted: Vec<Kind>,
    listed: HashSet<Kind>,
    slices: Objects<Slice>,
    import_slices: Objects<Slice>,
    pods: Objects<Pod>,
    // Services, imports and namespaces are found in the tables themselves;
    // only a relist needs to know which of them it has seen.
    seen_services: Option<HashSet<Key>>,
    seen_imports: Option<HashSet<Key>>,
    seen_namespaces: Option<HashSet<Key>>,
}

type Key = (Arc<str>, Arc<str>);

/// What an event did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Whether answers may differ from before.
    pub changed: bool,
    /// For a slice: of which kind the one Service is that it names; `None`
    /// when there is none.
    pub programmed: Option<Programmed>,
}

impl Applied {
    fn of(changed: bool) -> Self {
        Self {
            changed,
            programmed: None,
        }
    }
}

impl Index {
    /// An index that is synced when all of `wanted` have been listed.
    pub fn new(wanted: &[Kind]) -> Self {
        Self {
            next: Snapshot::empty(),
            dirty: true,
            wanted: wanted.to_vec(),
            listed: HashSet::new(),
            slices: Objects::default(),
            import_slices: Objects::default(),
            pods: Objects::default(),
            seen_services: None,
            seen_imports: None,
            seen_namespaces: None,
        }
    }

    /// Adds or updates an object. `now` is the Unix time that a serial gets
    /// when the zone changes by it.
    pub fn apply(&mut self, object: Object, now: u32) -> Applied {
        let applied = match object {
            Object::Service(service) => Applied::of(self.apply_service(service, now)),
            Object::Import(import) => Applied::of(self.apply_import(import, now)),
            Object::Slice(slice) => self.apply_slice(slice, now),
            Object::ImportSlice(slice) => Applied::of(self.apply_import_slice(slice, now)),
            Object::Namespace(name) => Applied::of(self.apply_namespace(name)),
            Object::Pod(pod) => Applied::of(self.apply_pod(pod, now)),
            Object::TerminatingPod { namespace, name } => {
                // Its address may be another's before it is gone.
                let pod = self.pods.see(&namespace, &name);
                let pod = pod.filter(|pod| pod.search != SearchList::Unknown);
                let doubtful = pod.map(|pod| Pod {
                    search: SearchList::Unknown,
                    ..Pod::clone(&pod)
                });
                Applied::of(doubtful.is_some_and(|pod| self.apply_pod(pod, now)))
            }
        };
        self.dirty |= applied.changed;
        self.next.state.changes += u64::from(applied.changed);
        applied
    }

    /// Removes an object. One that is not there is not an error: a watch may
    /// report what a filter hid.
    pub fn delete(&mut self, kind: Kind, namespace: &str, name: &str, now: u32) -> Applied {
        let applied = match kind {
            Kind::Services => Applied::of(self.delete_service(namespace, name, now)),
            Kind::ServiceImports => Applied::of(self.delete_import(namespace, name, now)),
            Kind::Namespaces => Applied::of(self.delete_namespace(name)),
            Kind::EndpointSlices => match self.slices.remove(namespace, name) {
                Some(slice) => {
                    let programmed = self.programmed(&slice);
                    self.unfile(&slice, now);
                    Applied {
                        changed: true,
                        programmed,
                    }
                }
                None => Applied::of(false),
            },
            Kind::ImportSlices => match self.import_slices.remove(namespace, name) {
                Some(slice) => {
                    self.unfile_import(&slice, now);
                    Applied::of(true)
                }
                None => Applied::of(false),
            },
            Kind::Pods => match self.pods.remove(namespace, name) {
                Some(pod) => {
                    self.unfile_pod(&pod, now);
                    Applied::of(true)
                }
                None => Applied::of(false),
            },
        };
        self.dirty |= applied.changed;
        self.next.state.changes += u64::from(applied.changed);
        applied
    }

    /// An object is there and cannot be read: what it said before stays.
    pub fn keep(&mut self, kind: Kind, namespace: &str, name: &str) {
        let key = || (namespace.into(), name.into());
        match kind {
            Kind::Services => drop(self.seen_services.as_mut().map(|seen| seen.insert(key()))),
            Kind::ServiceImports => drop(self.seen_imports.as_mut().map(|seen| seen.insert(key()))),
            Kind::Namespaces => {
                let key = namespace_key(&name.into());
                self.seen_namespaces.as_mut().map(|seen| seen.insert(key));
            }
            Kind::EndpointSlices => drop(self.slices.see(namespace, name)),
            Kind::ImportSlices => drop(self.import_slices.see(namespace, name)),
            Kind::Pods => drop(self.pods.see(namespace, name)),
        }
    }

    /// A full list of a kind begins. What is known stays until
    /// [`Index::finish`].
    pub fn begin(&mut self, kind: Kind) {
        match kind {
            Kind::Services => self.seen_services = Some(HashSet::new()),
            Kind::ServiceImports => self.seen_imports = Some(HashSet::new()),
            Kind::Namespaces => self.seen_namespaces = Some(HashSet::new()),
            Kind::EndpointSlices => self.slices.begin(),
            Kind::ImportSlices => self.import_slices.begin(),
            Kind::Pods => self.pods.begin(),
        }
    }

    /// A full list is complete: what it did not name is gone. Returns how
    /// many objects that were.
    pub fn finish(&mut self, kind: Kind, now: u32) -> usize {
        let gone = match kind {
            Kind::Services => {
                let gone = unseen(&self.next.services, self.seen_services.take());
                gone.iter().for_each(|(ns, name)| {
                    self.delete_service(ns, name, now);
                });
                gone.len()
            }
            Kind::ServiceImports => {
                let gone = unseen(&self.next.imports, self.seen_imports.take());
                gone.iter().for_each(|(ns, name)| {
                    self.delete_import(ns, name, now);
                });
                gone.len()
            }
            Kind::Namespaces => {
                let seen = self.seen_namespaces.take();
                let all = self.next.namespaces.iter();
                let gone: Vec<Arc<str>> = all
                    .filter(|ns| {
                        seen.as_ref()
                            .is_some_and(|s| !s.contains(&namespace_key(ns)))
                    })
                    .cloned()
                    .collect();
                gone.iter().for_each(|ns| {
                    self.delete_namespace(ns);
                });
                gone.len()
            }
            Kind::EndpointSlices => {
                let gone = self.slices.sweep();
                gone.map(|slice| self.unfile(&slice, now)).count()
            }
            Kind::ImportSlices => {
                let gone = self.import_slices.sweep();
                gone.map(|slice| self.unfile_import(&slice, now)).count()
            }
            Kind::Pods => {
                let gone = self.pods.sweep();
                gone.map(|pod| self.unfile_pod(&pod, now)).count()
            }
        };
        let first = self.listed.insert(kind);
        self.dirty |= gone > 0 || first;
        self.next.state.changes += gone as u64;
        gone
    }

    /// Whether there is something to publish.
    pub fn dirty(&self) -> bool {
        self.dirty
    }

    /// Whether every wanted kind has been listed once.
    pub fn synced(&self) -> bool {
        self.wanted.iter().all(|kind| self.listed.contains(kind))
    }

    /// How many objects of a kind are known.
    pub fn len(&self, kind: Kind) -> usize {
        match kind {
            Kind::Services => self.next.services().count(),
            Kind::ServiceImports => self.next.imports().count(),
            Kind::Namespaces => self.next.namespaces.len(),
            Kind::EndpointSlices => self.slices.len(),
            Kind::ImportSlices => self.import_slices.len(),
            Kind::Pods => self.pods.len(),
        }
    }

    /// The state as it is now, to be published.
    pub fn snapshot(&mut self) -> Snapshot {
        self.dirty = false;
        self.next.state.generation += 1;
        self.next.state.synced = self.synced();
        self.next.state.stale &= !self.next.state.synced;
        self.next.clone()
    }

    /// The state so far is what a file from an earlier run said, with these
    /// serials. It counts as stale until every wanted kind has been listed.
    pub fn mark_stale(&mut self, serial: u32, external: u32, multicluster: u32) {
        self.next.state = State {
            stale: true,
            serial,
            external_serial: external,
            multicluster_serial: multicluster,
            ..self.next.state
        };
        self.dirty = true;
    }

    fn apply_service(&mut self, service: Service, now: u32) -> bool {
        let hash = self
            .next
            .hash(service.namespace.as_bytes(), service.name.as_bytes());
        if let Some(seen) = &mut self.seen_services {
            seen.insert((Arc::clone(&service.namespace), Arc::clone(&service.name)));
        }
        let old = service_at(&self.next.services, hash, &service.namespace, &service.name);
        if old.as_deref() == Some(&service) {
            return false;
        }
        let state = &mut self.next.state;
        match &old {
            // CoreDNS does not look at the cluster IPs of an update, nor at
            // external addresses when an object comes or goes.
            Some(old) => {
                let ports = old.ports != service.ports;
                if ports || old.external_name != service.external_name {
                    state.serial = now;
                }
                if ports || old.external != service.external {
                    state.external_serial = now;
                }
            }
            None => state.serial = now,
        }
        let service = Arc::new(service);
        let tag = (hash >> 32) as Tag;
        let next = &mut self.next;
        move_ips(
            &mut next.cluster_ips,
            tag,
            old.iter().flat_map(|s| s.cluster_ips()),
            service.cluster_ips(),
        );
        move_ips(
            &mut next.external_ips,
            tag,
            old.iter().flat_map(|s| s.external_ips()),
            service.external_ips(),
        );
        let (namespace, name) = (Arc::clone(&service.namespace), Arc::clone(&service.name));
        set_service(&mut next.services, hash, &namespace, &name, Some(service));
        true
    }

    fn delete_service(&mut self, namespace: &str, name: &str, now: u32) -> bool {
        let hash = self.next.hash(namespace.as_bytes(), name.as_bytes());
        let Some(old) = service_at(&self.next.services, hash, namespace, name) else {
            return false;
        };
        let tag = (hash >> 32) as Tag;
        let next = &mut self.next;
        move_ips(
            &mut next.cluster_ips,
            tag,
            old.cluster_ips(),
            std::iter::empty(),
        );
        move_ips(
            &mut next.external_ips,
            tag,
            old.external_ips(),
            std::iter::empty(),
        );
        set_service(&mut next.services, hash, &old.namespace, &old.name, None);
        next.state.serial = now;
        true
    }

    fn apply_import(&mut self, import: Service, now: u32) -> bool {
        let hash = self
            .next
            .hash(import.namespace.as_bytes(), import.name.as_bytes());
        if let Some(seen) = &mut self.seen_imports {
            seen.insert((Arc::clone(&import.namespace), Arc::clone(&import.name)));
        }
        let old = service_at(&self.next.imports, hash, &import.namespace, &import.name);
        if old.as_deref() == Some(&import) {
            return false;
        }
        let state = &mut self.next.state;
        match &old {
            Some(old) if old.kind == import.kind && old.ports == import.ports => {}
            Some(_) => state.multicluster_serial = now,
            // CoreDNS bumps the cluster zones' serial here, not the
            // multicluster one.
            None => state.serial = now,
        }
        let (namespace, name) = (Arc::clone(&import.namespace), Arc::clone(&import.name));
        set_service(
            &mut self.next.imports,
            hash,
            &namespace,
            &name,
            Some(Arc::new(import)),
        );
        true
    }

    fn delete_import(&mut self, namespace: &str, name: &str, now: u32) -> bool {
        let hash = self.next.hash(namespace.as_bytes(), name.as_bytes());
        let Some(old) = service_at(&self.next.imports, hash, namespace, name) else {
            return false;
        };
        set_service(
            &mut self.next.imports,
            hash,
            &old.namespace,
            &old.name,
            None,
        );
        self.next.state.serial = now;
        true
    }

    fn apply_slice(&mut self, mut slice: Slice, now: u32) -> Applied {
        let old = self.slices.see(&slice.namespace, &slice.name);
        let programmed = self.programmed(&slice);
        if old.as_deref() == Some(&slice) {
            return Applied {
                changed: false,
                programmed,
            };
        }
        let hash = self.slice_hash(&slice);
        share_name(&self.next.services, hash, &mut slice);
        let tag = (hash >> 32) as Tag;
        let slice = Arc::new(slice);
        match &old {
            Some(old) if old.service == slice.service => {
                move_ips(&mut self.next.endpoint_ips, tag, old.ips(), slice.ips());
                if !old.equivalent(&slice) {
                    self.next.state.serial = now;
                }
            }
            _ => {
                if let Some(old) = &old {
                    self.unfile(old, now);
                }
                move_ips(
                    &mut self.next.endpoint_ips,
                    tag,
                    std::iter::empty(),
                    slice.ips(),
                );
                self.next.state.serial = now;
            }
        }
        set_slice(
            &mut self.next.services,
            hash,
            &slice,
            Some(Arc::clone(&slice)),
        );
        self.slices.replace(slice);
        Applied {
            changed: true,
            programmed,
        }
    }

    fn apply_import_slice(&mut self, mut slice: Slice, now: u32) -> bool {
        let old = self.import_slices.see(&slice.namespace, &slice.name);
        if old.as_deref() == Some(&slice) {
            return false;
        }
        let hash = self.slice_hash(&slice);
        share_name(&self.next.imports, hash, &mut slice);
        let slice = Arc::new(slice);
        match &old {
            Some(old) if old.service == slice.service => {
                if !old.equivalent(&slice) {
                    self.next.state.multicluster_serial = now;
                }
            }
            Some(old) => {
                let old_hash = self.slice_hash(old);
                set_slice(&mut self.next.imports, old_hash, old, None);
            }
            None => self.next.state.serial = now,
        }
        set_slice(
            &mut self.next.imports,
            hash,
            &slice,
            Some(Arc::clone(&slice)),
        );
        self.import_slices.replace(slice);
        true
    }

    fn apply_namespace(&mut self, name: Arc<str>) -> bool {
        if let Some(seen) = &mut self.seen_namespaces {
            seen.insert(namespace_key(&name));
        }
        if self.next.namespace(name.as_bytes()) {
            return false;
        }
        let hash = self.next.hash(name.as_bytes(), b"");
        self.next.namespaces.edit(hash, |items| items.push(name));
        true
    }

    fn delete_namespace(&mut self, name: &str) -> bool {
        if !self.next.namespace(name.as_bytes()) {
            return false;
        }
        let hash = self.next.hash(name.as_bytes(), b"");
        self.next
            .namespaces
            .edit(hash, |items| items.retain(|ns| **ns != *name));
        true
    }

    fn apply_pod(&mut self, pod: Pod, now: u32) -> bool {
        let old = self.pods.see(&pod.namespace, &pod.name);
        if old.as_deref() == Some(&pod) {
            return false;
        }
        if old.as_ref().is_none_or(|old| old.ip != pod.ip) {
            self.next.state.serial = now;
        }
        let pod = Arc::new(pod);
        let pods = &mut self.next.pods;
        if let Some((ip, old)) = old.as_ref().and_then(|old| Some((old.ip?, old))) {
            pods.remove(ip, old);
        }
        if let Some(ip) = pod.ip {
            pods.insert(ip, Arc::clone(&pod));
        }
        self.pods.replace(pod);
        true
    }

    fn unfile_pod(&mut self, pod: &Arc<Pod>, now: u32) {
        if let Some(ip) = pod.ip {
            self.next.pods.remove(ip, pod);
        }
        self.next.state.serial = now;
    }

    fn unfile(&mut self, slice: &Arc<Slice>, now: u32) {
        let hash = self.slice_hash(slice);
        move_ips(
            &mut self.next.endpoint_ips,
            (hash >> 32) as Tag,
            slice.ips(),
            std::iter::empty(),
        );
        set_slice(&mut self.next.services, hash, slice, None);
        self.next.state.serial = now;
    }

    fn unfile_import(&mut self, slice: &Arc<Slice>, now: u32) {
        let hash = self.slice_hash(slice);
        set_slice(&mut self.next.imports, hash, slice, None);
        self.next.state.serial = now;
    }

    fn slice_hash(&self, slice: &Slice) -> u64 {
        self.next
            .hash(slice.namespace.as_bytes(), slice.service.as_bytes())
    }

    fn programmed(&self, slice: &Slice) -> Option<Programmed> {
        let hash = self.slice_hash(slice);
        let service = service_at(&self.next.services, hash, &slice.namespace, &slice.service)?;
        Some(match (service.kind, service.selected) {
            (ServiceKind::Headless, true) => Programmed::HeadlessWithSelector,
            (ServiceKind::Headless, false) => Programmed::HeadlessWithoutSelector,
            _ => Programmed::ClusterIp,
        })
    }
}

fn namespace_key(name: &Arc<str>) -> Key {
    (Arc::clone(name), Arc::clone(name))
}

fn unseen(table: &Table<Arc<Entry>>, seen: Option<HashSet<Key>>) -> Vec<Key> {
    let services = table.iter().filter_map(|entry| entry.shared_service());
    let keys = services.map(|s| (Arc::clone(&s.namespace), Arc::clone(&s.name)));
    keys.filter(|key| seen.as_ref().is_some_and(|s| !s.contains(key)))
        .collect()
}

#[cfg(test)]
mod tests;
