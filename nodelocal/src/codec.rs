//! How messages between processes are written: one octet for the kind, then
//! its parts in network order. What is read may come from anybody.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::holder::{Key, Kind};

/// Sockets that one message may name: as many as it may carry.
pub(crate) const KEYS: usize = crate::channel::MAX_DESCRIPTORS;

/// A message that makes no sense.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a message that makes no sense")]
pub struct Malformed;

/// What is left of a message.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    pub(crate) fn key(&mut self) -> Result<Key, Malformed> {
        let kind = match self.u8()? {
            0 => Kind::Udp,
            1 => Kind::Tcp,
            2 => Kind::Http,
            3 => Kind::Status,
            _ => return Err(Malformed),
        };
        Ok(Key {
            kind,
            worker: self.u16()?,
            address: self.address()?,
        })
    }

    pub(crate) fn address(&mut self) -> Result<SocketAddr, Malformed> {
        let port = self.u16()?;
        match self.u8()? {
            4 => Ok((Ipv4Addr::from(self.array::<4>()?), port).into()),
            6 => {
                let ip = Ipv6Addr::from(self.array::<16>()?);
                Ok(SocketAddrV6::new(ip, port, 0, self.u32()?).into())
            }
            _ => Err(Malformed),
        }
    }

    /// A number of keys, at most [`KEYS`].
    pub(crate) fn keys(&mut self) -> Result<Vec<Key>, Malformed> {
        match self.u8()?.into() {
            count if count <= KEYS => (0..count).map(|_| self.key()).collect(),
            _ => Err(Malformed),
        }
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Malformed),
        }
    }
}

pub(crate) fn write_key(bytes: &mut Vec<u8>, key: &Key) {
    bytes.push(match key.kind {
        Kind::Udp => 0,
        Kind::Tcp => 1,
        Kind::Http => 2,
        Kind::Status => 3,
    });
    bytes.extend(key.worker.to_be_bytes());
    write_address(bytes, key.address);
}

pub(crate) fn write_address(bytes: &mut Vec<u8>, address: SocketAddr) {
    bytes.extend(address.port().to_be_bytes());
    match address {
        SocketAddr::V4(address) => {
            bytes.push(4);
            bytes.extend(address.ip().octets());
        }
        SocketAddr::V6(address) => {
            bytes.push(6);
            bytes.extend(address.ip().octets());
            bytes.extend(address.scope_id().to_be_bytes());
        }
    }
}

/// Writes at most [`KEYS`] keys, which callers see to.
pub(crate) fn write_keys(bytes: &mut Vec<u8>, keys: &[Key]) {
    let keys = keys.get(..KEYS).unwrap_or(keys);
    bytes.push(keys.len() as u8);
    keys.iter().for_each(|key| write_key(bytes, key));
}
