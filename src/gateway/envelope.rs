//! What of a request the gateway reads: who is asked, for how much, and where to splice. The rest goes on as it came.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::Endpoint;
use crate::domain::json::{Member, members};
use crate::routing::Needs;

use super::error::GatewayError;

/// The largest cap on output that is believed; beyond any model's.
const OUTPUT_CAP_MAX: u64 = 1_000_000_000;
/// The cap of the older completions where none is named, as OpenAI documents it.
const COMPLETION_TOKENS_OWN: u64 = 16;
/// Answers that one call may ask for.
const CHOICES_MAX: u64 = 128;

/// The parts of a request body that decide over routing and money.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    /// The name that the client asked for.
    pub(super) model: Cow<'a, str>,
    model_place: ModelPlace,
    /// Whether the answer shall be a stream.
    pub(super) stream: bool,
    /// The client's own cap on output tokens.
    pub(super) output_cap: Option<u64>,
    /// Where caps stand, and which.
    caps: Vec<(Range<usize>, u64)>,
    /// How many of the output tokens the model may think with, where that is told in a number: the cap must be above it.
    pub(super) thinking: Option<u64>,
    /// The cap that the provider itself takes where none is named, on paths that have one.
    pub(super) output_cap_own: Option<u64>,
    /// How many answers are asked for.
    pub(super) choices: u64,
    /// What the provider may do beside reading and writing text.
    pub(super) extras: Extras,
    /// What a model has to be able to.
    pub(super) needs: Needs,
    /// The service tier that was asked for.
    pub(super) service_tier: Option<Cow<'a, str>>,
    /// Whether a speed was asked for that may cost more.
    pub(super) fast: bool,
    /// What it does beside being answered.
    pub(super) effect: Effect,
    usage: UsageWish<'a>,
    body_len: usize,
    /// The fields that stand there as null, and where: what is to be written goes in their place, since of a field that
    /// stands twice the last one counts.
    nulls: Vec<(Cow<'a, str>, Range<usize>)>,
}

/// Where the model's name stands in a body.
#[derive(Debug)]
enum ModelPlace {
    /// The body names none.
    Nowhere,
    /// In quotes, as in JSON.
    Quoted(Range<usize>),
    /// As it is, as in a form.
    Bare(Range<usize>),
}

/// What a call does beside being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: asked again, it means the same.
    None,
    /// It changes what the provider remembers.
    ChangesState,
    /// Nothing, and nothing has to be paid for it.
    Free,
}

/// What in a request is not text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extras {
    /// Images, at most.
    pub(super) images: u64,
    /// Whether there is something whose tokens can't be told from its size: documents, audio, video, files.
    pub(super) media: bool,
    /// Web searches that the provider may run, at most.
    pub(super) searches: u64,
    /// A tool that the provider runs by itself, without a limit.
    pub(super) unbounded_tool: bool,
}

/// Whether a stream's usage was asked for, and how to ask for it.
#[derive(Debug, PartialEq, Eq)]
enum UsageWish<'a> {
    /// The dialect sends it anyway, or it is no stream.
    NotNeeded,
    /// The client asked.
    Asked,
    /// There is no such field.
    Absent,
    /// The field stands there without the wish.
    Options { span: Range<usize>, value: &'a str },
}

/// What to change in a body before it goes on.
#[derive(Debug, Default)]
pub(super) struct Splices<'a> {
    /// The provider's name of the model.
    pub(super) model: Option<&'a str>,
    /// The cap to write, and the name of its field where the client named none.
    pub(super) output_cap: Option<(&'static str, u64)>,
    /// Ask for usage at the end of the stream.
    pub(super) usage: bool,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    max_uses: Option<u64>,
}

