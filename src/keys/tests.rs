//! The keys as callers see them, over a real settings file.

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

mod people;
mod teams;

mod virtual_keys {
    use super::*;

    #[test]
    fn a_new_key_opens_at_once_and_after_a_restart() {
        let fixture = Fixture::new();
        let new = NewKey {
            team: Some("research".to_owned()),
            owner: Some("Ada".to_owned()),
            tags: [("env".to_owned(), "prod".to_owned())].into(),
            allowed_models: Some(vec!["gpt-*".to_owned()]),
            limits: KeyLimits { requests_per_minute: Some(60), ..KeyLimits::default() },
            expires_at: Some(start() + 1.hour()),
            ..NewKey::named("ci")
        };
        let (key, secret) = fixture.keys.create(new, start()).unwrap();
        assert!(secret.expose().starts_with("tg-") && secret.expose().ends_with(&key.last4));
        assert_eq!(fixture.keys.authenticate(secret.expose(), start()), Ok(Arc::clone(&key)));
        assert_eq!(fixture.keys.named("ci", start()), Some(Arc::clone(&key)));
        assert_eq!(fixture.keys.list(), [Arc::clone(&key)]);

        let fixture = fixture.reopened();
        assert_eq!(fixture.keys.authenticate(secret.expose(), start()), Ok(key));
    }

    #[test]
    fn what_is_no_key_is_refused_with_one_message_and_only_its_holder_hears_of_its_end() {
        let fixture = Fixture::new();
        let other = Fixture::new();
        let (_, foreign) = other.keys.create(NewKey::named("ci"), start()).unwrap();
        let (key, secret) = fixture
            .keys
            .create(NewKey { expires_at: Some(start() + 1.hour()), ..NewKey::named("ci") }, start())
            .unwrap();
        let text = secret.expose();
        let flipped = if &text[5..6] == "0" { "1" } else { "0" };
        let mistyped = format!("{}{flipped}{}", &text[..5], &text[6..]);

        let refuse = |presented: &str, now| fixture.keys.authenticate(presented, now).unwrap_err();
        let mut seen = vec![
            refuse("", start()),
            refuse("sk-proj-abcdef", start()),
            refuse(&mistyped, start()),
            refuse(foreign.expose(), start()),
            refuse(text, start() + 1.hour()),
        ];
        fixture.keys.revoke(&key.id, start()).unwrap();
        seen.push(refuse(text, start()));
        assert_eq!(
            seen.iter().map(|error| error.reason()).collect::<Vec<_>>(),
            ["malformed", "malformed", "checksum", "unknown", "expired", "revoked"]
        );
        // Whoever holds a key that has expired has it, and is told when that was.
        let expired = seen.remove(4).to_string();
        assert!(expired.contains("expired on ") && expired.ends_with("ask an admin for a new one"), "{expired}");
        assert!(seen.iter().all(|error| error.to_string() == seen[0].to_string()), "one message for all others");
    }

    #[test]
    fn a_revoked_key_is_out_when_the_call_returns_and_stays_out() {
        let fixture = Fixture::new();
        let (key, secret) = fixture.keys.create(NewKey::named("ci"), start()).unwrap();
        let revoked = fixture.keys.revoke(&key.id, start() + 1.hour()).unwrap();
        assert_eq!(fixture.keys.authenticate(secret.expose(), start()), Err(KeyError::Revoked));
        assert_eq!(revoked.status(start()), KeyStatus::Revoked);
        let again = fixture.keys.revoke(&key.id, start() + 2.hours()).unwrap();
        assert_eq!(again.revoked_at, revoked.revoked_at, "the first time counts");
        let fixture = fixture.reopened();
        assert_eq!(fixture.keys.authenticate(secret.expose(), start()), Err(KeyError::Revoked));
        assert_eq!(fixture.keys.get(&key.id).unwrap().revoked_at, revoked.revoked_at, "it stays in the list");
    }

    #[test]
    fn a_rotated_key_keeps_its_id_and_only_its_new_secret_opens() {
        let fixture = Fixture::new();
        let (key, old) = fixture.keys.create(NewKey::named("ci"), start()).unwrap();
        let (rotated, new) = fixture.keys.rotate(&key.id, Duration::ZERO, start()).unwrap();
        assert_eq!(rotated.id, key.id);
        assert_eq!(fixture.keys.authenticate(old.expose(), start()), Err(KeyError::Unknown));
        assert_eq!(fixture.keys.authenticate(new.expose(), start()), Ok(Arc::clone(&rotated)));
        let fixture = fixture.reopened();
        assert_eq!(fixture.keys.authenticate(old.expose(), start()), Err(KeyError::Unknown));
        assert_eq!(fixture.keys.authenticate(new.expose(), start()), Ok(rotated));

        fixture.keys.revoke(&key.id, start()).unwrap();
        assert!(matches!(fixture.keys.rotate(&key.id, Duration::ZERO, start()), Err(KeysError::KeyNotLive(_))));
    }

