//! Roles: every route with every role, and of two teams neither sees the other.

use std::collections::BTreeSet;

use actix_web::http::Method;
use serde_json::json;

use super::*;
use crate::domain::KeyId;
use crate::http::api::{ROUTES, Verb};
use crate::http::guard::Access;

/// Stands in every name of the other team, and in none of the own.
const CANARY: &str = "canary";

/// Two teams with keys, budgets, people and calls, and somebody of each role.
struct Teams {
    fixture: Fixture,
    member: (String, String),
    viewer_of_team: (String, String),
    viewer_of_all: (String, String),
    own_key: Arc<VirtualKey>,
    other_key: Arc<VirtualKey>,
    own_call: RequestId,
    other_call: RequestId,
}

impl Teams {
    async fn new() -> Self {
        let fixture = Fixture::new();
        let key = |name: &str, team: &str| {
            let new = NewKey { team: Some(team.to_owned()), ..NewKey::named(name) };
            fixture.state.keys.create(new, noon()).unwrap().0
        };
        let (own_key, other_key) = (key("own-key", "red"), key("canary-key", "canary-team"));
        for (kind, id) in [
            ("everything", None),
            ("team", Some("red")),
            ("team", Some("canary-team")),
            ("key", Some(own_key.id.as_str())),
            ("key", Some(other_key.id.as_str())),
        ] {
            let body = json!({"scope": {"kind": kind, "id": id}, "window": "day", "limitUsd": "7", "action": "alert"});
            assert_eq!(fixture.post("/api/budgets", &body).await.status, 201);
        }
        let call = async |key: &VirtualKey| {
            let mut facts = fixture.facts(noon());
            (facts.key, facts.key_name) = (key.id.clone(), key.name.as_str().into());
            facts.team = key.team.as_ref().map(|team| team.as_str().into());
            fixture.book(facts).await
        };
        let (own_call, other_call) = (call(&own_key).await, call(&other_key).await);
        call(&other_key).await;
        fixture.user("canary-user", "member", Some("canary-team"));
        Self {
            member: fixture.user("mia", "member", Some("red")),
            viewer_of_team: fixture.user("vic", "viewer", Some("red")),
            viewer_of_all: fixture.user("eve", "viewer", None),
            own_key,
            other_key,
            own_call,
            other_call,
            fixture,
        }
    }

    async fn call(&self, session: &(String, String), request: TestRequest) -> Answered {
        let request = request.insert_header(("cookie", format!("{SESSION_COOKIE_PLAIN}={}", session.0)));
        self.fixture.send(request.insert_header((CSRF_HEADER, session.1.as_str()))).await
    }

    async fn get(&self, session: &(String, String), uri: &str) -> Answered {
        self.call(session, TestRequest::get().uri(uri)).await
    }
}

fn request(verb: Verb, path: &str) -> TestRequest {
    let request = TestRequest::with_uri(&path.replace("{id}", "nothing"));
    match verb {
        Verb::Get => request.method(Method::GET),
        Verb::Post => request.method(Method::POST).set_json(json!({})),
        Verb::Put => request.method(Method::PUT).set_json(json!({})),
        Verb::Patch => request.method(Method::PATCH).set_json(json!({})),
        Verb::Delete => request.method(Method::DELETE),
    }
}

/// The routes that let a session in, of those that don't let in everybody.
async fn open_to(teams: &Teams, session: &(String, String)) -> BTreeSet<String> {
    let mut open = BTreeSet::new();
    for route in ROUTES.iter().filter(|route| route.access != Access::Open) {
        let answer = teams.call(session, request(route.verb, route.path)).await;
        assert_ne!(answer.status, 401, "{}: {}", route.path, answer.body);
        if answer.verdict() != "403 forbidden" {
            open.insert(format!("{} {}", route.verb.as_str(), route.path));
        }
    }
    open
}

/// What someone of one team reads.
const OF_TEAM: [&str; 12] = [
    "GET /api/budgets",
    "GET /api/budgets/{id}",
    "GET /api/costs",
    "GET /api/costs.csv",
    "GET /api/costs.focus.csv",
    "GET /api/costs.jsonl",
    "GET /api/keys",
    "GET /api/keys/{id}",
    "GET /api/openapi.json",
    "GET /api/requests",
    "GET /api/requests.jsonl",
    "GET /api/requests/{id}",
];
const TEAMS_READ: [&str; 2] = ["GET /api/teams", "GET /api/teams/{id}"];
/// What a member does beside.
const MEMBER: [&str; 4] =
    ["DELETE /api/keys/{id}", "PATCH /api/keys/{id}", "POST /api/keys", "POST /api/keys/{id}/rotate"];
