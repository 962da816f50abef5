//! Queries as the generator sends them, and what their replies must say.

/// The type of an address record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    A,
    Aaaa,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::A, Self::Aaaa];

    fn code(self) -> u8 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// What a reply must say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Expected {
    pub(crate) rcode: u8,
    pub(crate) answers: u16,
}

impl Expected {
    /// NOERROR with so many records; none is NODATA.
    pub(crate) fn records(answers: u16) -> Self {
        Self { rcode: 0, answers }
    }

    pub(crate) const NXDOMAIN: Self = Self {
        rcode: 3,
        answers: 0,
    };

    /// Whether a message is such a reply, and whole.
    pub(crate) fn fits(self, message: &[u8]) -> bool {
        let [_, _, high, low, _, _, many, few, ..] = message else {
            return false;
        };
        let (response, truncated) = (high & 0x80 != 0, high & 0x02 != 0);
        response
            && !truncated
            && low & 0x0F == self.rcode
            && u16::from_be_bytes([*many, *few]) == self.answers
    }
}

/// Digits of the label that makes a name new.
const DIGITS: usize = 12;
/// Where they stand: behind the header and the label's length.
const SERIAL: usize = 13;

/// A query, ready but for its id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Query {
    bytes: Vec<u8>,
    /// Whether its first label is another one each time.
    fresh: bool,
    pub(crate) expected: Expected,
}

impl Query {
    /// With EDNS and room for 1,232 octets, as Go's resolver and
    /// systemd-resolved ask.
    pub(crate) fn new(name: &str, family: Family, expected: Expected) -> Self {
        let mut bytes = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            // Labels here are ours and short.
            bytes.push(label.len() as u8);
            bytes.extend(label.bytes());
        }
        bytes.extend([0, 0, family.code(), 0, 1]);
        bytes.extend([0, 0, 41, 0x04, 0xD0, 0, 0, 0, 0, 0, 0]);
        Self {
            bytes,
            fresh: false,
            expected,
        }
    }

    /// For a name under `zone` that nobody has asked for yet.
    pub(crate) fn fresh(zone: &str, family: Family, expected: Expected) -> Self {
        let name = format!("{:0DIGITS$}.{zone}", 0);
        Self {
            fresh: true,
            ..Self::new(&name, family, expected)
        }
    }

    /// Writes it over `buffer`; `serial` is for a name that must be new.
    pub(crate) fn write(&self, buffer: &mut Vec<u8>, id: u16, serial: &mut u64) {
        buffer.clear();
        buffer.extend_from_slice(&self.bytes);
        if let Some(start) = buffer.first_chunk_mut() {
            *start = id.to_be_bytes();
        }
        if self.fresh {
            *serial += 1;
            let mut rest = *serial;
            let digits = buffer.get_mut(SERIAL..SERIAL + DIGITS).unwrap_or_default();
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
    }
}

/// The id of a message.
pub(crate) fn id(message: &[u8]) -> Option<u16> {
    message.first_chunk().copied().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_what_resolvers_send() {
        let query = Query::new("web.prod.", Family::Aaaa, Expected::records(0));
        let mut bytes = Vec::new();
        query.write(&mut bytes, 0xABCD, &mut 0);
        let expected = [
            &[0xAB, 0xCD, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1][..],
            b"\x03web\x04prod\x00\x00\x1C\x00\x01",
            &[0, 0, 41, 0x04, 0xD0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(bytes, expected.concat());
        assert_eq!(id(&bytes), Some(0xABCD));
    }

    #[test]
    fn a_fresh_name_is_new_each_time() {
        let query = Query::fresh("example.", Family::A, Expected::records(1));
        let (mut bytes, mut serial) = (Vec::new(), 41);
        query.write(&mut bytes, 1, &mut serial);
        assert_eq!(
            bytes.get(12..34).unwrap(),
            b"\x0c000000000042\x07example\x00"
        );
        query.write(&mut bytes, 1, &mut serial);
        assert_eq!(bytes.get(12..25).unwrap(), b"\x0c000000000043");
    }

    #[test]
    fn a_reply_that_says_something_else_does_not_fit() {
        let two = Expected::records(2);
        let fits = |flags: [u8; 2], answers: u8| {
            two.fits(&[0, 1, flags[0], flags[1], 0, 1, 0, answers, 0, 0, 0, 0])
        };
        assert!(fits([0x85, 0x80], 2));
        assert!(!fits([0x85, 0x80], 1), "a record less");
        assert!(!fits([0x85, 0x82], 2), "SERVFAIL");
        assert!(!fits([0x87, 0x80], 2), "truncated");
        assert!(!fits([0x05, 0x80], 2), "a query");
        assert!(!two.fits(&[0, 1, 0x85]), "a part");
        assert!(Expected::NXDOMAIN.fits(&[0, 1, 0x85, 0x83, 0, 1, 0, 0, 0, 1, 0, 0]));
    }
}
