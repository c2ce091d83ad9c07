//! Writes a request for a provider that speaks chat completions, in the manner of its server.
//!
//! What the server or the model can't do is refused in the client's own words; what it can't use and nobody misses is left out and told.

mod ids;
mod messages;
mod schema;
mod words;

#[cfg(test)]
mod tests;

use crate::dialect::{Target, Untranslatable, Written};
use crate::domain::chat::{ChatRequest, Effort, OutputFormat, Reasoning, TierWish, Tool, ToolChoice};

use super::servers::{ReasoningField, Server, UserField};
use super::wire;

use schema::can_be_strict;
use words::{Words, words};

/// The name of a schema that has none: OpenAI requires one, and it carries no meaning.
const SCHEMA_NAME: &str = "response";

/// What every step of the writing looks at.
struct Writing<'a> {
    request: &'a ChatRequest,
    target: &'a Target<'a>,
    server: &'a Server,
    words: &'static Words,
    dropped: Vec<&'static str>,
}

/// Writes a request for a provider.
pub fn write_request(request: &ChatRequest, target: &Target<'_>, server: &Server) -> Result<Written, Untranslatable> {
    let mut writing = Writing { request, target, server, words: words(request.endpoint), dropped: Vec::new() };
    let mut body = wire::Request { model: target.model, ..wire::Request::default() };
    messages::write(&mut writing, &mut body)?;
    writing.tools(&mut body)?;
    writing.sampling(&mut body)?;
    writing.ending(&mut body)?;
    writing.format(&mut body)?;
    writing.reasoning(&mut body)?;
    writing.account(&mut body)?;
    if request.stream {
        body.stream = true;
        body.stream_options = server.stream_options.then_some(wire::StreamOptions { include_usage: true });
    }
    let Writing { dropped, .. } = writing;
    let body = serde_json::to_vec(&body).expect("maps with text as keys always serialize");
    Ok(Written { body, answer_tool: None, dropped })
}

fn refuse<T>(param: impl Into<String>, reason: impl Into<String>) -> Result<T, Untranslatable> {
    Err(Untranslatable::new(param.into(), reason))
}

impl<'a> Writing<'a> {
    fn drop(&mut self, what: &'static str) {
        if !self.dropped.contains(&what) {
            self.dropped.push(what);
        }
    }

    fn tools(&mut self, body: &mut wire::Request<'a>) -> Result<(), Untranslatable> {
        let request = self.request;
        if request.tools.is_empty() {
            // A choice among no tools says nothing, and OpenAI refuses it.
            return Ok(());
        }
        if self.target.capabilities.tools == Some(false) {
            return refuse("tools", "the model knows no tools; leave them out");
        }
        for (index, tool) in request.tools.iter().enumerate() {
            body.tools.push(self.tool(index, &tool.part)?);
        }
        body.tool_choice = request.tool_choice.as_ref().map(|choice| match choice {
            ToolChoice::None => wire::ToolChoice::Word("none"),
            ToolChoice::Auto => wire::ToolChoice::Word("auto"),
            ToolChoice::Required => wire::ToolChoice::Word(self.server.required_word),
            ToolChoice::Named(name) => {
                wire::ToolChoice::Named { kind: "function", function: wire::FunctionName { name } }
            }
        });
        // Several at once is the default; a model that never calls several doesn't know the field.
        let is_one_at_a_time = request.parallel_tool_calls == Some(false);
        if is_one_at_a_time && self.target.capabilities.parallel_tools != Some(false) {
            body.parallel_tool_calls = Some(false);
        }
        Ok(())
    }

