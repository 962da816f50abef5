//! What can go wrong between a query and its upstream.
//!
//! The texts are those of CoreDNS, that is of Go's `net` package: operators match them with
//! `errors { consolidate … "^read udp .* i/o timeout$" }`.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::Transport;

/// Why a query got no answer from a group of upstreams.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The query itself cannot be sent: the client is to get FORMERR.
    #[error("proxy: invalid request: {0}")]
    InvalidRequest(&'static str),
    /// An upstream answered another question than the one asked: the client is to get FORMERR,
    /// and CoreDNS logs nothing.
    #[error("reply of {0} does not match the question")]
    WrongReply(SocketAddr),
    /// Every upstream is down.
    #[error("no healthy proxies")]
    NoHealthy,
    /// `max_concurrent` (the number given) is reached: the client is to get REFUSED.
    #[error("concurrent queries exceeded maximum {0}")]
    TooManyQueries(u64),
    /// The last upstream that was tried failed so.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// A failed operation on one socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was being done.
    pub op: Op,
    /// Over what.
    pub transport: Transport,
    /// Our end, where the socket has one.
    pub local: Option<SocketAddr>,
    /// The upstream.
    pub remote: SocketAddr,
    /// What happened.
    pub cause: Cause,
}

/// The operation that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Opening the socket or connection.
    Dial,
    /// Sending the query.
    Write,
    /// Waiting for the reply.
    Read,
}

/// The reason of a [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nothing came in time.
    Timeout,
    /// The peer closed the connection between two messages.
    Closed,
    /// The peer closed the connection inside a message.
    ClosedEarly,
    /// A system call failed with this errno.
    Os(i32),
    /// The peer sent bytes that are not a DNS message; what was wrong with them.
    Malformed(&'static str),
}

impl Cause {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Self::Os(code),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::ClosedEarly,
            None if error.kind() == io::ErrorKind::TimedOut => Self::Timeout,
            None => Self::Malformed("input/output error"),
        }
    }

    /// Whether the peer gave the connection up, as opposed to not answering on it.
    pub(super) const fn is_hangup(self) -> bool {
        const EPIPE: i32 = 32;
        const ECONNRESET: i32 = 104;
        matches!(
            self,
            Self::Closed | Self::ClosedEarly | Self::Os(EPIPE | ECONNRESET)
        )
    }
}

impl Cause {
    /// The word for it in metrics.
    pub(super) const fn word(self) -> &'static str {
        const ECONNREFUSED: i32 = 111;
        const ENETUNREACH: i32 = 101;
        const EHOSTUNREACH: i32 = 113;
        match self {
            Self::Timeout => "timeout",
            Self::Os(ECONNREFUSED) => "connection_refused",
            Self::Os(ENETUNREACH | EHOSTUNREACH) => "unreachable",
            _ if self.is_hangup() => "closed",
            Self::Malformed(_) => "malformed",
            _ => "system",
        }
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (op, call) = match self.op {
            Op::Dial => ("dial", "connect"),
            Op::Write => ("write", "write"),
            Op::Read => ("read", "read"),
        };
        match self.cause {
            Cause::Closed => return f.write_str("EOF"),
            Cause::ClosedEarly => return f.write_str("unexpected EOF"),
            Cause::Malformed(what) => return write!(f, "dns: {what}"),
            Cause::Timeout | Cause::Os(_) => {}
        }
        write!(f, "{op} {} ", self.transport)?;
        if let Some(local) = self.local {
            write!(f, "{local}->")?;
        }
        write!(f, "{}: ", self.remote)?;
        match self.cause {
            Cause::Os(code) => write!(f, "{call}: {}", errno_text(code)),
            _ => f.write_str("i/o timeout"),
        }
    }
}

/// Go's text for an errno: that of the C library in lower case.
fn errno_text(code: i32) -> String {
    let mut text = io::Error::from_raw_os_error(code).to_string();
    if let Some(end) = text.find(" (os error") {
        text.truncate(end);
    }
    text.make_ascii_lowercase();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_a_word_each() {
        for (cause, word) in [
            (Cause::Timeout, "timeout"),
            (Cause::Closed, "closed"),
            (Cause::ClosedEarly, "closed"),
            (Cause::Os(104), "closed"),
            (Cause::Os(111), "connection_refused"),
            (Cause::Os(101), "unreachable"),
            (Cause::Os(113), "unreachable"),
            (Cause::Os(1), "system"),
            (Cause::Malformed("x"), "malformed"),
        ] {
            assert_eq!(cause.word(), word, "{cause:?}");
        }
    }

    #[test]
    fn failures_read_as_those_of_go() {
        let remote = SocketAddr::from(([127, 0, 0, 1], 53));
        let local = Some(SocketAddr::from(([127, 0, 0, 1], 5353)));
        let (udp, tcp) = (Transport::Udp, Transport::Tcp);
        #[rustfmt::skip]
        let table = [
            (Op::Read, udp, local, Cause::Timeout, "read udp 127.0.0.1:5353->127.0.0.1:53: i/o timeout"),
            (Op::Read, udp, local, Cause::Os(111), "read udp 127.0.0.1:5353->127.0.0.1:53: read: connection refused"),
            (Op::Write, udp, local, Cause::Os(1), "write udp 127.0.0.1:5353->127.0.0.1:53: write: operation not permitted"),
            (Op::Dial, udp, None, Cause::Os(101), "dial udp 127.0.0.1:53: connect: network is unreachable"),
            (Op::Dial, tcp, None, Cause::Timeout, "dial tcp 127.0.0.1:53: i/o timeout"),
            (Op::Dial, tcp, None, Cause::Os(111), "dial tcp 127.0.0.1:53: connect: connection refused"),
            (Op::Read, tcp, local, Cause::Os(104), "read tcp 127.0.0.1:5353->127.0.0.1:53: read: connection reset by peer"),
            (Op::Read, tcp, local, Cause::Closed, "EOF"),
            (Op::Read, tcp, local, Cause::ClosedEarly, "unexpected EOF"),
        ];
        for (op, transport, local, cause, text) in table {
            let failure = Failure {
                op,
                transport,
                local,
                remote,
                cause,
            };
            assert_eq!(failure.to_string(), text);
        }
    }
}
