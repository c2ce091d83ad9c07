//! Who may call what: every route with every credential.

use actix_web::http::Method;
use serde_json::json;

use super::*;
use crate::http::api::{ROUTES, Verb};

const CALLERS: [As; 6] = [As::Nobody, As::Key, As::Admin, As::Session, As::SessionWithoutCsrf, As::Scraper];

fn request(verb: Verb, path: &str) -> TestRequest {
    let request = TestRequest::with_uri(&path.replace("{id}", "nothing").replace("{name}", "nothing"));
    match verb {
        Verb::Get => request.method(Method::GET),
        Verb::Post => request.method(Method::POST).set_json(json!({})),
        Verb::Put => request.method(Method::PUT).set_json(json!({})),
        Verb::Patch => request.method(Method::PATCH).set_json(json!({})),
        Verb::Delete => request.method(Method::DELETE),
    }
}

/// What a call to nothing, or with an empty body, comes to: who is let through gets past the guard to a 200, 400 or 404.
#[test]
fn every_route_is_open_to_whom_it_is_for_and_to_nobody_else() {
    run(async {
        let fixture = Fixture::new();
        let mut table = vec!["nobody | key | admin | session | session without csrf | metrics token".to_owned()];
        for route in ROUTES {
            let mut row = Vec::new();
            for caller in CALLERS {
                row.push(fixture.call(caller, request(route.verb, route.path)).await.verdict());
            }
            table.push(format!("{} {}: {}", route.verb.as_str(), route.path, row.join(" | ")));
        }
        insta::assert_snapshot!(table.join("\n"), @r##"
        nobody | key | admin | session | session without csrf | metrics token
        GET /health: 200 | 200 | 200 | 200 | 200 | 200
        GET /ready: 200 | 200 | 200 | 200 | 200 | 200
        GET /metrics: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 200
        GET /api/status: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        GET /api/metrics: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        POST /api/doctor: 401 unauthenticated | 403 forbidden | 200 | 200 | 403 csrf_failed | 401 invalid_credential
        GET /api/costs: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        GET /api/costs.csv: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        GET /api/costs.jsonl: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        GET /api/costs.focus.csv: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        GET /api/reports/daily: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        GET /api/reports/monthly: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        GET /api/reconciliation: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        POST /api/reconciliation: 401 unauthenticated | 403 forbidden | 415 unsupported_media_type | 415 unsupported_media_type | 403 csrf_failed | 401 invalid_credential
        GET /api/requests.jsonl: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        GET /api/requests: 401 unauthenticated | 200 | 200 | 200 | 200 | 401 invalid_credential
        GET /api/requests/{id}: 401 unauthenticated | 404 not_found | 404 not_found | 404 not_found | 404 not_found | 401 invalid_credential
        POST /api/requests/{id}/adjust: 401 unauthenticated | 403 forbidden | 400 invalid_field | 400 invalid_field | 403 csrf_failed | 401 invalid_credential
        GET /api/config: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        POST /api/config/reload: 401 unauthenticated | 403 forbidden | 503 busy | 503 busy | 403 csrf_failed | 401 invalid_credential
        GET /api/config/revisions: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        GET /api/config/revisions/{id}: 401 unauthenticated | 403 forbidden | 404 not_found | 404 not_found | 404 not_found | 401 invalid_credential
        DELETE /api/content: 401 unauthenticated | 403 forbidden | 400 invalid_parameter | 400 invalid_parameter | 403 csrf_failed | 401 invalid_credential
        GET /api/keys: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        POST /api/keys: 401 unauthenticated | 403 forbidden | 400 invalid_field | 400 invalid_field | 403 csrf_failed | 401 invalid_credential
        GET /api/keys/{id}: 401 unauthenticated | 403 forbidden | 404 not_found | 404 not_found | 404 not_found | 401 invalid_credential
        PATCH /api/keys/{id}: 401 unauthenticated | 403 forbidden | 404 not_found | 404 not_found | 403 csrf_failed | 401 invalid_credential
        DELETE /api/keys/{id}: 401 unauthenticated | 403 forbidden | 404 not_found | 404 not_found | 403 csrf_failed | 401 invalid_credential
        POST /api/keys/{id}/rotate: 401 unauthenticated | 403 forbidden | 404 not_found | 404 not_found | 403 csrf_failed | 401 invalid_credential
        GET /api/teams: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        POST /api/teams: 401 unauthenticated | 403 forbidden | 400 invalid_field | 400 invalid_field | 403 csrf_failed | 401 invalid_credential
        GET /api/teams/{id}: 401 unauthenticated | 403 forbidden | 404 not_found | 404 not_found | 404 not_found | 401 invalid_credential
        PATCH /api/teams/{id}: 401 unauthenticated | 403 forbidden | 400 invalid_field | 400 invalid_field | 403 csrf_failed | 401 invalid_credential
        DELETE /api/teams/{id}: 401 unauthenticated | 403 forbidden | 404 not_found | 404 not_found | 403 csrf_failed | 401 invalid_credential
        GET /api/users: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        POST /api/users: 401 unauthenticated | 403 forbidden | 400 invalid_field | 400 invalid_field | 403 csrf_failed | 401 invalid_credential
        GET /api/users/{id}: 401 unauthenticated | 403 forbidden | 404 not_found | 404 not_found | 404 not_found | 401 invalid_credential
        PATCH /api/users/{id}: 401 unauthenticated | 403 forbidden | 404 not_found | 404 not_found | 403 csrf_failed | 401 invalid_credential
        DELETE /api/users/{id}: 401 unauthenticated | 403 forbidden | 404 not_found | 404 not_found | 403 csrf_failed | 401 invalid_credential
        POST /api/users/{id}/invite: 401 unauthenticated | 403 forbidden | 404 not_found | 404 not_found | 403 csrf_failed | 401 invalid_credential
        GET /api/budgets: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        POST /api/budgets: 401 unauthenticated | 403 forbidden | 400 invalid_field | 400 invalid_field | 403 csrf_failed | 401 invalid_credential
        GET /api/budgets/{id}: 401 unauthenticated | 403 forbidden | 404 not_found | 404 not_found | 404 not_found | 401 invalid_credential
        PUT /api/budgets/{id}: 401 unauthenticated | 403 forbidden | 400 invalid_field | 400 invalid_field | 403 csrf_failed | 401 invalid_credential
        DELETE /api/budgets/{id}: 401 unauthenticated | 403 forbidden | 404 not_found | 404 not_found | 403 csrf_failed | 401 invalid_credential
        GET /api/cache: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        DELETE /api/cache: 401 unauthenticated | 403 forbidden | 400 invalid_parameter | 400 invalid_parameter | 403 csrf_failed | 401 invalid_credential
        POST /api/cache/warm: 401 unauthenticated | 403 forbidden | 400 invalid_field | 400 invalid_field | 403 csrf_failed | 401 invalid_credential
        POST /api/imports/spend: 401 unauthenticated | 403 forbidden | 400 invalid_field | 400 invalid_field | 403 csrf_failed | 401 invalid_credential
        GET /api/providers: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        POST /api/providers/{name}/credentials/{position}/enable: 401 unauthenticated | 403 forbidden | 404 not_found | 404 not_found | 403 csrf_failed | 401 invalid_credential
        GET /api/routes: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        GET /api/routes/{name}/explain: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        POST /api/routes/{name}/explain: 401 unauthenticated | 403 forbidden | 200 | 200 | 403 csrf_failed | 401 invalid_credential
        GET /api/routes/{name}/prompt-cache: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        GET /api/alerts: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        POST /api/alerts/test: 401 unauthenticated | 403 forbidden | 409 no_alert_channel | 409 no_alert_channel | 403 csrf_failed | 401 invalid_credential
        GET /api/admin/tokens: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        POST /api/admin/tokens: 401 unauthenticated | 403 forbidden | 400 invalid_field | 400 invalid_field | 403 csrf_failed | 401 invalid_credential
        DELETE /api/admin/tokens/{id}: 401 unauthenticated | 403 forbidden | 404 not_found | 404 not_found | 403 csrf_failed | 401 invalid_credential
        POST /api/admin/password-resets: 401 unauthenticated | 403 forbidden | 201 | 201 | 403 csrf_failed | 401 invalid_credential
        POST /api/re-rate: 401 unauthenticated | 403 forbidden | 400 invalid_field | 400 invalid_field | 403 csrf_failed | 401 invalid_credential
        GET /api/verify: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        POST /api/verify: 401 unauthenticated | 403 forbidden | 400 invalid_field | 400 invalid_field | 403 csrf_failed | 401 invalid_credential
        GET /api/openapi.json: 401 unauthenticated | 403 forbidden | 200 | 200 | 200 | 401 invalid_credential
        "##);
    });
}

#[test]
fn what_the_table_lacks_is_refused_and_told_only_to_admins() {
    run(async {
        let fixture = Fixture::new();
        let get = |uri: &'static str| TestRequest::get().uri(uri);
        for uri in ["/api", "/api/", "/api/nothing", "/api/keys/", "/api/keys/a/b", "/api/%6Beys/x/y"] {
            assert_eq!(fixture.call(As::Nobody, get(uri)).await.verdict(), "401 unauthenticated", "{uri}");
            assert_eq!(fixture.call(As::Key, get(uri)).await.verdict(), "403 forbidden", "{uri}");
            assert_eq!(fixture.call(As::Admin, get(uri)).await.verdict(), "404 not_found", "{uri}");
        }
        let patch = || TestRequest::with_uri("/api/requests").method(Method::PATCH);
        assert_eq!(fixture.call(As::Key, patch()).await.verdict(), "403 forbidden");
        let refused = fixture.call(As::Admin, patch()).await;
        assert_eq!(refused.verdict(), "405 method_not_allowed");
        assert_eq!(refused.header("allow"), "GET, HEAD");
        assert_eq!(refused.header("content-type"), "application/problem+json");
        let options = TestRequest::with_uri("/api/keys").method(Method::OPTIONS);
        assert_eq!(fixture.call(As::Admin, options).await.verdict(), "405 method_not_allowed");
    });
}

#[test]
fn a_path_written_in_another_way_opens_no_more() {
    run(async {
        let fixture = Fixture::new();
        for uri in ["/api/%6Beys", "/api/%6beys", "/%61pi/keys"] {
            assert_eq!(fixture.call(As::Key, TestRequest::get().uri(uri)).await.verdict(), "403 forbidden", "{uri}");
            assert_eq!(fixture.call(As::Nobody, TestRequest::get().uri(uri)).await.verdict(), "401 unauthenticated");
        }
    });
}

#[test]
fn a_read_answers_head_and_every_answer_is_kept_by_nobody() {
    run(async {
        let fixture = Fixture::new();
        let head = || TestRequest::with_uri("/api/status").method(Method::HEAD);
        assert_eq!(fixture.call(As::Admin, head()).await.status, 200);
        assert_eq!(fixture.call(As::Nobody, head()).await.status, 401);
        for (caller, uri) in
            [(As::Admin, "/api/status"), (As::Nobody, "/api/status"), (As::Admin, "/api/no"), (As::Nobody, "/health")]
        {
            let answer = fixture.call(caller, TestRequest::get().uri(uri)).await;
            assert_eq!(answer.header("cache-control"), "no-store", "{uri}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{uri}");
        }
    });
}

#[test]
fn credentials_that_are_none_are_refused_alike() {
    run(async {
        let fixture = Fixture::new();
        let (revoked, secret) = fixture.state.keys.create(NewKey::named("old"), noon()).unwrap();
        fixture.state.keys.revoke(&revoked.id, noon()).unwrap();
        let with = |value: String| TestRequest::get().uri("/api/requests").insert_header(("authorization", value));
        let mut details = Vec::new();
        for token in ["tg-mistyped", "tga-mistyped", "metrics-canary-0123456789", secret.expose(), &"a".repeat(5_000)] {
            let answer = fixture.send(with(format!("Bearer {token}"))).await;
            assert_eq!(answer.verdict(), "401 invalid_credential");
            assert!(!answer.body.contains(&token[..8]), "a refused credential isn't repeated: {}", answer.body);
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"tollgate\"");
            details.push(answer.json()["detail"].clone());
        }
        assert!(details.iter().all(|detail| *detail == details[0]), "{details:?}");
        for value in ["", "Bearer", "Basic YTpi"] {
            assert_eq!(fixture.send(with(value.to_owned())).await.verdict(), "401 invalid_credential", "{value:?}");
        }
        // A header that opens nothing isn't made up for by a cookie that would.
        let both = fixture.credential(As::Session, with("Bearer tga-mistyped".to_owned()));
        assert_eq!(fixture.send(both).await.verdict(), "401 invalid_credential");
    });
}

