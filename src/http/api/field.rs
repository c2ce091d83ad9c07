//! Which field of a JSON body an error is about: messages of the parser tell lines and columns, people think in names.

/// The longest name that is repeated.
const NAME_BYTES_MAX: usize = 64;

/// The path of the field that an error is about: the one that it names itself, else the one that stands at its place.
pub(super) fn of_error(body: &[u8], error: &serde_json::Error) -> Option<String> {
    let message = error.to_string();
    let named = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.split('`').next().map(ToOwned::to_owned));
    named.or_else(|| at(body, offset(body, error.line(), error.column())))
}

/// Where a line and a column, both from 1, lie in a text.
fn offset(body: &[u8], line: usize, column: usize) -> usize {
    let lines = body.split_inclusive(|byte| *byte == b'\n');
    lines.take(line.saturating_sub(1)).map(<[u8]>::len).sum::<usize>() + column
}

/// The path of the field whose value stands before an offset in a JSON text.
fn at(body: &[u8], end: usize) -> Option<String> {
    // The field that each open object is at; lists have none.
    let mut open: Vec<Option<&str>> = Vec::new();
    let mut at = 0;
    while at < end.min(body.len()) {
        match body[at] {
            b'{' | b'[' => open.push(None),
            b'}' | b']' => drop(open.pop()),
            b'"' => {
                let start = at + 1;
                at = start;
                while at < body.len() && body[at] != b'"' {
                    at += if body[at] == b'\\' { 2 } else { 1 };
                }
                let after = body.get(at + 1..).unwrap_or_default().trim_ascii_start();
                if after.first() == Some(&b':')
                    && let Some(field) = open.last_mut()
                {
                    *field = body.get(start..at).and_then(|name| std::str::from_utf8(name).ok());
                }
            }
            _ => {}
        }
        at += 1;
    }
    let is_plain = |name: &&str| {
        name.len() <= NAME_BYTES_MAX && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let path: Vec<&str> = open.into_iter().flatten().collect();
    (!path.is_empty() && path.iter().all(is_plain)).then(|| path.join("."))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        Day,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        window: Word,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        name: String,
        #[serde(default)]
        inner: Vec<Inner>,
    }

    fn check(body: &str, expected: Option<&str>) {
        let error = serde_json::from_str::<Outer>(body).expect_err(body);
        assert_eq!(of_error(body.as_bytes(), &error).as_deref(), expected, "{body}: {error}");
    }

    #[test]
    fn an_error_is_about_the_field_that_it_names_or_stands_at() {
        check(r#"{"name": 5}"#, Some("name"));
        check(r#"{"name": null, "inner": []}"#, Some("name"));
        check("{\n  \"inner\": [{\"window\":\n null}],\n\"name\": \"x\"}", Some("inner.window"));
        check(r#"{"name": "a\"}:{", "inner": [{"window": "day"}, {"window": "year"}]}"#, Some("inner.window"));
        check(r#"{"name": "x", "inner": 5}"#, Some("inner"));
        check(r#"{"inner": []}"#, Some("name"));
        check(r#"{"name": "x", "more": 1}"#, Some("more"));
        check(r#"{"name": "x", "name": "y"}"#, Some("name"));
        check("[]", None);
        check("5", None);
        let parsed: Outer = serde_json::from_str(r#"{"name": "x", "inner": [{"window": "day"}]}"#).unwrap();
        assert!(parsed.name == "x" && matches!(parsed.inner[0].window, Word::Day));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"[{}\[\]":,\\a0 \n]{0,60}"#, end in 0_usize..80) {
            let _ = at(text.as_bytes(), end);
        }
    }
}
