//! Cutting secrets out of texts before they are kept.
//!
//! Credentials travel in headers, which are never kept. But people paste keys into prompts, and providers repeat them in
//! answers; what is known to be a secret, or has the form of our own credentials, is replaced wherever it stands.

use std::sync::{Arc, PoisonError, RwLock};

use memchr::memmem;

use crate::domain::Secret;

const MARK: &[u8] = b"***";
/// Shorter texts would be found where they mean something else.
const SECRET_BYTES_MIN: usize = 8;
/// Fewer characters after the prefix are no credential of ours.
const CREDENTIAL_CHARS_MIN: usize = 30;

/// What is known to be a secret, grown when the settings bring more of them. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Secrets(Arc<RwLock<Vec<Secret<String>>>>);

impl Secrets {
    pub(super) fn learn(&self, more: impl IntoIterator<Item = Secret<String>>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for secret in more {
            if !known.contains(&secret) {
                known.push(secret);
            }
        }
    }

    /// Cuts them out of a text, and what looks like a credential of ours.
    pub(super) fn cut_out_of(&self, text: &mut Vec<u8>) {
        scrub(text, &self.0.read().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Replaces the secrets, and everything that looks like a virtual key or an admin token.
fn scrub(text: &mut Vec<u8>, secrets: &[Secret<String>]) {
    for secret in secrets.iter().map(|secret| secret.expose().as_bytes()) {
        if secret.len() >= SECRET_BYTES_MIN {
            replace(text, secret, |_| Some(secret.len()));
        }
    }
    for prefix in [b"tg-".as_slice(), b"tga-"] {
        replace(text, prefix, |rest| {
            let letters = rest[prefix.len()..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            (letters >= CREDENTIAL_CHARS_MIN).then_some(prefix.len() + letters)
        });
    }
}

/// Replaces each place of a needle from where `length` says that something is to be cut, and how much.
fn replace(text: &mut Vec<u8>, needle: &[u8], length: impl Fn(&[u8]) -> Option<usize>) {
    let mut cuts = Vec::new();
    let mut free_from = 0;
    for at in memmem::find_iter(text, needle) {
        if at >= free_from
            && let Some(length) = length(&text[at..])
        {
            cuts.push((at, length));
            free_from = at + length;
        }
    }
    if cuts.is_empty() {
        return;
    }
    let mut clean = Vec::with_capacity(text.len());
    let mut from = 0;
    for (at, length) in cuts {
        clean.extend_from_slice(&text[from..at]);
        clean.extend_from_slice(MARK);
        from = at + length;
    }
    clean.extend_from_slice(&text[from..]);
    *text = clean;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: &str) {
        let mut bytes = text.as_bytes().to_vec();
        scrub(&mut bytes, &[Secret::new("sk-canary-1".to_owned()), Secret::new("short".to_owned())]);
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn known_secrets_and_our_own_credentials_are_cut_out() {
        check("a sk-canary-1 b sk-canary-1", "a *** b ***");
        check("tg-0123456789abcdefghjkmnpqrstvwxyz0123456789abcd.", "***.");
        check("\"tga-0123456789abcdefghjkmnpqrstvwxyz0123456789abcd\"", "\"***\"");
    }

    #[test]
    fn words_that_only_begin_like_one_stay() {
        check("tg-1 is short, and so is a secret of five", "tg-1 is short, and so is a secret of five");
        check("", "");
    }

    proptest! {
        #[test]
        fn no_secret_is_left_whatever_stands_around_it(before in ".{0,20}", after in ".{0,20}") {
            let mut bytes = format!("{before}sk-canary-1{after}").into_bytes();
            scrub(&mut bytes, &[Secret::new("sk-canary-1".to_owned())]);
            prop_assert!(memmem::find(&bytes, b"sk-canary-1").is_none());
        }
    }
}
