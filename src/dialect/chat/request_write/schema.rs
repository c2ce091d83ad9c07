//! Looks at JSON schemas and arguments without changing what they say.

use serde_json::value::RawValue;

use crate::domain::json;

/// Whether OpenAI can hold an answer to a schema strictly: every object names all its properties as required and allows no others.
///
/// Where it can't be told, it is not: an answer that follows the schema less strictly is better than a refusal of the whole request.
pub(super) fn can_be_strict(schema: &str) -> bool {
    match schema.as_bytes().first() {
        Some(b'{') => {
            let Ok(members) = json::members(schema.as_bytes()) else { return false };
            let value = |name: &str| members.iter().find(|member| member.name == name).map(|member| member.value);
            let properties = value("properties");
            let is_object = properties.is_some() || value("type").is_some_and(|kind| kind.contains("\"object\""));
            let is_closed = || {
                let required: Vec<String> =
                    value("required").and_then(|names| serde_json::from_str(names).ok()).unwrap_or_default();
                let properties = json::members(properties.unwrap_or("{}").as_bytes());
                let all_required =
                    properties.is_ok_and(|all| all.iter().all(|one| required.iter().any(|name| one.name == *name)));
                value("additionalProperties") == Some("false") && all_required
            };
            (!is_object || is_closed()) && members.iter().all(|member| can_be_strict(member.value))
        }
        Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(schema)
            .is_ok_and(|items| items.iter().all(|item| can_be_strict(item.get()))),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_strict_only_if_all_its_objects_are_closed_and_all_keys_required() {
        let check = |schema: &str, expected: bool| assert_eq!(can_be_strict(schema), expected, "{schema}");
        check(r#"{"type":"string"}"#, true);
        check(
            r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#,
            true,
        );
        check(r#"{"type":"object","properties":{"a":{}},"required":["a"]}"#, false);
        check(r#"{"type":"object","properties":{"a":{}},"required":["a"],"additionalProperties":true}"#, false);
        check(r#"{"type":"object","properties":{"a":{},"b":{}},"required":["a"],"additionalProperties":false}"#, false);
        check(r#"{"type":"array","items":{"type":"object"}}"#, false);
        check(r#"{"type":["object","null"]}"#, false);
        check(r#"{"anyOf":[{"type":"null"},{"type":"object","additionalProperties":false}]}"#, true);
        check(r#"{"$defs":{"x":{"properties":{"a":{}},"additionalProperties":false}},"type":"string"}"#, false);
    }
}
