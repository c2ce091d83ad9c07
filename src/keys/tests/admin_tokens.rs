//! Tokens of scripts.

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
