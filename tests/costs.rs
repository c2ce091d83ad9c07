//! From a provider's answer to its price: every row of the hand-worked table, and every recorded shape.
#![expect(clippy::unwrap_used, reason = "a test that can't read its data has to stop")]

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate::catalog::Catalog;
use tollgate::domain::{CostBasis, Picodollars, ProviderName, TokenUsage};
use tollgate::provider::usage::{ReportedUsage, UsageError};
use tollgate::provider::{anthropic::usage as anthropic, openai::usage as openai};

#[derive(Deserialize)]
struct Table {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    dialect: String,
    catalog: String,
    model: String,
    at: Option<String>,
    response: Box<RawValue>,
    buckets: Option<Buckets>,
    #[serde(rename = "sum")]
    _sum: Option<String>,
    cost_pico: Option<String>,
    basis: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Buckets {
    input: u64,
    cache_read: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    output: u64,
    reasoning: u64,
    audio_input: u64,
    audio_output: u64,
    web_searches: u64,
}

impl Row {
    fn decode(&self, json: &str) -> Result<Option<ReportedUsage>, UsageError> {
        match self.dialect.as_str() {
            "anthropic" => anthropic::decode_usage(json.as_bytes()),
            "openai-chat" | "openai-compatible" | "openai-embeddings" | "openai-responses" => {
                openai::decode_usage(json.as_bytes())
            }
            other => panic!("{}: no decoder for {other:?}", self.name),
        }
    }

    fn expected(&self) -> TokenUsage {
        let buckets = self.buckets.as_ref().unwrap();
        TokenUsage {
            uncached_input: buckets.input,
            cache_read: buckets.cache_read,
            cache_write_5m: buckets.cache_write_5m,
            cache_write_1h: buckets.cache_write_1h,
            output: buckets.output,
            reasoning: buckets.reasoning,
            audio_input: buckets.audio_input,
            audio_output: buckets.audio_output,
            web_searches: buckets.web_searches,
        }
    }

    /// What is wrong with the row, if anything.
    fn fault(&self, catalog: &Catalog, decoded: Result<Option<ReportedUsage>, UsageError>) -> Option<String> {
        if self.basis == "refused" {
            return decoded.ok().map(|usage| format!("was believed: {usage:?}"));
        }
        let reported = match decoded {
            Ok(Some(reported)) => reported,
            other => return Some(format!("has no usage: {other:?}")),
        };
        if reported.usage != self.expected() {
            return Some(format!("has the buckets {:?}", reported.usage));
        }
        let provider: ProviderName = self.catalog.parse().unwrap();
        let at = self.at.as_deref().unwrap_or("2026-11-18T02:00:00Z").parse().unwrap();
        let (cost, basis) = catalog.find(&provider, &self.catalog, &self.model).map_or(
            (Picodollars::ZERO, CostBasis::Unpriced),
            |facts| {
                let billed = reported.billed(at);
                let costing = facts.prices.cost(&reported.usage, &billed);
                let lines = facts.prices.lines(&reported.usage, &billed);
                assert_eq!(lines.iter().map(|line| line.cost).sum::<Picodollars>(), costing.cost, "{}", self.name);
                (costing.cost, costing.basis)
            },
        );
        let found = (cost.get().to_string(), basis.as_str());
        let expected = (self.cost_pico.as_deref().unwrap(), self.basis.as_str());
        (found.0 != expected.0 || found.1 != expected.1).then(|| format!("is {found:?}, not {expected:?}"))
    }
}

fn table() -> Vec<Row> {
    let table: Table = serde_json::from_str(include_str!("data/usage_costs.json")).unwrap();
    assert!(table.rows.len() >= 244, "the table has lost rows");
    table.rows
}

fn check_all(decode: impl Fn(&Row) -> Option<Result<Option<ReportedUsage>, UsageError>>) -> usize {
    let catalog = Catalog::builtin();
    let rows = table();
    let decoded: Vec<_> = rows.iter().filter_map(|row| decode(row).map(|usage| (row, usage))).collect();
    let checked = decoded.len();
    let faults: Vec<String> = decoded
        .into_iter()
        .filter_map(|(row, usage)| row.fault(&catalog, usage).map(|fault| format!("{}: {fault}", row.name)))
        .collect();
    assert!(faults.is_empty(), "{} rows of {checked} are wrong:\n{}", faults.len(), faults.join("\n"));
    checked
}

#[test]
fn every_row_of_the_table_has_its_buckets_its_basis_and_its_cost() {
    let checked = check_all(|row| Some(row.decode(row.response.get())));
    assert_eq!(checked, table().len());
}

#[test]
fn a_usage_kept_raw_costs_the_same_when_it_is_rated_again() {
    // The raw object lacks only what stands beside it in a response: the tier.
    check_all(|row| {
        let reported = row.decode(row.response.get()).ok()??;
        let again = row
            .decode(&format!("{{\"usage\":{}}}", reported.raw))
            .map(|usage| usage.map(|usage| ReportedUsage { tier: reported.tier, ..usage }));
        Some(again)
    });
}

#[test]
fn a_message_costs_the_same_streamed() {
    let checked = check_all(|row| {
        if row.dialect != "anthropic" || row.basis == "refused" {
            return None;
        }
        let response = row.response.get();
        let start = format!("{{\"type\":\"message_start\",\"message\":{response}}}");
        let delta = "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":";
        let usage = &response[response.find('{').unwrap() + 1..];
        let usage = usage[usage.find('{').unwrap()..].trim_end().strip_suffix('}').unwrap();
        let mut progress = anthropic::UsageProgress::default();
        progress.take(start.as_bytes()).unwrap();
        assert!(!progress.is_final());
        progress.take(format!("{delta}{usage}}}").as_bytes()).unwrap();
        assert!(progress.is_final(), "{}", row.name);
        Some(Ok(progress.reported()))
    });
    assert!(checked > 50, "{checked}");
}

/// The `data:` payloads of a recorded stream.
fn records(stream: &str) -> impl Iterator<Item = &str> {
    stream.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|record| *record != "[DONE]")
}

