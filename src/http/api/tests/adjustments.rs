//! Calls of unknown cost that get one, and history at other prices.

use serde_json::json;

use super::schema::assert_matches;
use super::*;

fn by_hand(cost: &str, reason: &str) -> Value {
    json!({ "costUsd": cost, "reason": reason })
}

#[test]
fn an_unknown_call_gets_its_true_cost_in_every_list_and_sum() {
    run(async {
        let fixture = Fixture::new();
        let mut facts = fixture.facts(noon());
        facts.client_request_id = Some("mine".into());
        let id = fixture.book_as(facts, EntryStatus::Unknown, Some("crashed")).await;
        fixture.book(fixture.facts(noon())).await;
        let path = format!("/api/requests/{id}/adjust");
        let shown = fixture.post(&path, &by_hand("0.25", " the invoice ")).await.json();
        assert_matches("RequestDetail", &shown);
        assert_eq!((&shown["costUsd"], &shown["adjustedCostUsd"]), (&json!("1"), &json!("0.25")));
        let adjustment = &shown["adjustments"][0];
        assert_eq!((&adjustment["amountUsd"], &adjustment["reason"]), (&json!("-0.75"), &json!("the invoice")));
        assert_eq!((&adjustment["kind"], &adjustment["costBasis"]), (&json!("by_hand"), &json!("estimated")));
        assert_eq!(adjustment["by"], "admin token \"scripts\"");
        // The same again changes nothing.
        assert_eq!(fixture.post(&path, &by_hand("0.25", "again")).await.json(), shown);
        let listed = fixture.get(&format!("/api/requests?q={id}")).await.json();
        assert_matches("RequestList", &listed);
        let items = listed["items"].as_array().unwrap();
        assert_eq!(
            (items.len(), &items[0]["adjusts"], &items[0]["costUsd"]),
            (2, &json!(id.to_string()), &json!("-0.75"))
        );
        assert_eq!((&items[0]["status"], &items[0]["attemptCount"]), (&json!("unknown"), &json!(0)));
        let costs = fixture.get("/api/costs?from=2026-11-22&to=2026-11-23").await.json();
        assert_eq!(
            (&costs["totalUsd"], &costs["unknownUsd"], &costs["requests"]),
            (&json!("0.262"), &json!("0.25"), &json!(2))
        );
        let csv = fixture.get("/api/costs.csv?from=2026-11-22&to=2026-11-23").await.body;
        let row = csv.lines().find(|line| line.contains("adjusts")).unwrap();
        assert!(row.contains("\"mine\"") && row.contains(",-0.75,\"estimated\","), "{row}");
        assert!(row.ends_with(&format!(",0,\"adjusts {id}\",\"\"")), "{row}");
        let lines = fixture.get("/api/requests.jsonl?from=2026-11-22&to=2026-11-23").await.body;
        assert!(lines.contains("\"reason\":\"the invoice\""), "{lines}");
        assert_eq!(fixture.get("/api/verify").await.json()["ok"], true);
    });
}

#[test]
fn what_cannot_be_adjusted_says_why() {
    run(async {
        let fixture = Fixture::new();
        let exact = fixture.book(fixture.facts(noon())).await;
        let unknown = fixture.book_as(fixture.facts(noon()), EntryStatus::Unknown, None).await;
        let adjusted = fixture.post(&format!("/api/requests/{unknown}/adjust"), &by_hand("0", "x")).await.json();
        let adjustment = adjusted["adjustments"][0]["id"].as_str().unwrap().to_owned();
        let running = {
            let planned = Planned {
                deployment: "sandbox/sandbox-small".parse().unwrap(),
                worst_case: crate::ledger::WorstCase::fixed(Picodollars::from_dollars(1)),
                turning: Vec::new(),
                charges: Vec::new(),
                watched: Vec::new(),
                started_ms: 0,
            };
            fixture.state.ledger.reserve(fixture.facts(noon()), planned).await.unwrap()
        };
        let unknown = unknown.to_string();
        for (id, body, expected) in [
            (exact.to_string(), by_hand("1", "x"), "409 not_adjustable"),
            (adjustment, by_hand("1", "x"), "409 not_adjustable"),
            (running.id().to_string(), by_hand("1", "x"), "409 not_adjustable"),
            ("req_00000000000000000000000001".to_owned(), by_hand("1", "x"), "404 not_found"),
            ("nonsense".to_owned(), by_hand("1", "x"), "404 not_found"),
            (unknown.clone(), by_hand("-1", "x"), "400 invalid_field"),
            (unknown.clone(), by_hand("many", "x"), "400 invalid_field"),
            (unknown.clone(), by_hand("99999", "x"), "400 invalid_field"),
            (unknown.clone(), by_hand("1", " "), "400 invalid_field"),
            (unknown.clone(), by_hand("1", "a\nb"), "400 invalid_field"),
            (unknown.clone(), json!({ "costUsd": "1" }), "400 invalid_field"),
            (unknown, json!({ "costUsd": "1", "reason": "x", "more": 1 }), "400 invalid_field"),
        ] {
            let answer = fixture.post(&format!("/api/requests/{id}/adjust"), &body).await;
            assert_eq!(answer.verdict(), expected, "{id} {body}: {}", answer.body);
        }
    });
}

