//! What the strategies save against always taking the first deployment, on a seeded sample of conversations, and what
//! planning takes. No network and no waiting: providers are models of price, speed and prompt cache, and the clock is moved.
//!
//! `cargo bench --bench routing`
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints its figures and stops at the first surprise"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate::catalog::Catalog;
use tollgate::config::Config;
use tollgate::domain::{Billed, Deployment, Endpoint, KeyId, Picodollars, RequestId, Strategy, TokenUsage};
use tollgate::provider::Upstream;
use tollgate::routing::{Asking, Directory, Prefix, Router, Timing, Turn};

const SETTINGS: &str = r#"
[[providers]]
name = "openai"
kind = "openai"
api_key = "sk-bench-not-a-real-key"

[[providers]]
name = "anthropic"
kind = "anthropic"
api_key = "sk-bench-not-a-real-key"

[[routes]]
name = "smart"
deployments = ["openai/gpt-5.1", "anthropic/claude-haiku-4-5", "openai/gpt-5-mini", "openai/gpt-5.4-mini"]

[[routes]]
name = "peers"
deployments = ["openai/gpt-5.1", "openai/gpt-6-sol"]
"#;

const CONVERSATIONS: usize = 400;
const OPERATIONS: [(&str, f64); 3] = [("chat", 250.0), ("review-code", 900.0), ("explain-code", 120.0)];

/// Seconds to the first token and of each token; from the middle of the sample on, the fastest of the first half is slow.
fn speed(deployment: &Deployment, share: f64) -> (f64, f64) {
    let (first, per_token) = match deployment.model.as_str() {
        "gpt-5.1" => (0.9, 0.014),
        "claude-haiku-4-5" => (0.6, 0.008),
        "gpt-5-mini" => (0.5, 0.007),
        _ => (0.7, 0.010),
    };
    if share > 0.5 && deployment.model.as_str() == "gpt-5-mini" {
        (first * 6.0, per_token * 3.0)
    } else {
        (first, per_token)
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn spread(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.share()).ln()
    }
}

/// One turn of the sample.
struct Call {
    at: Duration,
    conversation: usize,
    body: String,
    operation: &'static str,
    output: u64,
}

