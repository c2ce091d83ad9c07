//! The conversation of a request: its items, joined into turns.
//!
//! Items that the model made follow each other in one turn. Results of tools stand in the turn right after the calls that they answer,
//! wherever the client put them: no other shape allows anything between. A call that nothing answers, and a result without a
//! call, are refused here, because a provider's own words about them name nothing that the client wrote.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::thinking;
use crate::dialect::Untranslatable;
use crate::dialect::object::{Field, Object, must_be};
use crate::domain::chat::{
    AssistantPart, CacheMark, Document, DocumentSource, Image, Marked, Media, ResultPart, ToolCall, ToolResult, Turn,
    UserPart,
};

/// What a request's `instructions` and `input` say.
#[derive(Default)]
pub(super) struct Conversation {
    pub(super) system: Vec<Marked<String>>,
    pub(super) turns: Vec<Turn>,
    open: Vec<OpenCall>,
}

/// A call that waits for its result.
struct OpenCall {
    call_id: String,
    path: String,
    turn: usize,
}

/// Reads the instructions and the input.
pub(super) fn read(fields: &mut Object<'_>) -> Result<Conversation, Untranslatable> {
    let mut conversation = Conversation::default();
    let instructions = fields.text("instructions")?.filter(|text| !text.is_empty());
    conversation.system.extend(instructions.map(Marked::plain));
    match content(fields, "input")? {
        Content::Text(text) if text.is_empty() => return Err(fields.refuse("input", "`input` must not be empty")),
        Content::Text(text) => conversation.turns.push(Turn::User(vec![Marked::plain(UserPart::Text(text))])),
        Content::Parts(items) => {
            for item in items {
                conversation.item(item)?;
            }
        }
    }
    if let Some(call) = conversation.open.first() {
        let reason = format!("nothing answers the call `{}`; send its function_call_output", call.call_id);
        return Err(Untranslatable::new(call.path.clone(), reason));
    }
    if conversation.turns.is_empty() {
        return Err(fields.refuse("input", "`input` must have a message of the user"));
    }
    Ok(conversation)
}

/// Where a text or a list may stand.
enum Content<'a> {
    Text(String),
    Parts(Vec<Object<'a>>),
}

fn content<'a>(object: &mut Object<'a>, name: &str) -> Result<Content<'a>, Untranslatable> {
    let field = object.required(name)?;
    if field.is_text() {
        return Ok(Content::Text(field.text()?));
    }
    if !field.json.starts_with('[') {
        return Err(field.must_be("a string or a list"));
    }
    Ok(Content::Parts(field.list()?.iter().map(Field::object).collect::<Result<_, _>>()?))
}

impl Conversation {
    fn item(&mut self, mut item: Object<'_>) -> Result<(), Untranslatable> {
        let kind = item.text("type")?;
        match kind.as_deref() {
            Some("message") => self.message(item),
            None if item.has("role") => self.message(item),
            Some("function_call") => self.call(item),
            Some("function_call_output") => self.result(item),
            Some("reasoning") => self.reasoning(item),
            None if item.has("content") => Err(item.missing("role")),
            None | Some("item_reference") => {
                Err(item.refuse("id", "items aren't kept, so none can be referred to; send the item itself"))
            }
            Some(other) => {
                let reason = format!("items of the type `{other}` belong to what only OpenAI runs; leave it out");
                Err(item.refuse("type", reason))
            }
        }
    }

    fn message(&mut self, mut item: Object<'_>) -> Result<(), Untranslatable> {
        item.ignore(&["id", "status", "phase"]);
        let role = item.word("role", &["user", "assistant", "system", "developer"])?;
        let role = role.ok_or_else(|| item.missing("role"))?;
        let content = content(&mut item, "content")?;
        match role {
            "assistant" => self.say(assistant_parts(content)?),
            "user" => {
                let parts = input_parts(content)?;
                if parts.is_empty() {
                    return Err(item.refuse("content", format!("`{}` must not be empty", item.path_of("content"))));
                }
                self.ask(parts.into_iter().map(user_part));
            }
            _ => {
                let texts = system_texts(content)?;
                if self.turns.is_empty() {
                    self.system.extend(texts);
                } else if !texts.is_empty() {
                    self.turns.push(Turn::System(texts));
                }
            }
        }
        item.finish()
    }

