//! Datagrams in batches: recvmmsg, sendmmsg, and the ancillary data that tells
//! which of our addresses was asked.
//!
//! With `shared` all of the unsafe code. It hands out and takes in plain slices
//! and addresses; no pointer of the system's structures leaves it.
#![allow(unsafe_code)]

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{Ordering, compiler_fence};

use libc::{c_int, c_void, socklen_t};

/// Datagrams that one call receives or sends at most.
pub(super) const BATCH: usize = 32;
/// Octets between the buffers of two datagrams: room for the largest one, and
/// an odd number of cache lines, so that the heads of the buffers of one
/// batch do not compete for one set of the cache. Pages that no datagram
/// reaches are never made.
const STRIDE: usize = 65_856;
/// Octets that most queries have no more than, by far.
const USUAL: usize = 1280;
/// Octets of room that an empty batch holds on to.
const SPARE: usize = 64 << 10;
/// Octets of ancillary data: two of the structures below fit with their headers.
const CONTROL: usize = 64;

/// Ancillary data, aligned as `cmsghdr` wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Asks the kernel to say, with each datagram, which address it was sent to.
pub(super) fn enable_destination(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    match ipv6 {
        // Covers IPv4 clients of a dual-stack socket, as mapped addresses.
        true => set_flag(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        false => set_flag(socket, libc::IPPROTO_IP, libc::IP_PKTINFO),
    }
}

/// Asks the kernel to say how many datagrams found the receive buffer full.
pub(super) fn enable_drop_counter(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_flag(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL)
}

fn set_flag(socket: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<()> {
    let on: c_int = 1;
    // SAFETY: the descriptor is open for the length of the borrow; the
    // pointer and the length describe `on`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&on).cast(),
            size_of::<c_int>() as socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The structures that the system reads and writes.
///
/// # Safety
///
/// Any octets are a value of such a type, and it needs no more alignment than
/// a `u64`.
unsafe trait Plain: Copy {
    /// Words of 64 bits that [`BATCH`] of them take.
    const WORDS: usize = (BATCH * size_of::<Self>()).div_ceil(size_of::<u64>());
}

// SAFETY: integers, and pointers that only the system follows, aligned to 8.
unsafe impl Plain for libc::mmsghdr {}
// SAFETY: the same.
unsafe impl Plain for libc::iovec {}
// SAFETY: integers, aligned to 8.
unsafe impl Plain for libc::sockaddr_storage {}
// SAFETY: the same.
unsafe impl Plain for Control {}
// SAFETY: the same, aligned to 1.
unsafe impl Plain for [u8; STRIDE] {}

/// Takes [`BATCH`] structures off the front of a piece of memory.
fn take<'a, T: Plain>(memory: &mut &'a mut [u64]) -> &'a mut [T] {
    let (taken, rest) = mem::take(memory).split_at_mut(T::WORDS);
    *memory = rest;
    // SAFETY: any octets are a value of T, as `Plain` says.
    let (_, all, _) = unsafe { taken.align_to_mut::<T>() };
    assert!(all.len() >= BATCH, "T is aligned like u64, or less");
    &mut all[..BATCH]
}

/// Zeros for one user, up to the end of the process: a worker's buffers live
/// as long as it does. Made by the system page by page, on the first write to each.
fn heap(words: usize) -> &'static mut [u64] {
    Box::leak(vec![0; words].into())
}

/// Room for the structures of one call.
///
/// Each message header points at the vector, name and control buffer of its
/// own index. All of them are borrowed for as long as this lives, so the
/// pointers stay right while the value moves.
struct Messages<'a> {
    headers: &'a mut [libc::mmsghdr],
    vectors: &'a mut [libc::iovec],
    names: &'a mut [libc::sockaddr_storage],
    controls: &'a mut [Control],
}

impl<'a> Messages<'a> {
    const WORDS: usize =
        libc::mmsghdr::WORDS + libc::iovec::WORDS + libc::sockaddr_storage::WORDS + Control::WORDS;

