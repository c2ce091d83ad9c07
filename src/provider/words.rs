//! What failures of providers are called in sentences, for clients and the log.

use std::time::Duration;

use url::Url;

use super::credentials::{Away, Cause, Refusal};
use super::error::{ProviderError, TimeLimit};

/// That a time limit has run out, and which.
pub(super) fn timed_out(provider: &str, limit: TimeLimit, after: Duration) -> String {
    match limit {
        TimeLimit::Unsent => format!("the time of the call, {after:?}, was up before it was sent to {provider}"),
        limit => format!("{provider} took longer than the {limit} limit of {after:?}"),
    }
}

/// That a request was let through by nobody: by the provider, which doesn't take the key, or by what stands before it.
pub(super) fn unauthorized(provider: &str, status: u16, refusal: Option<Refusal>) -> String {
    match refusal {
        Some(Refusal::OutOfScope) => format!("the key that Tollgate has for {provider} lacks the right to this path"),
        Some(_) => format!("{provider} refuses the key that Tollgate has for it"),
        None => format!(
            "{provider} answered {status} with something that is no answer of its API, such as the page of a firewall or a proxy before it: it says nothing of the key; see who answers at its base_url"
        ),
    }
}

/// That no key may be used: which, since when, and what to do.
pub(super) fn no_credential(provider: &str, Away { cause, detail, .. }: &Away) -> String {
    match cause {
        Cause::Limited => format!("{provider} has no key of Tollgate that it takes at the moment: {detail}"),
        Cause::Refused(Refusal::Unknown | Refusal::Forbidden | Refusal::OutOfScope) => {
            format!("{provider} refuses every key that Tollgate has for it, so it was not asked: {detail}")
        }
        Cause::Refused(Refusal::OutOfFunds) => {
            format!(
                "{provider} says that the account of every key that Tollgate has for it is out of money, so it was not asked: {detail}"
            )
        }
    }
}

/// That it points elsewhere, where to, and the way out.
pub(super) fn redirected(provider: &str, status: u16, to: Option<&str>) -> String {
    let to = to.unwrap_or("a place that it doesn't name");
    format!(
        "{provider} answered {status} and points to {to}, where nothing is sent: if its API is there, set its base_url in tollgate.toml to that place"
    )
}

/// What stands for the words of a provider that had none.
pub(super) fn no_message(status: u16) -> String {
    format!("it answered with status {status} and no message")
}

/// A place that is not followed, in a length for messages.
const PLACE_CHARS_MAX: usize = 200;

impl ProviderError {
    /// What happened, as the end of a sentence that begins with a deployment: for lists of several.
    pub fn in_short(&self) -> String {
        match self {
            Self::Connect { .. } => "can't be connected to".to_owned(),
            Self::Lost { .. } => "closed the connection without an answer".to_owned(),
            Self::Timeout { limit: TimeLimit::Unsent, .. } => "had no time left".to_owned(),
            Self::Timeout { limit, after, .. } => format!("took longer than the {limit} limit of {after:?}"),
            Self::RateLimited { .. } => "limits the rate".to_owned(),
            Self::NoCredential { away, .. } => format!("takes none of its keys: {}", away.detail),
            Self::OutOfFunds { .. } => "has an account without money".to_owned(),
            Self::Overloaded { .. } => "is overloaded".to_owned(),
            Self::Broken { status, .. } => format!("failed with status {status}"),
            Self::Unauthorized { refusal: Some(_), .. } => "refuses its key".to_owned(),
            Self::Unauthorized { status, .. } | Self::Redirected { status, .. } => {
                format!("answered {status} instead of its API")
            }
            Self::Rejected { status, .. } => format!("refused the request with {status}"),
            Self::Garbage { .. } => "sent an answer that can't be read".to_owned(),
            Self::BrokeOff { .. } => "broke its answer off".to_owned(),
            Self::StreamError { .. } => "failed while answering".to_owned(),
            Self::GivenUp { .. } => "was given up".to_owned(),
            Self::Crowded { .. } => "has no place free".to_owned(),
            Self::CircuitOpen { .. } => "is not called for the moment because it kept failing".to_owned(),
        }
    }

    /// That of an answer with a status from 300 to 399. Of the place that its `Location` names only what can hold no credentials is
    /// told: no user, no query, no fragment.
    pub fn redirect(provider: String, status: u16, location: Option<&str>) -> Self {
        let bare = |location: &str| match Url::parse(location) {
            Ok(mut url) => {
                // Addresses that can't have these have none.
                let _ = url.set_username("");
                let _ = url.set_password(None);
                url.set_query(None);
                url.set_fragment(None);
                url.to_string()
            }
            Err(_) => location.split(['?', '#']).next().unwrap_or_default().to_owned(),
        };
        let to = location.map(bare).map(|to| to.chars().take(PLACE_CHARS_MAX).collect::<String>());
        Self::Redirected { provider, status, to: to.filter(|to| !to.is_empty()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_names_the_place_without_what_could_be_a_credential() {
        let check = |location: Option<&str>, expected: &str| {
            let told = ProviderError::redirect("p".to_owned(), 302, location).to_string();
            assert!(told.contains(&format!("answered 302 and points to {expected}, ")), "{told}");
        };
        check(Some("https://me:secret@login.test:8443/sso?token=secret#secret"), "https://login.test:8443/sso");
        check(Some("/login?token=secret"), "/login");
        check(Some("//login.test/sso#secret"), "//login.test/sso");
        check(Some(""), "a place that it doesn't name");
        check(None, "a place that it doesn't name");
    }
}