impl<'a> Envelope<'a> {
    /// Reads a body; every refusal names the field and what to do.
    pub(super) fn parse(body: &'a [u8], endpoint: Endpoint) -> Result<Self, GatewayError> {
        let members = members(body)?;
        let model = members
            .iter()
            .find(|member| member.name == "model" && member.value != "null")
            .ok_or_else(|| field("model", "the field model is missing: name a model of GET /v1/models"))?;
        let name: Cow<'a, str> = string(model).ok_or_else(|| field("model", "model must be a string"))?;
        if name.is_empty() {
            return Err(field("model", "model is empty: name a model of GET /v1/models"));
        }
        let place = ModelPlace::Quoted(model.span.clone());
        Self::of(body, endpoint, &members, (name, place))
    }

    fn of(
        body: &[u8],
        endpoint: Endpoint,
        members: &[Member<'a>],
        (model, model_place): (Cow<'a, str>, ModelPlace),
    ) -> Result<Self, GatewayError> {
        let find = |name: &str| members.iter().find(|member| member.name == name && member.value != "null");
        let stream = match find("stream").map(|member| member.value) {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(field("stream", "stream must be true or false")),
        };
        let choices = ["n", "best_of"].into_iter().try_fold(1, |choices: u64, name| match find(name) {
            None => Ok(choices),
            Some(member) => {
                count(member, if name == "n" { "n" } else { "best_of" }, CHOICES_MAX).map(|n| choices.max(n))
            }
        })?;
        let choices = match find("prompt").filter(|_| endpoint == Endpoint::Completions) {
            Some(prompt) => choices.saturating_mul(prompts(prompt)),
            None => choices,
        };
        // What makes no output is capped already.
        let mut output_cap = matches!(endpoint, Endpoint::Embeddings | Endpoint::CountTokens).then_some(0);
        let mut caps = Vec::new();
        for name in cap_fields(endpoint) {
            if let Some(member) = find(name) {
                let cap = count_or_zero(member, name, OUTPUT_CAP_MAX)?;
                caps.push((member.span.clone(), cap));
                output_cap = Some(output_cap.map_or(cap, |known: u64| known.max(cap)));
            }
        }
        let asks_for_usage = matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions);
        let usage = match (asks_for_usage, stream, find("stream_options")) {
            (false, ..) | (_, false, _) => UsageWish::NotNeeded,
            (_, true, None) => match members.iter().find(|member| member.name == "stream_options") {
                None => UsageWish::Absent,
                Some(null) => UsageWish::Options { span: null.span.clone(), value: "{}" },
            },
            (_, true, Some(options)) => {
                let inner = crate::domain::json::members(options.value.as_bytes())
                    .map_err(|_| field("stream_options", "stream_options must be an object without duplicate keys"))?;
                match inner.iter().find(|member| member.name == "include_usage").map(|member| member.value) {
                    Some("true") => UsageWish::Asked,
                    None => UsageWish::Options { span: options.span.clone(), value: options.value },
                    Some(_) => UsageWish::Options { span: options.span.clone(), value: "" },
                }
            }
        };
        let mut extras = extras(body, find("tools"), find("web_search_options").is_some());
        let needs = Needs::of(endpoint, members, extras.images > 0 || extras.media);
        // What the provider remembers is read again, and nobody here knows how much it is.
        extras.media |= ["previous_response_id", "conversation"].iter().any(|name| find(name).is_some());
        extras.media |= endpoint == Endpoint::Responses && find("prompt").is_some();
        // An answer that is not waited for has no end that could be booked.
        let in_background = find("background").is_some_and(|member| member.value == "true");
        extras.unbounded_tool |= in_background;
        Ok(Self {
            model_place,
            model,
            stream,
            output_cap,
            caps,
            thinking: find("thinking").and_then(budget_of_thinking),
            output_cap_own: (endpoint == Endpoint::Completions).then_some(COMPLETION_TOKENS_OWN),
            choices,
            extras,
            needs,
            service_tier: find("service_tier").and_then(string),
            fast: find("speed").is_some(),
            effect: match endpoint {
                Endpoint::CountTokens => Effect::Free,
                _ if find("conversation").is_some() || in_background => Effect::ChangesState,
                _ => Effect::None,
            },
            usage,
            body_len: body.len(),
            nulls: members
                .iter()
                .filter(|member| member.value == "null")
                .map(|member| (member.name.clone(), member.span.clone()))
                .collect(),
        })
    }

    /// Of a request that nobody makes: it needs no model.
    pub(super) fn sample(body: &'a [u8], endpoint: Endpoint) -> Result<Self, GatewayError> {
        let members = members(body)?;
        Self::of(body, endpoint, &members, (Cow::Borrowed(""), ModelPlace::Nowhere))
    }

    /// Of a body that is not read. What it may cost is not known, unless it only reads what is there.
    pub(super) fn opaque(model: Cow<'a, str>, model_span: Option<Range<usize>>, body: &[u8], reads_only: bool) -> Self {
        let model_place = match model_span {
            None => ModelPlace::Nowhere,
            Some(span) if body.get(span.start) == Some(&b'"') => ModelPlace::Quoted(span),
            Some(span) => ModelPlace::Bare(span),
        };
        Self {
            model,
            model_place,
            nulls: Vec::new(),
            stream: false,
            output_cap: None,
            caps: Vec::new(),
            thinking: None,
            output_cap_own: None,
            choices: 1,
            extras: Extras { unbounded_tool: true, ..Extras::default() },
            needs: Needs::default(),
            service_tier: None,
            fast: false,
            effect: if reads_only { Effect::Free } else { Effect::ChangesState },
            usage: UsageWish::NotNeeded,
            body_len: body.len(),
        }
    }

    /// Bytes of the body.
    pub(super) fn body_len(&self) -> usize {
        self.body_len
    }

    /// Whether the client asked for usage at the end of its stream, where that has to be asked for.
    pub(super) fn usage_asked(&self) -> bool {
        self.usage == UsageWish::Asked
    }

    /// Whether usage has to be asked for on the client's behalf, and taken out of the stream again.
    pub(super) fn usage_unasked(&self) -> bool {
        matches!(self.usage, UsageWish::Absent | UsageWish::Options { .. })
    }

    /// The body with its splices; the very same bytes where there are none.
    pub(super) fn splice(&self, body: &Bytes, splices: &Splices<'_>) -> Bytes {
        let mut changes: Vec<(Range<usize>, String)> = Vec::new();
        let mut added = String::new();
        if let Some(model) = splices.model.filter(|model| *model != self.model) {
            match &self.model_place {
                ModelPlace::Nowhere => {}
                ModelPlace::Quoted(span) => changes.push((span.clone(), quoted(model))),
                ModelPlace::Bare(span) => changes.push((span.clone(), model.to_owned())),
            }
        }
        if let Some((name, cap)) = splices.output_cap {
            let larger = self.caps.iter().filter(|(_, theirs)| *theirs > cap);
            changes.extend(larger.map(|(span, _)| (span.clone(), cap.to_string())));
            match self.nulls.iter().find(|(null, _)| *null == name) {
                _ if !self.caps.is_empty() => {}
                Some((_, span)) => changes.push((span.clone(), cap.to_string())),
                None => drop(write!(added, "\"{name}\":{cap},")),
            }
        }
        if splices.usage {
            match &self.usage {
                UsageWish::NotNeeded | UsageWish::Asked => {}
                UsageWish::Absent => added.push_str("\"stream_options\":{\"include_usage\":true},"),
                // A client that said no is given what it asked for by taking the usage out again.
                UsageWish::Options { span, value: "" } => {
                    changes.push((span.clone(), "{\"include_usage\":true}".to_owned()));
                }
                UsageWish::Options { span, value } => {
                    let rest = value.trim_start_matches('{').trim_start();
                    let comma = if rest.starts_with('}') { "" } else { "," };
                    changes.push((span.clone(), format!("{{\"include_usage\":true{comma}{rest}")));
                }
            }
        }
        if !added.is_empty() {
            let start = memchr::memchr(b'{', body).expect("the body was read as an object") + 1;
            changes.push((start..start, added));
        }
        if changes.is_empty() {
            return body.clone();
        }
        changes.sort_by_key(|(span, _)| span.start);
        let mut spliced = BytesMut::with_capacity(body.len() + 128);
        let mut at = 0;
        for (span, text) in changes {
            spliced.extend_from_slice(&body[at..span.start]);
            spliced.extend_from_slice(text.as_bytes());
            at = span.end;
        }
        spliced.extend_from_slice(&body[at..]);
        spliced.freeze()
    }
}

/// The fields that cap the output of calls of a path.
fn cap_fields(endpoint: Endpoint) -> &'static [&'static str] {
    match endpoint {
        Endpoint::ChatCompletions => &["max_completion_tokens", "max_tokens"],
        Endpoint::Responses => &["max_output_tokens"],
        Endpoint::Messages | Endpoint::Completions => &["max_tokens"],
        _ => &[],
    }
}

