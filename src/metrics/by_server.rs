//! Series of a plugin that tell servers apart.

use std::sync::OnceLock;

/// What a plugin keeps for each server, by the `server` label.
///
/// A block serves few listeners, so this is a list that only grows; reading
/// it takes no lock.
#[derive(Debug)]
pub struct ByServer<T>(OnceLock<Box<Entry<T>>>);

#[derive(Debug)]
struct Entry<T> {
    server: String,
    value: T,
    next: ByServer<T>,
}

impl<T> ByServer<T> {
    /// An empty list.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// What belongs to `server`, made with the first call for it.
    pub fn of(&self, server: &str, make: impl Fn(&str) -> T) -> &T {
        let mut list = self;
        loop {
            let entry = list.0.get_or_init(|| {
                Box::new(Entry {
                    server: server.to_owned(),
                    value: make(server),
                    next: Self::new(),
                })
            });
            if entry.server == server {
                return &entry.value;
            }
            list = &entry.next;
        }
    }
}

impl<T> Default for ByServer<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_has_its_own() {
        let list = ByServer::new();
        for server in ["a", "b", "a", "c", "b"] {
            assert_eq!(
                list.of(server, |server| server.to_uppercase()),
                &server.to_uppercase()
            );
        }
        assert_eq!(list.of("b", |_| unreachable!()), "B");
    }
}