    /// The user says something; right after results it is the same turn.
    fn ask(&mut self, parts: impl Iterator<Item = Marked<UserPart>>) {
        match self.turns.last_mut() {
            Some(Turn::User(before)) if before.iter().all(is_result) => before.extend(parts),
            _ => self.turns.push(Turn::User(parts.collect())),
        }
    }

    /// The model has said something more.
    fn say(&mut self, parts: Vec<AssistantPart>) {
        if parts.is_empty() {
            return;
        }
        let parts = parts.into_iter().map(Marked::plain);
        match self.turns.last_mut() {
            Some(Turn::Assistant(before)) => before.extend(parts),
            _ => self.turns.push(Turn::Assistant(parts.collect())),
        }
    }

    fn call(&mut self, mut item: Object<'_>) -> Result<(), Untranslatable> {
        item.ignore(&["id", "status", "parsed_arguments"]);
        item.ignore_false(&["async"]);
        let call_id = item.required_text("call_id")?;
        let name = item.required_text("name")?;
        let arguments = item.text("arguments")?.ok_or_else(|| item.missing("arguments"))?;
        let is_object = |text: &str| text.trim_start().starts_with('{') && is_json(text);
        if !arguments.is_empty() && !is_object(&arguments) {
            return Err(must_be(item.path_of("arguments"), "the text of a JSON object"));
        }
        if self.open.iter().any(|open| open.call_id == call_id) {
            return Err(item.refuse("call_id", format!("another call with the id `{call_id}` has no result yet")));
        }
        let path = item.path_of("call_id");
        item.finish()?;
        self.say(vec![AssistantPart::ToolCall(ToolCall { id: call_id.clone(), name, arguments })]);
        self.open.push(OpenCall { call_id, path, turn: self.turns.len() - 1 });
        Ok(())
    }

    fn result(&mut self, mut item: Object<'_>) -> Result<(), Untranslatable> {
        item.ignore(&["id", "status", "name"]);
        let call_id = item.required_text("call_id")?;
        let Some(index) = self.open.iter().position(|open| open.call_id == call_id) else {
            return Err(item.refuse("call_id", format!("no call `{call_id}` waits for a result here")));
        };
        let parts = input_parts(content(&mut item, "output")?)?;
        item.finish()?;
        let cache = parts.iter().filter_map(|part| part.cache).next_back();
        let content = parts.into_iter().map(|part| part.part).collect();
        let result = Marked { part: UserPart::ToolResult(ToolResult { call_id, content, is_error: false }), cache };
        let after = self.open.remove(index).turn + 1;
        if let Some(Turn::User(parts)) = self.turns.get_mut(after) {
            let results = parts.iter().take_while(|part| is_result(part)).count();
            parts.insert(results, result);
            return Ok(());
        }
        self.turns.insert(after, Turn::User(vec![result]));
        for open in self.open.iter_mut().filter(|open| open.turn >= after) {
            open.turn += 1;
        }
        Ok(())
    }

    fn reasoning(&mut self, mut item: Object<'_>) -> Result<(), Untranslatable> {
        item.ignore(&["id", "status"]);
        let summary = texts(item.objects("summary")?, "summary_text")?;
        let content = texts(item.objects("content")?, "reasoning_text")?;
        let encrypted = item.text("encrypted_content")?;
        item.finish()?;
        let (summary, content) = (summary.iter().map(String::as_str), content.iter().map(String::as_str));
        self.say(thinking(summary, content, encrypted.as_deref()).into_iter().collect());
        Ok(())
    }
}