    #[test]
    fn an_old_secret_goes_on_for_its_overlap_and_no_longer() {
        let fixture = Fixture::new();
        let (key, first) = fixture.keys.create(NewKey::named("ci"), start()).unwrap();
        let (_, second) = fixture.keys.rotate(&key.id, Duration::from_hours(1), start()).unwrap();
        let (rotated, third) = fixture.keys.rotate(&key.id, Duration::from_hours(24), start() + 30.minutes()).unwrap();
        let fixture = fixture.reopened();
        let is_open = |secret: &Secret<String>, now| match fixture.keys.authenticate(secret.expose(), now) {
            Ok(found) => {
                assert_eq!(found, rotated);
                true
            }
            Err(error) => {
                assert!(matches!(error, KeyError::Expired { at } if at <= now), "{error}");
                false
            }
        };
        // What was promised to the first holds, although a second rotation came.
        let end = whole_ms_of(start()) + 1.hour();
        assert!(is_open(&first, start() + 59.minutes()) && !is_open(&first, end));
        assert!(is_open(&second, start() + 24.hours()) && !is_open(&second, start() + 25.hours()));
        assert!(is_open(&third, start() + 25.hours()));
        let left: Vec<&str> = rotated.valid_previous(start() + 2.hours()).map(|secret| &*secret.last4).collect();
        assert_eq!(left, [&second.expose()[second.expose().len() - 4..]]);
    }

    fn whole_ms_of(time: Timestamp) -> Timestamp {
        Timestamp::from_millisecond(time.as_millisecond()).unwrap()
    }

    #[test]
    fn a_rotation_without_overlap_or_a_revocation_ends_every_secret_at_once() {
        let fixture = Fixture::new();
        let (key, first) = fixture.keys.create(NewKey::named("ci"), start()).unwrap();
        let (_, second) = fixture.keys.rotate(&key.id, Duration::from_hours(1), start()).unwrap();
        let (_, third) = fixture.keys.rotate(&key.id, Duration::ZERO, start()).unwrap();
        for old in [&first, &second] {
            assert_eq!(fixture.keys.authenticate(old.expose(), start()), Err(KeyError::Unknown));
        }
        fixture.keys.rotate(&key.id, Duration::from_hours(1), start()).unwrap();
        fixture.keys.revoke(&key.id, start()).unwrap();
        assert_eq!(fixture.keys.authenticate(third.expose(), start()), Err(KeyError::Revoked));
    }

    #[test]
    fn five_old_secrets_go_on_at_most_and_none_for_more_than_thirty_days() {
        let fixture = Fixture::new();
        let (key, first) = fixture.keys.create(NewKey::named("ci"), start()).unwrap();
        let mut secrets = vec![first];
        for _ in 0..6 {
            secrets.push(fixture.keys.rotate(&key.id, Duration::from_hours(1), start()).unwrap().1);
        }
        let open: Vec<bool> =
            secrets.iter().map(|secret| fixture.keys.authenticate(secret.expose(), start()).is_ok()).collect();
        assert_eq!(open, [false, true, true, true, true, true, true]);
        for overlap in [Duration::from_hours(30 * 24 + 1), Duration::MAX] {
            let refused = fixture.keys.rotate(&key.id, overlap, start());
            assert!(matches!(refused, Err(KeysError::Invalid { field: "overlap", .. })), "{overlap:?}");
        }
    }

    #[test]
    fn a_key_is_changed_part_by_part_and_keeps_its_secret() {
        let fixture = Fixture::new();
        let (key, secret) = fixture.keys.create(NewKey::named("ci"), start()).unwrap();
        let patch = KeyPatch {
            owner: Edit::Set("Ada".to_owned()),
            allowed_models: Edit::Set(vec!["gpt-*".to_owned()]),
            allowed_endpoints: Edit::Set(vec![EndpointFamily::Chat]),
            requests_per_minute: Edit::Set(7),
            expires_at: Edit::Set(start() + 1.hour()),
            ..KeyPatch::default()
        };
        let changed = fixture.keys.change_key(&key.id, patch, &Expected::Any, start()).unwrap();
        assert_eq!((changed.name.as_str(), changed.owner.as_deref()), ("ci", Some("Ada")));
        assert_eq!(changed.revision, key.revision.next());
        assert!(changed.allows_endpoint(EndpointFamily::Chat) && !changed.allows_endpoint(EndpointFamily::Images));
        let fixture = fixture.reopened();
        assert_eq!(fixture.keys.authenticate(secret.expose(), start()), Ok(Arc::clone(&changed)));

        let back = KeyPatch {
            owner: Edit::Clear,
            allowed_models: Edit::Clear,
            allowed_endpoints: Edit::Clear,
            requests_per_minute: Edit::Clear,
            expires_at: Edit::Clear,
            ..KeyPatch::default()
        };
        let back = fixture.keys.change_key(&key.id, back, &Expected::Any, start()).unwrap();
        assert_eq!(*back, VirtualKey { revision: back.revision, ..VirtualKey::clone(&key) });
        let same = fixture.keys.change_key(&key.id, KeyPatch::default(), &Expected::Any, start()).unwrap();
        assert_eq!(same.revision, back.revision, "what changes nothing counts as none");
    }

