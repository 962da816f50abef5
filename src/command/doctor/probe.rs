//! One question to one server, and what came of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::ask::{self, AskError, Transport};
use crate::wire::{HEADER_LEN, NameBuf, Rcode, Reply, Request, Section, rtype};

/// What a server made of a question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It answered.
    Answer {
        rcode: Rcode,
        /// The addresses among the answers.
        addresses: Vec<IpAddr>,
        elapsed: Duration,
    },
    /// It refused the connection or the datagram: somebody is there.
    Refused,
    /// Nothing came back, or nothing that makes sense.
    Nothing(String),
}

impl Outcome {
    /// In a few words: `SERVFAIL`, `no answer within 2s`.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Answer {
                rcode, addresses, ..
            } if *rcode == Rcode::NOERROR && addresses.is_empty() => "no address".to_owned(),
            Self::Answer { rcode, .. } => match rcode.mnemonic() {
                Some(word) => word.to_owned(),
                None => format!("RCODE {}", rcode.0),
            },
            Self::Refused => "connection refused".to_owned(),
            Self::Nothing(why) => why.clone(),
        }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) name: NameBuf,
    pub(super) qtype: u16,
}

impl Question {
    /// Asks `server`, within `bound` in all. A datagram may be lost: there are two.
    pub(super) async fn ask(
        &self,
        server: SocketAddr,
        transport: Transport,
        bound: Duration,
    ) -> Outcome {
        let query = ask::query(self.name.name(), self.qtype, Some(ask::UDP_SIZE));
        let once = match transport {
            Transport::Tcp => bound,
            Transport::Udp | Transport::Either => bound / 2,
        };
        let mut answered = ask::ask(server, &query, transport, once).await;
        if transport != Transport::Tcp && matches!(answered, Err(AskError::Timeout(_))) {
            answered = ask::ask(server, &query, transport, once).await;
        }
        match answered {
            Ok(answer) => self.read(&answer.message, answer.elapsed),
            Err(AskError::Refused) => Outcome::Refused,
            Err(AskError::Timeout(_)) => Outcome::Nothing(format!("no answer within {bound:?}")),
            Err(error) => Outcome::Nothing(error.to_string()),
        }
    }

    fn read(&self, message: &[u8], elapsed: Duration) -> Outcome {
        if let [_, _, _, code, ..] = message
            && message.len() == HEADER_LEN
        {
            // It could not read the question, and does not repeat it.
            return Outcome::Answer {
                rcode: Rcode((code & 0x0f).into()),
                addresses: Vec::new(),
                elapsed,
            };
        }
        let mut request = Request::new();
        request.ask(0, self.name.name(), self.qtype);
        let mut reply = Reply::new();
        if let Err(error) = reply.adopt(message, &request) {
            return Outcome::Nothing(format!("an answer that makes no sense: {error}"));
        }
        let address = |record: crate::wire::RecordView<'_>| match record.rtype {
            rtype::A => <[u8; 4]>::try_from(record.rdata()).ok().map(IpAddr::from),
            rtype::AAAA => <[u8; 16]>::try_from(record.rdata()).ok().map(IpAddr::from),
            _ => None,
        };
        Outcome::Answer {
            rcode: reply.rcode(),
            addresses: reply.section(Section::Answer).filter_map(address).collect(),
            elapsed,
        }
    }
}

/// `0.4 ms`.
pub(super) fn millis(elapsed: Duration) -> String {
    format!("{:.1} ms", elapsed.as_secs_f64() * 1e3)
}
