//! What is changed by forms: keys, their secrets, and budgets.

use super::*;
use crate::domain::{BudgetAction, BudgetScope, Revision, Window};

const KEY: [(&str, &str); 5] =
    [("name", "docs-site"), ("expires", "90d"), ("limit_usd", "$20"), ("window", "month"), ("action", "block")];

fn with<'a>(form: &[(&'a str, &'a str)], name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut form: Vec<_> = form.iter().copied().filter(|(known, _)| *known != name).collect();
    form.push((name, value));
    form
}

/// The secret on a page.
fn secret(body: &str) -> Option<String> {
    let start = body.find("tg-")?;
    let secret: String =
        body[start..].chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect();
    (secret.len() > 20).then_some(secret)
}

#[test]
fn a_new_key_shows_its_secret_once_and_never_again() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let answer = browser.post("/keys", &KEY).await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
        let secret = secret(&answer.body).expect("the page shows the secret");
        let key = fixture.state.keys.authenticate(&secret, noon()).unwrap();
        assert_eq!(key.name, "docs-site");
        for path in ["/keys/new", "/budgets", "/keys", &format!("/keys/{}", key.id), "/", "/welcome", "/requests"] {
            let page = browser.get(path).await;
            assert!(!page.body.contains(&secret), "{path} shows the secret");
        }
        // Sending the form again makes no second key, and shows no secret.
        let again = browser.post("/keys", &KEY).await;
        assert_eq!(again.status, 422);
        assert!(again.body.contains("A key with this name exists") && !again.body.contains(&secret));
        assert_eq!(fixture.state.keys.list().len(), 1);
    });
}

#[test]
fn a_key_made_in_the_dialog_comes_with_the_new_list() {
    run(async {
        let (_fixture, browser) = Fixture::with_admin(SETTINGS);
        let answer = browser.swap("/keys", &KEY).await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
        assert!(answer.body.starts_with("<div id=\"key-form\" data-once>"), "{}", answer.body);
        assert!(answer.body.contains("id=\"key-list\" hx-swap-oob=\"true\""), "{}", answer.body);
        assert!(secret(&answer.body).is_some());
        assert!(!answer.body.contains("<html"), "a part, not a page");
    });
}

#[test]
fn a_key_is_made_with_its_budget_its_limits_and_its_end() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let form = [&KEY[..], &[("team", " research "), ("requests_per_minute", "60")]].concat();
        assert_eq!(browser.post("/keys", &form).await.status, 200);
        let key = fixture.state.keys.named("docs-site", noon()).unwrap();
        assert_eq!(key.team.as_ref().map(crate::domain::TeamId::as_str), Some("research"));
        assert_eq!(key.limits.requests_per_minute, Some(60));
        assert_eq!(key.expires_at.unwrap(), noon() + SignedDuration::from_hours(90 * 24));
        let budgets = fixture.state.keys.budgets();
        assert_eq!((budgets[0].window, budgets[0].limit.to_string()), (Window::Month, "20".to_owned()));
        assert_eq!(budgets[0].scope, BudgetScope::Key(key.id.clone()));
        assert_eq!(budgets[0].action, BudgetAction::Block);
        let page = browser.get(&format!("/keys/{}", key.id)).await;
        assert!(
            page.body.contains("$0.00 of $20 per month, 0% used") && page.body.contains("60 requests a minute"),
            "{}",
            page.body
        );
    });
}

#[test]
fn a_key_without_a_limit_gets_the_usual_one_of_the_settings() {
    run(async {
        let settings = format!(
            "{SETTINGS}[limits]\nnew_key_budget = {{ window = \"day\", limit_usd = \"1.50\", action = \"block\" }}\n"
        );
        let (fixture, browser) = Fixture::with_admin(&settings);
        assert_eq!(browser.post("/keys", &with(&KEY, "limit_usd", "")).await.status, 200);
        assert_eq!(fixture.state.keys.budgets()[0].limit.to_string(), "1.5");
    });
}

#[test]
fn a_key_that_cannot_be_is_refused_with_its_reason_beside_the_field() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let long = "x".repeat(200);
        for (name, value, words) in [
            ("name", "", "Give the key a name."),
            ("name", long.as_str(), "at most 100 characters"),
            ("name", "dashboard", "the playground books under this name"),
            ("team", long.as_str(), "at most 100 characters"),
            ("limit_usd", "-3", "Write dollars"),
            ("limit_usd", "1e9", "Write dollars"),
            ("requests_per_minute", "0", "Write a whole number"),
            ("requests_per_minute", "many", "Write a whole number"),
            ("expires", "tomorrow", "Choose from the lists"),
            ("window", "hour", "Choose from the lists"),
            ("action", "explode", "Choose what happens"),
        ] {
            for answer in [
                browser.swap("/keys", &with(&KEY, name, value)).await,
                browser.post("/keys", &with(&KEY, name, value)).await,
            ] {
                assert_eq!(answer.status, 422, "{name}={value}");
                assert!(answer.body.to_lowercase().contains(&words.to_lowercase()), "{name}={value}: {}", answer.body);
            }
        }
        assert!(fixture.state.keys.list().is_empty() && fixture.state.keys.budgets().is_empty());
    });
}