/// The number of tokens that a field about thinking gives it.
fn budget_of_thinking(member: &Member<'_>) -> Option<u64> {
    #[derive(Deserialize)]
    struct Thinking {
        budget_tokens: Option<u64>,
    }
    serde_json::from_str::<Thinking>(member.value).ok()?.budget_tokens
}

/// How many prompts the older completions are asked to go on with: each has its own answer. A list of numbers is one.
fn prompts(prompt: &Member<'_>) -> u64 {
    let several: Result<Vec<&RawValue>, _> = serde_json::from_str(prompt.value);
    let is_prompt = |value: &&RawValue| value.get().starts_with(['"', '[']);
    several.map_or(1, |list| list.iter().copied().filter(is_prompt).count().max(1) as u64)
}

fn field(param: &'static str, message: &str) -> GatewayError {
    GatewayError::Field { param, message: message.to_owned() }
}

fn string<'a>(member: &Member<'a>) -> Option<Cow<'a, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let text: Text<'a> = serde_json::from_str(member.value).ok()?;
    Some(text.0)
}

fn count(member: &Member<'_>, name: &'static str, max: u64) -> Result<u64, GatewayError> {
    match count_or_zero(member, name, max)? {
        0 => Err(field(name, &format!("{name} must be at least 1"))),
        count => Ok(count),
    }
}

