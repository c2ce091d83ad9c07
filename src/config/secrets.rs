//! Secrets: references to a variable or a file, resolved at load; never repeated in a message.
//!
//! `env:NAME` is looked up in the environment and then in `.env`, `file:/path` is read and trimmed, anything else is the
//! secret itself, warned of where others on the machine can read the file that it stands in. Commands that use none
//! ([`super::Secrets::Spared`]) do without those that can't be had: they often are in the environment of the server alone.

use std::path::Path;

use super::Secrets;
use super::given::Given;
use super::problem::quoted;
use super::reader::{Context, Found, Section};
use crate::domain::Secret;

/// How a secret is shown.
pub(super) const MASK: &str = "***";

/// What form a secret must have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One line of visible ASCII: it goes into a header.
    Word,
    /// Any text, such as a key file's.
    Text,
}

impl Section<'_> {
    /// Reads a secret.
    pub(super) fn secret(&mut self, key: &'static str, form: Form) -> Option<Secret<String>> {
        self.parsed_secret(key, form, |text| Ok(text.to_owned()))
    }

    /// Reads a secret that a parser takes; the parser's message must not repeat it.
    pub(super) fn parsed_secret<T>(
        &mut self,
        key: &'static str,
        form: Form,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Secret<T>> {
        let found = self.find(key)?;
        let resolved = found.given.text().and_then(|text| resolve(self.context, text, form));
        if let Ok(Some(text)) = &resolved {
            self.context.secret(self.path_of(key), text);
        }
        let secret = resolved.and_then(|text| text.map(|text| parse(&text)).transpose());
        self.warn_of_literals(&found, [found.given]);
        match secret {
            Ok(secret) => {
                self.show(key, MASK);
                secret.map(Secret::new)
            }
            Err(message) => {
                self.problem_with(&found, message);
                None
            }
        }
    }

    /// Reads a list of secrets.
    pub(super) fn secrets(&mut self, key: &'static str, form: Form) -> Option<Vec<Secret<String>>> {
        let context = self.context;
        let secrets = self.list(key, |_| MASK.into(), |given| resolve(context, given.text()?, form));
        for (index, secret) in secrets.iter().flatten().enumerate() {
            let text = secret.as_deref().unwrap_or_default();
            context.secret(format!("{}[{index}]", self.path_of(key)), text);
        }
        let found = self.find(key)?;
        if let Given::Value(toml::de::DeValue::Array(items)) = found.given {
            self.warn_of_literals(&found, items.iter().map(|item| Given::Value(item.get_ref())));
        }
        Some(secrets?.into_iter().flatten().map(Secret::new).collect())
    }

    fn warn_of_literals<'g>(&self, found: &Found<'_>, given: impl IntoIterator<Item = Given<'g>>) {
        let is_literal = |given: Given<'_>| {
            matches!(given, Given::Value(_)) && given.text().is_ok_and(|text| reference(text).is_none())
        };
        // Only the owner may read and write: what the group and others may do is all off.
        let is_private = self.context.sources.file_mode.is_some_and(|mode| mode.trailing_zeros() >= 6);
        if !is_private && given.into_iter().any(is_literal) {
            self.warning_about(
                found,
                "the secret stands in the file itself, which others can read; write \"env:NAME\" or \"file:/path\" instead, or chmod 600 the file",
            );
        }
    }
}

enum Reference<'a> {
    Variable(&'a str),
    File(&'a Path),
}

fn reference(text: &str) -> Option<Reference<'_>> {
    let text = text.trim();
    let variable = text.strip_prefix("env:").map(|name| Reference::Variable(name.trim()));
    variable.or_else(|| text.strip_prefix("file:").map(|path| Reference::File(Path::new(path.trim()))))
}

/// The secret that a text refers to, or is; none where it can't be had and needn't be.
fn resolve(context: &Context<'_>, text: &str, form: Form) -> Result<Option<String>, String> {
    let is_spared = context.sources.secrets == Secrets::Spared;
    let (secret, whence) = match reference(text) {
        None => (text.trim().to_owned(), "the secret".to_owned()),
        Some(Reference::Variable(name)) => {
            // What is no name may be a secret that was put there by mistake, so it isn't repeated.
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if name.is_empty() || !is_name || name.starts_with(|first: char| first.is_ascii_digit()) {
                return Err("what follows env: is no variable's name; write \"env:NAME\"".to_owned());
            }
            match context.variables.referenced(name) {
                Some(value) => (value.trim().to_owned(), format!("the variable {name}")),
                None if is_spared => return Ok(None),
                None => return Err(format!("the variable {name} is not set; set it in the environment or in .env")),
            }
        }
        Some(Reference::File(path)) if path.as_os_str().is_empty() => {
            return Err("what follows file: is no path; write \"file:/path\"".to_owned());
        }
        Some(Reference::File(path)) => {
            context.secret_file(path);
            let shown = quoted(&path.to_string_lossy());
            match (context.sources.read_secret_file)(path) {
                Ok(value) => (value.trim().to_owned(), format!("the file {shown}")),
                Err(_) if is_spared => return Ok(None),
                Err(error) => return Err(format!("the file {shown} can't be read: {error}")),
            }
        }
    };
    if secret.is_empty() {
        return Err(format!("{whence} is empty; give it a value or take the key out"));
    }
    if form == Form::Word && !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{whence} has spaces or characters that no header can carry; copy it again"));
    }
    if secret == MASK {
        return Err(format!(
            "{whence} is the mask {MASK} that check-config --print shows in place of secrets; write \"env:NAME\" or \"file:/path\" instead"
        ));
    }
    Ok(Some(secret))
}
