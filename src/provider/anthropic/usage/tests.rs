use super::*;

fn usage(json: &str) -> Result<Option<TokenUsage>, UsageError> {
    Ok(decode_usage(json.as_bytes())?.map(|reported| reported.usage))
}

/// The usage of a message whose usage object has these fields.
fn with(fields: &str) -> Result<Option<TokenUsage>, UsageError> {
    usage(&format!("{{\"type\":\"message\",\"usage\":{{{fields}}}}}"))
}

fn text(input: u64, output: u64) -> TokenUsage {
    TokenUsage { uncached_input: input, output, ..TokenUsage::default() }
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

#[test]
fn a_strange_shape_is_forgiven() {
    check(r#""input_tokens":3,"output_tokens":2"#, text(3, 2));
    check(
        r#""input_tokens":3,"output_tokens":2,"cache_creation":[],"server_tool_use":"none","iterations":{}"#,
        text(3, 2),
    );
    check(
        r#""input_tokens":3,"output_tokens":2,"iterations":[null,7],"service_tier":4,"speed":{},"new":0.5"#,
        text(3, 2),
    );
    assert_eq!(usage(r#"{"id":7,"model":[],"message":"hello","usage":{"input_tokens":3}}"#).unwrap(), Some(text(3, 0)));
}

#[test]
fn no_usage_is_none() {
    for json in [
        "{}",
        r#"{"usage":null}"#,
        r#"{"usage":{}}"#,
        r#"{"usage":[5]}"#,
        r#"{"usage":{"output_tokens":5}}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
    ] {
        assert_eq!(usage(json).unwrap(), None, "{json}");
    }
}

#[test]
fn a_number_that_is_no_count_refuses_the_whole_usage() {
    check_hostile(r#""input_tokens":-3"#, "input_tokens");
    check_hostile(r#""input_tokens":3,"output_tokens":2.5"#, "output_tokens");
    check_hostile(
        r#""input_tokens":3,"cache_creation":{"ephemeral_1h_input_tokens":"1"}"#,
        "ephemeral_1h_input_tokens",
    );
    check_hostile(r#""input_tokens":3,"output_tokens_details":{"thinking_tokens":-1}"#, "thinking_tokens");
    check_hostile(r#""input_tokens":3,"server_tool_use":{"web_search_requests":1e9}"#, "web_search_requests");
    let huge = r#"{"input_tokens":600000000000,"output_tokens":1}"#;
    check_hostile(&format!(r#""input_tokens":3,"iterations":[{huge},{huge}]"#), "iterations");
}

#[test]
fn writes_that_the_split_leaves_out_last_five_minutes() {
    let fields =
        r#""input_tokens":1,"cache_creation_input_tokens":100,"cache_creation":{"ephemeral_1h_input_tokens":30}"#;
    check(fields, TokenUsage { cache_write_5m: 70, cache_write_1h: 30, ..text(1, 0) });
}

#[test]
fn thinking_is_never_larger_than_the_output() {
    let fields = r#""input_tokens":1,"output_tokens":5,"output_tokens_details":{"thinking_tokens":9}"#;
    check(fields, TokenUsage { reasoning: 5, ..text(1, 5) });
}

#[test]
fn the_message_names_itself_its_model_and_its_end() {
    let json = br#"{"id":"msg_1","model":"claude-opus-5","stop_reason":"end_turn","usage":{"input_tokens":1,"service_tier":"batch","inference_geo":"us","speed":"fast"}}"#;
    let answer = decode_answer(json).unwrap();
    assert_eq!((answer.id.as_deref(), answer.model.as_deref()), (Some("msg_1"), Some("claude-opus-5")));
    assert_eq!(answer.finish_reason.as_deref(), Some("end_turn"));
    let reported = answer.usage.unwrap().unwrap();
    assert_eq!((reported.tier, reported.residency, reported.fast), (ServiceTier::Batch, Residency::Us, true));
}

fn take(progress: &mut UsageProgress, record: &str) {
    progress.take(record.as_bytes()).unwrap();
}

fn started(usage: &str) -> UsageProgress {
    let mut progress = UsageProgress::default();
    take(
        &mut progress,
        &format!("{{\"type\":\"message_start\",\"message\":{{\"id\":\"msg_1\",\"model\":\"m\",\"usage\":{usage}}}}}"),
    );
    progress
}

fn delta(usage: &str) -> String {
    format!("{{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}},\"usage\":{usage}}}")
}

#[test]
fn running_totals_replace_and_never_add() {
    let mut progress =
        started(r#"{"input_tokens":25,"cache_read_input_tokens":8,"output_tokens":1,"service_tier":"batch"}"#);
    take(&mut progress, &delta(r#"{"output_tokens":4}"#));
    take(&mut progress, r#"{"type":"ping"}"#);
    take(&mut progress, &delta(r#"{"output_tokens":9,"input_tokens":26,"cache_read_input_tokens":null}"#));
    let reported = progress.reported().unwrap();
    assert_eq!(reported.usage, TokenUsage { cache_read: 8, ..text(26, 9) });
    assert_eq!(reported.tier, ServiceTier::Batch);
    assert_eq!(
        &*reported.raw,
        r#"{"cache_read_input_tokens":8,"input_tokens":26,"output_tokens":9,"service_tier":"batch"}"#
    );
    assert!(progress.is_final());
}

#[test]
fn later_totals_replace_earlier_iterations_and_later_iterations_replace_totals() {
    let mut progress =
        started(r#"{"input_tokens":5,"output_tokens":1,"iterations":[{"input_tokens":5,"output_tokens":1}]}"#);
    take(&mut progress, &delta(r#"{"output_tokens":9}"#));
    assert_eq!(progress.reported().unwrap().usage, text(5, 9));
    let iterations = r#"[{"input_tokens":5,"output_tokens":9},{"input_tokens":6,"output_tokens":2}]"#;
    take(&mut progress, &delta(&format!("{{\"output_tokens\":2,\"iterations\":{iterations}}}")));
    assert_eq!(progress.reported().unwrap().usage, text(11, 11));
}

#[test]
fn a_stream_is_final_only_with_its_last_usage() {
    let mut progress = started(r#"{"input_tokens":25,"output_tokens":1}"#);
    assert!(!progress.is_final());
    take(&mut progress, r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#);
    assert!(!progress.is_final(), "without a usage");
    assert_eq!(progress.stop_reason(), Some("end_turn"));
    take(&mut progress, &delta(r#"{"output_tokens":2}"#));
    assert!(progress.is_final());
    assert_eq!((progress.id(), progress.model()), (Some("msg_1"), Some("m")));
}

#[test]
fn a_hostile_delta_leaves_what_was_told_before_and_is_not_final() {
    let mut progress = started(r#"{"input_tokens":25,"output_tokens":1}"#);
    assert!(progress.take(delta(r#"{"output_tokens":-90}"#).as_bytes()).is_err());
    assert!(!progress.is_final());
    assert_eq!(progress.reported().unwrap().usage, text(25, 1));
}

#[test]
fn a_stream_without_a_start_has_no_usage() {
    let mut progress = UsageProgress::default();
    take(&mut progress, &delta(r#"{"output_tokens":2}"#));
    assert_eq!(progress.reported(), None);
}

#[test]
fn a_raw_usage_of_many_records_stays_bounded() {
    let mut progress = started(r#"{"input_tokens":25,"output_tokens":1}"#);
    for record in 0..100 {
        take(&mut progress, &delta(&format!("{{\"field_{record}\":1}}")));
    }
    assert!(progress.reported().unwrap().raw.starts_with("{\"dropped_bytes\":"));
    let mut progress = started(&format!("{{\"input_tokens\":25,\"x\":\"{}\"}}", "y".repeat(RAW_BYTES_MAX)));
    take(&mut progress, &delta(r#"{"output_tokens":2}"#));
    assert_eq!(progress.reported().unwrap().usage, text(25, 2));
    assert!(progress.reported().unwrap().raw.starts_with("{\"dropped_bytes\":"));
}