fn is_result(part: &Marked<UserPart>) -> bool {
    matches!(part.part, UserPart::ToolResult(_))
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

fn texts(parts: Vec<Object<'_>>, kind: &'static str) -> Result<Vec<String>, Untranslatable> {
    let text = |mut part: Object<'_>| {
        part.word("type", &[kind])?;
        let text = part.text("text")?.ok_or_else(|| part.missing("text"))?;
        part.finish()?;
        Ok(text)
    };
    parts.into_iter().map(text).collect()
}

fn assistant_parts(content: Content<'_>) -> Result<Vec<AssistantPart>, Untranslatable> {
    let parts = match content {
        Content::Text(text) => vec![AssistantPart::Text(text)],
        Content::Parts(parts) => parts.into_iter().map(assistant_part).collect::<Result<_, _>>()?,
    };
    let is_said = |part: &AssistantPart| match part {
        AssistantPart::Text(text) | AssistantPart::Refusal(text) => !text.is_empty(),
        _ => true,
    };
    Ok(parts.into_iter().filter(is_said).collect())
}

fn assistant_part(mut part: Object<'_>) -> Result<AssistantPart, Untranslatable> {
    // What stands beside a text was for those who read the answer.
    part.ignore(&["annotations", "logprobs", "parsed"]);
    let kind = part.word("type", &["output_text", "refusal", "input_text"])?;
    let read = match kind.ok_or_else(|| part.missing("type"))? {
        "refusal" => AssistantPart::Refusal(part.text("refusal")?.ok_or_else(|| part.missing("refusal"))?),
        _ => AssistantPart::Text(part.text("text")?.ok_or_else(|| part.missing("text"))?),
    };
    part.finish()?;
    Ok(read)
}

fn system_texts(content: Content<'_>) -> Result<Vec<Marked<String>>, Untranslatable> {
    let parts = match content {
        Content::Text(text) => {
            return Ok(Some(text).filter(|text| !text.is_empty()).map(Marked::plain).into_iter().collect());
        }
        Content::Parts(parts) => parts,
    };
    let mut texts = Vec::new();
    for part in parts {
        let path = part.path_of("type");
        match input_part(part)? {
            Some(Marked { part: ResultPart::Text(text), cache }) => texts.push(Marked { part: text, cache }),
            Some(_) => return Err(Untranslatable::new(path, "instructions are text; send anything else as the user")),
            None => {}
        }
    }
    Ok(texts)
}

fn user_part(part: Marked<ResultPart>) -> Marked<UserPart> {
    let Marked { part, cache } = part;
    let part = match part {
        ResultPart::Text(text) => UserPart::Text(text),
        ResultPart::Image(image) => UserPart::Image(image),
        ResultPart::Document(document) => UserPart::Document(document),
    };
    Marked { part, cache }
}

/// What a user or a tool says. Empty texts say nothing, and one of the shapes refuses them.
fn input_parts(content: Content<'_>) -> Result<Vec<Marked<ResultPart>>, Untranslatable> {
    match content {
        Content::Text(text) if text.is_empty() => Ok(Vec::new()),
        Content::Text(text) => Ok(vec![Marked::plain(ResultPart::Text(text))]),
        Content::Parts(parts) => parts.into_iter().filter_map(|part| input_part(part).transpose()).collect(),
    }
}

fn input_part(mut part: Object<'_>) -> Result<Option<Marked<ResultPart>>, Untranslatable> {
    let cache = cache_mark(&mut part)?;
    let kind = part.required_text("type")?;
    let read = match kind.as_str() {
        "input_text" => {
            let text = part.text("text")?.ok_or_else(|| part.missing("text"))?;
            Some(ResultPart::Text(text)).filter(|part| *part != ResultPart::Text(String::new()))
        }
        "input_image" => Some(ResultPart::Image(image(&mut part)?)),
        "input_file" => Some(ResultPart::Document(document(&mut part)?)),
        "input_audio" => return Err(part.refuse("input_audio", "audio isn't taken; send what was said as text")),
        other => {
            let reason = format!("`{other}` is no kind of input; known are `input_text`, `input_image`, `input_file`");
            return Err(part.refuse("type", reason));
        }
    };
    part.finish()?;
    Ok(read.map(|part| Marked { part, cache }))
}

