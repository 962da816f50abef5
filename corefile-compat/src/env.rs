//! Environment references in words: `{%NAME%}` and `{$NAME}`.

use std::fmt;

use crate::host::Host;

/// More replacements in one word than this are taken for a value that leads
/// back to itself. CoreDNS would replace for ever.
const MAX_ROUNDS: usize = 1000;

/// More bytes in one word than this are taken for a value that multiplies.
const MAX_LEN: usize = 1 << 20;

/// The replacement never comes to an end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Endless {
    /// The reference as it stands in the word, such as `{$A}`.
    pub(crate) reference: String,
}

impl fmt::Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Environment variable {} leads back to itself",
            self.reference
        )
    }
}

/// `word` with every reference replaced by its value, references in values
/// included; `None` when there is nothing to replace.
///
/// First all of `{%NAME%}`, then all of `{$NAME}`. A variable that is not set
/// is empty. A reference without a name or an end stays, and so does all that
/// comes after it.
pub(crate) fn replace(word: &str, host: &dyn Host) -> Result<Option<String>, Endless> {
    if !word.contains("{%") && !word.contains("{$") {
        return Ok(None);
    }
    let word = replace_style(word.to_owned(), "{%", "%}", host)?;
    replace_style(word, "{$", "}", host).map(Some)
}

fn replace_style(
    mut word: String,
    start: &str,
    end: &str,
    host: &dyn Host,
) -> Result<String, Endless> {
    for _ in 0..MAX_ROUNDS {
        let Some(reference) = reference(&word, start, end) else {
            return Ok(word);
        };
        let name = &reference[start.len()..reference.len() - end.len()];
        let value = host.env(name).unwrap_or_default();
        let reference = reference.to_owned();
        word = word.replace(&reference, &value);
        if word.len() > MAX_LEN {
            return Err(Endless { reference });
        }
    }
    match reference(&word, start, end) {
        None => Ok(word),
        Some(reference) => Err(Endless {
            reference: reference.to_owned(),
        }),
    }
}

/// The first reference in `word`, if it has a name and an end.
fn reference<'w>(word: &'w str, start: &str, end: &str) -> Option<&'w str> {
    let (_, tail) = word
        .split_once(start)
        .map(|(head, _)| word.split_at(head.len()))?;
    // The end is looked for from the first byte of the reference on, so that
    // `{%}` has an end but no name.
    let len = tail.find(end)?;
    (len > start.len()).then(|| &tail[..len + end.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::Fake;

    #[test]
    fn references() {
        let host = Fake::default()
            .var("ADDRESS", "example.org")
            .var("PORT", "1053")
            .var("NESTED", "{$PORT}")
            .var("ACROSS", "{%PORT%}")
            .var("SPACES", "a b\nc")
            .var("NAME", "PORT");
        let cases = [
            ("plain", "plain"),
            ("{$ADDRESS}", "example.org"),
            ("{%ADDRESS%}", "example.org"),
            ("{$ADDRESS}:{%PORT%}", "example.org:1053"),
            ("a{$PORT}b{$PORT}c", "a1053b1053c"),
            ("{$NESTED}", "1053"),
            // Percent references are replaced first, so one that comes out of
            // a dollar reference is too late.
            ("{$ACROSS}", "{%PORT%}"),
            ("{$SPACES}", "a b\nc"),
            ("{$UNSET}", ""),
            ("x{%UNSET%}y", "xy"),
            ("{$}", "{$}"),
            ("{%}", "{%}"),
            ("{%%}", "{%%}"),
            ("{$} {$PORT}", "{$} {$PORT}"),
            ("{$PORT", "{$PORT"),
            ("{%PORT}", "{%PORT}"),
            ("{$PORT%}", ""),
            ("{%{$NAME}%}", ""),
            ("{${%NAME%}}", "1053"),
            ("{{$var}}", "{}"),
            ("{{ $var }}", "{{ $var }}"),
            ("{{ .Name }} {$PORT}", "{{ .Name }} 1053"),
        ];
        for (word, want) in cases {
            let got = replace(word, &host).unwrap();
            assert_eq!(got.as_deref().unwrap_or(word), want, "{word}");
        }
    }

    #[test]
    fn endless_references_are_refused() {
        let host = Fake::default()
            .var("SELF", "{$SELF}")
            .var("A", "{$B}")
            .var("B", "{$A}")
            .var("GROW", "x{%GROW%}{%GROW%}");
        for (word, reference) in [
            ("{$SELF}", "{$SELF}"),
            ("{$A}", "{$A}"),
            ("{%GROW%}", "{%GROW%}"),
        ] {
            let error = replace(word, &host).unwrap_err();
            assert_eq!(error.reference, reference);
        }
    }
}
