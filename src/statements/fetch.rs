//! The way out to a provider's reports: page by page, patient where it is asked to wait, and never elsewhere.
//!
//! Redirects are not followed: the key would go along. The address is the provider's own from the settings, as for calls, and
//! so are proxies of the environment and further certificate authorities.

use std::path::Path;
use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::account::{Account, Company};
use super::days::Days;
use super::error::FetchError;
use super::reading::Reading;
use super::{anthropic, openai};
use crate::domain::url_encoded;
use crate::domain::wording::first_cause;
use crate::outbound;

/// The longest that one page takes: sums over a month are slow at times.
const PAGE_TIME_MAX: Duration = Duration::from_mins(1);
/// A page of a month by model is some hundred kilobytes.
const PAGE_BYTES_MAX: usize = 16 << 20;
/// Pages of one report: a quarter by day has three; a provider that never ends is broken.
const PAGES_MAX: usize = 500;
/// How often a page is asked for where the provider is busy or fails.
const TRIES_MAX: u32 = 5;
/// The pause after the first failure; it doubles.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest that a provider may ask to wait for within one fetch.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// What is repeated of a refusal.
const REFUSAL_CHARS_MAX: usize = 300;
/// The version that the reports are described for.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// Fetches reports.
#[derive(Clone, Debug)]
pub struct Reporter {
    client: reqwest::Client,
}

/// A page of any report.
#[derive(Deserialize)]
struct Page<B> {
    data: Vec<B>,
    has_more: bool,
    next_page: Option<String>,
}

/// An error of either company.
#[derive(Deserialize)]
struct RefusalBody {
    error: RefusalText,
}

#[derive(Deserialize)]
struct RefusalText {
    message: String,
}

/// Whether trying again may help, and when.
#[derive(Clone, Copy)]
enum Again {
    Never,
    /// After a pause of our choice.
    Later,
    /// After theirs.
    After(Duration),
}

impl Reporter {
    /// A client that trusts the system's certificate authorities, and those of a file in PEM.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let builder = outbound::client(ca_file)?
            .timeout(PAGE_TIME_MAX)
            // Once a day: a connection that is kept would be stale.
            .pool_idle_timeout(PAGE_TIME_MAX);
        builder.build().map(|client| Self { client }).map_err(|error| error.to_string())
    }

    /// What an account was charged and has used in a range of days: all of it, or an error.
    pub async fn read(&self, account: &Account, days: Days) -> Result<Reading, FetchError> {
        match account.company {
            Company::OpenAi => openai::read(self, account, days).await,
            Company::Anthropic => anthropic::read(self, account, days).await,
        }
    }

    /// Every bucket of a report; `query` is written as it goes out.
    pub(super) async fn buckets<B: DeserializeOwned>(
        &self,
        account: &Account,
        path: &str,
        query: &str,
    ) -> Result<Vec<B>, FetchError> {
        let (mut buckets, mut at): (Vec<B>, Option<String>) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = at.as_ref().map(|page| format!("&page={}", url_encoded(page))).unwrap_or_default();
            let body = self.page(account, path, &format!("{query}{page}")).await?;
            // Not what serde says: that repeats a piece of the answer.
            let page: Page<B> = serde_json::from_slice(&body).map_err(|error| {
                garbage(format!("a page of {path} can't be read at line {} column {}", error.line(), error.column()))
            })?;
            buckets.extend(page.data);
            match (page.has_more, page.next_page) {
                (false, _) => return Ok(buckets),
                (true, Some(next)) if at.as_ref() != Some(&next) => at = Some(next),
                (true, _) => return Err(garbage(format!("{path} has more pages and doesn't say where"))),
            }
        }
        Err(garbage(format!("{path} has more than {PAGES_MAX} pages")))
    }

    /// One page, asked for again where the provider is busy, fails, or can't be reached.
    async fn page(&self, account: &Account, path: &str, query: &str) -> Result<Vec<u8>, FetchError> {
        let mut pause = PAUSE_MIN;
        for attempt in 1.. {
            let (error, wait) = match self.ask(account, path, query).await {
                Ok(body) => return Ok(body),
                Err((error, Again::Never)) => return Err(error),
                Err((error, Again::Later)) => (error, pause),
                Err((error, Again::After(wait))) => (error, wait),
            };
            if attempt == TRIES_MAX || wait > PAUSE_MAX {
                return Err(error);
            }
            tracing::debug!("the reports of provider {} are asked for again: {error}", account.provider);
            tokio::time::sleep(wait).await;
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }

    /// One request. An error comes with whether trying again may help.
    async fn ask(&self, account: &Account, path: &str, query: &str) -> Result<Vec<u8>, (FetchError, Again)> {
        let mut url = account.base_url.clone();
        url.set_path(&format!("{}{path}", account.base_url.path().trim_end_matches('/')));
        url.set_query(Some(query));
        let request = self.client.get(url).headers(credentials(account));
        let mut response = request.send().await.map_err(|error| (lost(error), Again::Later))?;
        let status = response.status();
        if !status.is_success() {
            let asked = retry_after(response.headers());
            let text = beginning(&mut response).await;
            return Err(refusal(account, status, asked, &text));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| (lost(error), Again::Later))? {
            body.extend_from_slice(&chunk);
            if body.len() > PAGE_BYTES_MAX {
                return Err((garbage("a page is larger than 16 MiB".to_owned()), Again::Never));
            }
        }
        Ok(body)
    }
}

