//! Budgets over HTTP.

use actix_web::http::Method;
use serde_json::json;

use super::schema::assert_matches;
use super::*;

fn overall(window: &str, limit: &str, action: &str) -> Value {
    json!({"scope": {"kind": "everything", "id": null}, "window": window, "limitUsd": limit, "action": action})
}

#[test]
fn a_budget_counts_what_was_spent_before_it_was_made() {
    run(async {
        let fixture = Fixture::new();
        for _ in 0..3 {
            fixture.book(fixture.facts(noon())).await;
        }
        let made = fixture.post("/api/budgets", &overall("day", "1.2", "block")).await;
        assert_eq!(made.status, 201, "{}", made.body);
        assert_matches("Budget", &made.json());
        assert_eq!(made.header("location"), "/api/budgets/budget_1");
        insta::assert_snapshot!(serde_json::to_string_pretty(&made.json()).unwrap(), @r##"
        {
          "action": "block",
          "createdAt": "2026-11-22T12:00:00Z",
          "downgradeTo": null,
          "heldUsd": "0",
          "id": "budget_1",
          "limitUsd": "1.2",
          "percentUsed": 3.0,
          "remainingUsd": "1.164",
          "resetsAt": "2026-11-22T15:00:00Z",
          "revision": 1,
          "scope": {
            "id": null,
            "kind": "everything"
          },
          "spentUsd": "0.036",
          "thresholds": [
            50,
            80,
            100
          ],
          "unknownUsd": "0",
          "window": "day"
        }
        "##);
        fixture.book(fixture.facts(noon())).await;
        let shown = fixture.get("/api/budgets/budget_1").await.json();
        assert_eq!((&shown["spentUsd"], &shown["percentUsed"]), (&json!("0.048"), &json!(4.0)));
        assert_eq!(fixture.get("/api/budgets").await.json()["items"][0], shown);
    });
}

#[test]
fn what_is_held_is_told_apart_from_what_is_spent() {
    run(async {
        let fixture = Fixture::new();
        fixture.post("/api/budgets", &overall("month", "2", "block")).await;
        let planned = Planned {
            deployment: "sandbox/sandbox-small".parse().unwrap(),
            worst_case: WorstCase::fixed("0.5".parse().unwrap()),
            turning: Vec::new(),
            charges: Vec::new(),
            watched: Vec::new(),
            started_ms: 0,
        };
        let reservation = fixture.state.ledger.reserve(fixture.facts(noon()), planned).await.unwrap();
        let budget = fixture.get("/api/budgets/budget_1").await.json();
        assert_eq!(
            (&budget["spentUsd"], &budget["heldUsd"], &budget["remainingUsd"]),
            (&json!("0"), &json!("0.5"), &json!("1.5"))
        );
        drop(reservation);
    });
}

#[test]
fn an_alert_budget_counts_in_a_window_that_began_after_it_was_made() {
    run(async {
        let fixture = Fixture::new();
        fixture.post("/api/budgets", &overall("day", "1", "alert")).await;
        let tomorrow = at("2026-11-23T12:00:00Z");
        fixture.state.clock.set(tomorrow);
        fixture.book(fixture.facts(tomorrow)).await;
        assert_eq!(fixture.get("/api/budgets/budget_1").await.json()["spentUsd"], "0.012");
    });
}

#[test]
fn a_limit_of_nothing_is_used_up_and_a_total_never_resets() {
    run(async {
        let fixture = Fixture::new();
        let made = fixture.post("/api/budgets", &overall("total", "0", "block")).await.json();
        assert_eq!((&made["percentUsed"], &made["resetsAt"]), (&json!(100.0), &Value::Null));
    });
}

async fn check_refused(fixture: &Fixture, body: Value, verdict: &str, says: &str) {
    let answer = fixture.post("/api/budgets", &body).await;
    assert_eq!(answer.verdict(), verdict, "{body}: {}", answer.body);
    assert_matches("Problem", &answer.json());
    assert!(answer.json()["detail"].as_str().unwrap().contains(says), "{body}: {}", answer.body);
}

#[test]
fn a_budget_that_cannot_be_is_refused_and_makes_nothing() {
    run(async {
        let fixture = Fixture::new();
        let with = |field: &str, value: Value| {
            let mut body = overall("day", "1", "block");
            body[field] = value;
            body
        };
        let field = "400 invalid_field";
        for limit in ["-0.01", "-5"] {
            check_refused(&fixture, with("limitUsd", json!(limit)), field, "limitUsd: a limit of").await;
        }
        for limit in ["NaN", "", "1e3", "Infinity", "1_000"] {
            check_refused(&fixture, with("limitUsd", json!(limit)), field, "is not a decimal number").await;
        }
        check_refused(&fixture, with("limitUsd", json!("1000000000000000")), field, "larger than any amount").await;
        for limit in [json!(1), json!(null), json!(-1), json!(1.5), json!(["1"])] {
            check_refused(&fixture, with("limitUsd", limit), field, "expected an amount of dollars in quotes").await;
        }
        check_refused(&fixture, with("window", json!(null)), field, "window: it doesn't have the shape").await;
        check_refused(&fixture, with("window", json!("year")), field, "unknown variant `year`").await;
        check_refused(&fixture, with("action", json!("delete")), field, "choose one of block, alert, downgrade").await;
        check_refused(&fixture, with("action", json!("downgrade")), field, "downgradeTo").await;
        check_refused(&fixture, with("downgradeTo", json!("cheap")), field, "leave it out").await;
        check_refused(&fixture, with("thresholds", json!([80, 50])), field, "have to rise").await;
        check_refused(&fixture, with("thresholds", json!([0])), field, "can't be met").await;
        check_refused(&fixture, with("thresholds", json!([101])), field, "can't be met").await;
        check_refused(&fixture, with("thresholds", json!([300])), field, "invalid value").await;
        check_refused(&fixture, with("thresholds", json!(["50"])), field, "invalid type").await;
        check_refused(&fixture, with("spentUsd", json!("0")), field, "unknown field `spentUsd`").await;
        let scope = |kind: &str, id: Value| with("scope", json!({"kind": kind, "id": id}));
        check_refused(&fixture, scope("planet", json!("earth")), field, "no kind of scope").await;
        check_refused(&fixture, scope("team", Value::Null), field, "say which team").await;
        check_refused(&fixture, scope("everything", json!("x")), field, "has no id").await;
        check_refused(&fixture, scope("tag", json!("env")), field, "name=value").await;
        check_refused(&fixture, scope("key", json!("key_nothing")), field, "no virtual key \"key_nothing\"").await;
        check_refused(&fixture, scope("provider", json!("nowhere")), field, "no provider \"nowhere\"").await;
        check_refused(&fixture, with("scope", json!({"kind": "team", "id": "a", "ids": []})), field, "unknown field")
            .await;
        assert!(fixture.state.keys.budgets().is_empty());
    });
}

#[test]
fn every_kind_of_scope_can_have_a_budget_and_none_has_two() {
    run(async {
        let fixture = Fixture::new();
        let key = fixture.key.id.to_string();
        let ids = [
            ("everything", None),
            ("team", Some("research")),
            ("key", Some(key.as_str())),
            ("provider", Some("openai")),
            ("model", Some("gpt-5")),
            ("operation", Some("chat")),
            ("tag", Some("env=prod")),
            ("run", Some("run_1")),
        ];
        for (kind, id) in ids {
            let mut body = overall("week", "5", "alert");
            body["scope"] = json!({"kind": kind, "id": id});
            let made = fixture.post("/api/budgets", &body).await;
            assert_eq!(made.status, 201, "{}", made.body);
            assert_eq!(made.json()["scope"], body["scope"]);
            let again = fixture.post("/api/budgets", &body).await;
            assert_eq!(again.verdict(), "409 budget_exists");
            assert_eq!(again.json()["budgetId"], made.json()["id"]);
        }
        let listed = fixture.get("/api/budgets?limit=5").await.json();
        assert_matches("BudgetList", &listed);
        assert_eq!(listed["items"].as_array().unwrap().len(), 5);
        let uri = format!("/api/budgets?limit=5&cursor={}", listed["nextCursor"].as_str().unwrap());
        let rest = fixture.get(&uri).await.json();
        assert_eq!((rest["items"].as_array().unwrap().len(), &rest["nextCursor"]), (3, &Value::Null));
        fixture.refuses_all(&["/api/budgets?cursor=1", "/api/budgets?limit=201"], "400 invalid_parameter").await;
    });
}

#[test]
fn a_budget_can_be_changed_and_removed() {
    run(async {
        let fixture = Fixture::new();
        fixture.book(fixture.facts(noon())).await;
        fixture.post("/api/budgets", &overall("day", "1", "alert")).await;
        let put = |id: &str, body: Value| {
            TestRequest::with_uri(&format!("/api/budgets/{id}")).method(Method::PUT).set_json(body)
        };
        let terms = json!({"limitUsd": "0.024", "action": "block", "thresholds": [90]});
        let changed = fixture.call(As::Admin, put("budget_1", terms.clone())).await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        let changed = changed.json();
        assert_matches("Budget", &changed);
        assert_eq!(
            (&changed["percentUsed"], &changed["action"], &changed["thresholds"]),
            (&json!(50.0), &json!("block"), &json!([90]))
        );
        assert_eq!(fixture.call(As::Admin, put("budget_9", terms.clone())).await.verdict(), "404 not_found");
        let other_scope = json!({"limitUsd": "1", "action": "block", "scope": {"kind": "everything"}});
        assert_eq!(fixture.call(As::Admin, put("budget_1", other_scope)).await.verdict(), "400 invalid_field");
        let delete = |id: &str| TestRequest::delete().uri(&format!("/api/budgets/{id}"));
        assert_eq!(fixture.call(As::Admin, delete("budget_1")).await.status, 204);
        assert_eq!(fixture.call(As::Admin, delete("budget_1")).await.verdict(), "404 not_found");
        fixture
            .refuses_all(&["/api/budgets/budget_1", "/api/budgets/1", "/api/budgets/budget_-1"], "404 not_found")
            .await;
    });
}
