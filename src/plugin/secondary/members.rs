//! The zones that are served because a catalog lists them (RFC 9432 section 5).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use super::catalog::{Catalog, Id, Listed};
use super::keeper::{Keeper, Role};
use super::{Source, TARGET};
use crate::wire::{Name, NameBuf};

/// So many members of a catalog ask a primary at the same time.
pub(super) const AT_ONCE: usize = 8;

/// Zones by their name in wire form.
type Table = HashMap<Box<[u8]>, Arc<Keeper>, RandomState>;

/// The catalogs of a server block, and the zones that they list.
pub(super) struct Catalogs {
    /// All zones that the block itself names, the catalogs among them.
    configured: Vec<Source>,
    /// Where members are followed.
    control: Handle,
    state: Mutex<State>,
    /// What queries see of it.
    table: ArcSwap<Table>,
    /// Is told when members come and go.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    /// The last good version of each, and the turns of its members.
    catalogs: HashMap<NameBuf, (Catalog, Arc<Semaphore>), RandomState>,
    members: HashMap<NameBuf, Member, RandomState>,
}

/// A zone, and the catalog that it belongs to.
struct Member {
    catalog: NameBuf,
    id: Id,
    keeper: Arc<Keeper>,
    task: AbortHandle,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Catalogs {
    /// The catalogs among the zones of a block.
    pub(super) fn new(configured: Vec<Source>, control: Handle) -> Self {
        Self {
            configured,
            control,
            state: Mutex::default(),
            table: ArcSwap::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// The member that a name lies in, if it is longer than `than` octets.
    pub(super) fn find(&self, name: Name<'_>, than: usize) -> Option<Arc<Keeper>> {
        let table = self.table.load();
        if table.is_empty() {
            return None;
        }
        let names = std::iter::successors(Some(name), |name| name.parent());
        let mut names = names.take_while(|name| name.wire().len() > than);
        names.find_map(|name| table.get(name.wire()).cloned())
    }

    /// All members as they are now.
    pub(super) fn keepers(&self) -> Vec<Arc<Keeper>> {
        self.table.load().values().cloned().collect()
    }

    /// Is told when they are others.
    pub(super) fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Follows no member any more; they stay as they are.
    pub(super) fn stop(&self) {
        self.state().members.clear();
    }

    /// Takes a new version of a catalog: members come, go and change hands.
    pub(super) fn apply(&self, origin: &NameBuf, catalog: Catalog) {
        let Some(source) = self.source(origin) else {
            return;
        };
        let mut state = self.state();
        let (count, mut refused) = (catalog.len(), 0);
        let turns = match state.catalogs.remove(origin) {
            Some((_, turns)) => turns,
            None => Arc::new(Semaphore::new(AT_ONCE)),
        };
        for (zone, listed) in catalog.members() {
            match accepts(source, zone) {
                true => self.admit(&mut state, source, &turns, zone, listed),
                false => refused += 1,
            }
        }
        let mut gone = Vec::new();
        state.members.retain(|zone, member| {
            let stays = member.catalog != *origin || catalog.listed(zone).is_some();
            if !stays {
                tracing::info!(
                    target: TARGET,
                    "Removed catalog member zone {zone} from catalog {origin}"
                );
                gone.push(zone.clone());
            }
            stays
        });
        state.catalogs.insert(origin.clone(), (catalog, turns));
        self.inherit(&mut state, &gone);
        if refused > 0 {
            tracing::warn!(
                target: TARGET,
                "Skipped {refused} member zones from catalog {origin}: outside configured member zones"
            );
        }
        self.show(&state);
        tracing::info!(target: TARGET, "Parsed catalog zone {origin} with {count} member zones");
    }

    /// Makes a zone that a catalog lists a member of it, if it may be one.
    fn admit(
        &self,
        state: &mut State,
        source: &Source,
        turns: &Arc<Semaphore>,
        zone: &NameBuf,
        listed: &Listed,
    ) {
        let (origin, id) = (&source.zone, &listed.id);
        let clash = || {
            tracing::warn!(
                target: TARGET,
                "Skipping catalog member zone {zone} from {origin}: zone already exists"
            );
        };
        if self.source(zone).is_some() {
            return clash();
        }
        let mut kept = None;
        match state.members.get(zone) {
            None => tracing::info!(
                target: TARGET,
                "Added catalog member zone {zone} from catalog {origin}"
            ),
            Some(member) if member.catalog == *origin => {
                if member.id == *id {
                    return;
                }
                let old = &member.id;
                tracing::info!(
                    target: TARGET,
                    "Reset catalog member zone {zone} from {origin} after member ID changed from {old} to {id}"
                );
            }
            Some(member) => {
                let owner = &member.catalog;
                let theirs = state.catalogs.get(owner);
                let theirs = theirs.and_then(|(catalog, _)| catalog.listed(zone));
                let Some(theirs) = theirs.filter(|it| it.moves_to.as_ref() == Some(origin)) else {
                    return clash();
                };
                if member.id == *id && theirs.id == *id {
                    kept = Some(Arc::clone(&member.keeper));
                    tracing::info!(
                        target: TARGET,
                        "Migrated catalog member zone {zone} from catalog {owner} to {origin}, preserving state for member ID {id}"
                    );
                } else {
                    let old = &theirs.id;
                    tracing::info!(
                        target: TARGET,
                        "Migrated catalog member zone {zone} from catalog {owner} to {origin} with state reset after member identity changed from {old} to {id}"
                    );
                }
            }
        }
        let source = Source {
            zone: zone.clone(),
            catalog: None,
            ..source.clone()
        };
        let mut keeper = Keeper::new(source, Role::Member(Arc::clone(turns)));
        if let Some(kept) = kept {
            keeper.inherit(&kept);
        }
        let keeper = Arc::new(keeper);
        let task = self.control.spawn(Arc::clone(&keeper).run()).abort_handle();
        let member = Member {
            catalog: origin.clone(),
            id: id.clone(),
            keeper,
            task,
        };
        state.members.insert(zone.clone(), member);
    }

    /// Gives zones that a catalog has let go to the first other that lists
    /// them: it was refused them as long as they were taken.
    fn inherit(&self, state: &mut State, gone: &[NameBuf]) {
        for zone in gone {
            let heir = self.configured.iter().find_map(|source| {
                let (catalog, turns) = state.catalogs.get(&source.zone)?;
                let listed = catalog.listed(zone).filter(|_| accepts(source, zone))?;
                Some((source, Arc::clone(turns), listed.clone()))
            });
            if let Some((source, turns, listed)) = heir {
                self.admit(state, source, &turns, zone, &listed);
            }
        }
    }

    /// The block's own zone of this name.
    fn source(&self, zone: &NameBuf) -> Option<&Source> {
        self.configured.iter().find(|source| source.zone == *zone)
    }

    fn show(&self, state: &State) {
        let members = state.members.iter();
        let table = members.map(|(zone, member)| (zone.wire().into(), Arc::clone(&member.keeper)));
        self.table.store(Arc::new(table.collect()));
        self.changed.send_replace(());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the catalog may list the zone, as the Corefile has it.
fn accepts(catalog: &Source, zone: &NameBuf) -> bool {
    let zones = catalog.catalog.as_ref();
    zones.is_some_and(|zones| zones.is_empty() || zones.contain(zone.name()))
}
