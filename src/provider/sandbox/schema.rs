//! JSON that a schema allows, made from the schema alone.
//!
//! Knows the subset that structured output and tools use: `type`, `properties`, `required`, `additionalProperties`, `enum`,
//! `const`, `items`, `prefixItems`, bounds of lengths and numbers, `multipleOf`, `uniqueItems`, `anyOf`, `oneOf`, `allOf`, `$ref` within the
//! document, `format`, `pattern`. The rest (`not`, `if`, …) is ignored. Texts repeat a bit of the request where they can.
//! A schema that refers to itself ends as early as it allows.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::pattern;
use super::seed::{Dice, Seed};
use super::text::excerpt;

/// Below this depth only what is required is made, and the shortest of alternatives.
const DEPTH_WIDE: usize = 5;
/// A schema that requires itself has no end: here it gets a null.
const DEPTH_MAX: usize = 32;
/// No list is made longer, no text either, whatever the schema says: it may ask for a billion.
const ITEMS_MAX: u64 = 256;
const TEXT_LEN_MAX: u64 = 16_384;
/// From here on only what is required is made.
const NODES_WIDE: usize = 2_000;
/// From here on nothing is made any more: the answer is wrong, but it ends.
const NODES_MAX: usize = 20_000;
const JSON_LEN_MAX: usize = 65_536;
const REFERENCES_MAX: usize = 16;

/// A JSON text for the schema. `subject` is what the user said.
pub(super) fn generate(schema: &Value, subject: &str, seed: Seed) -> String {
    let mut writer =
        Writer { root: schema, subject, dice: seed.part("schema", 0).dice(), nodes: 0, json: String::new() };
    writer.value(schema, "value", 0);
    writer.json
}

struct Writer<'a> {
    root: &'a Value,
    subject: &'a str,
    dice: Dice,
    nodes: usize,
    json: String,
}

