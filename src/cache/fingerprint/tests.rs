use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::cache::tests::question;

fn key(id: &str) -> KeyId {
    KeyId::new(id).unwrap()
}

fn taken(body: &str) -> Taken {
    Fingerprint::of(&Circle::of(CacheScope::Global, &key("key_1"), None), &question(body)).unwrap()
}

fn of(body: &str) -> Fingerprint {
    taken(body).fingerprint
}

fn on(endpoint: Endpoint, body: &str) -> Fingerprint {
    let question = Question { endpoint, ..question(body) };
    Fingerprint::of(&Circle::of(CacheScope::Global, &key("key_1"), None), &question).unwrap().fingerprint
}

const PLAIN: &str =
    r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hi"}],"temperature":0.7,"max_tokens":100}"#;

#[test]
fn the_spelling_of_a_request_does_not_matter() {
    for same in [
        r#" { "messages" : [ { "content" : "Hi" , "role" : "user" } ] , "max_tokens" : 1e2, "temperature" : 7.0E-1, "model" : "gpt-5" } "#,
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"H\u0069"}],"temperature":0.70,"max_tokens":100.0,"stream":true}"#,
        r#"{"\u006dodel":"gpt-5","messages":[{"r\u006Fle":"user","content":"Hi"}],"temperature":0.7,"max_tokens":100,"stream":false,"stream_options":{"include_usage":true},"store":false,"stop":null,"metadata":{"trace":"1"}}"#,
        "{\"stre\\u0061m\":true,\n\t\"model\":\"gpt-5\",\"messages\":[\r\n{\"role\":\"user\",\"content\":\"Hi\"}],\"temperature\":70e-2,\"max_tokens\":0.1e3}",
    ] {
        assert_eq!(of(same), of(PLAIN), "{same}");
    }
}

#[test]
fn everything_that_decides_over_the_answer_does() {
    let mut seen = std::collections::HashMap::new();
    for body in [
        PLAIN,
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hi"}],"temperature":0.7,"max_tokens":101}"#,
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hi"}],"temperature":0.7,"max_tokens":"100"}"#,
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hi"}],"temperature":0.7,"max_tokens":[100]}"#,
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hi"}],"temperature":-0.7,"max_tokens":100}"#,
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hi"}],"temperature":7,"max_tokens":100}"#,
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"hi"}],"temperature":0.7,"max_tokens":100}"#,
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hi "}],"temperature":0.7,"max_tokens":100}"#,
        r#"{"model":"gpt-5","messages":[{"role":"system","content":"Hi"}],"temperature":0.7,"max_tokens":100}"#,
        r#"{"model":"gpt-5","messages":[[{"role":"user","content":"Hi"}]],"temperature":0.7,"max_tokens":100}"#,
        r#"{"model":"gpt-5","messages":[{"role":"user"},{"content":"Hi"}],"temperature":0.7,"max_tokens":100}"#,
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hi","name":null}],"temperature":0.7,"max_tokens":100}"#,
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hi"},{}],"temperature":0.7,"max_tokens":100}"#,
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hi"},[]],"temperature":0.7,"max_tokens":100}"#,
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hi"}],"temperature":0.7,"max_tokens":100,"user":"u"}"#,
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hi"}],"temperature":0.7,"max_tokens":100,"store":true}"#,
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hi"}],"temperature":0.7,"max_tokens":100,"store":true,"metadata":{}}"#,
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hi"}],"temperature":0.7,"max_tokens":100,"unheard_of":1}"#,
        r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hi"}],"temperature":0.7,"max_tokens":100,"unheard_of":true}"#,
    ] {
        if let Some(other) = seen.insert(of(body), body) {
            panic!("{body} falls together with {other}");
        }
    }
}

