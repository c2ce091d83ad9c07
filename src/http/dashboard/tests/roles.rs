//! What each role finds in the dashboard: its pages and forms, and nothing of another team.

use super::*;
use crate::keys::{Edit, Entrance, Expected, KeyPatch, NewUser};

/// Two teams that have called, and a browser of somebody of the first.
async fn two_teams(role: &str, team: Option<&str>) -> (Fixture, Browser, Arc<VirtualKey>, Arc<VirtualKey>, RequestId) {
    let (fixture, _) = Fixture::with_admin(SETTINGS);
    let key = |name: &str, team: &str| {
        let new = NewKey { team: Some(team.to_owned()), ..NewKey::named(name) };
        fixture.state.keys.create(new, noon()).unwrap().0
    };
    let (own, other) = (key("own-key", "red"), key("canary-key", "canary-team"));
    fixture.call(&own, Call::USUAL).await;
    let other_call = fixture.call(&other, Call { model: "canary-model", ..Call::USUAL }).await;
    let browser = browser_of(&fixture, role, team);
    (fixture, browser, own, other, other_call)
}

fn browser_of(fixture: &Fixture, role: &str, team: Option<&str>) -> Browser {
    let new = NewUser { name: "mia".to_owned(), role: role.to_owned(), team: team.map(ToOwned::to_owned) };
    fixture.state.keys.create_user(&new, &Entrance::Password(Secret::new(PASSWORD.to_owned())), noon()).unwrap();
    let (cookie, session) = fixture.state.keys.start_session("mia", None, noon()).unwrap();
    let browser = Browser { csrf_token: session.csrf_token.expose().clone(), ..fixture.browser() };
    browser.cookies.borrow_mut().insert("tollgate".to_owned(), cookie.expose().clone());
    browser
}

/// The statuses of the pages for a role, those of forms after them; `true` is let in.
async fn admitted(role: &str, team: Option<&str>) -> Vec<String> {
    let (_fixture, browser, own, ..) = two_teams(role, team).await;
    let mut admitted = Vec::new();
    for path in PAGES.into_iter().filter(|path| !path.starts_with("/events")) {
        let path = path.replace("{key}", own.id.as_str()).replace("{team}", "red");
        if browser.get(&path).await.status != 403 {
            admitted.push(format!("GET {}", path.replace(own.id.as_str(), "{key}")));
        }
    }
    for path in FORMS.into_iter().filter(|path| *path != "/logout") {
        if browser.post(path, &[]).await.status != 403 {
            admitted.push(format!("POST {path}"));
        }
    }
    admitted
}

#[test]
fn every_page_and_form_is_open_to_the_roles_it_is_for_and_to_no_other() {
    run(async {
        let of_team = ["GET /", "GET /requests", "GET /requests/{}", "GET /costs"];
        let keys = ["GET /keys/new", "GET /keys/{key}", "GET /teams", "GET /teams/red", "POST /prefs/theme"];
        let member = ["POST /keys", "POST /keys/key_1", "POST /keys/key_1/rotate", "POST /keys/key_1/revoke"];
        assert_eq!(admitted("member", Some("red")).await, [&of_team[..], &keys[..], &member[..]].concat());
        assert_eq!(admitted("viewer", Some("red")).await, [&of_team[..], &keys[1..]].concat());
        let all = admitted("viewer", None).await;
        let pages = [
            "/",
            "/welcome",
            "/requests",
            "/costs",
            "/costs/reconciliation",
            "/reports",
            "/cache",
            "/budgets",
            "/alerts",
            "/teams",
        ];
        for page in pages {
            assert!(all.contains(&format!("GET {page}")), "{page}: {all:?}");
        }
        for line in ["GET /people", "GET /budgets/new", "GET /keys/new"] {
            assert!(!all.contains(&line.to_owned()), "{line}: {all:?}");
        }
        let (_fixture, browser, ..) = two_teams("viewer", None).await;
        let page = browser.get("/costs/reconciliation").await.body;
        assert!(!page.contains("Fetch now") && !page.contains("admin_api_key"), "{page}");
        let forms: Vec<&String> = all.iter().filter(|line| line.starts_with("POST")).collect();
        assert_eq!(forms, ["POST /prefs/theme"]);
        assert_eq!(admitted("admin", None).await.len(), PAGES.len() - 1 + FORMS.len() - 1);
    });
}

#[test]
fn whoever_is_of_a_team_reads_nothing_of_another_on_any_page() {
    run(async {
        for role in ["member", "viewer"] {
            let (_fixture, browser, own, other, other_call) = two_teams(role, Some("red")).await;
            let mut paths = vec![
                "/teams/red".to_owned(),
                format!("/keys/{}", own.id),
                "/requests?range=30d".to_owned(),
                format!("/requests?range=30d&key={}", other.id),
                "/requests?range=1h&q=sandbox".to_owned(),
                "/keys/new".to_owned(),
            ];
            for by in ["model", "provider", "operation", "key", "team"] {
                paths.push(format!("/costs?range=30d&by={by}"));
            }
            for path in paths {
                let page = browser.get(&path).await;
                assert!(page.status == 200 || (role == "viewer" && path == "/keys/new"), "{path}: {}", page.status);
                assert!(!page.body.contains("canary"), "{path}: {}", page.body);
            }
            for path in
                [format!("/keys/{}", other.id), format!("/requests/{other_call}"), "/teams/canary-team".to_owned()]
            {
                assert_eq!(browser.get(&path).await.status, 404, "{path}");
            }
            assert_eq!(browser.get("/").await.location(), "/teams/red");
            assert_eq!(browser.get("/teams").await.location(), "/teams/red");
        }
    });
}