impl Writer<'_> {
    fn value(&mut self, schema: &Value, name: &str, depth: usize) {
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX || self.json.len() > JSON_LEN_MAX {
            self.json.push_str("null");
            return;
        }
        let schema = self.plain(schema, depth);
        let Some(object) = schema.as_object() else {
            // `true` allows anything.
            self.text(&Map::new(), name);
            return;
        };
        if let Some(value) = object.get("const") {
            let _ = write!(self.json, "{value}");
        } else if let Some(Value::Array(values)) = object.get("enum") {
            let value = self.dice.pick(values).unwrap_or(&Value::Null);
            let _ = write!(self.json, "{value}");
        } else {
            match self.kind(object, depth) {
                "object" => self.object(object, depth),
                "array" => self.list(object, name, depth),
                "integer" => self.integer(object),
                "number" => self.number(object),
                "boolean" => {
                    let flag = self.dice.chance(0.5);
                    self.json.push_str(if flag { "true" } else { "false" });
                }
                "null" => self.json.push_str("null"),
                _ => self.text(object, name),
            }
        }
    }

    fn is_tight(&self, depth: usize) -> bool {
        depth > DEPTH_WIDE || self.nodes > NODES_WIDE
    }

    /// The schema with its references followed, its parts merged and one of its alternatives chosen.
    fn plain<'s>(&mut self, schema: &'s Value, depth: usize) -> Cow<'s, Value> {
        let mut schema = Cow::Borrowed(schema);
        for _ in 0..REFERENCES_MAX {
            let Some(object) = schema.as_object() else { break };
            let part = if let Some(Value::String(reference)) = object.get("$ref") {
                Some(("$ref", self.referred(reference).cloned().unwrap_or(Value::Bool(true))))
            } else if let Some(Value::Array(parts)) = object.get("allOf") {
                let whole = parts.iter().fold(Value::Object(Map::new()), |whole, part| merged(&whole, part));
                Some(("allOf", whole))
            } else {
                let alternatives =
                    ["anyOf", "oneOf"].into_iter().find_map(|key| Some((key, object.get(key)?.as_array()?)));
                alternatives.map(|(key, list)| (key, self.alternative(list, depth)))
            };
            let Some((key, part)) = part else { break };
            let mut rest = object.clone();
            rest.remove(key);
            schema = Cow::Owned(merged(&Value::Object(rest), &part));
        }
        schema
    }

    fn referred(&self, reference: &str) -> Option<&Value> {
        let pointer = reference.strip_prefix('#')?;
        let decoded = percent_encoding::percent_decode_str(pointer).decode_utf8().ok()?;
        self.root.pointer(&decoded)
    }

    fn alternative(&mut self, list: &[Value], depth: usize) -> Value {
        let is_null = |schema: &&Value| schema.get("type").and_then(Value::as_str) == Some("null");
        if self.is_tight(depth) {
            let is_leaf = |schema: &&Value| {
                let kind = schema.get("type").and_then(Value::as_str);
                schema.get("$ref").is_none() && !matches!(kind, Some("object" | "array"))
            };
            let shortest = list.iter().find(is_null).or_else(|| list.iter().find(is_leaf)).or(list.first());
            return shortest.cloned().unwrap_or(Value::Bool(true));
        }
        let full: Vec<_> = list.iter().filter(|schema| !is_null(schema)).collect();
        self.dice
            .pick(&full)
            .map(|schema| (*schema).clone())
            .or_else(|| list.first().cloned())
            .unwrap_or(Value::Bool(true))
    }

    fn kind<'s>(&self, schema: &'s Map<String, Value>, depth: usize) -> &'s str {
        match schema.get("type") {
            Some(Value::String(kind)) => kind,
            Some(Value::Array(kinds)) => {
                let mut kinds = kinds.iter().filter_map(Value::as_str);
                let allows_null = kinds.clone().any(|kind| kind == "null");
                if allows_null && self.is_tight(depth) {
                    "null"
                } else {
                    kinds.find(|kind| *kind != "null").unwrap_or("null")
                }
            }
            _ if ["properties", "required", "additionalProperties"].iter().any(|key| schema.contains_key(*key)) => {
                "object"
            }
            _ if schema.contains_key("items") || schema.contains_key("prefixItems") => "array",
            _ if schema.contains_key("minimum") || schema.contains_key("maximum") => "number",
            _ => "string",
        }
    }

    fn object(&mut self, schema: &Map<String, Value>, depth: usize) {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let required = schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        // `required` is a list, so it still has the order that its author gave it.
        let mut names: Vec<&str> = Vec::new();
        for name in required.iter().filter_map(Value::as_str) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if !self.is_tight(depth) {
            for name in properties.keys() {
                if !names.contains(&name.as_str()) {
                    names.push(name);
                }
            }
        }
        let extra = schema.get("additionalProperties").filter(|extra| **extra != Value::Bool(false));
        let least = whole(schema, "minProperties").unwrap_or(0).min(ITEMS_MAX);
        let wanted = if names.is_empty() && extra.is_some_and(Value::is_object) { least.max(1) } else { least };
        let mut count = 0;
        self.json.push('{');
        for name in names {
            self.key(name, count == 0);
            self.value(properties.get(name).or(extra).unwrap_or(&Value::Bool(true)), name, depth + 1);
            count += 1;
        }
        while count < wanted {
            let name = format!("key_{}", count + 1);
            self.key(&name, count == 0);
            self.value(extra.unwrap_or(&Value::Bool(true)), &name, depth + 1);
            count += 1;
        }
        self.json.push('}');
    }

    fn key(&mut self, name: &str, is_first: bool) {
        if !is_first {
            self.json.push(',');
        }
        let _ = write!(self.json, "{}:", Value::from(name));
    }

    fn list(&mut self, schema: &Map<String, Value>, name: &str, depth: usize) {
        let least = whole(schema, "minItems").unwrap_or(0).min(ITEMS_MAX);
        let most = whole(schema, "maxItems").unwrap_or(u64::MAX).max(least);
        let prefix = schema.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let wanted = if self.is_tight(depth) {
            least
        } else {
            (1 + self.dice.roll() % 3).max(least).max(u64::try_from(prefix.len()).unwrap_or(0)).min(most)
        };
        let any = Value::Bool(true);
        let items = schema.get("items").filter(|items| **items != Value::Bool(false)).unwrap_or(&any);
        let is_unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
        let mut seen: Vec<String> = Vec::new();
        self.json.push('[');
        // A list of few possible items can't be filled: after some tries it stays short, unless it may not.
        let mut tries_left = 16 * wanted;
        while u64::try_from(seen.len()).unwrap_or(u64::MAX) < wanted && tries_left > 0 {
            tries_left -= 1;
            let before = self.json.len();
            if !seen.is_empty() {
                self.json.push(',');
            }
            let start = self.json.len();
            self.value(prefix.get(seen.len()).unwrap_or(items), singular(name), depth + 1);
            let item = &self.json[start..];
            if is_unique && seen.iter().any(|other| other == item) {
                self.json.truncate(before);
                continue;
            }
            seen.push(if is_unique { item.to_owned() } else { String::new() });
        }
        self.json.push(']');
    }

    fn integer(&mut self, schema: &Map<String, Value>) {
        let step = schema.get("multipleOf").and_then(Value::as_f64).map_or(1, |step| rounded(step.abs())).max(1);
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let lows = [
            bound("minimum").map(|low| rounded(low.ceil())),
            bound("exclusiveMinimum").map(|low| rounded(low.floor()) + 1),
        ];
        let highs = [
            bound("maximum").map(|high| rounded(high.floor())),
            bound("exclusiveMaximum").map(|high| rounded(high.ceil()) - 1),
        ];
        let (low, high) = range(lows.into_iter().flatten().max(), highs.into_iter().flatten().min(), 100 * step);
        let first = low.div_euclid(step) + i128::from(low.rem_euclid(step) != 0);
        let last = high.div_euclid(step).max(first);
        let number = (first + i128::from(self.dice.roll()).rem_euclid(last - first + 1)) * step;
        let _ = write!(self.json, "{number}");
    }

    fn number(&mut self, schema: &Map<String, Value>) {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let low = bound("minimum").or(bound("exclusiveMinimum"));
        let high = bound("maximum").or(bound("exclusiveMaximum"));
        let (low, high) = match (low, high) {
            (Some(low), Some(high)) => (low, high.max(low)),
            (Some(low), None) => (low, low + 100.0),
            (None, Some(high)) => (if high > 0.0 { 0.0 } else { high - 100.0 }, high),
            (None, None) => (0.0, 100.0),
        };
        // Sixteenths are exact in binary, so they print short; the ends are left out, as exclusive bounds want.
        let sixteenths = f64::from(u32::try_from(1 + self.dice.below(15)).unwrap_or(8));
        let mut number = low + (high - low) * sixteenths / 16.0;
        if let Some(step) = bound("multipleOf").filter(|step| *step > 0.0) {
            number = (number / step).floor() * step;
            if number < low {
                number += step;
            }
        }
        let number = serde_json::Number::from_f64(number).unwrap_or_else(|| 0.into());
        let _ = write!(self.json, "{number}");
    }

    fn text(&mut self, schema: &Map<String, Value>, name: &str) {
        let least = whole(schema, "minLength").unwrap_or(0).min(TEXT_LEN_MAX);
        let most = whole(schema, "maxLength").unwrap_or(u64::MAX).max(least);
        let fits = |text: &String| (least..=most).contains(&length(text));
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
            // Which number of repetitions gives a fitting length isn't computed but tried.
            let tries = [1, 0, 2, least.saturating_sub(1), least].into_iter().chain(3..12);
            let found = tries.into_iter().find_map(|extra| {
                pattern::generate(pattern, &mut self.dice, usize::try_from(extra).unwrap_or(0)).filter(fits)
            });
            if let Some(text) = found {
                let _ = write!(self.json, "{}", Value::from(text));
                return;
            }
        }
        let format = schema.get("format").and_then(Value::as_str);
        let text = match format.and_then(|format| formatted(format, &mut self.dice)) {
            Some(text) => text,
            None => fitted(self.word(name), least, most),
        };
        let _ = write!(self.json, "{}", Value::from(text));
    }

    /// Something that a field of that name could hold.
    fn word(&mut self, name: &str) -> String {
        let lower = name.to_lowercase();
        let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
        if has(&["email"]) {
            "sandbox@example.test".to_owned()
        } else if has(&["url", "uri", "link"]) {
            "https://example.test/sandbox".to_owned()
        } else if has(&["date"]) {
            date(&mut self.dice)
        } else if has(&["city", "location", "place", "town", "country", "name", "person", "author", "subject", "title"])
        {
            proper_noun(self.subject).unwrap_or_else(|| "Sandbox".to_owned())
        } else if has(&[
            "query", "question", "prompt", "text", "message", "content", "summary", "answer", "input", "value",
        ]) {
            excerpt(self.subject)
        } else {
            format!("{} {}", lower.replace(['_', '-'], " "), 1 + self.dice.below(9))
        }
    }
}