/// Conversations of one to ten turns, with a system prompt of a few thousand tokens that a dozen of them share.
fn sample() -> Vec<Call> {
    let mut random = Random(20_261_122);
    let mut calls = Vec::new();
    for conversation in 0..CONVERSATIONS {
        let (operation, output) = OPERATIONS[conversation % OPERATIONS.len()];
        let system = format!("Program {}: {}", conversation % 12, "be exact and say what you did. ".repeat(300));
        let mut messages = vec![format!(r#"{{"role":"system","content":"{system}"}}"#)];
        let mut at = random.share() * 7_200.0;
        for turn in 0..=random.next() % 10 {
            let words = "why does this test fail on the second run ".repeat(1 + (random.next() % 30) as usize);
            messages.push(format!(r#"{{"role":"user","content":"{conversation} {turn} {words}"}}"#));
            let body = format!(r#"{{"messages":[{}]}}"#, messages.join(","));
            let output = random.spread(output) as u64 + 1;
            calls.push(Call { at: Duration::from_secs_f64(at), conversation, body, operation, output });
            messages.push(format!(r#"{{"role":"assistant","content":"{}"}}"#, "because ".repeat(output as usize / 2)));
            at += 15.0 + random.spread(90.0);
        }
    }
    calls.sort_by_key(|call| call.at);
    calls
}

/// What a provider has in its prompt cache: of each conversation, how many bytes, until when.
#[derive(Default)]
struct PromptCaches(HashMap<(Deployment, usize), (usize, Duration)>);

impl PromptCaches {
    fn read(&mut self, deployment: &Deployment, call: &Call) -> f64 {
        // Anthropic keeps what is marked; nothing is here.
        if deployment.provider.as_str() == "anthropic" {
            return 0.0;
        }
        let mut held = 0;
        for place in [call.conversation, usize::MAX - call.conversation % 12] {
            if let Some((bytes, _)) = self.0.get(&(deployment.clone(), place)).filter(|(_, until)| *until > call.at) {
                held = held.max(*bytes.min(&call.body.len()));
            }
        }
        let until = call.at + Duration::from_mins(6);
        self.0.insert((deployment.clone(), call.conversation), (call.body.len(), until));
        self.0.insert((deployment.clone(), usize::MAX - call.conversation % 12), (9_000, until));
        held as f64 / call.body.len() as f64
    }
}

#[derive(Default)]
struct Sum {
    cost: Picodollars,
    seconds: Vec<f64>,
    cached: u64,
    input: u64,
    shares: HashMap<String, u32>,
    moves: u32,
}

fn replay(name: &str, strategy: Strategy, calls: &[Call]) -> Sum {
    let config = Config::from_toml(SETTINGS).unwrap();
    let upstreams = config.providers.iter().map(|provider| Arc::new(Upstream::new(provider, None))).collect();
    let router = Router::new(upstreams, Directory::of(&config), Arc::new(Catalog::builtin()), Arc::default());
    let (start, time) = (Instant::now(), "2026-11-22T12:00:00Z".parse().unwrap());
    let (mut caches, mut sum, mut random) = (PromptCaches::default(), Sum::default(), Random(7));
    let mut places: HashMap<usize, Deployment> = HashMap::new();
    let end = calls.last().unwrap().at.as_secs_f64();
    for call in calls {
        let now = start + call.at;
        let mut asking = Asking::plain(Endpoint::ChatCompletions, time);
        asking.operation = call.operation;
        asking.strategy = Some(strategy);
        asking.body = call.body.as_bytes();
        asking.key = "key_1";
        asking.dice = random.next();
        let plan = router.plan(name, &asking, now).unwrap();
        let candidate = &plan.candidates[0];
        let deployment = &candidate.deployment;
        let input = call.body.len() as u64 / 4;
        let held = caches.read(deployment, call);
        let cache_read = if input >= 1_024 { (input as f64 * held) as u64 / 128 * 128 } else { 0 };
        let usage =
            TokenUsage { uncached_input: input - cache_read, cache_read, output: call.output, ..TokenUsage::default() };
        sum.cost += candidate.facts.as_ref().unwrap().prices.cost(&usage, &Billed::plainly(time)).cost;
        let (first, per_token) = speed(deployment, call.at.as_secs_f64() / end);
        let noise = 0.7 + 0.6 * random.share();
        let first = Duration::from_secs_f64(first * noise * if cache_read > 0 { 0.7 } else { 1.0 });
        let whole = first + Duration::from_secs_f64(per_token * noise * call.output as f64);
        sum.seconds.push(whole.as_secs_f64());
        sum.cached += cache_read;
        sum.input += input;
        *sum.shares.entry(deployment.to_string()).or_default() += 1;
        sum.moves +=
            u32::from(places.insert(call.conversation, deployment.clone()).is_some_and(|before| before != *deployment));
        let experience = router.experience();
        experience.note_timing(deployment, Timing { first: Some(first), whole, tokens: call.output }, now);
        experience.note_length(&name.into(), &call.operation.into(), call.output, now);
        let prefix = Prefix::of(Endpoint::ChatCompletions, call.body.as_bytes(), "key_1", None).unwrap();
        let turn = Turn {
            prefix: &prefix,
            request: RequestId::first_of(1),
            key: &KeyId::new("key_1").unwrap(),
            route: &name.into(),
            candidate,
            is_strayed: false,
            usage: &usage,
            at: time,
            may_quote: false,
        };
        experience.learn(&turn, now);
    }
    sum
}

fn planning(name: &str, strategy: Strategy, body: &[u8], rounds: u32) -> f64 {
    let config = Config::from_toml(SETTINGS).unwrap();
    let upstreams = config.providers.iter().map(|provider| Arc::new(Upstream::new(provider, None))).collect();
    let router = Router::new(upstreams, Directory::of(&config), Arc::new(Catalog::builtin()), Arc::default());
    let (time, began) = ("2026-11-22T12:00:00Z".parse().unwrap(), Instant::now());
    for dice in 0..rounds {
        let mut asking = Asking::plain(Endpoint::ChatCompletions, time);
        asking.strategy = Some(strategy);
        asking.body = body;
        asking.dice = u64::from(dice);
        std::hint::black_box(router.plan(name, &asking, began).unwrap());
    }
    began.elapsed().as_nanos() as f64 / f64::from(rounds)
}

fn main() {
    let calls = sample();
    println!("{} calls of {CONVERSATIONS} conversations\n", calls.len());
    for name in ["smart", "peers"] {
        println!(
            "| {name} | cost, USD | ÷ primary | mean s | p50 s | p95 s | input from prompt caches | moves | shares |"
        );
        println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
        let mut primary = 0.0;
        for strategy in [Strategy::Primary, Strategy::CostOptimized, Strategy::Performance, Strategy::Weighted] {
            let mut sum = replay(name, strategy, &calls);
            let cost = sum.cost.to_dollars_f64();
            if strategy == Strategy::Primary {
                primary = cost;
            }
            sum.seconds.sort_by(f64::total_cmp);
            let at = |share: f64| sum.seconds[((sum.seconds.len() - 1) as f64 * share) as usize];
            let mean = sum.seconds.iter().sum::<f64>() / sum.seconds.len() as f64;
            let mut shares: Vec<(String, u32)> = sum.shares.into_iter().collect();
            shares.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            let shares: Vec<String> = shares
                .iter()
                .map(|(name, count)| format!("{name} {:.0} %", 100.0 * f64::from(*count) / calls.len() as f64))
                .collect();
            println!(
                "| {strategy} | {cost:.2} | {:.2} | {mean:.2} | {:.2} | {:.2} | {:.0} % | {} | {} |",
                cost / primary,
                at(0.5),
                at(0.95),
                100.0 * sum.cached as f64 / sum.input as f64,
                sum.moves,
                shares.join(", ")
            );
        }
        println!();
    }
    let short = br#"{"model":"smart","messages":[{"role":"user","content":"hi"}]}"#;
    let long = calls.iter().max_by_key(|call| call.body.len()).unwrap().body.as_bytes();
    println!("| planning, 4 deployments | {} B, µs | {} B, µs |\n| --- | ---: | ---: |", short.len(), long.len());
    for strategy in
        [Strategy::Primary, Strategy::Fallback, Strategy::Weighted, Strategy::Performance, Strategy::CostOptimized]
    {
        let (small, large) = (planning("smart", strategy, short, 100_000), planning("smart", strategy, long, 2_000));
        println!("| {strategy} | {:.2} | {:.2} |", small / 1_000.0, large / 1_000.0);
    }
}