/// What a viewer of everything reads beside.
const OF_ALL: [&str; 12] = [
    "GET /api/alerts",
    "GET /api/cache",
    "GET /api/metrics",
    "GET /api/providers",
    "GET /api/reconciliation",
    "GET /api/reports/daily",
    "GET /api/reports/monthly",
    "GET /api/routes",
    "GET /api/routes/{name}/explain",
    "GET /api/routes/{name}/prompt-cache",
    "GET /api/status",
    "GET /metrics",
];

#[test]
fn every_route_is_open_to_the_roles_it_is_for_and_to_no_other() {
    run(async {
        let teams = Teams::new().await;
        let set = |parts: &[&[&str]]| parts.concat().into_iter().map(ToOwned::to_owned).collect::<BTreeSet<String>>();
        assert_eq!(open_to(&teams, &teams.viewer_of_team).await, set(&[&OF_TEAM, &TEAMS_READ]));
        assert_eq!(open_to(&teams, &teams.member).await, set(&[&OF_TEAM, &TEAMS_READ, &MEMBER]));
        assert_eq!(open_to(&teams, &teams.viewer_of_all).await, set(&[&OF_TEAM, &TEAMS_READ, &OF_ALL]));
        let everything = ROUTES.iter().filter(|route| route.access != Access::Open).count();
        let admin = (teams.fixture.cookie.clone(), teams.fixture.csrf_token.clone());
        assert_eq!(open_to(&teams, &admin).await.len(), everything);
    });
}

#[test]
fn whoever_is_of_a_team_reads_nothing_of_another_by_any_route_or_filter() {
    run(async {
        let teams = Teams::new().await;
        for session in [&teams.member, &teams.viewer_of_team] {
            for route in ROUTES.iter().filter(|route| route.verb == Verb::Get) {
                let own = match route.path {
                    "/api/keys/{id}" => teams.own_key.id.to_string(),
                    "/api/requests/{id}" => teams.own_call.to_string(),
                    "/api/budgets/{id}" => "budget_2".to_owned(),
                    "/api/teams/{id}" => "red".to_owned(),
                    _ => String::new(),
                };
                let uri = route.path.replace("{id}", &own);
                let answer = teams.get(session, &uri).await;
                for telling in [CANARY, teams.other_key.id.as_str(), &teams.other_call.to_string()] {
                    assert!(!answer.body.contains(telling), "{uri} tells {telling}: {}", answer.body);
                }
                assert!(own.is_empty() || answer.status == 200, "{uri}: {}", answer.body);
            }
            for by in ["key", "team", "model", "provider", "operation", "day", "hour", "tag:x"] {
                for path in ["/api/costs", "/api/costs.csv", "/api/costs.jsonl"] {
                    let answer = teams.get(session, &format!("{path}?groupBy={by}")).await;
                    assert_eq!(answer.status, 200, "{path} {by}: {}", answer.body);
                    assert!(!answer.body.contains(CANARY), "{path} {by}: {}", answer.body);
                }
            }
            let costs = teams.get(session, "/api/costs").await.json();
            assert_eq!((&costs["totalUsd"], &costs["requests"]), (&json!("0.012"), &json!(1)));
            let narrowed = ["q=canary", "key=canary-key", "status=settled", "tag=a%3Db", "model=sandbox-small"];
            for query in
                narrowed.iter().map(|query| format!("?{query}")).chain([format!("?key={}", teams.other_key.id)])
            {
                for path in ["/api/requests", "/api/requests.jsonl", "/api/costs.csv", "/api/costs.jsonl"] {
                    let answer = teams.get(session, &format!("{path}{query}")).await;
                    assert_eq!(answer.status, 200, "{path}{query}: {}", answer.body);
                    assert!(!answer.body.contains("canary-team"), "{path}{query}: {}", answer.body);
                    assert!(!answer.body.contains(&teams.other_call.to_string()), "{path}{query}: {}", answer.body);
                }
            }
        }
    });
}