/// Both schemas in one: what the second says wins, but properties and required names add up.
fn merged(first: &Value, second: &Value) -> Value {
    let (Some(first), Some(second)) = (first.as_object(), second.as_object()) else {
        return if first.is_object() { first.clone() } else { second.clone() };
    };
    let mut whole = first.clone();
    for (key, value) in second {
        match (whole.get_mut(key), value) {
            (Some(Value::Object(known)), Value::Object(more)) if key == "properties" => known.extend(more.clone()),
            (Some(Value::Array(known)), Value::Array(more)) if key == "required" => known.extend(more.clone()),
            _ => {
                whole.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(whole)
}

fn whole(schema: &Map<String, Value>, key: &str) -> Option<u64> {
    schema.get(key).and_then(Value::as_u64)
}

/// Bounds of a whole number; an open end is `span` away from the other.
fn range(low: Option<i128>, high: Option<i128>, span: i128) -> (i128, i128) {
    match (low, high) {
        (Some(low), Some(high)) => (low, high.max(low)),
        (Some(low), None) => (low, low + span),
        (None, Some(high)) => (if high >= 0 { 0 } else { high - span }, high),
        (None, None) => (0, span),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the bounds of a made-up number saturate")]
fn rounded(number: f64) -> i128 {
    i128::from(number as i64)
}

fn length(text: &str) -> u64 {
    u64::try_from(text.chars().count()).unwrap_or(u64::MAX)
}

fn fitted(mut text: String, least: u64, most: u64) -> String {
    let missing = usize::try_from(least.saturating_sub(length(&text))).unwrap_or(0);
    text.extend(" and so on".chars().cycle().take(missing));
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
    }
    text
}

fn formatted(format: &str, dice: &mut Dice) -> Option<String> {
    Some(match format {
        "date" => date(dice),
        "date-time" => format!("{}T{}Z", date(dice), time(dice)),
        "time" => format!("{}Z", time(dice)),
        "duration" => "PT15M".to_owned(),
        "email" | "idn-email" => "sandbox@example.test".to_owned(),
        "hostname" | "idn-hostname" => "example.test".to_owned(),
        "uri" | "iri" | "url" => "https://example.test/sandbox".to_owned(),
        "ipv4" => format!("192.0.2.{}", 1 + dice.below(254)),
        "ipv6" => format!("2001:db8::{:x}", 1 + dice.below(65_534)),
        "uuid" => {
            let (high, low) = (dice.roll(), dice.roll());
            let (first, second, third) = (high >> 32, (high >> 16) & 0xffff, high & 0xfff);
            let (fourth, fifth) = ((low >> 48) & 0x3fff | 0x8000, low & 0xffff_ffff_ffff);
            format!("{first:08x}-{second:04x}-4{third:03x}-{fourth:04x}-{fifth:012x}")
        }
        _ => return None,
    })
}

fn date(dice: &mut Dice) -> String {
    format!("2026-{:02}-{:02}", 1 + dice.below(12), 1 + dice.below(28))
}

fn time(dice: &mut Dice) -> String {
    format!("{:02}:{:02}:00", dice.below(24), dice.below(60))
}

/// The last capitalised word that doesn't begin a sentence: mostly who or what it is about.
fn proper_noun(text: &str) -> Option<String> {
    let mut found = None;
    let mut begins_sentence = true;
    for word in text.split_whitespace() {
        let bare = word.trim_matches(|character: char| !character.is_alphanumeric());
        // "I" is always a capital.
        if !begins_sentence && bare.chars().count() > 1 && bare.starts_with(char::is_uppercase) {
            found = Some(bare.to_owned());
        }
        begins_sentence = word.ends_with(['.', '?', '!', ':']);
    }
    found
}

fn singular(name: &str) -> &str {
    name.strip_suffix('s').unwrap_or(name)
}

#[cfg(test)]
mod tests;
