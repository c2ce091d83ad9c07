//! What is played, scene by scene: who calls, what they ask for, and what has to come of it.

use serde_json::{Value, json};

/// A virtual key of the demonstration.
pub(super) struct DemoKey {
    pub(super) name: &'static str,
    pub(super) team: &'static str,
    /// What it may spend in a day.
    pub(super) daily_usd: Option<&'static str>,
}

/// Index of the key of an ordinary program.
const APP: usize = 0;
/// Index of the key whose budget runs out.
const INTERN: usize = 1;

/// The keys that callers show.
pub(super) const KEYS: [DemoKey; 2] = [
    DemoKey { name: "app", team: "product", daily_usd: None },
    DemoKey { name: "intern", team: "research", daily_usd: Some("0.02") },
];

/// One scene.
pub(super) struct Scene {
    pub(super) title: &'static str,
    /// Which of [`KEYS`] is shown.
    pub(super) key: usize,
    pub(super) path: &'static str,
    pub(super) body: Value,
    /// What the sandbox shall do for this call.
    pub(super) sandbox: Option<&'static str>,
    pub(super) expected: Expected,
}

/// What has to come of a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// An answer with text.
    Text,
    /// A stream of text that ends as its dialect ends.
    Stream,
    /// A call of this tool.
    Tool(&'static str),
    /// The answer of an earlier scene, from the response cache.
    CacheHit,
    /// An answer by the second deployment, after the first has failed.
    Fallback,
    /// An error with this status, in the shape of the dialect, that costs nothing.
    Error(u16),
    /// Answers until the budget is used up, then a refusal that says so.
    BudgetRunsOut,
}

fn chat(title: &'static str, model: &str, question: &str, expected: Expected) -> Scene {
    let messages = json!([{ "role": "user", "content": question }]);
    let body = json!({ "model": model, "messages": messages, "max_tokens": 200 });
    Scene { title, key: APP, path: "/v1/chat/completions", body, sandbox: None, expected }
}

fn messages(title: &'static str, model: &str, question: &str, expected: Expected) -> Scene {
    Scene { path: "/v1/messages", ..chat(title, model, question, expected) }
}

impl Scene {
    fn streamed(mut self) -> Self {
        self.body["stream"] = true.into();
        self
    }

    fn with_tools(mut self, tools: Value) -> Self {
        self.body["tools"] = tools;
        self
    }

    fn with_key(self, key: usize) -> Self {
        Self { key, ..self }
    }

    fn on_sandbox(self, wish: &'static str) -> Self {
        Self { sandbox: Some(wish), ..self }
    }
}

/// All scenes, in the order in which they are played.
pub(super) fn all() -> Vec<Scene> {
    let parameters = json!({
        "type": "object",
        "properties": { "city": { "type": "string" } },
        "required": ["city"],
    });
    let openai_tool = json!([{ "type": "function", "function": { "name": "get_weather", "parameters": parameters } }]);
    let anthropic_tool = json!([{ "name": "get_weather", "input_schema": parameters }]);
    vec![
        chat("chat", "sandbox-small", "What is a tollgate?", Expected::Text),
        chat("the same question again", "sandbox-small", "What is a tollgate?", Expected::CacheHit),
        chat("chat at a well-known model's price", "sandbox/gpt-4o-mini", "Name three bridges.", Expected::Text),
        chat("chat, streamed", "sandbox-large", "Tell me about toll roads.", Expected::Stream).streamed(),
        chat("chat with a tool", "sandbox-small", "Call get_weather for Seoul.", Expected::Tool("get_weather"))
            .with_tools(openai_tool),
        messages("messages", "sandbox/claude-haiku-4-5", "What is a turnpike?", Expected::Text),
        messages("messages, streamed", "sandbox-small", "Tell me about ferries.", Expected::Stream).streamed(),
        messages("messages with a tool", "sandbox-small", "Call get_weather for Oslo.", Expected::Tool("get_weather"))
            .with_tools(anthropic_tool),
        chat("first provider down: fallback", "smart", "Are you still there?", Expected::Fallback),
        chat("a request the provider refuses", "sandbox-small", "Refuse this.", Expected::Error(400))
            .on_sandbox("error=400"),
        chat("a daily budget runs out", "sandbox-large", "Write on and on.", Expected::BudgetRunsOut)
            .with_key(INTERN)
            .on_sandbox("tokens=150"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scene_has_a_key_and_a_title_of_its_own() {
        let scenes = all();
        for scene in &scenes {
            assert!(scene.key < KEYS.len(), "{}", scene.title);
            assert_eq!(scenes.iter().filter(|other| other.title == scene.title).count(), 1, "{}", scene.title);
        }
    }

    #[test]
    fn the_budget_that_runs_out_is_one_that_blocks() {
        let runs_out: Vec<Scene> =
            all().into_iter().filter(|scene| scene.expected == Expected::BudgetRunsOut).collect();
        assert!(!runs_out.is_empty() && runs_out.iter().all(|scene| KEYS[scene.key].daily_usd.is_some()));
    }
}
