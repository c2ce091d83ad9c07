//! Sessions of people.

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
    assert!(fixture.keys.session(flushed.expose(), start() + 24.hours()).is_none(), "not flushed, so it ends sooner");
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
