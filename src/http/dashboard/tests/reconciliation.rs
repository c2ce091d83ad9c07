//! The page of reconciliation, and its button.

use super::*;

const BOTH: &str = "[[providers]]\nname = \"openai\"\nkind = \"openai\"\napi_key = \"sk-1\"\nbase_url = \"http://127.0.0.1:1/v1\"\n\
     admin_api_key = \"sk-admin-canary\"\n\n[[providers]]\nname = \"sandbox\"\nkind = \"sandbox\"\n";
const PATH: &str = "/costs/reconciliation";

#[test]
fn without_any_statement_the_page_says_how_to_bring_one_in() {
    run(async {
        let (_fixture, browser) = Fixture::with_admin(SETTINGS);
        let page = browser.get(PATH).await;
        assert_eq!(page.status, 200);
        assert!(
            page.body.contains("No provider has stated anything") && page.body.contains("admin_api_key"),
            "{}",
            page.body
        );
        assert!(!page.body.contains("Fetch now"), "there is nothing to fetch with");
        assert!(browser.get("/costs").await.body.contains("href=\"/costs/reconciliation\""));
    });
}

#[test]
fn what_was_stated_is_beside_what_was_booked_and_escaped() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let key = fixture.key("ci");
        let ago = SignedDuration::from_hours(48);
        fixture.call(&key, Call { model: "gpt-5-mini", provider: "sandbox", cost: "1.05", ago, ..Call::USUAL }).await;
        let file = format!("usage_date_utc,model,cost_usd\n2026-11-17,gpt-5-mini,1\n2026-11-17,{HOSTILE},0.5\n");
        fixture.state.reconciler.import(Some("sandbox"), &file, noon()).unwrap();
        let page = browser.get(PATH).await.body;
        assert!(page.contains("Drifts") && page.contains("−30.0%") && page.contains("+5.0%"), "{page}");
        assert!(page.contains("$1.05") && page.contains("$1.50") && !page.contains(HOSTILE), "{page}");
        let chosen = browser.get("/costs/reconciliation?range=30d&day=2026-11-17&provider=sandbox").await.body;
        assert!(chosen.contains("sandbox on 17 Nov"), "{chosen}");
        for odd in ["?range=9y", "?day=never&provider=x", "?day=2026-11-17&provider=%3Cx%3E"] {
            assert_eq!(browser.get(&format!("{PATH}{odd}")).await.status, 200, "{odd}");
        }
    });
}

#[test]
fn the_button_leads_back_to_the_page_on_which_the_outcome_stands() {
    run(async {
        let (_fixture, browser) = Fixture::with_admin(BOTH);
        assert!(browser.get(PATH).await.body.contains("Not fetched yet"));
        let page = browser.get(&format!("{PATH}?range=30d")).await.body;
        assert!(page.contains("Fetch now") && page.contains("name=\"range\" value=\"30d\""), "{page}");
        assert!(!page.contains("canary"), "{page}");
        let (_without, browser) = Fixture::with_admin(SETTINGS);
        let answer = browser.post(PATH, &[("range", "30d")]).await;
        assert_eq!((answer.status, answer.location()), (303, "/costs/reconciliation?range=30d"));
    });
}
