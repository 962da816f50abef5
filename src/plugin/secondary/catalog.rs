//! A catalog zone as a list of zones (RFC 9432 section 4). No I/O.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::plugin::zone::Zone;
use crate::wire::{NameBuf, Reader, rtype};

/// The version of the schema that is understood.
const VERSION: &[u8] = b"2";

/// What a version of a catalog zone says.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    /// By the zone, in lower case.
    members: HashMap<NameBuf, Listed, RandomState>,
}

/// How a catalog lists a zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Listed {
    pub(super) id: Id,
    /// The catalog that may take the zone over (`coo`).
    pub(super) moves_to: Option<NameBuf>,
}

/// The label that a member has in its catalog, in lower case. With another
/// one the zone is another zone (RFC 9432 section 5.4).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Id(Box<[u8]>);

/// What makes a catalog zone broken (RFC 9432 section 5.1). In CoreDNS's words.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum CatalogError {
    #[error("catalog zone {0} has no NS record")]
    NoNs(String),
    #[error("catalog zone {0} must have exactly one version TXT record")]
    VersionCount(String),
    #[error("catalog zone {0} has unsupported version \"{1}\"")]
    Version(String, String),
    #[error("catalog member {1}.zones.{0} must have exactly one PTR record")]
    MemberCount(String, Id),
    #[error("catalog member zone {0} is listed by both {1} and {2}")]
    Twice(String, Id, Id),
    #[error("catalog member {0} has more than one coo PTR record")]
    CooCount(Id),
}

impl Catalog {
    /// Reads a catalog zone. Properties that are unknown, groups among them,
    /// mean nothing here.
    ///
    /// # Errors
    ///
    /// What makes all of the version worthless.
    pub(super) fn of(zone: &Arc<Zone>) -> Result<Self, CatalogError> {
        let origin = || zone.origin().to_string();
        let depth = zone.origin().labels().count();
        let (mut has_ns, mut versions) = (false, Vec::new());
        let mut zones: HashMap<Id, NameBuf, RandomState> = HashMap::default();
        let mut moves: HashMap<Id, NameBuf, RandomState> = HashMap::default();
        for record in Arc::clone(zone).transfer() {
            // Of the names that mean something none is deeper.
            let labels: Vec<&[u8]> = record.owner.name().labels().take(depth + 4).collect();
            let below = labels.get(..labels.len().saturating_sub(depth));
            let target = || record.target().map(|name| name.to_lower());
            match (record.rtype, below.unwrap_or_default()) {
                (rtype::NS, []) => has_ns = true,
                (rtype::TXT, [b"version"]) => versions.push(text(&record.rdata)),
                (rtype::PTR, [id, b"zones"]) => {
                    if let Some(target) = target() {
                        let count = |id| CatalogError::MemberCount(origin(), id);
                        insert(&mut zones, Id::of(id), target).map_err(count)?;
                    }
                }
                (rtype::PTR, [b"coo", id, b"zones"]) => {
                    if let Some(target) = target() {
                        insert(&mut moves, Id::of(id), target).map_err(CatalogError::CooCount)?;
                    }
                }
                _ => {}
            }
        }
        if !has_ns {
            return Err(CatalogError::NoNs(origin()));
        }
        match &versions[..] {
            [version] if version == VERSION => {}
            [other] => {
                let other = other.escape_ascii().to_string();
                return Err(CatalogError::Version(origin(), other));
            }
            _ => return Err(CatalogError::VersionCount(origin())),
        }
        let mut catalog = Self::default();
        for (id, zone) in zones {
            let moves_to = moves.remove(&id);
            match catalog.members.entry(zone) {
                Entry::Vacant(slot) => slot.insert(Listed { id, moves_to }),
                Entry::Occupied(slot) => {
                    let (zone, other) = (slot.key().to_string(), slot.get().id.clone());
                    return Err(CatalogError::Twice(zone, other, id));
                }
            };
        }
        Ok(catalog)
    }

    /// How it lists a zone, if it does.
    pub(super) fn listed(&self, zone: &NameBuf) -> Option<&Listed> {
        self.members.get(zone)
    }

    /// Its zones, in no order.
    pub(super) fn members(&self) -> impl Iterator<Item = (&NameBuf, &Listed)> {
        self.members.iter()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }
}

/// Puts in what may be there once only.
///
/// # Errors
///
/// Its ID, if there is one already.
fn insert(map: &mut HashMap<Id, NameBuf, RandomState>, id: Id, target: NameBuf) -> Result<(), Id> {
    match map.insert(id.clone(), target) {
        None => Ok(()),
        Some(_) => Err(id),
    }
}

/// The character strings of a TXT in one.
fn text(rdata: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(rdata);
    let mut text = Vec::with_capacity(rdata.len());
    while let Ok(len) = reader.u8("TXT")
        && let Ok(piece) = reader.take(usize::from(len), "TXT")
    {
        text.extend_from_slice(piece);
    }
    text
}

impl Id {
    fn of(label: &[u8]) -> Self {
        Self(label.to_ascii_lowercase().into())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}
