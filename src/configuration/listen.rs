//! Where a block is served.

use std::net::IpAddr;

use corefile::Error;
use corefile::key::Overlap;

use crate::plugin::Block;
use crate::server::ListenAddress;
use crate::wire::NameBuf;

/// Why a block cannot be served where it says.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// A zone is served twice.
    #[error(transparent)]
    Overlap(#[from] Error),
    /// Not an address of ours.
    #[error("lookup {0}: no such address or interface")]
    Unknown(String),
}

/// The addresses of a block in order, with the zones that it serves on each.
///
/// `hosts` are those of `bind`; none means all addresses.
///
/// # Errors
///
/// Where a zone is served twice on an address, or an address makes no sense.
pub(super) fn addresses(
    block: &Block,
    hosts: &[String],
    filtered: bool,
    overlap: &mut Overlap,
) -> Result<Vec<(ListenAddress, Vec<NameBuf>)>, AddressError> {
    let all = [String::new()];
    let hosts = if hosts.is_empty() { &all } else { hosts };
    let mut found: Vec<(ListenAddress, Vec<NameBuf>)> = Vec::new();
    for key in &block.keys {
        for host in hosts {
            overlap.register(key, host, filtered)?;
            let address = resolve(host, key.port.unwrap_or_default())?;
            let at = match found.iter().position(|(known, _)| *known == address) {
                Some(at) => at,
                None => {
                    found.push((address, Vec::new()));
                    found.len() - 1
                }
            };
            // A zone that no name can be under serves nobody.
            if let (Some((_, zones)), Ok(zone)) = (found.get_mut(at), key.zone.parse()) {
                zones.push(zone);
            }
        }
    }
    Ok(found)
}

/// An address as `bind` writes it: `127.0.0.1`, `::1`, `fe80::1%eth0`.
fn resolve(host: &str, port: u16) -> Result<ListenAddress, AddressError> {
    if host.is_empty() {
        return Ok(ListenAddress::any(port));
    }
    let unknown = || AddressError::Unknown(host.to_owned());
    let (ip, interface) = match host.split_once('%') {
        Some((ip, interface)) => (ip, Some(interface)),
        None => (host, None),
    };
    let ip: IpAddr = ip.parse().map_err(|_| unknown())?;
    let mut address = ListenAddress::of(ip, port);
    if let Some(interface) = interface {
        let index = nix::net::if_::if_nametoindex(interface).map_err(|_| unknown())?;
        address.scope = Some((interface.to_owned(), index));
    }
    Ok(address)
}