    #[test]
    fn of_two_who_change_the_same_key_the_second_is_told() {
        let fixture = Fixture::new();
        let (key, _) = fixture.keys.create(NewKey::named("ci"), start()).unwrap();
        let owner = |name: &str| KeyPatch { owner: Edit::Set(name.to_owned()), ..KeyPatch::default() };
        let seen = Expected::OneOf(vec![key.revision]);
        fixture.keys.change_key(&key.id, owner("Ada"), &seen, start()).unwrap();
        let refused = fixture.keys.change_key(&key.id, owner("Bob"), &seen, start());
        assert!(matches!(refused, Err(KeysError::ChangedMeanwhile { .. })));
        let refused = fixture.keys.change_key(&key.id, owner("Bob"), &Expected::OneOf(Vec::new()), start());
        assert!(matches!(refused, Err(KeysError::ChangedMeanwhile { .. })), "a tag of nobody fits nothing");
        assert_eq!(fixture.keys.get(&key.id).unwrap().owner.as_deref(), Some("Ada"));
    }

    #[test]
    fn a_change_is_checked_like_a_new_key_and_a_key_that_is_over_is_not_changed() {
        let fixture = Fixture::new();
        let (key, _) = fixture.keys.create(NewKey::named("ci"), start()).unwrap();
        fixture.keys.create(NewKey::named("taken"), start()).unwrap();
        let refuse = |patch: KeyPatch| fixture.keys.change_key(&key.id, patch, &Expected::Any, start()).unwrap_err();
        let name = |name: &str| KeyPatch { name: Some(name.to_owned()), ..KeyPatch::default() };
        assert!(matches!(refuse(name("")), KeysError::Invalid { field: "name", .. }));
        assert!(matches!(refuse(name("taken")), KeysError::NameTaken { .. }));
        let past = KeyPatch { expires_at: Edit::Set(start()), ..KeyPatch::default() };
        assert!(matches!(refuse(past), KeysError::Invalid { field: "expiresAt", .. }));
        let none = KeyPatch { tokens_per_minute: Edit::Set(0), ..KeyPatch::default() };
        assert!(matches!(refuse(none), KeysError::Invalid { field: "limits", .. }));
        let twice = vec![EndpointFamily::Chat, EndpointFamily::Chat];
        let twice = KeyPatch { allowed_endpoints: Edit::Set(twice), ..KeyPatch::default() };
        assert!(matches!(refuse(twice), KeysError::Invalid { field: "allowedEndpoints", .. }));
        let nothing = KeyPatch { allowed_models: Edit::Set(Vec::new()), ..KeyPatch::default() };
        assert!(matches!(refuse(nothing), KeysError::Invalid { field: "allowedModels", .. }));
        let nothing = KeyPatch { allowed_endpoints: Edit::Set(Vec::new()), ..KeyPatch::default() };
        assert!(matches!(refuse(nothing), KeysError::Invalid { field: "allowedEndpoints", .. }));
        for new in [
            NewKey { allowed_models: Some(Vec::new()), ..NewKey::named("none") },
            NewKey { allowed_endpoints: Some(Vec::new()), ..NewKey::named("none") },
        ] {
            let refused = fixture.keys.create(new, start()).unwrap_err().to_string();
            assert!(refused.contains("null, for all"), "{refused}");
        }
        fixture.keys.revoke(&key.id, start()).unwrap();
        assert!(matches!(refuse(name("later")), KeysError::KeyNotLive(_)));
    }

    #[test]
    fn a_name_is_free_again_once_its_key_is_revoked_or_expired() {
        let fixture = Fixture::new();
        let ends = NewKey { expires_at: Some(start() + 1.hour()), ..NewKey::named("ci") };
        let (first, _) = fixture.keys.create(ends, start()).unwrap();
        assert!(matches!(fixture.keys.create(NewKey::named("ci"), start()), Err(KeysError::NameTaken { .. })));
        let (second, _) = fixture.keys.create(NewKey::named("ci"), start() + 1.hour()).unwrap();
        assert_eq!(fixture.keys.named("ci", start() + 1.hour()).unwrap().id, second.id);
        fixture.keys.revoke(&second.id, start()).unwrap();
        assert!(fixture.keys.create(NewKey::named("ci"), start() + 2.hours()).is_ok());
        assert_ne!(first.id, second.id);
    }

