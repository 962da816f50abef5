//! The tree as the JSON that CoreDNS hashes to tell whether a Corefile changed.

use std::fmt::Write;

use crate::tree::{Corefile, ServerBlock};

impl Corefile {
    /// The tree as CoreDNS's `reload` plugin encodes it before it takes the
    /// SHA-512: byte for byte what Go's `json.Marshal` makes of caddy's server
    /// blocks. Comments and white space don't show in it, line numbers do.
    pub fn canonical_json(&self) -> String {
        if self.blocks.is_empty() {
            return "null".to_owned();
        }
        let mut json = String::from("[");
        for (i, block) in self.blocks.iter().enumerate() {
            if i > 0 {
                json.push(',');
            }
            push_block(&mut json, block);
        }
        json.push(']');
        json
    }
}

fn push_block(json: &mut String, block: &ServerBlock) {
    json.push_str("{\"Keys\":[");
    for (i, key) in block.keys.iter().enumerate() {
        if i > 0 {
            json.push(',');
        }
        push_string(json, &key.text);
    }
    json.push_str("],\"Tokens\":{");
    let mut directives: Vec<_> = block.directives.iter().collect();
    directives.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    for (i, directive) in directives.into_iter().enumerate() {
        if i > 0 {
            json.push(',');
        }
        push_string(json, &directive.name);
        json.push_str(":[");
        for (i, token) in directive.tokens.iter().enumerate() {
            if i > 0 {
                json.push(',');
            }
            let file = if token.source.imported {
                token.file()
            } else {
                ""
            };
            json.push_str("{\"File\":");
            push_string(json, file);
            // Writing to a String does not fail.
            let _ = write!(json, ",\"Line\":{},\"Text\":", token.line);
            push_string(json, &token.text);
            json.push('}');
        }
        json.push(']');
    }
    json.push_str("}}");
}

/// A string as Go's encoder escapes it: HTML and line separators too.
fn push_string(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use crate::{host::tests::Fake, parse};

    #[test]
    fn as_go_encodes_it() {
        let host = Fake::default().file("/work/x", "log\n");
        let text = "a, b {\n  forward . \"<&\\\"\u{1}\u{2028}é\u{7f}\"\n  cache\n  import x\n}\n\
                    c {\n}\n";
        let want = concat!(
            r#"[{"Keys":["a","b"],"Tokens":{"#,
            r#""cache":[{"File":"","Line":3,"Text":"cache"}],"#,
            r#""forward":[{"File":"","Line":2,"Text":"forward"},{"File":"","Line":2,"Text":"."},"#,
            r#"{"File":"","Line":2,"Text":"\u003c\u0026\"\u0001\u2028é"#,
            "\u{7f}\"}],",
            r#""log":[{"File":"/work/x","Line":1,"Text":"log"}]}},"#,
            r#"{"Keys":["c"],"Tokens":{}}]"#
        );
        let tree = parse("Corefile", text, &[], &host).unwrap();
        assert_eq!(tree.canonical_json(), want);
        let empty = parse("Corefile", " \n", &[], &host).unwrap();
        assert_eq!(empty.canonical_json(), "null");
    }
}