#[test]
fn a_member_makes_keys_for_their_team_whatever_the_form_says() {
    run(async {
        let (fixture, browser, _, other, _) = two_teams("member", Some("red")).await;
        let form = [
            ("name", "canary-key"),
            ("team", "canary-team"),
            ("expires", "never"),
            ("limit_usd", ""),
            ("window", "month"),
            ("requests_per_minute", ""),
            ("action", "block"),
        ];
        let made = browser.post("/keys", &form).await;
        assert_eq!(made.status, 200, "{}", made.body);
        let keys = fixture.state.keys.list();
        let mine = keys.iter().find(|key| key.name == "canary-key" && key.id != other.id).unwrap();
        assert_eq!(mine.team.as_ref().map(crate::domain::TeamId::as_str), Some("red"));
        let uri = format!("/keys/{}", mine.id);
        let revision = mine.revision.to_string();
        let fields = [
            ("revision", revision.as_str()),
            ("name", "renamed"),
            ("owner", "Mia"),
            ("tags", ""),
            ("team", "canary-team"),
            ("requests_per_minute", "9"),
            ("models", "x"),
        ];
        assert_eq!(browser.post(&uri, &fields).await.location(), uri);
        let changed = fixture.state.keys.get(&mine.id).unwrap();
        assert_eq!((changed.name.as_str(), changed.owner.as_deref()), ("renamed", Some("Mia")));
        assert_eq!(
            (changed.team.clone(), changed.limits, changed.allowed_models.clone()),
            (mine.team.clone(), mine.limits, None)
        );
        for path in ["", "/rotate", "/revoke"] {
            let path = format!("/keys/{}{path}", other.id);
            assert_eq!(browser.post(&path, &[("confirm", "canary-key")]).await.status, 404, "{path}");
        }
    });
}

#[test]
fn a_key_is_changed_by_its_form_and_a_second_admin_is_told() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let key = fixture.key("ci");
        let uri = format!("/keys/{}", key.id);
        let page = browser.get(&uri).await;
        assert!(page.body.contains("name=\"revision\" value=\"1\""), "{}", page.body);
        let form = [
            ("revision", "1"),
            ("name", "ci-2"),
            ("owner", "Ada"),
            ("tags", "env=prod, app=web"),
            ("team", "red"),
            ("expires", "2027-01-31"),
            ("models", "gpt-*\r\nsmart"),
            ("endpoint_chat", "yes"),
            ("requests_per_minute", "60"),
            ("tokens_per_minute", ""),
            ("concurrent_requests", "2"),
        ];
        assert_eq!(browser.post(&uri, &form).await.location(), uri);
        let changed = fixture.state.keys.get(&key.id).unwrap();
        assert_eq!(changed.allowed_models.as_deref(), Some(&["gpt-*".to_owned(), "smart".to_owned()][..]));
        assert_eq!((changed.limits.requests_per_minute, changed.limits.concurrent_requests), (Some(60), Some(2)));
        assert_eq!((changed.tags.len(), changed.allowed_endpoints.as_ref().map(Vec::len)), (2, Some(1)));
        assert!(changed.expires_at.is_some() && fixture.state.keys.team("red").is_some());

        let late = browser.post(&uri, &form).await;
        assert_eq!(late.status, 422);
        assert!(late.body.contains("Someone else changed this key meanwhile"), "{}", late.body);
        assert!(late.body.contains("name=\"revision\" value=\"2\""), "the form is of what it is now");
        let wrong = [("revision", "2"), ("name", ""), ("tags", "x"), ("requests_per_minute", "0"), ("expires", "soon")];
        let wrong = browser.post(&uri, &wrong).await;
        assert_eq!(wrong.status, 422);
        assert!(wrong.body.contains("Give the key a name."), "{}", wrong.body);
    });
}

#[test]
fn a_new_secret_is_shown_once_and_the_old_one_goes_on_as_chosen() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let (key, old) = fixture.state.keys.create(NewKey::named("ci"), noon()).unwrap();
        let uri = format!("/keys/{}/rotate", key.id);
        let answer = browser.post(&uri, &[("overlap", "24h")]).await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
        assert!(answer.body.contains("The old secret works for 1 d more."), "{}", answer.body);
        assert!(fixture.state.keys.authenticate(old.expose(), noon()).is_ok());
        let page = browser.get(&format!("/keys/{}", key.id)).await;
        assert!(page.body.contains("works for 1 d more"), "{}", page.body);
        assert_eq!(browser.post(&uri, &[("overlap", "for ever")]).await.status, 422);
        assert_eq!(browser.post(&uri, &[("overlap", "none")]).await.status, 200);
        assert!(fixture.state.keys.authenticate(old.expose(), noon()).is_err());
    });
}

