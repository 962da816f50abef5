//! Links and addresses of the network namespace, by rtnetlink.

use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::{Error, Handle, LinkDummy, LinkUnspec};
use rustix::io::Errno;
use tokio::task::JoinHandle;

/// Who added an address (IFA_PROTO, an octet that the kernel keeps for us since
/// Linux 5.18 and that older ones do not know): this agent, now or in an
/// earlier life.
const OURS: AddressProtocol = AddressProtocol::Other(0x50);

/// A socket to the kernel, for as long as this is held.
#[derive(Debug)]
pub(super) struct Netlink {
    handle: Handle,
    connection: JoinHandle<()>,
}

#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) is_dummy: bool,
    pub(super) is_up: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    /// The index of its link.
    pub(super) link: u32,
    /// Whether it says that this agent has added it.
    pub(super) is_ours: bool,
    message: AddressMessage,
}

impl Netlink {
    /// In the namespace of the calling thread, on the current runtime.
    pub(super) fn connect() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        Ok(Self { handle, connection })
    }

    pub(super) async fn link(&self, name: &str) -> io::Result<Option<Link>> {
        let request = self.handle.link().get().match_name(name);
        found(request.execute().try_next().await)
    }

    pub(super) async fn link_by_index(&self, index: u32) -> io::Result<Option<Link>> {
        let request = self.handle.link().get().match_index(index);
        found(request.execute().try_next().await)
    }

    /// # Errors
    ///
    /// `EOPNOTSUPP` where the kernel has no dummy devices.
    pub(super) async fn add_dummy(&self, name: &str) -> io::Result<()> {
        let link = LinkDummy::new(name).build();
        self.handle.link().add(link).execute().await.map_err(io)
    }

    pub(super) async fn set_up(&self, link: &Link) -> io::Result<()> {
        let link = LinkUnspec::new_with_index(link.index).up().build();
        self.handle.link().change(link).execute().await.map_err(io)
    }

    pub(super) async fn remove_link(&self, link: &Link) -> io::Result<()> {
        let request = self.handle.link().del(link.index);
        request.execute().await.map_err(io)
    }

    pub(super) async fn addresses(&self) -> io::Result<Vec<Address>> {
        let messages = self.handle.address().get().execute();
        let addresses = messages.try_filter_map(async |message| Ok(Address::read(message)));
        addresses.try_collect().await.map_err(io)
    }

    /// Adds an address as /32 or /128, at once to be used.
    pub(super) async fn add(&self, link: &Link, ip: IpAddr) -> io::Result<()> {
        let length = if ip.is_ipv6() { 128 } else { 32 };
        let mut request = self.handle.address().add(link.index, ip, length);
        let message = request.message_mut();
        message.attributes.push(AddressAttribute::Protocol(OURS));
        if ip.is_ipv6() {
            // Nobody else on a link of ours can have it.
            message.header.flags |= AddressHeaderFlags::Nodad;
            let flags = AddressAttribute::Flags(AddressFlags::Nodad);
            message.attributes.push(flags);
        }
        request.execute().await.map_err(io)
    }

    pub(super) async fn remove(&self, address: Address) -> io::Result<()> {
        let request = self.handle.address().del(address.message);
        request.execute().await.map_err(io)
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Link {
    fn read(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            is_dummy: false,
            is_up: message.header.flags.contains(LinkFlags::Up),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::LinkInfo(info) => {
                    link.is_dummy = info.contains(&LinkInfo::Kind(InfoKind::Dummy));
                }
                _ => {}
            }
        }
        link
    }
}

impl Address {
    fn read(message: AddressMessage) -> Option<Self> {
        let mut ip = None;
        let mut is_ours = false;
        for attribute in &message.attributes {
            match attribute {
                // The address itself, where `Address` is that of a peer.
                AddressAttribute::Local(local) => ip = Some(*local),
                AddressAttribute::Address(address) => ip = ip.or(Some(*address)),
                AddressAttribute::Protocol(protocol) => is_ours = *protocol == OURS,
                _ => {}
            }
        }
        Some(Self {
            ip: ip?,
            link: message.header.index,
            is_ours,
            message,
        })
    }
}

fn found(answer: Result<Option<LinkMessage>, Error>) -> io::Result<Option<Link>> {
    match answer.map_err(io) {
        Ok(message) => Ok(message.as_ref().map(Link::read)),
        Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn io(error: Error) -> io::Error {
    match error {
        Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}
