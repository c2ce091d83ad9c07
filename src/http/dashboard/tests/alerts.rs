//! The page of alerts, and its test button.

use super::*;
use crate::alerts::{AlertKind, AlertScope, NewAlert};

/// A receiver where nobody answers.
const AWAY: &str = "[alerts]\nslack_webhook_url = \"http://127.0.0.1:1/T0/canary\"\nprivate_hosts = [\"127.0.0.1\"]\n";

#[test]
fn without_a_receiver_the_page_says_that_nobody_is_told_and_how_to_change_that() {
    run(async {
        let (_fixture, browser) = Fixture::with_admin(SETTINGS);
        let page = browser.get("/alerts").await;
        assert_eq!(page.status, 200);
        assert!(page.body.contains("Nobody is told") && page.body.contains("slack_webhook_url"), "{}", page.body);
        assert!(page.body.contains("Nothing was told yet") && !page.body.contains("Send a test"), "{}", page.body);
    });
}

#[test]
fn what_was_raised_is_shown_as_text_with_what_came_of_it() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(&format!("{SETTINGS}{AWAY}"));
        let text = format!("{HOSTILE} has no price");
        let scope = AlertScope::new("deployment", Some(HOSTILE));
        fixture.state.alerts.raise([NewAlert::new(AlertKind::UnpricedTraffic, scope, None, &text)]);
        let page = browser.get("/alerts").await.body;
        assert!(page.contains("has no price") && !page.contains(HOSTILE), "{page}");
        assert!(page.contains("127.0.0.1") && !page.contains("canary"), "the rest of the address is a secret: {page}");
    });
}

#[test]
fn the_test_button_leads_back_to_the_page_on_which_the_result_stands() {
    run(async {
        let (_fixture, browser) = Fixture::with_admin(&format!("{SETTINGS}{AWAY}"));
        assert!(browser.get("/alerts").await.body.contains("Not tried yet"));
        let answer = browser.post("/alerts/test", &[("channel", "slack")]).await;
        assert_eq!((answer.status, answer.location()), (303, "/alerts"));
        let page = browser.get("/alerts").await.body;
        assert!(page.contains("Failing") && page.contains("no answer"), "{page}");
        let swapped = browser.swap("/alerts/test", &[]).await;
        assert_eq!((swapped.status, swapped.header("hx-redirect")), (200, "/alerts"));
        assert_eq!(browser.post("/alerts/test", &[("channel", "pigeon")]).await.status, 400);
    });
}

#[test]
fn older_alerts_are_a_page_away() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let alert = |_| NewAlert::new(AlertKind::LedgerRecovered, AlertScope::new("ledger", None), None, "again");
        fixture.state.alerts.raise((0..60).map(alert));
        let first = browser.get("/alerts").await.body;
        assert!(first.contains("60 alerts") && first.contains("/alerts?before=alert_11"), "{first}");
        let second = browser.get("/alerts?before=alert_11").await.body;
        assert!(second.contains("id=\"alert_10\"") && !second.contains("id=\"alert_11\""), "{second}");
    });
}