    fn refused(new: NewKey) -> &'static str {
        let fixture = Fixture::new();
        let field = match fixture.keys.create(new, start()) {
            Err(KeysError::Invalid { field, .. }) => field,
            other => panic!("{other:?} should have been refused"),
        };
        assert!(fixture.keys.list().is_empty());
        field
    }

    #[test]
    fn a_key_that_cant_be_is_refused_by_field() {
        for name in ["", "a\nb", " ci", "Dashboard", &"x".repeat(101)] {
            assert_eq!(refused(NewKey::named(name)), "name", "{name:?}");
        }
        assert_eq!(refused(NewKey { team: Some(String::new()), ..NewKey::named("ci") }), "team");
        assert_eq!(refused(NewKey { owner: Some("a\u{7f}".to_owned()), ..NewKey::named("ci") }), "owner");
        for (name, value) in [("a=b", "c"), ("a,b", "c"), ("a", "b,c"), ("", "c"), ("a", "")] {
            let tags = [(name.to_owned(), value.to_owned())].into();
            assert_eq!(refused(NewKey { tags, ..NewKey::named("ci") }), "tags", "{name}={value}");
        }
        let tags = (0..33).map(|number| (format!("t{number}"), "v".to_owned())).collect();
        assert_eq!(refused(NewKey { tags, ..NewKey::named("ci") }), "tags");
        for patterns in [vec![String::new()], vec!["gpt".to_owned(); 101]] {
            assert_eq!(refused(NewKey { allowed_models: Some(patterns), ..NewKey::named("ci") }), "allowedModels");
        }
        let limits = KeyLimits { concurrent_requests: Some(0), ..KeyLimits::default() };
        assert_eq!(refused(NewKey { limits, ..NewKey::named("ci") }), "limits");
        assert_eq!(refused(NewKey { expires_at: Some(start()), ..NewKey::named("ci") }), "expiresAt");
    }

    #[test]
    fn names_of_any_script_up_to_100_characters_are_kept() {
        let fixture = Fixture::new();
        let name = "é".repeat(100);
        let (key, _) = fixture.keys.create(NewKey::named(&name), start()).unwrap();
        assert_eq!(key.name, name);
    }

    fn check_pattern(pattern: &str, model: &str, is_allowed: bool) {
        let fixture = Fixture::new();
        let new = NewKey { allowed_models: Some(vec!["never".to_owned(), pattern.to_owned()]), ..NewKey::named("ci") };
        let (key, _) = fixture.keys.create(new, start()).unwrap();
        assert_eq!(key.allows_model(model), is_allowed, "{pattern} {model}");
    }

    #[test]
    fn a_key_may_ask_for_the_models_of_its_patterns_only() {
        check_pattern("gpt-5", "gpt-5", true);
        check_pattern("gpt-5", "gpt-5-mini", false);
        check_pattern("gpt-5", "my-gpt-5", false);
        check_pattern("gpt-*", "gpt-", true);
        check_pattern("*sonnet*", "anthropic/claude-sonnet-4-5", true);
        check_pattern("a*b*c", "a-b-b-c", true);
        check_pattern("a*b*c", "a-c-b", false);
        check_pattern("*", "anything/at/all", true);
        check_pattern("GPT-*", "gpt-5", false);
    }

    #[test]
    fn no_pattern_takes_long() {
        let pattern = format!("{}b", "a*".repeat(90));
        check_pattern(&pattern, &"a".repeat(10_000), false);
    }

    #[test]
    fn an_empty_list_of_models_allows_none_and_no_list_allows_all() {
        let fixture = Fixture::new();
        let (all, _) = fixture.keys.create(NewKey::named("all"), start()).unwrap();
        // Keys that were made before such lists were refused may have one.
        let none = VirtualKey { allowed_models: Some(Vec::new()), ..VirtualKey::clone(&all) };
        assert!(all.allows_model("gpt-5") && !none.allows_model("gpt-5"));
    }

    #[test]
    fn an_unknown_id_is_not_found() {
        let fixture = Fixture::new();
        let id = KeyId::new("key_nobody").unwrap();
        assert!(fixture.keys.get(&id).is_none());
        assert!(matches!(fixture.keys.revoke(&id, start()), Err(KeysError::NotFound { .. })));
        assert!(matches!(fixture.keys.rotate(&id, Duration::ZERO, start()), Err(KeysError::NotFound { .. })));
    }
}

mod budget_definitions {
    use super::*;

    #[test]
    fn a_budget_is_kept_changed_and_removed() {
        let fixture = Fixture::new();
        let budget = fixture.keys.create_budget(BudgetScope::Everything, Window::Day, dollars(50), start()).unwrap();
        let fixture = fixture.reopened();
        assert_eq!(*fixture.keys.budgets(), [Arc::clone(&budget)]);
        let terms = BudgetTerms { limit: Picodollars::ZERO, action: BudgetAction::Alert, thresholds: vec![90] };
        let changed = fixture.keys.update_budget(budget.id, terms.clone(), &Expected::Any).unwrap();
        assert_eq!((changed.id, changed.created, changed.terms()), (budget.id, budget.created, terms));
        let fixture = fixture.reopened();
        assert_eq!(fixture.keys.budget(budget.id), Some(changed));
        fixture.keys.remove_budget(budget.id).unwrap();
        assert!(fixture.keys.budgets().is_empty());
        let fixture = fixture.reopened();
        assert!(fixture.keys.budgets().is_empty());
        assert!(matches!(fixture.keys.remove_budget(budget.id), Err(KeysError::NotFound { .. })));
        assert!(matches!(
            fixture.keys.update_budget(budget.id, dollars(1), &Expected::Any),
            Err(KeysError::NotFound { .. })
        ));
    }