    fn tool(&mut self, index: usize, tool: &'a Tool) -> Result<wire::Tool<'a>, Untranslatable> {
        if let Some(length_max) = self.server.tool_name_max
            && tool.name.chars().count() > length_max
        {
            let reason = format!("{} takes names of tools of up to {length_max} characters", self.server.name);
            return refuse(format!("tools[{index}].{}name", self.words.inside_tool), reason);
        }
        let parameters = tool.parameters.as_deref();
        let strict = match tool.strict {
            // Not every schema that another provider holds strictly is one that OpenAI does.
            Some(true) if !parameters.is_some_and(|schema| can_be_strict(schema.get())) => {
                self.drop("strict");
                None
            }
            strict => strict,
        };
        let function =
            wire::ToolFunction { name: &tool.name, description: tool.description.as_deref(), parameters, strict };
        Ok(wire::Tool { kind: "function", function })
    }

    fn sampling(&self, body: &mut wire::Request<'a>) -> Result<(), Untranslatable> {
        let request = self.request;
        let is_refused = self.target.capabilities.sampling_params == Some(false);
        let passed = |name: &'static str, value: &'a Option<serde_json::Number>| match value {
            Some(number) if is_refused && number.as_f64() == Some(1.0) => Ok(None),
            Some(_) if is_refused => refuse(name, format!("the model takes no {name}; leave it out")),
            value => Ok(value.as_ref()),
        };
        body.temperature = passed("temperature", &request.temperature)?;
        body.top_p = passed("top_p", &request.top_p)?;
        if request.top_k.is_some() && !self.server.top_k {
            return refuse("top_k", format!("{} takes no top_k; leave it out", self.server.name));
        }
        if request.top_k.is_some() && is_refused {
            return refuse("top_k", "the model takes no top_k; leave it out");
        }
        body.top_k = request.top_k;
        Ok(())
    }

    fn ending(&self, body: &mut wire::Request<'a>) -> Result<(), Untranslatable> {
        let request = self.request;
        if request.output_tokens_max == Some(0) {
            let reason = format!("{} has no call that only fills the cache; ask for at least 1", self.server.name);
            return refuse(self.words.output_cap, reason);
        }
        if self.server.newer_output_cap {
            body.max_completion_tokens = request.output_tokens_max;
        } else {
            body.max_tokens = request.output_tokens_max;
        }
        if let Some(count_max) = self.server.stop_max
            && request.stop.len() > count_max
        {
            let reason = format!("{} takes at most {count_max} of them", self.server.name);
            return refuse(self.words.stop, reason);
        }
        body.stop = &request.stop;
        Ok(())
    }

    fn format(&self, body: &mut wire::Request<'a>) -> Result<(), Untranslatable> {
        body.response_format = match &self.request.format {
            OutputFormat::Text => None,
            OutputFormat::JsonObject => Some(wire::ResponseFormat { kind: "json_object", json_schema: None }),
            OutputFormat::JsonSchema { .. }
                if !self.target.capabilities.json_schema.unwrap_or(self.server.json_schema)
                    || !self.server.json_schema =>
            {
                let reason = "its answers can't be held to a JSON schema; describe the form in the prompt";
                return refuse(self.words.format, reason);
            }
            OutputFormat::JsonSchema { name, description, schema, strict } => {
                let is_strict = || can_be_strict(schema.get()).then_some(true);
                let json_schema = wire::JsonSchema {
                    name: name.as_deref().unwrap_or(SCHEMA_NAME),
                    description: description.as_deref(),
                    schema,
                    strict: strict.or_else(is_strict),
                };
                Some(wire::ResponseFormat { kind: "json_schema", json_schema: Some(json_schema) })
            }
        };
        Ok(())
    }

    fn reasoning(&mut self, body: &mut wire::Request<'a>) -> Result<(), Untranslatable> {
        let Some(reasoning) = self.request.reasoning else { return Ok(()) };
        let never_thinks = self.target.capabilities.reasoning == Some(false);
        let (word, tokens) = match reasoning {
            Reasoning::Off if self.can_be_told_not_to_think() => (Some("none"), None),
            Reasoning::Off => return Ok(()),
            Reasoning::Adaptive(None) if never_thinks => return Ok(()),
            // As the model sees fit: one that isn't known to think may refuse the word, and doesn't miss it.
            Reasoning::Adaptive(Some(_)) if self.target.capabilities.reasoning != Some(true) => {
                self.drop(self.words.effort);
                return Ok(());
            }
            Reasoning::Effort(_) if never_thinks => {
                return refuse(self.words.effort, "the model does not think; leave the effort out");
            }
            Reasoning::Budget { .. } if never_thinks => {
                return refuse(self.words.thinking, "the model does not think; leave it out");
            }
            Reasoning::Effort(effort) => (Some(effort.as_str()), None),
            Reasoning::Adaptive(effort) => (effort.map(Effort::as_str), None),
            Reasoning::Budget { tokens, effort } => {
                (Some(effort.unwrap_or_else(|| effort_of_budget(tokens)).as_str()), effort.is_none().then_some(tokens))
            }
        };
        let is_on = word != Some("none");
        match self.server.reasoning {
            ReasoningField::Effort => body.reasoning_effort = word,
            ReasoningField::Object => {
                body.reasoning = Some(wire::ReasoningObject {
                    effort: word.filter(|_| is_on && tokens.is_none()),
                    max_tokens: tokens,
                    enabled: (!is_on || word.is_none()).then_some(is_on),
                });
            }
            ReasoningField::Thinking => {
                body.thinking = Some(wire::Kind { kind: if is_on { "enabled" } else { "disabled" } });
                body.reasoning_effort = word.filter(|_| is_on);
            }
        }
        Ok(())
    }

    /// Whether "don't think" can be said; where it can't, it is left out: a model that doesn't think needs no telling, and one that always
    /// does would refuse the request.
    fn can_be_told_not_to_think(&self) -> bool {
        let capabilities = self.target.capabilities;
        if capabilities.reasoning != Some(true) || capabilities.thinking_always_on == Some(true) {
            return false;
        }
        // The price list doesn't tell. OpenAI's o-series, and gpt-5 before 5.1, answer "none" with a 400.
        let model = self.target.model;
        let is_o_series = model.starts_with('o') && model[1..].starts_with(|digit: char| digit.is_ascii_digit());
        !(is_o_series || model == "gpt-5" || model.starts_with("gpt-5-"))
    }

    /// What concerns the account: who asks, at which tier, and what is said of the cache.
    fn account(&mut self, body: &mut wire::Request<'a>) -> Result<(), Untranslatable> {
        let request = self.request;
        match request.verbosity.as_deref() {
            Some(_) if self.server.verbosity => body.verbosity = request.verbosity.as_deref(),
            // The default of those that know it.
            None | Some("medium") => {}
            Some(_) => {
                let reason = format!("{} takes no verbosity; leave it out", self.server.name);
                return refuse(self.words.verbosity, reason);
            }
        }
        if let Some(name) = request.user.as_deref() {
            match self.server.user {
                UserField::SafetyIdentifier => body.safety_identifier = Some(ids::user(name)),
                UserField::User => body.user = Some(name),
                UserField::None => self.drop(self.words.user),
            }
        }
        if self.server.tiers_and_cache_key {
            body.service_tier = request.tier.filter(|tier| *tier == TierWish::Standard).map(|_| "default");
            body.prompt_cache_key = request.prompt_cache_key.as_deref();
        }
        Ok(())
    }
}

/// The effort that a budget of thinking comes to. Never above `high`: only few models know more, and the others would refuse.
fn effort_of_budget(tokens: u64) -> Effort {
    match tokens {
        0..2048 => Effort::Low,
        2048..4096 => Effort::Medium,
        _ => Effort::High,
    }
}
