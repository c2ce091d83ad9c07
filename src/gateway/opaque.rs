//! Calls that pass through unread: images, audio, moderations, files, batches. Only their model is looked for.

use std::ops::Range;

use memchr::memmem;

use crate::domain::json::members;
use crate::domain::{CostBasis, Endpoint, Picodollars, TokenUsage};
use crate::routing::Asking;

use super::booking::Bill;
use super::call::Call;
use super::envelope::Envelope;
use super::error::GatewayError;
use super::prepare::Asked;

/// A field of a form is looked for in so many bytes behind its name: a model's name is short.
const FORM_VALUE_BYTES_MAX: usize = 512;

impl Call {
    /// Runs a call that is not read.
    pub(super) async fn serve_opaque(&mut self) -> Result<(), GatewayError> {
        let endpoint = self.inbound.endpoint;
        let body = self.inbound.body.clone();
        let named = named_model(&body);
        // What has no model is asked for by the name of its path.
        let model = named.as_ref().map_or(endpoint.as_str(), |(model, _)| model);
        self.may_ask_for(model)?;
        let mut plan = match &named {
            Some((model, _)) => {
                let asking = Asking::plain(endpoint, self.gateway.parts().clock.now());
                self.router().plan(model, &asking, std::time::Instant::now())?
            }
            None => self.router().plan_without_model(endpoint)?,
        };
        // A file that was sent twice is there twice.
        plan.candidates.truncate(1);
        plan.attempts_max = 1;
        let span = named.as_ref().map(|(_, span)| span.clone());
        let envelope = Envelope::opaque(model.into(), span, &body, self.reads_only());
        let facts = self.facts(&envelope)?;
        if self.replay(&facts).await? {
            return Ok(());
        }
        self.admit(&facts, &envelope).await?;
        let mut asked = Asked { envelope, facts, conversation: None };
        let committed = Box::pin(self.attempt_in_order(&mut asked, plan)).await?;
        self.answer_whole(&asked, committed, None).await
    }

    /// Whether the call asks for something that is there already, which costs nothing.
    fn reads_only(&self) -> bool {
        self.inbound.opaque.as_ref().is_some_and(|opaque| opaque.method != http::Method::POST)
    }

    /// The bill of an answer without a usage.
    pub(super) fn bill_unread(&self) -> Bill {
        let basis = if self.reads_only() { CostBasis::Exact } else { CostBasis::Unpriced };
        Bill { usage: TokenUsage::default(), cost: Picodollars::ZERO, basis, raw: None, rating: None }
    }
}

/// The model that a body names, as JSON or as a form, and where its name stands.
fn named_model(body: &[u8]) -> Option<(String, Range<usize>)> {
    if body.first().is_some_and(|first| *first == b'-') {
        return form_field(body, b"name=\"model\"");
    }
    let member = members(body).ok()?.into_iter().find(|member| member.name == "model")?;
    Some((serde_json::from_str(member.value).ok()?, member.span))
}

/// The value of a field of a multipart form: it stands behind the blank line that ends the field's own headers.
fn form_field(body: &[u8], name: &[u8]) -> Option<(String, Range<usize>)> {
    let headers = memmem::find(body, name)? + name.len();
    let near = &body[headers..body.len().min(headers + FORM_VALUE_BYTES_MAX)];
    let start = headers + memmem::find(near, b"\r\n\r\n")? + 4;
    let end = start + memmem::find(&body[start..body.len().min(start + FORM_VALUE_BYTES_MAX)], b"\r\n")?;
    let value = std::str::from_utf8(&body[start..end]).ok()?;
    Some((value.to_owned(), start..end))
}

/// What follows the endpoint's own path, where it can't lead out of it.
pub fn below(endpoint: Endpoint, path: &str) -> Option<&str> {
    let below = path.strip_prefix(endpoint.path())?;
    let is_plain = |segment: &str| {
        !segment.is_empty()
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
            && segment.bytes().any(|byte| byte != b'.')
    };
    let mut segments = below.split('/');
    (segments.next() == Some("") && segments.all(is_plain)).then_some(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_in_json_and_in_forms() {
        let (model, span) = named_model(br#"{"prompt":"model","model":"dall-e-3"}"#).unwrap();
        assert_eq!((model.as_str(), span), ("dall-e-3", 26..36));
        let form = b"--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--x--";
        let (model, span) = named_model(form).unwrap();
        assert_eq!((model.as_str(), &form[span]), ("whisper-1", b"whisper-1".as_slice()));
        for without in [&b""[..], b"{}", b"[1]", b"--x\r\nname=\"model\"", br#"{"model":1}"#, b"\xff\xfe"] {
            assert_eq!(named_model(without), None);
        }
    }

    #[test]
    fn a_path_stays_below_its_endpoint() {
        let check = |path: &str, expected: Option<&str>| assert_eq!(below(Endpoint::Files, path), expected, "{path}");
        check("/v1/files", Some(""));
        check("/v1/files/file-1/content", Some("/file-1/content"));
        for out in
            ["/v1/files/../keys", "/v1/files/..", "/v1/files//a", "/v1/files/", "/v1/files/%2e%2e", "/v1/filesx", "/v1"]
        {
            check(out, None);
        }
    }
}
