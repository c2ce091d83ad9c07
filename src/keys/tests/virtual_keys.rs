//! Virtual keys: made, let in, renewed, revoked.

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
    let (key, secret) =
        fixture.keys.create(NewKey { expires_at: Some(start() + 1.hour()), ..NewKey::named("ci") }, start()).unwrap();
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
