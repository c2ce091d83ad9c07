//! Users beside the first admin: let in, changed, kept out, taken away.

use super::*;
use crate::domain::TeamId;

fn new(name: &str, role: &str, team: Option<&str>) -> NewUser {
    NewUser { name: name.to_owned(), role: role.to_owned(), team: team.map(ToOwned::to_owned) }
}

fn password() -> Entrance {
    Entrance::Password(Secret::new(PASSWORD.to_owned()))
}

fn with_team() -> Fixture {
    let fixture = Fixture::with_admin();
    fixture.keys.create_team("research", start()).unwrap();
    fixture
}

fn team() -> TeamId {
    TeamId::new("research").unwrap()
}

#[test]
fn who_is_invited_chooses_a_password_once_and_then_can_log_in() {
    let fixture = with_team();
    let entrance = Entrance::Invite(Duration::from_hours(24));
    let (user, invite) =
        fixture.keys.create_user(&new(" Bob ", "member", Some("research")), &entrance, start()).unwrap();
    assert_eq!((user.name.as_str(), &user.role, user.state), ("Bob", &Role::Member(team()), UserState::Invited));
    let (token, expires_at) = invite.unwrap();
    assert!(expires_at <= start() + 24.hours() && expires_at > start() + 23.hours());
    let fixture = fixture.reopened();
    assert_eq!(fixture.keys.verify_password("bob", ""), Err(LoginError::Wrong));
    assert!(matches!(fixture.keys.start_session("bob", None, start()), Err(KeysError::NotFound { .. })));

    let later = start() + 23.hours();
    fixture.keys.redeem_reset(token.expose(), "another horse", later).unwrap();
    assert!(matches!(fixture.keys.redeem_reset(token.expose(), "a third horse", later), Err(KeysError::ResetLink)));
    let user = fixture.keys.verify_password("bob", "another horse").unwrap();
    assert_eq!((&user.role, user.state), (&Role::Member(team()), UserState::Active));
}

#[test]
fn an_invitation_lives_from_half_an_hour_to_a_week() {
    let fixture = with_team();
    for life in [Duration::from_mins(29), Duration::from_hours(7 * 24 + 1), Duration::ZERO, Duration::MAX] {
        let refused = fixture.keys.create_user(&new("bob", "viewer", None), &Entrance::Invite(life), start());
        assert!(matches!(refused, Err(KeysError::Invalid { field: "expiresIn", .. })), "{life:?}");
    }
    let entrance = Entrance::Invite(Duration::from_mins(30));
    let (_, invite) = fixture.keys.create_user(&new("bob", "viewer", None), &entrance, start()).unwrap();
    let (token, expires_at) = invite.unwrap();
    assert!(fixture.keys.reset_link_user(token.expose(), expires_at).is_none());
    let (fresh, _) = fixture.keys.invite("BOB", Duration::from_hours(1), start()).unwrap();
    assert!(fixture.keys.reset_link_user(token.expose(), start()).is_none(), "a fresh one takes its place");
    assert_eq!(fixture.keys.reset_link_user(fresh.expose(), start()).unwrap().name, "bob");
}

#[test]
fn a_user_that_cannot_be_is_refused() {
    let fixture = with_team();
    let refuse = |new: NewUser| fixture.keys.create_user(&new, &password(), start()).unwrap_err();
    assert!(matches!(refuse(new("", "viewer", None)), KeysError::Invalid { field: "name", .. }));
    assert!(matches!(refuse(new("ADA", "viewer", None)), KeysError::NameTaken { .. }));
    assert!(matches!(refuse(new("bob", "root", None)), KeysError::Invalid { field: "role", .. }));
    assert!(matches!(refuse(new("bob", "Admin", None)), KeysError::Invalid { field: "role", .. }));
    assert!(matches!(refuse(new("bob", "member", None)), KeysError::Invalid { field: "team", .. }));
    assert!(matches!(refuse(new("bob", "admin", Some("research"))), KeysError::Invalid { field: "team", .. }));
    assert!(matches!(refuse(new("bob", "member", Some("nowhere"))), KeysError::Invalid { field: "team", .. }));
    let short = Entrance::Password(Secret::new("short".to_owned()));
    assert!(matches!(
        fixture.keys.create_user(&new("bob", "viewer", None), &short, start()),
        Err(KeysError::Password(_))
    ));
    assert_eq!((fixture.keys.users().len(), fixture.keys.teams().len()), (1, 1), "no team is made for people");
}

#[test]
fn another_role_ends_the_sessions_and_holds_at_once() {
    let fixture = with_team();
    fixture.keys.create_user(&new("bob", "viewer", None), &password(), start()).unwrap();
    let (cookie, session) = fixture.keys.start_session("bob", None, start()).unwrap();
    assert_eq!(session.user.role, Role::Viewer(None));
    let same = fixture.keys.change_user("bob", &UserPatch { role: Some("viewer".to_owned()), ..UserPatch::default() });
    same.unwrap();
    assert!(fixture.keys.session(cookie.expose(), start()).is_some(), "what changes nothing ends nothing");
    let patch =
        UserPatch { role: Some("member".to_owned()), team: Edit::Set("research".to_owned()), is_disabled: None };
    assert_eq!(fixture.keys.change_user("BOB", &patch).unwrap().role, Role::Member(team()));
    assert!(fixture.keys.session(cookie.expose(), start()).is_none());
    assert!(fixture.reopened().keys.session(cookie.expose(), start()).is_none());
}

