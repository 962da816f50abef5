//! The messages of the hand-over.

use crate::codec::{Malformed, Reader, write_keys};
use crate::holder::Key;

/// Of the messages below; another one is not understood.
const VERSION: u8 = 1;
/// Before the version, so that no stranger is mistaken for one of us.
const MAGIC: &[u8; 10] = b"pando-node";

/// What the two say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Word {
    /// The first of both.
    Hello,
    /// There is nothing to be had, for this reason.
    Refused(Refusal),
    /// Sockets [as many].
    Sockets(Vec<Key>),
    /// The end of what is handed over [the warm cache, the listener].
    Rest {
        /// Whether the first is there.
        warm: bool,
        /// Whether the second is there.
        listener: bool,
    },
    /// Whoever says it serves with these sockets; the rest follow unless it is the last.
    Settled {
        /// Some of them.
        keys: Vec<Key>,
        /// Whether no more follow.
        last: bool,
    },
    /// The successor ends: serve again.
    Resume,
    /// The successor ends, and others serve.
    Goodbye,
    /// A worker whose parent is gone serves until whoever is called does. The
    /// first word, in the place of Hello.
    Orphan,
}

/// Why there is nothing to be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Another successor is being served.
    #[error("another instance is taking over already")]
    Busy,
    /// It ends.
    #[error("it is ending")]
    Ending,
}

impl Word {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Hello => {
                bytes.push(1);
                bytes.extend(MAGIC);
                bytes.push(VERSION);
            }
            Self::Refused(reason) => bytes.extend([
                2,
                match reason {
                    Refusal::Busy => 1,
                    Refusal::Ending => 2,
                },
            ]),
            Self::Sockets(keys) => {
                bytes.push(3);
                write_keys(&mut bytes, keys);
            }
            Self::Rest { warm, listener } => {
                bytes.extend([4, u8::from(*warm), u8::from(*listener)]);
            }
            Self::Settled { keys, last } => {
                bytes.extend([5, u8::from(*last)]);
                write_keys(&mut bytes, keys);
            }
            Self::Resume => bytes.push(6),
            Self::Goodbye => bytes.push(7),
            Self::Orphan => bytes.push(8),
        }
        bytes
    }

    /// A message.
    ///
    /// # Errors
    ///
    /// Where it is none of these.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let word = match reader.u8()? {
            1 if (reader.array()?, reader.u8()?) == (*MAGIC, VERSION) => Self::Hello,
            2 => Self::Refused(match reader.u8()? {
                1 => Refusal::Busy,
                2 => Refusal::Ending,
                _ => return Err(Malformed),
            }),
            3 => Self::Sockets(reader.keys()?),
            4 => Self::Rest {
                warm: reader.flag()?,
                listener: reader.flag()?,
            },
            5 => Self::Settled {
                last: reader.flag()?,
                keys: reader.keys()?,
            },
            6 => Self::Resume,
            7 => Self::Goodbye,
            8 => Self::Orphan,
            _ => return Err(Malformed),
        };
        reader.end()?;
        Ok(word)
    }

    pub(super) fn descriptors(&self) -> usize {
        match self {
            Self::Sockets(keys) => keys.len(),
            Self::Rest { warm, listener } => usize::from(*warm) + usize::from(*listener),
            _ => 0,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::channel::MAX_OCTETS;
    use crate::holder::Kind;

    /// Of the longest kind there is.
    pub(in crate::handover) fn keys(count: u16) -> Vec<Key> {
        let key = |worker| Key {
            kind: Kind::Udp,
            worker,
            address: "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535"
                .parse()
                .unwrap(),
        };
        (0..count).map(key).collect()
    }

    #[test]
    fn words_come_back_as_they_were_and_fit() {
        for word in [
            Word::Hello,
            Word::Refused(Refusal::Busy),
            Word::Refused(Refusal::Ending),
            Word::Sockets(keys(64)),
            Word::Rest {
                warm: true,
                listener: false,
            },
            Word::Settled {
                keys: keys(64),
                last: false,
            },
            Word::Resume,
            Word::Goodbye,
            Word::Orphan,
        ] {
            let bytes = word.encode();
            assert!(bytes.len() <= MAX_OCTETS);
            assert_eq!(Word::decode(&bytes), Ok(word));
        }
    }

    proptest! {
        #[test]
        fn anything_else_is_refused_or_means_itself(bytes in prop::collection::vec(any::<u8>(), 0..96), kind in 0u8..10) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Ok(word) = Word::decode(&bytes) {
                prop_assert_eq!(word.encode(), bytes);
            }
        }
    }
}
