//! What must hold of any text that somebody presents.

use super::credential::{Kind, last4};
use super::session::{csrf_token, session_hash};
use crate::domain::Secret;

/// See [`crate::fuzzing::credential`].
pub(crate) fn credential(text: &str) {
    for (kind, prefix) in [(Kind::VirtualKey, "tg-"), (Kind::AdminToken, "tga-")] {
        if kind.check(text).is_ok() {
            assert!(text.starts_with(prefix) && text.is_ascii() && text.len() == prefix.len() + 46);
            assert_eq!(last4(&Secret::new(text.to_owned())).len(), 4);
        }
        let mut made = kind.mint().expose().clone();
        assert!(kind.check(&made).is_ok());
        made.push_str(text);
        assert_eq!(kind.check(&made).is_ok(), text.is_empty(), "nothing may be added");
    }
}

/// See [`crate::fuzzing::session_cookie`].
pub(crate) fn session_cookie(text: &str) {
    let token = csrf_token(text);
    assert!(token.expose().len() == 64 && token.expose().bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_ne!(session_hash(text), session_hash(&format!("{text} ")));
}
