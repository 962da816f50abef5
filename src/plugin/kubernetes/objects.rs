//! The objects of one collection by namespace and name, and mark-and-sweep
//! over them: a relist is compared with what is there, object by object, so
//! that two worlds are never held at once.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::model::{Pod, Slice};

/// An object's identity within its collection.
pub(super) trait Named {
    /// Namespace and name.
    fn key(&self) -> (&str, &str);
}

impl Named for Slice {
    fn key(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

impl Named for Pod {
    fn key(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

impl Named for (&str, &str) {
    fn key(&self) -> (&str, &str) {
        *self
    }
}

/// A set of shared objects, found by namespace and name.
pub(super) struct Objects<T> {
    current: Set<T>,
    /// During a relist: what was known before it and has not been seen yet.
    unseen: Option<Set<T>>,
}

type Set<T> = HashSet<ByName<T>, foldhash::fast::RandomState>;

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self {
            current: Set::default(),
            unseen: None,
        }
    }
}

impl<T: Named> Objects<T> {
    /// How many objects are known.
    pub(super) fn len(&self) -> usize {
        self.current.len() + self.unseen.as_ref().map_or(0, HashSet::len)
    }

    /// The object of this name, which the relist that may be under way has
    /// now seen.
    pub(super) fn see(&mut self, namespace: &str, name: &str) -> Option<Arc<T>> {
        let key = (namespace, name);
        let key: &dyn Named = &key;
        if let Some(old) = self.unseen.as_mut().and_then(|unseen| unseen.take(key)) {
            let object = Arc::clone(&old.0);
            self.current.insert(old);
            return Some(object);
        }
        self.current.get(key).map(|found| Arc::clone(&found.0))
    }

    /// Puts an object in the place of the one of its name. Call
    /// [`Objects::see`] first.
    pub(super) fn replace(&mut self, object: Arc<T>) {
        self.current.replace(ByName(object));
    }

    /// Takes an object out.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<T>> {
        let key = (namespace, name);
        let key: &dyn Named = &key;
        let unseen = self.unseen.as_mut().and_then(|unseen| unseen.take(key));
        unseen
            .or_else(|| self.current.take(key))
            .map(|found| found.0)
    }

    /// A relist begins. One that was broken off is started over.
    pub(super) fn begin(&mut self) {
        let mut all = std::mem::take(&mut self.current);
        all.extend(self.unseen.take().into_iter().flatten());
        self.unseen = Some(all);
    }

    /// A relist is complete: takes out and returns what it did not list.
    pub(super) fn sweep(&mut self) -> impl Iterator<Item = Arc<T>> + use<T> {
        self.unseen.take().into_iter().flatten().map(|gone| gone.0)
    }
}

struct ByName<T>(Arc<T>);

impl<T: Named> Hash for ByName<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key().hash(state);
    }
}

impl<T: Named> PartialEq for ByName<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl<T: Named> Eq for ByName<T> {}

impl<'a, T: Named + 'a> Borrow<dyn Named + 'a> for ByName<T> {
    fn borrow(&self) -> &(dyn Named + 'a) {
        &*self.0
    }
}

impl Hash for dyn Named + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for dyn Named + '_ {}
