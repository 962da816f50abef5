//! Records to and from the text that `dig` prints.

use anyhow::Context;
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Reads `OWNER TTL IN TYPE RDATA`, names absolute, as `dig` prints it.
///
/// # Errors
///
/// Names the text that is not a record.
pub fn record(text: &str) -> anyhow::Result<Record> {
    let parse = || {
        let mut words = text.split_whitespace();
        let owner = Name::from_ascii(words.next()?).ok()?;
        let ttl: u32 = words.next()?.parse().ok()?;
        let _class = words.next().filter(|&class| class == "IN")?;
        let word = words.next()?;
        let kind: RecordType = word.parse().ok()?;
        // RDATA keeps its own spacing: quoted strings may hold any.
        let at = text.find(&format!(" {word} "))? + word.len() + 2;
        let data = RData::try_from_str(kind, text.get(at..)?.trim()).ok()?;
        Some(Record::from_rdata(owner, ttl, data))
    };
    parse().with_context(|| format!("not a record: {text:?}"))
}

/// One line for a record; letter case of names as on the wire.
pub(crate) fn show(record: &Record) -> String {
    format!(
        "{} {} {} {} {}",
        record.name.to_ascii(),
        record.ttl,
        record.dns_class,
        record.record_type(),
        show_data(&record.data)
    )
}

fn show_data(data: &RData) -> String {
    match data {
        RData::TXT(txt) => {
            let quoted = |part: &[u8]| format!("\"{}\"", part.escape_ascii());
            let parts: Vec<_> = txt.txt_data.iter().map(|part| quoted(part)).collect();
            parts.join(" ")
        }
        RData::Unknown { rdata, .. } => {
            let hex: String = (rdata.anything.iter())
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("\\# {} {hex}", rdata.anything.len())
        }
        RData::OPT(_) => String::new(),
        other => other.to_string(),
    }
}

/// The name `dig` prints for an RCODE of up to 12 bits.
pub(crate) fn rcode_name(code: u16) -> String {
    let names = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
        "NXRRSET", "NOTAUTH", "NOTZONE",
    ];
    match names.get(usize::from(code)) {
        Some(name) => (*name).to_owned(),
        None if code == 16 => "BADVERS".to_owned(),
        None => format!("RCODE{code}"),
    }
}

/// The header bits that are set, as `qr aa rd`; `z` for the reserved bit.
pub(crate) fn flag_names(flags: u16) -> String {
    let bits = [
        (0x8000, "qr"),
        (0x0400, "aa"),
        (0x0200, "tc"),
        (0x0100, "rd"),
        (0x0080, "ra"),
        (0x0040, "z"),
        (0x0020, "ad"),
        (0x0010, "cd"),
    ];
    let set: Vec<_> = (bits.iter())
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    set.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_text() {
        for text in [
            "example.org. 300 IN A 192.0.2.1",
            "Example.ORG. 0 IN AAAA 2001:db8::1",
            "_http._tcp.web.default.svc.cluster.local. 5 IN SRV 0 100 80 web.default.svc.cluster.local.",
            "a.example.org. 60 IN CNAME b.example.org.",
            "1.2.0.192.in-addr.arpa. 60 IN PTR b.example.org.",
            "example.org. 60 IN MX 10 mail.example.org.",
            "example.org. 60 IN TXT \"two  spaces\" \"1.1.0\"",
            "example.org. 60 IN SOA ns.example.org. host.example.org. 7 7200 1800 86400 30",
        ] {
            let parsed = record(text).expect(text);
            assert_eq!(show(&parsed), text);
        }
    }

    #[test]
    fn what_is_no_record_is_named() {
        let error = record("example.org. IN A 192.0.2.1").unwrap_err();
        assert!(error.to_string().contains("example.org. IN A"), "{error}");
    }
}
