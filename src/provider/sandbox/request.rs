//! From an HTTP request to a checked call: path, key, version, JSON, and typed reading of fields.
//!
//! What is wrong is told in the words of the dialect asked, as its real service does. A null counts as left out.

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::domain::Dialect;

use super::faults::TOKENS_MAX;
use super::refusal::Refusal;
use super::reply::Reply;
use super::script::ScriptLine;
use super::seed::Seed;
use super::{SandboxRequest, anthropic, completions, embeddings, models, openai, responses};

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target<'a> {
    Chat,
    Responses,
    Completions,
    Embeddings,
    Messages,
    CountTokens,
    Models,
    Model(&'a str),
    StoredResponse(&'a str),
    Nothing,
}

/// A path, and the dialect in which it is answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route<'a> {
    pub(super) dialect: Dialect,
    target: Target<'a>,
}

impl<'a> Route<'a> {
    pub(super) fn of(request: &SandboxRequest<'a>) -> Self {
        let path = request.path.split('?').next().unwrap_or_default();
        let target = match path {
            "/v1/chat/completions" => Target::Chat,
            "/v1/responses" => Target::Responses,
            "/v1/completions" => Target::Completions,
            "/v1/embeddings" => Target::Embeddings,
            "/v1/messages" => Target::Messages,
            "/v1/messages/count_tokens" => Target::CountTokens,
            "/v1/models" | "/v1/models/" => Target::Models,
            _ => match (path.strip_prefix("/v1/models/"), path.strip_prefix("/v1/responses/")) {
                (Some(id), _) => Target::Model(id),
                (_, Some(id)) => Target::StoredResponse(id),
                _ => Target::Nothing,
            },
        };
        let dialect = match target {
            Target::Messages | Target::CountTokens => Dialect::Anthropic,
            Target::Models | Target::Model(_) | Target::Nothing
                if request.headers.contains_key("anthropic-version") || path.starts_with("/v1/messages/") =>
            {
                Dialect::Anthropic
            }
            _ => Dialect::OpenAi,
        };
        Self { dialect, target }
    }
}

/// The versions of Anthropic's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnthropicVersion {
    /// `2023-06-01`, and the one before it.
    V2023,
    /// `2026-10-21`: sampling parameters are gone.
    V2026,
}

/// A request that passed all checks that don't depend on the endpoint.
pub(super) struct Call<'a> {
    target: Target<'a>,
    dialect: Dialect,
    version: AnthropicVersion,
    query: &'a str,
    body: Map<String, Value>,
    pub(super) seed: Seed,
    tokens: Option<u64>,
    pub(super) script: &'a [ScriptLine],
}

impl<'a> Call<'a> {
    pub(super) fn check(
        request: &SandboxRequest<'a>,
        route: &Route<'a>,
        tokens: Option<u64>,
        script: &'a [ScriptLine],
    ) -> Result<Self, Refusal> {
        let (path, query) = request.path.split_once('?').unwrap_or((request.path, ""));
        let expected = match route.target {
            Target::Nothing => return Err(unknown_path(route.dialect, request.method, path)),
            Target::Models | Target::Model(_) | Target::StoredResponse(_) => "GET",
            _ => "POST",
        };
        check_key(route.dialect, request.headers)?;
        if request.method != expected {
            let message = match route.dialect {
                Dialect::OpenAi => format!("Invalid method for URL ({} {path}); use {expected}", request.method),
                Dialect::Anthropic => format!("Method Not Allowed; use {expected} {path}"),
            };
            return Err(Refusal { status: 405, ..Refusal::invalid(message) });
        }
        let version = match route.dialect {
            Dialect::Anthropic => version(request.headers)?,
            Dialect::OpenAi => AnthropicVersion::V2023,
        };
        let body = if expected == "POST" { parse(route.dialect, request.body)? } else { Map::new() };
        let seed = Seed::of_body(path, &body);
        Ok(Self { target: route.target, dialect: route.dialect, version, query, body, seed, tokens, script })
    }

