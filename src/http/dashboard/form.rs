//! Forms as browsers send them, read with a bound and without trust.

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest as _, HttpRequest, web};
use std::future::Future;
use url::form_urlencoded;

use super::answer::PageError;
use super::view::Field;
use crate::keys::Expected;

/// More than any form of ours has.
const BODY_BYTES_MAX: usize = 32 << 10;
/// Longer than any name, text to search for or cursor list.
const VALUE_CHARS_MAX: usize = 2_000;

/// Names and values, as they were sent.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads a form from a body.
    pub(super) fn read(
        request: &HttpRequest,
        payload: &mut Payload,
    ) -> impl Future<Output = Result<Self, PageError>> + use<> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        // An empty form may come without a type.
        let is_form = kind.is_empty() || kind.eq_ignore_ascii_case("application/x-www-form-urlencoded");
        let body = web::Bytes::from_request(request, payload);
        async move {
            if !is_form {
                return Err(PageError::BadForm);
            }
            let body = body.await.map_err(|_| PageError::BadForm)?;
            if body.len() > BODY_BYTES_MAX {
                return Err(PageError::BadForm);
            }
            Ok(Self::parse(&body))
        }
    }

    /// The parameters of a query; values longer than any that means something are left out.
    pub(super) fn of_query(query: &str) -> Self {
        let mut fields = Self::parse(query.as_bytes());
        fields.0.retain(|(_, value)| value.chars().nth(VALUE_CHARS_MAX).is_none());
        fields
    }

    fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// A field's value; empty where it was not sent.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// A field's value without the blanks around it; `None` where nothing is left.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        Some(self.text(name).trim()).filter(|value| !value.is_empty())
    }

    /// A field as it is shown again.
    pub(super) fn field(&self, name: &str) -> Field {
        Field { value: self.text(name).to_owned(), error: None }
    }

    /// The state of what the form is about that its page has shown. A form that says nothing of it fits no state, so its change
    /// is refused rather than made unseen.
    pub(super) fn expected(&self) -> Expected {
        Expected::OneOf(self.text("revision").parse().into_iter().collect())
    }

    /// True where nothing was sent.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The address of a path with a query; parameters without a value are left out.
pub(super) fn href(path: &str, query: &[(&str, &str)]) -> String {
    let mut text = form_urlencoded::Serializer::new(String::new());
    let given = query.iter().filter(|(_, value)| !value.is_empty());
    let query = text.extend_pairs(given).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_it_is_written() {
        let query = href("/requests", &[("q", "a&b=c d+é"), ("model", ""), ("key", "<x>")]);
        assert_eq!(query, "/requests?q=a%26b%3Dc+d%2B%C3%A9&key=%3Cx%3E");
        let fields = Fields::of_query(query.split_once('?').unwrap().1);
        assert_eq!((fields.text("q"), fields.given("key"), fields.given("model")), ("a&b=c d+é", Some("<x>"), None));
        assert_eq!(href("/", &[("range", "")]), "/");
    }

    #[test]
    fn what_is_too_long_to_mean_anything_is_left_out() {
        let fields = Fields::of_query(&format!("q={}&range=7d", "a".repeat(5_000)));
        assert_eq!((fields.text("q"), fields.text("range")), ("", "7d"));
    }
}