    /// Takes room for them off the front; what it holds stays, but for the pointers.
    fn within(memory: &mut &'a mut [u64]) -> Self {
        let messages = Self {
            headers: take(memory),
            vectors: take(memory),
            names: take(memory),
            controls: take(memory),
        };
        let parts = messages
            .vectors
            .iter_mut()
            .zip(&mut *messages.names)
            .zip(&mut *messages.controls);
        for (message, ((vector, name), control)) in messages.headers.iter_mut().zip(parts) {
            let header = &mut message.msg_hdr;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_name = ptr::from_mut(name).cast();
            header.msg_control = ptr::from_mut(control).cast();
            header.msg_controllen = match message.msg_len {
                // Whatever is there, it belongs to no datagram.
                0 => 0,
                _ => header.msg_controllen.min(CONTROL as _),
            };
        }
        messages
    }
}

/// A batch of received datagrams.
pub(super) struct Received<'a> {
    messages: Messages<'a>,
    buffers: &'a mut [[u8; STRIDE]],
    /// Of how many the kernel has written.
    len: usize,
}

/// Words of 64 bits that a [`Received`] lives in.
pub(super) const ROOM: usize = Messages::WORDS + <[u8; STRIDE]>::WORDS;

/// One received datagram.
pub(super) struct Datagram<'a> {
    /// What it holds; cut only beyond 65,535 octets, which UDP cannot carry.
    pub bytes: &'a [u8],
    /// Who sent it, in the family of the socket.
    pub sender: SocketAddr,
    /// Where it was sent to, in the family of the socket; known after
    /// [`enable_destination`].
    pub destination: Option<IpAddr>,
    /// How many the kernel has dropped on this socket so far, if any; known
    /// after [`enable_drop_counter`].
    pub dropped: Option<u32>,
}

