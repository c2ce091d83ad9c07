//! Sums and exports: totals equal rows, whatever is asked for.

use serde_json::json;

use super::schema::assert_matches;
use super::*;

/// A small ledger: three teams' calls over two days in Seoul, one failed, one whose end was never seen.
async fn filled() -> Fixture {
    let fixture = Fixture::new();
    let times = ["2026-11-21T14:59:59.999Z", "2026-11-21T15:00:00Z", "2026-11-21T23:30:00Z", "2026-11-22T11:59:00Z"];
    for (number, time) in times.into_iter().enumerate() {
        let mut facts = fixture.facts(at(time));
        facts.team = ["research", "sales"].get(number).map(|team| (*team).into());
        facts.tags = vec![("env".into(), ["prod", "test"][number % 2].into())];
        fixture.book(facts).await;
    }
    fixture.book_as(fixture.facts(at("2026-11-22T11:00:00Z")), EntryStatus::Failed, Some("upstream_error")).await;
    fixture.book_as(fixture.facts(at("2026-11-22T11:30:00Z")), EntryStatus::Unknown, Some("crashed")).await;
    fixture
}

/// The rows of an export as cells; no cell of these has a comma or a line break.
fn cells(csv: &str) -> Vec<Vec<String>> {
    csv.lines().map(|line| line.split(',').map(|cell| cell.trim_matches('"').to_owned()).collect()).collect()
}

fn sum(rows: &[Vec<String>], column: usize) -> Picodollars {
    rows.iter().map(|row| row[column].parse::<Picodollars>().unwrap()).sum()
}

