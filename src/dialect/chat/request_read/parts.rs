//! Reads the parts of a message's content.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::dialect::Untranslatable;
use crate::dialect::object::{Field, Object};
use crate::domain::chat::{AssistantPart, CacheMark, Document, DocumentSource, Image, Marked, Media, UserPart};

use super::unknown_word;

/// The types of pictures that every provider takes.
const IMAGE_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// The mark that a prompt cache may end at a part: OpenAI's own spelling, or Anthropic's, which clients of other gateways send in this shape too.
pub(super) fn mark(part: &mut Object<'_>) -> Result<Option<CacheMark>, Untranslatable> {
    let breakpoint = part.take("prompt_cache_breakpoint").filter(|field| field.json != "false");
    let Some(field) = part.take("cache_control") else { return Ok(breakpoint.map(|_| CacheMark::FiveMinutes)) };
    let mut control = field.object()?;
    let kind = control.required("type")?;
    if kind.text()? != "ephemeral" {
        return Err(kind.refuse(format!("{} can only be \"ephemeral\"", kind.path)));
    }
    let mark = match control.take("ttl") {
        None => CacheMark::FiveMinutes,
        Some(ttl) => match ttl.text()?.as_str() {
            "5m" => CacheMark::FiveMinutes,
            "1h" => CacheMark::OneHour,
            other => return Err(unknown_word(&ttl, other, "5m or 1h")),
        },
    };
    control.finish()?;
    Ok(Some(mark))
}

/// Content that is text alone; empty texts say nothing and are left out.
pub(super) fn texts(content: &Field<'_>) -> Result<Vec<Marked<String>>, Untranslatable> {
    let only_text = |kind: &str| (kind == "text").then_some(());
    let read = |fields: &mut Object<'_>, (): ()| fields.required("text")?.text();
    let found = parts(content, "text", only_text, read, |text| text)?;
    Ok(found.into_iter().filter(|text| !text.part.is_empty()).collect())
}

/// Content of a user's or a tool's message.
pub(super) fn user_parts(content: &Field<'_>) -> Result<Vec<Marked<UserPart>>, Untranslatable> {
    #[derive(Clone, Copy)]
    enum Kind {
        Text,
        Image,
        File,
        Audio,
    }
    let kind = |word: &str| match word {
        "text" => Some(Kind::Text),
        "image_url" => Some(Kind::Image),
        "file" => Some(Kind::File),
        "input_audio" => Some(Kind::Audio),
        _ => None,
    };
    let read = |fields: &mut Object<'_>, kind: Kind| match kind {
        Kind::Text => Ok(UserPart::Text(fields.required("text")?.text()?)),
        Kind::Image => Ok(UserPart::Image(image(&fields.required("image_url")?)?)),
        Kind::File => Ok(UserPart::Document(document(&fields.required("file")?)?)),
        Kind::Audio => Err(fields.refuse("input_audio", "audio can't be passed on; send its words as text")),
    };
    let found = parts(content, "text, image_url or file", kind, read, UserPart::Text)?;
    let is_empty = |part: &UserPart| matches!(part, UserPart::Text(text) if text.is_empty());
    Ok(found.into_iter().filter(|part| !is_empty(&part.part)).collect())
}

/// Content of an assistant's message.
pub(super) fn assistant_parts(content: &Field<'_>) -> Result<Vec<Marked<AssistantPart>>, Untranslatable> {
    let kind = |word: &str| match word {
        "text" => Some(true),
        "refusal" => Some(false),
        _ => None,
    };
    let read = |fields: &mut Object<'_>, is_text: bool| {
        Ok(if is_text {
            AssistantPart::Text(fields.required("text")?.text()?)
        } else {
            AssistantPart::Refusal(fields.required("refusal")?.text()?)
        })
    };
    let found = parts(content, "text or refusal", kind, read, AssistantPart::Text)?;
    let is_empty = |part: &AssistantPart| matches!(part, AssistantPart::Text(text) | AssistantPart::Refusal(text) if text.is_empty());
    Ok(found.into_iter().filter(|part| !is_empty(&part.part)).collect())
}

