//! What a request needs of whoever takes it, read from its body: what it contains, and about how long it is.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::catalog::ModelFacts;
use crate::domain::json::Member;
use crate::domain::{Endpoint, Exclusion};

/// A run of so many letters and digits is no text but an encoded picture or file.
const ENCODED_RUN_MIN: usize = 1_024;
/// What a picture counts for where its tokens can't be told: about a screen's worth at most providers.
const IMAGE_TOKENS: u64 = 1_000;

/// What a request contains that not every model takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a thing that a model takes or not, independent of the others"
)]
pub struct Needs {
    /// Function tools.
    pub tools: bool,
    /// Images.
    pub images: bool,
    /// Documents.
    pub documents: bool,
    /// Sound.
    pub audio: bool,
    /// An answer by a JSON schema.
    pub json_schema: bool,
}

/// A message, or an item that has contents.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Format<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    format: Option<&'a RawValue>,
}

impl Needs {
    /// Reads the members of a body. `has_media` says whether there may be more than text in it: only then are the messages read.
    pub fn of(endpoint: Endpoint, members: &[Member<'_>], has_media: bool) -> Self {
        let mut needs = Self::default();
        if !endpoint.is_conversation() {
            return needs;
        }
        for member in members {
            match &*member.name {
                "tools" | "functions" => needs.tools |= has_items(member.value),
                "response_format" | "text" | "output_config" => needs.json_schema |= is_schema(member.value),
                "messages" | "input" if has_media => needs.look_into(member.value, 0),
                _ => {}
            }
        }
        needs
    }

    /// Why a model can't take it; what its list does not say, it is taken to do. `is_translated`: a schema becomes a tool then.
    pub(super) fn missing(self, facts: &ModelFacts, is_translated: bool) -> Option<Exclusion> {
        let can = &facts.capabilities;
        let rows = [
            (self.tools, can.tools, Exclusion::Tools),
            (self.images, can.vision, Exclusion::Images),
            (self.documents, can.pdf, Exclusion::Documents),
            (self.audio, can.audio_in, Exclusion::Audio),
            (self.json_schema && !(is_translated && can.tools != Some(false)), can.json_schema, Exclusion::JsonSchema),
        ];
        rows.into_iter().find(|(needed, has, _)| *needed && *has == Some(false)).map(|(_, _, exclusion)| exclusion)
    }

    fn look_into(&mut self, list: &str, depth: u8) {
        // Contents of a tool's result are one level further down; nothing is deeper.
        if depth > 2 || !list.trim_start().starts_with('[') {
            return;
        }
        let items: Vec<&RawValue> = serde_json::from_str(list).unwrap_or_default();
        for item in items {
            let Ok(item) = serde_json::from_str::<Item<'_>>(item.get()) else { continue };
            match item.kind.as_deref() {
                Some("image" | "image_url" | "input_image") => self.images = true,
                Some("document" | "file" | "input_file") => self.documents = true,
                Some("audio" | "input_audio") => self.audio = true,
                _ => {}
            }
            if let Some(content) = item.content {
                self.look_into(content.get(), depth + 1);
            }
        }
    }
}

/// Whether a value that is sound JSON is a list with something in it; long lists of tools are not read for that.
fn has_items(value: &str) -> bool {
    value.strip_prefix('[').is_some_and(|rest| !rest.trim_start().starts_with(']'))
}

/// `{"type":"json_schema"}`, or the same one level down as `format`.
fn is_schema(value: &str) -> bool {
    let Ok(format) = serde_json::from_str::<Format<'_>>(value) else { return false };
    let is_named = format.kind.as_deref() == Some("json_schema");
    is_named || format.format.is_some_and(|inner| is_schema(inner.get()))
}

/// About how many tokens a body has: a guess that leans neither way, for comparing and not for money that is owed.
pub fn likely_tokens(body: &[u8], needs: Needs) -> u64 {
    let (mut ascii, mut other, mut run, mut encoded) = (0_usize, 0_u64, 0_usize, 0_u64);
    for byte in body {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'/' | b'=' | b'-' | b'_' => run += 1,
            _ => {
                if run < ENCODED_RUN_MIN {
                    ascii += run;
                } else {
                    encoded += 1;
                }
                run = 0;
                match byte {
                    0..0x80 => ascii += 1,
                    // The first byte of a character counts for all of it.
                    0xc0.. => other += 1,
                    _ => {}
                }
            }
        }
    }
    let media = if needs.images { encoded.max(1) * IMAGE_TOKENS } else { encoded * IMAGE_TOKENS };
    (ascii + if run < ENCODED_RUN_MIN { run } else { 0 }) as u64 / 4 + other + media
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::json::members;
    use crate::domain::{Capabilities, estimate_tokens};