#[test]
fn a_session_that_is_over_opens_nothing() {
    run(async {
        let fixture = Fixture::new();
        let status = || TestRequest::get().uri("/api/status");
        assert_eq!(fixture.call(As::Session, status()).await.status, 200);
        fixture.state.clock.set(at("2026-12-30T00:00:00Z"));
        assert_eq!(fixture.call(As::Session, status()).await.verdict(), "401 unauthenticated");
        let stolen = status().insert_header(("cookie", "tollgate=; __Host-tollgate=x"));
        assert_eq!(fixture.send(stolen).await.verdict(), "401 unauthenticated");
    });
}

/// What becomes of a page's request that says where it comes from.
async fn check_origin(fixture: &Fixture, headers: &[(&'static str, &'static str)], verdict: &str) {
    let request = TestRequest::delete().uri("/api/keys/nothing").insert_header(("host", "127.0.0.1:8000"));
    let request = fixture.credential(As::SessionWithoutCsrf, request);
    let request = request.insert_header((CSRF_HEADER, fixture.csrf_token.as_str()));
    let request = headers.iter().fold(request, |request, header| request.insert_header(*header));
    assert_eq!(fixture.send(request).await.verdict(), verdict, "{headers:?}");
}

#[test]
fn a_page_of_another_site_changes_nothing_even_with_the_token() {
    run(async {
        let fixture = Fixture::new();
        let passes = "404 not_found";
        check_origin(&fixture, &[("sec-fetch-site", "same-origin")], passes).await;
        check_origin(&fixture, &[("origin", "http://127.0.0.1:8000")], passes).await;
        check_origin(&fixture, &[("origin", "https://gate.example")], passes).await;
        check_origin(&fixture, &[("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:8000")], passes).await;
        check_origin(&fixture, &[], passes).await;
        let refused = "403 csrf_failed";
        for site in ["cross-site", "same-site", "none", ""] {
            check_origin(&fixture, &[("sec-fetch-site", site)], refused).await;
            check_origin(&fixture, &[("sec-fetch-site", site), ("origin", "http://127.0.0.1:8000")], refused).await;
        }
        for origin in ["null", "", "https://evil.example", "http://127.0.0.1:8001", "https://gate.example.evil.example"]
        {
            check_origin(&fixture, &[("origin", origin)], refused).await;
        }
    });
}

#[test]
fn the_token_of_another_session_proves_nothing() {
    run(async {
        let fixture = Fixture::new();
        let (_, other) = fixture.state.keys.start_session("Ada", None, noon()).unwrap();
        for token in [other.csrf_token.expose().as_str(), "", "x"] {
            let request = TestRequest::delete().uri("/api/keys/nothing").insert_header((CSRF_HEADER, token));
            assert_eq!(fixture.call(As::SessionWithoutCsrf, request).await.verdict(), "403 csrf_failed");
        }
    });
}
