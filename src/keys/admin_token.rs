//! Admin tokens: what scripts and our own commands show to manage the server.
//!
//! Tokens that were made by name are stored as hashes. Others are accepted for as long as the process runs: one
//! from the environment, one that commands on the same machine find in a local file. An empty or short one is an error, never a key.

use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

use super::Keys;
use super::credential::{Kind, last4};
use super::error::{KeyError, KeysError, checked_text};
use super::pepper::CredentialHash;
use super::tables::StoredToken;
use super::virtual_key::whole_ms;
use crate::domain::Secret;

/// Tokens are few: one per script.
const TOKENS_MAX: usize = 1_000;
const NAME_CHARS_MAX: usize = 100;
/// The shortest token that someone may choose themselves.
pub const ACCEPTED_TOKEN_CHARS_MIN: usize = 32;
/// Nothing longer is hashed.
const TOKEN_BYTES_MAX: usize = 1_024;

/// An admin token, without its secret, which is shown once and not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminToken {
    /// Its name, by which it is revoked.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// The last four characters of its secret.
    pub last4: String,
}

/// Who shows an admin token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenBearer {
    /// The holder of a token that was made by name.
    Made(Arc<AdminToken>),
    /// The holder of a token that this process accepts, under the label it was given.
    Accepted(&'static str),
}

impl TokenBearer {
    /// The name to log.
    pub fn name(&self) -> &str {
        match self {
            Self::Made(token) => &token.name,
            Self::Accepted(label) => label,
        }
    }
}

/// A token accepted for as long as the process runs.
pub(super) struct AcceptedToken {
    label: &'static str,
    hash: CredentialHash,
}

impl Keys {
    /// Makes a token; its secret, `tga-…`, is in this answer only. Blocks for the disk.
    pub fn create_admin_token(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<(Arc<AdminToken>, Secret<String>), KeysError> {
        let name = checked_text("name", name, NAME_CHARS_MAX)?;
        let secret = Kind::AdminToken.mint();
        let hash = self.pepper.hash(secret.expose());
        let token = Arc::new(AdminToken { name, created: whole_ms(now), last4: last4(&secret) });
        self.change(|draft| {
            if draft.state.tokens.contains_key(&token.name) {
                return Err(KeysError::NameTaken { what: "admin token", name: token.name.clone() });
            }
            if draft.state.tokens.len() >= TOKENS_MAX {
                return Err(KeysError::TooMany { what: "admin tokens", max: TOKENS_MAX });
            }
            draft.put_token(StoredToken { token: Arc::clone(&token), hash })?;
            Ok(())
        })?;
        Ok((token, secret))
    }

    /// The tokens that were made and not revoked, by name.
    pub fn admin_tokens(&self) -> Vec<Arc<AdminToken>> {
        self.state().tokens.values().map(|stored| Arc::clone(&stored.token)).collect()
    }

    /// Takes a token back: it opens nothing from when this returns. Blocks for the disk.
    pub fn revoke_admin_token(&self, name: &str) -> Result<(), KeysError> {
        self.change(|draft| {
            if !draft.state.tokens.contains_key(name) {
                return Err(KeysError::not_found("admin token", name));
            }
            draft.remove_token(name)?;
            Ok(())
        })
    }

    /// Accepts a token from the configuration while this process runs, in the place of an earlier one with the label.
    pub fn accept_admin_token(&self, label: &'static str, token: &Secret<String>) -> Result<(), KeysError> {
        let text = token.expose();
        if text.chars().count() < ACCEPTED_TOKEN_CHARS_MIN || text.len() > TOKEN_BYTES_MAX || text.trim() != text {
            let problem = format!(
                "an admin token needs {ACCEPTED_TOKEN_CHARS_MIN} characters or more, at most {TOKEN_BYTES_MAX} bytes, and no space at its ends: `openssl rand -hex 32` makes one"
            );
            return Err(KeysError::invalid(label, problem));
        }
        let hash = self.pepper.hash(text);
        let mut accepted = self.accepted.write().unwrap_or_else(PoisonError::into_inner);
        accepted.retain(|present| present.label != label);
        accepted.push(AcceptedToken { label, hash });
        Ok(())
    }

    /// Makes a token that this process accepts while it runs, such as the one in the local token file.
    pub fn accept_new_admin_token(&self, label: &'static str) -> Secret<String> {
        let token = Kind::AdminToken.mint();
        self.accept_admin_token(label, &token).expect("a token of our own making has the form that is asked for");
        token
    }

    /// Who shows this token. Touches memory only.
    pub fn authenticate_admin_token(&self, presented: &str) -> Result<TokenBearer, KeyError> {
        if presented.is_empty() || presented.len() > TOKEN_BYTES_MAX {
            return Err(KeyError::Malformed);
        }
        let hash = self.pepper.hash(presented);
        let accepted = self.accepted.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = accepted.iter().find(|token| token.hash.ct_eq(&hash).into()) {
            return Ok(TokenBearer::Accepted(token.label));
        }
        drop(accepted);
        Kind::AdminToken.check(presented)?;
        let state = self.state();
        let made = state.tokens.values().find(|stored| stored.hash.ct_eq(&hash).into());
        made.map(|stored| TokenBearer::Made(Arc::clone(&stored.token))).ok_or(KeyError::Unknown)
    }
}