    /// Dispatches to the endpoint.
    pub(super) fn answer(&self) -> Result<Reply, Refusal> {
        match self.target {
            Target::Chat => openai::chat(self),
            Target::Responses => responses::responses(self),
            Target::Completions => completions::completions(self),
            Target::Embeddings => embeddings::embeddings(self),
            Target::Messages => anthropic::messages(self),
            Target::CountTokens => anthropic::count_tokens(self),
            Target::Models => models::list(self.dialect, self.query),
            Target::Model(id) => Ok(models::one(self.dialect, &percent_decode_str(id).decode_utf8_lossy())),
            Target::StoredResponse(id) => Err(Refusal::not_found(format!(
                "Response with id '{id}' not found: the sandbox keeps nothing from call to call."
            ))),
            Target::Nothing => Err(unknown_path(self.dialect, "", "")),
        }
    }

    /// The body, for typed reading.
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields { dialect: self.dialect, at: String::new(), map: &self.body }
    }

    /// The length of each of several texts, where the header told it: together they stay within its bounds.
    pub(super) fn text_tokens(&self, texts: usize) -> Option<u64> {
        let texts = u64::try_from(texts).unwrap_or(u64::MAX).max(1);
        self.tokens.map(|tokens| tokens.min((TOKENS_MAX / texts).max(1)))
    }

    /// The version that an Anthropic client asked for.
    pub(super) fn version(&self) -> AnthropicVersion {
        self.version
    }
}

fn unknown_path(dialect: Dialect, method: &str, path: &str) -> Refusal {
    Refusal::not_found(match dialect {
        Dialect::OpenAi => format!("Invalid URL ({method} {path})"),
        Dialect::Anthropic => format!("Not found: {method} {path}"),
    })
}

/// Any key will do, but there has to be one, as everywhere else.
fn check_key(dialect: Dialect, headers: &HeaderMap) -> Result<(), Refusal> {
    let read = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let bearer = read("authorization")
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim())
        .filter(|key| !key.is_empty());
    let plain = read("x-api-key").filter(|key| !key.is_empty());
    match (bearer, plain) {
        (Some(first), Some(second)) if first != second => {
            Err(Refusal::unauthorized("Authorization and x-api-key hold different keys; send one of them"))
        }
        (None, None) => Err(Refusal::unauthorized(match dialect {
            Dialect::OpenAi => {
                "You didn't provide an API key. Provide it in an Authorization header using Bearer auth \
                 (i.e. Authorization: Bearer YOUR_KEY); the sandbox takes any."
            }
            Dialect::Anthropic => "x-api-key header is required; the sandbox takes any key",
        })),
        _ => Ok(()),
    }
}

fn version(headers: &HeaderMap) -> Result<AnthropicVersion, Refusal> {
    match headers.get("anthropic-version").map(|value| value.to_str().unwrap_or_default()) {
        None => Err(Refusal::invalid("anthropic-version: header is required")),
        Some("2023-01-01" | "2023-06-01") => Ok(AnthropicVersion::V2023),
        Some("2026-10-21") => Ok(AnthropicVersion::V2026),
        Some(other) => Err(Refusal::invalid(format!(
            "anthropic-version: \"{other}\" is not a valid version; use 2023-06-01 or 2026-10-21"
        ))),
    }
}

fn parse(dialect: Dialect, body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let problem = match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => return Ok(object),
        Ok(_) => "it is not an object".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Refusal::invalid(match dialect {
        Dialect::OpenAi => {
            format!("We could not parse the JSON body of your request: {problem}. The API expects a JSON payload.")
        }
        Dialect::Anthropic => format!("The request body is not valid JSON: {problem}"),
    }))
}