#[test]
fn a_team_goes_along_with_a_new_role_where_that_can_have_one() {
    let fixture = with_team();
    fixture.keys.create_user(&new("bob", "member", Some("research")), &password(), start()).unwrap();
    let change = |role: &str| UserPatch { role: Some(role.to_owned()), ..UserPatch::default() };
    assert_eq!(fixture.keys.change_user("bob", &change("viewer")).unwrap().role, Role::Viewer(Some(team())));
    assert_eq!(fixture.keys.change_user("bob", &change("admin")).unwrap().role, Role::Admin);
    let refused = fixture.keys.change_user("bob", &change("member"));
    assert!(matches!(refused, Err(KeysError::Invalid { field: "team", .. })));
}

#[test]
fn who_is_disabled_is_out_and_comes_back_with_the_old_password() {
    let fixture = with_team();
    fixture.keys.create_user(&new("bob", "viewer", None), &password(), start()).unwrap();
    let (cookie, _) = fixture.keys.start_session("bob", None, start()).unwrap();
    let (link, _) = fixture.keys.reset_password("bob", start()).unwrap();
    let disabled = |is_disabled| UserPatch { is_disabled: Some(is_disabled), ..UserPatch::default() };
    assert_eq!(fixture.keys.change_user("bob", &disabled(true)).unwrap().state, UserState::Disabled);
    let fixture = fixture.reopened();
    assert!(fixture.keys.session(cookie.expose(), start()).is_none());
    assert_eq!(fixture.keys.verify_password("bob", PASSWORD), Err(LoginError::Wrong));
    assert!(fixture.keys.reset_link_user(link.expose(), start()).is_none());
    assert!(matches!(fixture.keys.redeem_reset(link.expose(), "another horse", start()), Err(KeysError::ResetLink)));
    assert!(matches!(fixture.keys.invite("bob", INVITE_LIFE_DEFAULT, start()), Err(KeysError::Invalid { .. })));
    fixture.keys.change_user("bob", &disabled(false)).unwrap();
    assert!(fixture.keys.verify_password("bob", PASSWORD).is_ok());
}

#[test]
fn the_last_admin_who_can_log_in_is_neither_demoted_nor_disabled_nor_removed() {
    let fixture = with_team();
    let admin = Entrance::Invite(INVITE_LIFE_DEFAULT);
    let (_, invite) = fixture.keys.create_user(&new("bob", "admin", None), &admin, start()).unwrap();
    let demoted = UserPatch { role: Some("viewer".to_owned()), ..UserPatch::default() };
    let disabled = UserPatch { is_disabled: Some(true), ..UserPatch::default() };
    // An admin who was only invited lets nobody in.
    assert!(matches!(fixture.keys.change_user("ada", &demoted), Err(KeysError::LastAdmin(_))));
    assert!(matches!(fixture.keys.change_user("ada", &disabled), Err(KeysError::LastAdmin(_))));
    assert!(matches!(fixture.keys.remove_user("ada"), Err(KeysError::LastAdmin(_))));
    assert_eq!(fixture.keys.user("ada").unwrap().role, Role::Admin);

    fixture.keys.redeem_reset(invite.unwrap().0.expose(), "another horse", start()).unwrap();
    fixture.keys.change_user("ada", &demoted).unwrap();
    assert!(matches!(fixture.keys.remove_user("bob"), Err(KeysError::LastAdmin(_))));
    fixture.keys.remove_user("ada").unwrap();
    assert!(matches!(fixture.keys.remove_user("ada"), Err(KeysError::NotFound { .. })));
}

#[test]
fn who_is_removed_is_out_and_their_name_brings_nothing_back() {
    let fixture = with_team();
    fixture.keys.create_user(&new("bob", "viewer", None), &password(), start()).unwrap();
    let (cookie, _) = fixture.keys.start_session("bob", None, start()).unwrap();
    let (link, _) = fixture.keys.reset_password("bob", start()).unwrap();
    fixture.keys.remove_user("bob").unwrap();
    assert!(fixture.keys.session(cookie.expose(), start()).is_none());
    fixture.keys.create_user(&new("Bob", "viewer", Some("research")), &password(), start()).unwrap();
    let fixture = fixture.reopened();
    assert!(fixture.keys.session(cookie.expose(), start()).is_none());
    assert!(fixture.keys.reset_link_user(link.expose(), start()).is_none());
}

#[test]
fn the_first_admin_can_still_be_made_where_scripts_have_let_in_others() {
    let fixture = Fixture::new();
    fixture.keys.create_user(&new("bob", "viewer", None), &password(), start()).unwrap();
    assert!(fixture.keys.setup_needed());
    let (setup, text) = SetupToken::new(start());
    let refused = fixture.keys.create_first_admin(&setup, text.expose(), "BOB", PASSWORD, start());
    assert!(matches!(refused, Err(KeysError::Invalid { field: "username", .. })));
    fixture.keys.create_first_admin(&setup, text.expose(), "Ada", PASSWORD, start()).unwrap();
    assert!(!fixture.keys.setup_needed());
}
