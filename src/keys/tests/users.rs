//! People and their passwords.

use super::*;

#[test]
fn the_first_admin_is_made_by_the_setup_token_and_only_once() {
    let fixture = Fixture::new();
    assert!(fixture.keys.setup_needed());
    let (setup, text) = SetupToken::new(start());
    let create =
        |presented: &str, name, password, now| fixture.keys.create_first_admin(&setup, presented, name, password, now);
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
