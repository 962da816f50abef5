//! The client's message as templates see it: CoreDNS's `dns.Msg` and what is in it.

use std::fmt::Write;
use std::net::IpAddr;
use std::rc::Rc;

use crate::golang::value::{Object, Signature, Value};
use crate::presentation::NameText;
use crate::presentation::record::type_name;
use crate::wire::{Edns, Record, RecordView, Request, class, flags, opcode, rtype};

/// A struct whose fields and methods are known beforehand.
struct Struct {
    type_name: &'static str,
    fields: Vec<(&'static str, Value)>,
    /// Fields of a struct within it that are reached directly.
    promoted: Vec<(&'static str, Value)>,
    /// Methods without arguments, and their results.
    methods: Vec<(&'static str, Value)>,
    text: Option<String>,
}

impl Struct {
    fn new(type_name: &'static str, fields: Vec<(&'static str, Value)>) -> Self {
        Self {
            type_name,
            fields,
            promoted: Vec::new(),
            methods: Vec::new(),
            text: None,
        }
    }

    fn into_value(self) -> Value {
        Value::Object(Rc::new(self))
    }

    fn result(&self, method: &str) -> Option<Value> {
        if method == "String" {
            return self.text.as_deref().map(Value::str);
        }
        let mut methods = self.methods.iter();
        methods.find_map(|(name, value)| (*name == method).then(|| value.clone()))
    }
}

impl Object for Struct {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        self.fields.clone()
    }

    fn field(&self, name: &str) -> Option<Value> {
        let mut fields = self.fields.iter().chain(&self.promoted);
        fields.find_map(|(at, value)| (*at == name).then(|| value.clone()))
    }

    fn method(&self, name: &str) -> Option<Signature> {
        self.result(name).map(|_| Signature {
            fixed: &[],
            variadic: None,
        })
    }

    fn call(&self, name: &str, _: &[Value]) -> Result<Value, String> {
        self.result(name).ok_or_else(|| format!("no method {name}"))
    }

    fn text(&self) -> Option<String> {
        self.text.clone()
    }
}

/// The question: a pointer to it or, within the message, itself.
pub(super) fn question(request: &Request, type_name: &'static str) -> Value {
    let name = NameText::new(request.qname());
    let mut question = Struct::new(
        type_name,
        vec![
            ("Name", Value::str(name.as_str())),
            ("Qtype", Value::uint16(request.qtype())),
            ("Qclass", Value::uint16(request.qclass())),
        ],
    );
    question.text = Some(show_question(request));
    question.into_value()
}

fn show_question(request: &Request) -> String {
    format!(
        ";{}\t{}\t {}",
        request.qname(),
        show_class(request.qclass()),
        show_type(request.qtype())
    )
}

fn show_type(value: u16) -> String {
    type_name(value).map_or_else(|| format!("TYPE{value}"), str::to_owned)
}

fn show_class(value: u16) -> String {
    class::mnemonic(value).map_or_else(|| format!("CLASS{value}"), str::to_owned)
}

/// The whole message, a pointer to it.
pub(super) fn message(request: &Request) -> Value {
    let header = header_fields(request);
    let mut msg_hdr = Struct::new("dns.MsgHdr", header.clone());
    msg_hdr.text = Some(show_header(request));

    let mut sections: [Vec<Record>; 3] = Default::default();
    for record in request.records().filter(|view| view.rtype != rtype::OPT) {
        if let (Some(section), Ok(record)) = (
            sections.get_mut(record.section as usize),
            RecordView::to_record(&record),
        ) {
            section.push(record);
        }
    }
    let values = |records: &[Record]| records.iter().map(record).collect::<Vec<Value>>();
    let [answer, authority, additional] = &sections;
    let mut extra = values(additional);
    let opt = request.edns().map(opt);
    extra.extend(opt.clone());

    let list = |values: Vec<Value>| Value::List(values.into(), "[]dns.RR");
    let questions = vec![question(request, "dns.Question")];
    let counts = [1, answer.len(), authority.len(), extra.len()];
    let mut message = Struct::new(
        "*dns.Msg",
        vec![
            ("MsgHdr", msg_hdr.into_value()),
            ("Compress", Value::Bool(false)),
            ("Question", Value::List(questions.into(), "[]dns.Question")),
            ("Answer", list(values(answer))),
            ("Ns", list(values(authority))),
            ("Extra", list(extra)),
        ],
    );
    message.promoted = header;
    message.text = Some(show_message(request, &sections, counts));
    message.methods = vec![
        ("IsEdns0", opt.unwrap_or(Value::Null("*dns.OPT"))),
        ("IsTsig", Value::Null("*dns.TSIG")),
        (
            "Len",
            Value::int(uncompressed_len(request, &sections) as i64),
        ),
    ];
    message.into_value()
}

fn header_fields(request: &Request) -> Vec<(&'static str, Value)> {
    let flag = |flag| Value::Bool(request.has(flag));
    vec![
        ("Id", Value::uint16(request.id())),
        ("Response", flag(flags::QR)),
        ("Opcode", Value::int(request.opcode().into())),
        ("Authoritative", flag(flags::AA)),
        ("Truncated", flag(flags::TC)),
        ("RecursionDesired", flag(flags::RD)),
        ("RecursionAvailable", flag(flags::RA)),
        ("Zero", flag(flags::Z)),
        ("AuthenticatedData", flag(flags::AD)),
        ("CheckingDisabled", flag(flags::CD)),
        ("Rcode", Value::int((request.flags() & flags::RCODE).into())),
    ]
}

fn show_header(request: &Request) -> String {
    let operation = match request.opcode() {
        opcode::QUERY => "QUERY",
        opcode::NOTIFY => "NOTIFY",
        _ => "",
    };
    let rcode = crate::wire::Rcode(request.flags() & flags::RCODE);
    let mut text = format!(
        ";; opcode: {operation}, status: {}, id: {}\n;; flags:",
        rcode.mnemonic().unwrap_or_default(),
        request.id()
    );
    let names = [
        (flags::QR, " qr"),
        (flags::AA, " aa"),
        (flags::TC, " tc"),
        (flags::RD, " rd"),
        (flags::RA, " ra"),
        (flags::Z, " z"),
        (flags::AD, " ad"),
        (flags::CD, " cd"),
    ];
    for (flag, name) in names {
        if request.has(flag) {
            text.push_str(name);
        }
    }
    text.push(';');
    text
}

fn show_message(request: &Request, sections: &[Vec<Record>; 3], counts: [usize; 4]) -> String {
    let [questions, answers, authorities, additionals] = counts;
    let mut text = format!(
        "{} QUERY: {questions}, ANSWER: {answers}, AUTHORITY: {authorities}, ADDITIONAL: {additionals}\n",
        show_header(request)
    );
    if let Some(edns) = request.edns() {
        let _ = writeln!(text, "{}", show_opt(edns));
    }
    let _ = writeln!(text, "\n;; QUESTION SECTION:\n{}", show_question(request));
    let titles = ["ANSWER", "AUTHORITY", "ADDITIONAL"];
    for (title, records) in titles.iter().zip(sections) {
        if !records.is_empty() {
            let _ = writeln!(text, "\n;; {title} SECTION:");
            for record in records {
                let _ = writeln!(text, "{}", show_record(record));
            }
        }
    }
    text
}

fn uncompressed_len(request: &Request, sections: &[Vec<Record>; 3]) -> usize {
    let records = sections.iter().flatten();
    let records: usize = records
        .map(|record| record.owner.wire().len() + 10 + record.rdata.len())
        .sum();
    crate::wire::HEADER_LEN
        + request.question_len()
        + records
        + request.edns().map_or(0, Edns::wire_len)
}

fn rr_header(type_name: &'static str, name: &str, fields: [u16; 2], ttl: u32, len: usize) -> Value {
    let [rtype, class] = fields;
    let mut header = Struct::new(
        type_name,
        vec![
            ("Name", Value::str(name)),
            ("Rrtype", Value::uint16(rtype)),
            ("Class", Value::uint16(class)),
            ("Ttl", Value::Uint(ttl.into(), "uint32")),
            (
                "Rdlength",
                Value::uint16(u16::try_from(len).unwrap_or(u16::MAX)),
            ),
        ],
    );
    header.text = Some(format!(
        "{name}\t{ttl}\t{}\t{}\t",
        show_class(class),
        show_type(rtype)
    ));
    header.into_value()
}

/// A record of the client's message; its data shows in the form of RFC 3597.
fn record(record: &Record) -> Value {
    let name = NameText::new(record.owner.name());
    let fields = [record.rtype, record.class];
    let header = |type_name| {
        rr_header(
            type_name,
            name.as_str(),
            fields,
            record.ttl,
            record.rdata.len(),
        )
    };
    let mut value = Struct::new("*dns.RFC3597", vec![("Hdr", header("dns.RR_Header"))]);
    value.methods = vec![("Header", header("*dns.RR_Header"))];
    value.text = Some(show_record(record));
    value.into_value()
}

fn show_record(record: &Record) -> String {
    format!(
        "{}\t{}\t{}\t{}\t\\# {} {}",
        record.owner,
        record.ttl,
        show_class(record.class),
        show_type(record.rtype),
        record.rdata.len(),
        hex(&record.rdata)
    )
}

fn opt(edns: &Edns) -> Value {
    let ttl = u32::from_be_bytes([
        edns.ext_rcode,
        edns.version,
        (edns.flags >> 8) as u8,
        edns.flags as u8,
    ]);
    let fields = [rtype::OPT, edns.udp_size];
    let len = edns.wire_len() - 11;
    let header = |type_name| rr_header(type_name, ".", fields, ttl, len);
    let options: Vec<Value> = edns
        .options()
        .map(|(code, data)| option(code, data))
        .collect();
    let mut value = Struct::new(
        "*dns.OPT",
        vec![
            ("Hdr", header("dns.RR_Header")),
            ("Option", Value::List(options.into(), "[]dns.EDNS0")),
        ],
    );
    value.methods = vec![
        ("Header", header("*dns.RR_Header")),
        ("Version", Value::Uint(edns.version.into(), "uint8")),
        ("ExtendedRcode", Value::int(i64::from(edns.ext_rcode) << 4)),
        ("UDPSize", Value::uint16(edns.udp_size)),
        ("Do", Value::Bool(edns.dnssec_ok())),
        ("Co", Value::Bool(edns.flags & (1 << 14) != 0)),
        ("Z", Value::uint16(edns.flags & 0x3FFF)),
    ];
    value.text = Some(show_opt(edns));
    value.into_value()
}

fn show_opt(edns: &Edns) -> String {
    let mut text = format!(
        "\n;; OPT PSEUDOSECTION:\n; EDNS: version {}; flags:",
        edns.version
    );
    if edns.dnssec_ok() {
        text.push_str(" do");
    }
    if edns.flags & (1 << 14) != 0 {
        text.push_str(" co");
    }
    text.push_str("; ");
    if edns.flags & 0x3FFF != 0 {
        let _ = write!(text, "MBZ: 0x{:04x}, ", edns.flags & 0x3FFF);
    }
    let _ = write!(text, "udp: {}", edns.udp_size);
    for (code, data) in edns.options() {
        let title = match code {
            Edns::NSID => "NSID",
            Edns::SUBNET => "SUBNET",
            Edns::EXPIRE => "EXPIRE",
            Edns::COOKIE => "COOKIE",
            Edns::TCP_KEEPALIVE => "KEEPALIVE",
            Edns::PADDING => "PADDING",
            Edns::EDE => "EDE",
            _ => "LOCAL OPT",
        };
        let _ = write!(text, "\n; {title}: {}", show_option(code, data));
    }
    text
}

fn option(code: u16, data: &[u8]) -> Value {
    let mut value = Struct::new("*dns.EDNS0_LOCAL", vec![("Code", Value::uint16(code))]);
    value.methods = vec![("Option", Value::uint16(code))];
    value.text = Some(show_option(code, data));
    value.into_value()
}

fn show_option(code: u16, data: &[u8]) -> String {
    match code {
        Edns::SUBNET => show_subnet(data),
        Edns::NSID
        | Edns::COOKIE
        | Edns::EXPIRE
        | Edns::TCP_KEEPALIVE
        | Edns::PADDING
        | Edns::EDE => hex(data),
        _ => format!("{code}:0x{}", hex(data)),
    }
}

/// The address, prefix length and scope of a client subnet (RFC 7871 section 6).
fn show_subnet(data: &[u8]) -> String {
    let [_, family, prefix, scope, address @ ..] = data else {
        return hex(data);
    };
    let mut octets = [0u8; 16];
    octets
        .iter_mut()
        .zip(address)
        .for_each(|(to, from)| *to = *from);
    match family {
        1 => {
            let [a, b, c, d, ..] = octets;
            format!("{}/{prefix}/{scope}", IpAddr::from([a, b, c, d]))
        }
        2 => format!("[{}]/{prefix}/{scope}", IpAddr::from(octets)),
        _ => format!("<nil>/{prefix}/{scope}"),
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}
