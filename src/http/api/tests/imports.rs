//! Calls of the past over the API.

use serde_json::json;

use super::schema::assert_matches;
use super::*;

fn call(fixture: &Fixture, more: &Value) -> String {
    let mut call = json!({
        "id": RequestId::first_of(noon().as_millisecond() - 3_600_000).to_string(),
        "keyId": fixture.key.id.to_string(), "keyName": "ci", "operation": "import", "provider": "openai",
        "model": "gpt-4o", "status": "settled", "inputTokens": 10, "costUsd": "0.25", "costBasis": "estimated",
        "source": "litellm",
    });
    for (name, value) in more.as_object().unwrap() {
        call[name] = value.clone();
    }
    call.to_string()
}

async fn send(fixture: &Fixture, caller: As, body: String) -> Answered {
    fixture.call(caller, TestRequest::post().uri("/api/imports/spend").set_payload(body)).await
}

#[test]
fn calls_of_the_past_are_booked_once_and_seen() {
    run(async {
        let fixture = Fixture::new();
        let body = format!("{}\n\n", call(&fixture, &json!({})));
        let taken = send(&fixture, As::Admin, body.clone()).await.json();
        assert_matches("TakenIn", &taken);
        assert_eq!(taken, json!({"booked": 1, "known": 0, "differing": 0}));
        assert_eq!(send(&fixture, As::Admin, body).await.json(), json!({"booked": 0, "known": 1, "differing": 0}));
        let costs = fixture.get("/api/costs?groupBy=tag:import").await.json();
        assert_eq!((&costs["totalUsd"], &costs["groups"][0]["key"]), (&json!("0.25"), &json!("litellm")), "{costs}");
    });
}

#[test]
fn nothing_of_a_body_with_a_wrong_line_is_booked() {
    run(async {
        let fixture = Fixture::new();
        let good = call(&fixture, &json!({}));
        let id = |ms: i64| json!({ "id": RequestId::first_of(ms).to_string() });
        for (wrong, says) in [
            (json!({"costUsd": "-1"}), "negative"),
            (json!({"costUsd": "100001"}), "more than one call can cost"),
            (json!({"costUsd": 1}), "line 2"),
            (json!({"costBasis": "exact"}), "estimated"),
            (json!({"costBasis": "unpriced"}), "no cost"),
            (json!({"status": "pending"}), "status"),
            (json!({"keyId": "key_nobody"}), "no virtual key"),
            (json!({"keyId": ""}), "key"),
            (json!({"id": "req_1"}), "not an id"),
            (id(0), "before any call"),
            (id(noon().as_millisecond() + 90_000_000), "in the future"),
            (json!({"model": "a\nb"}), "control"),
            (json!({"inputTokens": 100_000_000_000_u64}), "more than one call can have"),
            (json!({"reasoningTokens": 5}), "reasoningTokens"),
            (json!({"unheard": 5}), "unknown field"),
        ] {
            let answered = send(&fixture, As::Admin, format!("{good}\n{}", call(&fixture, &wrong))).await;
            assert_eq!(answered.verdict(), "400 invalid_field", "{wrong}");
            let problem = answered.json();
            assert!(problem["detail"].as_str().unwrap().contains(says) && problem["line"] == 2, "{wrong}: {problem}");
        }
        assert_eq!(send(&fixture, As::Admin, String::new()).await.verdict(), "400 invalid_json");
        let many = vec![good.clone(); 1_001].join("\n");
        assert_eq!(send(&fixture, As::Admin, many).await.verdict(), "413 body_too_large");
        assert_eq!(fixture.get("/api/costs").await.json()["totalUsd"], "0");
        assert_eq!(send(&fixture, As::Key, good).await.verdict(), "403 forbidden");
    });
}