/// Typed reading of one object of the body, with errors that say where in it.
pub(super) struct Fields<'a> {
    dialect: Dialect,
    at: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The object itself.
    pub(super) fn map(&self) -> &'a Map<String, Value> {
        self.map
    }

    /// Where a field stands, in the dialect's way of writing it.
    pub(super) fn place(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    /// Where this object stands.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// The field as it came, if it is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Refuses a field that is missing.
    pub(super) fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, Refusal> {
        value.ok_or_else(|| {
            let place = self.place(name);
            match self.dialect {
                Dialect::OpenAi => {
                    let message = format!("Missing required parameter: '{place}'.");
                    Refusal::of_field(place, "missing_required_parameter", message)
                }
                Dialect::Anthropic => Refusal::invalid(format!("{place}: Field required")),
            }
        })
    }

    /// A value that is none of those that are known.
    pub(super) fn unknown_value(&self, name: &str, got: &str, known: &[&str]) -> Refusal {
        let place = self.place(name);
        let known = known.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ");
        match self.dialect {
            Dialect::OpenAi => {
                let message = format!("Invalid value: '{got}'. Supported values are: {known}.");
                Refusal::of_field(place, "invalid_value", message)
            }
            Dialect::Anthropic => Refusal::invalid(format!("{place}: Input should be one of {known}, not '{got}'")),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        self.read(name, "a string", Value::as_str)
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.read(name, "a boolean", Value::as_bool)
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<&'a [Value]>, Refusal> {
        self.read(name, "an array", |value| value.as_array().map(Vec::as_slice))
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, Refusal> {
        let map = self.read(name, "an object", Value::as_object)?;
        Ok(map.map(|map| Fields { dialect: self.dialect, at: self.place(name), map }))
    }

    /// A list of objects.
    pub(super) fn objects(&self, name: &str) -> Result<Option<Vec<Fields<'a>>>, Refusal> {
        let Some(list) = self.list(name)? else { return Ok(None) };
        let place = self.place(name);
        let entries = list.iter().enumerate().map(|(index, value)| {
            let at = match self.dialect {
                Dialect::OpenAi => format!("{place}[{index}]"),
                Dialect::Anthropic => format!("{place}.{index}"),
            };
            let map = value.as_object().ok_or_else(|| wrong_type(self.dialect, at.clone(), "an object", value))?;
            Ok(Fields { dialect: self.dialect, at, map })
        });
        entries.collect::<Result<_, _>>().map(Some)
    }

    /// A whole number within bounds.
    pub(super) fn integer(&self, name: &str, min: i64, max: i64) -> Result<Option<u64>, Refusal> {
        let Some(number) = self.read(name, "an integer", Value::as_i64)? else { return Ok(None) };
        if number < min || number > max {
            return Err(self.out_of_bounds(name, "integer", &number.to_string(), number < min, min, max));
        }
        Ok(u64::try_from(number).ok())
    }

    /// A number within bounds.
    pub(super) fn number(&self, name: &str, min: i32, max: i32) -> Result<Option<f64>, Refusal> {
        let Some(number) = self.read(name, "a decimal", Value::as_f64)? else { return Ok(None) };
        let is_below = number < f64::from(min);
        if is_below || number > f64::from(max) {
            return Err(self.out_of_bounds(name, "decimal", &number.to_string(), is_below, min.into(), max.into()));
        }
        Ok(Some(number))
    }

    fn out_of_bounds(&self, name: &str, kind: &str, got: &str, is_below: bool, min: i64, max: i64) -> Refusal {
        let place = self.place(name);
        let (direction, sign, word, bound, code) = match (is_below, kind) {
            (true, "integer") => ("below minimum", ">=", "greater", min, "integer_below_min_value"),
            (true, _) => ("below minimum", ">=", "greater", min, "decimal_below_min_value"),
            (false, "integer") => ("above maximum", "<=", "less", max, "integer_above_max_value"),
            (false, _) => ("above maximum", "<=", "less", max, "decimal_above_max_value"),
        };
        match self.dialect {
            Dialect::OpenAi => {
                let message = format!(
                    "Invalid '{place}': {kind} {direction} value. Expected a value {sign} {bound}, but got {got} instead."
                );
                Refusal::of_field(place, code, message)
            }
            Dialect::Anthropic => Refusal::invalid(format!("{place}: Input should be {word} than or equal to {bound}")),
        }
    }

    fn read<T>(
        &self,
        name: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(wrong_type(self.dialect, self.place(name), expected, value)),
        }
    }

    /// A field of a type that it can't have.
    pub(super) fn wrong_type(&self, name: &str, expected: &str) -> Refusal {
        wrong_type(self.dialect, self.place(name), expected, self.map.get(name).unwrap_or(&Value::Null))
    }
}

