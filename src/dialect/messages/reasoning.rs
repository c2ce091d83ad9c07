//! How much a model shall think, in the words that it takes.
//!
//! Newer models think as they see fit, as hard as they are told; older ones within a number of tokens. A model that the list says
//! nothing of is taken for a newer one.

use crate::dialect::{Target, Untranslatable};
use crate::domain::chat::{ChatRequest, Effort, Reasoning};

use super::client_field::ClientField;
use super::request_read::BUDGET_TOKENS_MIN;
use super::wire::Thinking;

/// What is written of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Thoughts {
    pub(super) thinking: Option<Thinking>,
    pub(super) effort: Option<&'static str>,
    /// It was asked for, and this call can't have it.
    pub(super) is_turned_off: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Adaptive,
    Budget,
    Never,
}

/// What a request's reasoning becomes; `has_lost_thinking` says that the history lacks the thoughts that a budget needs.
pub(super) fn thoughts(
    request: &ChatRequest,
    target: &Target<'_>,
    max_tokens: u64,
    has_lost_thinking: bool,
) -> Result<Thoughts, Untranslatable> {
    let Some(reasoning) = request.reasoning else { return Ok(Thoughts::default()) };
    let way = way(target, reasoning);
    let refused = |reason: &str| Err(ClientField::Reasoning.refused(request.endpoint, reason));
    if reasoning == Reasoning::Off {
        return match way {
            Way::Never => Ok(Thoughts::default()),
            _ if target.capabilities.thinking_always_on == Some(true) => {
                refused("the model always thinks; ask for low effort instead")
            }
            _ => Ok(Thoughts { thinking: Some(Thinking::Disabled), ..Thoughts::default() }),
        };
    }
    match way {
        Way::Never => refused("the model doesn't think; leave it out"),
        Way::Adaptive => {
            let effort = effort(reasoning).map(|effort| effort.max(Effort::Low).as_str());
            Ok(Thoughts { thinking: Some(Thinking::Adaptive), effort, is_turned_off: false })
        }
        // The call would be refused; without thinking it goes on, and the client is told.
        Way::Budget if has_lost_thinking => {
            Ok(Thoughts { thinking: Some(Thinking::Disabled), effort: None, is_turned_off: true })
        }
        Way::Budget if max_tokens <= BUDGET_TOKENS_MIN => {
            refused("the model thinks with 1024 tokens at least; raise the cap on output above that, or leave it out")
        }
        Way::Budget => {
            let budget_tokens = match reasoning {
                Reasoning::Budget { tokens, .. } if tokens >= max_tokens => {
                    return refused("the budget of thinking must be below the cap on output");
                }
                Reasoning::Budget { tokens, .. } => tokens.max(BUDGET_TOKENS_MIN),
                // The effort is no number, so half of the cap stays for the answer where the least budget allows it.
                _ => budget_of(effort(reasoning).unwrap_or(Effort::Medium)).min(max_tokens / 2).max(BUDGET_TOKENS_MIN),
            };
            Ok(Thoughts { thinking: Some(Thinking::Enabled { budget_tokens }), effort: None, is_turned_off: false })
        }
    }
}

fn way(target: &Target<'_>, reasoning: Reasoning) -> Way {
    let capabilities = target.capabilities;
    if capabilities.reasoning == Some(false) {
        return Way::Never;
    }
    let is_adaptive = capabilities.adaptive_thinking == Some(true);
    let takes_budget = capabilities.budget_thinking == Some(true);
    match reasoning {
        Reasoning::Budget { .. } if takes_budget => Way::Budget,
        _ if is_adaptive => Way::Adaptive,
        _ if takes_budget || capabilities.reasoning == Some(true) => Way::Budget,
        _ => Way::Adaptive,
    }
}

fn effort(reasoning: Reasoning) -> Option<Effort> {
    match reasoning {
        Reasoning::Off => None,
        Reasoning::Effort(effort) => Some(effort),
        Reasoning::Adaptive(effort) => effort,
        Reasoning::Budget { tokens, effort } => effort.or(Some(effort_of(tokens))),
    }
}

/// The budgets that stand for efforts elsewhere too.
fn budget_of(effort: Effort) -> u64 {
    match effort {
        Effort::Minimal | Effort::Low => 1_024,
        Effort::Medium => 2_048,
        Effort::High => 4_096,
        Effort::XHigh => 8_192,
        Effort::Max => 16_384,
    }
}

fn effort_of(budget: u64) -> Effort {
    let efforts = [Effort::Low, Effort::Medium, Effort::High, Effort::XHigh];
    efforts.into_iter().find(|effort| budget <= budget_of(*effort)).unwrap_or(Effort::Max)
}

#[cfg(test)]
mod tests;
