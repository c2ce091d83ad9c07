use super::*;

fn now() -> Timestamp {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

fn mapping(unknown: UnknownKeys) -> Mapping {
    let key = KnownKey { id: "key_1".to_owned(), name: "ci".to_owned(), team: Some("red".to_owned()) };
    Mapping::new(
        vec![key],
        vec![("old ci".to_owned(), "ci".to_owned())],
        vec![("t-1".to_owned(), "blue".to_owned())],
        unknown,
    )
}

fn checked(text: &str) -> Result<Checked, String> {
    let mapping = mapping(UnknownKeys::Refuse);
    let adjustments = Adjustments::read(text.as_bytes()).map_err(|error| error.to_string())?;
    check(text.as_bytes(), &mapping, &adjustments, now(), &TimeZone::UTC).map_err(|error| error.to_string())
}

fn calls(text: &str) -> Vec<PastCallJson> {
    let mapping = mapping(UnknownKeys::Keep);
    let adjustments = Adjustments::read(text.as_bytes()).unwrap();
    let mut reader = Reader::new(text.as_bytes(), &mapping, &adjustments, now()).unwrap();
    let mut calls = Vec::new();
    while let Some(next) = reader.next().unwrap() {
        calls.push(next.unwrap_or_else(|bad| panic!("{bad:?}")).call);
    }
    calls
}

const LITELLM: &str = "request_id,call_type,api_key,spend,total_tokens,prompt_tokens,completion_tokens,startTime,endTime,model,custom_llm_provider,team_id,metadata,key_alias\n";

/// The only bad row of a file of LiteLLM's with one row: column and reason.
fn bad(row: &str, column: &str, says: &str) {
    let checked = checked(&format!("{LITELLM}{row}\n")).unwrap();
    let found: Vec<(&str, &str)> = checked.bad.iter().map(|bad| (bad.column.as_str(), bad.reason.as_str())).collect();
    assert!(found.len() == 1 && found[0].0 == column && found[0].1.contains(says), "{row}: {found:?}");
    assert_eq!((checked.bad[0].line, checked.bad_len, checked.rows), (2, 1, 0));
}

fn row(id: &str, spend: &str, start: &str, model: &str, alias: &str) -> String {
    format!("{id},acompletion,hash1,{spend},15,10,5,{start},,{model},,t-1,,{alias}")
}

#[test]
fn spend_logs_become_calls_at_their_own_time() {
    let text = format!(
        "{LITELLM}{}\n{}\n{}\n",
        "chatcmpl-1,acompletion,hash1,1.5e-05,15,10,5,2026-11-02 09:12:44.123,2026-11-02 09:12:45.323,openai/gpt-4o,openai,t-1,,old ci",
        "chatcmpl-2,acompletion,hash2,0.30000000000000004,15,10,5,2026-11-02T09:12:44.123000Z,,claude-haiku-4-5,anthropic,,\"{\"\"user_api_key_alias\"\": \"\"gone\"\", \"\"user_api_key_team_alias\"\": \"\"green\"\"}\",",
        "chatcmpl-3,acompletion,hash3,0,0,0.0,,2026-11-02 09:12:44+00,,mistral/small,,,not json,",
    );
    let calls = calls(&text);
    let told: Vec<_> = calls
        .iter()
        .map(|call| {
            let deployment = format!("{}/{}", call.provider, call.model);
            (call.key_id.as_str(), call.team.as_deref(), deployment, call.cost_usd.to_string(), call.latency_ms)
        })
        .collect();
    let expected =
        |key, team, deployment: &str, cost: &str, latency| (key, team, deployment.to_owned(), cost.to_owned(), latency);
    assert_eq!(
        told,
        [
            expected("key_1", Some("blue"), "openai/gpt-4o", "0.000015", 1200),
            expected("imported:gone", Some("green"), "anthropic/claude-haiku-4-5", "0.3", 0),
            expected("imported:hash3", None, "mistral/small", "0", 0),
        ]
    );
    let id: RequestId = calls[0].id.parse().unwrap();
    assert_eq!(id.unix_ms(), "2026-11-02T09:12:44.123Z".parse::<Timestamp>().unwrap().as_millisecond());
    assert_eq!(calls[0].operation, "import");
    let checked = checked(&text).unwrap();
    assert_eq!((checked.rows, checked.rounded, checked.cost.to_string()), (3, 1, "0.300015".to_owned()));
    assert_eq!(checked.unknown_keys.keys().collect::<Vec<_>>(), ["gone", "hash3"]);
}

#[test]
fn a_row_has_the_same_id_each_time_and_its_own() {
    let one = row("a", "1", "2026-11-02 09:00:00", "gpt-4o", "ci");
    let two = row("b", "1", "2026-11-02 09:00:00", "gpt-4o", "ci");
    let ids = |text: &str| calls(text).into_iter().map(|call| call.id).collect::<Vec<_>>();
    let first = ids(&format!("{LITELLM}{one}\n{two}\n"));
    assert_eq!(first, ids(&format!("{LITELLM}{one}\n{one}\n{two}\n")));
    assert_ne!(first[0], first[1]);
    // Without an id, two calls that are alike in everything are two, each time.
    let nameless = row("", "1", "2026-11-02 09:00:00", "gpt-4o", "ci");
    let twice = ids(&format!("{LITELLM}{nameless}\n{nameless}\n"));
    assert_ne!(twice[0], twice[1]);
    assert_eq!(twice, ids(&format!("{LITELLM}{nameless}\n{nameless}\n")));
}

#[test]
fn an_id_that_stands_for_two_calls_is_refused() {
    let one = row("a", "1", "2026-11-02 09:00:00", "gpt-4o", "ci");
    let other = row("a", "2", "2026-11-02 09:00:00", "gpt-4o", "ci");
    let checked = checked(&format!("{LITELLM}{one}\n{one}\n{other}\n")).unwrap();
    assert_eq!((checked.rows, checked.repeated, checked.bad_len), (1, 1, 1));
    assert_eq!((checked.bad[0].line, checked.bad[0].column.as_str()), (4, "request_id"));
}

#[test]
fn rows_that_can_not_be_booked_are_told_by_line_column_and_reason() {
    let at = "2026-11-02 09:00:00";
    for (spend, says) in [
        ("", "empty"),
        ("-0.1", "negative"),
        ("NaN", "not a number"),
        ("inf", "not a number"),
        ("=1+1", "not a number"),
        ("\"1,5\"", "not a number"),
        ("1e70", "beyond"),
        ("1e40", "beyond"),
    ] {
        bad(&row("a", spend, at, "gpt-4o", "ci"), "spend", says);
    }
    bad(&row("a", "1000000", at, "gpt-4o", "ci"), "", "more than one call can cost");
    bad(&row("a", "1", "yesterday", "gpt-4o", "ci"), "startTime", "not a time");
    bad(&row("a", "1", "", "gpt-4o", "ci"), "startTime", "not a time");
    bad(&row("a", "1", "2027-01-01 00:00:00", "gpt-4o", "ci"), "", "in the future");
    bad(&row("a", "1", "1999-01-01 00:00:00", "gpt-4o", "ci"), "", "before any call");
    bad(&row("a", "1", at, "=cmd()", "ci"), "model", "a formula");
    bad(&row("a", "1", at, "gpt-4o", "@ci"), "key_alias", "a formula");
    bad(&row("a", "1", at, &"m".repeat(200), "ci"), "", "model");
    bad("a,b", "", "2 cells under 14 columns");
    bad("a,c,h,1,15,-1,5,2026-11-02 09:00:00,,gpt-4o,,,,ci", "prompt_tokens", "not a whole number");
    bad("a,c,h,1,15,1.5,5,2026-11-02 09:00:00,,gpt-4o,,,,ci", "prompt_tokens", "not a whole number");
    bad("a,c,h,1,15,99999999999,5,2026-11-02 09:00:00,,gpt-4o,,,,ci", "", "more than one call can have");
}

#[test]
fn files_of_another_kind_are_refused_at_the_header() {
    assert!(checked("").unwrap_err().contains("the file is empty"));
    assert!(checked("a,b\n").unwrap_err().contains("neither an export of costs"));
    assert!(checked("spend,model,startTime,spend\n").unwrap_err().contains("twice"));
    assert!(checked("request_id;spend;model;startTime\n").unwrap_err().contains("commas"));
}

const OWN: &str = "id,client_request_id,time,status,key,team,operation,provider,model,requested_model,stream,cache,input_tokens,cache_read_tokens,cache_write_tokens,output_tokens,reasoning_tokens,cost_usd,cost_basis,latency_ms,time_to_first_token_ms,attempts,error\n";

#[test]
fn our_own_export_keeps_its_ids_and_says_no_more_than_it_knows() {
    let id = RequestId::first_of(1_795_000_000_000);
    let time = Timestamp::from_millisecond(id.unix_ms()).unwrap();
    let line = |status: &str, cost: &str, basis: &str| {
        format!(
            "\"{id}\",\"\",\"{time}\",\"{status}\",\"ci\",\"\",\"chat\",\"openai\",\"'=gpt\",\"x\",\"false\",\"miss\",10,5,0,7,2,{cost},\"{basis}\",120,,1,\"\"\n"
        )
    };
    let read = calls(&format!("{OWN}{}", line("settled", "0.000000000001", "exact")));
    assert_eq!((read[0].id.as_str(), read[0].cost_basis.as_str()), (id.to_string().as_str(), "estimated"));
    assert_eq!((read[0].model.as_str(), read[0].team.as_deref(), read[0].cost_usd.get()), ("=gpt", Some("red"), 1));
    assert_eq!((read[0].input_tokens, read[0].cache_read_tokens, read[0].reasoning_tokens), (10, 5, 2));
    let unknown = calls(&format!("{OWN}{}", line("unknown", "1", "reserved")));
    assert_eq!((unknown[0].status.as_str(), unknown[0].cost_basis.as_str()), ("unknown", "reserved"));
    let told = |text: String| {
        let checked = checked(&format!("{OWN}{text}")).unwrap();
        checked.bad.first().map(|bad| (bad.column.clone(), bad.reason.clone())).unwrap_or_default()
    };
    assert_eq!(told(line("pending", "1", "exact")).0, "status");
    assert!(told(line("settled", "1", "unpriced")).1.contains("no cost"));
    assert_eq!(told(line("settled", "1", "exact").replace(&time.to_string(), "2026-01-01T00:00:00Z")).0, "time");
    assert_eq!(told(line("settled", "1", "exact").replace("req_", "rex_")).0, "id");
}

#[test]
fn adjustments_of_our_own_export_are_in_the_amounts_of_their_calls() {
    let first = RequestId::first_of(1_795_000_000_000);
    let id = |step: u128| RequestId::from_number(first.number() + step);
    let time = Timestamp::from_millisecond(first.unix_ms()).unwrap();
    let line = |step: u128, status: &str, cost: &str, basis: &str, error: &str| {
        format!(
            "{},,{time},{status},ci,,chat,openai,gpt-4o,x,false,miss,1,0,0,1,0,{cost},{basis},1,,1,{error}\n",
            id(step)
        )
    };
    let adjusts =
        |step: u128, of: u128, cost: &str| line(step, "settled", cost, "estimated", &format!("adjusts {}", id(of)));
    // Before and behind their calls, up and down; a row that stands twice counts once.
    let text = [
        OWN,
        &adjusts(2, 1, "-0.25"),
        &line(1, "unknown", "1", "reserved", ""),
        &adjusts(3, 1, "0.5"),
        &adjusts(3, 1, "0.5"),
        &line(200, "settled", "0", "unpriced", ""),
        &adjusts(201, 200, "0.125"),
        &line(400, "unknown", "2", "reserved", "broke off"),
    ]
    .concat();
    let read: Vec<_> =
        calls(&text).into_iter().map(|call| (call.cost_usd.to_string(), call.status, call.cost_basis)).collect();
    let told = |cost: &str, status: &str, basis: &str| (cost.to_owned(), status.to_owned(), basis.to_owned());
    let expected =
        [told("1.25", "settled", "estimated"), told("0.125", "settled", "estimated"), told("2", "unknown", "reserved")];
    assert_eq!(read, expected);
    let sums = checked(&text).unwrap();
    assert_eq!((sums.rows, sums.adjustments, sums.cost.to_string().as_str(), sums.bad_len), (3, 3, "3.375", 0));

    let refused = |text: String| {
        let checked = checked(&format!("{OWN}{text}")).unwrap();
        checked.bad.first().map(|bad| (bad.line, bad.column.clone(), bad.reason.clone())).unwrap_or_default()
    };
    let call = line(1, "settled", "1", "exact", "");
    assert!(refused(adjusts(2, 1, "-0.25")).2.contains("which the file doesn't have"));
    assert!(refused(format!("{call}{}", adjusts(2, 1, "-1.5"))).2.contains("less than nothing"));
    assert!(
        refused(format!("{call}{}{}", adjusts(2, 1, "-0.5"), adjusts(2, 1, "-0.25"))).2.contains("another adjustment")
    );
    assert_eq!(refused(format!("{call}{}", adjusts(2, 1, "much"))).1, "cost_usd");
    assert_eq!(refused(format!("{call}{}", line(2, "settled", "1", "exact", "adjusts nothing"))).1, "error");
    assert!(refused(line(1, "settled", "-1", "exact", "")).2.contains("negative"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-z,\"\n=0-9.e-]{0,200}") {
        let _ = checked(&format!("{LITELLM}{text}"));
        let _ = checked(&text);
    }
}