#[test]
fn a_key_that_stands_twice_keeps_both_values_in_their_order() {
    let of = |inner: &str| of(&format!(r#"{{"tools":[{inner}]}}"#));
    let all = [r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#, r#"{"a":2}"#, r#"{"a":1}"#, r#"{"a":1,"a":1}"#];
    for (at, one) in all.iter().enumerate() {
        for other in &all[..at] {
            assert_ne!(of(one), of(other), "{one} {other}");
        }
    }
    assert_eq!(of(r#"{"b":0,"a":1,"\u0061":2}"#), of(r#"{"a":1,"a":2,"b":0}"#));
}

#[test]
fn numbers_are_the_same_when_they_are_worth_the_same_and_never_rounded() {
    let of = |number: &str| of(&format!(r#"{{"seed":{number}}}"#));
    for same in ["1", "1.0", "1e0", "10e-1", "0.1E+1", "1.000", "100e-2"] {
        assert_eq!(of(same), of("1"), "{same}");
    }
    for same in ["-0", "0.0", "0e9", "-0.0e-3"] {
        assert_eq!(of(same), of("0"), "{same}");
    }
    for (one, other) in [
        ("9007199254740993", "9007199254740992"),
        ("123456789012345678901234567890", "123456789012345678901234567891"),
        ("0.1", "0.10000000000000001"),
        ("1e400", "1e401"),
        ("1", "-1"),
        ("10", "1"),
        ("1e-1", "1e1"),
    ] {
        assert_ne!(of(one), of(other), "{one} {other}");
    }
    assert_eq!(of("1230000000000000000000000000000"), of("1.23e30"));
}

#[test]
fn texts_are_the_same_when_they_mean_the_same() {
    let of = |text: &str| of(&format!(r#"{{"prompt":"{text}"}}"#));
    assert_eq!(of(r"\ud83d\ude00\n\/\u00e9\b\f\r\t\\"), of("😀\\n/é\\u0008\\u000c\\u000D\\u0009\\u005c"));
    // Halves of a surrogate pair by themselves are no text, and yet not the same.
    let all = [r"\ud83d", r"\ude00", r"\ude00\ud83d", r"\ud83d\u0041", "\u{fffd}", "", r"\u0000"];
    for (at, one) in all.iter().enumerate() {
        for other in &all[..at] {
            assert_ne!(of(one), of(other), "{one} {other}");
        }
    }
}

#[test]
fn labels_are_left_out_where_they_are_only_labels() {
    let with = r#"{"model":"m","messages":[],"metadata":{"user_id":"u"}}"#;
    let without = r#"{"model":"m","messages":[]}"#;
    assert_eq!(on(Endpoint::ChatCompletions, with), on(Endpoint::ChatCompletions, without));
    assert_ne!(on(Endpoint::Messages, with), on(Endpoint::Messages, without));
    assert_ne!(on(Endpoint::ChatCompletions, without), on(Endpoint::Messages, without));
}

#[test]
fn the_likeliest_answer_is_asked_for_by_a_temperature_of_nothing_else_than_0() {
    for (body, is) in [
        (r#"{"temperature":0}"#, true),
        (r#"{"temperature":-0.0e5}"#, true),
        (r#"{"temper\u0061ture":0.0}"#, true),
        (r#"{"temperature":0.1}"#, false),
        (r#"{"temperature":"0"}"#, false),
        (r#"{"temperature":null}"#, false),
        (r#"{"messages":[{"temperature":0}]}"#, false),
        ("{}", false),
    ] {
        assert_eq!(taken(body).is_deterministic, is, "{body}");
    }
}

#[test]
fn circles_never_meet_whatever_their_names_are() {
    let body = question(PLAIN);
    let of = |scope, id: &str, team: Option<&str>| {
        Fingerprint::of(&Circle::of(scope, &key(id), team), &body).unwrap().fingerprint
    };
    assert_eq!(of(CacheScope::Global, "key_1", None), of(CacheScope::Global, "key_2", Some("web")));
    assert_eq!(of(CacheScope::Team, "key_1", Some("web")), of(CacheScope::Team, "key_2", Some("web")));
    // Without a team there is nobody to share with.
    assert_eq!(of(CacheScope::Team, "key_1", None), of(CacheScope::Key, "key_1", Some("web")));
    let apart = [
        of(CacheScope::Global, "key_1", None),
        of(CacheScope::Key, "key_1", None),
        of(CacheScope::Key, "key_2", None),
        of(CacheScope::Team, "key_1", Some("web")),
        of(CacheScope::Team, "key_1", Some("key_1")),
        of(CacheScope::Team, "key_1", Some("")),
        of(CacheScope::Team, "key_1", Some("web\0")),
    ];
    for (at, one) in apart.iter().enumerate() {
        assert!(!apart[..at].contains(one), "{at}");
    }
}

#[test]
fn headers_that_change_the_answer_are_a_part_of_the_question() {
    let of = |change: &dyn Fn(&mut Question<'static>)| {
        let mut question = Question { endpoint: Endpoint::Messages, ..question(PLAIN) };
        change(&mut question);
        Fingerprint::of(&Circle::of(CacheScope::Global, &key("key_1"), None), &question).unwrap().fingerprint
    };
    let plain = of(&|_| {});
    assert_ne!(plain, of(&|question| question.version = Some("2023-06-01")));
    assert_ne!(
        of(&|question| question.version = Some("2023-06-01")),
        of(&|question| question.betas = Some("2023-06-01"))
    );
    assert_eq!(of(&|question| question.betas = Some("a, b")), of(&|question| question.betas = Some("b,a,,a")));
    assert_ne!(of(&|question| question.betas = Some("ab")), of(&|question| question.betas = Some("a,b")));
    assert_ne!(
        of(&|question| question.extras = [Some("x"), None]),
        of(&|question| question.extras = [None, Some("x")])
    );
}

#[test]
fn what_is_no_request_has_no_fingerprint() {
    let circle_key = key("key_1");
    let circle = Circle::of(CacheScope::Global, &circle_key, None);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64));
    for body in [
        "",
        "[]",
        "1",
        "{",
        "{}x",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":01}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":+1}"#,
        r#"{"a":1e}"#,
        r#"{"a":nul}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12"}"#,
        r#"{"a":"x}"#,
        r#"{"a":1 2}"#,
        r#"{"a":[1 2]}"#,
        r#"{"a":1e99999999999}"#,
        r"{a:1}",
        &deep,
    ] {
        assert_eq!(Fingerprint::of(&circle, &question(body)), Err(Unreadable), "{body}");
    }
    let broken = Question { body: b"{\"a\":\"\xff\"}", ..question("") };
    assert_eq!(Fingerprint::of(&circle, &broken), Err(Unreadable));
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        "[a-c\"\\\\é😀\n]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("[a-cé\"]{0,3}", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Writes a value with its keys the other way round, its texts escaped, and white space wherever it may be.
fn otherwise(value: &Value) -> String {
    let text = |text: &str| {
        let units: Vec<String> = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        format!("\"{}\"", units.concat())
    };
    match value {
        Value::String(string) => text(string),
        Value::Array(items) => format!("[ {} ]", items.iter().map(otherwise).collect::<Vec<_>>().join(" ,\n")),
        Value::Object(members) => {
            let members = members.iter().rev().map(|(key, value)| format!("{} :\t{}", text(key), otherwise(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(" , "))
        }
        Value::Number(number) if number.is_i64() => format!("{number}000e-3"),
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn however_it_is_written_a_request_has_one_fingerprint(value in json()) {
        let body = format!("{{\"x\":{value}}}");
        prop_assert_eq!(of(&body), of(&format!("{{\"x\":{}}}", otherwise(&value))));
    }

    #[test]
    fn two_requests_have_the_same_only_if_they_are_the_same(one in json(), other in json()) {
        let same = of(&format!("{{\"x\":{one}}}")) == of(&format!("{{\"x\":{other}}}"));
        // Numbers of the two kinds of JSON values may be worth the same; all else is equal or not.
        let normal = |value: &Value| value.to_string().replace(".0", "").replace("-0", "0");
        prop_assert_eq!(same, normal(&one) == normal(&other) || (one.is_null() && other.is_null()));
    }

    #[test]
    fn any_bytes_have_a_fingerprint_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,0-9eE.a\\\\u+-]{0,60}") {
        let id = key("key_1");
        let circle = Circle::of(CacheScope::Global, &id, None);
        let _ = Fingerprint::of(&circle, &Question { body: &bytes, ..question("") });
        let taken = Fingerprint::of(&circle, &question(&text));
        if serde_json::from_str::<serde_json::Map<String, Value>>(&text).is_ok() {
            prop_assert!(taken.is_ok(), "{}", text);
        }
    }
}