#[test]
fn history_is_seen_at_other_prices_and_the_difference_booked_once() {
    run(async {
        let fixture = Fixture::new();
        let id = fixture.book(fixture.facts(noon())).await;
        fixture.book_as(fixture.facts(noon()), EntryStatus::Unknown, None).await;
        let prices = "[prices.\"sandbox/sandbox-small\"]\ninput = \"2\"\noutput = \"4\"\n";
        let ask = |book: bool| json!({ "from": "2026-11-22", "to": "2026-11-23", "prices": prices, "name": "p.toml", "book": book });
        let seen = fixture.post("/api/re-rate", &ask(false)).await.json();
        assert_matches("ReRated", &seen);
        // 10,000 tokens in, cached ones at the price of input, and 1,000 out.
        let group = &seen["groups"][0];
        assert_eq!(
            (&group["day"], &group["attempts"], &group["changed"]),
            (&json!("2026-11-22"), &json!(1), &json!(1))
        );
        assert_eq!(
            (&group["wasUsd"], &group["wouldBeUsd"], &group["differenceUsd"]),
            (&json!("0.012"), &json!("0.024"), &json!("0.012"))
        );
        assert_eq!((&seen["left"][0]["reason"], &seen["left"][0]["costUsd"]), (&json!("end_not_seen"), &json!("1")));
        assert_eq!((&seen["booked"], &seen["nextCursor"]), (&json!(0), &Value::Null));
        assert_eq!(seen["sections"], json!([{ "name": "sandbox/sandbox-small", "attempts": 2 }]));
        for booked in [1, 0] {
            let answer = fixture.post("/api/re-rate", &ask(true)).await.json();
            assert_eq!(answer["booked"], booked, "{answer}");
        }
        let shown = fixture.get(&format!("/api/requests/{id}")).await.json();
        assert_eq!(shown["adjustedCostUsd"], "0.024");
        assert_eq!(shown["adjustments"][0]["reason"], "re-rated with the prices of p.toml");
        assert_eq!(fixture.get("/api/verify").await.json()["ok"], true);
        for (body, field) in [
            (json!({ "from": "yesterday" }), "from"),
            (json!({ "from": "2026-11-22", "to": "2026-11-22" }), "from"),
            (json!({ "from": "2026-11-22", "to": "soon" }), "to"),
            (json!({ "from": "2026-11-22", "prices": "" }), "prices"),
            (json!({ "from": "2026-11-22", "prices": "{\"models\": 1}" }), "prices"),
            (json!({ "from": "2026-11-22", "name": "a\nb" }), "name"),
            (json!({ "from": "2026-11-22", "cursor": "req" }), "cursor"),
        ] {
            let answer = fixture.post("/api/re-rate", &body).await;
            assert_eq!(
                (answer.verdict().as_str(), &answer.json()["field"]),
                ("400 invalid_field", &json!(field)),
                "{body}"
            );
        }
    });
}

#[test]
fn heads_are_given_out_and_proved_again() {
    run(async {
        let fixture = Fixture::new();
        fixture.book(fixture.facts(noon())).await;
        let report = fixture.get("/api/verify?heads=true").await.json();
        assert_matches("Verification", &report);
        let heads = report["heads"].clone();
        assert_eq!((&report["chains"], &heads["days"]["2026-11-22"]["entries"]), (&json!(1), &json!(1)));
        fixture.book(fixture.facts(noon())).await;
        let proved = fixture.post("/api/verify", &json!({ "expect": heads })).await.json();
        assert_matches("Verification", &proved);
        assert_eq!((&proved["ok"], &proved["heads"]["days"]["2026-11-22"]["entries"]), (&json!(true), &json!(2)));
        let mut forged = heads;
        forged["days"]["2026-11-22"]["head"] = json!("00".repeat(32));
        let proved = fixture.post("/api/verify", &json!({ "expect": forged })).await.json();
        assert_matches("Verification", &proved);
        assert_eq!((&proved["ok"], &proved["chainFaults"][0]["day"]), (&json!(false), &json!("2026-11-22")));
        for body in [
            json!({}),
            json!({ "expect": { "days": { "noday": 1 } } }),
            json!({ "expect": { "days": { "2026-11-22": { "entries": 1, "head": "x" } } } }),
        ] {
            assert_eq!(fixture.post("/api/verify", &body).await.verdict(), "400 invalid_field", "{body}");
        }
        assert_eq!(fixture.get("/api/verify?heads=maybe").await.verdict(), "400 invalid_parameter");
    });
}
