//! What a start without an admin, or without any virtual key, tells the person who started it.
//!
//! These are secrets that are shown once: they go to the terminal, never to the log.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::config::{BudgetAction as ConfigAction, NewKeyBudget};
use crate::domain::{BudgetAction, BudgetError, BudgetTerms, Secret};
use crate::keys::{KeyBudget, Keys, KeysError, NewKey};

/// The name of the key that is made where there is none.
const FIRST_KEY_NAME: &str = "default";

/// What is to be told.
#[derive(Debug, Default)]
pub(crate) struct FirstStart {
    /// The token of the setup link, where there is no admin.
    pub(crate) setup_token: Option<Secret<String>>,
    /// The first virtual key, where there was none.
    pub(crate) key: Option<Secret<String>>,
}

impl FirstStart {
    /// Makes the first virtual key where there has never been one.
    pub(crate) fn make_key(
        &mut self,
        keys: &Keys,
        budget: Option<&NewKeyBudget>,
        thresholds: &[u8],
        now: Timestamp,
    ) -> Result<(), KeysError> {
        if keys.list().is_empty() {
            let budgets = budget.map(|budget| key_budget(budget, thresholds)).transpose()?.into_iter().collect();
            let (_, secret) = keys.create(NewKey { budgets, ..NewKey::named(FIRST_KEY_NAME) }, now)?;
            self.key = Some(secret);
        }
        Ok(())
    }

    /// The text to print, with secrets; nothing where there is nothing to tell.
    pub(crate) fn text(&self, address: &str) -> Option<String> {
        let address = address.trim_end_matches('/');
        let mut text = String::new();
        if let Some(token) = &self.setup_token {
            let _ = write!(
                text,
                "\n  Open the dashboard and choose the first admin's name and password (once, within 30 minutes):\n\n    {}\n",
                setup_link(address, token)
            );
        }
        if let Some(key) = &self.key {
            let _ = write!(
                text,
                "\n  Virtual key {FIRST_KEY_NAME:?}, shown only this once, for your SDK or a first call:\n\n    {}\n\n    curl {address}/v1/models -H 'authorization: Bearer {}'\n",
                key.expose(),
                key.expose(),
            );
        }
        (!text.is_empty()).then_some(text)
    }
}

/// The link by which the first admin is made.
pub(crate) fn setup_link(address: &str, token: &Secret<String>) -> String {
    format!("{}/setup?token={}", address.trim_end_matches('/'), token.expose())
}

/// The budget that the settings give to new keys, with the thresholds that they give to budgets.
pub(crate) fn key_budget(budget: &NewKeyBudget, thresholds: &[u8]) -> Result<KeyBudget, BudgetError> {
    let action = match budget.action {
        ConfigAction::Block => BudgetAction::Block,
        ConfigAction::Alert => BudgetAction::Alert,
        ConfigAction::Downgrade => BudgetAction::new("downgrade", budget.downgrade_to.as_deref())?,
    };
    let terms = BudgetTerms { limit: budget.limit, action, thresholds: thresholds.to_vec() };
    Ok(KeyBudget { window: budget.window, terms })
}

#[cfg(test)]
mod tests {
    use super::super::folder::DataFolder;
    use super::super::parts::open_keys;
    use super::*;
    use crate::config::Config;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn keys() -> (tempfile::TempDir, Keys) {
        let parent = tempfile::tempdir().unwrap();
        let keys = open_keys(&DataFolder::claim(parent.path()).unwrap()).unwrap();
        (parent, keys)
    }

    #[test]
    fn a_first_start_tells_a_link_and_a_key_that_works() {
        let (_folder, keys) = keys();
        let token = Some(Secret::new("setup-token".to_owned()));
        let mut first = FirstStart { setup_token: token, ..FirstStart::default() };
        first.make_key(&keys, None, &[], NOW).unwrap();
        let text = first.text("http://127.0.0.1:8000/").unwrap();
        assert!(text.contains("    http://127.0.0.1:8000/setup?token=setup-token\n"), "{text}");
        let key = text.lines().map(str::trim).find(|line| line.starts_with("tg-")).unwrap();
        assert_eq!(keys.authenticate(key, NOW).unwrap().name, "default");
    }

    #[test]
    fn the_key_is_made_once_and_not_where_there_is_one() {
        let (_folder, keys) = keys();
        keys.create(NewKey::named("sdk"), NOW).unwrap();
        let mut first = FirstStart::default();
        first.make_key(&keys, None, &[], NOW).unwrap();
        assert_eq!(keys.list().len(), 1);
        assert_eq!(first.text("http://127.0.0.1:8000"), None);
    }

    #[test]
    fn the_first_key_has_the_budget_that_the_settings_give_to_new_keys() {
        let (_folder, keys) = keys();
        let config = Config::from_toml(
            "[limits]\nnew_key_budget = { window = \"day\", limit_usd = \"1.50\", action = \"block\" }\n",
        );
        let config = config.unwrap();
        FirstStart::default().make_key(&keys, config.limits.new_key_budget.as_ref(), &[60, 90], NOW).unwrap();
        assert_eq!(keys.budgets()[0].thresholds, [60, 90]);
        assert_eq!(keys.budgets()[0].limit.to_string(), "1.5");
    }

    #[test]
    fn secrets_are_not_in_the_debug_form() {
        let (_folder, keys) = keys();
        let mut first = FirstStart::default();
        first.make_key(&keys, None, &[], NOW).unwrap();
        assert!(!format!("{first:?}").contains("tg-"));
    }
}
