//! Virtual keys over HTTP.

use serde_json::json;

use super::schema::assert_matches;
use super::*;
use crate::domain::{BudgetScope, KeyId};

#[test]
fn a_key_is_made_with_all_that_it_was_to_have_and_its_secret_is_shown_once() {
    run(async {
        let fixture = Fixture::new();
        let body = json!({
            "name": "build", "team": "research", "owner": "Ada",
            "budgets": [{"window": "day", "limitUsd": "1.00", "action": "block"},
                        {"window": "month", "limitUsd": "9.5", "action": "downgrade", "downgradeTo": "cheap", "thresholds": []}],
            "allowedModels": ["gpt-*"], "limits": {"requestsPerMinute": 60, "tokensPerMinute": null, "concurrentRequests": 2},
            "expiresAt": "2027-01-01", "tags": {"env": "prod"},
        });
        let made = fixture.post("/api/keys", &body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        assert_matches("MadeKey", &made.json());
        let mut json = made.json();
        let secret = json["key"].as_str().unwrap().to_owned();
        let id = json["id"].as_str().unwrap().to_owned();
        assert_eq!(made.header("location"), format!("/api/keys/{id}"));
        assert!(secret.starts_with("tg-") && secret.ends_with(json["last4"].as_str().unwrap()));
        assert_eq!(fixture.state.keys.authenticate(&secret, noon()).unwrap().id.as_str(), id);
        assert_eq!(fixture.state.budgets.standings(noon()).unwrap().len(), 2);

        let shown = fixture.get(&format!("/api/keys/{id}")).await;
        json.as_object_mut().unwrap().remove("key");
        assert_eq!(shown.json(), json);
        let listed = fixture.get("/api/keys").await;
        assert_matches("KeyList", &listed.json());
        assert!(!listed.body.contains(&secret) && !shown.body.contains(&secret));
        for field in ["id", "last4"] {
            json[field] = json!("…");
        }
        insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap(), @r##"
        {
          "allowedEndpoints": null,
          "allowedModels": [
            "gpt-*"
          ],
          "budgets": [
            {
              "action": "block",
              "downgradeTo": null,
              "id": "budget_1",
              "limitUsd": "1",
              "thresholds": [
                50,
                80,
                100
              ],
              "window": "day"
            },
            {
              "action": "downgrade",
              "downgradeTo": "cheap",
              "id": "budget_2",
              "limitUsd": "9.5",
              "thresholds": [],
              "window": "month"
            }
          ],
          "createdAt": "2026-11-22T12:00:00Z",
          "expiresAt": "2026-12-31T15:00:00Z",
          "id": "…",
          "isWithoutBudget": false,
          "last4": "…",
          "limits": {
            "concurrentRequests": 2,
            "requestsPerMinute": 60,
            "tokensPerMinute": null
          },
          "name": "build",
          "owner": "Ada",
          "previousSecrets": [],
          "revision": 1,
          "revokedAt": null,
          "status": "live",
          "tags": {
            "env": "prod"
          },
          "team": "research",
          "teamName": "research"
        }
        "##);
    });
}

#[test]
fn only_the_name_is_needed_and_a_key_without_budget_is_marked() {
    run(async {
        let fixture = Fixture::new();
        let made = fixture.post("/api/keys", &json!({"name": "free"})).await.json();
        assert_eq!((&made["isWithoutBudget"], &made["budgets"]), (&json!(true), &json!([])));
        assert_eq!((&made["allowedModels"], &made["expiresAt"]), (&Value::Null, &Value::Null));
        let all_null = json!({"name": "null", "team": null, "owner": null, "budgets": null, "allowedModels": null,
            "limits": null, "expiresAt": null, "tags": null});
        assert_eq!(fixture.post("/api/keys", &all_null).await.status, 201);
    });
}

#[test]
fn a_key_made_without_budget_gets_the_configured_one() {
    run(async {
        let usual = "[limits]\nnew_key_budget = { window = \"day\", limit_usd = \"2.5\", action = \"block\" }\n";
        let fixture = Fixture::with(&format!("{SETTINGS}\n{usual}"));
        for body in [json!({"name": "a"}), json!({"name": "b", "budgets": []})] {
            let made = fixture.post("/api/keys", &body).await.json();
            assert_eq!(made["budgets"][0]["limitUsd"], "2.5", "{made}");
            assert_eq!(made["isWithoutBudget"], false);
        }
        let own = json!({"name": "c", "budgets": [{"window": "total", "limitUsd": "7", "action": "alert"}]});
        assert_eq!(fixture.post("/api/keys", &own).await.json()["budgets"][0]["limitUsd"], "7");
    });
}

async fn check_refused(fixture: &Fixture, body: Value, verdict: &str, says: &str) {
    let answer = fixture.post("/api/keys", &body).await;
    assert_eq!(answer.verdict(), verdict, "{body}: {}", answer.body);
    assert_matches("Problem", &answer.json());
    assert!(answer.json()["detail"].as_str().unwrap().contains(says), "{body}: {}", answer.body);
}

#[test]
fn a_key_that_cannot_be_is_refused_with_the_field_and_what_to_do() {
    run(async {
        let fixture = Fixture::new();
        let before = fixture.state.keys.list().len();
        let with = |field: &str, value: Value| {
            let mut body = json!({"name": "x"});
            body[field] = value;
            body
        };
        let budget = |limit: Value| with("budgets", json!([{"window": "day", "limitUsd": limit, "action": "block"}]));
        let field = "400 invalid_field";
        check_refused(&fixture, json!({}), field, "missing field `name`").await;
        check_refused(&fixture, json!([]), field, "expected struct").await;
        check_refused(&fixture, json!({"name": ""}), field, "name: give 1 to 100 characters").await;
        check_refused(&fixture, json!({"name": "x".repeat(101)}), field, "at most 100").await;
        check_refused(&fixture, json!({"name": "a\nb"}), field, "control characters").await;
        check_refused(&fixture, json!({"name": 7}), field, "expected a string").await;
        check_refused(&fixture, json!({"name": "Dashboard"}), field, "choose another").await;
        check_refused(&fixture, with("role", json!("admin")), field, "unknown field `role`").await;
        check_refused(&fixture, with("id", json!("key_1")), field, "unknown field `id`").await;
        check_refused(&fixture, with("limits", json!({"requestsPerMinute": -1})), field, "invalid value").await;
        check_refused(&fixture, with("limits", json!({"requestsPerMinute": 0})), field, "leave it out").await;
        check_refused(&fixture, with("limits", json!({"requestsPerMinute": 1.5})), field, "expected u64").await;
        check_refused(&fixture, with("limits", json!({"rpm": 1})), field, "unknown field `rpm`").await;
        check_refused(&fixture, with("expiresAt", json!("tomorrow")), field, "expiresAt has to be a time").await;
        check_refused(&fixture, with("expiresAt", json!("2026-11-22T11:59:59Z")), field, "this time is past").await;
        check_refused(&fixture, with("tags", json!({"a=b": "c"})), field, "leave out commas").await;
        check_refused(&fixture, with("tags", json!(["a"])), field, "expected a map").await;
        check_refused(&fixture, with("allowedModels", json!([""])), field, "allowedModels").await;
        check_refused(&fixture, budget(json!("-1")), field, "is negative").await;
        check_refused(&fixture, budget(json!(1)), field, "expected an amount of dollars in quotes").await;
        for limit in ["NaN", "1e9", "", "inf", "0x10", "1,5"] {
            check_refused(&fixture, budget(json!(limit)), field, "is not a decimal number of dollars").await;
        }
        check_refused(&fixture, budget(json!("99999999999999999999")), field, "larger than any amount").await;
        check_refused(&fixture, budget(json!("0.0000000000001")), field, "more decimals").await;
        let two = json!([{"window": "day", "limitUsd": "1", "action": "block"}, {"window": "day", "limitUsd": "2", "action": "alert"}]);
        check_refused(&fixture, with("budgets", two), field, "two budgets per day").await;
        let nowhere = json!([{"window": "day", "limitUsd": "1", "action": "downgrade", "downgradeTo": "nowhere"}]);
        check_refused(&fixture, with("budgets", nowhere), field, "no route \"nowhere\"").await;
        check_refused(&fixture, json!({"name": "ci"}), "409 name_taken", "choose another name").await;
        assert_eq!(fixture.state.keys.list().len(), before, "a refusal makes nothing");
        assert!(fixture.state.keys.budgets().is_empty());
    });
}

#[test]
fn a_body_that_is_no_json_is_refused_with_the_place() {
    run(async {
        let fixture = Fixture::new();
        let post = |kind: &'static str, body: &str| {
            TestRequest::post().uri("/api/keys").insert_header(("content-type", kind)).set_payload(body.to_owned())
        };
        let refused = fixture.call(As::Admin, post("application/json", "{\"name\":\n  \"a\",}")).await;
        assert_eq!(refused.verdict(), "400 invalid_json");
        assert_eq!((&refused.json()["line"], &refused.json()["column"]), (&json!(2), &json!(7)));
        for body in ["", "{", "\u{0}", "{\"name\":NaN}", "{\"name\":\"a\"} x"] {
            let refused = fixture.call(As::Admin, post("application/json; charset=utf-8", body)).await;
            assert_eq!(refused.verdict(), "400 invalid_json", "{body:?}");
        }
        let twice = fixture.call(As::Admin, post("application/json", "{\"name\":\"a\",\"name\":\"b\"}")).await;
        assert_eq!(twice.verdict(), "400 invalid_field");
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
            let refused = fixture.call(As::Admin, post(kind, "{\"name\":\"a\"}")).await;
            assert_eq!(refused.verdict(), "415 unsupported_media_type", "{kind:?}");
        }
        let large = format!("{{\"name\":\"{}\"}}", "x".repeat(300_000));
        assert_eq!(fixture.call(As::Admin, post("application/json", &large)).await.verdict(), "413 body_too_large");
        let deep = format!("{{\"name\":{}", "[".repeat(100_000));
        assert_eq!(fixture.call(As::Admin, post("application/json", &deep)).await.status, 400);
    });
}