    fn check(endpoint: Endpoint, body: &str, expected: Needs) {
        let needs = Needs::of(endpoint, &members(body.as_bytes()).unwrap(), true);
        assert_eq!(needs, expected, "{body}");
    }

    #[test]
    fn what_a_request_needs_is_read_in_every_dialect() {
        use Endpoint::{ChatCompletions, Messages, Responses};
        let none = Needs::default();
        check(
            ChatCompletions,
            r#"{"messages":[{"role":"user","content":"image_url"}],"tools":[],"tool_choice":"none"}"#,
            none,
        );
        check(ChatCompletions, r#"{"tools":[{"type":"function"}]}"#, Needs { tools: true, ..none });
        check(
            ChatCompletions,
            r#"{"messages":[{"content":[{"type":"text"},{"type":"image_url","image_url":{}}]}]}"#,
            Needs { images: true, ..none },
        );
        check(
            Messages,
            r#"{"messages":[{"content":[{"type":"tool_result","content":[{"type":"image"}]}]}]}"#,
            Needs { images: true, ..none },
        );
        check(Messages, r#"{"messages":[{"content":[{"type":"document"}]}]}"#, Needs { documents: true, ..none });
        check(
            Responses,
            r#"{"input":[{"content":[{"type":"input_audio"},{"type":"input_image"}]}]}"#,
            Needs { audio: true, images: true, ..none },
        );
        for body in [
            r#"{"response_format":{"type":"json_schema","json_schema":{}}}"#,
            r#"{"text":{"format":{"type":"json_schema"}}}"#,
            r#"{"output_config":{"format":{"type":"json_schema"}}}"#,
        ] {
            check(ChatCompletions, body, Needs { json_schema: true, ..none });
        }
        check(ChatCompletions, r#"{"response_format":{"type":"json_object"}}"#, none);
        // A tool that takes an image has the word in its schema, and is no image.
        check(Messages, r#"{"tools":[{"input_schema":{"type":"image"}}]}"#, Needs { tools: true, ..none });
        check(Endpoint::Embeddings, r#"{"input":[{"content":[{"type":"image"}]}],"tools":[1]}"#, none);
    }

    #[test]
    fn only_what_a_list_denies_is_missing() {
        let facts = |capabilities| ModelFacts { capabilities, ..ModelFacts::default() };
        let needs = Needs { tools: true, images: true, json_schema: true, ..Needs::default() };
        assert_eq!(needs.missing(&facts(Capabilities::default()), false), None);
        let blind = facts(Capabilities { vision: Some(false), tools: Some(true), ..Capabilities::default() });
        assert_eq!(needs.missing(&blind, false), Some(Exclusion::Images));
        let loose = facts(Capabilities { json_schema: Some(false), ..Capabilities::default() });
        assert_eq!(needs.missing(&loose, false), Some(Exclusion::JsonSchema));
        assert_eq!(needs.missing(&loose, true), None, "a translation makes a tool of it");
        assert_eq!(Needs::default().missing(&blind, false), None);
    }

    #[test]
    fn a_picture_counts_as_a_picture_and_not_as_its_letters() {
        let text = "word ".repeat(1_000);
        let counted = likely_tokens(text.as_bytes(), Needs::default());
        assert_eq!(counted, 1_250);
        assert!(counted < estimate_tokens(&text));
        let picture = format!(r#"{{"type":"image","data":"{}"}}"#, "A".repeat(400_000));
        let counted = likely_tokens(picture.as_bytes(), Needs { images: true, ..Needs::default() });
        assert!((1_000..1_020).contains(&counted), "{counted}");
        assert_eq!(likely_tokens("안녕하세요".as_bytes(), Needs::default()), 5);
    }
}
