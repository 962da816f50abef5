//! Domain names in presentation format, as the `miekg/dns` library judges them.

/// The longest name that is accepted, in bytes of presentation format with
/// escapes counted as one.
const MAX_NAME: usize = 256;

/// Whether `name` ends with a dot that is not escaped.
pub fn is_fqdn(name: &str) -> bool {
    let Some(rest) = name.strip_suffix('.') else {
        return false;
    };
    let backslashes = rest.bytes().rev().take_while(|&b| b == b'\\').count();
    backslashes % 2 == 0
}

/// `name` with a final dot.
pub fn fqdn(name: &str) -> String {
    if is_fqdn(name) {
        return name.to_owned();
    }
    format!("{name}.")
}

/// `name` in lower case, with a final dot.
pub fn normalize(name: &str) -> String {
    // One character for one, as in Go: `İ` does not become two.
    fqdn(name)
        .chars()
        .map(|c| c.to_lowercase().next().unwrap_or(c))
        .collect()
}

/// Whether `name` is a domain name: labels of 1 to 63 bytes, 255 in all. Any
/// byte may be in a label; `\.` and `\DDD` are escapes. As `dns.IsDomainName`.
pub fn is_domain_name(name: &str) -> bool {
    if name.is_empty() {
        return false;
    }
    let name = fqdn(name);
    let bytes = name.as_bytes();
    let (mut at, mut begin, mut total) = (0, 0, 0);
    let (mut after_dot, mut escape) = (false, false);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => {
                escape = !escape;
                if total + 1 > MAX_NAME {
                    return false;
                }
                let ddd = bytes
                    .get(at + 1..at + 4)
                    .is_some_and(|ddd| ddd.iter().all(u8::is_ascii_digit));
                // What is escaped is stepped over and not counted.
                let skip = if ddd { 3 } else { 1 };
                at += skip;
                begin += skip;
                after_dot = false;
            }
            b'.' => {
                escape = false;
                if (at == 0 && bytes.len() > 1) || after_dot {
                    return false;
                }
                after_dot = true;
                // An escape that was counted can reach over the label's end.
                let label = at.saturating_sub(begin);
                if label > 63 {
                    return false;
                }
                total += 1 + label;
                if total > MAX_NAME {
                    return false;
                }
                begin = at + 1;
            }
            _ => {
                escape = false;
                after_dot = false;
            }
        }
        at += 1;
    }
    !escape
}

/// Whether a zone needs no remark at start: the root, a reverse zone, or labels
/// of letters, digits and hyphens that begin with a letter and end with no
/// hyphen (RFC 1035 2.3.1).
///
/// For others CoreDNS prints `Warning: Domain "X" does not follow RFC1035
/// preferred syntax` above the zone's line of the banner.
pub fn has_preferred_syntax(zone: &str) -> bool {
    if zone == "." || zone.ends_with(".in-addr.arpa.") || zone.ends_with(".ip6.arpa.") {
        return true;
    }
    let Some(labels) = zone.strip_suffix('.') else {
        return false;
    };
    labels.split('.').all(|label| {
        label.starts_with(|c: char| c.is_ascii_alphabetic())
            && label.ends_with(|c: char| c.is_ascii_alphanumeric())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_and_not() {
        let long = "a".repeat(63);
        let cases = [
            (".".to_owned(), true),
            ("example.org".to_owned(), true),
            ("example.org.".to_owned(), true),
            ("_x.*.a b".to_owned(), true),
            ("10.0.0.0/24".to_owned(), true),
            ("a\\.b".to_owned(), true),
            ("a\\046b".to_owned(), true),
            ("a\\\\".to_owned(), true),
            ("a\\".to_owned(), false),
            (String::new(), false),
            ("..".to_owned(), false),
            (".a".to_owned(), false),
            ("a..b".to_owned(), false),
            (format!("{long}.a"), true),
            (format!("{long}a.a"), false),
            (format!("{long}.{long}.{long}.{long}"), true),
            (format!("{long}.{long}.{long}.{long}.a"), false),
        ];
        for (name, want) in cases {
            assert_eq!(is_domain_name(&name), want, "{name}");
        }
    }

    #[test]
    fn preferred_syntax() {
        for (zone, want) in [
            (".", true),
            ("cluster.local.", true),
            ("a-1.b.", true),
            ("0.10.in-addr.arpa.", true),
            ("in-addr.arpa.", true),
            ("1a.org.", false),
            ("a-.org.", false),
            ("_tcp.org.", false),
            ("é.", false),
            ("}.", false),
            ("a", false),
        ] {
            assert_eq!(has_preferred_syntax(zone), want, "{zone}");
        }
    }

    #[test]
    fn normal_form() {
        for (name, want) in [
            ("", "."),
            (".", "."),
            ("Example.ORG", "example.org."),
            ("a\\.", "a\\.."),
            ("a\\\\.", "a\\\\."),
            ("İΣ", "iσ."),
        ] {
            assert_eq!(normalize(name), want, "{name}");
        }
    }
}
