//! What a record's template can say about the query.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::message;
use crate::chain::Exchange;
use crate::golang::regex::Regex;
use crate::golang::value::{Object, Signature, Type, Value};
use crate::presentation::NameText;

/// The dot of a template: CoreDNS's `templateData`.
pub(super) struct Data {
    pub(super) zone: String,
    pub(super) name: String,
    pub(super) regex: String,
    /// The whole match and what the groups caught.
    pub(super) matched: Vec<String>,
    /// The same by number and by name.
    pub(super) groups: BTreeMap<String, String>,
    pub(super) class: &'static str,
    pub(super) rtype: &'static str,
    pub(super) message: Value,
    pub(super) question: Value,
    pub(super) remote: String,
    pub(super) metadata: Vec<(&'static str, String)>,
}

impl Data {
    /// The query in `exchange` as the template sees it. Without a pattern the
    /// whole name has matched.
    pub(super) fn new(
        exchange: &Exchange,
        zone: String,
        regex: Option<&Regex>,
        (class, rtype): (&'static str, &'static str),
    ) -> Self {
        let text = NameText::new(exchange.request.name());
        let name = text.as_str();
        let matched = match regex {
            Some(regex) => regex.captures(name).unwrap_or_default(),
            None => vec![name],
        };
        let mut groups = BTreeMap::new();
        for (at, text) in matched.iter().enumerate() {
            groups.insert(at.to_string(), (*text).to_owned());
        }
        let names = regex.map(Regex::names).unwrap_or_default();
        for (name, text) in names.iter().zip(&matched) {
            if !name.is_empty() {
                groups.insert(name.clone(), (*text).to_owned());
            }
        }
        Self {
            zone,
            name: name.to_owned(),
            regex: regex.map_or(".*", Regex::as_str).to_owned(),
            matched: matched.into_iter().map(str::to_owned).collect(),
            groups,
            class,
            rtype,
            message: message::message(&exchange.request),
            question: message::question(&exchange.request, "*dns.Question"),
            remote: exchange.client.ip().to_canonical().to_string(),
            metadata: exchange.metadata.to_vec(),
        }
    }
}

impl Object for Data {
    fn type_name(&self) -> &'static str {
        "*template.templateData"
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        const NAMES: [&str; 10] = [
            "Zone", "Name", "Regex", "Match", "Group", "Class", "Type", "Message", "Question",
            "Remote",
        ];
        let shown = NAMES
            .iter()
            .filter_map(|name| Some((*name, self.field(name)?)));
        let hidden = ("md", Value::Map(Rc::default()));
        shown.chain([hidden]).collect()
    }

    fn field(&self, name: &str) -> Option<Value> {
        Some(match name {
            "Zone" => Value::str(&*self.zone),
            "Name" => Value::str(&*self.name),
            "Regex" => Value::str(&*self.regex),
            "Match" => {
                let items: Vec<Value> = self
                    .matched
                    .iter()
                    .map(|text| Value::str(&**text))
                    .collect();
                Value::List(items.into(), "[]string")
            }
            "Group" => Value::Map(Rc::new(self.groups.clone())),
            "Class" => Value::str(self.class),
            "Type" => Value::str(self.rtype),
            "Message" => self.message.clone(),
            "Question" => self.question.clone(),
            "Remote" => Value::str(&*self.remote),
            _ => return None,
        })
    }

    fn hides(&self, name: &str) -> bool {
        name == "md"
    }

    fn method(&self, name: &str) -> Option<Signature> {
        (name == "Meta").then_some(Signature {
            fixed: &[Type::Str],
            variadic: None,
        })
    }

    fn call(&self, _: &str, args: &[Value]) -> Result<Value, String> {
        let label = match args {
            [Value::Str(label)] => &**label,
            _ => "",
        };
        let found = self.metadata.iter().find(|(at, _)| *at == label);
        Ok(Value::str(found.map_or("", |(_, value)| value)))
    }
}
