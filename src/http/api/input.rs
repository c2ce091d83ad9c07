//! What comes in with a request: query parameters, times, JSON bodies; everything that can't be is refused with a reason.

use std::ops::RangeInclusive;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use super::field;
use crate::domain::{Revision, Window};
use crate::http::problem::{Code, Problem};
use crate::keys::Expected;
use crate::ledger::TimeRange;

/// More than any body of the management API has.
const BODY_BYTES_MAX: usize = 256 << 10;
/// A body of many requests, one a line; more than the prompts of an ordinary program.
const LINES_BYTES_MAX: usize = 8 << 20;
/// A body that takes longer holds a connection for nothing.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// Longer than any name, cursor or text to search for.
const VALUE_CHARS_MAX: usize = 300;
/// The most that a page of a list has.
pub(super) const PAGE_LEN_MAX: usize = 200;

/// The query parameters of a request.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the query of a request.
    pub(super) fn of(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        Self::of_query(request.query_string(), known)
    }

    /// Reads a query; a name that isn't known, or stands twice, is refused.
    pub(super) fn of_query(query: &str, known: &[&str]) -> Result<Self, Problem> {
        let mut params: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let shown: String = name.chars().take(40).collect();
            if !known.contains(&&*name) {
                let expected = if known.is_empty() {
                    "this path has none".to_owned()
                } else {
                    format!("there is {}", known.join(", "))
                };
                return Err(Problem::parameter(&shown, format!("{shown:?} is no parameter of this path: {expected}")));
            }
            if params.iter().any(|(present, _)| *present == name) {
                return Err(Problem::parameter(&shown, format!("{shown} stands twice: give it once")));
            }
            if value.chars().nth(VALUE_CHARS_MAX).is_some() {
                return Err(Problem::parameter(
                    &shown,
                    format!("{shown} is longer than {VALUE_CHARS_MAX} characters: shorten it"),
                ));
            }
            params.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(params))
    }

    /// A parameter's text; an empty one, as forms send it, is absent.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(present, _)| present == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The same to keep.
    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(ToOwned::to_owned)
    }

    /// A whole number.
    pub(super) fn whole(&self, name: &str, range: RangeInclusive<usize>, default: usize) -> Result<usize, Problem> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            Problem::parameter(
                name,
                format!("{name} has to be a whole number from {} to {}", range.start(), range.end()),
            )
        })
    }

    /// One word of a closed list.
    pub(super) fn word<T: Copy>(
        &self,
        name: &str,
        all: &[T],
        word: impl Fn(T) -> &'static str,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let found = all.iter().copied().find(|value| word(*value) == text);
        let words = || all.iter().map(|value| word(*value)).collect::<Vec<_>>().join(", ");
        found.map(Some).ok_or_else(|| Problem::parameter(name, format!("{name} has to be one of {}", words())))
    }

    /// A time.
    pub(super) fn instant(&self, name: &str, zone: &TimeZone) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        instant(text, zone).map(Some).ok_or_else(|| Problem::parameter(name, format!("{name} {INSTANT_EXPECTED}")))
    }

    /// The range from `from` to before `to`: this month where neither is given, and the month's end or beginning where one is.
    pub(super) fn range(&self, now: Timestamp, zone: &TimeZone) -> Result<TimeRange, Problem> {
        let (from, to) = (self.instant("from", zone)?, self.instant("to", zone)?);
        let month_start = |at: Timestamp| Window::Month.at(at, zone).start(zone).unwrap_or(at);
        let month_end = |at: Timestamp| Window::Month.at(at, zone).end(zone).unwrap_or(at);
        let range = match (from, to) {
            (Some(from), Some(until)) => TimeRange { from, until },
            (Some(from), None) => TimeRange { from, until: month_end(now.max(from)) },
            (None, Some(until)) => {
                let last = Timestamp::from_millisecond(until.as_millisecond() - 1).unwrap_or(until);
                TimeRange { from: month_start(last), until }
            }
            (None, None) => TimeRange { from: month_start(now), until: month_end(now) },
        };
        if range.from < range.until {
            Ok(range)
        } else {
            Err(Problem::parameter("from", "from has to lie before to, which is not part of the range itself"))
        }
    }
}

/// What is said of a text that is no time.
pub(super) const INSTANT_EXPECTED: &str =
    "has to be a time such as 2026-11-22T09:30:00Z, or a date such as 2026-11-22, between the years 2000 and 2100";

/// A time of RFC 3339, or the first instant of a date in the zone.
pub fn instant(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let instant = if text.len() == "2026-11-22".len() {
        let date: Date = text.parse().ok()?;
        zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible().ok()?
    } else {
        // A plus that nobody escaped arrives as a space.
        text.replace(' ', "+").parse().ok()?
    };
    let year = zone.to_datetime(instant).year();
    (2000..2100).contains(&year).then_some(instant)
}

/// A length of time, as `24h` or `30m`.
pub(super) fn length(field: &str, text: &str) -> Result<Duration, Problem> {
    humantime::parse_duration(text)
        .map_err(|_| Problem::field(field, format!("{field}: {text:?} is no length of time such as 24h or 30m")))
}

/// A body that was declared and is JSON of a type.
pub(super) struct Json<T>(pub(super) T);

/// The same where the body may be left out, because it has nothing to say.
pub(super) struct MaybeJson<T>(pub(super) T);

