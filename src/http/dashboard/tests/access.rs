//! Who gets in: setup, login, logout, new password, and everybody else.

use actix_web::test::TestRequest;
use jiff::SignedDuration;

use super::*;

#[test]
fn without_a_session_every_page_leads_to_the_login_and_shows_nothing() {
    run(async {
        let (fixture, _) = Fixture::with_admin(SETTINGS);
        let browser = fixture.browser();
        for path in PAGES {
            let answer = browser.get(path).await;
            if path.starts_with("/events") {
                assert_eq!(answer.status, 401, "{path}");
                continue;
            }
            assert_eq!(answer.status, 303, "{path}");
            assert!(answer.location().starts_with("/login"), "{path}: {}", answer.location());
            assert!(answer.body.is_empty(), "{path}");
        }
        let answer = browser.get("/costs?range=7d&by=key").await;
        assert_eq!(answer.location(), "/login?next=%2Fcosts%3Frange%3D7d%26by%3Dkey");
    });
}

#[test]
fn without_an_admin_everything_leads_to_the_setup() {
    run(async {
        let fixture = Fixture::new(SETTINGS);
        let browser = fixture.browser();
        for path in ["/", "/login", "/costs"] {
            let answer = browser.get(path).await;
            assert_eq!((answer.status, answer.location()), (303, "/setup"), "{path}");
        }
        let answer = browser.get("/setup").await;
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("Open the link that Tollgate printed"), "{}", answer.body);
    });
}

#[test]
fn a_part_of_a_page_without_a_session_takes_the_whole_page_to_the_login() {
    run(async {
        let (fixture, _) = Fixture::with_admin(SETTINGS);
        let request = TestRequest::get().uri("/?range=7d").insert_header(("hx-request", "true"));
        let request = request.insert_header(("hx-current-url", "http://127.0.0.1:8000/costs?by=key"));
        let answer = fixture.browser().send(request).await;
        assert_eq!((answer.status, answer.header("hx-redirect")), (401, "/login?next=%2Fcosts%3Fby%3Dkey"));
    });
}

#[test]
fn a_form_without_a_session_changes_nothing() {
    run(async {
        let (fixture, _) = Fixture::with_admin(SETTINGS);
        for path in FORMS {
            let answer = fixture.browser().post(path, &[("name", "x")]).await;
            assert_eq!((answer.status, answer.location()), (303, "/login"), "{path}");
        }
        assert!(fixture.state.keys.list().is_empty());
    });
}

#[test]
fn a_form_without_its_token_or_from_another_site_is_refused() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let other = fixture.logged_in();
        for path in FORMS {
            let token = other.csrf_token.as_str();
            for fields in [&[][..], &[("csrf_token", "")], &[("csrf_token", "0123")], &[("csrf_token", token)]] {
                let answer = browser.send(Browser::form(path, fields)).await;
                assert_eq!(answer.status, 403, "{path} {fields:?}");
                assert!(answer.body.contains("Nothing was changed"), "{path}");
            }
            let fields = [("csrf_token", browser.csrf_token.as_str())];
            let (hidden, cross) = (("origin", "null"), ("sec-fetch-site", "cross-site"));
            for foreign in
                [[("origin", "https://evil.example"), ("x-nothing", "")], [cross, ("x-nothing", "")], [hidden, cross]]
            {
                let request = Browser::form(path, &fields).insert_header(foreign[0]).insert_header(foreign[1]);
                assert_eq!(browser.send(request).await.status, 403, "{path} {foreign:?}");
            }
        }
        for path in ["/login", "/setup", "/reset"] {
            let answer = fixture.browser().send(Browser::form(path, &[("username", "ada")])).await;
            assert_eq!(answer.status, 403, "{path}");
        }
        assert_eq!(browser.get("/welcome").await.status, 200, "nobody was logged out");
    });
}

#[test]
fn a_form_of_ours_whose_origin_the_browser_hides_is_taken_by_its_token() {
    run(async {
        let (_fixture, browser) = Fixture::with_admin(SETTINGS);
        for site in [None, Some("same-origin")] {
            let fields = [("csrf_token", browser.csrf_token.as_str()), ("theme", "dark")];
            let mut request = Browser::form("/prefs/theme", &fields).insert_header(("origin", "null"));
            if let Some(site) = site {
                request = request.insert_header(("sec-fetch-site", site));
            }
            assert_eq!(browser.send(request).await.status, 303, "{site:?}");
            let request = Browser::form("/prefs/theme", &[("theme", "dark")]).insert_header(("origin", "null"));
            assert_eq!(browser.send(request).await.status, 403, "not without the token");
        }
    });
}

