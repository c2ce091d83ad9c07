//! What pages show of what was booked.

use super::*;
use crate::content::{Excerpt, Exchange};
use crate::domain::{BudgetAction, BudgetScope, BudgetTerms, Window};

async fn with_calls() -> (Fixture, Browser, RequestId) {
    let (fixture, browser) = Fixture::with_admin(SETTINGS);
    let key = fixture.key("web-app");
    let id = fixture.call(&key, Call::USUAL).await;
    fixture
        .call(&key, Call { model: "sandbox-large", cost: "0.5", ago: SignedDuration::from_hours(30), ..Call::USUAL })
        .await;
    fixture.call(&key, Call { cost: "0", error: Some("upstream_unavailable"), ..Call::USUAL }).await;
    (fixture, browser, id)
}

#[test]
fn the_first_look_leads_to_the_guide_once_and_never_after_the_first_call() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        assert_eq!(browser.get("/").await.location(), "/welcome");
        assert_eq!(browser.get("/?range=30d").await.status, 200);
        let guide = browser.get("/welcome").await;
        assert!(
            guide.body.contains("Waiting for your first call") && guide.body.contains("http://127.0.0.1:8000/v1"),
            "{}",
            guide.body
        );
        assert_eq!(browser.get("/").await.status, 200, "the guide was seen");
        fixture.call(&fixture.key("web-app"), Call::USUAL).await;
        assert!(browser.get("/welcome").await.body.contains("Your first call arrived"));
        assert_eq!(fixture.logged_in().get("/").await.status, 200);
    });
}

#[test]
fn the_overview_tells_todays_spend_and_the_latest_calls() {
    run(async {
        let (_fixture, browser, id) = with_calls().await;
        let page = browser.get("/?range=7d").await.body;
        for expected in [
            "$0.0014",
            "sandbox-small",
            "web-app",
            &format!("/requests/{id}"),
            "Requests",
            "50.0%",
            "1 key has no budget",
        ] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        assert!(page.contains("$0.5014 in 7 days"), "{page}");
        for range in ["24h", "month", "nonsense"] {
            assert_eq!(browser.get(&format!("/?range={range}")).await.status, 200);
        }
    });
}

#[test]
fn the_log_is_narrowed_by_its_query() {
    run(async {
        let (_fixture, browser, _) = with_calls().await;
        let rows = async |query: &str| {
            let page = browser.get(&format!("/requests?{query}")).await;
            assert_eq!(page.status, 200, "{query}");
            page.body.matches("<a class=\"rowlink\" href=\"/requests/req_").count()
        };
        assert_eq!(rows("range=1h").await, 2);
        assert_eq!(rows("range=7d").await, 3);
        assert_eq!(rows("range=7d&model=sandbox-large").await, 1);
        assert_eq!(rows("range=7d&status=failed").await, 1);
        assert_eq!(rows("range=7d&key=web-app").await, 3);
        assert_eq!(rows("range=7d&key=nobody").await, 0);
        assert_eq!(rows("range=7d&q=large").await, 1);
        assert_eq!(rows("range=7d&status=nonsense&cursor=nonsense&seen=-4&trail=x").await, 3);
        let page = browser.get("/requests?range=7d").await.body;
        assert!(page.contains("3 requests") && page.contains("1 to 3 of 3"), "{page}");
        assert!(browser.get("/requests?range=7d&model=none").await.body.contains("No request matches"));
    });
}

#[test]
fn pages_of_the_log_lead_to_each_other() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let key = fixture.key("web-app");
        for minute in 0..120 {
            fixture.call(&key, Call { ago: SignedDuration::from_mins(minute), ..Call::USUAL }).await;
        }
        let link = |body: &str, rel: &str| {
            let end = body.find(&format!("\" rel=\"{rel}\"")).unwrap_or_else(|| panic!("no {rel}: {body}"));
            let start = body[..end].rfind("href=\"").unwrap() + 6;
            body[start..end].replace("&#38;", "&").replace("&amp;", "&")
        };
        let first = browser.get("/requests?range=24h").await.body;
        assert!(first.contains("1 to 50 of 120"), "{first}");
        let second = browser.get(&link(&first, "next")).await.body;
        assert!(second.contains("51 to 100 of 120"), "{second}");
        let third = browser.get(&link(&second, "next")).await.body;
        assert!(third.contains("101 to 120 of 120") && !third.contains("rel=\"next\""), "{third}");
        let back = browser.get(&link(&third, "prev")).await.body;
        assert!(back.contains("51 to 100 of 120"), "{back}");
        assert!(browser.get(&link(&back, "prev")).await.body.contains("1 to 50 of 120"));
    });
}

