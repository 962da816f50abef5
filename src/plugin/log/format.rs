use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::is_answered_by_server;
use crate::chain::Exchange;
use crate::wire::{Rcode, class, flags, rtype};

/// A log format, cut into literals and placeholders.
#[derive(Debug, PartialEq)]
pub(super) struct Format(Vec<Part>);

#[derive(Debug, PartialEq)]
enum Part {
    Literal(String),
    Value(Value),
    Metadata(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Type,
    Name,
    Class,
    Proto,
    Size,
    Remote,
    Port,
    Local,
    Id,
    Opcode,
    Do,
    Bufsize,
    Rcode,
    ReplySize,
    Duration,
    ReplyFlags,
}

const VALUES: [(&str, Value); 16] = [
    ("{type}", Value::Type),
    ("{name}", Value::Name),
    ("{class}", Value::Class),
    ("{proto}", Value::Proto),
    ("{size}", Value::Size),
    ("{remote}", Value::Remote),
    ("{port}", Value::Port),
    ("{local}", Value::Local),
    ("{>id}", Value::Id),
    ("{>opcode}", Value::Opcode),
    ("{>do}", Value::Do),
    ("{>bufsize}", Value::Bufsize),
    ("{rcode}", Value::Rcode),
    ("{rsize}", Value::ReplySize),
    ("{duration}", Value::Duration),
    ("{>rflags}", Value::ReplyFlags),
];

/// What stands for a value that is not known.
const EMPTY: &str = "-";

impl Format {
    /// Cuts `text`; braces that enclose no placeholder are literal.
    pub(super) fn parse(mut text: &str) -> Self {
        let mut parts = Vec::new();
        // The innermost pair of braces decides, so that `{ {name} }` works.
        while let Some((open, end)) = text.find('}').map(|close| {
            (
                text.get(..close).and_then(|head| head.rfind('{')),
                close + 1,
            )
        }) {
            let (head, rest) = text.split_at(end);
            text = rest;
            let word = open.and_then(|open| head.split_at_checked(open));
            let part = word.and_then(|(before, word)| Some((before, placeholder(word)?)));
            match part {
                Some((before, part)) => {
                    if !before.is_empty() {
                        parts.push(Part::Literal(before.to_owned()));
                    }
                    parts.push(part);
                }
                None => parts.push(Part::Literal(head.to_owned())),
            }
        }
        if !text.is_empty() {
            parts.push(Part::Literal(text.to_owned()));
        }
        Self(parts)
    }