fn wrong_type(dialect: Dialect, place: String, expected: &str, got: &Value) -> Refusal {
    match dialect {
        Dialect::OpenAi => {
            let got = match got {
                Value::Null => "null",
                Value::Bool(_) => "a boolean",
                Value::Number(number) if number.is_f64() => "a decimal",
                Value::Number(_) => "an integer",
                Value::String(_) => "a string",
                Value::Array(_) => "an array",
                Value::Object(_) => "an object",
            };
            let message = format!("Invalid type for '{place}': expected {expected}, but got {got} instead.");
            Refusal::of_field(place, "invalid_type", message)
        }
        Dialect::Anthropic => {
            let noun = expected.split_once(' ').map_or(expected, |(_, noun)| noun);
            Refusal::invalid(format!("{place}: Input should be a valid {noun}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with<T>(dialect: Dialect, body: &Value, read: impl FnOnce(Fields<'_>) -> T) -> T {
        read(Fields { dialect, at: String::new(), map: body.as_object().unwrap() })
    }

    #[test]
    fn a_null_counts_as_left_out() {
        with(Dialect::OpenAi, &json!({"a": null}), |fields| {
            assert!(fields.text("a").unwrap().is_none());
            assert!(fields.integer("a", 1, 2).unwrap().is_none());
        });
    }

    #[test]
    fn a_wrong_type_is_told_in_the_words_of_the_dialect() {
        let body = json!({"a": 1, "list": [{"b": "x"}, {"b": []}]});
        with(Dialect::OpenAi, &body, |fields| {
            let refusal = fields.text("a").unwrap_err();
            assert_eq!(refusal.message, "Invalid type for 'a': expected a string, but got an integer instead.");
            assert_eq!(refusal.code, Some("invalid_type"));
            let list = fields.objects("list").unwrap().unwrap();
            assert_eq!(list[1].text("b").unwrap_err().param.as_deref(), Some("list[1].b"));
        });
        with(Dialect::Anthropic, &body, |fields| {
            assert_eq!(fields.text("a").unwrap_err().message, "a: Input should be a valid string");
            let list = fields.objects("list").unwrap().unwrap();
            assert_eq!(list[1].text("b").unwrap_err().message, "list.1.b: Input should be a valid string");
        });
    }

    #[test]
    fn numbers_out_of_bounds_name_the_bound() {
        let body = json!({"n": 0, "t": 2.5, "whole": 1.5});
        with(Dialect::OpenAi, &body, |fields| {
            let refusal = fields.integer("n", 1, 128).unwrap_err();
            assert_eq!(refusal.code, Some("integer_below_min_value"));
            assert!(refusal.message.contains(">= 1, but got 0"));
            assert_eq!(fields.number("t", 0, 2).unwrap_err().code, Some("decimal_above_max_value"));
            assert_eq!(fields.integer("whole", 1, 2).unwrap_err().code, Some("invalid_type"));
        });
        with(Dialect::Anthropic, &body, |fields| {
            let message = fields.integer("n", 1, 128).unwrap_err().message;
            assert_eq!(message, "n: Input should be greater than or equal to 1");
        });
    }
}
