//! `rewrite edns0`: change the options of the client's OPT record.

use std::borrow::Cow;
use std::net::IpAddr;

use super::response::ResponseRule;
use crate::chain::Exchange;
use crate::golang::strconv::{parse_uint, quote};
use crate::presentation::NameText;
use crate::wire::Edns;

/// The size in the OPT that a rule makes where the client sent none.
const UDP_SIZE: u16 = 4096;

/// One change of an option.
#[derive(Debug)]
pub(super) struct Edns0Rule {
    action: Action,
    option: Opt,
    /// Whether the reply shows the option as the client sent it.
    revert: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Action {
    Append,
    Replace,
    Set,
    Unset,
}

#[derive(Debug)]
enum Opt {
    Local { code: u16, data: Vec<u8> },
    Variable { code: u16, variable: Variable },
    Nsid,
    Subnet { v4: u8, v6: u8 },
}

/// What an option can be filled with.
#[derive(Debug)]
enum Variable {
    Qname,
    Qtype,
    ClientIp,
    ClientPort,
    Protocol,
    ServerIp,
    ServerPort,
    Metadata(String),
}

impl Edns0Rule {
    pub(super) fn parse(args: &[&str]) -> Result<Self, String> {
        let [kind, action, rest @ ..] = args else {
            return Err("too few arguments for an EDNS0 rule".into());
        };
        let (kind, action) = (kind.to_lowercase(), action.to_lowercase());
        let action = match action.as_str() {
            "append" => Action::Append,
            "replace" => Action::Replace,
            "set" => Action::Set,
            "unset" => return Self::parse_unset(&kind, rest),
            _ => return Err(format!("invalid action: {}", quote(&action))),
        };
        let (revert, rest) = match rest {
            [rest @ .., "revert"] => (true, rest),
            _ => (false, rest),
        };
        let option = match (kind.as_str(), rest) {
            ("local", [code, data]) if data.starts_with('{') && data.ends_with('}') => {
                Opt::Variable {
                    code: parse_u16(code)?,
                    variable: Variable::parse(data)?,
                }
            }
            ("local", [code, data]) => Opt::Local {
                code: parse_u16(code)?,
                data: parse_data(data)?,
            },
            ("local", _) => return Err("EDNS0 local rules require three or four args".into()),
            ("nsid", []) => Opt::Nsid,
            ("nsid", _) => return Err("EDNS0 NSID rules can accept no more than one arg".into()),
            ("subnet", [v4, v6]) => Opt::Subnet {
                v4: parse_mask(v4, "IPv4", 32)?,
                v6: parse_mask(v6, "IPv6", 128)?,
            },
            ("subnet", _) => return Err("EDNS0 subnet rules require three or four args".into()),
            _ => return Err(format!("invalid rule type {}", quote(&kind))),
        };
        Ok(Self {
            action,
            option,
            revert,
        })
    }

    fn parse_unset(kind: &str, rest: &[&str]) -> Result<Self, String> {
        let option = match (kind, rest) {
            ("local", [code]) => Opt::Local {
                code: parse_u16(code)?,
                data: Vec::new(),
            },
            ("local", _) => {
                return Err("local unset action requires exactly two arguments".into());
            }
            ("nsid", []) => Opt::Nsid,
            ("nsid", _) => return Err("nsid unset action requires exactly one argument".into()),
            ("subnet", []) => Opt::Subnet { v4: 0, v6: 0 },
            ("subnet", _) => {
                return Err("subnet unset action requires exactly one argument".into());
            }
            _ => return Err(format!("invalid rule type {}", quote(kind))),
        };
        Ok(Self {
            action: Action::Unset,
            option,
            revert: false,
        })
    }

    /// The code that replies may echo because the rule names it.
    pub(super) fn local_code(&self) -> Option<u16> {
        match self.option {
            Opt::Local { code, .. } | Opt::Variable { code, .. } => Some(code),
            Opt::Nsid | Opt::Subnet { .. } => None,
        }
    }

    fn code(&self) -> u16 {
        match self.option {
            Opt::Local { code, .. } | Opt::Variable { code, .. } => code,
            Opt::Nsid => Edns::NSID,
            Opt::Subnet { .. } => Edns::SUBNET,
        }
    }

    /// Changes the request; false where the rule has nothing to do, though
    /// even then the request may have got an OPT, as in CoreDNS.
    pub(super) fn apply(
        &self,
        exchange: &mut Exchange,
        rules: &mut Vec<Cow<'_, ResponseRule>>,
    ) -> bool {
        let Some(data) = self.data(exchange) else {
            return false;
        };
        let code = self.code();
        let edns = exchange.request.edns_or_insert(UDP_SIZE);
        if self.action == Action::Unset {
            edns.retain_options(|at, _| at != code);
            return true;
        }
        // CoreDNS sees an option that has a meaning of its own as something
        // other than a local one of the same code.
        let comparable = match self.option {
            Opt::Local { .. } | Opt::Variable { .. } => is_local(code),
            Opt::Nsid | Opt::Subnet { .. } => true,
        };
        let found = edns.option(code).filter(|_| comparable).map(<[u8]>::to_vec);
        match (found, self.action) {
            (Some(old), Action::Replace | Action::Set) => {
                replace_first(edns, code, &data);
                if self.revert {
                    // CoreDNS looks for the code in its own form of NSID and
                    // subnet options, where it is 0, and so restores neither.
                    let code = match self.option {
                        Opt::Local { .. } | Opt::Variable { .. } => code,
                        Opt::Nsid | Opt::Subnet { .. } => 0,
                    };
                    rules.push(Cow::Owned(ResponseRule::RestoreOption(code, old)));
                }
                true
            }
            (Some(_), Action::Append)
                if matches!(self.option, Opt::Variable { .. } | Opt::Subnet { .. }) =>
            {
                false
            }
            (_, Action::Append | Action::Set) => {
                edns.push_option(code, &data);
                if self.revert {
                    rules.push(Cow::Owned(ResponseRule::RemoveOption(code)));
                }
                true
            }
            _ => false,
        }
    }

