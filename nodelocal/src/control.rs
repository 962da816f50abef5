//! What the parent and its worker say to each other.
//!
//! Both are the same program, so a message of another version is a mistake
//! and no case to be served.

use std::net::SocketAddr;

use crate::codec::{Malformed, Reader, write_address, write_key};
use crate::holder::Key;

/// What the worker says. Descriptors that come with it are named in brackets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Report {
    /// It wants a socket.
    Open {
        /// To be repeated in the reply.
        id: u32,
        /// Which one.
        key: Key,
    },
    /// A configuration is in force and its sockets are read.
    Serving,
    /// It serves nothing on the address any more.
    Close {
        /// Which one.
        address: SocketAddr,
    },
    /// What it was asked for is done [metrics: a file with the exposition].
    Done {
        /// Of the order.
        id: u32,
    },
}

/// What the parent says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// Begin [the ledger, the warm cache, the listener of the hand-over]; the
    /// first of all.
    Start {
        /// Whether the second is there.
        warm: bool,
        /// Whether the third is there.
        handover: bool,
        /// Whether the instance before is there, and serves again should the
        /// parent be gone.
        backed: bool,
    },
    /// A socket itself.
    Opened {
        /// Of the request.
        id: u32,
    },
    /// No socket.
    Refused {
        /// Of the request.
        id: u32,
        /// The system's error number.
        errno: i32,
    },
    /// Read the configuration anew.
    Reload,
    /// Receive no more, finish, end.
    Stop,
    /// Write the cache [into this file].
    Dump {
        /// To be repeated in the reply.
        id: u32,
    },
    /// Say the metrics.
    Metrics {
        /// To be repeated in the reply.
        id: u32,
    },
    /// Give a sign of life, of every thread that serves.
    Beat {
        /// To be repeated in the reply.
        id: u32,
    },
    /// The instance before is gone for good.
    Alone,
}

impl Report {
    /// The message.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Open { id, key } => {
                bytes.push(1);
                bytes.extend(id.to_be_bytes());
                write_key(&mut bytes, &key);
            }
            Self::Serving => bytes.push(2),
            Self::Close { address } => {
                bytes.push(3);
                write_address(&mut bytes, address);
            }
            Self::Done { id } => {
                bytes.push(4);
                bytes.extend(id.to_be_bytes());
            }
        }
        bytes
    }

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// Where it is none of these.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let report = match reader.u8()? {
            1 => Self::Open {
                id: reader.u32()?,
                key: reader.key()?,
            },
            2 => Self::Serving,
            3 => Self::Close {
                address: reader.address()?,
            },
            4 => Self::Done { id: reader.u32()? },
            _ => return Err(Malformed),
        };
        reader.end()?;
        Ok(report)
    }
}

impl Order {
    /// The message.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (kind, id) = match self {
            Self::Start {
                warm,
                handover,
                backed,
            } => return vec![1, warm.into(), handover.into(), backed.into()],
            Self::Opened { id } => (2, Some(id)),
            Self::Refused { id, .. } => (3, Some(id)),
            Self::Reload => (4, None),
            Self::Stop => (5, None),
            Self::Dump { id } => (6, Some(id)),
            Self::Metrics { id } => (7, Some(id)),
            Self::Beat { id } => (8, Some(id)),
            Self::Alone => (9, None),
        };
        bytes.push(kind);
        bytes.extend(id.into_iter().flat_map(u32::to_be_bytes));
        if let Self::Refused { errno, .. } = self {
            bytes.extend(errno.to_be_bytes());
        }
        bytes
    }

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// Where it is none of these.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let order = match reader.u8()? {
            1 => Self::Start {
                warm: reader.flag()?,
                handover: reader.flag()?,
                backed: reader.flag()?,
            },
            2 => Self::Opened { id: reader.u32()? },
            3 => Self::Refused {
                id: reader.u32()?,
                errno: reader.array().map(i32::from_be_bytes)?,
            },
            4 => Self::Reload,
            5 => Self::Stop,
            6 => Self::Dump { id: reader.u32()? },
            7 => Self::Metrics { id: reader.u32()? },
            8 => Self::Beat { id: reader.u32()? },
            9 => Self::Alone,
            _ => return Err(Malformed),
        };
        reader.end()?;
        Ok(order)
    }

    /// How many descriptors must come with it.
    #[must_use]
    pub fn descriptors(self) -> usize {
        match self {
            Self::Start { warm, handover, .. } => 1 + usize::from(warm) + usize::from(handover),
            Self::Opened { .. } | Self::Dump { .. } => 1,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::holder::Kind;

    #[test]
    fn messages_come_back_as_they_were() {
        let keys = [
            (Kind::Udp, 0, "169.254.20.10:53"),
            (Kind::Status, 65_535, "[fe80::1%7]:9353"),
        ]
        .map(|(kind, worker, address)| Key {
            kind,
            worker,
            address: address.parse().unwrap(),
        });
        let reports = [
            Report::Open {
                id: 7,
                key: keys[1],
            },
            Report::Serving,
            Report::Close {
                address: keys[0].address,
            },
            Report::Done { id: u32::MAX },
        ];
        for report in reports {
            assert_eq!(Report::decode(&report.encode()), Ok(report));
        }
        let orders = [
            Order::Start {
                warm: true,
                handover: false,
                backed: true,
            },
            Order::Opened { id: 1 },
            Order::Refused { id: 2, errno: 98 },
            Order::Reload,
            Order::Stop,
            Order::Dump { id: 3 },
            Order::Metrics { id: 4 },
            Order::Beat { id: 5 },
            Order::Alone,
        ];
        for order in orders {
            assert_eq!(Order::decode(&order.encode()), Ok(order));
        }
    }

    proptest! {
        #[test]
        fn anything_else_is_refused_or_means_itself(bytes in prop::collection::vec(any::<u8>(), 0..64), kind in 0u8..11) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Ok(report) = Report::decode(&bytes) {
                prop_assert_eq!(report.encode(), bytes.clone());
            }
            if let Ok(order) = Order::decode(&bytes) {
                prop_assert_eq!(order.encode(), bytes);
            }
        }
    }
}
