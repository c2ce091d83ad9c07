//! Reports over HTTP.

use super::schema::assert_matches;
use super::*;

async fn filled() -> Fixture {
    let fixture = Fixture::new();
    for time in ["2026-10-05T00:00:00Z", "2026-11-20T14:59:59Z", "2026-11-20T15:00:00Z", "2026-11-22T11:00:00Z"] {
        fixture.book(fixture.facts(at(time))).await;
    }
    fixture
}

async fn json(fixture: &Fixture, uri: &str) -> Value {
    let request = TestRequest::get().uri(uri).insert_header(("accept", "application/json"));
    let answer = fixture.call(As::Admin, request).await;
    assert_eq!(answer.header("content-type"), "application/json");
    let json = answer.json();
    assert_matches("Report", &json);
    json
}

#[test]
fn a_report_is_markdown_and_json_for_who_accepts_it() {
    run(async {
        let fixture = filled().await;
        let report = fixture.get("/api/reports/daily").await;
        assert_eq!(report.header("content-type"), "text/markdown; charset=utf-8");
        assert_eq!(report.header("vary"), "accept");
        assert!(report.body.starts_with("# Tollgate, Sat 21 Nov 2026\n"), "{}", report.body);
        let json = json(&fixture, "/api/reports/daily").await;
        assert_eq!((json["period"].as_str(), json["spentUsd"].as_str()), (Some("2026-11-21"), Some("0.012")));
    });
}

#[test]
fn days_and_months_are_those_of_the_teams_zone() {
    run(async {
        let fixture = filled().await;
        let requests = async |uri: &str| json(&fixture, uri).await["requests"].as_u64().unwrap();
        assert_eq!(requests("/api/reports/daily?date=2026-11-20").await, 1);
        assert_eq!(requests("/api/reports/daily?date=2026-11-21").await, 1);
        assert_eq!(requests("/api/reports/daily?date=2026-11-22").await, 1, "today so far");
        assert_eq!(requests("/api/reports/monthly").await, 1, "October");
        assert_eq!(requests("/api/reports/monthly?month=2026-11").await, 3);
        assert_eq!(requests("/api/reports/monthly?month=2020-02").await, 0);
        let today = json(&fixture, "/api/reports/daily?date=2026-11-22").await;
        assert_eq!((today["isRunning"].as_bool(), today["to"].as_str()), (Some(true), Some("2026-11-22T15:00:00Z")));
    });
}

#[test]
fn what_is_no_day_or_month_or_has_not_begun_is_refused() {
    run(async {
        let fixture = Fixture::new();
        let refused = [
            "/api/reports/daily?date=2026-11-23",
            "/api/reports/daily?date=2026-02-30",
            "/api/reports/daily?date=today",
            "/api/reports/daily?month=2026-11",
            "/api/reports/daily?date=2026-11-20&date=2026-11-21",
            "/api/reports/monthly?month=2026-12",
            "/api/reports/monthly?month=2026-11-22",
            "/api/reports/monthly?date=2026-11-22",
        ];
        fixture.refuses_all(&refused, "400 invalid_parameter").await;
        let problem = fixture.get(refused[0]).await.json();
        assert_eq!(problem["parameter"], "date");
        assert!(problem["detail"].as_str().unwrap().contains("has not begun yet"), "{problem}");
    });
}
