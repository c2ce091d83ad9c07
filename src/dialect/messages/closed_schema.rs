//! A JSON schema as Anthropic takes it for answers: every object in it says that it has no further properties.
//!
//! OpenAI's servers take a schema that leaves this open; Anthropic refuses it ("`additionalProperties` must be explicitly set
//! to false"). What the client itself says about further properties is left as it is.

use serde_json::value::RawValue;

use crate::domain::chat::Json;
use crate::domain::json::members;

/// The schema with its objects closed; one that can't be read is left for the provider to judge.
pub(super) fn closed(schema: &RawValue) -> Json {
    let mut out = String::with_capacity(schema.get().len() + 64);
    write_schema(schema.get(), &mut out);
    RawValue::from_string(out).unwrap_or_else(|_| schema.to_owned())
}

fn write_schema(json: &str, out: &mut String) {
    let Some(members) = members(json.as_bytes()).ok().filter(|members| !members.is_empty()) else {
        out.push_str(json);
        return;
    };
    let find = |name: &str| members.iter().find(|member| member.name == name).map(|member| member.value);
    let is_object = find("type").is_some_and(|kind| kind.contains("\"object\"")) || find("properties").is_some();
    out.push('{');
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_name(&member.name, out);
        match &*member.name {
            "properties" | "patternProperties" | "$defs" | "definitions" => write_map(member.value, out),
            "items" | "additionalProperties" | "not" | "if" | "then" | "else" | "contains" => {
                write_schema(member.value, out);
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => write_list(member.value, out),
            _ => out.push_str(member.value),
        }
    }
    if is_object && find("additionalProperties").is_none() {
        out.push_str(r#","additionalProperties":false"#);
    }
    out.push('}');
}

/// Schemas by name: the names are the client's own, whatever they are.
fn write_map(json: &str, out: &mut String) {
    let Ok(members) = members(json.as_bytes()) else {
        out.push_str(json);
        return;
    };
    out.push('{');
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_name(&member.name, out);
        write_schema(member.value, out);
    }
    out.push('}');
}

fn write_list(json: &str, out: &mut String) {
    let Ok(schemas) = serde_json::from_str::<Vec<&RawValue>>(json) else {
        out.push_str(json);
        return;
    };
    out.push('[');
    for (index, schema) in schemas.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_schema(schema.get(), out);
    }
    out.push(']');
}

fn push_name(name: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(name).expect("a string always has a JSON form"));
    out.push(':');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(schema: &str, expected: &str) {
        let schema = RawValue::from_string(schema.to_owned()).unwrap();
        assert_eq!(closed(&schema).get(), expected);
    }

    #[test]
    fn every_object_is_closed_wherever_it_stands() {
        check(
            r#"{"type":"object","properties":{"a":{"type":"string"},"type":{"properties":{}}}}"#,
            r#"{"type":"object","properties":{"a":{"type":"string"},"type":{"properties":{},"additionalProperties":false}},"additionalProperties":false}"#,
        );
        check(
            r#"{"$defs":{"x":{"type":["object","null"]}},"anyOf":[{"type":"array","items":{"type":"object"}}]}"#,
            r#"{"$defs":{"x":{"type":["object","null"],"additionalProperties":false}},"anyOf":[{"type":"array","items":{"type":"object","additionalProperties":false}}]}"#,
        );
    }

    #[test]
    fn what_the_client_says_stays() {
        for schema in [
            r#"{"type":"object","additionalProperties":true}"#,
            r#"{"type":"string","enum":["object"]}"#,
            r#"{"const":{"type":"object"}}"#,
            "true",
            "{}",
        ] {
            check(schema, schema);
        }
    }

    proptest! {
        #[test]
        fn a_closed_schema_stays_as_it_is(names in proptest::collection::vec("[a-z\"\\\\é]{0,6}", 0..5)) {
            let properties: serde_json::Map<String, serde_json::Value> =
                names.into_iter().map(|name| (name, serde_json::json!({ "type": "object" }))).collect();
            let schema = serde_json::json!({ "type": "object", "properties": properties }).to_string();
            let once = closed(&RawValue::from_string(schema).unwrap());
            let twice = closed(&once);
            prop_assert_eq!(twice.get(), once.get());
        }
    }
}
