use serde_json::json;

use super::*;

fn made(schema: &Value) -> Vec<Value> {
    (0..20)
        .map(|index| {
            let text = generate(schema, "How is the weather in Paris today?", Seed::of_bytes("", b"").part("", index));
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
        })
        .collect()
}

/// A second reading of the same subset, so that the generator is not judged by itself.
fn conforms(value: &Value, schema: &Value, root: &Value) -> bool {
    let Some(schema) = schema.as_object() else { return *schema == Value::Bool(true) };
    let get = |key: &str| schema.get(key);
    if let Some(reference) = get("$ref") {
        let target = root.pointer(reference.as_str().unwrap().strip_prefix('#').unwrap()).unwrap();
        if !conforms(value, target, root) {
            return false;
        }
    }
    let all = |key: &str| get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let count = |key: &str| all(key).iter().filter(|part| conforms(value, part, root)).count();
    if count("allOf") != all("allOf").len()
        || (get("anyOf").is_some() && count("anyOf") == 0)
        || (get("oneOf").is_some() && count("oneOf") != 1)
        || get("const").is_some_and(|constant| constant != value)
        || (get("enum").is_some() && !all("enum").contains(value))
    {
        return false;
    }
    let kinds = match get("type") {
        Some(Value::Array(kinds)) => kinds.clone(),
        Some(kind) => vec![kind.clone()],
        None => Vec::new(),
    };
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => value.is_null(),
    };
    if !kinds.is_empty() && !kinds.iter().any(is) {
        return false;
    }
    let bound = |key: &str| get(key).and_then(Value::as_f64);
    let in_bounds = |size: f64, least: &str, most: &str| {
        bound(least).is_none_or(|least| size >= least) && bound(most).is_none_or(|most| size <= most)
    };
    match value {
        Value::String(text) => in_bounds(text.chars().count() as f64, "minLength", "maxLength"),
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            in_bounds(number, "minimum", "maximum")
                && bound("exclusiveMinimum").is_none_or(|low| number > low)
                && bound("exclusiveMaximum").is_none_or(|high| number < high)
                && bound("multipleOf").is_none_or(|step| (number / step).fract().abs() < 1e-9)
        }
        Value::Array(items) => {
            let prefix = all("prefixItems");
            in_bounds(items.len() as f64, "minItems", "maxItems")
                && items.iter().enumerate().all(|(index, item)| {
                    let schema = prefix.get(index).or(get("items"));
                    schema.is_none_or(|schema| conforms(item, schema, root))
                })
                && (get("uniqueItems").is_none() || (1..items.len()).all(|end| !items[..end].contains(&items[end])))
        }
        Value::Object(object) => {
            let properties = get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
            in_bounds(object.len() as f64, "minProperties", "maxProperties")
                && all("required").iter().all(|name| object.contains_key(name.as_str().unwrap()))
                && object.iter().all(|(name, value)| match properties.get(name).or(get("additionalProperties")) {
                    Some(schema) => conforms(value, schema, root),
                    None => true,
                })
        }
        Value::Bool(_) | Value::Null => true,
    }
}

fn check(schema: &Value) {
    for value in made(schema) {
        assert!(conforms(&value, schema, schema), "{value} does not conform to {schema}");
    }
}

#[test]
fn scalars_keep_within_their_bounds() {
    for schema in [
        json!({"type": "integer"}),
        json!({"type": "integer", "minimum": 3, "maximum": 5}),
        json!({"type": "integer", "minimum": -7, "maximum": -7}),
        json!({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5}),
        json!({"type": "integer", "minimum": 1, "multipleOf": 7}),
        json!({"type": "integer", "maximum": -1}),
        json!({"type": "integer", "minimum": 1.5, "maximum": 2.5}),
        json!({"type": "number", "minimum": 0, "maximum": 1}),
        json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001}),
        json!({"type": "number", "minimum": 0.5, "multipleOf": 0.25}),
        json!({"type": "number", "maximum": -3}),
        json!({"minimum": 1}),
        json!({"type": "string", "minLength": 200}),
        json!({"type": "string", "maxLength": 3}),
        json!({"type": "string", "minLength": 2, "maxLength": 2}),
        json!({"type": "boolean"}),
        json!({"type": "null"}),
        json!({"type": ["null", "integer"]}),
        json!({"enum": ["a", 1, null]}),
        json!({"const": {"a": [1]}}),
        json!(true),
        json!({}),
    ] {
        check(&schema);
    }
}