#[test]
fn what_is_no_form_is_refused() {
    run(async {
        let (_fixture, browser) = Fixture::with_admin(SETTINGS);
        let token = browser.csrf_token.as_str();
        let json = TestRequest::post().uri("/keys").insert_header(("content-type", "application/json"));
        assert_eq!(browser.send(json.set_payload("{}").insert_header(("x-csrf-token", token))).await.status, 400);
        let large = "x".repeat(100_000);
        assert_eq!(browser.post("/keys", &[("name", large.as_str())]).await.status, 400);
    });
}

#[test]
fn the_setup_link_makes_the_first_admin_once_and_logs_them_in() {
    run(async {
        let fixture = Fixture::new(SETTINGS);
        let browser = fixture.browser();
        let link = format!("/setup?token={}", fixture.setup_token.expose());
        let form = |name: &'static str, password: &'static str| {
            [("token", fixture.setup_token.expose().as_str()), ("username", name), ("password", password)]
        };
        assert_eq!(browser.get(&link).await.status, 200);
        let answer = browser.open_form(&link, "/setup", &form("ada", "short")).await;
        assert_eq!(answer.status, 422);
        assert!(answer.body.contains("too short") && !answer.body.contains("value=\"short\""), "{}", answer.body);
        let answer = browser.open_form(&link, "/setup", &form("", PASSWORD)).await;
        assert!(answer.status == 422 && answer.body.contains("username-error"), "{}", answer.body);
        let answer = browser
            .open_form(&link, "/setup", &[("token", "wrong"), ("username", "eve"), ("password", PASSWORD)])
            .await;
        assert_eq!(answer.status, 403);
        let answer = browser.open_form(&link, "/setup", &form("ada", PASSWORD)).await;
        assert_eq!((answer.status, answer.location()), (303, "/"));
        assert_eq!(browser.get("/welcome").await.status, 200, "logged in at once");
        // The link is used up, for whoever finds it.
        let stranger = fixture.browser();
        assert_eq!(stranger.get(&link).await.location(), "/login?say=setup");
        let token = stranger.get("/login").await.csrf_token();
        let again = [
            ("csrf_token", token.as_str()),
            ("token", fixture.setup_token.expose()),
            ("username", "eve"),
            ("password", PASSWORD),
        ];
        assert_eq!(stranger.send(Browser::form("/setup", &again)).await.location(), "/login?say=setup");
        assert_eq!(fixture.state.keys.users().len(), 1);
    });
}

#[test]
fn a_setup_link_that_is_too_old_is_refused() {
    run(async {
        let fixture = Fixture::new(SETTINGS);
        let link = format!("/setup?token={}", fixture.setup_token.expose());
        fixture.state.clock.set(noon() + SignedDuration::from_mins(31));
        let answer = fixture.browser().get(&link).await;
        assert!(answer.status == 403 && answer.body.contains("too old"), "{}", answer.body);
        let form = [("token", fixture.setup_token.expose().as_str()), ("username", "ada"), ("password", PASSWORD)];
        assert_eq!(fixture.browser().open_form(&link, "/setup", &form).await.status, 403);
        assert!(fixture.state.keys.setup_needed());
    });
}

#[test]
fn who_knows_the_password_gets_to_the_page_they_wanted_and_out_again() {
    run(async {
        let (fixture, _) = Fixture::with_admin(SETTINGS);
        let browser = fixture.browser();
        let wanted = browser.get("/costs?by=team").await.location().to_owned();
        let form = [("username", "ADA "), ("password", PASSWORD), ("next", "/costs?by=team")];
        let answer = browser.open_form(&wanted, "/login", &form).await;
        assert_eq!((answer.status, answer.location()), (303, "/costs?by=team"));
        let cookie = answer.set_cookies().into_iter().find(|cookie| cookie.starts_with("tollgate=")).unwrap();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains("Secure"),
            "{cookie}"
        );
        let page = browser.get("/costs?by=team").await;
        assert!(page.status == 200 && page.body.contains("Signed in as ada"), "{}", page.body);
        let kept = browser.cookies.borrow()["tollgate"].clone();
        let out = Browser { csrf_token: page.csrf_token(), ..browser };
        let answer = out.post("/logout", &[]).await;
        assert_eq!((answer.status, answer.location()), (303, "/login?say=out"));
        assert!(out.get("/login?say=out").await.body.contains("You are signed out."));
        // The cookie opens nothing any more, wherever a copy of it is.
        out.cookies.borrow_mut().insert("tollgate".to_owned(), kept);
        assert_eq!(out.get("/costs").await.status, 303);
    });
}