fn openai_stream(stream: &str) -> openai::UsageProgress {
    let mut progress = openai::UsageProgress::default();
    for record in records(stream) {
        progress.take(record.as_bytes()).unwrap();
    }
    progress
}

fn anthropic_stream(stream: &str) -> anthropic::UsageProgress {
    let mut progress = anthropic::UsageProgress::default();
    for record in records(stream) {
        progress.take(record.as_bytes()).unwrap();
    }
    progress
}

fn check(reported: Option<ReportedUsage>, expected: TokenUsage) {
    assert_eq!(reported.unwrap().usage, expected);
}

const NOTHING: TokenUsage = TokenUsage {
    uncached_input: 0,
    cache_read: 0,
    cache_write_5m: 0,
    cache_write_1h: 0,
    output: 0,
    reasoning: 0,
    audio_input: 0,
    audio_output: 0,
    web_searches: 0,
};

#[test]
fn recorded_openai_bodies_have_the_usage_that_the_index_expects() {
    let usage = |json: &str| openai::decode_usage(json.as_bytes()).unwrap();
    let cached = TokenUsage { uncached_input: 476, cache_read: 1024, output: 12, ..NOTHING };
    check(usage(include_str!("fixtures/wire/openai_chat.json")), cached);
    let tools = TokenUsage { uncached_input: 88, output: 41, ..NOTHING };
    check(usage(include_str!("fixtures/wire/openai_chat_tools.json")), tools);
    let reasoning = TokenUsage { uncached_input: 30, output: 210, reasoning: 192, ..NOTHING };
    check(usage(include_str!("fixtures/wire/openai_chat_reasoning.json")), reasoning);
    let written = TokenUsage { uncached_input: 200, cache_read: 1000, cache_write_5m: 1800, output: 5, ..NOTHING };
    check(usage(include_str!("fixtures/wire/openai_chat_cache_write.json")), written);
}

