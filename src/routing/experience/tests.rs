use super::*;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::domain::Endpoint;
use crate::provider::Upstream;

fn candidate(kind: &str, model: &str) -> Candidate {
    let config = Config::from_toml(&format!(
        "[[providers]]\nname = \"{kind}\"\nkind = \"{kind}\"\napi_key = \"sk-test-not-a-real-key\"\n"
    ))
    .unwrap();
    let upstream = Arc::new(Upstream::new(&config.providers[0], None));
    let facts = Catalog::builtin().find(upstream.name(), upstream.catalog(), model);
    Candidate { deployment: format!("{kind}/{model}").parse().unwrap(), upstream, facts, is_listed: true }
}

struct Conversation {
    experience: Experience,
    candidate: Candidate,
    now: Instant,
}

impl Conversation {
    fn new() -> Self {
        let candidate = candidate("openai", "gpt-5");
        Self { experience: Experience::default(), candidate, now: Instant::now() }
    }

    fn turn(&mut self, body: &str, input: u64, cache_read: u64) {
        self.turn_of(body, TokenUsage { uncached_input: input - cache_read, cache_read, ..TokenUsage::default() });
    }

    fn turn_of(&mut self, body: &str, usage: TokenUsage) {
        let prefix = Prefix::of(Endpoint::ChatCompletions, body.as_bytes(), "key_1", None).unwrap();
        let turn = Turn {
            prefix: &prefix,
            request: RequestId::first_of(1),
            key: &KeyId::new("key_1").unwrap(),
            route: &"smart".into(),
            candidate: &self.candidate,
            is_strayed: false,
            usage: &TokenUsage { output: 50, ..usage },
            at: "2026-11-22T12:00:00Z".parse().unwrap(),
            may_quote: true,
        };
        self.experience.learn(&turn, self.now);
    }

    fn causes(&self) -> Vec<Cause> {
        self.experience.findings(Some("smart")).into_iter().map(|finding| finding.cause).collect()
    }
}

fn body(system: &str, turns: usize) -> String {
    let filler = "some words to read ".repeat(400);
    let turns: Vec<String> =
        (0..turns).map(|turn| format!(r#"{{"role":"user","content":"{turn} {filler}"}}"#)).collect();
    format!(r#"{{"messages":[{{"role":"system","content":"{system}"}},{}]}}"#, turns.join(","))
}

#[test]
fn a_conversation_that_only_grows_has_no_findings() {
    let mut conversation = Conversation::new();
    conversation.turn(&body("be kind", 1), 2_000, 0);
    conversation.turn(&body("be kind", 2), 4_000, 1_920);
    conversation.turn(&body("be kind", 3), 6_000, 3_968);
    assert_eq!(conversation.causes(), []);
    let reads = conversation.experience.reads(Some("smart"));
    let (_, _, sum) = &reads[0];
    assert_eq!((sum.calls, sum.input_tokens, sum.actual_tokens), (3, 12_000, 5_888));
    assert_eq!(sum.expected_tokens, sum.actual_tokens, "OpenAI counts in steps of 128");
    assert!(sum.lost.is_zero());
}

#[test]
fn what_anthropic_was_not_asked_to_keep_or_to_read_is_not_lost() {
    let marked = |turns| {
        body("be kind", turns).replacen("\"content\"", "\"cache_control\":{\"type\":\"ephemeral\"},\"content\"", 1)
    };
    let mut conversation = Conversation { candidate: candidate("anthropic", "claude-sonnet-5"), ..Conversation::new() };
    let beginning = TokenUsage { uncached_input: 500, cache_write_5m: 1_501, ..TokenUsage::default() };
    conversation.turn_of(&marked(1), beginning);
    conversation.turn(&marked(2), 4_000, 1_501);
    conversation.turn(&body("be kind", 3), 6_000, 0);
    assert_eq!(conversation.causes(), [], "what lies behind the mark, and a turn without one");
    let (_, _, sum) = &conversation.experience.reads(None)[0];
    assert_eq!((sum.expected_tokens, sum.actual_tokens), (1_501, 1_501));
    conversation.turn_of(&marked(4), beginning);
    conversation.turn(&marked(5), 9_000, 0);
    assert_eq!(conversation.causes(), [Cause::Provider]);
    assert_eq!(conversation.experience.findings(None)[0].lost_tokens, 1_501);
}

#[test]
fn a_time_in_the_system_prompt_is_found_to_the_byte_and_priced() {
    let mut conversation = Conversation::new();
    conversation.turn(&body("it is 10:00", 1), 2_000, 0);
    let second = body("it is 10:01", 2);
    conversation.turn(&second, 4_000, 0);
    let findings = conversation.experience.findings(None);
    let finding = &findings[0];
    let Cause::Changed(change) = &finding.cause else { panic!("{finding:?}") };
    assert_eq!(change.place, Place::Message("messages", 0));
    assert_eq!(change.body_offset, second.find("10:01").unwrap() as u64 + 4);
    let (before, after) = change.excerpts.as_ref().unwrap();
    assert!(before.contains("it is 10:00") && after.contains("it is 10:01"));
    // 15 steps of 128 tokens at $1.25 a million instead of $0.125.
    assert_eq!((finding.lost_tokens, finding.lost.unwrap().to_string()), (1_920, "0.00216".to_owned()));
    assert_eq!(conversation.experience.reads(None)[0].2.lost, finding.lost.unwrap());
}

#[test]
fn a_move_a_long_pause_and_a_forgetful_provider_are_told_apart() {
    let mut conversation = Conversation::new();
    conversation.turn(&body("be kind", 1), 2_000, 0);
    conversation.turn(&body("be kind", 2), 4_000, 0);
    conversation.now += Duration::from_mins(6);
    conversation.turn(&body("be kind", 3), 6_000, 0);
    conversation.candidate = candidate("openai", "gpt-5-mini");
    conversation.turn(&body("be kind", 4), 8_000, 0);
    let from = "openai/gpt-5".parse().unwrap();
    assert_eq!(conversation.causes(), [Cause::Moved { from }, Cause::Expired, Cause::Provider]);
    let other = Conversation::new();
    assert_eq!(other.causes(), []);
}

#[test]
fn who_keeps_nothing_loses_nothing() {
    let mut conversation = Conversation { candidate: candidate("anthropic", "claude-sonnet-5"), ..Conversation::new() };
    conversation.turn(&body("it is 10:00", 1), 2_000, 0);
    conversation.turn(&body("it is 10:01", 2), 4_000, 0);
    assert_eq!(conversation.causes(), [], "nothing is marked to be kept");
    let mut short = Conversation::new();
    short.turn(&body("it is 10:00", 1), 900, 0);
    short.turn(&body("it is 10:01", 2), 950, 0);
    assert_eq!(short.causes(), [], "shorter than any cache takes");
}

#[test]
fn expected_reads_shrink_where_they_do_not_come_true() {
    let mut conversation = Conversation::new();
    let body = body("be kind", 2);
    let expected = |conversation: &Conversation| {
        let prefix = Prefix::of(Endpoint::ChatCompletions, body.as_bytes(), "key_1", None).unwrap();
        conversation.experience.expected_reads(&prefix, &[&conversation.candidate], conversation.now)[0]
    };
    assert_eq!(expected(&conversation), 0);
    conversation.turn(&body, 4_000, 0);
    assert_eq!(expected(&conversation), 3_968);
    for _ in 0..20 {
        conversation.turn(&body, 4_000, 0);
    }
    assert!(expected(&conversation) < 1_000);
}
