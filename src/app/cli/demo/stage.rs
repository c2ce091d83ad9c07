//! Plays a scene over HTTP, as any program would, and judges what came back.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::super::client::Client;
use super::scenes::{DemoKey, Expected, Scene};

/// Calls after which a budget of two cents must have run out.
const CALLS_MAX: usize = 40;
/// The longest that a call of the demonstration takes.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);

/// A server to call, and the keys to call it with.
pub(super) struct Stage {
    http: reqwest::Client,
    address: String,
    admin: Client,
    keys: Vec<String>,
}

/// One call and its answer.
pub(super) struct Called {
    /// `x-tollgate-request-id`.
    pub(super) id: String,
    pub(super) status: u16,
    provider: String,
    model: String,
    attempts: String,
    /// `x-tollgate-cache`.
    pub(super) cache: String,
    body: String,
}

/// What came of a scene.
pub(super) struct Played {
    pub(super) title: &'static str,
    pub(super) calls: Vec<Called>,
    /// Who answered, as `provider/model`.
    pub(super) deployment: String,
    /// From the first call to the last answer.
    pub(super) time: Duration,
    /// What happened, in a few words.
    pub(super) note: String,
    /// What is not as it should be.
    pub(super) complaint: Option<String>,
}

impl Played {
    /// The statuses of all calls, equal ones counted.
    pub(super) fn statuses(&self) -> String {
        let mut counted: Vec<(u16, usize)> = Vec::new();
        for call in &self.calls {
            match counted.last_mut() {
                Some((status, count)) if *status == call.status => *count += 1,
                _ => counted.push((call.status, 1)),
            }
        }
        let word = |&(status, count): &(u16, usize)| {
            if count == 1 { status.to_string() } else { format!("{count}x {status}") }
        };
        counted.iter().map(word).collect::<Vec<_>>().join(", ")
    }
}

impl Stage {
    /// Makes the keys over the management API.
    pub(super) async fn set(address: &str, admin: Client, wanted: &[DemoKey]) -> anyhow::Result<Self> {
        let mut keys = Vec::new();
        for key in wanted {
            let budgets: Vec<Value> = key
                .daily_usd
                .iter()
                .map(|limit| json!({ "window": "day", "limitUsd": limit, "action": "block" }))
                .collect();
            let body = json!({ "name": key.name, "team": key.team, "budgets": budgets });
            let made = admin.post("/api/keys", &body).await.with_context(|| format!("making the key {}", key.name))?;
            keys.push(made["key"].as_str().context("the answer to POST /api/keys has no key")?.to_owned());
        }
        let http = reqwest::Client::builder().timeout(CALL_TIME_MAX).no_proxy().build()?;
        Ok(Self { http, address: address.to_owned(), admin, keys })
    }

    /// The management API of the server.
    pub(super) fn admin(&self) -> &Client {
        &self.admin
    }

    /// Plays a scene.
    pub(super) async fn play(&mut self, scene: &Scene) -> anyhow::Result<Played> {
        let started = Instant::now();
        let mut calls = vec![self.call(scene, 0).await?];
        if scene.expected == Expected::BudgetRunsOut {
            while calls.len() < CALLS_MAX && calls.last().is_some_and(|call| call.status == 200) {
                calls.push(self.call(scene, calls.len()).await?);
            }
        }
        let time = started.elapsed();
        let (note, complaint) = match judged(scene, &calls) {
            Ok(note) => (note, None),
            Err(complaint) => (String::new(), Some(complaint)),
        };
        let answered = calls.iter().find(|call| !call.provider.is_empty());
        let deployment = answered.map_or_else(String::new, |call| format!("{}/{}", call.provider, call.model));
        Ok(Played { title: scene.title, calls, deployment, time, note, complaint })
    }

