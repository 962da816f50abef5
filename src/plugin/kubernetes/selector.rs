//! Label selectors in their text form (Kubernetes API concepts, "Labels and
//! Selectors"), in the words that the API machinery uses for errors.

use std::fmt;

/// What labels an object must have.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Selector {
    /// Sorted by key; all must hold.
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Requirement {
    key: String,
    operator: Operator,
    /// Sorted, without repeats.
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Operator {
    Equals,
    In,
    NotIn,
    Exists,
    Missing,
}

/// Why text is not a selector that a watch can use.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum SelectorError {
    /// It does not parse.
    #[error("couldn't parse the selector string \"{0}\": {1}")]
    Syntax(String, String),
    /// An operator that a label selector of CoreDNS's kind does not have.
    #[error("\"{0}\" is not a valid label selector operator")]
    Operator(&'static str),
    /// A comparison of numbers.
    #[error("\"{0}\" isn't supported in label selectors")]
    Comparison(&'static str),
}

impl Selector {
    /// Reads `key`, `!key`, `key=value`, `key==value`, `key in (a,b)` and
    /// `key notin (a,b)`, joined by commas.
    pub(super) fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser {
            tokens: scan(text),
            at: 0,
        };
        let parsed = parser
            .requirements()
            .map_err(|why| SelectorError::Syntax(text.to_owned(), why))?;
        let mut requirements = Vec::new();
        for (key, operator, values) in parsed {
            let operator = match operator {
                "=" | "==" => Operator::Equals,
                "in" => Operator::In,
                "notin" => Operator::NotIn,
                "" => Operator::Exists,
                "!" => Operator::Missing,
                ">" => return Err(SelectorError::Comparison("gt")),
                "<" => return Err(SelectorError::Comparison("lt")),
                other => return Err(SelectorError::Operator(other)),
            };
            requirements.push(Requirement {
                key,
                operator,
                values,
            });
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }

    /// Whether an object with these labels is selected.
    pub(super) fn matches<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = label(&requirement.key);
            let listed = |value| requirement.values.iter().any(|listed| listed == value);
            match requirement.operator {
                Operator::Equals | Operator::In => value.is_some_and(listed),
                Operator::NotIn => !value.is_some_and(listed),
                Operator::Exists => value.is_some(),
                Operator::Missing => value.is_none(),
            }
        })
    }
}

/// The form that the API server takes as `labelSelector`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (
            at,
            Requirement {
                key,
                operator,
                values,
            },
        ) in self.requirements.iter().enumerate()
        {
            if at > 0 {
                f.write_str(",")?;
            }
            let values = values.join(",");
            match operator {
                Operator::Equals => write!(f, "{key}={values}")?,
                Operator::In => write!(f, "{key} in ({values})")?,
                Operator::NotIn => write!(f, "{key} notin ({values})")?,
                Operator::Exists => f.write_str(key)?,
                Operator::Missing => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

const SPECIAL: &str = "=!(),><";
const SYMBOLS: &[&str] = &["==", "!=", ")", ",", "!", "=", ">", "<", "("];

/// A word or a symbol of the text. The end is an empty word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Token<'t> {
    Word(&'t str),
    Symbol(&'static str),
    End,
}

impl<'t> Token<'t> {
    fn text(self) -> &'t str {
        match self {
            Self::Word(text) => text,
            Self::Symbol(text) => text,
            Self::End => "",
        }
    }
}

fn scan(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if rest.is_empty() {
            tokens.push(Token::End);
            return tokens;
        }
        // Two-character symbols come first in the list.
        let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
        let len = match symbol {
            Some(symbol) => {
                tokens.push(Token::Symbol(symbol));
                symbol.len()
            }
            None => {
                let ends = |c: char| SPECIAL.contains(c) || " \t\r\n".contains(c);
                let len = rest.find(ends).unwrap_or(rest.len());
                tokens.push(Token::Word(rest.get(..len).unwrap_or_default()));
                len
            }
        };
        rest = rest.get(len..).unwrap_or_default();
    }
}

struct Parser<'t> {
    tokens: Vec<Token<'t>>,
    at: usize,
}

