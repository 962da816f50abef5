//! The little that an exchange must know of the messages it carries.

use std::ops::Range;

/// Size of the fixed header (RFC 1035 section 4.1.1).
pub(crate) const HEADER: usize = 12;

const RCODE_NXDOMAIN: u16 = 3;

const TYPE_OPT: [u8; 2] = [0, 41];

/// Where the one question of `message` lies: name, type and class.
///
/// `None` unless there is exactly one question with an uncompressed name. Queries are written
/// so, and so is the first name of every reply, as there is nothing before it to point at.
pub(crate) fn question(message: &[u8]) -> Option<Range<usize>> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let mut at = HEADER;
    loop {
        let len = usize::from(*message.get(at)?);
        at += 1 + len;
        match len {
            0 => break,
            1..=63 if at - HEADER < 255 => {}
            _ => return None,
        }
    }
    let end = at + 4;
    (end <= message.len()).then_some(HEADER..end)
}

/// Whether two questions, as [`question`] finds them, ask the same: the name without regard to
/// letter case, type and class exactly.
pub(crate) fn same_question(ours: &[u8], theirs: &[u8]) -> bool {
    // Length octets of labels are below 64 and so no letters: comparing the whole name at once
    // compares the labels.
    match (ours.split_last_chunk::<4>(), theirs.split_last_chunk::<4>()) {
        (Some((name, kind)), Some((their_name, their_kind))) => {
            kind == their_kind && name.eq_ignore_ascii_case(their_name)
        }
        _ => false,
    }
}

pub(crate) fn id(message: &[u8]) -> Option<u16> {
    message
        .first_chunk::<2>()
        .map(|bytes| u16::from_be_bytes(*bytes))
}