#[test]
fn a_call_is_told_with_what_each_line_cost() {
    run(async {
        let (_fixture, browser, id) = with_calls().await;
        let page = browser.get(&format!("/requests/{id}")).await;
        assert_eq!(page.status, 200);
        // 1,000 tokens at $1 and 200 at $2 a million.
        for expected in
            ["$0.001000", "$0.000400", "$0.001400", "$1.00 per 1M", "Until the first token", "prompt_tokens"]
        {
            assert!(page.body.contains(expected), "{expected}: {}", page.body);
        }
        for path in ["/requests/req_00000000000000000000000000", "/requests/nonsense", "/requests/req_"] {
            assert_eq!(browser.get(path).await.status, 404, "{path}");
        }
    });
}

#[test]
fn a_hedged_call_tells_of_both_attempts_and_what_each_cost() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let key = fixture.key("web-app");
        for (basis, owed) in [
            (CostBasis::Estimated, "$0.0100 is owed for it."),
            (CostBasis::Reserved, "$0.0100 is owed for it, all that was held: what it came to was never seen."),
        ] {
            let id = fixture.hedged_call(&key, basis).await;
            let page = browser.get(&format!("/requests/{id}")).await.body;
            for expected in [
                "Hedge, sandbox",
                "Attempt 1, slow",
                "slow, sandbox",
                "Hedged",
                "After 800 ms of silence sandbox/m was asked beside, and answered first.",
                &format!("Cancelled: another deployment answered first. {owed}"),
                "$0.0200 charged to",
            ] {
                assert!(page.contains(expected), "{expected}: {page}");
            }
            assert!(!page.contains("Fallback"), "{page}");
        }
        assert!(browser.get("/requests").await.body.contains("Hedged"));
    });
}

#[test]
fn costs_are_shown_for_every_range_and_grouping() {
    run(async {
        let (_fixture, browser, _) = with_calls().await;
        for range in [
            "range=today",
            "range=7d",
            "range=30d",
            "range=month",
            "from=2026-11-01&to=2026-11-19",
            "from=bad",
            "from=2026-11-19&to=2026-11-01",
            "from=0001-01-01&to=9999-12-31",
        ] {
            for by in ["model", "provider", "operation", "key", "team", "nonsense"] {
                let page = browser.get(&format!("/costs?{range}&by={by}")).await;
                assert_eq!(page.status, 200, "{range} {by}");
            }
        }
        let page = browser.get("/costs?range=7d&by=key").await.body;
        assert!(page.contains(">web-app<") && page.contains("$0.5014"), "{page}");
        assert!(page.contains("/api/costs.csv?from=2026-11-13&#38;to=2026-11-20&#38;groupBy=key"), "{page}");
    });
}

#[test]
fn calls_without_a_price_are_never_free_in_silence() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let call = Call { model: "mystery-9b", cost: "0", basis: CostBasis::Unpriced, ..Call::USUAL };
        fixture.call(&fixture.key("web-app"), call).await;
        let page = browser.get("/?range=7d").await.body;
        assert!(page.contains("1 call had no known price this month") && page.contains("mystery-9b"), "{page}");
        assert!(browser.get("/costs?range=7d").await.body.contains("had no price"));
    });
}

#[test]
fn hostile_names_stay_text_on_every_page() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(&format!("{SETTINGS}\n[log]\nbodies = \"full\"\n"));
        let new = NewKey { team: Some(HOSTILE.to_owned()), ..NewKey::named(HOSTILE) };
        let key = fixture.state.keys.create(new, noon()).unwrap().0;
        let call = Call { model: HOSTILE, error: Some("upstream_unavailable"), ..Call::USUAL };
        let id = fixture.call(&key, call).await;
        let content = &fixture.state.gateway.parts().content;
        let body = || Excerpt::of(HOSTILE.as_bytes());
        let (session, users) = (Some(HOSTILE.into()), vec![HOSTILE.to_owned()]);
        content.keep(Exchange { id, key: key.id.clone(), session, users, request: body(), answer: body() });
        content.sweep(RequestId::first_of(0)).await.unwrap();
        browser
            .post(
                "/budgets",
                &[
                    ("scope_kind", "team"),
                    ("scope_id", HOSTILE),
                    ("window", "day"),
                    ("limit_usd", "0.001"),
                    ("action", "block"),
                ],
            )
            .await;
        let query = url::form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect::<String>();
        let paths = [
            "/?range=7d".to_owned(),
            "/welcome".to_owned(),
            "/requests?range=7d".to_owned(),
            format!("/requests?range=7d&q={query}&model={query}&key={query}"),
            format!("/requests/{id}"),
            "/costs?range=7d&by=key".to_owned(),
            "/costs?range=7d&by=team".to_owned(),
            "/costs?range=7d&by=model".to_owned(),
            "/reports/2026-11-19".to_owned(),
            "/reports?kind=monthly&period=2026-11".to_owned(),
            "/budgets".to_owned(),
            "/budgets/budget_1".to_owned(),
            "/keys/new".to_owned(),
            format!("/keys/{}", key.id),
        ];
        for path in paths {
            let page = browser.get(&path).await;
            assert_eq!(page.status, 200, "{path}");
            assert!(!page.body.contains("<img") && page.body.contains("&#60;img src=x"), "{path}: {}", page.body);
        }
        for path in [format!("/login?next={query}"), format!("/setup?token={query}"), format!("/reset?token={query}")] {
            assert!(!fixture.browser().get(&path).await.body.contains("<img"), "{path}");
        }
        let revoke = browser.post(&format!("/keys/{}/revoke", key.id), &[("confirm", "\"><img src=x>")]).await;
        assert!(revoke.status == 422 && !revoke.body.contains("<img"));
    });
}