#[test]
fn a_login_never_leads_to_another_site() {
    run(async {
        let (fixture, _) = Fixture::with_admin(SETTINGS);
        for next in ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"] {
            let form = [("username", "ada"), ("password", PASSWORD), ("next", next)];
            assert_eq!(fixture.browser().open_form("/login", "/login", &form).await.location(), "/", "{next}");
        }
    });
}

#[test]
fn wrong_passwords_are_counted_and_then_have_to_wait() {
    run(async {
        let (fixture, _) = Fixture::with_admin(SETTINGS);
        let browser = fixture.browser();
        let form = [("username", "ada"), ("password", "wrong password")];
        for words in ["4 tries are left", "3 tries are left", "2 tries are left", "1 try is left", "in 30 seconds"] {
            let answer = browser.open_form("/login", "/login", &form).await;
            assert_eq!(answer.status, 401);
            assert!(answer.body.contains("do not match") && answer.body.contains(words), "{words}: {}", answer.body);
            assert!(!answer.body.contains("wrong password"));
        }
        // Now even the right one has to wait.
        let right = [("username", "ada"), ("password", PASSWORD)];
        let answer = browser.open_form("/login", "/login", &right).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, "30"));
        assert!(answer.body.contains("Too many tries") && answer.body.contains("14:32:40"), "{}", answer.body);
        fixture.state.clock.set(noon() + SignedDuration::from_secs(30));
        assert_eq!(browser.open_form("/login", "/login", &right).await.status, 303);
    });
}

#[test]
fn an_unknown_name_is_answered_like_a_wrong_password() {
    run(async {
        let (fixture, _) = Fixture::with_admin(SETTINGS);
        let refused = async |name: &'static str| {
            let browser = fixture.browser();
            let browser = Browser { peer: if name == "ada" { "127.0.0.2:1" } else { "127.0.0.3:1" }, ..browser };
            let answer =
                browser.open_form("/login", "/login", &[("username", name), ("password", "wrong one here")]).await;
            let token = answer.csrf_token();
            (answer.status, answer.body.replace(name, "NAME").replace(&token, "TOKEN"))
        };
        assert_eq!(refused("ada").await, refused("mallory").await);
    });
}

#[test]
fn a_password_over_plain_http_from_another_machine_is_refused_with_the_ways_out() {
    run(async {
        let (fixture, _) = Fixture::with_admin(SETTINGS);
        let browser = Browser { peer: "192.0.2.9:1", ..fixture.browser() };
        assert!(browser.get("/login").await.body.contains("plain HTTP from another machine"));
        let form = [("username", "ada"), ("password", PASSWORD)];
        let answer = browser.open_form("/login", "/login", &form).await;
        assert_eq!(answer.status, 403);
        for way_out in ["reverse proxy", "tls", "plain_http_login"] {
            assert!(answer.body.contains(way_out), "{way_out}: {}", answer.body);
        }
        assert!(!answer.set_cookies().iter().any(|cookie| cookie.starts_with("tollgate=")));
    });
}

#[test]
fn over_https_the_cookie_is_bound_to_its_host() {
    run(async {
        let settings = format!("public_url = \"https://ai.example.test\"\n{SETTINGS}");
        let fixture = Fixture::new(&settings);
        fixture.make_admin();
        let browser = fixture.browser();
        let answer = browser.open_form("/login", "/login", &[("username", "ada"), ("password", PASSWORD)]).await;
        let cookies = answer.set_cookies();
        let session = cookies.iter().find(|cookie| cookie.starts_with("__Host-tollgate=")).unwrap();
        assert!(session.contains("Secure") && session.contains("Path=/") && !session.contains("Domain"), "{session}");
        assert_eq!(browser.get("/welcome").await.status, 200);
    });
}