    #[test]
    fn the_id_of_a_removed_budget_is_never_given_again() {
        let fixture = Fixture::new();
        let first = fixture.keys.create_budget(BudgetScope::Everything, Window::Day, dollars(1), start()).unwrap();
        fixture.keys.remove_budget(first.id).unwrap();
        let fixture = fixture.reopened();
        let second = fixture.keys.create_budget(BudgetScope::Everything, Window::Day, dollars(1), start()).unwrap();
        assert_eq!((first.id, second.id), (BudgetId(1), BudgetId(2)));
    }

    #[test]
    fn a_scope_and_window_have_one_budget_at_most() {
        let fixture = Fixture::new();
        let team = |name| BudgetScope::new("team", Some(name)).unwrap();
        let first = fixture.keys.create_budget(team("a"), Window::Day, dollars(1), start()).unwrap();
        let refused = fixture.keys.create_budget(team("a"), Window::Day, dollars(2), start()).unwrap_err();
        assert!(matches!(refused, KeysError::BudgetExists { id, .. } if id == first.id));
        assert!(refused.to_string().contains("team a per day"), "{refused}");
        fixture.keys.create_budget(team("a"), Window::Week, dollars(2), start()).unwrap();
        fixture.keys.create_budget(team("b"), Window::Day, dollars(2), start()).unwrap();
        let set = fixture.keys.set_budget(team("a"), Window::Day, dollars(3), start()).unwrap();
        assert_eq!((set.id, set.limit), (first.id, Picodollars::from_dollars(3)));
        let set = fixture.keys.set_budget(team("c"), Window::Day, dollars(4), start()).unwrap();
        assert_eq!(fixture.keys.budgets().len(), 4);
        assert_eq!(fixture.keys.budget(set.id), Some(set));
    }

    #[test]
    fn terms_that_cant_be_leave_everything_as_it_was() {
        let fixture = Fixture::new();
        let budget = fixture.keys.create_budget(BudgetScope::Everything, Window::Day, dollars(1), start()).unwrap();
        let refused = fixture.keys.update_budget(budget.id, dollars(-1), &Expected::Any).unwrap_err();
        assert!(matches!(refused, KeysError::Budget(BudgetError::LimitNegative(_))));
        let falling = BudgetTerms { thresholds: vec![80, 50], ..dollars(1) };
        let refused = fixture.keys.create_budget(BudgetScope::Everything, Window::Week, falling, start()).unwrap_err();
        assert!(matches!(refused, KeysError::Budget(BudgetError::ThresholdOrder)));
        assert_eq!(*fixture.reopened().keys.budgets(), [budget]);
    }

    #[test]
    fn a_key_and_its_budgets_are_made_together_or_not_at_all() {
        let fixture = Fixture::new();
        let with = |budgets| NewKey { budgets, ..NewKey::named("ci") };
        let day = |terms| KeyBudget { window: Window::Day, terms };
        assert!(fixture.keys.create(with(vec![day(dollars(1)), day(dollars(2))]), start()).is_err());
        assert!(fixture.keys.create(with(vec![day(dollars(-1))]), start()).is_err());
        assert!(fixture.keys.list().is_empty() && fixture.keys.budgets().is_empty());

        let (key, _) = fixture.keys.create(with(vec![day(dollars(1))]), start()).unwrap();
        let fixture = fixture.reopened();
        assert_eq!(fixture.keys.budgets()[0].scope, BudgetScope::Key(key.id.clone()));
    }

    #[test]
    fn the_snapshot_is_the_same_one_until_a_budget_changes() {
        let fixture = Fixture::new();
        let budget = fixture.keys.create_budget(BudgetScope::Everything, Window::Day, dollars(1), start()).unwrap();
        let before = fixture.keys.budgets();
        fixture.keys.create(NewKey::named("ci"), start()).unwrap();
        assert!(Arc::ptr_eq(&before, &fixture.keys.budgets()));
        fixture.keys.update_budget(budget.id, dollars(2), &Expected::Any).unwrap();
        assert!(!Arc::ptr_eq(&before, &fixture.keys.budgets()));
    }
}

mod users {
    use super::*;

    #[test]
    fn the_first_admin_is_made_by_the_setup_token_and_only_once() {
        let fixture = Fixture::new();
        assert!(fixture.keys.setup_needed());
        let (setup, text) = SetupToken::new(start());
        let create = |presented: &str, name, password, now| {
            fixture.keys.create_first_admin(&setup, presented, name, password, now)
        };
        assert!(matches!(create("", "ada", PASSWORD, start()), Err(KeysError::SetupToken)));
        let (_, other) = SetupToken::new(start());
        assert!(matches!(create(other.expose(), "ada", PASSWORD, start()), Err(KeysError::SetupToken)));
        let late = start() + 30.minutes();
        assert!(matches!(create(text.expose(), "ada", PASSWORD, late), Err(KeysError::SetupToken)));
        assert!(matches!(create(text.expose(), "ada", "short", start()), Err(KeysError::Password(_))));
        assert!(matches!(create(text.expose(), "a\nb", PASSWORD, start()), Err(KeysError::Invalid { .. })));
        assert!(matches!(create(text.expose(), "  ", PASSWORD, start()), Err(KeysError::Invalid { .. })));

        let admin = create(text.expose(), " Ada ", PASSWORD, start()).unwrap();
        assert_eq!((admin.name.as_str(), &admin.role), ("Ada", &Role::Admin));
        assert!(!fixture.keys.setup_needed());
        assert!(!setup.is_valid(text.expose(), start()), "used up");
        assert!(matches!(create(text.expose(), "bob", PASSWORD, start()), Err(KeysError::SetUpAlready)));
        assert_eq!(fixture.reopened().keys.users(), [admin]);
    }