type Parsed = (String, &'static str, Vec<String>);

impl<'t> Parser<'t> {
    fn peek(&self) -> Token<'t> {
        self.tokens.get(self.at).copied().unwrap_or(Token::End)
    }

    fn take(&mut self) -> Token<'t> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirements(&mut self) -> Result<Vec<Parsed>, String> {
        let mut parsed = Vec::new();
        loop {
            match self.peek() {
                Token::Word(_) | Token::Symbol("!") => {}
                Token::End => return Ok(parsed),
                token => {
                    let found = token.text();
                    return Err(format!(
                        "found '{found}', expected: !, identifier, or 'end of string'"
                    ));
                }
            }
            let requirement = self.requirement();
            parsed.push(requirement.map_err(|why| format!("unable to parse requirement: {why}"))?);
            match self.take() {
                Token::End => return Ok(parsed),
                Token::Symbol(",") => {
                    let token = self.peek();
                    if !matches!(token, Token::Word(_) | Token::Symbol("!")) {
                        let found = token.text();
                        return Err(format!("found '{found}', expected: identifier after ','"));
                    }
                }
                token => {
                    let found = token.text();
                    return Err(format!("found '{found}', expected: ',' or 'end of string'"));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Parsed, String> {
        let mut token = self.take();
        let negated = token == Token::Symbol("!");
        if negated {
            token = self.take();
        }
        let Token::Word(key) = token else {
            return Err(format!("found '{}', expected: identifier", token.text()));
        };
        check_key(key)?;
        if negated {
            return Ok((key.to_owned(), "!", Vec::new()));
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok((key.to_owned(), "", Vec::new()));
        }
        let operator = match self.take() {
            Token::Word("in") => "in",
            Token::Word("notin") => "notin",
            Token::Symbol(symbol @ ("=" | "==" | "!=" | ">" | "<")) => symbol,
            token => {
                let found = token.text();
                return Err(format!(
                    "found '{found}', expected: in, notin, =, ==, !=, gt, lt"
                ));
            }
        };
        let mut values = match operator {
            "in" | "notin" => self.listed()?,
            _ => vec![self.exact()?],
        };
        values.sort();
        values.dedup();
        for value in &values {
            check_value(key, value)?;
        }
        if matches!(operator, ">" | "<") && values.iter().any(|value| value.parse::<i64>().is_err())
        {
            let value = values.first().map_or("", |value| &**value);
            return Err(format!(
                "values[0]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
            ));
        }
        Ok((key.to_owned(), operator, values))
    }

    fn exact(&mut self) -> Result<String, String> {
        match self.peek() {
            Token::End | Token::Symbol(",") => Ok(String::new()),
            _ => match self.take() {
                Token::Word(word) => Ok(word.to_owned()),
                token => Err(format!("found '{}', expected: identifier", token.text())),
            },
        }
    }

    fn listed(&mut self) -> Result<Vec<String>, String> {
        let open = self.take();
        if open != Token::Symbol("(") {
            return Err(format!("found '{}' expected: '('", open.text()));
        }
        let mut values = Vec::new();
        match self.peek() {
            Token::Symbol(")") => {
                self.take();
                return Ok(vec![String::new()]);
            }
            Token::Word(_) | Token::Symbol(",") => {}
            token => {
                let found = token.text();
                return Err(format!("found '{found}', expected: ',', ')' or identifier"));
            }
        }
        loop {
            match self.take() {
                Token::Word(word) => {
                    values.push(word.to_owned());
                    match self.peek() {
                        Token::Symbol(",") => {}
                        Token::Symbol(")") => break,
                        token => {
                            return Err(format!("found '{}', expected: ',' or ')'", token.text()));
                        }
                    }
                }
                Token::Symbol(",") => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    match self.peek() {
                        Token::Symbol(")") => {
                            values.push(String::new());
                            break;
                        }
                        Token::Symbol(",") => values.push(String::new()),
                        _ => {}
                    }
                }
                token => {
                    return Err(format!(
                        "found '{}', expected: ',', or identifier",
                        token.text()
                    ));
                }
            }
        }
        // The `)` that ended the loop.
        self.take();
        Ok(values)
    }
}

const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', \
    and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', \
    regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
    and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', \
    regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

const PREFIX: &str = "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
    '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
    validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// How Go prints the place of a key, which has none.
const NO_PATH: &str = "<nil>: ";

fn check_key(key: &str) -> Result<(), String> {
    let mut faults: Vec<&str> = Vec::new();
    let mut parts = key.splitn(3, '/');
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => name,
        (Some(prefix), Some(name), None) => {
            if prefix.is_empty() {
                faults.push("prefix part must be non-empty");
            } else if !is_subdomain(prefix) {
                faults.push(PREFIX);
            }
            name
        }
        _ => {
            faults.push(
                "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and \
                 end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                 validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix \
                 and '/' (e.g. 'example.com/MyName')",
            );
            return invalid(NO_PATH, key, &faults);
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty");
    } else if name.len() > 63 {
        faults.push("name part must be no more than 63 bytes");
    }
    if !is_qualified(name) {
        faults.push(NAME_PART);
    }
    invalid(NO_PATH, key, &faults)
}

fn check_value(key: &str, value: &str) -> Result<(), String> {
    let mut faults = Vec::new();
    if value.len() > 63 {
        faults.push("must be no more than 63 bytes");
    }
    if !value.is_empty() && !is_qualified(value) {
        faults.push(VALUE);
    }
    invalid(&format!("values[0][{key}]: "), value, &faults)
}

fn invalid(path: &str, what: &str, faults: &[&str]) -> Result<(), String> {
    match faults {
        [] => Ok(()),
        _ => Err(format!(
            "{path}Invalid value: \"{what}\": {}",
            faults.join("; ")
        )),
    }
}

fn is_qualified(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let within = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ends(text.chars().next()) && ends(text.chars().last()) && text.chars().all(within)
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            let octets = label.as_bytes();
            let alone = |octet: Option<&u8>| {
                octet.is_some_and(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit())
            };
            let within = |octet: &u8| alone(Some(octet)) || *octet == b'-';
            alone(octets.first()) && alone(octets.last()) && octets.iter().all(within)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_and_written() {
        for (text, want) in [
            ("environment=prod", "environment=prod"),
            ("environment == prod", "environment=prod"),
            (
                "environment in (production, staging, qa),application=nginx",
                "application=nginx,environment in (production,qa,staging)",
            ),
            ("a notin (b)", "a notin (b)"),
            ("a, !b", "a,!b"),
            ("a in ()", "a in ()"),
            ("a in (,b,)", "a in (,b)"),
            ("a=", "a="),
            (
                "example.com/in in (in,notin)",
                "example.com/in in (in,notin)",
            ),
            ("", ""),
        ] {
            assert_eq!(
                Selector::parse(text).map(|s| s.to_string()),
                Ok(want.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_selector_is_named() {
        let in_string =
            |text: &str, why: &str| format!("couldn't parse the selector string \"{text}\": {why}");
        for (text, why) in [
            (
                "environment in (production, qa",
                "unable to parse requirement: found '', expected: ',' or ')'",
            ),
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            (
                "=a",
                "found '=', expected: !, identifier, or 'end of string'",
            ),
            ("a,", "found '', expected: identifier after ','"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            (
                "!=a",
                "found '!=', expected: !, identifier, or 'end of string'",
            ),
            ("!a=b", "found '=', expected: ',' or 'end of string'"),
            (
                "!",
                "unable to parse requirement: found '', expected: identifier",
            ),
            (
                "a in (b!)",
                "unable to parse requirement: found '!', expected: ',' or ')'",
            ),
            (
                "! =a",
                "unable to parse requirement: found '=', expected: identifier",
            ),
            (
                "a in b",
                "unable to parse requirement: found 'b' expected: '('",
            ),
            (
                "a in (=",
                "unable to parse requirement: found '=', expected: ',', ')' or identifier",
            ),
        ] {
            let got = Selector::parse(text).map_err(|error| error.to_string());
            assert_eq!(got, Err(in_string(text, why)), "{text}");
        }
        for (text, why) in [
            ("a!=b", "\"!=\" is not a valid label selector operator"),
            ("a>1", "\"gt\" isn't supported in label selectors"),
        ] {
            assert_eq!(
                Selector::parse(text).map_err(|e| e.to_string()),
                Err(why.to_owned())
            );
        }
        let long = "a".repeat(64);
        for (text, what, why) in [
            ("-a=b", "<nil>: Invalid value: \"-a\"", NAME_PART),
            ("a=-b", "values[0][a]: Invalid value: \"-b\"", VALUE),
            ("a in (x,-y)", "values[0][a]: Invalid value: \"-y\"", VALUE),
            ("A.b/c=d", "<nil>: Invalid value: \"A.b/c\"", PREFIX),
            (
                "/a",
                "<nil>: Invalid value: \"/a\"",
                "prefix part must be non-empty",
            ),
            (
                &*long,
                &*format!("<nil>: Invalid value: \"{long}\""),
                "name part must be no more than 63 bytes",
            ),
            (
                "a/=b",
                "<nil>: Invalid value: \"a/\"",
                &*format!("name part must be non-empty; {NAME_PART}"),
            ),
            (
                "a>x",
                "values[0]: Invalid value: \"x\"",
                "for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ] {
            let got = Selector::parse(text).map_err(|error| error.to_string());
            let want = in_string(text, &format!("unable to parse requirement: {what}: {why}"));
            assert_eq!(got, Err(want), "{text}");
        }
    }

    #[test]
    fn labels_are_selected() {
        let labels = [("app", "web"), ("tier", "front")];
        let label = |key: &str| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        for (text, selected) in [
            ("", true),
            ("app=web", true),
            ("app=api", false),
            ("app in (api,web),tier", true),
            ("app notin (api)", true),
            ("app notin (web)", false),
            ("env notin (prod)", true),
            ("env", false),
            ("!env", true),
            ("!app", false),
            ("env=prod", false),
        ] {
            assert_eq!(
                Selector::parse(text).unwrap().matches(label),
                selected,
                "{text}"
            );
        }
    }
}
