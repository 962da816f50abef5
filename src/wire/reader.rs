/// Why bytes are not a DNS message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The message ends inside the named part.
    #[error("message ends inside {0}")]
    MissingData(&'static str),
    /// A name breaks a rule of RFC 1035 section 2.3.4 or 4.1.4.
    #[error("bad name: {0}")]
    BadName(&'static str),
    /// An option or RDATA disagrees with its own length.
    #[error("bad {0}")]
    BadData(&'static str),
}

/// Reads a hostile message from front to back.
///
/// Every step is checked, so no method panics; a failed step leaves the
/// position where it was.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    message: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first octet of `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Self::at(message, 0)
    }

    /// Starts at `position`, which may lie behind the end: then nothing is left.
    pub fn at(message: &'a [u8], position: usize) -> Self {
        Self { message, position }
    }

    /// The offset of the next octet.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The whole message, for what points back into it.
    pub fn message(&self) -> &'a [u8] {
        self.message
    }

    /// Whether anything is left.
    pub fn any_left(&self) -> bool {
        self.position < self.message.len()
    }

    /// The next `len` octets of the part named `what`.
    pub fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Error> {
        let rest = self.message.get(self.position..).unwrap_or_default();
        let (taken, _) = rest.split_at_checked(len).ok_or(Error::MissingData(what))?;
        self.position += len;
        Ok(taken)
    }

    /// The header of a message (RFC 1035 section 4.1.1): its id, its flags
    /// and codes, and how many questions, answers, authority and additional
    /// records follow.
    pub fn header(&mut self) -> Result<[u16; 6], Error> {
        let (words, _) = self.take(12, "header")?.as_chunks();
        let word = |at| words.get(at).copied().map_or(0, u16::from_be_bytes);
        Ok(std::array::from_fn(word))
    }

    /// The next octet.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Error> {
        self.array::<1>(what).map(|[octet]| octet)
    }

    /// The next two octets, in network order.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, Error> {
        self.array(what).map(u16::from_be_bytes)
    }

    /// The next four octets, in network order.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, Error> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// Steps over a name, compressed or not, without resolving its pointer.
    pub fn skip_name(&mut self) -> Result<(), Error> {
        let mut at = self.position;
        loop {
            let len = usize::from(*self.message.get(at).ok_or(Error::MissingData("name"))?);
            at += 1;
            match len {
                0 => break,
                1..=63 => at += len,
                0xC0.. => {
                    at += 1;
                    break;
                }
                _ => return Err(Error::BadName("reserved label type")),
            }
        }
        if at > self.message.len() {
            return Err(Error::MissingData("name"));
        }
        self.position = at;
        Ok(())
    }

    /// The next `N` octets of the part named `what`.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        let rest = self.message.get(self.position..).unwrap_or_default();
        let array = rest.first_chunk::<N>().ok_or(Error::MissingData(what))?;
        self.position += N;
        Ok(*array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_stays_where_it_was() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u16("x"), Ok(0x0102));
        assert_eq!(reader.u32("x"), Err(Error::MissingData("x")));
        assert_eq!(reader.u8("x"), Ok(3));
        assert_eq!(reader.take(1, "x"), Err(Error::MissingData("x")));
        assert!(Reader::at(&[1], 9).u8("x").is_err());
    }

    #[test]
    fn names_are_stepped_over() {
        for (bytes, end) in [
            (&[0][..], Ok(1)),
            (&[1, b'a', 0, 9], Ok(3)),
            (&[1, b'a', 0xC0, 0], Ok(4)),
            (&[0xC0], Err(Error::MissingData("name"))),
            (&[1, b'a'], Err(Error::MissingData("name"))),
            (&[5, b'a'], Err(Error::MissingData("name"))),
            (&[0x40, b'a', 0], Err(Error::BadName("reserved label type"))),
        ] {
            let mut reader = Reader::new(bytes);
            assert_eq!(
                reader.skip_name().map(|()| reader.position()),
                end,
                "{bytes:?}"
            );
        }
    }
}