/// Content that is a string or a list of parts, each of a kind.
fn parts<Kind, Part>(
    content: &Field<'_>,
    known: &str,
    kind_of: impl Fn(&str) -> Option<Kind>,
    read: impl Fn(&mut Object<'_>, Kind) -> Result<Part, Untranslatable>,
    plain: impl Fn(String) -> Part,
) -> Result<Vec<Marked<Part>>, Untranslatable> {
    if content.is_text() {
        return Ok(vec![Marked::plain(plain(content.text()?))]);
    }
    if !content.json.starts_with('[') {
        return Err(content.refuse(format!("{} must be a string or a list of parts", content.path)));
    }
    let mut found = Vec::new();
    for item in content.list()? {
        let mut fields = item.object()?;
        let kind = fields.required("type")?;
        let word = kind.text()?;
        let Some(its_kind) = kind_of(&word) else {
            return Err(kind.refuse(format!("a part of type {word:?} can't be passed on here; send {known}")));
        };
        let part = read(&mut fields, its_kind)?;
        let cache = mark(&mut fields)?;
        fields.finish()?;
        found.push(Marked { part, cache });
    }
    Ok(found)
}

fn image(field: &Field<'_>) -> Result<Image, Untranslatable> {
    let mut fields = field.object()?;
    let url = fields.required("url")?;
    let source = match data_url(&url)? {
        Some((media_type, data)) if IMAGE_TYPES.contains(&media_type.as_str()) => Media::Base64 { media_type, data },
        Some((media_type, _)) => {
            let reason = format!("pictures of type {media_type:?} can't be passed on; send JPEG, PNG, GIF or WebP");
            return Err(url.refuse(reason));
        }
        None => Media::Url(url.text()?),
    };
    let detail = match fields.take("detail") {
        None => None,
        Some(detail) => match detail.text()?.as_str() {
            "auto" => None,
            word @ ("low" | "high") => Some(word.to_owned()),
            other => return Err(unknown_word(&detail, other, "low, high or auto")),
        },
    };
    fields.finish()?;
    Ok(Image { source, detail })
}

fn document(field: &Field<'_>) -> Result<Document, Untranslatable> {
    let mut fields = field.object()?;
    if let Some(id) = fields.take("file_id") {
        return Err(id.refuse("a file that is stored at OpenAI can't be passed on; send its bytes in file_data"));
    }
    let title = fields.text("filename")?;
    let bytes = fields.required("file_data")?;
    let Some((media_type, data)) = data_url(&bytes)? else {
        return Err(bytes.refuse("file_data must be a data: URL such as data:application/pdf;base64,…"));
    };
    let source = match media_type.as_str() {
        "application/pdf" => DocumentSource::File(Media::Base64 { media_type, data }),
        "text/plain" => {
            let decoded = STANDARD.decode(&data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let text = decoded.ok_or_else(|| bytes.refuse("the file is not text in UTF-8 and base64"))?;
            DocumentSource::Text(text)
        }
        other => {
            return Err(bytes.refuse(format!("files of type {other:?} can't be passed on; send a PDF or plain text")));
        }
    };
    fields.finish()?;
    Ok(Document { source, title })
}

/// The media type and the base64 of a `data:` URL; nothing where it is a URL of the web.
fn data_url(field: &Field<'_>) -> Result<Option<(String, String)>, Untranslatable> {
    let url = field.text()?;
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
    if matches!(scheme.as_str(), "http" | "https") {
        return Ok(None);
    }
    let data = url.get(scheme.len() + 1..).filter(|_| scheme == "data").and_then(|rest| rest.split_once(','));
    let Some((head, data)) = data else {
        return Err(field.refuse(format!("{} must be a data: or http(s): URL", field.path)));
    };
    let Some(media_type) = head.strip_suffix(";base64") else {
        return Err(field.refuse("a data: URL must be in base64"));
    };
    // Parameters such as a character set say nothing about base64 of bytes.
    let media_type = media_type.split(';').next().unwrap_or_default().to_ascii_lowercase();
    Ok(Some((media_type, data.to_owned())))
}
