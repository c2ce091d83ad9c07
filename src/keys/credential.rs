//! The texts that people paste: how credentials are made, and what one must look like.
//!
//! A credential is a prefix, 40 random characters (200 bits) and 6 checksum characters. The checksum is public: it
//! tells a credential that was cut or mistyped from one that is unknown, and lets scanners for leaked secrets be sure.

use sha2::{Digest as _, Sha256};

use crate::domain::Secret;

/// Crockford's base 32, in lower case: no letter that reads as a digit.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Random characters of five bits each: 200 bits, of which the last four shown in lists give nothing away.
const RANDOM_CHARS: usize = 40;
const CHECKSUM_CHARS: usize = 6;
/// Characters of a session or a one-time link: 260 bits.
const TOKEN_CHARS: usize = 52;

/// What a credential opens, told by its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    VirtualKey,
    AdminToken,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::VirtualKey => "tg-",
            Self::AdminToken => "tga-",
        }
    }

    /// A new credential of the kind.
    pub(super) fn mint(self) -> Secret<String> {
        let mut text = format!("{}{}", self.prefix(), random_text(RANDOM_CHARS));
        let checksum = checksum(&text);
        text.extend(checksum.map(char::from));
        Secret::new(text)
    }

    /// Whether a text has the form of the kind.
    pub(super) fn check(self, text: &str) -> Result<(), FormError> {
        self.check_shape(text)?;
        check_checksum(text)
    }

    /// Whether a text has the prefix, the length and the letters of the kind: cheap, and bounds what is hashed.
    pub(super) fn check_shape(self, text: &str) -> Result<(), FormError> {
        let body = text.strip_prefix(self.prefix()).ok_or(FormError::Shape)?;
        if body.len() != RANDOM_CHARS + CHECKSUM_CHARS || !body.bytes().all(is_letter) {
            return Err(FormError::Shape);
        }
        Ok(())
    }
}

/// Whether a text of the right shape was copied whole.
pub(super) fn check_checksum(text: &str) -> Result<(), FormError> {
    let (signed, claimed) = text.split_at(text.len().saturating_sub(CHECKSUM_CHARS));
    // No secret is compared here: anybody can compute the checksum of what they present.
    if checksum(signed) == claimed.as_bytes() { Ok(()) } else { Err(FormError::Checksum) }
}

/// Why a text can't be a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FormError {
    Shape,
    Checksum,
}

fn checksum(text: &str) -> [u8; CHECKSUM_CHARS] {
    let digest = Sha256::digest(text.as_bytes());
    std::array::from_fn(|place| letter(digest[place]))
}

/// The last four characters, which lists show so that a person can tell credentials apart.
pub(super) fn last4(credential: &Secret<String>) -> String {
    let text = credential.expose();
    text[text.len().saturating_sub(4)..].to_owned()
}

/// A secret for a cookie or a link, of 260 random bits.
pub(super) fn random_token() -> Secret<String> {
    Secret::new(random_text(TOKEN_CHARS))
}

/// So many random characters of five bits each.
pub(super) fn random_text(chars: usize) -> String {
    let mut bytes = vec![0; chars];
    fill_random(&mut bytes);
    bytes.into_iter().map(|byte| char::from(letter(byte))).collect()
}

/// Fills a place with random bytes of the operating system.
pub(super) fn fill_random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system always has random bytes once it has started");
}

/// Crockford's alphabet leaves `i`, `l`, `o` and `u` out.
const fn is_letter(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'h' | b'j' | b'k' | b'm' | b'n' | b'p'..=b't' | b'v'..=b'z')
}

/// 32 divides 256, so every letter is as likely as any other.
const fn letter(byte: u8) -> u8 {
    ALPHABET[(byte & 31) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_new_credential_has_its_form_and_only_its_own() {
        let key = Kind::VirtualKey.mint();
        assert!(key.expose().starts_with("tg-"));
        assert_eq!(key.expose().len(), 3 + 40 + 6);
        assert_eq!(Kind::VirtualKey.check(key.expose()), Ok(()));
        assert_eq!(Kind::AdminToken.check(key.expose()), Err(FormError::Shape));
        assert_eq!(Kind::VirtualKey.check(Kind::AdminToken.mint().expose()), Err(FormError::Shape));
        assert_ne!(Kind::VirtualKey.mint(), key);
    }

    #[test]
    fn the_letters_are_those_of_the_alphabet() {
        for byte in 0..=u8::MAX {
            assert_eq!(is_letter(byte), ALPHABET.contains(&byte), "{}", char::from(byte));
        }
    }

    #[test]
    fn a_credential_that_was_cut_or_mistyped_is_known_as_such() {
        let key = Kind::VirtualKey.mint();
        let text = key.expose();
        assert_eq!(Kind::VirtualKey.check(&text[..text.len() - 1]), Err(FormError::Shape));
        assert_eq!(Kind::VirtualKey.check(&format!("{text} ")), Err(FormError::Shape));
        assert_eq!(Kind::VirtualKey.check(&text.to_uppercase()), Err(FormError::Shape));
        let other = if &text[10..11] == "0" { "1" } else { "0" };
        let mistyped = format!("{}{other}{}", &text[..10], &text[11..]);
        assert_eq!(Kind::VirtualKey.check(&mistyped), Err(FormError::Checksum));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_check_panic(text in "(tg-|tga-)?.{0,60}") {
            let _ = Kind::VirtualKey.check(&text);
            let _ = Kind::AdminToken.check(&text);
        }
    }
}
