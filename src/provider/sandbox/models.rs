//! `GET /v1/models` and `/v1/models/{id}` in both dialects: three models that always exist, and any other by its name.

use serde::Serialize;

use crate::domain::Dialect;

use super::refusal::Refusal;
use super::reply::Reply;

/// The models that the sandbox lists; it answers under any other name too.
static NAMES: [&str; 3] = ["sandbox-small", "sandbox-large", "sandbox-free"];
/// 1 January 2026.
const CREATED: u64 = 1_767_225_600;
const CREATED_TEXT: &str = "2026-01-01T00:00:00Z";
const PAGE_MAX: usize = 1000;
const PAGE_DEFAULT: usize = 20;

#[derive(Serialize)]
struct OpenAiModel<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

#[derive(Serialize)]
struct AnthropicModel<'a> {
    r#type: &'static str,
    id: &'a str,
    display_name: String,
    created_at: &'static str,
    max_input_tokens: u64,
    max_tokens: u64,
    capabilities: Option<()>,
    lifecycle: &'static str,
    deprecated_at: Option<()>,
    retires_at: Option<()>,
}

#[derive(Serialize)]
struct OpenAiList<'a> {
    object: &'static str,
    data: Vec<OpenAiModel<'a>>,
}

#[derive(Serialize)]
struct AnthropicList<'a> {
    data: Vec<AnthropicModel<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

/// All models that have a name of their own.
pub(super) fn list(dialect: Dialect, query: &str) -> Result<Reply, Refusal> {
    match dialect {
        Dialect::OpenAi => {
            let data = NAMES.iter().copied().map(openai_model).collect();
            Ok(Reply::json(&OpenAiList { object: "list", data }))
        }
        Dialect::Anthropic => {
            let (page, has_more) = page(query)?;
            Ok(Reply::json(&AnthropicList {
                data: page.iter().copied().map(anthropic_model).collect(),
                has_more,
                first_id: page.first().copied(),
                last_id: page.last().copied(),
            }))
        }
    }
}

/// One model.
pub(super) fn one(dialect: Dialect, id: &str) -> Reply {
    match dialect {
        Dialect::OpenAi => Reply::json(&openai_model(id)),
        Dialect::Anthropic => Reply::json(&anthropic_model(id)),
    }
}

fn openai_model(id: &str) -> OpenAiModel<'_> {
    OpenAiModel { id, object: "model", created: CREATED, owned_by: "sandbox" }
}

fn anthropic_model(id: &str) -> AnthropicModel<'_> {
    AnthropicModel {
        r#type: "model",
        id,
        display_name: id.replace('-', " "),
        created_at: CREATED_TEXT,
        max_input_tokens: 200_000,
        max_tokens: 64_000,
        capabilities: None,
        lifecycle: "active",
        deprecated_at: None,
        retires_at: None,
    }
}

/// The part of the list that `limit`, `after_id` and `before_id` ask for, and whether there is more in that direction.
fn page(query: &str) -> Result<(&'static [&'static str], bool), Refusal> {
    let (mut limit, mut start, mut end, mut is_backwards) = (PAGE_DEFAULT, 0, NAMES.len(), false);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let position = || {
            let position = NAMES.iter().position(|id| *id == value);
            position.ok_or_else(|| Refusal::invalid(format!("{name}: there is no model \"{value}\" to page from")))
        };
        match name {
            "limit" => {
                let parsed = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                limit = parsed.ok_or_else(|| Refusal::invalid("limit: Input should be a number from 1 to 1000"))?;
            }
            "after_id" => start = position()? + 1,
            "before_id" => (end, is_backwards) = (position()?, true),
            _ => {}
        }
    }
    let all = NAMES.get(start..end).unwrap_or_default();
    let kept = limit.min(all.len());
    let page = if is_backwards { &all[all.len() - kept..] } else { &all[..kept] };
    Ok((page, kept < all.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_forwards_and_backwards() {
        let ids = |query: &str| page(query).unwrap();
        assert_eq!(ids(""), (&NAMES[..], false));
        assert_eq!(ids("limit=1"), (&NAMES[..1], true));
        assert_eq!(ids("limit=1&after_id=sandbox-small"), (&NAMES[1..2], true));
        assert_eq!(ids("after_id=sandbox-free"), (&NAMES[..0], false));
        assert_eq!(ids("limit=1&before_id=sandbox-free"), (&NAMES[1..2], true));
        assert!(page("limit=0").is_err());
        assert!(page("after_id=nothing").is_err());
    }
}
