//! Teams, people and changes of keys over HTTP.

use serde_json::json;

use super::schema::assert_matches;
use super::*;

fn patch(uri: &str, body: &Value) -> TestRequest {
    TestRequest::patch().uri(uri).set_json(body)
}

#[test]
fn a_team_is_made_shown_with_what_it_has_named_anew_and_removed() {
    run(async {
        let fixture = Fixture::new();
        let made = fixture.post("/api/teams", &json!({"name": "R&D lab"})).await;
        assert_eq!((made.status.as_u16(), made.header("location")), (201, "/api/teams/R%26D%20lab"), "{}", made.body);
        assert_matches("Team", &made.json());
        let key = fixture.post("/api/keys", &json!({"name": "a", "team": "R&D lab"})).await.json();
        let budget =
            json!({"scope": {"kind": "team", "id": "R&D lab"}, "window": "day", "limitUsd": "5", "action": "block"});
        assert_eq!(fixture.post("/api/budgets", &budget).await.status, 201);
        fixture.user("mia", "member", Some("R&D lab"));
        let mut facts = fixture.facts(noon());
        facts.team = Some("R&D lab".into());
        fixture.book(facts).await;

        let shown = fixture.get(made.header("location")).await;
        assert_matches("Team", &shown.json());
        let json = shown.json();
        assert_eq!(json["spentThisMonthUsd"], "0.012");
        assert_eq!(json["keys"][0]["id"], key["id"]);
        assert_eq!((&json["budgets"][0]["limitUsd"], &json["members"][0]["name"]), (&json!("5"), &json!("mia")));
        let listed = fixture.get("/api/teams").await.json();
        assert_matches("TeamList", &listed);
        assert_eq!((&listed["items"][0]["liveKeyCount"], &listed["items"][0]["memberCount"]), (&json!(1), &json!(1)));

        let renamed = fixture.call(As::Admin, patch(made.header("location"), &json!({"name": "Lab"}))).await;
        assert_eq!((&renamed.json()["id"], &renamed.json()["name"]), (&json!("R&D lab"), &json!("Lab")));
        let by_team = fixture.get("/api/costs?groupBy=team").await.json();
        assert_eq!((&by_team["groups"][0]["key"], &by_team["groups"][0]["keyId"]), (&json!("Lab"), &json!("R&D lab")));
        let filtered = fixture.get("/api/requests?team=Lab").await.json();
        assert_eq!(filtered["items"].as_array().unwrap().len(), 1, "a filter takes the name too");

        let refused = fixture.call(As::Admin, TestRequest::delete().uri(made.header("location"))).await;
        assert_eq!(refused.verdict(), "409 team_in_use");
        assert_eq!((&refused.json()["keys"], &refused.json()["people"]), (&json!(1), &json!(1)));
        assert_eq!(fixture.get("/api/teams/Lab").await.status, 200, "it is found by its name");
    });
}

#[test]
fn who_changes_what_was_changed_meanwhile_is_told() {
    run(async {
        let fixture = Fixture::new();
        fixture.post("/api/teams", &json!({"name": "red"})).await;
        for uri in [format!("/api/keys/{}", fixture.key.id), "/api/teams/red".to_owned()] {
            let tag = fixture.get(&uri).await.header("etag").to_owned();
            assert_eq!(tag, "\"1\"");
            let change = |name: &str| patch(&uri, &json!({"name": name})).insert_header(("if-match", tag.clone()));
            let first = fixture.call(As::Admin, change("first")).await;
            assert_eq!((first.status.as_u16(), first.header("etag")), (200, "\"2\""), "{}", first.body);
            let second = fixture.call(As::Admin, change("second")).await;
            assert_eq!(second.verdict(), "412 changed_meanwhile");
            assert_eq!(fixture.get(&uri).await.json()["name"], "first");
            assert_eq!(fixture.call(As::Admin, patch(&uri, &json!({"name": "third"}))).await.status, 200);
        }
        let removal = TestRequest::delete().uri("/api/teams/red").insert_header(("if-match", "\"1\""));
        assert_eq!(fixture.call(As::Admin, removal).await.verdict(), "412 changed_meanwhile");
    });
}

#[test]
fn a_key_is_changed_part_by_part() {
    run(async {
        let fixture = Fixture::new();
        let uri = format!("/api/keys/{}", fixture.key.id);
        let body = json!({"team": "red", "owner": "Ada", "allowedModels": ["gpt-*"], "allowedEndpoints": ["chat", "models"],
            "limits": {"requestsPerMinute": 7}, "expiresAt": "2027-01-01", "tags": {"a": "b"}});
        let changed = fixture.call(As::Admin, patch(&uri, &body)).await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        assert_matches("Key", &changed.json());
        let changed =
            fixture.call(As::Admin, patch(&uri, &json!({"limits": {"tokensPerMinute": 9}, "owner": null}))).await;
        let json = changed.json();
        assert_eq!(json["limits"], json!({"requestsPerMinute": 7, "tokensPerMinute": 9, "concurrentRequests": null}));
        assert_eq!((&json["owner"], &json["team"], &json["tags"]["a"]), (&Value::Null, &json!("red"), &json!("b")));
        let changed = fixture.call(As::Admin, patch(&uri, &json!({"limits": null, "tags": null, "team": null}))).await;
        assert_eq!(changed.json()["limits"]["requestsPerMinute"], Value::Null);
        assert_eq!((&changed.json()["tags"], &changed.json()["team"]), (&json!({}), &Value::Null));
        for (body, says) in [
            (json!({"name": ""}), "1 to 100 characters"),
            (json!({"id": "key_1"}), "unknown field"),
            (json!({"budgets": []}), "unknown field"),
            (json!({"allowedEndpoints": ["realtime"]}), "unknown variant"),
            (json!({"allowedEndpoints": ["chat", "chat"]}), "stands twice"),
            (json!({"expiresAt": "2020-01-01"}), "this time is past"),
            (json!({"limits": {"requestsPerMinute": 0}}), "leave it out"),
        ] {
            let refused = fixture.call(As::Admin, patch(&uri, &body)).await;
            assert_eq!(refused.verdict(), "400 invalid_field", "{body}");
            assert!(refused.body.contains(says), "{body}: {}", refused.body);
        }
        fixture.state.keys.revoke(&fixture.key.id, noon()).unwrap();
        assert_eq!(fixture.call(As::Admin, patch(&uri, &json!({"name": "x"}))).await.verdict(), "409 key_not_live");
    });
}