/// Half an hour is what the caches of this API keep by default, so it stands for the provider's default.
fn cache_mark(part: &mut Object<'_>) -> Result<Option<CacheMark>, Untranslatable> {
    let Some(mut mark) = part.object("prompt_cache_breakpoint")? else { return Ok(None) };
    mark.word("mode", &["explicit"])?;
    let is_long = mark.word("ttl", &["30m", "12h"])? == Some("12h");
    mark.finish()?;
    Ok(Some(if is_long { CacheMark::OneHour } else { CacheMark::FiveMinutes }))
}

fn no_file_id(part: &Object<'_>) -> Result<(), Untranslatable> {
    if part.has("file_id") {
        return Err(
            part.refuse("file_id", "the file is at OpenAI, out of the provider's reach; send its data or its URL")
        );
    }
    Ok(())
}

fn image(part: &mut Object<'_>) -> Result<Image, Untranslatable> {
    no_file_id(part)?;
    let url = part.required_text("image_url")?;
    let detail = part.word("detail", &["auto", "low", "high", "original"])?.map(str::to_owned);
    let source = match data_url(&url) {
        Some((media_type, data)) if media_type.starts_with("image/") => {
            Media::Base64 { media_type: media_type.to_owned(), data: data.to_owned() }
        }
        None if is_web(&url) => Media::Url(url),
        _ => {
            let kind = "an https address, or a data URL such as `data:image/png;base64,…`";
            return Err(must_be(part.path_of("image_url"), kind));
        }
    };
    Ok(Image { source, detail })
}

fn document(part: &mut Object<'_>) -> Result<Document, Untranslatable> {
    no_file_id(part)?;
    // How closely to look is a hint.
    part.word("detail", &["auto", "low", "high"])?;
    let title = part.text("filename")?;
    let source = match (part.text("file_data")?, part.text("file_url")?) {
        (Some(data), None) => file(part, &data, title.as_deref())?,
        (None, Some(url)) if is_web(&url) => DocumentSource::File(Media::Url(url)),
        (None, Some(_)) => return Err(must_be(part.path_of("file_url"), "an https address")),
        (Some(_), Some(_)) => return Err(part.refuse("file_url", "a file has its data or its address, not both")),
        (None, None) => return Err(part.missing("file_data")),
    };
    Ok(Document { source, title })
}

/// A data URL says what it holds; bare base64 leaves it to the file's name.
fn file(part: &Object<'_>, data: &str, name: Option<&str>) -> Result<DocumentSource, Untranslatable> {
    let by_name = || match name.and_then(|name| name.rsplit_once('.'))?.1.to_ascii_lowercase().as_str() {
        "pdf" => Some(("application/pdf", data)),
        "txt" | "md" => Some(("text/plain", data)),
        _ => None,
    };
    let Some((media_type, data)) = data_url(data).or_else(by_name) else {
        return Err(must_be(part.path_of("file_data"), "a data URL such as `data:application/pdf;base64,…`"));
    };
    if !media_type.starts_with("text/") {
        return Ok(DocumentSource::File(Media::Base64 { media_type: media_type.to_owned(), data: data.to_owned() }));
    }
    let text = STANDARD.decode(data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or_else(|| must_be(part.path_of("file_data"), "text in UTF-8, in base64"))?;
    Ok(DocumentSource::Text(text))
}

fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// The media type and the base64 of a data URL.
fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media_type = head.strip_suffix(";base64")?.split(';').next()?;
    (!media_type.is_empty() && !data.is_empty()).then_some((media_type, data))
}
