//! Messages with descriptors between two processes: one SOCK_SEQPACKET
//! message each, so a message arrives whole or not at all.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Octets of the longest message.
pub const MAX_OCTETS: usize = 4096;
/// Descriptors that one message may carry; the kernel allows 253.
pub const MAX_DESCRIPTORS: usize = 64;

/// A message as it arrived.
#[derive(Debug, Default)]
pub struct Parcel {
    /// What it says, 1 to [`MAX_OCTETS`] octets.
    pub bytes: Vec<u8>,
    /// What came with it, at most [`MAX_DESCRIPTORS`].
    pub descriptors: Vec<OwnedFd>,
}

/// Whether a call waits for room, or for a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wait {
    /// As long as it takes.
    Forever,
    /// Not at all: `WouldBlock`.
    No,
}

/// Both ends of a connection; neither outlives an exec.
///
/// # Errors
///
/// The system's.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends one message.
///
/// # Errors
///
/// `BrokenPipe` where the peer is gone; `InvalidInput` for what is empty or
/// beyond the bounds, since the peer would not take it.
pub fn send(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    wait: Wait,
) -> io::Result<()> {
    // An empty message cannot be told from the end.
    if bytes.is_empty() || bytes.len() > MAX_OCTETS || descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = match wait {
        Wait::Forever => SendFlags::NOSIGNAL,
        Wait::No => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    };
    rustix::io::retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(bytes)], &mut ancillary, flags))?;
    Ok(())
}

/// The next message; `None` when the peer is gone.
///
/// # Errors
///
/// `InvalidData` for one beyond the bounds, whose descriptors are closed.
pub fn receive(socket: impl AsFd, wait: Wait) -> io::Result<Option<Parcel>> {
    let mut bytes = vec![0; MAX_OCTETS];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = match wait {
        Wait::Forever => RecvFlags::CMSG_CLOEXEC,
        Wait::No => RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    };
    let received = rustix::io::retry_on_intr(|| {
        let buffer = &mut [IoSliceMut::new(&mut bytes)];
        recvmsg(&socket, buffer, &mut ancillary, flags)
    });
    let received = match received {
        // What the peer had not read when it ended.
        Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        received => received?,
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    let cut = ReturnFlags::TRUNC | ReturnFlags::CTRUNC;
    if received.flags.intersects(cut) || descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(received.bytes);
    Ok(Some(Parcel { bytes, descriptors }))
}

/// An end of a connection for a task.
#[derive(Debug)]
pub struct Channel(UnixStream);

impl Channel {
    /// To be called on a runtime.
    ///
    /// # Errors
    ///
    /// Where the runtime cannot watch it.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        // Of a stream it has the readiness alone: what is sent and received are messages.
        UnixStream::from_std(socket.into()).map(Self)
    }

    /// The user id of the peer, as it was when they connected.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn peer_uid(&self) -> io::Result<u32> {
        Ok(self.0.peer_cred()?.uid())
    }

    /// As [`send`], once there is room. Nothing is sent where it is cancelled.
    ///
    /// # Errors
    ///
    /// As [`send`].
    pub async fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0
            .async_io(Interest::WRITABLE, || {
                send(&self.0, bytes, descriptors, Wait::No)
            })
            .await
    }

    /// As [`send`], without waiting.
    ///
    /// # Errors
    ///
    /// As [`send`], and `WouldBlock` where the peer does not read.
    pub fn send_now(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(&self.0, bytes, descriptors, Wait::No)
    }

    /// As [`receive`]. Nothing is lost where it is cancelled.
    ///
    /// # Errors
    ///
    /// As [`receive`].
    pub async fn receive(&self) -> io::Result<Option<Parcel>> {
        self.0
            .async_io(Interest::READABLE, || receive(&self.0, Wait::No))
            .await
    }
}

impl From<UnixStream> for Channel {
    /// For a connection that was accepted on a SOCK_SEQPACKET socket.
    fn from(socket: UnixStream) -> Self {
        Self(socket)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (left, right) = pair().unwrap();
        let (mut reader, mut writer) = io::pipe().unwrap();
        send(&left, b"one", &[writer.as_fd()], Wait::Forever).unwrap();
        send(&left, b"two", &[], Wait::Forever).unwrap();
        writer.write_all(b"x").unwrap();
        drop(writer);

        let first = receive(&right, Wait::Forever).unwrap().unwrap();
        assert_eq!(
            (first.bytes.as_slice(), first.descriptors.len()),
            (&b"one"[..], 1)
        );
        for descriptor in first.descriptors {
            File::from(descriptor).write_all(b"y").unwrap();
        }
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "xy");
        assert_eq!(
            receive(&right, Wait::No).unwrap().unwrap().bytes,
            b"two".to_vec()
        );
        let nothing = receive(&right, Wait::No).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        drop(left);
        assert!(receive(&right, Wait::Forever).unwrap().is_none());
    }

    #[test]
    fn what_is_beyond_the_bounds_is_refused_on_both_sides() {
        let (left, right) = pair().unwrap();
        for bytes in [&[][..], &[0; MAX_OCTETS + 1]] {
            let refused = send(&left, bytes, &[], Wait::No).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        }
        rustix::net::send(&left, &[0; MAX_OCTETS + 1], SendFlags::empty()).unwrap();
        let refused = receive(&right, Wait::No).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_task_waits_for_a_message() {
        let (left, right) = pair().unwrap();
        let (left, right) = (Channel::new(left).unwrap(), Channel::new(right).unwrap());
        let waiting = tokio::spawn(async move { right.receive().await });
        left.send(b"x", &[]).await.unwrap();
        assert_eq!(
            waiting.await.unwrap().unwrap().unwrap().bytes,
            b"x".to_vec()
        );
    }
}