#[test]
fn a_rotation_may_leave_the_old_secret_some_time() {
    run(async {
        let fixture = Fixture::new();
        let uri = format!("/api/keys/{}/rotate", fixture.key.id);
        let rotated = fixture.post(&uri, &json!({"overlap": "24h"})).await;
        assert_matches("MadeKey", &rotated.json());
        assert_eq!(rotated.json()["previousSecrets"][0]["validUntil"], "2026-11-23T12:00:00Z");
        let own = || TestRequest::get().uri("/api/requests");
        assert_eq!(fixture.call(As::Key, own()).await.status, 200);
        fixture.state.clock.set(at("2026-11-23T12:00:00Z"));
        assert_eq!(fixture.call(As::Key, own()).await.verdict(), "401 invalid_credential");
        for overlap in ["31d", "soon", "-1h", ""] {
            let refused = fixture.post(&uri, &json!({"overlap": overlap})).await;
            assert_eq!(refused.verdict(), "400 invalid_field", "{overlap:?}");
            assert!(refused.body.contains("overlap"), "{}", refused.body);
        }
    });
}

#[test]
fn people_are_let_in_changed_and_taken_away() {
    run(async {
        let fixture = Fixture::new();
        fixture.post("/api/teams", &json!({"name": "red"})).await;
        let invited = fixture.post("/api/users", &json!({"name": "Mia", "role": "member", "team": "red"})).await;
        assert_eq!(invited.status, 201, "{}", invited.body);
        assert_matches("MadeUser", &invited.json());
        let json = invited.json();
        assert_eq!((&json["state"], &json["invite"]["expiresAt"]), (&json!("invited"), &json!("2026-11-23T12:00:00Z")));
        let token = json["invite"]["token"].as_str().unwrap();
        assert_eq!(json["invite"]["path"], format!("/reset?token={token}"));
        let with = json!({"name": "vic", "role": "viewer", "password": "correct horse battery"});
        let made = fixture.post("/api/users", &with).await.json();
        assert_eq!((&made["state"], &made["invite"]), (&json!("active"), &Value::Null));
        let listed = fixture.get("/api/users").await;
        assert_matches("UserList", &listed.json());
        assert!(!listed.body.contains(token));

        let again = fixture.post("/api/users/mia/invite", &json!({"expiresIn": "7d"})).await;
        assert_eq!(
            (again.status.as_u16(), &again.json()["invite"]["expiresAt"]),
            (201, &json!("2026-11-29T12:00:00Z"))
        );
        let changed = fixture.call(As::Admin, patch("/api/users/vic", &json!({"team": "red"}))).await;
        assert_eq!((&changed.json()["role"], &changed.json()["team"]), (&json!("viewer"), &json!("red")));
        let disabled = fixture.call(As::Admin, patch("/api/users/vic", &json!({"disabled": true}))).await;
        assert_eq!(disabled.json()["state"], "disabled");
        assert_eq!(fixture.call(As::Admin, TestRequest::delete().uri("/api/users/vic")).await.status, 204);
        assert_eq!(fixture.get("/api/users/vic").await.verdict(), "404 not_found");
    });
}

#[test]
fn people_that_cannot_be_are_refused_and_the_last_admin_stays() {
    run(async {
        let fixture = Fixture::new();
        for (body, verdict) in [
            (json!({"name": "x"}), "400 invalid_field"),
            (json!({"name": "x", "role": "root"}), "400 invalid_field"),
            (json!({"name": "x", "role": "member"}), "400 invalid_field"),
            (json!({"name": "x", "role": "member", "team": "nowhere"}), "400 invalid_field"),
            (json!({"name": "x", "role": "viewer", "password": "short"}), "400 invalid_field"),
            (json!({"name": "x", "role": "viewer", "inviteExpiresIn": "1m"}), "400 invalid_field"),
            (
                json!({"name": "x", "role": "viewer", "password": "correct horse", "inviteExpiresIn": "1h"}),
                "400 invalid_field",
            ),
            (json!({"name": "x", "role": "viewer", "isAdmin": true}), "400 invalid_field"),
            (json!({"name": "ADA", "role": "viewer"}), "409 name_taken"),
        ] {
            assert_eq!(fixture.post("/api/users", &body).await.verdict(), verdict, "{body}");
        }
        let demoted = fixture.call(As::Admin, patch("/api/users/ada", &json!({"role": "viewer"}))).await;
        assert_eq!(demoted.verdict(), "409 last_admin");
        let disabled = fixture.call(As::Admin, patch("/api/users/ada", &json!({"disabled": true}))).await;
        assert_eq!(disabled.verdict(), "409 last_admin");
        let removed = fixture.call(As::Admin, TestRequest::delete().uri("/api/users/Ada")).await;
        assert_eq!(removed.verdict(), "409 last_admin");
        assert_eq!(fixture.state.keys.users().len(), 1);
    });
}