#[test]
fn a_key_is_revoked_only_by_whoever_types_its_name() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let (key, secret) = fixture.state.keys.create(NewKey::named("ci"), noon()).unwrap();
        let path = format!("/keys/{}/revoke", key.id);
        let answer = browser.post(&path, &[("confirm", "cd")]).await;
        assert!(answer.status == 422 && answer.body.contains("This is not the key’s name"), "{}", answer.body);
        assert!(fixture.state.keys.authenticate(secret.expose(), noon()).is_ok());
        assert_eq!(browser.post(&path, &[("confirm", " ci ")]).await.location(), "/budgets");
        assert!(fixture.state.keys.authenticate(secret.expose(), noon()).is_err());
        let page = browser.get(&format!("/keys/{}", key.id)).await;
        assert!(page.body.contains("Revoked") && !page.body.contains("Type the name to confirm"), "{}", page.body);
    });
}

const BUDGET: [(&str, &str); 7] = [
    ("scope_kind", "everything"),
    ("scope_id", ""),
    ("window", "month"),
    ("limit_usd", "500"),
    ("action", "block"),
    ("downgrade_to", ""),
    ("thresholds", "50, 80, 100"),
];

#[test]
fn a_budget_counts_what_was_spent_before_it_was_set() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let key = fixture.key("web-app");
        fixture.call(&key, Call { cost: "400", ..Call::USUAL }).await;
        assert_eq!(browser.post("/budgets", &BUDGET).await.location(), "/budgets");
        let page = browser.get("/budgets").await;
        assert!(
            page.body.contains("All of Tollgate") && page.body.contains("$400.00") && page.body.contains("80%"),
            "{}",
            page.body
        );
        assert!(browser.get("/?range=7d").await.body.contains("is nearly used up"));
    });
}

#[test]
fn a_budget_is_changed_and_removed() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        browser.post("/budgets", &BUDGET).await;
        let page = browser.get("/budgets/budget_1").await;
        assert!(
            page.status == 200 && page.body.contains("value=\"500\"") && page.body.contains("/budgets/budget_1/delete"),
            "{}",
            page.body
        );
        let answer = browser
            .swap(
                "/budgets/budget_1",
                &[
                    ("limit_usd", "12.50"),
                    ("action", "downgrade"),
                    ("downgrade_to", "cheap"),
                    ("thresholds", "60%,90"),
                    ("revision", "1"),
                ],
            )
            .await;
        assert_eq!((answer.status, answer.header("hx-redirect")), (200, "/budgets"));
        let budget = Arc::clone(&fixture.state.keys.budgets()[0]);
        assert_eq!((budget.limit.to_string(), budget.action.downgrade_to()), ("12.5".to_owned(), Some("cheap")));
        assert_eq!(budget.thresholds, [60, 90]);
        assert_eq!(browser.post("/budgets/budget_1/delete", &[]).await.location(), "/budgets");
        assert!(fixture.state.keys.budgets().is_empty());
        for path in ["/budgets/budget_1", "/budgets/budget_99", "/budgets/nonsense"] {
            assert_eq!(browser.get(path).await.status, 404, "{path}");
        }
        assert_eq!(browser.post("/budgets/budget_1/delete", &[]).await.status, 404);
    });
}

#[test]
fn who_changes_a_budget_that_somebody_else_has_changed_is_told_and_changes_nothing() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        browser.post("/budgets", &BUDGET).await;
        let change =
            |limit, revision| [("limit_usd", limit), ("action", "block"), ("thresholds", ""), ("revision", revision)];
        assert!(browser.get("/budgets/budget_1").await.body.contains("name=\"revision\" value=\"1\""));
        assert_eq!(browser.post("/budgets/budget_1", &change("600", "1")).await.status, 303);
        let answer = browser.post("/budgets/budget_1", &change("700", "1")).await;
        assert_eq!(answer.status, 422);
        assert!(answer.body.contains("Somebody else has changed this budget"), "{}", answer.body);
        let budget = Arc::clone(&fixture.state.keys.budgets()[0]);
        assert_eq!((budget.limit.to_string(), budget.revision), ("600".to_owned(), Revision::FIRST.next()));
        assert!(budget.thresholds.is_empty());
    });
}

#[test]
fn a_budget_of_a_key_is_set_by_the_keys_name() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let key = fixture.key("web-app");
        let form = with(&with(&BUDGET, "scope_kind", "key"), "scope_id", "web-app");
        assert_eq!(browser.post("/budgets", &form).await.status, 303);
        assert_eq!(fixture.state.keys.budgets()[0].scope, BudgetScope::Key(key.id.clone()));
        let page = browser.get("/budgets").await;
        assert!(page.body.contains("title=\"web-app\">web-app</a><span class=\"sub\">key · monthly"), "{}", page.body);
    });
}

