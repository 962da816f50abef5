//! What comes in: recvmmsg.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{Ordering, compiler_fence};
use std::time::Duration;

use libc::{c_int, c_void, socklen_t};

use super::BATCH;
use super::messages::{CONTROL, Messages, Plain, heap, take};

/// Octets between the buffers of two datagrams: room for the largest one, and
/// an odd number of cache lines, so that the heads of the buffers of one
/// batch do not compete for one set of the cache. Pages that no datagram
/// reaches are never made.
const STRIDE: usize = 65_856;
/// Octets that most queries have no more than, by far.
const USUAL: usize = 1280;

// SAFETY: octets, aligned to 1.
unsafe impl Plain for [u8; STRIDE] {}

/// A batch of received datagrams.
pub(in crate::server) struct Received<'a> {
    messages: Messages<'a>,
    buffers: &'a mut [[u8; STRIDE]],
    /// Of how many the kernel has written.
    len: usize,
}

/// Words of 64 bits that a [`Received`] lives in.
pub(in crate::server) const ROOM: usize = Messages::WORDS + <[u8; STRIDE]>::WORDS;

/// One received datagram.
pub(in crate::server) struct Datagram<'a> {
    /// What it holds; cut only beyond 65,535 octets, which UDP cannot carry.
    pub bytes: &'a [u8],
    /// Who sent it, in the family of the socket.
    pub sender: SocketAddr,
    /// Where it was sent to, in the family of the socket; known after
    /// [`enable_destination`].
    pub destination: Option<IpAddr>,
    /// When it arrived, in Unix time; known after [`enable_stamps`].
    pub stamp: Option<Duration>,
}

impl<'a> Received<'a> {
    pub(in crate::server) fn new() -> Received<'static> {
        Received::within(heap(ROOM))
    }

    /// Receives into this piece of memory, of which nothing is wanted any more.
    ///
    /// The pages that most datagrams take are made now: were the process
    /// killed while the kernel needs one, it would lose a datagram.
    pub(in crate::server) fn anew(memory: &'a mut [u64]) -> Self {
        let (messages, buffers) = memory.split_at_mut(Messages::WORDS);
        messages.fill(0);
        for buffer in buffers.chunks_exact_mut(STRIDE / size_of::<u64>()) {
            buffer[..USUAL / size_of::<u64>()].fill(0);
        }
        Self::within(memory)
    }

    /// Receives into this piece of memory, [`ROOM`] words of it. What was
    /// received there before and not [settled](Self::settle) is there still.
    pub(in crate::server) fn within(mut memory: &'a mut [u64]) -> Self {
        let received = Self {
            messages: Messages::within(&mut memory),
            buffers: take(&mut memory),
            len: BATCH,
        };
        let vectors = received.messages.vectors.iter_mut();
        for (vector, buffer) in vectors.zip(&mut *received.buffers) {
            vector.iov_base = buffer.as_mut_ptr().cast();
            vector.iov_len = buffer.len();
        }
        received
    }

    /// Forgets the datagrams of the last call also for those who look into
    /// the memory after this process.
    pub(in crate::server) fn settle(&mut self) {
        // Whatever was done with them was done before.
        compiler_fence(Ordering::SeqCst);
        for message in self.messages.headers.iter_mut().take(self.len) {
            message.msg_len = 0;
        }
    }

    /// Receives what is there, without waiting: how many datagrams, 1 to [`BATCH`].
    ///
    /// # Errors
    ///
    /// `WouldBlock` where there is none.
    pub(in crate::server) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        // The kernel wrote lengths over the sizes of those it filled last time.
        let used = self.len;
        for message in self.messages.headers.iter_mut().take(used) {
            reset(message);
        }
        if used == 0 {
            self.messages.headers.iter_mut().for_each(reset);
        }
        // SAFETY: `headers` has BATCH elements, and each points at buffers of
        // the stated sizes that this value borrows exclusively.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.messages.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        // On an error no header was touched; the next call resets all the same.
        self.len = usize::try_from(count).unwrap_or(0);
        match count {
            ..0 => Err(io::Error::last_os_error()),
            _ => Ok(self.len),
        }
    }

    /// The datagrams of the last call; one whose sender makes no sense is skipped.
    pub(in crate::server) fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let parts = self.messages.headers.iter().zip(&*self.messages.names);
        let parts = parts.zip(&*self.buffers).take(self.len);
        parts.filter_map(|((message, name), buffer)| {
            let Ancillary { destination, stamp } = ancillary(&message.msg_hdr);
            Some(Datagram {
                bytes: buffer.get(..message.msg_len as usize)?,
                sender: address(name)?,
                destination,
                stamp,
            })
        })
    }
}

fn reset(message: &mut libc::mmsghdr) {
    message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as socklen_t;
    message.msg_hdr.msg_controllen = CONTROL as _;
    message.msg_hdr.msg_flags = 0;
}

/// The address in a buffer that the kernel filled.
fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that a sockaddr_in lies here; the
            // storage is large enough and aligned for every address type.
            let name = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, with a sockaddr_in6.
            let name = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(SocketAddrV6::new(ip, port, 0, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// What the kernel says of a datagram; see [`Datagram`].
#[derive(Default)]
struct Ancillary {
    destination: Option<IpAddr>,
    stamp: Option<Duration>,
}

fn ancillary(header: &libc::msghdr) -> Ancillary {
    let mut found = Ancillary::default();
    // SAFETY: `msg_control` points at the Control of this header's index,
    // which lives as long as the header; the kernel wrote `msg_controllen`
    // octets of well-formed control messages into it, for this process or the
    // one before. The macros stay within
    // that length and yield null at its end.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: not null, so it points at a whole, aligned cmsghdr in there.
        let message = unsafe { &*next };
        // SAFETY: the same; the data follow the header.
        let data: *const c_void = unsafe { libc::CMSG_DATA(next) }.cast();
        match (message.cmsg_level, message.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: a control message of this type holds an in_pktinfo;
                // its alignment is not relied upon.
                let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
                let ip = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                found.destination = Some(ip.into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the same, with an in6_pktinfo.
                let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                found.destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPING) => {
                // SAFETY: the same, with three times, of which the first is
                // that of the kernel's own clock.
                let time = unsafe { data.cast::<libc::timespec>().read_unaligned() };
                let parts = u64::try_from(time.tv_sec)
                    .ok()
                    .zip(u32::try_from(time.tv_nsec).ok());
                found.stamp = parts.map(|(seconds, nanos)| Duration::new(seconds, nanos));
            }
            _ => {}
        }
        // SAFETY: `next` came from this header's control buffer.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    found
}
