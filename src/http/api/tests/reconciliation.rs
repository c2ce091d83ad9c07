//! What providers say they charged, over HTTP.

use super::schema::assert_matches;
use super::*;

const SETTINGS: &str = r#"
time_zone = "Asia/Seoul"

[[providers]]
name = "claude"
kind = "anthropic"
api_key = "sk-1"

[[providers]]
name = "sandbox"
kind = "sandbox"
"#;
const FILE: &str = "usage_date_utc,model,cost_usd\n2026-11-20,Claude Haiku 4.5,0.05\n";

async fn upload(fixture: &Fixture, uri: &str, media: &str, text: &str) -> Answered {
    let request = TestRequest::post().uri(uri).insert_header(("content-type", media)).set_payload(text.to_owned());
    fixture.call(As::Admin, request).await
}

#[test]
fn a_file_is_taken_compared_and_kept() {
    run(async {
        let fixture = Fixture::with(SETTINGS);
        let empty = fixture.get("/api/reconciliation").await.json();
        assert_matches("Reconciliation", &empty);
        assert_eq!((empty["from"].as_str(), empty["to"].as_str()), (Some("2026-11-15"), Some("2026-11-22")));
        assert!(empty["days"].as_array().unwrap().is_empty(), "{empty}");
        let taken = upload(&fixture, "/api/reconciliation", "text/csv; charset=utf-8", FILE).await.json();
        assert_matches("Reconciliation", &taken);
        assert_eq!(taken["import"]["provider"], "claude");
        let kept = fixture.get("/api/reconciliation?from=2026-11-20&to=2026-11-21").await.json();
        assert_matches("Reconciliation", &kept);
        assert_eq!(kept["days"], taken["days"]);
        let day = &kept["days"][0];
        assert_eq!((day["state"].as_str(), day["source"].as_str()), (Some("complete"), Some("file")));
        assert_eq!((day["theirUsd"].as_str(), day["isDrifting"].as_bool()), (Some("0.05"), Some(true)));
        assert_eq!((kept["driftingDays"].as_u64(), kept["driftMaxPercent"].as_u64()), (Some(1), Some(2)));
        let alerts = fixture.get("/api/alerts").await.json();
        assert_matches("AlertList", &alerts);
        assert_eq!(alerts["items"][0]["type"], "cost_drift");
        assert_eq!(alerts["items"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn what_can_not_be_is_refused_with_what_to_do() {
    run(async {
        let fixture = Fixture::with(SETTINGS);
        let path = "/api/reconciliation";
        let refused = [
            "/api/reconciliation?from=2026-11-23",
            "/api/reconciliation?from=yesterday",
            "/api/reconciliation?from=2026-11-20T00:00:00Z",
            "/api/reconciliation?from=2026-11-20&to=2026-11-20",
            "/api/reconciliation?from=2026-01-01",
            "/api/reconciliation?provider=nobody",
            "/api/reconciliation?day=2026-11-20",
        ];
        fixture.refuses_all(&refused, "400 invalid_parameter").await;
        let verdict = async |uri: &str, media: &str, text: &str| upload(&fixture, uri, media, text).await.verdict();
        assert_eq!(verdict(path, "text/csv", "a,b\n1,2\n").await, "422 invalid_file");
        assert_eq!(verdict(path, "application/json", "{}").await, "415 unsupported_media_type");
        let days = format!("{path}?from=2026-11-20");
        assert_eq!(verdict(&days, "text/csv", FILE).await, "400 invalid_parameter");
        let openai = "start_time,amount_value,amount_currency\n1795132800,1,usd\n";
        let whose = upload(&fixture, path, "text/csv", openai).await;
        assert_eq!(whose.verdict(), "400 invalid_parameter");
        assert!(whose.body.contains("no provider of that kind is configured"), "{}", whose.body);
        let other = format!("{path}?provider=claude");
        assert_eq!(verdict(&other, "text/csv", openai).await, "422 invalid_file");
        let fetch = fixture.call(As::Admin, TestRequest::post().uri(path)).await;
        assert_eq!(fetch.verdict(), "409 no_admin_key");
        assert!(fetch.body.contains("admin_api_key"), "{}", fetch.body);
        let kept = fixture.get("/api/reconciliation?from=2026-11-01").await.json();
        assert!(kept["days"].as_array().unwrap().is_empty(), "nothing of it was kept: {kept}");
    });
}
