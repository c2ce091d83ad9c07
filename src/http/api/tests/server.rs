//! Status, figures, providers, health, and the page for Prometheus.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::schema::assert_matches;
use super::*;
use crate::domain::Endpoint;
use crate::provider::{Errand, Refusal, Shown};
use crate::telemetry::{CallRecord, Naming};

#[test]
fn the_status_has_what_scripts_rely_on() {
    run(async {
        let fixture = Fixture::new();
        fixture.book(fixture.facts(noon())).await;
        for (window, limit) in [("day", "0.5"), ("month", "1")] {
            let body = json!({"scope": {"kind": "everything"}, "window": window, "limitUsd": limit, "action": "alert"});
            assert_eq!(fixture.post("/api/budgets", &body).await.status, 201);
        }
        let mut status = fixture.get("/api/status").await.json();
        assert_matches("Status", &status);
        status["uptimeSeconds"] = json!(0);
        insta::assert_snapshot!(status.to_string(), @r##"{"budget":{"daily":{"budget":"0.5","held":"0","percentUsed":2.4,"remaining":"0.488","spent":"0.012"},"monthly":{"budget":"1","held":"0","percentUsed":1.2,"remaining":"0.988","spent":"0.012"}},"cache":{"bytes":0,"enabled":true,"metrics":{"hitRate":0.0,"hits":0,"misses":0,"savedUsd":"0","semanticHits":0},"shared":null,"size":0},"config":{"isRefused":false,"revision":1,"waitingForRestart":[]},"content":{"bodies":"off","dropped":0,"trouble":null},"idempotency":{"trouble":null},"providers":[{"circuit":"closed","name":"openai"},{"circuit":"closed","name":"sandbox"}],"queue":{"capacity":1000,"queued":0,"running":0,"workers":5},"status":"ok","uptimeSeconds":0,"version":"1.2.3"}"##);
        fixture.state.draining.store(true, Ordering::Release);
        assert_eq!(fixture.get("/api/status").await.json()["status"], "draining");
    });
}

#[test]
fn without_budgets_over_everything_the_status_has_null() {
    run(async {
        let fixture = Fixture::new();
        let week = json!({"scope": {"kind": "everything"}, "window": "week", "limitUsd": "1", "action": "alert"});
        fixture.post("/api/budgets", &week).await;
        assert_eq!(fixture.get("/api/status").await.json()["budget"], json!({"daily": null, "monthly": null}));
    });
}

#[test]
fn figures_are_of_the_process_and_of_the_ledger() {
    run(async {
        let fixture = Fixture::new();
        fixture.book(fixture.facts(noon())).await;
        fixture.book(fixture.facts(at("2026-11-20T12:00:00Z"))).await;
        let _running = fixture.state.metrics.began();
        fixture.state.metrics.ended(&CallRecord {
            provider: "openai",
            model: "gpt-5",
            naming: Naming::Listed,
            status: "failed",
            failed: true,
            cache: "bypass",
            latency_ms: 40,
            time_to_first_token_ms: None,
            tokens: (7, 2),
            cost_usd: 0.0,
        });
        let mut figures = fixture.get("/api/metrics").await.json();
        assert_matches("Metrics", &figures);
        figures["uptimeSeconds"] = json!(0);
        insta::assert_snapshot!(figures.to_string(), @r##"{"cache":{"bytes":0,"enabled":true,"metrics":{"hitRate":0.0,"hits":0,"misses":0,"savedUsd":"0","semanticHits":0},"shared":null,"size":0},"costUsd":{"thisMonth":"0.024","today":"0.012"},"errors":{"rate":1.0,"total":1},"latencyMs":{"p50":null,"p95":null},"overload":{"limit":1000,"providers":[{"limit":1000,"name":"openai","running":0,"waiting":0},{"limit":1000,"name":"sandbox","running":0,"waiting":0}],"refused":{"key":0,"provider":0,"server":0}},"queue":{"capacity":1000,"queued":0,"running":0,"workers":5},"requests":{"inFlight":1,"total":1},"timeToFirstTokenMs":{"p50":null,"p95":null},"tokens":{"input":7,"output":2},"uptimeSeconds":0}"##);
    });
}

#[test]
fn providers_are_shown_without_their_keys() {
    run(async {
        let fixture = Fixture::new();
        let router = fixture.state.gateway.router();
        router.fail("sandbox/sandbox-small", 5, Instant::now());
        let listed = fixture.get("/api/providers").await;
        assert_matches("ProviderList", &listed.json());
        assert!(!listed.body.contains("canary"), "{}", listed.body);
        insta::assert_snapshot!(listed.json()["items"], @r##"[{"baseUrl":"https://api.openai.com/v1","catalog":"openai","circuit":"closed","concurrentRequestsMax":1000,"credentials":[{"error":null,"last4":"ider","lastAnsweredAt":null,"models":[],"paths":[],"position":1,"since":null,"state":"ready","until":null}],"failing":[],"health":"unknown","kind":"openai","name":"openai","retryPercentMax":20,"timeouts":{"connectMs":800,"firstTokenMs":60000,"idleMs":60000,"totalMs":600000}},{"baseUrl":null,"catalog":"sandbox","circuit":"open","concurrentRequestsMax":1000,"credentials":[],"failing":["sandbox/sandbox-small"],"health":"down","kind":"sandbox","name":"sandbox","retryPercentMax":20,"timeouts":{"connectMs":800,"firstTokenMs":60000,"idleMs":60000,"totalMs":600000}}]"##);
    });
}

#[test]
fn a_key_that_is_refused_is_shown_with_its_end_and_used_again_once_an_admin_enables_it() {
    run(async {
        let fixture = Fixture::new();
        let router = fixture.state.gateway.router();
        let credentials = router.upstreams()[0].credentials();
        let refuse = |path: Endpoint, model: &str, refusal| {
            let now = Instant::now();
            let errand = Errand { model: model.parse().unwrap(), is_listed: true, path };
            let credential = credentials.choose(&errand, true, now).unwrap().unwrap();
            credential.tell(Shown::Refused(refusal), now);
        };
        refuse(Endpoint::ChatCompletions, "gpt-5", Refusal::Forbidden);
        refuse(Endpoint::Images, "gpt-5-image", Refusal::Unknown);
        refuse(Endpoint::ChatCompletions, "gpt-4o", Refusal::Unknown);
        let listed = fixture.get("/api/providers").await;
        assert_matches("ProviderList", &listed.json());
        assert!(!listed.body.contains("canary"), "{}", listed.body);
        let key = &listed.json()["items"][0]["credentials"][0];
        assert_eq!((&key["state"], &key["error"]), (&json!("disabled"), &json!("upstream_unauthorized")));
        assert_eq!((&key["models"][0]["model"], &key["models"][0]["state"]), (&json!("gpt-5"), &json!("disabled")));
        assert_eq!((&key["paths"][0]["path"], &key["paths"][0]["state"]), (&json!("/v1/images"), &json!("disabled")));
        let now = fixture.state.clock.now();
        let until: jiff::Timestamp = key["until"].as_str().unwrap().parse().unwrap();
        assert!((298..=301).contains(&(until.as_second() - now.as_second())), "{until} {now}");
        let page = fixture.get("/metrics").await.body;
        assert!(page.contains("tollgate_provider_credentials{provider=\"openai\",state=\"disabled\"} 1"), "{page}");
        let enable = |path: &str| TestRequest::post().uri(&format!("/api/providers/{path}/enable"));
        for (path, status) in [
            ("nobody/credentials/1", 404),
            ("openai/credentials/0", 404),
            ("openai/credentials/2", 404),
            ("openai/credentials/first", 404),
            ("sandbox/credentials/1", 404),
            ("openai/credentials/1", 200),
        ] {
            let answer = fixture.call(As::Admin, enable(path)).await;
            assert_eq!(answer.status, status, "{path}: {}", answer.body);
            if status == 200 {
                assert_matches("Credential", &answer.json());
                assert_eq!((&answer.json()["state"], &answer.json()["models"]), (&json!("ready"), &json!([])));
            }
        }
    });
}

#[test]
fn no_answer_has_a_secret() {
    run(async {
        let fixture = Fixture::new();
        let secrets = [&fixture.admin_token, &fixture.cookie, &fixture.csrf_token, &fixture.secret];
        for route in crate::http::api::ROUTES.iter().filter(|route| route.verb == crate::http::api::Verb::Get) {
            let answer = fixture.get(&route.path.replace("{id}", fixture.key.id.as_str())).await;
            assert!(!answer.body.contains("canary"), "{}", route.path);
            assert!(secrets.iter().all(|secret| !answer.body.contains(secret.as_str())), "{}", route.path);
        }
    });
}

#[test]
fn health_and_readiness_say_up_or_down_and_nothing_else() {
    run(async {
        let fixture = Fixture::new();
        for uri in ["/health", "/ready"] {
            let answer = fixture.call(As::Nobody, TestRequest::get().uri(uri)).await;
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, r#"{"status":"ok"}"#), "{uri}");
        }
        fixture.state.draining.store(true, Ordering::Release);
        assert_eq!(fixture.get("/health").await.status, 200, "what runs still ends well");
        let ready = fixture.get("/ready").await;
        assert_eq!((ready.status.as_u16(), ready.body.as_str()), (503, r#"{"status":"unavailable"}"#));
    });
}

#[test]
fn the_metrics_page_has_circuits_and_budgets_of_now() {
    run(async {
        let fixture = Fixture::new();
        fixture.book(fixture.facts(noon())).await;
        let body = json!({"scope": {"kind": "everything"}, "window": "day", "limitUsd": "1.012", "action": "block"});
        fixture.post("/api/budgets", &body).await;
        let page = fixture.call(As::Scraper, TestRequest::get().uri("/metrics")).await;
        assert!(page.header("content-type").starts_with("application/openmetrics-text"));
        assert!(page.body.contains("tollgate_circuit_state{provider=\"openai\"} 0"), "{}", page.body);
        assert!(
            page.body.contains("tollgate_budget_remaining_usd{scope=\"everything\",window=\"day\"} 1.0"),
            "{}",
            page.body
        );
        assert!(page.body.ends_with("# EOF\n"));
        let without_token = Fixture::with(SETTINGS.split("[telemetry]").next().unwrap());
        let refused = without_token.call(As::Scraper, TestRequest::get().uri("/metrics")).await;
        assert_eq!(refused.verdict(), "401 invalid_credential");
    });
}

#[test]
fn the_ledger_is_verified_while_the_server_runs() {
    run(async {
        let fixture = Fixture::new();
        fixture.book(fixture.facts(noon())).await;
        fixture.book_as(fixture.facts(noon()), EntryStatus::Unknown, Some("crashed")).await;
        let report = fixture.get("/api/verify").await.json();
        assert_matches("Verification", &report);
        assert_eq!(report["ok"], true);
        assert_eq!(
            (&report["entries"], &report["unknown"], &report["totalUsd"]),
            (&json!(2), &json!(1), &json!("1.012"))
        );
    });
}