    #[test]
    fn of_two_who_hold_the_setup_link_at_once_one_becomes_admin() {
        let fixture = Fixture::new();
        let (setup, text) = SetupToken::new(start());
        let made = std::thread::scope(|scope| {
            let create = |name| fixture.keys.create_first_admin(&setup, text.expose(), name, PASSWORD, start()).is_ok();
            let one = scope.spawn(move || create("ada"));
            let two = scope.spawn(move || create("bob"));
            [one.join().unwrap(), two.join().unwrap()]
        });
        assert_eq!(made.iter().filter(|made| **made).count(), 1);
        assert_eq!(fixture.keys.users().len(), 1);
    }

    #[test]
    fn only_the_right_name_and_password_log_in() {
        let fixture = Fixture::with_admin().reopened();
        let verify =
            |name: &str, password: &str| fixture.keys.verify_password(name, password).map(|user| user.name.clone());
        assert_eq!(verify("Ada", PASSWORD), Ok("Ada".to_owned()));
        assert_eq!(verify(" ada", PASSWORD), Ok("Ada".to_owned()));
        assert_eq!(verify("Ada", "wrong horse"), Err(LoginError::Wrong));
        assert_eq!(verify("Ada", ""), Err(LoginError::Wrong));
        assert_eq!(verify("Ada", &"x".repeat(100_000)), Err(LoginError::Wrong));
        assert_eq!(verify("bob", PASSWORD), Err(LoginError::Wrong));
        assert_eq!(verify("", PASSWORD), Err(LoginError::Wrong));
    }

    #[test]
    fn a_reset_link_sets_a_password_once_and_ends_the_sessions() {
        let fixture = Fixture::with_admin();
        let (cookie, _) = fixture.keys.start_session("Ada", None, start()).unwrap();
        let (link, expires_at) = fixture.keys.reset_password("ADA", start()).unwrap();
        assert!(expires_at <= start() + 30.minutes());
        assert!(fixture.keys.verify_password("Ada", PASSWORD).is_ok(), "the old password stays until the link is used");

        let fixture = fixture.reopened();
        assert_eq!(fixture.keys.reset_link_user(link.expose(), start()).unwrap().name, "Ada");
        let redeem = |password| fixture.keys.redeem_reset(link.expose(), password, start());
        assert!(matches!(redeem("short"), Err(KeysError::Password(_))));
        redeem("another horse").unwrap();
        assert!(matches!(redeem("a third horse"), Err(KeysError::ResetLink)));
        assert_eq!(fixture.keys.verify_password("Ada", PASSWORD), Err(LoginError::Wrong));
        assert!(fixture.keys.verify_password("Ada", "another horse").is_ok());
        assert!(fixture.keys.session(cookie.expose(), start()).is_none());
        assert!(fixture.reopened().keys.session(cookie.expose(), start()).is_none());
    }

    #[test]
    fn a_reset_link_that_is_late_replaced_or_invented_is_refused() {
        let fixture = Fixture::with_admin();
        let (replaced, _) = fixture.keys.reset_password("Ada", start()).unwrap();
        let (link, _) = fixture.keys.reset_password("Ada", start()).unwrap();
        let late = start() + 30.minutes();
        for (presented, now) in [(replaced.expose().as_str(), start()), (link.expose(), late), ("", start())] {
            assert!(fixture.keys.reset_link_user(presented, now).is_none());
            let refused = fixture.keys.redeem_reset(presented, "another horse", now);
            assert!(matches!(refused, Err(KeysError::ResetLink)));
        }
        assert!(
            matches!(fixture.keys.reset_password("bob", start()), Err(KeysError::UnknownUser { known, .. }) if known == ["Ada"])
        );
    }
}

mod sessions {
    use super::*;

    #[test]
    fn a_session_lives_twelve_hours_without_use_and_seven_days_with() {
        let fixture = Fixture::with_admin();
        let (idle, session) = fixture.keys.start_session("ada", None, start()).unwrap();
        assert_eq!(session.user.name, "Ada");
        assert_eq!(session.expires_at, session.created + 12.hours());
        let (used, _) = fixture.keys.start_session("ada", None, start()).unwrap();
        for hours in (0..7 * 24).step_by(11) {
            assert!(fixture.keys.session(used.expose(), start() + hours.hours()).is_some(), "{hours}");
        }
        assert!(fixture.keys.session(used.expose(), start() + (7 * 24).hours()).is_none());
        assert!(fixture.keys.session(idle.expose(), start() + 12.hours()).is_none());
        assert!(fixture.keys.session(idle.expose(), start()).is_none(), "over is over, whatever the clock says then");
    }

