use super::*;
use crate::provider::usage::{COUNT_MAX, RAW_BYTES_MAX};

fn usage(json: &str) -> Result<Option<TokenUsage>, UsageError> {
    Ok(decode_usage(json.as_bytes())?.map(|reported| reported.usage))
}

/// The usage of a response whose usage object has these fields.
fn with(fields: &str) -> Result<Option<TokenUsage>, UsageError> {
    usage(&format!("{{\"usage\":{{{fields}}}}}"))
}

#[track_caller]
fn check(fields: &str, expected: TokenUsage) {
    assert_eq!(with(fields).unwrap(), Some(expected), "{fields}");
}

#[track_caller]
fn check_hostile(fields: &str, name: &str) {
    match with(fields) {
        Err(UsageError::Count { field }) => assert_eq!(field, name, "{fields}"),
        other => panic!("{fields} gives {other:?}"),
    }
}

fn text(input: u64, output: u64) -> TokenUsage {
    TokenUsage { uncached_input: input, output, ..TokenUsage::default() }
}

#[test]
fn a_strange_shape_is_forgiven() {
    check(r#""prompt_tokens":3,"completion_tokens":2"#, text(3, 2));
    check(r#""prompt_tokens":3,"completion_tokens":null"#, text(3, 0));
    check(
        r#""prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":[],"completion_tokens_details":7"#,
        text(3, 2),
    );
    check(
        r#""prompt_tokens":3,"completion_tokens":2,"prompt_audio_seconds":{},"cost":0.5,"x":{"y":[null]}"#,
        text(3, 2),
    );
    check(r#""prompt_tokens":3,"completion_tokens":2,"total_tokens":-5"#, text(3, 2));
    assert_eq!(
        usage(r#"{"id":7,"model":{},"choices":"none","service_tier":1,"usage":{"prompt_tokens":3}}"#).unwrap(),
        Some(text(3, 0))
    );
}

#[test]
fn the_usage_at_the_top_counts_before_the_one_in_a_corner() {
    let json = r#"{"usage":{"prompt_tokens":3},"x_groq":{"usage":{"prompt_tokens":4}}}"#;
    assert_eq!(usage(json).unwrap(), Some(text(3, 0)));
    assert!(usage(r#"{"usage":{"prompt_tokens":-3},"x_groq":{"usage":{"prompt_tokens":4}}}"#).is_err());
}

#[test]
fn no_usage_is_none() {
    for json in [
        "{}",
        r#"{"usage":null}"#,
        r#"{"usage":[]}"#,
        r#"{"usage":"free"}"#,
        r#"{"usage":{}}"#,
        r#"{"usage":{"completion_tokens":5}}"#,
        r#"{"usage":{"prompt_tokens":null,"completion_tokens":5}}"#,
        r#"{"x_groq":{}}"#,
        r#"{"x_groq":{"usage":null}}"#,
        r#"{"error":{"message":"no"},"choices":[]}"#,
        r#"{"type":"response.created","response":{"id":"resp_1","usage":null}}"#,
    ] {
        assert_eq!(usage(json).unwrap(), None, "{json}");
    }
}

#[test]
fn a_number_that_is_no_count_refuses_the_whole_usage() {
    check_hostile(r#""prompt_tokens":-3"#, "prompt_tokens");
    check_hostile(r#""prompt_tokens":"3""#, "prompt_tokens");
    check_hostile(r#""prompt_tokens":3.5"#, "prompt_tokens");
    check_hostile(r#""prompt_tokens":3,"completion_tokens":1e3"#, "completion_tokens");
    check_hostile(&format!(r#""prompt_tokens":{}"#, COUNT_MAX + 1), "prompt_tokens");
    check_hostile(r#""prompt_tokens":3,"prompt_tokens_details":{"cached_tokens":-1}"#, "cached_tokens");
    check_hostile(r#""prompt_tokens":3,"prompt_cache_hit_tokens":"1""#, "prompt_cache_hit_tokens");
    check_hostile(r#""prompt_tokens":3,"completion_tokens_details":{"reasoning_tokens":[]}"#, "reasoning_tokens");
    check_hostile(r#""input_tokens":3,"output_tokens":true"#, "output_tokens");
}

#[test]
fn what_is_no_json_object_is_refused() {
    for json in ["", "[DONE]", "[1,2]", "{\"usage\":", "\"usage\"", "{\"usage\":{\"prompt_tokens\":1}} trailing"] {
        assert!(matches!(usage(json), Err(UsageError::NotJson(_))), "{json:?}");
    }
    assert!(decode_usage(b"{\"id\":\"\xff\"}").is_err());
}

#[test]
fn parts_are_never_larger_than_what_they_are_part_of() {
    let reasoning = r#""prompt_tokens":1,"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":9,"audio_tokens":3}"#;
    check(reasoning, TokenUsage { reasoning: 2, audio_output: 3, ..text(1, 2) });
    let cached =
        r#""prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":4,"audio_tokens":4}"#;
    check(cached, TokenUsage { cache_read: 4, cache_write_5m: 4, audio_input: 4, ..text(0, 0) });
}

#[test]
fn the_answer_names_itself_its_model_and_its_end() {
    let json = br#"{"id":"chatcmpl-1","model":"caf\u00e9","choices":[{"finish_reason":null},{"finish_reason":"length"}],"service_tier":"flex"}"#;
    let answer = decode_answer(json).unwrap();
    assert_eq!((answer.id.as_deref(), answer.model.as_deref()), (Some("chatcmpl-1"), Some("café")));
    assert_eq!(answer.finish_reason.as_deref(), Some("length"));
    assert_eq!(answer.tier, Some(ServiceTier::Flex));
    assert!(answer.usage.unwrap().is_none());
}

#[test]
fn searches_of_a_response_are_counted_and_pages_opened_are_not() {
    let json = r#"{"type":"response.completed","response":{"status":"completed","usage":{"input_tokens":3,"output_tokens":2},
        "output":[{"type":"web_search_call","action":{"type":"search"}},{"type":"web_search_call"},
        {"type":"web_search_call","action":{"type":"open_page"}},{"type":"message"},null]}}"#;
    assert_eq!(usage(json).unwrap(), Some(TokenUsage { web_searches: 2, ..text(3, 2) }));
}

#[test]
fn the_raw_usage_is_kept_short() {
    let json = format!("{{\"usage\": {{ \"prompt_tokens\": 3, \"x\": \"{}\" }} }}", "y".repeat(RAW_BYTES_MAX));
    let reported = decode_usage(json.as_bytes()).unwrap().unwrap();
    assert_eq!(reported.usage, text(3, 0));
    assert!(reported.raw.starts_with("{\"dropped_bytes\":"));
    let reported = decode_usage(b"{\"usage\": { \"prompt_tokens\": 3 } }").unwrap().unwrap();
    assert_eq!(&*reported.raw, "{\"prompt_tokens\":3}");
}

fn stream(records: &[&str]) -> UsageProgress {
    let mut progress = UsageProgress::default();
    for record in records {
        progress.take(record.as_bytes()).unwrap();
    }
    progress
}

#[test]
fn a_running_total_is_whole_only_with_the_end_of_the_answer() {
    let chunk = |finish: &str, tokens: u64| {
        format!(
            "{{\"choices\":[{{\"finish_reason\":{finish}}}],\"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":{tokens}}}}}"
        )
    };
    let progress = stream(&[&chunk("null", 1), &chunk("null", 2)]);
    assert!(!progress.is_final());
    assert_eq!(progress.reported().unwrap().usage, text(9, 2));
    let progress = stream(&[&chunk("null", 1), &chunk("null", 2), &chunk("\"stop\"", 3)]);
    assert!(progress.is_final());
    assert_eq!(progress.reported().unwrap().usage, text(9, 3));
}

#[test]
fn the_tier_may_stand_on_another_chunk_than_the_usage() {
    let progress = stream(&[
        r#"{"service_tier":"priority","choices":[{"finish_reason":"stop"}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
    ]);
    assert_eq!(progress.reported().unwrap().tier, ServiceTier::Priority);
    assert!(progress.is_final());
}

#[test]
fn a_hostile_usage_at_the_end_leaves_the_stream_without_a_final_one() {
    let mut progress = stream(&[r#"{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#]);
    assert!(progress.is_final());
    assert!(progress.take(br#"{"choices":[],"usage":{"prompt_tokens":-1}}"#).is_err());
    assert!(!progress.is_final());
    assert_eq!(progress.reported().unwrap().usage, text(1, 0));
}

#[test]
fn regional_hosts_stay_in_their_region() {
    assert_eq!(residency_of_host("eu.api.openai.com"), Residency::Eu);
    assert_eq!(residency_of_host("us.api.openai.com"), Residency::Us);
    assert_eq!(residency_of_host("api.openai.com"), Residency::Anywhere);
    assert_eq!(residency_of_host("eu.api.openai.com.example.test"), Residency::Anywhere);
}