#[test]
fn without_a_provider_the_way_out_is_shown() {
    run(async {
        let (_fixture, browser) = Fixture::with_admin("");
        let page = browser.get("/?range=7d").await.body;
        assert!(page.contains("No provider is configured") && page.contains("href=\"/welcome\""), "{page}");
        assert!(browser.get("/welcome").await.body.contains("OPENAI_API_KEY"));
    });
}

#[test]
fn an_empty_server_has_every_page() {
    run(async {
        let (fixture, browser) = Fixture::with_admin("");
        for path in [
            "/?range=24h",
            "/requests",
            "/requests?range=15m",
            "/costs",
            "/costs?range=today",
            "/reports",
            "/reports?kind=monthly",
            "/budgets",
            "/budgets/new",
            "/keys/new",
        ] {
            assert_eq!(browser.get(path).await.status, 200, "{path}");
        }
        assert_eq!(browser.get("/keys/key_none").await.status, status(404).as_u16());
        drop(fixture);
    });
}

#[test]
fn a_report_is_shown_for_a_day_and_a_month_and_saved_as_markdown() {
    run(async {
        let (_fixture, browser, id) = with_calls().await;
        let page = browser.get("/reports").await.body;
        assert!(page.contains("<h2>Wed 18 Nov 2026</h2>") && page.contains("<b>$0.5000 spent</b>"), "{page}");
        assert!(page.contains("Thu 19 Nov 2026") && page.contains("</span> so far"), "{page}");
        assert!(page.contains("href=\"/reports/2026-11-18.md\" download"), "{page}");
        let today = browser.get("/reports/2026-11-19").await.body;
        assert!(today.contains("It is not over yet") && today.contains(&format!("href=\"/requests/{id}\"")), "{today}");
        let month = browser.get("/reports?kind=monthly&period=2026-11").await.body;
        assert!(month.contains("<h2>November 2026</h2>") && month.contains("<b>$0.5014 spent</b>"), "{month}");
        assert!(month.contains("type=\"month\" name=\"period\" value=\"2026-11\""), "{month}");

        let file = browser.get("/reports/2026-11.md").await;
        assert_eq!(file.header("content-type"), "text/markdown; charset=utf-8");
        assert_eq!(file.header("content-disposition"), "attachment; filename=\"tollgate-2026-11.md\"");
        assert!(file.body.starts_with("# Tollgate, November 2026\n"), "{}", file.body);
    });
}

#[test]
fn a_report_that_cannot_be_says_why() {
    run(async {
        let (_fixture, browser, _) = with_calls().await;
        for name in ["2026-11-20", "2026-12", "nonsense", "2026-02-30.md", ".md"] {
            assert_eq!(browser.get(&format!("/reports/{name}")).await.status, 404, "{name}");
        }
        let ahead = browser.get("/reports?period=2026-11-20").await;
        assert_eq!(ahead.status, 200);
        assert!(ahead.body.contains("2026-11-20 has not begun yet"), "{}", ahead.body);
        assert!(browser.get("/reports?kind=monthly&period=soon").await.body.contains("is no month"));
    });
}

#[test]
fn a_budget_that_has_run_out_and_one_of_a_revoked_key_are_called_the_same_everywhere() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let key = fixture.key("web-app");
        let scope = BudgetScope::Key(key.id.clone());
        let terms = BudgetTerms::new("0.001".parse().unwrap(), BudgetAction::Alert);
        let now = fixture.state.clock.now();
        let budget = fixture.state.keys.create_budget(scope, Window::Day, terms, now).unwrap();
        fixture.state.budgets.track(&budget, now).await.unwrap();
        fixture.call(&key, Call::USUAL).await;
        let page = browser.get("/budgets").await.body;
        assert_eq!(page.to_lowercase().matches("has run out").count(), 2, "the budget's row and the key's: {page}");
        assert!(!page.contains("Near limit"), "{page}");
        fixture.state.keys.revoke(&key.id, now).unwrap();
        let page = browser.get("/budgets").await.body;
        assert!(page.contains("Key revoked") && !page.contains("On track"), "{page}");
    });
}