pub(crate) fn is_reply(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

pub(crate) fn is_truncated(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

/// The RCODE of the header, without the upper bits that an OPT record may add.
pub(crate) fn rcode(message: &[u8]) -> u8 {
    message.get(3).map_or(0, |flags| flags & 0x0f)
}

/// Whether the upstream knew: NOERROR or NXDOMAIN.
pub(super) const fn is_verdict(rcode: u16) -> bool {
    matches!(rcode, 0 | RCODE_NXDOMAIN)
}

/// How the records of a message end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// All that the header announces is there.
    Whole {
        /// The RCODE, with the upper bits of an OPT record (RFC 6891 section 6.1.3).
        rcode: u16,
    },
    /// The message ends inside a record.
    Cut,
    /// A name is not one.
    Broken(&'static str),
}

/// Walks over all names and record headers, without looking into RDATA.
pub(super) fn shape(message: &[u8]) -> Shape {
    let Some(counts) = message.get(4..HEADER) else {
        return Shape::Cut;
    };
    let count = |at: usize| {
        counts
            .get(at..at + 2)
            .map_or(0, |b| u32::from(b[0]) << 8 | u32::from(b[1]))
    };
    let (questions, records) = (count(0), count(2) + count(4) + count(6));
    let mut rcode = u16::from(rcode(message));
    let mut at = HEADER;
    for nth in 0..questions + records {
        at = match skip_name(message, at) {
            Ok(at) => at,
            Err(shape) => return shape,
        };
        if nth < questions {
            at += 4;
        } else {
            let Some([kind @ .., len_high, len_low]) =
                message.get(at..).and_then(<[u8]>::first_chunk::<10>)
            else {
                return Shape::Cut;
            };
            if kind.starts_with(&TYPE_OPT) {
                rcode |= u16::from(kind[4]) << 4;
            }
            at += 10 + (usize::from(*len_high) << 8 | usize::from(*len_low));
        }
        if at > message.len() {
            return Shape::Cut;
        }
    }
    Shape::Whole { rcode }
}

fn skip_name(message: &[u8], mut at: usize) -> Result<usize, Shape> {
    let start = at;
    loop {
        let len = *message.get(at).ok_or(Shape::Cut)?;
        match len {
            0 => return Ok(at + 1),
            1..=63 => at += 1 + usize::from(len),
            0xc0.. => {
                let low = *message.get(at + 1).ok_or(Shape::Cut)?;
                let target = usize::from(len & 0x3f) << 8 | usize::from(low);
                return if target < start {
                    Ok(at + 2)
                } else {
                    Err(Shape::Broken("bad compression pointer"))
                };
            }
            _ => return Err(Shape::Broken("bad label type")),
        }
        if at - start > 254 {
            return Err(Shape::Broken("name exceeded 255 octets"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `example.org. A` with these header counts and this tail.
    fn message(counts: [u8; 4], tail: &[u8]) -> Vec<u8> {
        let [qd, an, ns, ar] = counts;
        let mut message = vec![0x12, 0x34, 0x81, 0x83, 0, qd, 0, an, 0, ns, 0, ar];
        message.extend_from_slice(b"\x07eXample\x03org\x00\x00\x01\x00\x01");
        message.extend_from_slice(tail);
        message
    }

    const A: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1];

    #[test]
    fn the_question_is_found_and_compared() {
        let ours = message([1, 0, 0, 0], &[]);
        let found = &ours[question(&ours).unwrap()];
        assert_eq!(found, b"\x07eXample\x03org\x00\x00\x01\x00\x01");
        assert!(same_question(
            found,
            b"\x07Example\x03ORG\x00\x00\x01\x00\x01"
        ));
        for other in [
            &b"\x07examplf\x03org\x00\x00\x01\x00\x01"[..],
            b"\x07example\x03org\x00\x00\x1c\x00\x01",
            b"\x07example\x03org\x00\x00\x01\x00\x03",
            b"\x03org\x00\x00\x01\x00\x01",
            b"",
        ] {
            assert!(!same_question(found, other), "{other:?}");
        }
        // Type 0x41 and type 0x61 differ by what would be letter case in a name.
        assert!(!same_question(
            b"\x00\x00\x41\x00\x01",
            b"\x00\x00\x61\x00\x01"
        ));
        assert_eq!(rcode(&ours), 3);
    }

    #[test]
    fn what_is_no_question_is_not_found() {
        let mut long = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for _ in 0..5 {
            long.push(63);
            long.extend([b'a'; 63]);
        }
        long.extend([0, 0, 1, 0, 1]);
        for bytes in [
            message([0, 0, 0, 0], &[]),
            message([2, 0, 0, 0], &[]),
            message([1, 0, 0, 0], &[])[..27].to_vec(),
            vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1],
            vec![0; 5],
            long,
        ] {
            assert_eq!(question(&bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn shapes() {
        let whole = message([1, 1, 0, 0], A);
        assert_eq!(shape(&whole), Shape::Whole { rcode: 3 });
        let empty = message([0, 0, 0, 0], &[]);
        assert_eq!(shape(&empty), Shape::Whole { rcode: 3 });
        let opt = [0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0];
        let badcookie = message([1, 0, 0, 1], &opt);
        assert_eq!(shape(&badcookie), Shape::Whole { rcode: 16 + 3 });
        for len in 0..whole.len() {
            assert_eq!(shape(&whole[..len]), Shape::Cut, "{len}");
        }
        let mut forward = A.to_vec();
        forward[1] = 200;
        let mut label = A.to_vec();
        label[0] = 0x80;
        for tail in [forward, label] {
            let shape = shape(&message([1, 1, 0, 0], &tail));
            assert!(matches!(shape, Shape::Broken(_)), "{shape:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>, at: usize, octet: u8) {
            let mut damaged = message([1, 1, 0, 0], A);
            let len = damaged.len();
            damaged[at % len] = octet;
            for bytes in [&bytes, &damaged] {
                shape(bytes);
                if let Some(question) = question(bytes) {
                    assert!(question.end <= bytes.len());
                    assert!(same_question(&bytes[question.clone()], &bytes[question]));
                }
            }
        }
    }
}