#[test]
fn a_revoked_key_opens_nothing_and_stays_in_the_list() {
    run(async {
        let fixture = Fixture::new();
        let own = || TestRequest::get().uri("/api/requests");
        assert_eq!(fixture.call(As::Key, own()).await.status, 200);
        let uri = format!("/api/keys/{}", fixture.key.id);
        for _ in 0..2 {
            let revoked = fixture.call(As::Admin, TestRequest::delete().uri(&uri)).await;
            assert_eq!((revoked.status.as_u16(), revoked.body.as_str()), (204, ""));
        }
        assert_eq!(fixture.call(As::Key, own()).await.verdict(), "401 invalid_credential");
        assert_eq!(fixture.get(&uri).await.json()["status"], "revoked");
        fixture.refuses_all(&["/api/keys/key_nothing", "/api/keys/%00"], "404 not_found").await;
    });
}

#[test]
fn a_rotated_key_has_a_new_secret_alone() {
    run(async {
        let fixture = Fixture::new();
        let rotate = |id: &KeyId| TestRequest::post().uri(&format!("/api/keys/{id}/rotate"));
        let rotated = fixture.call(As::Admin, rotate(&fixture.key.id)).await;
        assert_matches("MadeKey", &rotated.json());
        let secret = rotated.json()["key"].as_str().unwrap().to_owned();
        assert!(fixture.state.keys.authenticate(&secret, noon()).is_ok());
        assert_eq!(
            fixture.call(As::Key, TestRequest::get().uri("/api/requests")).await.verdict(),
            "401 invalid_credential"
        );
        fixture.state.keys.revoke(&fixture.key.id, noon()).unwrap();
        assert_eq!(fixture.call(As::Admin, rotate(&fixture.key.id)).await.verdict(), "409 key_not_live");
        let nothing = KeyId::new("key_nothing").unwrap();
        assert_eq!(fixture.call(As::Admin, rotate(&nothing)).await.verdict(), "404 not_found");
    });
}

