//! What goes out: sendmmsg.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, socklen_t};

use super::messages::{CONTROL, Control, Messages, heap};
use super::{BATCH, allow_fragments};

/// Octets of room that an empty batch holds on to.
const SPARE: usize = 64 << 10;

/// A datagram to be sent.
#[derive(Clone, Copy)]
pub(in crate::server) struct Outgoing<'a> {
    /// What it holds.
    pub bytes: &'a [u8],
    /// Who shall get it, in the family of the socket.
    pub to: SocketAddr,
    /// Which of our addresses it shall come from, in the family of the
    /// socket; `None` leaves it to the socket.
    pub from: Option<IpAddr>,
}

/// A batch of datagrams to be sent, with copies of what they hold.
///
/// Copied, one exchange serves all queries of a batch and stays in the cache
/// of the CPU; that is worth more than the copy costs.
pub(in crate::server) struct Batch {
    messages: Messages<'static>,
    /// What all of them hold, one behind the other.
    bytes: Vec<u8>,
    envelopes: Vec<Envelope>,
    /// How many of them are done with, from the first on.
    done: usize,
}

/// A datagram of a batch but for what it holds.
struct Envelope {
    /// Where it ends among the octets of the batch.
    end: usize,
    to: SocketAddr,
    from: Option<IpAddr>,
}

impl Batch {
    pub(in crate::server) fn new() -> Self {
        Self {
            messages: Messages::within(&mut heap(Messages::WORDS)),
            bytes: Vec::new(),
            envelopes: Vec::with_capacity(BATCH),
            done: 0,
        }
    }

    /// Adds a datagram. One beyond [`BATCH`] is left out: `false`.
    pub(in crate::server) fn push(&mut self, datagram: &Outgoing<'_>) -> bool {
        let at = self.envelopes.len();
        let messages = &mut self.messages;
        let (Some(message), Some(name), Some(control)) = (
            messages.headers.get_mut(at),
            messages.names.get_mut(at),
            messages.controls.get_mut(at),
        ) else {
            return false;
        };
        message.msg_hdr.msg_namelen = write_address(name, datagram.to);
        message.msg_hdr.msg_controllen = write_source(control, datagram.from) as _;
        self.bytes.extend_from_slice(datagram.bytes);
        self.envelopes.push(Envelope {
            end: self.bytes.len(),
            to: datagram.to,
            from: datagram.from,
        });
        true
    }

    /// What is not done with yet.
    pub(in crate::server) fn rest(&self) -> impl Iterator<Item = Outgoing<'_>> {
        let mut start = match self.done.checked_sub(1) {
            Some(last) => self.envelopes.get(last).map_or(0, |envelope| envelope.end),
            None => 0,
        };
        self.envelopes.iter().skip(self.done).map(move |envelope| {
            let range = mem::replace(&mut start, envelope.end)..envelope.end;
            Outgoing {
                bytes: self.bytes.get(range).unwrap_or_default(),
                to: envelope.to,
                from: envelope.from,
            }
        })
    }

    /// How many are sent or given up.
    pub(in crate::server) fn done(&self) -> usize {
        self.done
    }

    /// Whether nothing is left.
    pub(in crate::server) fn is_done(&self) -> bool {
        self.done >= self.envelopes.len()
    }

    /// Gives up the first one that is left.
    pub(in crate::server) fn skip(&mut self) {
        self.done += 1;
    }

    /// Empties it for the next batch.
    pub(in crate::server) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(SPARE);
        self.envelopes.clear();
        self.done = 0;
    }

    /// Sends, without waiting, as many of those that are left as go out.
    ///
    /// # Errors
    ///
    /// What kept the first of them from going out; `WouldBlock` where the
    /// send buffer is full.
    pub(in crate::server) fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.send_some(BATCH, socket)
    }

    /// Sends the first of those that are left, which is too large for its path
    /// to go out in one piece.
    ///
    /// # Errors
    ///
    /// As [`Batch::send`].
    pub(in crate::server) fn send_in_fragments(
        &mut self,
        socket: BorrowedFd<'_>,
    ) -> io::Result<()> {
        allow_fragments(socket, true)?;
        let sent = self.send_some(1, socket);
        allow_fragments(socket, false)?;
        sent
    }

    fn send_some(&mut self, most: usize, socket: BorrowedFd<'_>) -> io::Result<()> {
        let mut start = 0;
        let vectors = self.messages.vectors.iter_mut().zip(&self.envelopes);
        for (vector, envelope) in vectors {
            let range = mem::replace(&mut start, envelope.end)..envelope.end;
            let bytes = self.bytes.get(range).unwrap_or_default();
            // sendmmsg only reads through this pointer.
            vector.iov_base = bytes.as_ptr().cast_mut().cast();
            vector.iov_len = bytes.len();
        }
        let end = self.envelopes.len().min(self.done + most);
        let left = self.done..end;
        let left = self.messages.headers.get_mut(left).unwrap_or_default();
        // SAFETY: to each of these headers belongs an envelope: [`Batch::push`]
        // has filled the name and the control buffer that it points at, which
        // this value borrows, to the stated lengths, and its vector points, since
        // just now, at octets of `bytes`, which nothing changes before the
        // call returns.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                left.as_mut_ptr(),
                left.len() as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        self.done += usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        Ok(())
    }
}