#[test]
fn recorded_openai_streams_have_the_usage_that_the_index_expects() {
    let cached = TokenUsage { uncached_input: 476, cache_read: 1024, output: 6, ..NOTHING };
    let streams = [
        (include_str!("fixtures/wire/openai_stream_usage.sse"), cached),
        (include_str!("fixtures/wire/openai_responses_stream.sse"), cached),
        (
            include_str!("fixtures/wire/compat_stream_quirks.sse"),
            TokenUsage { uncached_input: 50, output: 30, ..NOTHING },
        ),
        (
            include_str!("fixtures/wire/compat_stream_reasoning.sse"),
            TokenUsage { uncached_input: 4, cache_read: 16, output: 9, ..NOTHING },
        ),
    ];
    for (stream, expected) in streams {
        let progress = openai_stream(stream);
        assert!(progress.is_final());
        check(progress.reported(), expected);
    }
    let tools = openai_stream(include_str!("fixtures/wire/openai_stream_tools.sse"));
    assert!(tools.is_final());
    assert_eq!(tools.finish_reason(), Some("tool_calls"));
    assert_eq!(tools.model(), Some("gpt-4o-mini-2024-07-18"));
}

#[test]
fn a_recorded_openai_stream_without_usage_has_none() {
    for stream in [
        include_str!("fixtures/wire/openai_stream.sse"),
        include_str!("fixtures/wire/openai_stream_truncated.sse"),
        include_str!("fixtures/wire/openai_stream_error.sse"),
    ] {
        let progress = openai_stream(stream);
        assert!(!progress.is_final());
        assert_eq!(progress.reported(), None);
        assert!(progress.id().is_some());
    }
}

#[test]
fn recorded_anthropic_messages_have_the_usage_that_the_index_expects() {
    let expected = TokenUsage {
        uncached_input: 12,
        cache_read: 2048,
        cache_write_5m: 512,
        cache_write_1h: 1024,
        output: 14,
        ..NOTHING
    };
    let answer = anthropic::decode_answer(include_bytes!("fixtures/wire/anthropic_message.json")).unwrap();
    assert_eq!(answer.finish_reason.as_deref(), Some("end_turn"));
    check(answer.usage.unwrap(), expected);
    let tools = anthropic::decode_answer(include_bytes!("fixtures/wire/anthropic_message_tools.json")).unwrap();
    assert_eq!(tools.finish_reason.as_deref(), Some("tool_use"));
    assert!(tools.usage.unwrap().is_some());
}

#[test]
fn recorded_anthropic_streams_have_the_usage_that_the_index_expects() {
    let streams = [
        (
            include_str!("fixtures/wire/anthropic_stream.sse"),
            TokenUsage { uncached_input: 25, cache_read: 2048, output: 9, ..NOTHING },
        ),
        (
            include_str!("fixtures/wire/anthropic_stream_tools.sse"),
            TokenUsage { uncached_input: 472, output: 89, ..NOTHING },
        ),
        (
            include_str!("fixtures/wire/anthropic_stream_thinking.sse"),
            TokenUsage { uncached_input: 60, output: 48, reasoning: 40, ..NOTHING },
        ),
    ];
    for (stream, expected) in streams {
        let progress = anthropic_stream(stream);
        assert!(progress.is_final());
        assert_eq!(progress.model(), Some("claude-haiku-4-5-20251001"));
        check(progress.reported(), expected);
    }
}

#[test]
fn a_recorded_anthropic_stream_that_broke_has_the_usage_told_so_far_and_is_not_final() {
    let progress = anthropic_stream(include_str!("fixtures/wire/anthropic_stream_error.sse"));
    assert!(!progress.is_final());
    check(progress.reported(), TokenUsage { uncached_input: 25, cache_read: 2048, output: 1, ..NOTHING });
}

#[test]
fn recorded_errors_have_no_usage() {
    for json in [
        include_str!("fixtures/wire/openai_400.json"),
        include_str!("fixtures/wire/openai_429_quota.json"),
        include_str!("fixtures/wire/openai_500.json"),
    ] {
        assert!(openai::decode_usage(json.as_bytes()).unwrap().is_none());
    }
    for json in [
        include_str!("fixtures/wire/anthropic_400.json"),
        include_str!("fixtures/wire/anthropic_429.json"),
        include_str!("fixtures/wire/anthropic_529.json"),
    ] {
        assert!(anthropic::decode_usage(json.as_bytes()).unwrap().is_none());
    }
}
