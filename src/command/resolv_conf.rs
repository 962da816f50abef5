//! What a client's resolver is told (resolv.conf(5)): read as glibc reads it.

use std::net::IpAddr;

use crate::wire::NameBuf;

/// The part of a resolv.conf that decides which names are asked for, and of whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::command) struct ResolvConf {
    /// The search list, in the order in which it is walked.
    pub(in crate::command) search: Vec<NameBuf>,
    /// A name with this many dots is tried as it is before the list.
    pub(in crate::command) ndots: u8,
    /// Who is asked; the first one is, unless it fails.
    pub(in crate::command) nameservers: Vec<IpAddr>,
    /// `no-tld-query`: a name without a dot is never tried as it is.
    pub(in crate::command) no_tld_query: bool,
    /// `no-aaaa`: no AAAA is asked for.
    pub(in crate::command) no_aaaa: bool,
    /// Words that are no domains or addresses, and were left out.
    pub(in crate::command) refused: Vec<String>,
}

/// Where `options` says nothing.
const NDOTS: u8 = 1;
/// Beyond it glibc and musl take this.
const MAX_NDOTS: u8 = 15;
/// More nameservers than these are not read (MAXNS).
const MAX_NAMESERVERS: usize = 3;

impl Default for ResolvConf {
    fn default() -> Self {
        Self {
            search: Vec::new(),
            ndots: NDOTS,
            nameservers: Vec::new(),
            no_tld_query: false,
            no_aaaa: false,
            refused: Vec::new(),
        }
    }
}

impl ResolvConf {
    /// Reads the text of a file. Of several `search` and `domain` lines the
    /// last one counts; what makes no sense is left out, as resolvers do.
    pub(in crate::command) fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            // The keyword begins the line; ` nameserver` is none.
            let Some((keyword, rest)) = line.split_once([' ', '\t']) else {
                continue;
            };
            let mut words = rest.split_ascii_whitespace();
            match keyword {
                "nameserver" => words
                    .next()
                    .into_iter()
                    .for_each(|word| conf.add_nameserver(word)),
                "domain" => conf.set_search(words.take(1)),
                "search" => conf.set_search(words),
                "options" => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        conf
    }

    /// Adds a server, unless there are as many as are read.
    pub(in crate::command) fn add_nameserver(&mut self, word: &str) {
        // The interface of a link-local address stands behind a percent sign.
        let address = word.split_once('%').map_or(word, |(address, _)| address);
        match address.parse() {
            Ok(address) if self.nameservers.len() < MAX_NAMESERVERS => {
                self.nameservers.push(address);
            }
            Ok(_) => {}
            Err(_) => self.refused.push(word.to_owned()),
        }
    }

    /// Replaces the search list.
    pub(in crate::command) fn set_search<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        self.search.clear();
        words.for_each(|word| self.add_search(word));
    }

    /// Adds a domain to the end of the search list, unless it is there.
    pub(in crate::command) fn add_search(&mut self, word: &str) {
        match corefile::key::fqdn(word).parse::<NameBuf>() {
            Ok(domain) => {
                let known = |known: &NameBuf| known.name().eq_ignore_case(domain.name());
                if !self.search.iter().any(known) {
                    self.search.push(domain);
                }
            }
            Err(_) => self.refused.push(word.to_owned()),
        }
    }

    /// Takes one word of `options`.
    pub(in crate::command) fn option(&mut self, word: &str) {
        match word.split_once(':') {
            // As atoi: what is no number is 0.
            Some(("ndots", number)) => {
                let number = number.parse::<u32>().unwrap_or(0);
                self.ndots = u8::try_from(number).map_or(MAX_NDOTS, |n| n.min(MAX_NDOTS));
            }
            None if word == "no-tld-query" => self.no_tld_query = true,
            None if word == "no-aaaa" => self.no_aaaa = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_glibc_reads_it() {
        for (text, search, ndots, nameservers) in [
            ("", "", 1, ""),
            (
                "nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n",
                "shop.svc.cluster.local. svc.cluster.local. cluster.local.",
                5,
                "10.96.0.10",
            ),
            ("search a.test\ndomain b.test c.test", "b.test.", 1, ""),
            (
                "domain b.test\nsearch a.test\tc.test.",
                "a.test. c.test.",
                1,
                "",
            ),
            ("search a a.\nsearch\t", "", 1, ""),
            (" search a\n;search b\n#search c\nsearchd e", "", 1, ""),
            ("search x..y ok.test", "ok.test.", 1, ""),
            ("search .", ".", 1, ""),
            ("options rotate ndots:99 timeout:1", "", 15, ""),
            ("options ndots:5\noptions ndots:x", "", 0, ""),
            (
                "nameserver 1.1.1.1 # one\nnameserver nobody\nnameserver fe80::1%eth0\nnameserver 3.3.3.3\nnameserver 4.4.4.4",
                "",
                1,
                "1.1.1.1 fe80::1 3.3.3.3",
            ),
        ] {
            let conf = ResolvConf::parse(text);
            let list: Vec<String> = conf.search.iter().map(ToString::to_string).collect();
            let servers: Vec<String> = conf.nameservers.iter().map(ToString::to_string).collect();
            assert_eq!(
                (
                    list.join(" ").as_str(),
                    conf.ndots,
                    servers.join(" ").as_str()
                ),
                (search, ndots, nameservers),
                "{text}"
            );
        }
        let conf = ResolvConf::parse("search x..y\nnameserver z\noptions no-aaaa no-tld-query");
        assert_eq!(conf.refused, ["x..y", "z"]);
        assert!(conf.no_aaaa && conf.no_tld_query);
    }
}
