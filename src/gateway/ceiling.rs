//! What a call can cost at most at a deployment: the bound that is reserved, and written into the request where it must hold.

use crate::catalog::{ModelFacts, Reach};
use crate::domain::{Picodollars, ServiceTier};
use crate::ledger::WorstCase;

use super::envelope::{Effect, Envelope};

/// The cap on output for a caller under a `block` budget that names none.
const OUTPUT_CAP_DEFAULT: u64 = 4_096;
/// Below so many output tokens no cap is lowered: what would come is of little use.
const CLIPPED_OUTPUT_MIN: u64 = 256;
/// Output tokens of a model whose limit is not known, for a reservation that no budget depends on.
const OUTPUT_UNKNOWN: u64 = 32_768;
/// Tokens of one image: the largest that a provider documents is 8 tiles of gpt-4o-mini (2,833 + 8 × 5,667).
const IMAGE_TOKENS_MAX: u64 = 48_169;

/// What a call can cost at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ceiling {
    /// The most that it can cost; nothing where the model has no price.
    pub(super) worst_case: WorstCase,
    /// The cap to write into the request, for the bound to hold.
    pub(super) output_cap: Option<u64>,
}

/// Nothing has to be paid.
const FREE: Ceiling = Ceiling { worst_case: WorstCase::fixed(Picodollars::ZERO), output_cap: None };

/// Why there is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoBound {
    /// The model has no price.
    Unpriced,
    /// A tool that the provider runs as often as it likes.
    Tool,
    /// Media whose tokens can't be told, at a model whose context size isn't known.
    Media,
}

/// The bound of a call whose body has so many bytes. With `binding`, a budget depends on it: what has no bound is refused, and
/// an absent cap is written.
pub(super) fn ceiling(
    envelope: &Envelope<'_>,
    body_len: usize,
    facts: Option<&ModelFacts>,
    binding: bool,
) -> Result<Ceiling, NoBound> {
    if envelope.effect == Effect::Free {
        return Ok(FREE);
    }
    let Some(facts) = facts else {
        return if binding { Err(NoBound::Unpriced) } else { Ok(FREE) };
    };
    if facts.prices.is_free() && facts.prices.web_search().is_none() {
        return Ok(FREE);
    }
    let extras = envelope.extras;
    if binding && (extras.unbounded_tool || (extras.searches > 0 && facts.prices.web_search().is_none())) {
        return Err(NoBound::Tool);
    }
    if binding && extras.media && facts.context.is_none() {
        return Err(NoBound::Media);
    }
    let context = facts.context.unwrap_or(u64::MAX);
    let text = text_tokens_max(body_len).saturating_add(extras.images.saturating_mul(IMAGE_TOKENS_MAX));
    // A provider takes no more than the model's context, whatever is in it; each search reads it all again.
    let one_reading = if extras.media { context } else { text.min(context) };
    let readings = extras.searches.saturating_add(1);
    let input = if readings > 1 { context.max(one_reading) } else { one_reading }.saturating_mul(readings);
    let model_max = facts.max_output.unwrap_or(u64::MAX);
    let (output, output_cap) = match envelope.output_cap {
        Some(cap) => (cap.min(model_max), None),
        None if binding => {
            let cap = envelope.output_cap_own.unwrap_or(OUTPUT_CAP_DEFAULT).min(model_max);
            (cap, Some(cap))
        }
        None => (facts.max_output.unwrap_or(OUTPUT_UNKNOWN), None),
    };
    // Where no tier was asked for, the account's own setting may be the priority tier.
    let asked = envelope.service_tier.as_deref().filter(|tier| *tier != "auto").map(ServiceTier::from_word);
    let reach =
        Reach { tier: Some(asked.unwrap_or(ServiceTier::Priority)), residency: None, fast: Some(envelope.fast) };
    let cost = |output| facts.prices.ceiling_within(reach, input, output, envelope.choices, extras.searches);
    if !binding {
        let worst_case = WorstCase::fixed(cost(output.saturating_mul(readings)));
        return Ok(Ceiling { worst_case, output_cap });
    }
    let fixed = cost(0);
    let one = (cost(1) - fixed).get().saturating_mul(i128::from(readings));
    let worst_case = WorstCase::line(fixed, Picodollars::new(one), output, floor(envelope, output));
    Ok(Ceiling { worst_case, output_cap })
}

