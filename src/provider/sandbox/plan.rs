//! Decides what one answer says: thought, text or tool calls, how it ends, and what it counts as.
//!
//! The order: a script line that fits the last user message is the text, whatever else is asked. Else tools are called
//! by the rule in [`super::tools`]. Else the text has the asked form. Then stop sequences end the text, and last the limit of
//! output tokens cuts: thought first, then text, then calls, all counted as [`super::tokens`] says.

use serde_json::Value;

use super::conversation::Conversation;
use super::schema;
use super::script::{ScriptLine, scripted};
use super::seed::Seed;
use super::text;
use super::tokens::{self, MESSAGE_TOKENS};
use super::tools::{Tool, Tools};

/// The form that the text has to have.
#[derive(Clone, Debug, Default)]
pub(super) enum Format {
    #[default]
    Text,
    JsonObject,
    Schema(Value),
}

/// A request with its dialect taken off.
pub(super) struct Ask<'a> {
    pub(super) seed: Seed,
    pub(super) script: &'a [ScriptLine],
    pub(super) conversation: Conversation,
    pub(super) tools: Tools,
    pub(super) format: Format,
    /// The most tokens that the answer may have, thought included.
    pub(super) output_max: Option<u64>,
    pub(super) stops: Vec<String>,
    /// How many tokens of thought come first.
    pub(super) thought_tokens: u64,
    /// How long the text is to be, where the client told.
    pub(super) text_tokens: Option<u64>,
    /// Says a sentence before it calls a tool of its own accord, as Claude does.
    pub(super) talks_before_calls: bool,
}

/// How an answer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Stop,
    Sequence(String),
    Length,
    Calls,
}

/// One tool call.
#[derive(Clone, Debug)]
pub(super) struct CallSaid {
    pub(super) seed: Seed,
    pub(super) name: String,
    /// JSON, or plain text for a tool that takes that.
    pub(super) arguments: String,
    pub(super) is_free_text: bool,
    /// False where the limit cut its arguments.
    pub(super) is_whole: bool,
}

/// One answer.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) thought: String,
    pub(super) text: String,
    pub(super) calls: Vec<CallSaid>,
    pub(super) end: End,
    /// All of it, thought included.
    pub(super) output_tokens: u64,
    pub(super) thought_tokens: u64,
}

impl Ask<'_> {
    /// What the request counts as: conversation, tools and schema. Tools' own words are counted by the reader.
    pub(super) fn input_tokens(&self) -> u64 {
        let schema = match &self.format {
            Format::Schema(schema) => tokens::count_json(schema),
            Format::Text | Format::JsonObject => 0,
        };
        let tools = self.tools.list.iter().map(|tool| tokens::count(&tool.name) + tokens::count_json(&tool.schema));
        self.conversation.tokens + tools.sum::<u64>() + schema + MESSAGE_TOKENS
    }

    /// The answer, or one of several.
    pub(super) fn say(&self, index: usize) -> Said {
        let seed = self.seed.part("choice", index);
        let thought = text::thought(&self.conversation, seed, self.thought_tokens);
        let (text, calls) = self.text_and_calls(seed);
        self.limit(thought, text, calls)
    }

    fn text_and_calls(&self, seed: Seed) -> (String, Vec<CallSaid>) {
        if let Some(answer) = scripted(self.script, self.conversation.last_user()) {
            return (answer.to_owned(), Vec::new());
        }
        let tools = self.tools.called(&self.conversation);
        if tools.is_empty() {
            return (self.text(seed), Vec::new());
        }
        let opening = if self.talks_before_calls && !self.tools.is_forced() {
            text::before_calls(&tools, seed)
        } else {
            String::new()
        };
        let calls = tools.iter().enumerate().map(|(index, tool)| self.call(tool, seed.part("call", index)));
        (opening, calls.collect())
    }

    fn text(&self, seed: Seed) -> String {
        let subject = self.conversation.last_user();
        match &self.format {
            Format::Text => match self.text_tokens {
                Some(tokens) => text::of_length(&self.conversation, seed, tokens),
                None => text::reply(&self.conversation, seed),
            },
            Format::JsonObject => text::json_object(&self.conversation, seed),
            Format::Schema(schema) => schema::generate(schema, subject, seed),
        }
    }

    fn call(&self, tool: &Tool, seed: Seed) -> CallSaid {
        let arguments = if tool.is_free_text {
            text::excerpt(self.conversation.last_user())
        } else {
            schema::generate(&tool.schema, self.conversation.last_user(), seed)
        };
        CallSaid { seed, name: tool.name.clone(), arguments, is_free_text: tool.is_free_text, is_whole: true }
    }

    fn limit(&self, thought: String, mut text: String, mut calls: Vec<CallSaid>) -> Said {
        let mut end = if calls.is_empty() { End::Stop } else { End::Calls };
        if let Some((position, sequence)) = first_stop(&text, &self.stops) {
            text.truncate(position);
            calls.clear();
            end = End::Sequence(sequence.to_owned());
        }
        let mut left = Allowance { left: self.output_max.unwrap_or(u64::MAX), used: 0, is_cut: false };
        let thought = left.take(thought);
        let thought_tokens = left.used;
        let text = left.take(text);
        let mut calls_said = Vec::new();
        for mut call in calls {
            if left.is_cut || left.take(call.name.clone()) != call.name {
                break;
            }
            call.arguments = left.take(call.arguments);
            call.is_whole = !left.is_cut;
            calls_said.push(call);
        }
        if left.is_cut {
            end = End::Length;
        }
        // Even an empty answer has a token that ends it, unless none was allowed.
        let output_tokens = left.used.max(1).min(self.output_max.unwrap_or(u64::MAX));
        Said { thought, text, calls: calls_said, end, output_tokens, thought_tokens }
    }
}

