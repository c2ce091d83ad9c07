//! The keys as callers see them, over a real settings file.

mod admin_tokens;
mod budget_definitions;
mod opening;
mod people;
mod sessions;
mod teams;
mod users;
mod virtual_keys;

use std::path::PathBuf;
use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};

use super::*;
use crate::domain::{
    BudgetAction, BudgetError, BudgetId, BudgetScope, BudgetTerms, EndpointFamily, KeyId, Picodollars, Secret, Window,
};
use crate::store::{OpenOptions, TableDefinition};

struct Fixture {
    folder: tempfile::TempDir,
    keys: Keys,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = open(folder.path()).unwrap();
        Self { folder, keys }
    }

    fn reopened(self) -> Self {
        let Self { folder, keys } = self;
        drop(keys);
        let keys = open(folder.path()).unwrap();
        Self { folder, keys }
    }

    fn with_admin() -> Self {
        let fixture = Self::new();
        let (setup, text) = SetupToken::new(start());
        fixture.keys.create_first_admin(&setup, text.expose(), "Ada", PASSWORD, start()).unwrap();
        fixture
    }
}

const PASSWORD: &str = "correct horse";

fn settings(folder: &Path) -> Settings {
    let path: PathBuf = folder.join("settings.redb");
    Settings::open(&OpenOptions { path, name: "settings", cache_bytes: 1 << 20 }).unwrap()
}

fn open(folder: &Path) -> Result<Keys, OpenKeysError> {
    Keys::open(settings(folder), &folder.join("pepper"))
}

fn start() -> Timestamp {
    "2026-03-01T00:00:00.123456Z".parse().unwrap()
}

fn dollars(amount: i64) -> BudgetTerms {
    BudgetTerms::new(Picodollars::from_dollars(amount), BudgetAction::Block)
}

/// Everything that can be printed, with everything that must not be in it.
#[test]
fn no_secret_is_in_the_debug_output_of_anything_nor_in_the_file() {
    let Fixture { folder, keys } = Fixture::new();
    let (setup, setup_text) = SetupToken::new(start());
    let user = keys.create_first_admin(&setup, setup_text.expose(), "Ada", "canary password", start()).unwrap();
    let (key, key_secret) = keys.create(NewKey::named("ci"), start()).unwrap();
    let (token, token_secret) = keys.create_admin_token("deploy", start()).unwrap();
    let (cookie, session) = keys.start_session("ada", None, start()).unwrap();
    let (link, _) = keys.reset_password("ada", start()).unwrap();
    let accepted = keys.accept_new_admin_token("local");
    let bearer = keys.authenticate_admin_token(token_secret.expose()).unwrap();
    let throttle = LoginThrottle::new();
    throttle.admit("canary password", [127, 0, 0, 1].into(), start()).unwrap();
    let refused = keys.authenticate(&format!("{}x", key_secret.expose()), start()).unwrap_err();
    let weak = keys.accept_admin_token("configured", &Secret::new("canary-token".to_owned())).unwrap_err();

    let printed = format!(
        "{keys:?} {setup:?} {setup_text:?} {user:?} {key:?} {key_secret:?} {token:?} {session:?} {cookie:?} {link:?} \
         {bearer:?} {throttle:?} {refused:?} {refused} {weak:?} {weak} {:?} {:?}",
        keys.pepper, keys.passwords
    );
    let hash = tables_hash(&keys, &key.id);
    let stored_hash = keys.state().users["ada"].password_hash.as_ref().unwrap().expose().clone();
    let secrets = [
        &setup_text,
        &key_secret,
        &token_secret,
        &cookie,
        &link,
        &accepted,
        &session.csrf_token,
        &Secret::new("canary".to_owned()),
    ];
    for secret in secrets {
        assert!(!printed.contains(secret.expose().as_str()), "a secret is printed");
    }
    assert!(!printed.contains(&hash) && !printed.contains(&stored_hash));

    drop(keys);
    let file = std::fs::read(folder.path().join("settings.redb")).unwrap();
    let pepper = std::fs::read(folder.path().join("pepper")).unwrap();
    let holds = |needle: &[u8]| file.windows(needle.len()).any(|window| window == needle);
    assert!(secrets.iter().all(|secret| !holds(secret.expose().as_bytes())), "a secret is in the file");
    assert!(!holds(&pepper));
    assert!(holds(b"argon2id"), "the search finds what is there");
}

fn tables_hash(keys: &Keys, id: &KeyId) -> String {
    format!("{:?}", keys.state().keys[id].hash)
}
