//! Watch streams and lists cut into objects as their bytes arrive. Nothing
//! larger than one object is ever held.

use std::io::BufRead;

use serde::Deserialize;

/// No object of the API comes near this: etcd refuses more than 1.5 MiB.
const LARGEST: usize = 16 << 20;

/// What a piece of text above which memory is given back after it was read.
const USUAL: usize = 256 << 10;

/// A response that is not what the API promises.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("an object of more than {LARGEST} bytes")]
    TooLarge,
    #[error("not an event: {0}")]
    Event(#[source] serde_json::Error),
    #[error("not a list: {0}")]
    List(#[source] serde_json::Error),
}

/// Joins chunks to lines.
#[derive(Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    complete: bool,
}

impl Lines {
    /// Takes the next line out of `chunk`, which shrinks from its front.
    /// `None` when it is used up; an unfinished line waits for the next one.
    pub(super) fn next(&mut self, chunk: &mut &[u8]) -> Result<Option<&[u8]>, FrameError> {
        if self.complete {
            self.complete = false;
            self.line.clear();
            self.line.shrink_to(USUAL);
        }
        // Reading from a slice cannot fail.
        let _ = chunk.read_until(b'\n', &mut self.line);
        if self.line.len() > LARGEST {
            return Err(FrameError::TooLarge);
        }
        self.complete = self.line.last() == Some(&b'\n');
        Ok(self.complete.then_some(self.line.as_slice()))
    }
}