    #[test]
    fn the_last_use_survives_a_restart_once_it_was_flushed() {
        let fixture = Fixture::with_admin();
        let (flushed, _) = fixture.keys.start_session("ada", None, start()).unwrap();
        fixture.keys.session(flushed.expose(), start() + 11.hours()).unwrap();
        fixture.keys.flush_sessions(start() + 11.hours()).unwrap();
        let fixture = fixture.reopened();
        assert!(fixture.keys.session(flushed.expose(), start() + 22.hours()).is_some());
        let fixture = fixture.reopened();
        assert!(
            fixture.keys.session(flushed.expose(), start() + 24.hours()).is_none(),
            "not flushed, so it ends sooner"
        );
    }

    #[test]
    fn a_login_ends_the_session_that_the_browser_had() {
        let fixture = Fixture::with_admin();
        let (before, _) = fixture.keys.start_session("ada", None, start()).unwrap();
        let (after, _) = fixture.keys.start_session("ada", Some(before.expose()), start()).unwrap();
        let fixture = fixture.reopened();
        assert!(fixture.keys.session(before.expose(), start()).is_none());
        assert!(fixture.keys.session(after.expose(), start()).is_some());
    }

    #[test]
    fn a_logout_is_for_good_and_for_that_browser_only() {
        let fixture = Fixture::with_admin();
        let (here, _) = fixture.keys.start_session("ada", None, start()).unwrap();
        let (there, _) = fixture.keys.start_session("ada", None, start()).unwrap();
        fixture.keys.end_session(here.expose()).unwrap();
        fixture.keys.end_session("never was").unwrap();
        let fixture = fixture.reopened();
        assert!(fixture.keys.session(here.expose(), start()).is_none());
        assert!(fixture.keys.session(there.expose(), start()).is_some());
        fixture.keys.end_sessions_of("ADA").unwrap();
        assert!(fixture.reopened().keys.session(there.expose(), start()).is_none());
    }

    #[test]
    fn a_cookie_that_nobody_got_opens_nothing() {
        let fixture = Fixture::with_admin();
        let (cookie, _) = fixture.keys.start_session("ada", None, start()).unwrap();
        for presented in ["", "x", &cookie.expose()[1..], &format!("{} ", cookie.expose())] {
            assert!(fixture.keys.session(presented, start()).is_none(), "{presented:?}");
        }
        assert!(matches!(fixture.keys.start_session("bob", None, start()), Err(KeysError::NotFound { .. })));
    }

    #[test]
    fn a_form_needs_the_token_of_its_own_session() {
        let fixture = Fixture::with_admin();
        let (cookie, mine) = fixture.keys.start_session("ada", None, start()).unwrap();
        let (_, other) = fixture.keys.start_session("ada", None, start()).unwrap();
        let mine_again = fixture.keys.session(cookie.expose(), start()).unwrap();
        assert!(mine_again.has_csrf_token(mine.csrf_token.expose()));
        for presented in ["", "x", cookie.expose(), other.csrf_token.expose(), &mine.csrf_token.expose()[1..]] {
            assert!(!mine.has_csrf_token(presented), "{presented:?}");
        }
    }

    #[test]
    fn a_form_before_the_login_needs_the_token_of_its_cookie() {
        let fixture = Fixture::new();
        let token = fixture.keys.form_token("nonce");
        assert!(fixture.keys.has_form_token("nonce", token.expose()));
        assert!(!fixture.keys.has_form_token("other", token.expose()));
        assert!(!fixture.keys.has_form_token("nonce", ""));
        assert!(!fixture.keys.has_form_token("", fixture.keys.form_token("").expose()));
    }

    #[test]
    fn the_browser_used_least_recently_makes_room_for_the_twenty_first() {
        let fixture = Fixture::with_admin();
        let minute = |number: i64| start() + number.minutes();
        let cookies: Vec<Secret<String>> =
            (0..20).map(|number| fixture.keys.start_session("ada", None, minute(number)).unwrap().0).collect();
        assert!(fixture.keys.session(cookies[0].expose(), minute(30)).is_some(), "the oldest, used again");
        fixture.keys.start_session("ada", None, minute(31)).unwrap();
        let fixture = fixture.reopened();
        let is_live = |number: usize| fixture.keys.session(cookies[number].expose(), minute(32)).is_some();
        assert!(is_live(0) && !is_live(1) && is_live(2) && is_live(19));
    }

    #[test]
    fn sessions_that_are_over_leave_the_file() {
        let fixture = Fixture::with_admin();
        for _ in 0..3 {
            fixture.keys.start_session("ada", None, start()).unwrap();
        }
        fixture.keys.flush_sessions(start() + 13.hours()).unwrap();
        let rows = fixture.keys.settings.write(tables::load_sessions).unwrap();
        assert!(rows.is_empty());
    }
}

mod admin_tokens {
    use super::*;