/// How far a budget may lower the cap on output of a call that asks for so much.
fn floor(envelope: &Envelope<'_>, asked: u64) -> u64 {
    let thinking = envelope.thinking.map_or(0, |thinking| thinking.saturating_add(1));
    CLIPPED_OUTPUT_MIN.max(asked.div_ceil(4)).max(thinking)
}

/// An upper bound of the text tokens of a request: a byte-level tokenizer makes at most one of each byte.
fn text_tokens_max(body_len: usize) -> u64 {
    /// What providers add around messages and tools.
    const OVERHEAD_TOKENS: u64 = 1_024;
    body_len as u64 + OVERHEAD_TOKENS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::domain::{Endpoint, ProviderName};

    fn check(body: &str, binding: bool, expected: Result<(&str, Option<u64>), NoBound>) {
        let facts = Catalog::builtin().find(&ProviderName::new("openai").unwrap(), "openai", "gpt-4o-mini");
        let envelope = Envelope::parse(body.as_bytes(), Endpoint::ChatCompletions).unwrap();
        let bound = ceiling(&envelope, body.len(), facts.as_deref(), binding);
        let bound = bound.map(|bound| (bound.worst_case.cost().to_string(), bound.output_cap));
        assert_eq!(bound, expected.map(|(cost, cap)| (cost.to_owned(), cap)));
    }

    #[test]
    fn a_cap_is_written_only_where_a_budget_depends_on_it() {
        // Dearest prices of gpt-4o-mini are those of its priority tier: 0.25 and 1 USD per million.
        // (19 + 1,024) × 250,000 + 4,096 × 1,000,000 = 4,356,750,000
        check(r#"{"model":"gpt-4o"} "#, true, Ok(("0.00435675", Some(4_096))));
        // (18 + 1,024) × 250,000 + 16,384 × 1,000,000 = 16,644,500,000
        check(r#"{"model":"gpt-4o"}"#, false, Ok(("0.0166445", None)));
    }

    #[test]
    fn the_clients_cap_times_its_choices_counts() {
        // (41 + 1,024) × 250,000 + 3 × 10 × 1,000,000 = 296,250,000
        check(r#"{"model":"gpt-4o","max_tokens":10,"n":3} "#, true, Ok(("0.00029625", None)));
    }

    #[test]
    fn a_cap_gives_way_to_a_quarter_and_stays_above_what_thinking_takes() {
        let check = |body: &str, floor: u64| {
            let facts = Catalog::builtin().find(&ProviderName::new("openai").unwrap(), "openai", "gpt-4o-mini");
            let envelope = Envelope::parse(body.as_bytes(), Endpoint::Messages).unwrap();
            let worst_case = ceiling(&envelope, 0, facts.as_deref(), true).unwrap().worst_case;
            assert_eq!(worst_case.least(), worst_case.at(floor), "{body}");
            // In gateway calls that no budget binds there is nothing to lower.
            let free = ceiling(&envelope, 0, facts.as_deref(), false).unwrap().worst_case;
            assert_eq!(free.least(), free.cost());
        };
        check(r#"{"model":"a"}"#, 1_024);
        check(r#"{"model":"a","max_tokens":4001}"#, 1_001);
        check(r#"{"model":"a","max_tokens":600}"#, 256);
        check(r#"{"model":"a","max_tokens":100}"#, 100);
        check(r#"{"model":"a","max_tokens":4000,"thinking":{"type":"enabled","budget_tokens":3000}}"#, 3_001);
        check(r#"{"model":"a","max_tokens":2000,"thinking":{"type":"enabled","budget_tokens":3000}}"#, 2_000);
    }

    #[test]
    fn what_has_no_bound_is_refused_under_a_budget() {
        check(r#"{"model":"a","web_search_options":{}}"#, true, Err(NoBound::Tool));
        let envelope = Envelope::parse(br#"{"model":"a"}"#, Endpoint::ChatCompletions).unwrap();
        assert_eq!(ceiling(&envelope, 13, None, true), Err(NoBound::Unpriced));
        assert_eq!(ceiling(&envelope, 13, None, false).map(|bound| bound.worst_case.cost()), Ok(Picodollars::ZERO));
    }

    #[test]
    fn media_count_as_a_full_context() {
        // 128,000 × 250,000 + 10 × 1,000,000 = 32,010,000,000
        check(
            r#"{"model":"a","max_tokens":10,"messages":[{"content":[{"type":"file"}]}]}"#,
            true,
            Ok(("0.03201", None)),
        );
    }
}