/// One event of a watch.
#[derive(Debug, PartialEq)]
pub(super) enum Event<'a> {
    /// `ADDED` or `MODIFIED`, with the object's JSON.
    Upsert(std::borrow::Cow<'a, [u8]>),
    /// `DELETED`, with the object's JSON.
    Delete(std::borrow::Cow<'a, [u8]>),
    /// Everything up to this version has been sent.
    Bookmark {
        version: String,
        /// The objects that existed before the watch have been sent
        /// (`k8s.io/initial-events-end`).
        initial_end: bool,
    },
    /// The watch is over.
    Error(Status),
    /// A type from the future.
    Other,
}

/// A `v1` Status: how the API says no.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    /// The HTTP status code.
    pub(super) code: u16,
    /// A word for programs, such as `Expired`.
    pub(super) reason: String,
    /// A sentence for people.
    pub(super) message: String,
    pub(super) details: Option<Details>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Details {
    /// When to come back, in seconds.
    pub(super) retry_after_seconds: Option<u32>,
}

/// Reads one line of a watch.
pub(super) fn event(line: &[u8]) -> Result<Event<'_>, FrameError> {
    use std::borrow::Cow;

    // As the API server writes it, the object need not be looked at here.
    for (prefix, delete) in [
        (&br#"{"type":"ADDED","object":"#[..], false),
        (br#"{"type":"MODIFIED","object":"#, false),
        (br#"{"type":"DELETED","object":"#, true),
    ] {
        let object = line.strip_prefix(prefix).map(|rest| rest.trim_ascii_end());
        if let Some(object) = object.and_then(|rest| rest.strip_suffix(b"}")) {
            let object = Cow::Borrowed(object);
            return Ok(if delete {
                Event::Delete(object)
            } else {
                Event::Upsert(object)
            });
        }
    }

    #[derive(Deserialize)]
    struct Any {
        r#type: String,
        #[serde(default)]
        object: serde_json::Value,
    }
    let any: Any = serde_json::from_slice(line).map_err(FrameError::Event)?;
    let text = |object: &serde_json::Value| Cow::Owned(object.to_string().into_bytes());
    Ok(match &*any.r#type {
        "ADDED" | "MODIFIED" => Event::Upsert(text(&any.object)),
        "DELETED" => Event::Delete(text(&any.object)),
        "ERROR" => Event::Error(serde_json::from_value(any.object).map_err(FrameError::Event)?),
        "BOOKMARK" => {
            let meta = &any.object["metadata"];
            Event::Bookmark {
                version: meta["resourceVersion"].as_str().unwrap_or("").to_owned(),
                initial_end: meta["annotations"]["k8s.io/initial-events-end"] == "true",
            }
        }
        _ => Event::Other,
    })
}

/// What a list says beside its items.
#[derive(Debug, Default, PartialEq, Deserialize)]
pub(super) struct ListMeta {
    #[serde(default)]
    pub(super) metadata: ListMetadata,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ListMetadata {
    pub(super) resource_version: String,
    #[serde(rename = "continue")]
    pub(super) token: Option<String>,
}

/// Cuts the items out of a list as it arrives.
#[derive(Default)]
pub(super) struct Items {
    /// The list without its items.
    frame: Vec<u8>,
    item: Vec<u8>,
    depth: usize,
    in_items: bool,
    in_string: bool,
    escaped: bool,
}

impl Items {
    /// Hands every item that `chunk` completes to `found`.
    pub(super) fn push(
        &mut self,
        chunk: &[u8],
        mut found: impl FnMut(&[u8]),
    ) -> Result<(), FrameError> {
        for &byte in chunk {
            let (was_in_item, was_in_string) = (self.in_items && self.depth > 2, self.in_string);
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => {
                        if byte == b'[' && self.depth == 1 && ends_with_items(&self.frame) {
                            self.in_items = true;
                        }
                        self.depth += 1;
                    }
                    b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
            }
            if was_in_item || (self.in_items && self.depth > 2) {
                self.item.push(byte);
                if self.depth == 2 && !was_in_string {
                    found(&self.item);
                    self.item.clear();
                    self.item.shrink_to(USUAL);
                }
                if self.item.len() > LARGEST {
                    return Err(FrameError::TooLarge);
                }
            } else {
                if self.in_items && self.depth < 2 {
                    self.in_items = false;
                }
                // The commas between items would make the frame no JSON.
                if !(self.in_items && byte == b',') {
                    self.frame.push(byte);
                }
                if self.frame.len() > LARGEST {
                    return Err(FrameError::TooLarge);
                }
            }
        }
        Ok(())
    }

    /// What the list says beside its items. An error when it broke off.
    pub(super) fn finish(self) -> Result<ListMeta, FrameError> {
        serde_json::from_slice(&self.frame).map_err(FrameError::List)
    }
}

fn ends_with_items(frame: &[u8]) -> bool {
    let frame = frame.trim_ascii_end();
    frame
        .strip_suffix(b":")
        .is_some_and(|f| f.trim_ascii_end().ends_with(b"\"items\""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn items(text: &[u8], cut: usize) -> (Vec<String>, Result<ListMeta, FrameError>) {
        let mut reader = Items::default();
        let mut found = Vec::new();
        for chunk in text.chunks(cut) {
            let keep = |item: &[u8]| found.push(String::from_utf8_lossy(item).into_owned());
            reader.push(chunk, keep).expect("small");
        }
        (found, reader.finish())
    }

    #[test]
    fn items_come_out_whole_however_the_bytes_arrive() {
        let list = br#"{"kind":"ServiceList","metadata":{"resourceVersion":"7","continue":"tok]"},
            "items":[{"a":"}]\"{\\"},{"b":[1,{"items":[{}]}]} , {}]}"#;
        for cut in [1, 2, 3, 7, 1000] {
            let (found, meta) = items(list, cut);
            assert_eq!(
                found,
                [r#"{"a":"}]\"{\\"}"#, r#"{"b":[1,{"items":[{}]}]}"#, "{}"]
            );
            let meta = meta.expect("complete").metadata;
            assert_eq!(
                (&*meta.resource_version, meta.token.as_deref()),
                ("7", Some("tok]"))
            );
        }
    }

    #[test]
    fn lists_in_other_shapes() {
        for (list, count, complete) in [
            (
                r#"{"items":[{"x":1}],"metadata":{"resourceVersion":"7"}}"#,
                1,
                true,
            ),
            (
                r#"{"items":[],"metadata":{"resourceVersion":"7"}}"#,
                0,
                true,
            ),
            (
                r#"{"items":null,"metadata":{"resourceVersion":"7"}}"#,
                0,
                true,
            ),
            (
                r#"{"metadata":{"resourceVersion":"7"},"items":[{"x":1},{"x""#,
                1,
                false,
            ),
            ("", 0, false),
        ] {
            let (found, meta) = items(list.as_bytes(), 5);
            assert_eq!((found.len(), meta.is_ok()), (count, complete), "{list}");
        }
    }

    #[test]
    fn lines_are_joined_over_chunks() {
        let mut lines = Lines::default();
        let mut got = Vec::new();
        for chunk in ["a", "b\nc\n", "", "\nd"] {
            let mut chunk = chunk.as_bytes();
            while let Some(line) = lines.next(&mut chunk).expect("small") {
                got.push(String::from_utf8_lossy(line).into_owned());
            }
        }
        assert_eq!(got, ["ab\n", "c\n", "\n"]);
    }

    #[test]
    fn events_in_both_spellings() {
        let upsert = |text: &str| Event::Upsert(text.as_bytes().to_vec().into());
        for (line, want) in [
            (
                "{\"type\":\"ADDED\",\"object\":{\"a\":1}}\n",
                upsert(r#"{"a":1}"#),
            ),
            (
                r#"{"object":{"a":1}, "type":"MODIFIED"}"#,
                upsert(r#"{"a":1}"#),
            ),
            (
                "{\"type\":\"DELETED\",\"object\":{}}",
                Event::Delete(b"{}".as_slice().into()),
            ),
            (
                r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
                Event::Bookmark {
                    version: "9".into(),
                    initial_end: true,
                },
            ),
            (
                r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}"#,
                Event::Bookmark {
                    version: "9".into(),
                    initial_end: false,
                },
            ),
            (
                r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"old"}}"#,
                Event::Error(Status {
                    code: 410,
                    reason: "Expired".into(),
                    message: "old".into(),
                    details: None,
                }),
            ),
            (r#"{"type":"NEWS"}"#, Event::Other),
        ] {
            assert_eq!(event(line.as_bytes()).expect(line), want);
        }
        assert!(event(b"<html>").is_err());
    }

    proptest! {
        #[test]
        fn any_list_is_cut_where_serde_cuts_it(texts in prop::collection::vec("[\\\\\"\\[\\]{},:a]{0,12}", 0..6), cut in 1usize..9) {
            let objects: Vec<_> = texts.iter().map(|t| serde_json::json!({"t": t, "l": [t, {"items": [t]}]})).collect();
            let list = serde_json::json!({"metadata": {"resourceVersion": "1"}, "items": objects});
            let (found, meta) = items(list.to_string().as_bytes(), cut);
            prop_assert_eq!(found, objects.iter().map(ToString::to_string).collect::<Vec<_>>());
            prop_assert!(meta.is_ok());
        }
    }
}
