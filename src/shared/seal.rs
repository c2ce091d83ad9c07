//! Seals: what is kept where others can write is known again by a keyed hash over it and its name.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::domain::Secret;

const TAG_BYTES: usize = 32;
/// What a secret of any length becomes a key by; nothing else is hashed with it.
const PURPOSE: &[u8] = b"tollgate shared answers 1";

/// The secret, ready to seal with.
pub(super) struct Seal(Hmac<Sha256>);

impl Seal {
    pub(super) fn new(secret: &Secret<String>) -> Self {
        let mut derived = keyed(secret.expose().as_bytes());
        derived.update(PURPOSE);
        Self(keyed(&derived.finalize().into_bytes()))
    }

    pub(super) fn close(&self, name: &str, value: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(TAG_BYTES + value.len());
        sealed.extend_from_slice(&self.tag(name, value).finalize().into_bytes());
        sealed.extend_from_slice(value);
        sealed
    }

    pub(super) fn open<'a>(&self, name: &str, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (tag, value) = sealed.split_at_checked(TAG_BYTES)?;
        // In constant time, as the library does it.
        self.tag(name, value).verify_slice(tag).ok().map(|()| value)
    }

    fn tag(&self, name: &str, value: &[u8]) -> Hmac<Sha256> {
        let mut tag = self.0.clone();
        tag.update(&(name.len() as u64).to_le_bytes());
        tag.update(name.as_bytes());
        tag.update(value);
        tag
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("a key of any length is taken")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(secret: &str) -> Seal {
        Seal::new(&Secret::new(secret.to_owned()))
    }

    #[test]
    fn what_was_sealed_comes_out_under_its_own_name_and_secret_alone() {
        let ours = seal("secret");
        let sealed = ours.close("a", b"value");
        assert_eq!(ours.open("a", &sealed), Some(&b"value"[..]));
        assert_eq!(seal("secret").open("a", &sealed), Some(&b"value"[..]), "another instance");
        assert_eq!(ours.open("b", &sealed), None);
        assert_eq!(seal("other").open("a", &sealed), None);
    }

    #[test]
    fn a_change_anywhere_breaks_the_seal() {
        let ours = seal("secret");
        let sealed = ours.close("a", b"value");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(ours.open("a", &changed), None, "byte {at}");
        }
        for len in 0..sealed.len() {
            assert_eq!(ours.open("a", &sealed[..len]), None, "cut at {len}");
        }
        // A name can't lend bytes to the value.
        assert_eq!(ours.open("av", &[&sealed[..TAG_BYTES], b"alue"].concat()), None);
    }
}