#[test]
fn lists_and_objects_keep_within_their_bounds() {
    for schema in [
        json!({"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4}),
        json!({"type": "array", "items": {"type": "string"}, "maxItems": 0}),
        json!({"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": true, "minItems": 2}),
        json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2, "maxItems": 2}),
        json!({"type": "object", "additionalProperties": {"type": "integer"}}),
        json!({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 3}),
        json!({"type": "object", "properties": {}, "additionalProperties": false}),
        json!({"type": "object", "required": ["undeclared"]}),
        json!({
            "type": "object",
            "properties": {"b": {"type": "integer"}, "a": {"type": "array", "items": {"type": "object",
                "properties": {"deep": {"type": "boolean"}}, "required": ["deep"], "additionalProperties": false}}},
            "required": ["b", "a"],
            "additionalProperties": false
        }),
    ] {
        check(&schema);
    }
}

#[test]
fn references_parts_and_alternatives_are_followed() {
    for schema in [
        json!({"$ref": "#/$defs/Color", "$defs": {"Color": {"enum": ["red", "blue"]}}}),
        json!({"properties": {"a": {"anyOf": [{"type": "string", "maxLength": 2}, {"type": "null"}]}}, "type": "object"}),
        json!({"oneOf": [{"type": "integer"}, {"type": "string"}]}),
        json!({"allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "string"}}, "required": ["b"]}
        ]}),
        json!({"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"type": "boolean"}}}),
    ] {
        check(&schema);
    }
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    check(&json!({
        "$defs": {"Node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}
            },
            "required": ["value", "next", "children"],
            "additionalProperties": false
        }},
        "$ref": "#/$defs/Node"
    }));
    // These have no finite answer, or none of a decent size: they only have to end in sound JSON.
    made(&json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}));
    made(&json!({"$ref": "#"}));
    made(&json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}));
    made(&json!({"type": "array", "items": {"$ref": "#"}, "minItems": 1_000_000_000}));
    made(&json!({"type": "string", "minLength": 1_000_000_000}));
    made(&json!({"type": "array", "items": {"const": 1}, "uniqueItems": true, "minItems": 9}));
}

#[test]
fn formats_and_patterns_are_followed() {
    let one = |schema: Value| made(&schema)[0].as_str().unwrap().to_owned();
    assert!(one(json!({"type": "string", "format": "date-time"})).parse::<jiff::Timestamp>().is_ok());
    assert!(one(json!({"type": "string", "format": "date"})).parse::<jiff::civil::Date>().is_ok());
    assert!(one(json!({"type": "string", "format": "ipv6"})).parse::<std::net::Ipv6Addr>().is_ok());
    assert!(one(json!({"type": "string", "format": "email"})).contains('@'));
    let id = one(json!({"type": "string", "format": "uuid"}));
    assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    let code = one(json!({"type": "string", "pattern": "^[A-Z]+$", "minLength": 5, "maxLength": 5}));
    assert!(code.len() == 5 && code.bytes().all(|letter| letter.is_ascii_uppercase()), "{code}");
}

#[test]
fn required_names_come_first_in_their_order_and_texts_repeat_the_request() {
    let schema = json!({
        "type": "object",
        "properties": {"query": {"type": "string"}, "city": {"type": "string"}, "zone": {"type": "integer"}},
        "required": ["zone", "city", "query"]
    });
    let text = generate(&schema, "How is the weather in Paris today?", Seed::of_bytes("", b""));
    assert!(text.starts_with("{\"zone\":"), "{text}");
    assert!(text.contains("\"city\":\"Paris\""), "{text}");
    assert!(text.contains("How is the weather in Paris today"), "{text}");
}