    fn data<'a>(&'a self, exchange: &Exchange) -> Option<Cow<'a, [u8]>> {
        match &self.option {
            Opt::Local { data, .. } => Some(Cow::Borrowed(data)),
            Opt::Variable { variable, .. } => variable.value(exchange).map(Cow::Owned),
            Opt::Nsid => Some(Cow::Borrowed(&[])),
            Opt::Subnet { v4, v6 } => Some(Cow::Owned(subnet(exchange, *v4, *v6))),
        }
    }
}

/// The client's subnet as an option (RFC 7871 section 6), scope 0.
fn subnet(exchange: &Exchange, v4: u8, v6: u8) -> Vec<u8> {
    let (family, mask, address) = match exchange.client.ip().to_canonical() {
        IpAddr::V4(address) => (1, v4, address.octets().to_vec()),
        IpAddr::V6(address) => (2, v6, address.octets().to_vec()),
    };
    let mut option = vec![0, family, mask, 0];
    let mut left = mask;
    for octet in address {
        if left == 0 {
            break;
        }
        let bits = left.min(8);
        left -= bits;
        option.push(octet & !(0xFFu16 >> bits) as u8);
    }
    option
}

/// Gives the first option of this code other data, and leaves it where it is.
pub(super) fn replace_first(edns: &mut Edns, code: u16, data: &[u8]) {
    let options: Vec<(u16, Vec<u8>)> = edns
        .options()
        .map(|(code, data)| (code, data.to_vec()))
        .collect();
    edns.retain_options(|_, _| false);
    let mut replaced = false;
    for (at, old) in options {
        if at == code && !replaced {
            replaced = true;
            edns.push_option(code, data);
        } else {
            edns.push_option(at, &old);
        }
    }
}

/// Takes the first option of this code out.
pub(super) fn remove_first(edns: &mut Edns, code: u16) {
    let mut removed = false;
    edns.retain_options(|at, _| {
        let first = at == code && !removed;
        removed |= first;
        !first
    });
}

/// Whether CoreDNS keeps options of this code as plain octets: LLQ, UL, NSID,
/// ESU, DAU, DHU, N3U, subnet, expiry, cookie, keepalive, padding, extended
/// error, reporting and zone version are taken apart.
fn is_local(code: u16) -> bool {
    !matches!(code, 1..=12 | 15 | 18 | 19)
}

impl Variable {
    fn parse(word: &str) -> Result<Self, String> {
        let inner = word
            .strip_prefix('{')
            .and_then(|word| word.strip_suffix('}'));
        Ok(match inner.unwrap_or_default() {
            "qname" => Self::Qname,
            "qtype" => Self::Qtype,
            "client_ip" => Self::ClientIp,
            "client_port" => Self::ClientPort,
            "protocol" => Self::Protocol,
            "server_ip" => Self::ServerIp,
            "server_port" => Self::ServerPort,
            // Labels are known only when the query is there.
            label if matches!(label.find('/'), Some(at) if at > 0 && at + 1 < label.len()) => {
                Self::Metadata(label.to_owned())
            }
            _ => return Err(format!("unsupported variable name {}", quote(word))),
        })
    }

    fn value(&self, exchange: &Exchange) -> Option<Vec<u8>> {
        let port = |address: std::net::SocketAddr| address.port().to_be_bytes().to_vec();
        Some(match self {
            Self::Qname => NameText::new(exchange.request.qname()).as_str().into(),
            Self::Qtype => exchange.request.qtype().to_be_bytes().to_vec(),
            Self::ClientIp => octets(exchange.client.ip()),
            Self::ClientPort => port(exchange.client),
            Self::Protocol => exchange.proto.as_str().into(),
            Self::ServerIp => octets(exchange.local.ip()),
            Self::ServerPort => port(exchange.local),
            Self::Metadata(label) => {
                let value = exchange.metadata.iter().find(|(at, _)| at == label);
                let (_, value) = value.filter(|(_, value)| !value.is_empty())?;
                value.clone().into()
            }
        })
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn parse_u16(word: &str) -> Result<u16, String> {
    let number = parse_uint(word, 0, 16).map_err(|error| error.to_string())?;
    // 16 bits were asked for.
    Ok(number as u16)
}

fn parse_mask(word: &str, family: &str, max: u16) -> Result<u8, String> {
    let bits = parse_u16(word)?;
    if bits > max {
        return Err(format!("invalid {family} bit mask length {bits}"));
    }
    Ok(bits as u8)
}

/// Text as it stands, or octets behind `0x`.
fn parse_data(word: &str) -> Result<Vec<u8>, String> {
    let Some(digits) = word.strip_prefix("0x") else {
        return Ok(word.into());
    };
    crate::presentation::record::decode_hex(digits)
}