#[test]
fn what_is_of_another_team_is_as_good_as_not_there() {
    run(async {
        let teams = Teams::new().await;
        let keys = ["/api/keys/", "/api/requests/", "/api/budgets/", "/api/teams/"];
        let others =
            [teams.other_key.id.to_string(), teams.other_call.to_string(), "budget_3".into(), "canary-team".into()];
        let nothing =
            ["key_nothing".to_owned(), RequestId::from_number(7).to_string(), "budget_99".into(), "nowhere".into()];
        for session in [&teams.member, &teams.viewer_of_team] {
            for ((path, other), nothing) in keys.iter().zip(&others).zip(&nothing) {
                let refused = teams.get(session, &format!("{path}{other}")).await;
                let missing = teams.get(session, &format!("{path}{nothing}")).await;
                assert_eq!(refused.verdict(), "404 not_found", "{path}{other}");
                assert_eq!(refused.body, missing.body, "{path}: the same words for both");
            }
            // A budget over everybody would tell what everybody spends.
            assert_eq!(teams.get(session, "/api/budgets/budget_1").await.verdict(), "404 not_found");
        }
        let of_other = teams.get(&teams.member, "/api/requests?team=canary-team").await;
        let of_nobody = teams.get(&teams.member, "/api/requests?team=nowhere").await;
        assert_eq!((of_other.verdict(), of_other.body == of_nobody.body), ("403 forbidden".to_owned(), true));
        assert_eq!(teams.get(&teams.member, "/api/requests?team=red").await.status, 200);
    });
}

#[test]
fn a_member_makes_renews_and_revokes_keys_of_their_own_team_alone() {
    run(async {
        let teams = Teams::new().await;
        let post = |uri: &str, body: Value| TestRequest::post().uri(uri).set_json(body);
        // The name of another team's key is no secret that a refusal could tell.
        let made = teams.call(&teams.member, post("/api/keys", json!({"name": "canary-key"}))).await;
        assert_eq!((made.status.as_u16(), &made.json()["team"]), (201, &json!("red")), "{}", made.body);
        let own = teams.call(&teams.member, post("/api/keys", json!({"name": "b", "team": "red"}))).await;
        assert_eq!(own.status, 201);
        let mut words = BTreeSet::new();
        for team in ["canary-team", "nowhere"] {
            let refused = teams.call(&teams.member, post("/api/keys", json!({"name": "c", "team": team}))).await;
            assert_eq!(refused.verdict(), "403 forbidden");
            words.insert(refused.body);
        }
        assert_eq!(words.len(), 1, "{words:?}");
        assert!(teams.fixture.state.keys.team("nowhere").is_none());

        let id = made.json()["id"].as_str().unwrap().to_owned();
        let uri = format!("/api/keys/{id}");
        assert_eq!(
            teams.call(&teams.member, post(&format!("{uri}/rotate"), json!({"overlap": "1h"}))).await.status,
            200
        );
        let patch = |uri: &str, body: Value| TestRequest::patch().uri(uri).set_json(body);
        let named =
            teams.call(&teams.member, patch(&uri, json!({"name": "d", "owner": "Mia", "tags": {"a": "b"}}))).await;
        assert_eq!((named.status.as_u16(), &named.json()["owner"]), (200, &json!("Mia")));
        for (field, value) in [
            ("team", json!(null)),
            ("limits", json!({"requestsPerMinute": 1})),
            ("allowedModels", json!(null)),
            ("allowedEndpoints", json!(null)),
            ("expiresAt", json!(null)),
        ] {
            let refused = teams.call(&teams.member, patch(&uri, json!({field: value}))).await;
            assert_eq!((refused.verdict(), &refused.json()["field"]), ("403 forbidden".to_owned(), &json!(field)));
        }
        assert_eq!(teams.call(&teams.member, TestRequest::delete().uri(&uri)).await.status, 204);

        let other = format!("/api/keys/{}", teams.other_key.id);
        for request in [
            patch(&other, json!({"name": "mine"})),
            post(&format!("{other}/rotate"), json!({})),
            TestRequest::delete().uri(&other),
        ] {
            assert_eq!(teams.call(&teams.member, request).await.verdict(), "404 not_found");
        }
        let other = teams.fixture.state.keys.get(&KeyId::new(teams.other_key.id.as_str()).unwrap()).unwrap();
        assert_eq!(other, teams.other_key, "nothing of it was changed");
    });
}

#[test]
fn a_call_stays_with_the_team_that_its_key_had() {
    run(async {
        let teams = Teams::new().await;
        let moved = json!({"team": "canary-team", "name": "canary-new-name"});
        let uri = format!("/api/keys/{}", teams.own_key.id);
        let patch = TestRequest::patch().uri(&uri).set_json(moved);
        assert_eq!(teams.fixture.call(As::Admin, patch).await.status, 200);
        assert_eq!(teams.get(&teams.member, &format!("/api/requests/{}", teams.own_call)).await.status, 200);
        let by_key = teams.get(&teams.member, "/api/costs?groupBy=key").await;
        assert!(!by_key.body.contains(CANARY), "its new name is not for its old team: {}", by_key.body);
        assert_eq!(by_key.json()["groups"][0]["key"], teams.own_key.id.as_str());
    });
}
