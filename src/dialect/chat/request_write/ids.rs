//! Ids of tool calls and of users in the form that a server takes: the same in, the same out, so that calls and results stay together.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::super::servers::CallIds;

/// Letters and digits, which Mistral's ids consist of.
const ALPHANUMERICS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const MISTRAL_ID_LEN: usize = 9;

/// The id of a call as a server takes it.
pub(super) fn call_id(id: &str, form: CallIds) -> Cow<'_, str> {
    match form {
        CallIds::Any => Cow::Borrowed(id),
        CallIds::UpTo(length_max) if id.chars().count() <= length_max => Cow::Borrowed(id),
        CallIds::UpTo(_) => Cow::Owned(format!("call_{}", &hex(id)[..32])),
        CallIds::NineAlphanumerics
            if id.len() == MISTRAL_ID_LEN && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            Cow::Borrowed(id)
        }
        CallIds::NineAlphanumerics => {
            let letter = |byte: u8| char::from(ALPHANUMERICS[usize::from(byte) % ALPHANUMERICS.len()]);
            Cow::Owned(Sha256::digest(id).iter().take(MISTRAL_ID_LEN).map(|byte| letter(*byte)).collect())
        }
    }
}

/// The name of a user in at most 64 characters.
pub(super) fn user(name: &str) -> Cow<'_, str> {
    const LENGTH_MAX: usize = 64;
    if name.chars().count() <= LENGTH_MAX { Cow::Borrowed(name) } else { Cow::Owned(hex(name)) }
}

/// The SHA-256 of a text in 64 hexadecimal digits.
fn hex(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from(DIGITS[usize::from(half)]));
    Sha256::digest(text).iter().flat_map(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_fit_stay_and_others_become_the_same_ones_each_time() {
        let long = "toolu_".repeat(10);
        for form in [CallIds::UpTo(40), CallIds::NineAlphanumerics, CallIds::Any] {
            assert_eq!(call_id(&long, form), call_id(&long, form));
            assert_ne!(call_id(&long, form), call_id("toolu_1", form));
        }
        assert_eq!(call_id("toolu_1", CallIds::UpTo(40)), "toolu_1");
        assert_eq!(call_id(&long, CallIds::UpTo(40)).len(), 37);
        assert_eq!(call_id("abcDEF123", CallIds::NineAlphanumerics), "abcDEF123");
        for id in ["", "toolu_1", "call_1234", "abcdefgh", "äöüäöü123"] {
            let mapped = call_id(id, CallIds::NineAlphanumerics);
            assert!(mapped.len() == 9 && mapped.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{mapped}");
        }
    }

    #[test]
    fn a_long_name_of_a_user_becomes_its_hash() {
        assert_eq!(user("short"), "short");
        assert_eq!(user(&"x".repeat(65)).len(), 64);
    }
}