    async fn call(&self, scene: &Scene, turn: usize) -> anyhow::Result<Called> {
        let mut request = self
            .http
            .post(format!("{}{}", self.address, scene.path))
            .bearer_auth(&self.keys[scene.key])
            // A different id each time, so that turns are told apart in the dashboard.
            .header(
                "x-request-id",
                format!("demo-{}-{turn}", scene.title.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")),
            )
            .json(&scene.body);
        if scene.path == "/v1/messages" {
            request = request.header("anthropic-version", "2023-06-01");
        }
        if let Some(wish) = scene.sandbox {
            request = request.header("x-tollgate-sandbox", wish);
        }
        // The same question again and again would cost nothing.
        if scene.expected == Expected::BudgetRunsOut {
            request = request.header("x-tollgate-cache", "bypass");
        }
        let what = || format!("the call of the scene {:?}", scene.title);
        let response = request.send().await.with_context(what)?;
        let header = |name: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (id, provider) = (header("x-tollgate-request-id"), header("x-tollgate-provider"));
        let (model, attempts) = (header("x-tollgate-model"), header("x-tollgate-attempts"));
        let cache = header("x-tollgate-cache");
        let status = response.status().as_u16();
        let body = response.text().await.with_context(what)?;
        Ok(Called { id, status, provider, model, attempts, cache, body })
    }
}

/// What happened in a few words, or what is wrong with it.
fn judged(scene: &Scene, calls: &[Called]) -> Result<String, String> {
    let last = calls.last().expect("every scene has a call");
    let status_is = |wanted: u16| {
        let start: String = last.body.chars().take(200).collect();
        if last.status == wanted { Ok(()) } else { Err(format!("status {} instead of {wanted}: {start}", last.status)) }
    };
    let is_anthropic = scene.path == "/v1/messages";
    let body = || serde_json::from_str::<Value>(&last.body).map_err(|_| "the answer is no JSON".to_owned());
    if last.id.is_empty() {
        return Err("the answer has no x-tollgate-request-id".to_owned());
    }
    match scene.expected {
        Expected::Text | Expected::Fallback => {
            status_is(200)?;
            let body = body()?;
            let text =
                if is_anthropic { &body["content"][0]["text"] } else { &body["choices"][0]["message"]["content"] };
            let text = text.as_str().filter(|text| !text.is_empty()).ok_or("the answer has no text")?;
            if scene.expected == Expected::Fallback && last.attempts != "2" {
                return Err(format!("{} attempts instead of 2", last.attempts));
            }
            let excerpt: String = text.chars().take(40).collect();
            Ok(match scene.expected {
                Expected::Fallback => "the first provider failed, the second answered".to_owned(),
                _ => format!("“{excerpt}…”"),
            })
        }
        Expected::Stream => {
            status_is(200)?;
            let end = if is_anthropic { "event: message_stop" } else { "data: [DONE]" };
            let content = if is_anthropic { "content_block_delta" } else { "\"delta\"" };
            let pieces = last.body.matches(content).count();
            if !last.body.contains(end) || pieces < 2 {
                return Err(format!("the stream has {pieces} pieces of text and doesn't end with {end}"));
            }
            Ok(format!("{} events", last.body.matches("data: ").count()))
        }
        Expected::Tool(name) => {
            status_is(200)?;
            let call = tool_call(&body()?);
            if call.starts_with(&format!("{name}(")) { Ok(call) } else { Err(format!("{name} was not called")) }
        }
        Expected::Error(status) => {
            status_is(status)?;
            let body = body()?;
            let message = body["error"]["message"].as_str().ok_or("the error has no message")?;
            Ok(message.chars().take(60).collect())
        }
        Expected::CacheHit => {
            status_is(200)?;
            match last.cache.as_str() {
                "hit" => Ok("answered from the response cache, at no cost".to_owned()),
                cache => Err(format!("x-tollgate-cache says {cache:?} instead of \"hit\"")),
            }
        }
        Expected::BudgetRunsOut => {
            status_is(429)?;
            let body = body()?;
            let code = text(&body["error"]["code"]);
            if code != "budget_exceeded" {
                return Err(format!("the refusal has the code {code:?} instead of \"budget_exceeded\""));
            }
            match calls.len() - 1 {
                0 => Err("no call went through before the refusal".to_owned()),
                answered => Ok(format!("{answered} calls answered, then refused: {code}")),
            }
        }
    }
}

/// The first tool call of an answer, as `name(arguments)`.
fn tool_call(body: &Value) -> String {
    let blocks = body["content"].as_array();
    if let Some(block) = blocks.and_then(|blocks| blocks.iter().find(|block| block["type"] == "tool_use")) {
        return format!("{}({})", text(&block["name"]), block["input"]);
    }
    let function = &body["choices"][0]["message"]["tool_calls"][0]["function"];
    format!("{}({})", text(&function["name"]), text(&function["arguments"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::scenes;
    use super::*;

    fn called(status: u16, attempts: &str, body: &str) -> Called {
        Called {
            id: "req_1".to_owned(),
            status,
            provider: "sandbox".to_owned(),
            model: "m".to_owned(),
            attempts: attempts.to_owned(),
            cache: "miss".to_owned(),
            body: body.to_owned(),
        }
    }

    fn judge(expected: Expected, calls: &[Called]) -> Result<String, String> {
        let scene = scenes::all().into_iter().find(|scene| scene.expected == expected).unwrap();
        judged(&scene, calls)
    }

    const TEXT: &str = r#"{"choices":[{"message":{"content":"hello"}}]}"#;
    const REFUSAL: &str = r#"{"error":{"message":"m","code":"budget_exceeded"}}"#;

    #[test]
    fn what_came_as_it_should_is_told_in_a_few_words() {
        assert_eq!(judge(Expected::Text, &[called(200, "1", TEXT)]), Ok("“hello…”".to_owned()));
        assert!(judge(Expected::Fallback, &[called(200, "2", TEXT)]).is_ok());
        assert!(judge(Expected::Error(400), &[called(400, "1", REFUSAL)]).is_ok());
        let calls = [called(200, "1", TEXT), called(429, "0", REFUSAL)];
        assert_eq!(
            judge(Expected::BudgetRunsOut, &calls),
            Ok("1 calls answered, then refused: budget_exceeded".to_owned())
        );
    }

    #[test]
    fn what_did_not_come_as_it_should_is_a_complaint() {
        for (expected, call) in [
            (Expected::Text, called(500, "1", TEXT)),
            (Expected::Text, called(200, "1", "{}")),
            (Expected::Text, called(200, "1", "<html>")),
            (Expected::Fallback, called(200, "1", TEXT)),
            (Expected::CacheHit, called(200, "1", TEXT)),
            (Expected::Stream, called(200, "1", "data: {\"delta\":1}\n\ndata: {\"delta\":1}\n\n")),
            (Expected::Tool("get_weather"), called(200, "1", TEXT)),
            (Expected::Error(400), called(200, "1", TEXT)),
            (Expected::BudgetRunsOut, called(429, "0", REFUSAL)),
            (Expected::BudgetRunsOut, called(200, "1", TEXT)),
        ] {
            assert!(judge(expected, &[call]).is_err(), "{expected:?}");
        }
        let nameless = Called { id: String::new(), ..called(200, "1", TEXT) };
        assert!(judge(Expected::Text, &[nameless]).is_err());
    }

    #[test]
    fn equal_statuses_are_counted() {
        let calls = vec![called(200, "1", ""), called(200, "1", ""), called(429, "0", "")];
        let played = Played {
            title: "x",
            calls,
            deployment: String::new(),
            time: Duration::ZERO,
            note: String::new(),
            complaint: None,
        };
        assert_eq!(played.statuses(), "2x 200, 429");
    }
}
