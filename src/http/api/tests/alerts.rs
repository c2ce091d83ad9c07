//! What was raised, and tests of the receivers.

use serde_json::json;

use super::schema::assert_matches;
use super::*;
use crate::alerts::{AlertKind, AlertScope, NewAlert};
use crate::domain::{Window, WindowId};

/// Two receivers where nobody answers, so nothing here waits for a network.
fn settings() -> String {
    format!(
        "{SETTINGS}\n[alerts]\nslack_webhook_url = \"http://127.0.0.1:1/T0/canary\"\nwebhook_url = \"http://127.0.0.1:1/canary\"\n\
         webhook_secret = \"canary-of-the-webhook\"\nprivate_hosts = [\"127.0.0.1\"]\n"
    )
}

fn raise(fixture: &Fixture, count: u32) {
    let alert = |number| {
        let window = Some(WindowId { window: Window::Day, number: 20_779 + number });
        let alert =
            NewAlert::new(AlertKind::BudgetThreshold, AlertScope::new("key", Some("key_1")), window, "a budget");
        NewAlert { threshold_percent: Some(80), spent: Some("0.8".parse().unwrap()), ..alert }
    };
    fixture.state.alerts.raise((0..count).map(alert));
}

#[test]
fn what_was_raised_is_listed_with_what_came_of_it_and_without_addresses() {
    run(async {
        let fixture = Fixture::with(&settings());
        let empty = fixture.get("/api/alerts").await;
        assert_matches("AlertList", &empty.json());
        insta::assert_snapshot!(empty.body, @r##"{"items":[],"nextCursor":null,"channels":[{"channel":"slack","host":"127.0.0.1","isSigned":false,"lastAttemptAt":null,"error":null},{"channel":"webhook","host":"127.0.0.1","isSigned":true,"lastAttemptAt":null,"error":null}]}"##);
        raise(&fixture, 1);
        let listed = fixture.get("/api/alerts").await;
        assert_matches("AlertList", &listed.json());
        assert!(!listed.body.contains("canary"), "{}", listed.body);
        insta::assert_snapshot!(listed.json()["items"], @r##"[{"deliveries":[{"attempts":0,"channel":"slack","error":null,"lastAttemptAt":null,"state":"waiting"},{"attempts":0,"channel":"webhook","error":null,"lastAttemptAt":null,"state":"waiting"}],"id":"alert_1","limitUsd":null,"scope":{"id":"key_1","kind":"key"},"spentUsd":"0.8","text":"a budget","thresholdPercent":80,"time":"2026-11-22T12:00:00Z","type":"budget_threshold","window":"day"}]"##);
    });
}

#[test]
fn the_list_is_read_in_pages_and_wrong_parameters_are_refused() {
    run(async {
        let fixture = Fixture::new();
        raise(&fixture, 5);
        let ids = |page: &Value| -> Vec<String> {
            page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
        };
        let first = fixture.get("/api/alerts?limit=3").await.json();
        assert_eq!(ids(&first), ["alert_5", "alert_4", "alert_3"]);
        let second = fixture.get("/api/alerts?limit=3&cursor=alert_3").await.json();
        assert_eq!(
            (ids(&second), &second["nextCursor"]),
            (vec!["alert_2".to_owned(), "alert_1".to_owned()], &Value::Null)
        );
        let wrong = ["?limit=0", "?limit=201", "?cursor=5", "?cursor=alert_x", "?page=2"];
        let uris: Vec<String> = wrong.iter().map(|query| format!("/api/alerts{query}")).collect();
        let uris: Vec<&str> = uris.iter().map(String::as_str).collect();
        fixture.refuses_all(&uris, "400 invalid_parameter").await;
    });
}

#[test]
fn a_test_tells_for_each_receiver_what_came_of_it() {
    run(async {
        let fixture = Fixture::with(&settings());
        let tested = fixture.post("/api/alerts/test", &json!({})).await;
        assert_eq!(tested.status, 200);
        assert_matches("AlertTestResult", &tested.json());
        assert!(!tested.body.contains("canary"), "{}", tested.body);
        let items = tested.json()["items"].clone();
        assert_eq!((&items[0]["channel"], &items[1]["channel"]), (&json!("slack"), &json!("webhook")));
        assert!(items[0]["error"].as_str().unwrap().starts_with("no answer"), "{items}");
        let one = fixture.post("/api/alerts/test", &json!({"channel": "webhook"})).await.json();
        assert_eq!(one["items"].as_array().unwrap().len(), 1);
        let bare = fixture.call(As::Admin, TestRequest::post().uri("/api/alerts/test")).await;
        assert_eq!(bare.status, 200, "the body may be left out");
        let logged = fixture.get("/api/alerts").await.json();
        assert_eq!(
            (&logged["items"][0]["type"], &logged["items"][0]["scope"]["kind"]),
            (&json!("test"), &json!("everything"))
        );
    });
}

#[test]
fn a_test_of_a_receiver_that_is_none_or_not_set_is_refused() {
    run(async {
        let fixture = Fixture::with(&settings());
        let refuse = async |body: Value| fixture.post("/api/alerts/test", &body).await.verdict();
        assert_eq!(refuse(json!({"channel": "pigeon"})).await, "400 invalid_field");
        assert_eq!(refuse(json!({"chanel": "slack"})).await, "400 invalid_field");
        assert_eq!(refuse(json!({"channel": "discord"})).await, "409 no_alert_channel");
        let text = TestRequest::post().uri("/api/alerts/test").set_payload("channel=slack");
        let text = text.insert_header(("content-length", "13"));
        assert_eq!(fixture.call(As::Admin, text).await.verdict(), "415 unsupported_media_type");
    });
}