fn write_address(name: &mut libc::sockaddr_storage, address: SocketAddr) -> socklen_t {
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: the storage is large enough and aligned for every
            // address type, exclusively borrowed, and holds plain integers.
            let name = unsafe { &mut *ptr::from_mut(name).cast::<libc::sockaddr_in>() };
            name.sin_family = libc::AF_INET as libc::sa_family_t;
            name.sin_port = address.port().to_be();
            name.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            size_of::<libc::sockaddr_in>() as socklen_t
        }
        SocketAddr::V6(address) => {
            // SAFETY: as above.
            let name = unsafe { &mut *ptr::from_mut(name).cast::<libc::sockaddr_in6>() };
            name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            name.sin6_port = address.port().to_be();
            name.sin6_flowinfo = 0;
            name.sin6_addr.s6_addr = address.ip().octets();
            name.sin6_scope_id = address.scope_id();
            size_of::<libc::sockaddr_in6>() as socklen_t
        }
    }
}

/// Writes the control message that sets the source address: its length.
fn write_source(control: &mut Control, source: Option<IpAddr>) -> usize {
    match source {
        None => 0,
        Some(IpAddr::V4(ip)) => {
            // SAFETY: zeros are a value of this structure of integers.
            let mut info: libc::in_pktinfo = unsafe { MaybeUninit::zeroed().assume_init() };
            info.ipi_spec_dst.s_addr = u32::from_ne_bytes(ip.octets());
            write_control(control, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
        }
        Some(IpAddr::V6(ip)) => {
            // SAFETY: the same.
            let mut info: libc::in6_pktinfo = unsafe { MaybeUninit::zeroed().assume_init() };
            info.ipi6_addr.s6_addr = ip.octets();
            write_control(control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
        }
    }
}

fn write_control<T: Copy>(control: &mut Control, level: c_int, kind: c_int, data: T) -> usize {
    let size = size_of::<T>() as libc::c_uint;
    // SAFETY: these two only compute.
    let (space, len) = unsafe { (libc::CMSG_SPACE(size), libc::CMSG_LEN(size)) };
    assert!(
        space as usize <= CONTROL,
        "the control buffer holds one source address"
    );
    let header = ptr::from_mut(control).cast::<libc::cmsghdr>();
    // SAFETY: Control is aligned for cmsghdr and, as asserted, large enough
    // for the header and the data behind it; it is exclusively borrowed.
    unsafe {
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = len as _;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(data);
    }
    // Without the padding behind the last message: with it an IPv6 source is
    // beyond what the kernel copies without an allocation.
    len as usize
}