fn garbage(detail: String) -> FetchError {
    FetchError::Garbage { detail }
}

/// Something in a report that can't be.
pub(super) fn strange(detail: impl Into<String>) -> FetchError {
    garbage(detail.into())
}

/// What goes along to show who asks.
fn credentials(account: &Account) -> HeaderMap {
    let key = account.admin_key.expose();
    let (name, text) = match account.company {
        Company::OpenAi => (AUTHORIZATION, format!("Bearer {key}")),
        Company::Anthropic => (HeaderName::from_static("x-api-key"), key.clone()),
    };
    let mut headers = HeaderMap::new();
    if let Ok(mut value) = HeaderValue::from_str(&text) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    if account.company == Company::Anthropic {
        headers.insert("anthropic-version", ANTHROPIC_VERSION);
    }
    headers
}

fn refusal(account: &Account, status: StatusCode, asked: Option<Duration>, text: &str) -> (FetchError, Again) {
    let company = account.company.name();
    let again = asked.map_or(Again::Later, Again::After);
    match status {
        StatusCode::UNAUTHORIZED => (FetchError::UnknownKey { company }, Again::Never),
        StatusCode::FORBIDDEN => (FetchError::WrongKey { company }, Again::Never),
        StatusCode::TOO_MANY_REQUESTS => {
            (FetchError::Limited { seconds: asked.unwrap_or(PAUSE_MAX).as_secs().max(1) }, again)
        }
        status if status.is_server_error() => (FetchError::Failing { status: status.as_u16() }, again),
        status => {
            // Some repeat the key that they refuse.
            let text = text.replace(account.admin_key.expose().as_str(), "***");
            (FetchError::Refused { status: status.as_u16(), text }, Again::Never)
        }
    }
}

/// When to come back, in seconds; a date is rare here and counts as nothing said.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    Duration::try_from_secs_f64(text.trim().parse().ok()?).ok()
}

/// What a refusal says, in one line: the message of a JSON error, or the beginning of the text.
async fn beginning(response: &mut reqwest::Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > 64 << 10 {
            break;
        }
    }
    let text = match serde_json::from_slice::<RefusalBody>(&body) {
        Ok(body) => body.error.message,
        Err(_) => String::from_utf8_lossy(&body).into_owned(),
    };
    let visible = text.chars().map(|character| if character.is_control() { ' ' } else { character });
    visible.take(REFUSAL_CHARS_MAX).collect::<String>().trim().to_owned()
}

/// The innermost cause, without the address.
fn lost(error: reqwest::Error) -> FetchError {
    if error.is_timeout() {
        return FetchError::Unreachable { detail: format!("not within {} s", PAGE_TIME_MAX.as_secs()) };
    }
    FetchError::Unreachable { detail: first_cause(&error.without_url()) }
}
