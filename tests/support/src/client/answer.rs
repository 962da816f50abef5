//! An answer as a test looks at it.

use std::fmt;

use anyhow::Context;
use hickory_proto::op::Message;
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::opt::EdnsOption;

use crate::records::{flag_names, rcode_name, show};

/// A message that a server sent.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The bytes as received.
    pub bytes: Vec<u8>,
    /// The same, decoded.
    pub message: Message,
}

impl Answer {
    pub(super) fn decode(bytes: Vec<u8>) -> anyhow::Result<Self> {
        let message = Message::from_vec(&bytes)
            .with_context(|| format!("no DNS message: {}", bytes.escape_ascii()))?;
        Ok(Self { bytes, message })
    }

    /// The header's flag word with opcode and RCODE, bytes 2 and 3.
    #[must_use]
    pub fn header(&self) -> u16 {
        self.bytes
            .get(2..4)
            .map_or(0, |word| u16::from_be_bytes([word[0], word[1]]))
    }

    /// The RCODE by name, with the high bits of the OPT record: `NXDOMAIN`.
    #[must_use]
    pub fn rcode(&self) -> String {
        let high = self
            .message
            .edns
            .as_ref()
            .map_or(0, |edns| edns.rcode_high());
        rcode_name(u16::from(high) << 4 | self.header() & 0xf)
    }

    /// The header bits that are set, in order, as `qr aa rd`.
    #[must_use]
    pub fn flags(&self) -> String {
        flag_names(self.header())
    }

    /// The answer section, a line a record, sorted.
    #[must_use]
    pub fn answer(&self) -> Vec<String> {
        sorted(&self.message.answers)
    }

    /// The authority section, a line a record, sorted.
    #[must_use]
    pub fn authority(&self) -> Vec<String> {
        sorted(&self.message.authorities)
    }

    /// The additional section without OPT, a line a record, sorted.
    #[must_use]
    pub fn additional(&self) -> Vec<String> {
        sorted(&self.message.additionals)
    }

    /// The data of the answer section's records alone, sorted:
    /// `["10.96.0.1"]`.
    #[must_use]
    pub fn data(&self) -> Vec<String> {
        let data = |line: &String| line.splitn(5, ' ').nth(4).unwrap_or_default().to_owned();
        let mut data: Vec<_> = self.answer().iter().map(data).collect();
        data.sort();
        data
    }

    /// The question as `NAME CLASS TYPE`, letter case as sent back.
    #[must_use]
    pub fn question(&self) -> String {
        let questions = self.message.queries.iter().map(|query| {
            format!(
                "{} {} {}",
                query.name().to_ascii(),
                query.query_class(),
                query.query_type()
            )
        });
        questions.collect::<Vec<_>>().join(", ")
    }

    /// The OPT record as `version 0 size 1232 flags do options 10:abcd`, the
    /// option data in hex; `None` without one.
    #[must_use]
    pub fn edns(&self) -> Option<String> {
        let edns = self.message.edns.as_ref()?;
        let flags = u16::from(*edns.flags());
        let mut text = format!(
            "version {} size {} flags {flags:#06x}",
            edns.version(),
            edns.max_payload()
        );
        for (code, data) in self.options() {
            let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
            text += &format!(" {code}:{hex}");
        }
        Some(text)
    }

    /// The EDNS options in order, data as bytes.
    #[must_use]
    pub fn options(&self) -> Vec<(u16, Vec<u8>)> {
        let Some(edns) = &self.message.edns else {
            return Vec::new();
        };
        let options = edns.options().as_ref().iter();
        options
            .map(|(code, option)| {
                let data = match option {
                    EdnsOption::Unknown(_, data) => data.clone(),
                    known => Vec::<u8>::try_from(known).unwrap_or_default(),
                };
                (u16::from(*code), data)
            })
            .collect()
    }

    /// The Extended DNS Error's code (RFC 8914), if there is one.
    #[must_use]
    pub fn extended_error(&self) -> Option<u16> {
        let (_, data) = self.options().into_iter().find(|(code, _)| *code == 15)?;
        data.get(..2)
            .map(|code| u16::from_be_bytes([code[0], code[1]]))
    }
}

fn sorted(records: &[Record]) -> Vec<String> {
    let mut lines: Vec<_> = records.iter().map(show).collect();
    lines.sort();
    lines
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, ";; {}, flags: {}", self.rcode(), self.flags())?;
        writeln!(f, ";; question: {}", self.question())?;
        if let Some(edns) = self.edns() {
            writeln!(f, ";; edns: {edns}")?;
        }
        for (title, lines) in [
            ("answer", self.answer()),
            ("authority", self.authority()),
            ("additional", self.additional()),
        ] {
            if !lines.is_empty() {
                writeln!(f, ";; {title}\n{}", lines.join("\n"))?;
            }
        }
        Ok(())
    }
}
