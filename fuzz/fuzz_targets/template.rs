//! A pattern, a template and a name, NUL between them: no panic, an end, a
//! bounded output, and what is written is read as a record or refused.
#![no_main]

use std::collections::BTreeMap;
use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use pando::golang::regex::Regex;
use pando::golang::template::Template;
use pando::golang::value::{Object, Value};
use pando::presentation::{NameText, parse_name, record};

/// A dot with a field of every kind.
struct Dot(String);

impl Object for Dot {
    fn type_name(&self) -> &'static str {
        "*fuzz.Dot"
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        let name = Value::str(&*self.0);
        let group = BTreeMap::from([("a".to_owned(), self.0.clone())]);
        vec![
            ("Name", name.clone()),
            ("Match", Value::List(Rc::new([name]), "[]string")),
            ("Group", Value::Map(Rc::new(group))),
        ]
    }
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, '\0');
    let mut next = || parts.next().unwrap_or_default();
    let (pattern, template, name) = (next(), next(), next());

    if let Ok(regex) = Regex::new(pattern) {
        let caught = regex.captures(name);
        assert_eq!(caught.is_some(), regex.is_match(name));
        assert!(caught.is_none_or(|caught| caught.len() == regex.groups() + 1));
    }
    if let Some(parsed) = parse_name(name) {
        let shown = NameText::new(parsed.name());
        assert_eq!(parse_name(shown.as_str()), Some(parsed));
    }
    let _ = record::parse(template);
    if let Ok(parsed) = Template::parse("fuzz", template) {
        let _ = parsed.source();
        if let Ok(written) = parsed.execute(Value::Object(Rc::new(Dot(name.to_owned())))) {
            assert!(written.len() <= 1 << 20);
            let _ = record::parse(&written);
        }
    }
});