    /// The line for an exchange that the chain has returned; `unwritten` is
    /// its code if no reply was written.
    pub(super) fn render(&self, exchange: &Exchange, unwritten: Rcode, waited: Duration) -> String {
        let mut line = String::with_capacity(128);
        for part in &self.0 {
            match part {
                Part::Literal(text) => line.push_str(text),
                Part::Value(value) => value.render(&mut line, exchange, unwritten, waited),
                Part::Metadata(label) => {
                    let found = exchange.metadata.iter().find(|(name, _)| name == label);
                    line.push_str(found.map_or(EMPTY, |(_, value)| value));
                }
            }
        }
        line
    }
}

fn placeholder(word: &str) -> Option<Part> {
    if let Some((_, value)) = VALUES.iter().find(|(name, _)| *name == word) {
        return Some(Part::Value(*value));
    }
    let label = word.strip_prefix("{/")?.strip_suffix('}')?;
    Some(Part::Metadata(label.to_owned()))
}

impl Value {
    fn render(self, line: &mut String, exchange: &Exchange, unwritten: Rcode, waited: Duration) {
        let request = &exchange.request;
        let written = exchange.reply();
        let rcode = match written {
            Some(reply) => Some(reply.rcode()),
            None => Some(unwritten).filter(|rcode| is_answered_by_server(*rcode)),
        };
        // Writing to a String does not fail.
        let _ = match self {
            Self::Type => write!(line, "{}", rtype::display(request.qtype())),
            Self::Name => write!(line, "{}", request.name()),
            Self::Class => write!(line, "{}", class::display(request.qclass())),
            Self::Proto => write!(line, "{}", exchange.proto.as_str()),
            Self::Size => write!(line, "{}", request.wire_len()),
            Self::Remote => write_address(line, exchange.client),
            Self::Port => write!(line, "{}", exchange.client.port()),
            Self::Local => write_address(line, exchange.local),
            Self::Id => write!(line, "{}", request.id()),
            Self::Opcode => write!(line, "{}", request.opcode()),
            Self::Do => write!(line, "{}", request.dnssec_ok()),
            Self::Bufsize => write!(line, "{}", exchange.limit()),
            Self::Rcode => match rcode {
                Some(rcode) => match rcode.mnemonic() {
                    Some(name) => write!(line, "{name}"),
                    None => write!(line, "{}", rcode.0),
                },
                None => write!(line, "{EMPTY}"),
            },
            // An empty reply of the server has a header and the question.
            Self::ReplySize => match (written, rcode) {
                (Some(reply), _) => write!(line, "{}", reply.wire_len()),
                (None, Some(_)) => write!(line, "{}", 12 + request.question_len()),
                (None, None) => write!(line, "0"),
            },
            Self::Duration => write!(line, "{}s", waited.as_secs_f64()),
            Self::ReplyFlags => match (written, rcode) {
                (Some(reply), _) => write_flags(line, reply.flags()),
                (None, Some(_)) => {
                    let kept = request.flags() & (flags::RD | flags::CD);
                    write_flags(line, flags::QR | kept)
                }
                (None, None) => write!(line, "{EMPTY}"),
            },
        };
    }
}

fn write_address(line: &mut String, address: SocketAddr) -> std::fmt::Result {
    match address.ip().to_canonical() {
        IpAddr::V4(address) => write!(line, "{address}"),
        IpAddr::V6(address) => write!(line, "[{address}]"),
    }
}

fn write_flags(line: &mut String, bits: u16) -> std::fmt::Result {
    let names = [
        (flags::QR, "qr"),
        (flags::AA, "aa"),
        (flags::TC, "tc"),
        (flags::RD, "rd"),
        (flags::RA, "ra"),
        (flags::Z, "z"),
        (flags::AD, "ad"),
        (flags::CD, "cd"),
    ];
    let set = names.iter().filter(|(flag, _)| bits & flag != 0);
    for (index, (_, name)) in set.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(line, "{comma}{name}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Proto;
    use crate::wire::Request;

    fn exchange(client: &str) -> Exchange {
        let mut asked = Request::new();
        let name: crate::wire::NameBuf = "Example.ORG".parse().unwrap();
        asked.ask(29008, name.name(), rtype::A);
        asked.edns_or_insert(4096).flags = crate::wire::Edns::DO;
        let mut wire = Vec::new();
        asked.write(29008, &mut wire);
        let local = "127.0.0.1:53".parse().unwrap();
        let mut exchange = Exchange::new(client.parse().unwrap(), local, Proto::Udp);
        exchange.request.parse(&wire).unwrap();
        exchange
    }

    #[test]
    fn a_line_looks_as_coredns_prints_it() {
        let common = Format::parse(super::super::COMMON);
        let mut exchange = exchange("[::1]:50759");
        let waited = Duration::from_micros(37_990);
        let render = |exchange: &Exchange, rcode| common.render(exchange, rcode, waited);
        assert_eq!(
            render(&exchange, Rcode::SERVFAIL),
            "[::1]:50759 - 29008 \"A IN example.org. udp 40 true 4096\" SERVFAIL qr,rd 29 0.03799s"
        );
        assert_eq!(
            render(&exchange, Rcode::NOERROR),
            "[::1]:50759 - 29008 \"A IN example.org. udp 40 true 4096\" - - 0 0.03799s"
        );
        let reply = exchange.answer();
        reply.set_flag(flags::AA | flags::RA, true);
        reply.push_addresses(5, rtype::A, &[192, 0, 2, 1]);
        assert_eq!(
            render(&exchange, Rcode::NOERROR),
            "[::1]:50759 - 29008 \"A IN example.org. udp 40 true 4096\" NOERROR qr,aa,rd,ra 45 0.03799s"
        );
    }

    #[test]
    fn braces_that_name_nothing_stay() {
        let exchange = exchange("192.0.2.1:4242");
        for (format, line) in [
            ("", ""),
            ("plain", "plain"),
            ("{name}", "example.org."),
            ("{ {name} }", "{ example.org. }"),
            ("a } {name}", "a } example.org."),
            ("{unknown} {port}", "{unknown} 4242"),
            ("{name", "{name"),
            ("{remote}{local}", "192.0.2.1127.0.0.1"),
            ("{/not/known}!", "-!"),
            ("{>opcode} {proto}", "0 udp"),
        ] {
            let rendered = Format::parse(format).render(&exchange, Rcode::NOERROR, Duration::ZERO);
            assert_eq!(rendered, line, "{format}");
        }
    }
}