#[test]
fn a_budget_that_cannot_be_is_refused_with_its_reason() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let change = |changes: &[(&'static str, &'static str)]| {
            changes.iter().fold(BUDGET.to_vec(), |form, (name, value)| with(&form, name, value))
        };
        for (form, words) in [
            (change(&[("limit_usd", "")]), "Write dollars"),
            (change(&[("limit_usd", "-1")]), "Write dollars"),
            (change(&[("scope_id", "x")]), "A budget of everything has no name"),
            (change(&[("scope_kind", "planet")]), "Choose what it limits"),
            (change(&[("scope_kind", "run"), ("scope_id", "run_1")]), "Choose what it limits"),
            (change(&[("scope_kind", "team")]), "Say which team"),
            (change(&[("scope_kind", "key"), ("scope_id", "nobody")]), "There is no such key"),
            (change(&[("scope_kind", "provider"), ("scope_id", "acme")]), "There is no such provider"),
            (change(&[("scope_kind", "tag"), ("scope_id", "env")]), "name=value"),
            (change(&[("window", "year")]), "Choose a time"),
            (change(&[("thresholds", "80, 50")]), "Write whole percents"),
            (change(&[("thresholds", "0")]), "Write whole percents"),
            (change(&[("thresholds", "101")]), "Write whole percents"),
            (change(&[("thresholds", "half")]), "Write whole percents"),
            (change(&[("action", "downgrade"), ("downgrade_to", "nowhere")]), "Name a route"),
            (change(&[("action", "explode")]), "Choose what happens"),
            (change(&[("downgrade_to", "cheap")]), "Only a budget that uses a cheaper route has one"),
            (
                change(&[("action", "alert"), ("downgrade_to", "cheap")]),
                "Only a budget that uses a cheaper route has one",
            ),
        ] {
            let answer = browser.swap("/budgets", &form).await;
            assert_eq!(answer.status, 422, "{form:?}");
            assert!(
                answer.body.contains(words) && answer.body.starts_with("<form id=\"budget-form\""),
                "{words}: {}",
                answer.body
            );
        }
        assert!(fixture.state.keys.budgets().is_empty());
        browser.post("/budgets", &BUDGET).await;
        let again = browser.post("/budgets", &BUDGET).await;
        assert!(again.status == 422 && again.body.contains("There is a budget for this"), "{}", again.body);
    });
}

#[test]
fn a_call_whose_end_nobody_saw_gets_its_cost_by_a_form() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let key = fixture.key("web-app");
        let known = fixture.call(&key, Call::USUAL).await;
        let mut facts = fixture.state.ledger.entry(known).unwrap().unwrap().facts;
        facts.id = RequestId::from_number(known.number() + 1_000);
        let id = facts.id;
        let planned = Planned {
            deployment: "sandbox/sandbox-small".parse().unwrap(),
            worst_case: crate::ledger::WorstCase::fixed(Picodollars::from_dollars(3)),
            turning: Vec::new(),
            charges: Vec::new(),
            watched: Vec::new(),
            started_ms: 2,
        };
        drop(fixture.state.ledger.reserve(facts, planned).await.unwrap());
        let path = format!("/requests/{id}/adjust");
        while browser.get(&format!("/requests/{id}")).await.body.contains("The call is running") {
            tokio::task::yield_now().await;
        }
        assert!(browser.get(&format!("/requests/{id}")).await.body.contains("Adjust the cost"));
        assert!(!browser.get(&format!("/requests/{known}")).await.body.contains("Adjust the cost"));
        for (cost, reason, words) in [
            ("", "the invoice", "Write dollars"),
            ("much", "the invoice", "Write dollars"),
            ("-1", "the invoice", "can’t be negative"),
            ("1", "  ", "Say how you know it"),
        ] {
            let answer = browser.post(&path, &[("cost_usd", cost), ("reason", reason)]).await;
            assert_eq!(answer.status, 422, "{cost}");
            assert!(answer.body.contains(words), "{cost} {reason:?}: {}", answer.body);
        }
        let refused = browser.post(&format!("/requests/{known}/adjust"), &[("cost_usd", "1"), ("reason", "x")]).await;
        assert!(refused.status == 422 && refused.body.contains("exact"), "{}", refused.body);
        let done = browser.post(&path, &[("cost_usd", "$1.25"), ("reason", "<b>the invoice</b>")]).await;
        assert_eq!((done.status, done.location()), (303, format!("/requests/{id}").as_str()));
        let page = browser.get(&format!("/requests/{id}")).await.body;
        for expected in ["$1.25", "adjusted from $3.00", "−$1.75", "By hand, user", "&#60;b&#62;the invoice"] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        // An adjustment stands on the page of its call, and in the list beside it.
        let call = fixture.state.ledger.call(id).unwrap().unwrap();
        let adjustment = call.adjustments[0].facts.id;
        assert_eq!(browser.get(&format!("/requests/{adjustment}")).await.location(), format!("/requests/{id}"));
        let list = browser.get("/requests?range=7d").await.body;
        assert!(list.contains("Adjustment") && list.contains("By hand"), "{list}");
    });
}
