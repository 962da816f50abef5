//! The Corefile as the checks read it: block by block, line by line, before
//! anything is made of it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use corefile::{Corefile, Directive, Error, Host, Token, key};

use crate::configuration::Text;
use crate::plugin::{Block, ORDER};
use crate::wire::NameBuf;
use crate::zones;

/// A Corefile that parses, whatever its directives say.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) corefile: Corefile,
    /// What plugins know of each of its blocks.
    pub(super) blocks: Vec<Block>,
}

/// A directive as it stands there: its line, and the lines of its braces.
#[derive(Debug)]
pub(super) struct Stanza<'a> {
    pub(super) word: &'a Token,
    pub(super) args: Vec<&'a Token>,
    pub(super) options: Vec<Line<'a>>,
}

/// A line within braces.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) word: &'a Token,
    pub(super) args: Vec<&'a Token>,
}

impl Reading {
    /// # Errors
    ///
    /// What keeps it from being read at all: grammar, unknown directives, keys.
    pub(super) fn new(text: &Text, host: &dyn Host) -> Result<Self, Error> {
        let names = ORDER.map(|(name, _)| name);
        let corefile = corefile::parse(&text.name, &text.text, &names, host)?;
        let keys = key::inspect(&corefile, 53)?;
        let alone = keys.len() == 1;
        let blocks = keys.into_iter().map(|keys| Block {
            alone,
            ..Block::new(keys)
        });
        Ok(Self {
            blocks: blocks.collect(),
            corefile,
        })
    }

    /// Each directive of that name, with its block.
    pub(super) fn directives(&self, name: &str) -> impl Iterator<Item = (&Block, &Directive)> {
        let blocks = self.blocks.iter().zip(&self.corefile.blocks);
        blocks.filter_map(move |(block, source)| Some((block, source.directive(name)?)))
    }

    /// The cluster's zone: the first of `kubernetes` that is no reverse zone.
    pub(super) fn cluster_zone(&self) -> Option<NameBuf> {
        self.directives("kubernetes")
            .find_map(|(block, directive)| {
                let stanza = stanzas(directive).into_iter().next()?;
                let zones = block.origins(&stanza.texts());
                zones
                    .into_iter()
                    .find(|zone| !zones::is_reverse(zone.name()))
            })
    }
}

impl<'a> Stanza<'a> {
    pub(super) fn texts(&self) -> Vec<&'a str> {
        self.args.iter().map(|arg| &*arg.text).collect()
    }

    pub(super) fn option(&self, name: &str) -> Option<&Line<'a>> {
        self.options.iter().find(|line| &*line.word.text == name)
    }
}

impl<'a> Line<'a> {
    pub(super) fn texts(&self) -> Vec<&'a str> {
        self.args.iter().map(|arg| &*arg.text).collect()
    }
}

/// The occurrences of a directive in its block, in order.
pub(super) fn stanzas(directive: &Directive) -> Vec<Stanza<'_>> {
    let mut words = directive.dispenser();
    let mut stanzas = Vec::new();
    while words.next() {
        let Some(word) = words.token() else { break };
        let args = words.remaining_tokens();
        let mut options = Vec::new();
        while words.next_block() {
            let Some(word) = words.token() else { break };
            let args = words.remaining_tokens();
            options.push(Line { word, args });
        }
        stanzas.push(Stanza {
            word,
            args,
            options,
        });
    }
    stanzas
}

/// Where a replica finds its Corefile, for imports with a relative name.
const FOLDER: &str = "/etc/coredns";

/// What a replica sees of files and environment, as far as its Pod tells.
#[derive(Debug, Default)]
pub(super) struct Replica {
    /// Files of mounted ConfigMaps, by path.
    pub(super) files: BTreeMap<PathBuf, String>,
    /// Variables with a literal value.
    pub(super) variables: BTreeMap<String, String>,
}

impl Host for Replica {
    fn env(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        let file = self.files.get(path).cloned();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let matching = self.files.keys().filter(|path| {
            let path = path.to_string_lossy();
            matches(pattern.as_bytes(), path.as_bytes())
        });
        Ok(matching.cloned().collect())
    }

    fn absolute(&self, path: &str) -> io::Result<String> {
        Ok(match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("{FOLDER}/{path}"),
        })
    }

    fn warn(&self, _message: &str) {}
}

/// A pattern with `*` and `?`, neither of which stands for a slash.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), None) => matches(rest, path),
        (Some((b'*', rest)), Some((first, tail))) => {
            matches(rest, path) || *first != b'/' && matches(pattern, tail)
        }
        (Some((one, rest)), Some((first, tail))) => {
            (one == first || *one == b'?' && *first != b'/') && matches(rest, tail)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_is_read_line_by_line() {
        let directive = Directive::new(
            "Corefile",
            "forward . 1.1.1.1 {\n  except a b\n  force_tcp\n}\nforward x 2.2.2.2\n",
        );
        let stanzas = stanzas(&directive);
        assert_eq!(stanzas.len(), 2);
        assert_eq!(stanzas[0].texts(), [".", "1.1.1.1"]);
        assert_eq!(stanzas[0].option("except").unwrap().texts(), ["a", "b"]);
        assert_eq!(stanzas[0].option("force_tcp").unwrap().word.line, 3);
        assert_eq!((stanzas[1].word.line, stanzas[1].texts().len()), (5, 2));
    }

    #[test]
    fn imports_come_from_the_mounted_maps() {
        let mut replica = Replica::default();
        let files = [
            ("/etc/coredns/custom/a.server", "b.test {\n whoami\n}\n"),
            ("/etc/coredns/custom/x/c.server", "never {\n"),
        ];
        for (path, text) in files {
            replica.files.insert(path.into(), text.to_owned());
        }
        replica.variables.insert("ZONE".into(), "a.test".into());
        let text = Text {
            name: "Corefile".to_owned(),
            text: "{$ZONE} {\n kubernetes c.test in-addr.arpa\n}\nimport custom/*.server\n"
                .to_owned(),
        };
        let reading = Reading::new(&text, &replica).unwrap();
        let zones: Vec<_> = reading
            .blocks
            .iter()
            .flat_map(|block| &block.zones)
            .collect();
        let zones: Vec<String> = zones.iter().map(ToString::to_string).collect();
        assert_eq!(zones, ["a.test.", "b.test."]);
        assert_eq!(reading.cluster_zone().unwrap().to_string(), "c.test.");
    }

    #[test]
    fn patterns() {
        for (pattern, path, want) in [
            ("/a/*.b", "/a/x.b", true),
            ("/a/*.b", "/a/.b", true),
            ("/a/*.b", "/a/x/y.b", false),
            ("/a/?.b", "/a/x.b", true),
            ("/a/?.b", "/a/xy.b", false),
            ("/a", "/a", true),
            ("/a", "/ab", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), path.as_bytes()),
                want,
                "{pattern} {path}"
            );
        }
    }
}