#[test]
fn this_month_is_summed_where_no_range_is_given() {
    run(async {
        let fixture = filled().await;
        let costs = fixture.get("/api/costs?groupBy=team").await.json();
        assert_matches("Costs", &costs);
        insta::assert_snapshot!(serde_json::to_string_pretty(&costs).unwrap(), @r##"
        {
          "cachedInputTokens": 4000,
          "failedRequests": 2,
          "from": "2026-10-31T15:00:00Z",
          "groupBy": "team",
          "groups": [
            {
              "cachedInputTokens": 2000,
              "costUsd": "1.024",
              "failedRequests": 2,
              "inputTokens": 20000,
              "key": "",
              "keyId": "",
              "outputTokens": 2000,
              "requests": 4,
              "savedUsd": "0",
              "unknownUsd": "1"
            },
            {
              "cachedInputTokens": 1000,
              "costUsd": "0.012",
              "failedRequests": 0,
              "inputTokens": 10000,
              "key": "research",
              "keyId": "research",
              "outputTokens": 1000,
              "requests": 1,
              "savedUsd": "0",
              "unknownUsd": "0"
            },
            {
              "cachedInputTokens": 1000,
              "costUsd": "0.012",
              "failedRequests": 0,
              "inputTokens": 10000,
              "key": "sales",
              "keyId": "sales",
              "outputTokens": 1000,
              "requests": 1,
              "savedUsd": "0",
              "unknownUsd": "0"
            }
          ],
          "heldUsd": "0",
          "inputTokens": 40000,
          "outputTokens": 4000,
          "pendingCount": 0,
          "requests": 6,
          "savedUsd": "0",
          "to": "2026-11-30T15:00:00Z",
          "totalUsd": "1.048",
          "unknownCount": 1,
          "unknownUsd": "1",
          "unpricedAttempts": 0
        }
        "##);
    });
}

#[test]
fn totals_equal_rows_in_every_grouping_and_range() {
    run(async {
        let fixture = filled().await;
        let ranges = [
            "",
            "from=2026-11-22",
            "from=2026-11-21&to=2026-11-22",
            "to=2026-11-23",
            "from=2026-11-22T00:00:00.000Z&to=2026-11-22T11:30:00Z",
        ];
        for range in ranges {
            let csv = fixture.get(&format!("/api/costs.csv?{range}")).await;
            let rows = &cells(&csv.body)[1..];
            for by in ["", "provider", "model", "operation", "key", "team", "tag:env", "tag:none", "day", "hour"] {
                let costs = fixture.get(&format!("/api/costs?{range}&groupBy={by}")).await;
                assert_eq!(costs.status, 200, "{range} {by}: {}", costs.body);
                let costs = costs.json();
                assert_eq!(costs["totalUsd"], sum(rows, 17).to_string(), "{range} {by}");
                assert_eq!(costs["requests"], rows.len(), "{range} {by}");
                let unknown: Vec<_> = rows.iter().filter(|row| row[3] == "unknown").cloned().collect();
                assert_eq!(costs["unknownUsd"], sum(&unknown, 17).to_string(), "{range} {by}");
                if by.is_empty() {
                    continue;
                }
                let groups = costs["groups"].as_array().unwrap();
                let grouped: Picodollars =
                    groups.iter().map(|group| group["costUsd"].as_str().unwrap().parse::<Picodollars>().unwrap()).sum();
                assert_eq!(costs["totalUsd"], grouped.to_string(), "{range} {by}");
                let requests: u64 = groups.iter().map(|group| group["requests"].as_u64().unwrap()).sum();
                assert_eq!(costs["requests"], requests, "{range} {by}");
                let group_rows = cells(&fixture.get(&format!("/api/costs.csv?{range}&groupBy={by}")).await.body);
                assert_eq!(sum(&group_rows[1..], 1), grouped, "{range} {by}");
            }
        }
    });
}

#[test]
fn the_first_instant_counts_and_the_last_does_not() {
    run(async {
        let fixture = filled().await;
        let requests = |uri: &'static str| async { fixture.get(uri).await.json()["requests"].as_u64().unwrap() };
        assert_eq!(requests("/api/costs?from=2026-11-22&to=2026-11-23").await, 5);
        assert_eq!(requests("/api/costs?from=2026-11-21&to=2026-11-22").await, 1);
        assert_eq!(requests("/api/costs?from=2026-11-21T15:00:00Z&to=2026-11-21T15:00:00.001Z").await, 1);
        assert_eq!(requests("/api/costs?from=2026-11-22T00:00:00%2B09:00&to=2026-11-22T00:00:01+09:00").await, 1);
        assert_eq!(requests("/api/costs?from=2026-12-01").await, 0);
        let days = fixture.get("/api/costs?groupBy=day").await.json();
        let days: Vec<&str> =
            days["groups"].as_array().unwrap().iter().map(|day| day["key"].as_str().unwrap()).collect();
        assert_eq!(days, ["2026-11-21", "2026-11-22"]);
    });
}

#[test]
fn what_is_held_is_told_beside_the_total() {
    run(async {
        let fixture = filled().await;
        let before = fixture.get("/api/costs").await.json();
        let planned = Planned {
            deployment: "sandbox/sandbox-small".parse().unwrap(),
            worst_case: WorstCase::fixed("0.25".parse().unwrap()),
            turning: Vec::new(),
            charges: Vec::new(),
            watched: Vec::new(),
            started_ms: 0,
        };
        let reservation = fixture.state.ledger.reserve(fixture.facts(noon()), planned).await.unwrap();
        let costs = fixture.get("/api/costs").await.json();
        assert_eq!((&costs["heldUsd"], &costs["pendingCount"]), (&json!("0.25"), &json!(1)));
        assert_eq!(costs["totalUsd"], before["totalUsd"]);
        drop(reservation);
    });
}

#[test]
fn keys_are_told_by_name_with_their_id() {
    run(async {
        let fixture = filled().await;
        let group = &fixture.get("/api/costs?groupBy=key").await.json()["groups"][0];
        assert_eq!((&group["key"], &group["keyId"]), (&json!("ci"), &json!(fixture.key.id.as_str())));
        let csv = fixture.get("/api/costs.csv?groupBy=key").await.body;
        assert!(csv.lines().nth(1).unwrap().starts_with("\"ci\",1.048,6,40000,4000,4000,0,\"key_"), "{csv}");
    });
}

#[test]
fn ranges_and_groupings_that_cannot_be_are_refused() {
    run(async {
        let fixture = Fixture::new();
        let refused = [
            "/api/costs?from=yesterday",
            "/api/costs?from=2026-02-30",
            "/api/costs?from=",
            "/api/costs?from=2026-11-22T00:00:00",
            "/api/costs?from=0001-01-01",
            "/api/costs?to=9999-12-31",
            "/api/costs?from=2026-11-23&to=2026-11-22",
            "/api/costs?from=2026-11-22&to=2026-11-22",
            "/api/costs?from=2026-11-22&from=2026-11-21",
            "/api/costs?groupBy=planet",
            "/api/costs?groupBy=tag:",
            "/api/costs?groupby=team",
            "/api/costs?groupBy=hour&from=2026-01-01",
            "/api/costs?groupBy=day&from=2000-01-02",
            "/api/costs.csv?limit=1",
            "/api/costs.csv?groupBy=team&status=failed",
            "/api/costs.csv?status=dead",
        ];
        for uri in refused {
            let answer = fixture.get(uri).await;
            let expected = if uri.ends_with("from=") { "200" } else { "400 invalid_parameter" };
            assert_eq!(answer.verdict(), expected, "{uri}: {}", answer.body);
        }
        assert_eq!(
            fixture.get("/api/costs?from=2000-01-01&to=2099-12-31").await.status,
            200,
            "a century of months is fine"
        );
    });
}

#[test]
fn an_export_is_a_file_with_the_columns_that_scripts_rely_on() {
    run(async {
        let fixture = Fixture::new();
        let id = fixture.book(fixture.facts(noon())).await;
        let csv = fixture.get("/api/costs.csv").await;
        assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
        assert_eq!(csv.header("content-disposition"), "attachment; filename=\"tollgate-costs.csv\"");
        insta::assert_snapshot!(csv.body.replace(&id.to_string(), "req_…"), @r##"
        id,client_request_id,time,status,key,team,operation,provider,model,requested_model,stream,cache,input_tokens,cache_read_tokens,cache_write_tokens,output_tokens,reasoning_tokens,cost_usd,cost_basis,latency_ms,time_to_first_token_ms,attempts,error,tags
        "req_…","","2026-11-22T12:00:00Z","settled","ci","","chat","sandbox","sandbox-small","sandbox-small","false","bypass",9000,1000,0,1000,10,0.012,"exact",42,9,1,"",""
        "##);
        assert_eq!(fixture.get("/api/costs.csv?from=2020-01-01&to=2020-01-02").await.body.lines().count(), 1);
    });
}

#[test]
fn no_cell_of_an_export_is_a_formula() {
    run(async {
        let fixture = Fixture::new();
        for start in ["=", "+", "-", "@", "\t", "\r"] {
            let evil: Arc<str> = format!("{start}cmd|' /C calc'!A0\",\n").into();
            let mut facts = fixture.facts(noon());
            facts.key_name = Arc::clone(&evil);
            facts.team = Some(Arc::clone(&evil));
            facts.operation = Arc::clone(&evil);
            facts.client_request_id = Some(Arc::clone(&evil));
            facts.tags = vec![("t".into(), Arc::clone(&evil))];
            fixture.book_as(facts, EntryStatus::Failed, Some(&evil)).await;
        }
        for uri in [
            "/api/costs.csv",
            "/api/costs.csv?groupBy=team",
            "/api/costs.csv?groupBy=operation",
            "/api/costs.csv?groupBy=tag:t",
        ] {
            let csv = fixture.get(uri).await.body;
            let quoted = csv.matches("\"'").count();
            assert!(quoted >= 6, "{uri}: {csv}");
            for start in ["=", "+", "-", "@", "\t", "\r"] {
                assert!(
                    !csv.contains(&format!("\"{start}cmd")) && !csv.contains(&format!(",{start}cmd")),
                    "{uri}: {csv}"
                );
            }
        }
    });
}

#[test]
fn an_export_of_more_than_one_piece_has_every_entry_once() {
    run(async {
        let fixture = Fixture::new();
        let booked = 1_003;
        for number in 0..booked {
            let time = Timestamp::from_millisecond(noon().as_millisecond() - 1 - i64::from(number)).unwrap();
            let outcome = Outcome {
                status: EntryStatus::Failed,
                error: Some("refused".into()),
                http_status: 400,
                last: None,
                latency_ms: 1,
                time_to_first_token_ms: None,
                saved: Picodollars::ZERO,
            };
            fixture.state.ledger.record(fixture.facts(time), outcome).unwrap();
        }
        // Bookings come in order, so what is durable now is behind them all.
        fixture.book(fixture.facts(noon())).await;
        let csv = fixture.get("/api/costs.csv?q=refused").await.body;
        let mut ids: Vec<&str> = csv.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
        ids.dedup();
        assert_eq!(ids.len(), usize::try_from(booked).unwrap());
        assert_eq!(fixture.get("/api/costs.csv").await.body.lines().count(), usize::try_from(booked).unwrap() + 2);
    });
}

/// The lines of an export.
fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn lines_of_json_have_what_the_lists_have() {
    run(async {
        let fixture = filled().await;
        let export = fixture.get("/api/costs.jsonl").await;
        assert_eq!(export.header("content-type"), "application/jsonl; charset=utf-8");
        assert_eq!(export.header("content-disposition"), "attachment; filename=\"tollgate-costs.jsonl\"");
        let listed = fixture.get("/api/requests").await.json();
        assert_eq!(Value::Array(json_lines(&export.body)), listed["items"]);

        let groups = json_lines(&fixture.get("/api/costs.jsonl?groupBy=team").await.body);
        assert_eq!(Value::Array(groups), fixture.get("/api/costs?groupBy=team").await.json()["groups"]);

        let export = fixture.get("/api/requests.jsonl?status=settled").await;
        assert_eq!(export.header("content-disposition"), "attachment; filename=\"tollgate-requests.jsonl\"");
        let calls = json_lines(&export.body);
        assert_eq!(calls.len(), 4);
        let shown = fixture.get(&format!("/api/requests/{}", calls[0]["id"].as_str().unwrap())).await.json();
        for field in ["usage", "rawUsage", "costUsd", "upstreamRequestId"] {
            assert_eq!(calls[0]["attempts"][0][field], shown["attempts"][0][field], "{field}");
        }
        assert!(calls[0]["attempts"][0].get("costLines").is_none(), "prices of today are no part of an export");
    });
}

#[test]
fn a_focus_export_has_a_row_a_day_and_combination_and_the_total_of_the_ledger() {
    run(async {
        let fixture = filled().await;
        let export = fixture.get("/api/costs.focus.csv").await;
        assert_eq!(export.header("content-disposition"), "attachment; filename=\"tollgate-focus.csv\"");
        // Tags are JSON with commas: they stand near the end, behind every column that is looked at here.
        let rows = cells(&export.body);
        let column = |name: &str| rows[0].iter().position(|column| column == name).unwrap();
        let total: Picodollars = fixture.get("/api/costs").await.json()["totalUsd"].as_str().unwrap().parse().unwrap();
        assert_eq!(sum(&rows[1..], column("BilledCost")), total);
        let days: Vec<&str> = rows[1..].iter().map(|row| row[column("ChargePeriodStart")].as_str()).collect();
        assert_eq!(days, ["2026-11-20T15:00:00Z", "2026-11-21T15:00:00Z", "2026-11-21T15:00:00Z"]);
        assert_eq!(rows[1][column("BillingPeriodStart")], "2026-10-31T15:00:00Z");
        assert_eq!(rows[1][column("ResourceName")], "ci");
        let year = fixture.get("/api/costs.focus.csv?from=2026-01-01&to=2027-01-01").await;
        assert_eq!(year.body, export.body, "weeks of a year are put together without a gap or a second header");
        assert_eq!(fixture.get("/api/costs.focus.csv?from=2026-11-22&to=2026-11-23").await.body.lines().count(), 3);
    });
}

#[test]
fn an_export_that_cannot_be_is_refused_before_its_first_row() {
    run(async {
        let fixture = Fixture::new();
        let refused = [
            "/api/costs.focus.csv?from=2026-11-22T09:30:00Z",
            "/api/costs.focus.csv?groupBy=team",
            "/api/costs.focus.csv?from=2026-11-23&to=2026-11-22",
            "/api/costs.jsonl?groupBy=colour",
            "/api/costs.jsonl?groupBy=team&model=gpt-5",
            "/api/requests.jsonl?groupBy=team",
            "/api/requests.jsonl?limit=5",
            "/api/requests.jsonl?from=yesterday",
        ];
        fixture.refuses_all(&refused, "400 invalid_parameter").await;
        assert_eq!(fixture.get("/api/requests.jsonl").await.body, "");
        assert_eq!(fixture.get("/api/costs.focus.csv").await.body.lines().count(), 1, "the header alone");
    });
}