#[test]
fn keys_come_in_pages_oldest_first() {
    run(async {
        let fixture = Fixture::new();
        for number in 0..5_i64 {
            let later = Timestamp::from_millisecond(noon().as_millisecond() + 1 + number).unwrap();
            fixture.state.keys.create(NewKey::named(&format!("k{number}")), later).unwrap();
        }
        let (mut names, mut uri, mut pages) = (Vec::new(), "/api/keys?limit=2".to_owned(), 0);
        loop {
            let page = fixture.get(&uri).await.json();
            names.extend(page["items"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()));
            pages += 1;
            let Some(cursor) = page["nextCursor"].as_str() else { break };
            uri = format!("/api/keys?limit=2&cursor={cursor}");
        }
        assert_eq!((names.join(" "), pages), ("ci k0 k1 k2 k3 k4".to_owned(), 3));
        let refused = [
            "/api/keys?cursor=x",
            "/api/keys?limit=0",
            "/api/keys?limit=201",
            "/api/keys?page=1",
            "/api/keys?limit=2&limit=3",
        ];
        fixture.refuses_all(&refused, "400 invalid_parameter").await;
    });
}

#[test]
fn the_budgets_of_a_key_bind_that_key() {
    run(async {
        let fixture = Fixture::new();
        let body = json!({"name": "b", "budgets": [{"window": "total", "limitUsd": "0", "action": "block"}]});
        let made = fixture.post("/api/keys", &body).await.json();
        let budgets = fixture.state.keys.budgets();
        assert_eq!(budgets[0].scope, BudgetScope::Key(KeyId::new(made["id"].as_str().unwrap()).unwrap()));
    });
}