impl<'a> Received<'a> {
    pub(super) fn new() -> Received<'static> {
        Received::within(heap(ROOM))
    }

    /// Receives into this piece of memory, of which nothing is wanted any more.
    ///
    /// The pages that most datagrams take are made now: were the process
    /// killed while the kernel needs one, it would lose a datagram.
    pub(super) fn anew(memory: &'a mut [u64]) -> Self {
        let (messages, buffers) = memory.split_at_mut(Messages::WORDS);
        messages.fill(0);
        for buffer in buffers.chunks_exact_mut(STRIDE / size_of::<u64>()) {
            buffer[..USUAL / size_of::<u64>()].fill(0);
        }
        Self::within(memory)
    }

    /// Receives into this piece of memory, [`ROOM`] words of it. What was
    /// received there before and not [settled](Self::settle) is there still.
    pub(super) fn within(mut memory: &'a mut [u64]) -> Self {
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
    pub(super) fn settle(&mut self) {
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
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
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
    pub(super) fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let parts = self.messages.headers.iter().zip(&*self.messages.names);
        let parts = parts.zip(&*self.buffers).take(self.len);
        parts.filter_map(|((message, name), buffer)| {
            let (destination, dropped) = ancillary(&message.msg_hdr);
            Some(Datagram {
                bytes: buffer.get(..message.msg_len as usize)?,
                sender: address(name)?,
                destination,
                dropped,
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

/// Where a datagram was sent to, and how many were dropped.
fn ancillary(header: &libc::msghdr) -> (Option<IpAddr>, Option<u32>) {
    let mut found = (None, None);
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
                found.0 = Some(ip.into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the same, with an in6_pktinfo.
                let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                found.0 = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                // SAFETY: the same, with a 32-bit counter.
                found.1 = Some(unsafe { data.cast::<u32>().read_unaligned() });
            }
            _ => {}
        }
        // SAFETY: `next` came from this header's control buffer.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    found
}

/// A datagram to be sent.
#[derive(Clone, Copy)]
pub(super) struct Outgoing<'a> {
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
pub(super) struct Batch {
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
    pub(super) fn new() -> Self {
        Self {
            messages: Messages::within(&mut heap(Messages::WORDS)),
            bytes: Vec::new(),
            envelopes: Vec::with_capacity(BATCH),
            done: 0,
        }
    }

    /// Adds a datagram. One beyond [`BATCH`] is left out: `false`.
    pub(super) fn push(&mut self, datagram: &Outgoing<'_>) -> bool {
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
    pub(super) fn rest(&self) -> impl Iterator<Item = Outgoing<'_>> {
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

    /// Whether nothing is left.
    pub(super) fn is_done(&self) -> bool {
        self.done >= self.envelopes.len()
    }

    /// Gives up the first one that is left.
    pub(super) fn skip(&mut self) {
        self.done += 1;
    }

    /// Empties it for the next batch.
    pub(super) fn clear(&mut self) {
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
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let mut start = 0;
        let vectors = self.messages.vectors.iter_mut().zip(&self.envelopes);
        for (vector, envelope) in vectors {
            let range = mem::replace(&mut start, envelope.end)..envelope.end;
            let bytes = self.bytes.get(range).unwrap_or_default();
            // sendmmsg only reads through this pointer.
            vector.iov_base = bytes.as_ptr().cast_mut().cast();
            vector.iov_len = bytes.len();
        }
        let left = self.done..self.envelopes.len();
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

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    fn wait(socket: &UdpSocket) {
        // A blocking peek waits for the event; the bound is the socket's timeout.
        socket
            .set_read_timeout(Some(std::time::Duration::from_secs(5)))
            .unwrap();
        socket.peek_from(&mut [0; 1]).unwrap();
    }

    #[test]
    fn datagrams_come_and_go_with_both_addresses() {
        for (listen, ask, ask_as_seen) in [
            ("0.0.0.0:0", "127.0.0.7", "127.0.0.7"),
            ("[::]:0", "127.0.0.7", "::ffff:127.0.0.7"),
            ("[::]:0", "::1", "::1"),
            ("[::1]:0", "::1", "::1"),
        ] {
            let server = UdpSocket::bind(listen).unwrap();
            let ipv6 = server.local_addr().unwrap().is_ipv6();
            enable_destination(server.as_fd(), ipv6).unwrap();
            enable_drop_counter(server.as_fd()).unwrap();
            let asked = SocketAddr::new(ask.parse().unwrap(), server.local_addr().unwrap().port());
            let clients: Vec<UdpSocket> = (0..3)
                .map(|_| {
                    let any = if asked.is_ipv4() {
                        "127.0.0.1:0"
                    } else {
                        "[::1]:0"
                    };
                    let client = UdpSocket::bind(any).unwrap();
                    client.connect(asked).unwrap();
                    client
                })
                .collect();
            let big = vec![7; 60_000];
            clients[0].send(b"a").unwrap();
            clients[1].send(&big).unwrap();
            clients[2].send(b"").unwrap();
            wait(&server);

            let mut received = Received::new();
            assert_eq!(
                received.receive(server.as_fd()).unwrap(),
                3,
                "{listen} {ask}"
            );
            let datagrams: Vec<_> = received.datagrams().collect();
            let bytes: Vec<_> = datagrams.iter().map(|datagram| datagram.bytes).collect();
            assert_eq!(bytes, [&b"a"[..], &big, b""]);
            for datagram in &datagrams {
                assert_eq!(datagram.destination, Some(ask_as_seen.parse().unwrap()));
                assert_eq!(datagram.dropped, None);
            }
            let replies: Vec<_> = datagrams
                .iter()
                .map(|datagram| Outgoing {
                    bytes: datagram.bytes,
                    to: datagram.sender,
                    from: datagram.destination,
                })
                .collect();
            let mut batch = Batch::new();
            for reply in &replies {
                assert!(batch.push(reply));
            }
            assert_eq!(batch.rest().nth(1).unwrap().bytes, big);
            batch.send(server.as_fd()).unwrap();
            assert!(batch.is_done() && batch.rest().next().is_none());
            // A connected client takes a reply from the asked address alone.
            for (client, bytes) in clients.iter().zip(bytes) {
                wait(client);
                let mut buffer = vec![0; 65_535];
                let len = client.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..len], bytes);
            }
            let error = received.receive(server.as_fd()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_batch_is_bounded_and_used_again() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        let mut received = Received::new();
        for round in 0..3u8 {
            for _ in 0..=BATCH {
                client.send(&[round]).unwrap();
            }
            wait(&server);
            assert_eq!(received.receive(server.as_fd()).unwrap(), BATCH);
            assert!(
                received
                    .datagrams()
                    .all(|datagram| datagram.bytes == [round])
            );
            assert_eq!(received.datagrams().count(), BATCH);
            assert_eq!(received.receive(server.as_fd()).unwrap(), 1);
            assert_eq!(received.datagrams().count(), 1);
            assert!(
                received
                    .datagrams()
                    .all(|datagram| datagram.destination.is_none())
            );
        }
    }
}
