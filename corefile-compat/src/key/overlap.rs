//! Two server blocks for one zone on one address.

use std::collections::HashMap;

use super::{Transport, ZoneKey};
use crate::{error::Error, source::Token};

/// Finds zones that are served twice on the same address, and zones that are
/// served on one address by one block and on all by another.
///
/// To be asked for each zone of each block, in order, with each address that
/// the block binds.
#[derive(Debug, Default)]
pub struct Overlap {
    registered: HashMap<Listen, Token>,
    /// What was registered for a zone and port, whatever its address.
    any_address: HashMap<Listen, Listen>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Listen {
    transport: Transport,
    zone: String,
    port: Option<u16>,
    address: String,
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:", self.transport, self.zone)?;
        if let Some(port) = self.port {
            write!(f, "{port}")?;
        }
        if !self.address.is_empty() {
            write!(f, " on {}", self.address)?;
        }
        Ok(())
    }
}

impl Overlap {
    /// Takes note of `key` on `address`, which is empty for a block without
    /// `bind`. A block with a `view` (`filtered`) may share its zone.
    ///
    /// # Errors
    ///
    /// `cannot serve X - it is already defined`, or `cannot serve X - zone
    /// overlap listener capacity with Y`.
    pub fn register(&mut self, key: &ZoneKey, address: &str, filtered: bool) -> Result<(), Error> {
        let listen = Listen {
            transport: key.transport,
            zone: key.zone.clone(),
            port: key.port,
            address: address.to_owned(),
        };
        let unbound = Listen {
            address: String::new(),
            ..listen.clone()
        };
        if let Some(first) = self.registered.get(&listen) {
            if filtered {
                return Ok(());
            }
            return Err(
                Error::plain(format!("cannot serve {listen} - it is already defined"))
                    .at(&key.key)
                    .help(format!(
                        "first defined at {}:{}; two blocks may share a zone if one has a `view`",
                        first.file(),
                        first.line
                    )),
            );
        }
        let other = match self.any_address.get(&unbound) {
            Some(other) if listen.address.is_empty() => Some(other),
            Some(_) if self.registered.contains_key(&unbound) => Some(&unbound),
            _ => None,
        };
        if let Some(other) = other {
            return Err(Error::plain(format!(
                "cannot serve {listen} - zone overlap listener capacity with {other}"
            ))
            .at(&key.key)
            .help("give both blocks a `bind`, or neither"));
        }
        if !filtered {
            self.registered.insert(listen.clone(), key.key.clone());
            self.any_address.insert(unbound, listen);
        }
        Ok(())
    }
}