    #[test]
    fn a_token_opens_until_it_is_revoked_and_over_restarts() {
        let fixture = Fixture::new();
        let (token, secret) = fixture.keys.create_admin_token("deploy", start()).unwrap();
        assert!(secret.expose().starts_with("tga-"));
        let fixture = fixture.reopened();
        assert_eq!(fixture.keys.authenticate_admin_token(secret.expose()), Ok(TokenBearer::Made(Arc::clone(&token))));
        assert_eq!(fixture.keys.admin_tokens(), [token]);
        fixture.keys.revoke_admin_token("deploy").unwrap();
        assert_eq!(fixture.keys.authenticate_admin_token(secret.expose()), Err(KeyError::Unknown));
        let fixture = fixture.reopened();
        assert_eq!(fixture.keys.authenticate_admin_token(secret.expose()), Err(KeyError::Unknown));
        assert!(matches!(fixture.keys.revoke_admin_token("deploy"), Err(KeysError::NotFound { .. })));
    }

    #[test]
    fn two_tokens_cant_have_one_name_and_names_are_checked() {
        let fixture = Fixture::new();
        fixture.keys.create_admin_token("deploy", start()).unwrap();
        let refused = fixture.keys.create_admin_token("deploy", start());
        assert!(matches!(refused, Err(KeysError::NameTaken { .. })));
        for name in ["", "a\nb", &"x".repeat(101)] {
            assert!(matches!(fixture.keys.create_admin_token(name, start()), Err(KeysError::Invalid { .. })));
        }
    }

    #[test]
    fn virtual_keys_and_admin_tokens_dont_stand_in_for_each_other() {
        let fixture = Fixture::new();
        let (_, token) = fixture.keys.create_admin_token("deploy", start()).unwrap();
        let (_, key) = fixture.keys.create(NewKey::named("ci"), start()).unwrap();
        assert_eq!(fixture.keys.authenticate(token.expose(), start()), Err(KeyError::Malformed));
        assert_eq!(fixture.keys.authenticate_admin_token(key.expose()), Err(KeyError::Malformed));
    }

    #[test]
    fn a_token_from_the_configuration_opens_while_it_is_configured() {
        let fixture = Fixture::new();
        let accept = |text: &str| fixture.keys.accept_admin_token("configured", &Secret::new(text.to_owned()));
        let first = "first-token-of-thirty-two-characters";
        accept(first).unwrap();
        assert_eq!(fixture.keys.authenticate_admin_token(first), Ok(TokenBearer::Accepted("configured")));
        accept("second-token-of-thirty-two-characters").unwrap();
        assert!(fixture.keys.authenticate_admin_token(first).is_err(), "replaced");
        let local = fixture.keys.accept_new_admin_token("local");
        assert_eq!(fixture.keys.authenticate_admin_token(local.expose()).unwrap().name(), "local");
        assert!(fixture.reopened().keys.authenticate_admin_token(local.expose()).is_err(), "never stored");
    }

    #[test]
    fn an_empty_or_short_token_is_an_error_and_never_opens() {
        let fixture = Fixture::new();
        for text in ["", "short", " ", &" ".repeat(40), &"x".repeat(31), &"x".repeat(2_000)] {
            let refused = fixture.keys.accept_admin_token("configured", &Secret::new(text.to_owned()));
            assert!(matches!(refused, Err(KeysError::Invalid { field: "configured", .. })), "{text:?}");
            assert!(fixture.keys.authenticate_admin_token(text).is_err(), "{text:?}");
        }
    }
}

mod opening {
    use super::*;

    #[test]
    fn settings_without_their_pepper_are_refused_with_a_way_out() {
        let Fixture { folder, keys } = Fixture::new();
        drop(keys);
        let pepper = folder.path().join("pepper");
        let kept = std::fs::read(&pepper).unwrap();
        std::fs::remove_file(&pepper).unwrap();
        let refused = open(folder.path()).unwrap_err();
        assert!(matches!(refused, OpenKeysError::Pepper(PepperError::Missing { .. })), "{refused}");
        std::fs::write(&pepper, [7; 32]).unwrap();
        assert!(matches!(open(folder.path()), Err(OpenKeysError::Pepper(PepperError::Foreign { .. }))));
        std::fs::write(&pepper, kept).unwrap();
        assert!(open(folder.path()).is_ok());
    }

    #[test]
    fn a_row_that_cant_be_read_is_refused_by_name_and_nothing_is_changed() {
        let Fixture { folder, keys } = Fixture::new();
        drop(keys);
        let rows: TableDefinition<&str, &[u8]> = TableDefinition::new("virtual_keys");
        settings(folder.path())
            .write(|transaction| {
                transaction.open_table(rows)?.insert("key_broken", &[9_u8, 9][..])?;
                Ok::<_, crate::store::SettingsError>(())
            })
            .unwrap();
        let refused = open(folder.path()).unwrap_err();
        assert!(refused.to_string().contains("virtual_keys \"key_broken\""), "{refused}");
        assert!(open(folder.path()).is_err());
    }

    #[test]
    fn callers_faults_and_our_own_are_told_apart() {
        assert!(KeysError::SetupToken.is_callers_fault());
        assert!(KeysError::not_found("user", "bob").is_callers_fault());
        assert!(!KeysError::Busy.is_callers_fault());
    }
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