impl<T: DeserializeOwned + Default + 'static> FromRequest for MaybeJson<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if !has_body(request) {
            return Box::pin(async { Ok(Self(T::default())) });
        }
        let body = Json::<T>::from_request(request, payload);
        Box::pin(async move { Ok(Self(body.await?.0)) })
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = is_json(request);
        let mut payload = payload.take();
        Box::pin(async move {
            if !is_json {
                let detail = "the body has to be JSON: send the header content-type: application/json";
                return Err(Problem::new(Code::UnsupportedMediaType, detail));
            }
            let body = read_in_time(&mut payload, BODY_BYTES_MAX).await?;
            serde_json::from_slice(&body).map(Self).map_err(|error| refused(&body, &error))
        })
    }
}

/// The states of a thing that its caller has seen, by the header `If-Match`; without it, any.
///
/// A tag that is none of ours fits no state, so the change is refused rather than made unseen.
pub(super) fn expected(request: &HttpRequest) -> Expected {
    let mut values = request.headers().get_all(header::IF_MATCH).peekable();
    if values.peek().is_none() {
        return Expected::Any;
    }
    let tags: Vec<&str> =
        values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim).collect();
    if tags.contains(&"*") {
        return Expected::Any;
    }
    let revision = |tag: &&str| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok();
    Expected::OneOf(tags.iter().filter_map(revision).collect())
}

/// The header by which a later change can say what it has seen.
pub(super) fn etag(revision: Revision) -> (header::HeaderName, String) {
    (header::ETAG, format!("\"{revision}\""))
}

/// Whether a request has a body at all.
pub(super) fn has_body(request: &HttpRequest) -> bool {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.is_some_and(|length| length != "0") || request.headers().contains_key(header::TRANSFER_ENCODING)
}

fn is_json(request: &HttpRequest) -> bool {
    media_of(request) == "application/json"
}

/// What a body was declared to be, without parameters, in lower case.
pub(super) fn media_of(request: &HttpRequest) -> String {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A body of lines, whatever it was declared to be.
pub(super) struct Lines(pub(super) Bytes);

impl FromRequest for Lines {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(_: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let mut payload = payload.take();
        Box::pin(async move { Ok(Self(read_in_time(&mut payload, LINES_BYTES_MAX).await?.into())) })
    }
}

async fn read_in_time(payload: &mut Payload, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let read = tokio::time::timeout(BODY_TIME_MAX, read(payload, bytes_max));
    read.await.map_err(|_| {
        Problem::new(Code::BodyTimeout, "the body took longer than 30 seconds to arrive: try again over a faster line")
    })?
}

async fn read(payload: &mut Payload, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let mut body = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Problem::new(Code::InvalidJson, format!("the body broke off: {error}")))?;
        if body.len() + chunk.len() > bytes_max {
            let detail = format!("the body is larger than the {bytes_max} bytes that are taken here: shorten it");
            return Err(Problem::new(Code::BodyTooLarge, detail));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn refused(body: &[u8], error: &serde_json::Error) -> Problem {
    // A null where a word is expected is called a syntax error by the parser, but is JSON all the same.
    let is_json = error.is_data() || serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    let field = if is_json { field::of_error(body, error) } else { None };
    let (code, what) = match &field {
        Some(field) => (Code::InvalidField, format!("{field}: it doesn't have the shape that is expected here")),
        None if is_json => (Code::InvalidField, "the body doesn't have the shape that is expected here".to_owned()),
        None => (Code::InvalidJson, "the body is not JSON".to_owned()),
    };
    let problem = Problem::new(code, format!("{what}: {error}; GET /api/openapi.json has every field"));
    let problem = problem.with("line", error.line()).with("column", error.column());
    match field {
        Some(field) => problem.with("field", field),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let zone = TimeZone::get("Asia/Seoul").unwrap();
        assert_eq!(instant(text, &zone).map(|instant| instant.to_string()).as_deref(), expected, "{text:?}");
    }

    #[test]
    fn a_time_is_rfc_3339_and_a_date_begins_in_the_teams_zone() {
        check("2026-11-22T09:30:00Z", Some("2026-11-22T09:30:00Z"));
        check("2026-11-22T09:30:00.250+09:00", Some("2026-11-22T00:30:00.25Z"));
        check("2026-11-22T09:30:00 09:00", Some("2026-11-22T00:30:00Z"));
        check("2026-11-22", Some("2026-11-21T15:00:00Z"));
        check("2000-01-01", Some("1999-12-31T15:00:00Z"));
    }

    fn check_expected(headers: &[&str], is_any: bool, fits: Option<u64>) {
        let mut request = actix_web::test::TestRequest::default();
        for value in headers {
            request = request.append_header(("if-match", *value));
        }
        let seen = match expected(&request.to_http_request()) {
            Expected::Any => None,
            Expected::OneOf(seen) => Some(seen),
        };
        assert_eq!(seen.is_none(), is_any, "{headers:?}");
        let fits: Vec<Revision> = fits.into_iter().map(|number| number.to_string().parse().unwrap()).collect();
        assert_eq!(seen.unwrap_or_default(), fits, "{headers:?}");
    }

    #[test]
    fn if_match_names_what_was_seen_and_what_is_no_tag_of_ours_fits_nothing() {
        check_expected(&[], true, None);
        check_expected(&["*"], true, None);
        check_expected(&["\"3\""], false, Some(3));
        check_expected(&["\"x\", \"3\""], false, Some(3));
        check_expected(&["\"x\"", "\"3\""], false, Some(3));
        for tag in ["3", "W/\"3\"", "\"\"", "\"-1\"", "", "\"3"] {
            check_expected(&[tag], false, None);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "yesterday", "2026-02-30", "2026-13-01", "20261122", "2026-11-22T09:30:00", "1795330000"] {
            check(text, None);
        }
        check("1999-12-31", None);
        check("2100-01-01", None);
        check("-009999-01-01T00:00:00Z", None);
    }
}