/// What is left of the output limit.
struct Allowance {
    left: u64,
    used: u64,
    is_cut: bool,
}

impl Allowance {
    fn take(&mut self, mut text: String) -> String {
        let (kept, is_cut) = tokens::cut(&text, self.left);
        let count = tokens::count(kept);
        text.truncate(kept.len());
        self.left -= count;
        self.used += count;
        self.is_cut |= is_cut;
        text
    }
}

fn first_stop<'a>(text: &str, stops: &'a [String]) -> Option<(usize, &'a str)> {
    let found = stops.iter().filter(|stop| !stop.is_empty());
    found.filter_map(|stop| text.find(stop.as_str()).map(|position| (position, stop.as_str()))).min()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::conversation::Role;
    use super::super::tools::Choice;
    use super::*;

    fn ask(message: &str) -> Ask<'static> {
        let mut conversation = Conversation::default();
        conversation.push(Role::User, message.to_owned());
        Ask {
            seed: Seed::of_bytes("/", message.as_bytes()),
            script: &[],
            conversation,
            tools: Tools { list: Vec::new(), choice: Choice::Auto, is_parallel: true },
            format: Format::Text,
            output_max: None,
            stops: Vec::new(),
            thought_tokens: 0,
            text_tokens: None,
            talks_before_calls: false,
        }
    }

    fn with_tool() -> Ask<'static> {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
        let mut ask = ask("How is it in Paris?");
        ask.tools.list.push(Tool { name: "get_weather".to_owned(), schema, is_free_text: false });
        ask
    }

    #[test]
    fn the_limit_is_never_passed_and_said_to_be_the_end() {
        for limit in 1..12 {
            let said = Ask { output_max: Some(limit), ..ask("Tell me of the sea.") }.say(0);
            assert_eq!((said.end, said.output_tokens), (End::Length, limit));
            assert_eq!(tokens::count(&said.text), limit);
        }
    }

    #[test]
    fn thought_counts_against_the_limit_first() {
        let said = Ask { output_max: Some(16), thought_tokens: 64, ..ask("x") }.say(0);
        assert_eq!((said.thought_tokens, said.output_tokens, said.text.as_str()), (16, 16, ""));
        assert_eq!(said.end, End::Length);
        let said = Ask { thought_tokens: 64, ..ask("x") }.say(0);
        assert_eq!((said.thought_tokens, said.end), (64, End::Stop));
        assert_eq!(said.output_tokens, 64 + tokens::count(&said.text));
    }

    #[test]
    fn the_earliest_stop_sequence_ends_the_text_before_itself() {
        let whole = ask("Tell me of the sea.").say(0).text;
        let words: Vec<_> = whole.split(' ').collect();
        let stops = vec![words[4].to_owned(), words[2].to_owned(), String::new()];
        let said = Ask { stops, ..ask("Tell me of the sea.") }.say(0);
        assert!(whole.starts_with(&said.text) && said.text.len() < whole.len());
        assert!(!said.text.contains(words[2]));
        assert_eq!(said.end, End::Sequence(words[2].to_owned()));
    }

    #[test]
    fn a_script_wins_over_tools_and_schemas() {
        let script = [ScriptLine { needle: "Paris".to_owned(), answer: "Lovely.".to_owned() }];
        let said = Ask { script: &script, format: Format::Schema(json!({"type": "object"})), ..with_tool() }.say(0);
        assert_eq!((said.text.as_str(), said.calls.len()), ("Lovely.", 0));
    }

    #[test]
    fn a_call_that_the_limit_cuts_is_marked() {
        let whole = with_tool().say(0);
        assert_eq!(whole.end, End::Calls);
        assert!(whole.calls[0].is_whole);
        let cut = Ask { output_max: Some(whole.output_tokens - 1), ..with_tool() }.say(0);
        assert_eq!(cut.end, End::Length);
        assert!(!cut.calls[0].is_whole);
        let gone = Ask { output_max: Some(1), ..with_tool() }.say(0);
        assert!(gone.calls.is_empty());
    }

    #[test]
    fn a_text_of_asked_length_has_that_length() {
        for length in [1, 50, 5_000] {
            let said = Ask { text_tokens: Some(length), ..ask("x") }.say(0);
            assert_eq!((said.output_tokens, said.end), (length, End::Stop));
        }
    }

    #[test]
    fn choices_of_one_request_differ_and_stay_the_same() {
        let ask = ask("Tell me of the sea.");
        let texts: Vec<_> = (0..4).map(|index| ask.say(index).text).collect();
        assert!(texts[1..].iter().any(|text| *text != texts[0]));
        assert_eq!(texts[3], ask.say(3).text);
    }
}
