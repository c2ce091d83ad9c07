//! As much of JSON Schema as the OpenAPI document uses, to hold real answers against it.

use std::sync::LazyLock;

use serde_json::Value;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| crate::http::openapi::document("1.2.3"));

/// Fails where a value is not what the document says of a schema.
pub(super) fn assert_matches(schema: &str, value: &Value) {
    let schema = &DOCUMENT["components"]["schemas"][schema];
    assert!(schema.is_object(), "there is no such schema");
    let mut faults = Vec::new();
    check(schema, value, "$", &mut faults);
    assert!(faults.is_empty(), "{}\nin {value}", faults.join("\n"));
}

/// What is wrong with a value, place by place.
pub(super) fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(schema, value, "$", &mut faults);
    faults
}

fn check(schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    for keyword in schema.as_object().expect("a schema is an object").keys() {
        let known = [
            "$ref",
            "anyOf",
            "type",
            "enum",
            "properties",
            "required",
            "additionalProperties",
            "items",
            "pattern",
            "minimum",
            "maximum",
            "format",
            "description",
            "examples",
        ];
        assert!(known.contains(&keyword.as_str()), "this checker doesn't know {keyword}");
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').expect("references stay inside the document");
        let found = DOCUMENT.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"));
        check(found, value, place, faults);
    }
    if let Some(choices) = schema["anyOf"].as_array()
        && !choices.iter().any(|choice| self::faults(choice, value).is_empty())
    {
        faults.push(format!("{place}: none of the choices fits {value}"));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(some) => some.iter().map(|one| one.as_str().expect("types are words")).collect(),
        _ => Vec::new(),
    };
    let is_of = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => panic!("{kind} is no type"),
    };
    if !types.is_empty() && !types.iter().any(|kind| is_of(kind)) {
        faults.push(format!("{place}: {value} is not {types:?}"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        faults.push(format!("{place}: {value} is none of {words:?}"));
    }
    if let (Some(number), Some(minimum)) = (value.as_f64(), schema["minimum"].as_f64())
        && number < minimum
    {
        faults.push(format!("{place}: {number} is below {minimum}"));
    }
    if schema["format"] == "date-time"
        && let Some(text) = value.as_str()
        && text.parse::<jiff::Timestamp>().is_err()
    {
        faults.push(format!("{place}: {text:?} is no time"));
    }
    if let Some(object) = value.as_object() {
        for required in schema["required"].as_array().into_iter().flatten() {
            if !object.contains_key(required.as_str().expect("names are texts")) {
                faults.push(format!("{place}: {required} is missing"));
            }
        }
        for (name, member) in object {
            let place = format!("{place}.{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => faults.push(format!("{place}: the schema doesn't know it")),
                (Value::Null, Value::Object(_)) => check(&schema["additionalProperties"], member, &place, faults),
                (Value::Null, _) => {}
                (known, _) => check(known, member, &place, faults),
            }
        }
    }
    if let (Some(items), Value::Object(_)) = (value.as_array(), &schema["items"]) {
        for (index, item) in items.iter().enumerate() {
            check(&schema["items"], item, &format!("{place}[{index}]"), faults);
        }
    }
}