#[test]
fn a_reset_link_sets_a_new_password_once_and_ends_every_session() {
    run(async {
        let (fixture, logged_in) = Fixture::with_admin(SETTINGS);
        let (token, _) = fixture.state.keys.reset_password("ada", noon()).unwrap();
        let link = format!("/reset?token={}", token.expose());
        let browser = fixture.browser();
        let page = browser.get(&link).await;
        assert!(page.status == 200 && page.body.contains("<b class=\"long\">ada</b>"), "{}", page.body);
        let form = |password: &'static str| [("token", token.expose().as_str()), ("password", password)];
        let answer = browser.open_form(&link, "/reset", &form("short")).await;
        assert!(answer.status == 422 && answer.body.contains("too short"), "{}", answer.body);
        let answer = browser.open_form(&link, "/reset", &form("another good password")).await;
        assert_eq!((answer.status, answer.location()), (303, "/login?say=password"));
        assert_eq!(logged_in.get("/costs").await.status, 303, "the old session is over");
        assert_eq!(browser.get(&link).await.status, 403, "the link is used up");
        let form = [("username", "ada"), ("password", "another good password")];
        assert_eq!(browser.open_form("/login", "/login", &form).await.status, 303);
    });
}

#[test]
fn a_theme_is_chosen_by_a_cookie() {
    run(async {
        let (_fixture, browser) = Fixture::with_admin(SETTINGS);
        let answer = browser.post("/prefs/theme", &[("theme", "dark"), ("next", "/costs?by=key")]).await;
        assert_eq!((answer.status, answer.location()), (303, "/costs?by=key"));
        assert!(browser.get("/costs").await.body.contains("data-theme=\"dark\""));
        assert_eq!(
            browser.post("/prefs/theme", &[("theme", "light"), ("next", "//evil.example")]).await.location(),
            "/"
        );
        assert!(browser.get("/costs").await.body.contains("data-theme=\"light\""));
    });
}

#[test]
fn every_answer_has_the_headers_that_protect_it() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let stranger = fixture.browser();
        let mut answers = Vec::new();
        for path in PAGES.into_iter().chain(["/login", "/setup", "/reset", "/nowhere", "/favicon.ico"]) {
            if !path.starts_with("/events") {
                answers.push((path, browser.get(path).await));
            }
            answers.push((path, stranger.get(path).await));
        }
        for path in FORMS {
            answers.push((path, stranger.post(path, &[]).await));
            answers.push((path, browser.send(TestRequest::default().method(method("PATCH")).uri(path)).await));
        }
        answers.push(("/nowhere", stranger.post("/nowhere", &[]).await));
        for (path, answer) in answers {
            assert_eq!(
                answer.header("content-security-policy"),
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                 form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
                "{path}"
            );
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        }
    });
}

#[test]
fn files_are_kept_for_ever_under_their_version_and_checked_otherwise() {
    run(async {
        let fixture = Fixture::new(SETTINGS);
        let browser = fixture.browser();
        let url = crate::http::dashboard::assets::url("tollgate.css");
        let answer = browser.get(&url).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "text/css; charset=utf-8");
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(browser.get("/static/tollgate.css").await.header("cache-control"), "no-cache");
        let known = TestRequest::get().uri(&url).insert_header(("if-none-match", answer.header("etag")));
        let known = browser.send(known).await;
        assert!(known.status == 304 && known.body.is_empty());
        for path in ["/static/", "/static/../Cargo.toml", "/static/nothing.js"] {
            assert_eq!(browser.get(path).await.status, 404, "{path}");
        }
    });
}

#[test]
fn a_method_that_a_page_does_not_take_is_refused_and_head_is_like_get() {
    run(async {
        let (_fixture, browser) = Fixture::with_admin(SETTINGS);
        let send = async |word: &str, path: &str| {
            browser.send(TestRequest::default().method(method(word)).uri(path)).await.status
        };
        assert_eq!(send("HEAD", "/welcome").await, 200);
        assert_eq!(send("GET", "/logout").await, 405);
        assert_eq!(send("DELETE", "/costs").await, 405);
        assert_eq!(send("GET", "/keys/key_1/revoke").await, 405);
    });
}