fn count_or_zero(member: &Member<'_>, name: &'static str, max: u64) -> Result<u64, GatewayError> {
    let digits = member.value.bytes().all(|byte| byte.is_ascii_digit());
    let count: Option<u64> = if digits { member.value.parse().ok() } else { None };
    count.filter(|count| *count <= max).ok_or_else(|| {
        let shown: String = member.value.chars().take(40).collect();
        field(name, &format!("{name} must be a whole number from 0 to {max}, not {shown}"))
    })
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string always has a JSON form")
}

/// Looks for what is not text. A name inside a text has its quotes escaped, so what is found is never too little.
fn extras(body: &[u8], tools: Option<&Member<'_>>, web_search: bool) -> Extras {
    const MEDIA: [&[u8]; 8] = [
        b"input_audio\"",
        b"file\"",
        b"document\"",
        b"video_url\"",
        b"input_file\"",
        b"audio_url\"",
        b"video\"",
        b"audio\"",
    ];
    let mut extras = Extras { unbounded_tool: web_search, ..Extras::default() };
    // One pass over the quotes instead of one search a name: bodies are mostly text, with few of them.
    for quote in memchr::memchr_iter(b'"', body) {
        let name = &body[quote + 1..];
        match name.first() {
            Some(b'i') if name.starts_with(b"image") => extras.images += 1,
            Some(b'i' | b'f' | b'd' | b'v' | b'a') => {
                extras.media |= MEDIA.iter().any(|media| name.starts_with(media));
            }
            _ => {}
        }
    }
    let tools: Vec<&RawValue> = tools.and_then(|tools| serde_json::from_str(tools.value).ok()).unwrap_or_default();
    for tool in tools {
        let Ok(tool) = serde_json::from_str::<Tool<'_>>(tool.get()) else { continue };
        match (tool.kind.as_deref(), tool.max_uses) {
            (None | Some("function" | "custom"), _) => {}
            (Some(kind), Some(uses)) if kind.starts_with("web_search") => {
                extras.searches = extras.searches.saturating_add(uses);
            }
            // The client's own computer, shell and editor: their tools cost the text of their calls and results alone.
            (Some(kind), _)
                if ["bash_", "text_editor_", "computer_", "memory_"].iter().any(|own| kind.starts_with(own)) => {}
            _ => extras.unbounded_tool = true,
        }
    }
    extras
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(body: &str) -> Envelope<'_> {
        Envelope::parse(body.as_bytes(), Endpoint::ChatCompletions).unwrap()
    }

    fn check_refused(body: &str, param: &str) {
        match Envelope::parse(body.as_bytes(), Endpoint::ChatCompletions) {
            Err(GatewayError::Field { param: named, .. }) => assert_eq!(named, param, "{body}"),
            other => panic!("{body}: {other:?}"),
        }
    }

    fn check_splice(body: &str, splices: &Splices<'_>, expected: &str) {
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let spliced = parse(body).splice(&bytes, splices);
        assert_eq!(std::str::from_utf8(&spliced).unwrap(), expected);
    }

    #[test]
    fn a_body_without_splices_is_the_same_bytes() {
        let body = Bytes::from_static(b"{ \"model\":\"a\" , \"x\": 1.0e5 }");
        let envelope = Envelope::parse(&body, Endpoint::ChatCompletions).unwrap();
        let splices = Splices { model: Some("a"), ..Splices::default() };
        assert_eq!(envelope.splice(&body, &splices).as_ptr(), body.as_ptr());
    }

    #[test]
    fn only_the_three_places_are_spliced() {
        let all = Splices { model: Some("b\"c"), output_cap: Some(("max_tokens", 7)), usage: true };
        check_splice(
            r#"{"x": 1, "model": "a", "stream": true}"#,
            &all,
            r#"{"max_tokens":7,"stream_options":{"include_usage":true},"x": 1, "model": "b\"c", "stream": true}"#,
        );
        let usage = Splices { usage: true, ..Splices::default() };
        check_splice(
            r#"{"model":"a","stream":true,"stream_options":{ "include_obfuscation":false}}"#,
            &usage,
            r#"{"model":"a","stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}"#,
        );
        for options in ["{}", "null", r#"{"include_usage":false}"#] {
            check_splice(
                &format!(r#"{{"model":"a","stream":true,"stream_options":{options}}}"#),
                &usage,
                r#"{"model":"a","stream":true,"stream_options":{"include_usage":true}}"#,
            );
        }
        let asked = r#"{"model":"a","stream":true,"stream_options":{"include_usage":true}}"#;
        check_splice(asked, &usage, asked);
        assert!(!parse(asked).usage_unasked());
    }

    #[test]
    fn numbers_that_touch_money_are_checked() {
        for wrong in ["-1", "1.5", "\"5\"", "1e3", "true", "99999999999999999999"] {
            check_refused(&format!(r#"{{"model":"a","max_tokens":{wrong}}}"#), "max_tokens");
            check_refused(&format!(r#"{{"model":"a","max_completion_tokens":{wrong}}}"#), "max_completion_tokens");
            check_refused(&format!(r#"{{"model":"a","n":{wrong}}}"#), "n");
        }
        check_refused(r#"{"model":"a","n":0}"#, "n");
        check_refused(r#"{"model":"a","n":129}"#, "n");
        check_refused(r#"{"model":"a","stream":"yes"}"#, "stream");
        check_refused(r#"{"model":7}"#, "model");
        check_refused(r#"{"model":""}"#, "model");
        check_refused(r#"{"messages":[]}"#, "model");
        assert_eq!(parse(r#"{"model":"a","max_tokens":null,"n":null}"#).output_cap, None);
    }

    #[test]
    fn a_cap_takes_the_place_of_a_null() {
        let check = |body: &str, expected: &str| {
            let bytes = Bytes::from(body.to_owned());
            let splices = Splices { output_cap: Some(("max_tokens", 7)), ..Splices::default() };
            assert_eq!(parse(body).splice(&bytes, &splices), expected);
        };
        check(r#"{"model":"a","max_tokens": null}"#, r#"{"model":"a","max_tokens": 7}"#);
        check(
            r#"{"model":"a","max_completion_tokens":null}"#,
            r#"{"max_tokens":7,"model":"a","max_completion_tokens":null}"#,
        );
    }

    #[test]
    fn a_cap_that_is_lowered_takes_the_place_of_every_larger_one() {
        let check = |body: &str, expected: &str| {
            let bytes = Bytes::from(body.to_owned());
            let splices = Splices { output_cap: Some(("max_completion_tokens", 300)), ..Splices::default() };
            assert_eq!(parse(body).splice(&bytes, &splices), expected);
        };
        check(r#"{"model":"a","max_tokens": 900,"n":2}"#, r#"{"model":"a","max_tokens": 300,"n":2}"#);
        check(
            r#"{"max_completion_tokens":900,"model":"a","max_tokens":200}"#,
            r#"{"max_completion_tokens":300,"model":"a","max_tokens":200}"#,
        );
        check(
            r#"{"model":"a","max_tokens":null,"max_completion_tokens":301}"#,
            r#"{"model":"a","max_tokens":null,"max_completion_tokens":300}"#,
        );
    }

    #[test]
    fn a_budget_of_thinking_is_read_where_it_is_a_number() {
        let check = |thinking: &str, expected: Option<u64>| {
            let body = format!(r#"{{"model":"a","max_tokens":9,"thinking":{thinking}}}"#);
            assert_eq!(parse(&body).thinking, expected, "{thinking}");
        };
        check(r#"{"type":"enabled","budget_tokens":2048}"#, Some(2_048));
        check(r#"{"type":"adaptive"}"#, None);
        for other in ["true", "7", "[]", r#"{"budget_tokens":-1}"#, "null"] {
            check(other, None);
        }
    }

    #[test]
    fn the_larger_of_two_caps_counts() {
        let envelope = parse(r#"{"model":"a","max_tokens":5,"max_completion_tokens":9,"n":3}"#);
        assert_eq!((envelope.output_cap, envelope.choices), (Some(9), 3));
    }

    #[test]
    fn what_is_not_text_is_seen() {
        let body = r#"{"model":"a","messages":[{"content":[{"type":"image_url","image_url":{"url":"u"}},{"type":"text","text":"\"input_audio\""}]}],
            "tools":[{"type":"function","function":{}},{"name":"f"},{"type":"web_search_20250305","max_uses":3}]}"#;
        let extras = parse(body).extras;
        assert!(extras.images >= 1 && !extras.media && !extras.unbounded_tool);
        assert_eq!(extras.searches, 3);
        assert!(parse(r#"{"model":"a","tools":[{"type":"code_execution_20250522"}]}"#).extras.unbounded_tool);
        assert!(parse(r#"{"model":"a","web_search_options":{}}"#).extras.unbounded_tool);
        assert!(parse(r#"{"model":"a","messages":[{"content":[{"type":"document"}]}]}"#).extras.media);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Envelope::parse(&bytes, Endpoint::ChatCompletions);
            let _ = Envelope::parse(&bytes, Endpoint::Messages);
        }

        #[test]
        fn a_spliced_body_stays_json_and_keeps_everything_else(model in "[a-z\"\\\\]{1,9}", extra in "[a-z]{0,5}", cap in 1_u64..99) {
            let body = format!(r#"{{"zzz":"{extra}","model":"a","stream":true}}"#);
            let bytes = Bytes::from(body.clone());
            let splices = Splices { model: Some(&model), output_cap: Some(("max_tokens", cap)), usage: true };
            let spliced = parse(&body).splice(&bytes, &splices);
            let read: serde_json::Value = serde_json::from_slice(&spliced).unwrap();
            prop_assert_eq!(&read["model"], &serde_json::Value::from(model));
            prop_assert_eq!(&read["zzz"], &serde_json::Value::from(extra));
            prop_assert_eq!(&read["max_tokens"], &serde_json::Value::from(cap));
            prop_assert_eq!(&read["stream_options"]["include_usage"], &serde_json::Value::from(true));
        }
    }
}
