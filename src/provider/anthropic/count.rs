//! `count_tokens`: a number, and nothing to pay for it.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use crate::domain::{Residency, ServiceTier, TokenUsage};
use crate::provider::decode::{Decoder, Meaning, Progress, Whole};
use crate::provider::error::ProviderError;
use crate::provider::usage::ReportedUsage;

use super::AnthropicDecoder;

/// Reads counts.
pub(in crate::provider) struct CountDecoder;

#[derive(Deserialize)]
struct Count {
    #[expect(dead_code, reason = "it is read to see that it is a count")]
    input_tokens: u64,
}

impl Decoder for CountDecoder {
    fn whole(&self, provider: &str, body: &[u8]) -> Result<Whole, ProviderError> {
        let _: Count = serde_json::from_slice(body).map_err(|_| {
            let detail = "it has no count of tokens".to_owned();
            ProviderError::Garbage { provider: provider.to_owned(), detail }
        })?;
        // Counting is free, and that is known exactly.
        let usage = ReportedUsage {
            usage: TokenUsage::default(),
            tier: ServiceTier::default(),
            residency: Residency::Anywhere,
            fast: false,
            raw: "{}".into(),
        };
        Ok(Whole { usage: Some(usage), ..Whole::default() })
    }

    fn record(&self, provider: &str, _: &[u8], _: &mut Progress) -> Meaning {
        let detail = "this path has no streams".to_owned();
        Meaning::Error(ProviderError::Garbage { provider: provider.to_owned(), detail })
    }

    fn error(&self, provider: &str, status: u16, retry_after: Option<Duration>, body: &[u8]) -> ProviderError {
        AnthropicDecoder.error(provider, status, retry_after, body)
    }

    fn without_usage(&self, _: &Bytes) -> Option<Bytes> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_costs_nothing_and_anything_else_is_no_count() {
        assert!(CountDecoder.whole("p", br#"{"input_tokens":14}"#).unwrap().usage.unwrap().usage.is_empty());
        for body in [r#"{"input_tokens":-1}"#, r#"{"tokens":1}"#, "<html>"] {
            assert!(CountDecoder.whole("p", body.as_bytes()).is_err(), "{body}");
        }
    }
}