#[test]
fn a_team_is_made_named_anew_and_removed_on_its_page() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        assert!(browser.get("/teams").await.body.contains("No team yet"));
        assert_eq!(browser.post("/teams", &[("name", "R&D lab")]).await.location(), "/teams/R%26D%20lab");
        let again = browser.post("/teams", &[("name", "r&d lab")]).await;
        assert!(again.status == 422 && again.body.contains("did you mean that one?"), "{}", again.body);
        let uri = "/teams/R%26D%20lab";
        let named = [("revision", "1"), ("name", HOSTILE)];
        assert_eq!(browser.post(uri, &named).await.location(), uri);
        let late = browser.post(uri, &named).await;
        assert!(late.status == 422 && late.body.contains("Someone else changed this team"), "{}", late.body);
        let page = browser.get(uri).await;
        assert!(page.status == 200 && !page.body.contains(HOSTILE), "{}", page.body);
        let key = fixture.key("ci");
        let joined = KeyPatch { team: Edit::Set("R&D lab".to_owned()), ..KeyPatch::default() };
        fixture.state.keys.change_key(&key.id, joined, &Expected::Any, noon()).unwrap();
        let refused = browser.post(&format!("{uri}/delete"), &[("revision", "2")]).await;
        assert!(refused.status == 422 && refused.body.contains("1 live key"), "{}", refused.body);
        fixture.state.keys.revoke(&key.id, noon()).unwrap();
        assert_eq!(browser.post(&format!("{uri}/delete"), &[("revision", "2")]).await.location(), "/teams");
        assert_eq!(browser.get(uri).await.status, 404);
    });
}

#[test]
fn someone_is_let_in_by_a_link_that_is_shown_once_and_kept_out_again() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        fixture.state.keys.create_team("red", noon()).unwrap();
        let form = [("name", "Mia"), ("role", "member"), ("team", "red"), ("life", "24h")];
        let answer = browser.post("/people", &form).await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{}", answer.body);
        let link = answer.body.split("http://127.0.0.1:8000").nth(1).unwrap().split('<').next().unwrap().to_owned();
        let other = fixture.browser();
        assert!(other.get(&link).await.body.contains("Welcome to Tollgate"));
        let token = link.split_once("token=").unwrap().1;
        let set = other.open_form(&link, "/reset", &[("token", token), ("password", PASSWORD)]).await;
        assert_eq!(set.location(), "/login?say=password");
        assert_eq!(other.get(&link).await.status, 403);
        let open =
            other.open_form("/login", "/login", &[("username", "mia"), ("password", PASSWORD), ("next", "/")]).await;
        assert_eq!(open.location(), "/");
        assert_eq!(other.get("/").await.location(), "/teams/red");

        let kept_out = [("role", "member"), ("team", "red"), ("disabled", "yes")];
        assert_eq!(browser.post("/people/Mia", &kept_out).await.location(), "/people");
        assert!(other.get("/teams/red").await.location().starts_with("/login"));
        let last = browser.post("/people/ada", &[("role", "viewer"), ("team", "")]).await;
        assert!(last.status == 422 && last.body.contains("the only admin who can log in"), "{}", last.body);
        let last = browser.post("/people/ada/delete", &[]).await;
        assert_eq!(last.status, 422);
        for (field, value, words) in [
            ("name", "", "1 to 64 characters"),
            ("name", "ADA", "Someone has this name already"),
            ("team", "", "a member needs a team"),
            ("role", "root", "choose one of admin"),
            ("life", "for ever", "Choose from the lists"),
        ] {
            let form: Vec<(&str, &str)> =
                form.iter().map(|(name, old)| (*name, if *name == field { value } else { *old })).collect();
            let form: Vec<(&str, &str)> =
                form.into_iter().map(|(name, value)| (name, if value == "Mia" { "Bob" } else { value })).collect();
            let refused = browser.post("/people", &form).await;
            assert!(
                refused.status == 422 && refused.body.to_lowercase().contains(&words.to_lowercase()),
                "{field}={value}: {}",
                refused.body
            );
        }
        assert_eq!(browser.post("/people/mia/delete", &[]).await.location(), "/people");
        assert_eq!(browser.get("/people/mia").await.status, 404);
    });
}

#[test]
fn another_role_ends_the_stream_and_the_session() {
    run(async {
        let (fixture, browser, ..) = two_teams("member", Some("red")).await;
        assert_eq!(browser.get("/teams/red").await.status, 200);
        let patch = crate::keys::UserPatch { role: Some("viewer".to_owned()), ..Default::default() };
        fixture.state.keys.change_user("mia", &patch).unwrap();
        assert!(browser.get("/teams/red").await.location().starts_with("/login"));
        assert_eq!(browser.get("/events?topics=request").await.status, 401);
    });
}
