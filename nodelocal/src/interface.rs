//! The addresses of the node cache: on a dummy device of our own or, where the
//! kernel has none, on `lo`.
//!
//! What is there already is adopted: the device by its name, addresses on `lo`
//! by a mark that the kernel keeps with them. What was there before us and is
//! not marked stays when all else is removed. An address that another device
//! has comes to this node without our help, and is left to whoever put it
//! there.

mod message;
mod netlink;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use corefile::io_message;
use rustix::io::Errno;
use thiserror::Error;
use tracing::info;

use crate::errors::ErrorType;
use netlink::{Address, Link, Netlink};

/// The kind of a device of our own.
const DUMMY: &str = "dummy";
/// Where addresses go without dummy devices.
const LOOPBACK: &str = "lo";

/// The device and its addresses.
#[derive(Debug)]
pub struct Interface {
    name: String,
    addresses: Vec<IpAddr>,
    /// What this process has added, by the index of the link, for kernels that
    /// do not keep the mark.
    added: BTreeSet<(u32, IpAddr)>,
    on_loopback: bool,
}

/// What is not as it must be.
#[derive(Debug, Error)]
pub enum InterfaceError {
    /// The device is not there and cannot be made.
    #[error("Failed to add non-existent interface {name}: {}", reason(.source))]
    Link {
        /// Its name.
        name: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// An address is not there and cannot be added.
    #[error("Failed to add {address} to interface {name}: {}", reason(.source))]
    Address {
        /// Which.
        address: IpAddr,
        /// The device.
        name: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// An address is on another device.
    #[error(
        "{address} is on interface {other} already and was not added to {name}: \
         remove it there, or take it out of -localip"
    )]
    Taken {
        /// Which.
        address: IpAddr,
        /// Where it is.
        other: String,
        /// Where it should be.
        name: String,
    },
    /// The state cannot be read or changed.
    #[error("Error checking interface {name} - {}", reason(.source))]
    Check {
        /// Its name.
        name: String,
        /// What the kernel says.
        source: io::Error,
    },
}

impl InterfaceError {
    /// How it is counted.
    pub fn kind(&self) -> ErrorType {
        match self {
            Self::Link { .. } | Self::Address { .. } => ErrorType::InterfaceAdd,
            Self::Taken { .. } | Self::Check { .. } => ErrorType::InterfaceCheck,
        }
    }
}

impl Interface {
    /// Does nothing yet.
    pub fn new(name: &str, addresses: &[IpAddr]) -> Self {
        Self {
            name: name.to_owned(),
            addresses: addresses.to_vec(),
            added: BTreeSet::new(),
            on_loopback: false,
        }
    }

    /// Puts device and addresses in place where they are not.
    ///
    /// # Errors
    ///
    /// All that could not be done; the rest is.
    pub fn ensure(&mut self) -> Result<(), Vec<InterfaceError>> {
        let mut netlink = Netlink::connect().map_err(|error| vec![self.check(error)])?;
        let link = self.link(&mut netlink).map_err(|error| vec![error])?;
        let present = netlink.addresses();
        let present = present.map_err(|error| vec![self.check(error)])?;
        let mut errors = Vec::new();
        for ip in self.addresses.clone() {
            if let Err(error) = self.place(&mut netlink, &link, &present, ip) {
                errors.push(error);
            }
        }
        // An IPv6 address of a link that is down answers nobody.
        if link.kind == DUMMY && !link.is_up && self.addresses.iter().any(IpAddr::is_ipv6) {
            let up = netlink.set_up(&link);
            errors.extend(up.err().map(|error| self.check(error)));
        }
        match errors.is_empty() {
            true => Ok(()),
            false => Err(errors),
        }
    }

    /// Takes away what is ours.
    ///
    /// # Errors
    ///
    /// The first thing that could not be removed; the rest is.
    pub fn remove(&mut self) -> Result<(), InterfaceError> {
        let mut netlink = Netlink::connect().map_err(|error| self.check(error))?;
        let mut trouble = None;
        if let Some(link) = self.find(&mut netlink, &self.name)?
            && link.kind == DUMMY
        {
            // Its addresses go with it.
            trouble = netlink.remove_link(&link).err();
        }
        let present = netlink.addresses();
        for address in present.map_err(|error| self.check(error))? {
            if self.addresses.contains(&address.ip) && self.is_ours(&address) {
                let removed = netlink.remove(&address);
                trouble = trouble.or_else(|| removed.err());
            }
        }
        self.added.clear();
        trouble.map_or(Ok(()), |error| Err(self.check(error)))
    }

    /// The device that has the addresses, made if need be.
    fn link(&mut self, netlink: &mut Netlink) -> Result<Link, InterfaceError> {
        if let Some(link) = self.find(netlink, &self.name)? {
            self.on_loopback = false;
            return Ok(link);
        }
        match netlink.add_link(&self.name, DUMMY) {
            Ok(()) => info!("Added interface - {}", self.name),
            Err(error) if is(&error, Errno::OPNOTSUPP) => return self.loopback(netlink),
            // Somebody was faster.
            Err(error) if is(&error, Errno::EXIST) => {}
            Err(source) => {
                let name = self.name.clone();
                return Err(InterfaceError::Link { name, source });
            }
        }
        let gone = || self.check(Errno::NODEV.into());
        self.find(netlink, &self.name)?.ok_or_else(gone)
    }

    fn loopback(&mut self, netlink: &mut Netlink) -> Result<Link, InterfaceError> {
        if !self.on_loopback {
            let name = &self.name;
            info!(
                "The kernel has no dummy devices for interface {name}: addresses go on {LOOPBACK}"
            );
        }
        self.on_loopback = true;
        let gone = || self.check(Errno::NODEV.into());
        self.find(netlink, LOOPBACK)?.ok_or_else(gone)
    }

    fn find(&self, netlink: &mut Netlink, name: &str) -> Result<Option<Link>, InterfaceError> {
        let link = netlink.link(name);
        link.map_err(|error| self.check(error))
    }

    fn place(
        &mut self,
        netlink: &mut Netlink,
        link: &Link,
        present: &[Address],
        ip: IpAddr,
    ) -> Result<(), InterfaceError> {
        let mut there = present.iter().filter(|address| address.ip == ip);
        if there.clone().any(|address| address.link == link.index) {
            return Ok(());
        }
        // One of ours elsewhere is from a time when the device had another name.
        if let Some(address) = there.find(|address| !self.is_ours(address)) {
            let other = netlink.link_by_index(address.link).ok().flatten();
            return Err(InterfaceError::Taken {
                address: ip,
                other: other.map_or_else(|| address.link.to_string(), |link| link.name),
                name: link.name.clone(),
            });
        }
        match netlink.add(link, ip) {
            Ok(()) => info!("Added {ip} to interface {}", link.name),
            Err(error) if is(&error, Errno::EXIST) => return Ok(()),
            Err(source) => {
                return Err(InterfaceError::Address {
                    address: ip,
                    name: link.name.clone(),
                    source,
                });
            }
        }
        self.added.insert((link.index, ip));
        Ok(())
    }

    fn is_ours(&self, address: &Address) -> bool {
        address.is_ours || self.added.contains(&(address.link, address.ip))
    }

    fn check(&self, source: io::Error) -> InterfaceError {
        let name = self.name.clone();
        InterfaceError::Check { name, source }
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!(
                "{} (this needs the capability NET_ADMIN)",
                io_message(error)
            )
        }
        _ => io_message(error),
    }
}
