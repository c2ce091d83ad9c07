//! Which models a budget is about.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::glob::fits_glob;
use super::ids::IdError;
use super::model::{Deployment, ModelId};

/// Models by their name: `gpt-4o`, `openai/gpt-4o` for that of one provider, or either with `*` in it.
///
/// A name without a star stands for the model's dated versions too, as `gpt-4o-2024-08-06` is one of `gpt-4o`: they are what a
/// name without a date is answered by, so a limit on the one that the other gets around would be none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelPattern(ModelId);

impl ModelPattern {
    /// Checks and keeps a pattern.
    pub fn new(text: &str) -> Result<Self, IdError> {
        ModelId::new(text).map(Self)
    }

    /// The pattern itself.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it names one model, whoever provides it: then it fits a deployment whose model's name it is, with or without its date.
    pub fn is_plain(&self) -> bool {
        !self.as_str().contains(['*', '/'])
    }

    /// Whether a model that any provider may serve is meant.
    pub fn fits_model(&self, model: &str) -> bool {
        fits_model(self.as_str(), model)
    }

    /// Whether a deployment is meant.
    pub fn fits(&self, deployment: &Deployment) -> bool {
        fits_deployment(self.as_str(), deployment)
    }
}

fn fits_model(pattern: &str, model: &str) -> bool {
    fits_glob(pattern, model) || (!pattern.contains('*') && undated(model) == pattern)
}

/// Whether a deployment is meant by the text of a [`ModelPattern`], for where only the text is kept.
pub fn fits_deployment(pattern: &str, deployment: &Deployment) -> bool {
    let model = deployment.model.as_str();
    if fits_model(pattern, model) {
        return true;
    }
    if pattern.contains('*') {
        return pattern.contains('/') && fits_glob(pattern, &deployment.to_string());
    }
    let rest = pattern.strip_prefix(deployment.provider.as_str()).and_then(|rest| rest.strip_prefix('/'));
    rest.is_some_and(|rest| rest == model || rest == undated(model))
}

impl fmt::Display for ModelPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A model's name without the date at its end: `gpt-4o-2024-08-06` and `claude-haiku-4-5-20251001` as the companies write them.
pub fn undated(model: &str) -> &str {
    let is_date = |text: &str, form: &str| {
        text.len() == form.len()
            && text.bytes().zip(form.bytes()).all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                form => byte == form,
            })
    };
    for form in ["-0000-00-00", "-00000000"] {
        let at = model.len().saturating_sub(form.len());
        // Only years that models can be of: other numbers of this length are no dates.
        if at > 0 && model.is_char_boundary(at) && is_date(&model[at..], form) && model[at + 1..].starts_with("20") {
            return &model[..at];
        }
    }
    model
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, deployment: &str, expected: bool) {
        let fits = ModelPattern::new(pattern).unwrap().fits(&deployment.parse().unwrap());
        assert_eq!(fits, expected, "{pattern} on {deployment}");
    }

    #[test]
    fn a_name_is_that_of_the_model_and_of_its_dated_versions() {
        check("gpt-4o", "openai/gpt-4o", true);
        check("gpt-4o", "azure/gpt-4o-2024-08-06", true);
        check("claude-haiku-4-5", "anthropic/claude-haiku-4-5-20251001", true);
        check("gpt-4o", "openai/gpt-4o-mini", false);
        check("gpt-4o-2024-08-06", "openai/gpt-4o-2024-08-06", true);
        check("gpt-4o-2024-08-06", "openai/gpt-4o", false);
        check("gpt-4o-2024-08-06", "openai/gpt-4o-2024-11-20", false);
        check("GPT-4o", "openai/gpt-4o", false);
    }

    #[test]
    fn a_provider_in_front_means_its_own_alone() {
        check("openai/gpt-4o", "openai/gpt-4o", true);
        check("openai/gpt-4o", "openai/gpt-4o-2024-08-06", true);
        check("openai/gpt-4o", "azure/gpt-4o", false);
        // A model whose own name has a slash is meant by it as well.
        check("meta/llama-4", "openrouter/meta/llama-4", true);
        check("openrouter/meta/llama-4", "openrouter/meta/llama-4", true);
        check("meta/llama-4", "meta/llama-4", true);
    }

    #[test]
    fn a_star_stands_for_any_text() {
        check("gpt-5*", "openai/gpt-5-mini", true);
        check("gpt-5*", "openai/gpt-4o", false);
        check("openai/*", "openai/gpt-4o", true);
        check("openai/*", "azure/gpt-4o", false);
        check("*", "any/thing", true);
        check("*mini", "openai/gpt-5-mini", true);
    }

    #[test]
    fn only_a_date_at_the_end_is_taken_off() {
        let check = |model: &str, expected: &str| assert_eq!(undated(model), expected, "{model}");
        check("gpt-4o-2024-08-06", "gpt-4o");
        check("claude-haiku-4-5-20251001", "claude-haiku-4-5");
        check("gpt-4-0613", "gpt-4-0613");
        check("model-12345678", "model-12345678");
        check("-2024-08-06", "-2024-08-06");
        check("ä-20251001", "ä");
        check("", "");
    }
}
