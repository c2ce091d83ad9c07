//! Lists of calls, and one of them in full.

use serde_json::json;

use super::schema::assert_matches;
use super::*;
use crate::config::Bodies;
use crate::content::{Excerpt, Exchange};

#[test]
fn a_call_is_shown_with_its_attempts_and_its_bill() {
    run(async {
        let fixture = Fixture::new();
        let mut facts = fixture.facts(noon());
        facts.team = Some("research".into());
        facts.client_request_id = Some("mine".into());
        facts.tags = vec![("env".into(), "prod".into())];
        let id = fixture.book(facts).await;
        let shown = fixture.get(&format!("/api/requests/{id}")).await.json();
        assert_matches("RequestDetail", &shown);
        let text = shown.to_string().replace(&id.to_string(), "req_…").replace(fixture.key.id.as_str(), "key_…");
        insta::assert_snapshot!(text, @r##"{"adjustedCostUsd":null,"adjustments":[],"adjusts":null,"attemptCount":1,"attempts":[{"billed":null,"costBasis":"exact","costLines":[{"bucket":"input","costBasis":"exact","costUsd":"0.009","count":9000,"unitPriceUsd":"0.000001"},{"bucket":"cache_read","costBasis":"estimated","costUsd":"0.001","count":1000,"unitPriceUsd":"0.000001"},{"bucket":"output","costBasis":"exact","costUsd":"0.00198","count":990,"unitPriceUsd":"0.000002"},{"bucket":"reasoning","costBasis":"exact","costUsd":"0.00002","count":10,"unitPriceUsd":"0.000002"}],"costUsd":"0.012","error":null,"hedge":false,"latencyMs":40,"model":"sandbox-small","provider":"sandbox","rawUsage":{"prompt_tokens":10000},"startedMs":2,"status":200,"timeToFirstTokenMs":7,"upstreamRequestId":null,"usage":{"audioInputTokens":0,"audioOutputTokens":0,"cacheReadTokens":1000,"cacheWrite1hTokens":0,"cacheWrite5mTokens":0,"outputTokens":1000,"reasoningTokens":10,"uncachedInputTokens":9000,"webSearches":0}}],"cache":"bypass","cacheReadTokens":1000,"cacheWriteTokens":0,"clientRequestId":"mine","content":null,"costBasis":"exact","costUsd":"0.012","decision":null,"endpoint":"chat.completions","error":null,"httpStatus":200,"id":"req_…","inputTokens":10000,"key":"ci","keyId":"key_…","latencyMs":42,"model":"sandbox-small","operation":"chat","outputTokens":1000,"provider":"sandbox","reasoningTokens":10,"requestedModel":"sandbox-small","reservedUsd":"0","savedUsd":"0","status":"settled","stream":false,"tags":{"env":"prod"},"team":"research","time":"2026-11-22T12:00:00Z","timeToFirstTokenMs":9}"##);
    });
}

#[test]
fn a_hedged_call_shows_both_attempts_and_which_of_them_was_the_second() {
    run(async {
        let fixture = Fixture::new();
        let planned = |deployment: &str, started_ms| Planned {
            deployment: deployment.parse().unwrap(),
            worst_case: WorstCase::fixed(Picodollars::from_dollars(1)),
            turning: Vec::new(),
            charges: Vec::new(),
            watched: Vec::new(),
            started_ms,
        };
        let decision = crate::domain::Decision {
            route: "smart".into(),
            strategy: crate::domain::Strategy::Fallback,
            reason: crate::domain::Reason::FirstHealthy,
            input_tokens: None,
            output_tokens: None,
            considered: Vec::new(),
            more: 0,
        };
        let facts = CallFacts { decision: Some(Arc::new(decision)), ..fixture.facts(noon()) };
        let (id, ledger) = (facts.id, &fixture.state.ledger);
        let mut call = ledger.reserve(facts, planned("sandbox/sandbox-small", 2)).await.unwrap();
        let second = ledger.reserve_beside(&call, planned("sandbox/sandbox-large", 802)).await.unwrap();
        let ended = |attempt: Attempt, latency_ms, error: Option<&str>| Attempt {
            latency_ms,
            error: error.map(Into::into),
            cost: "0.01".parse().unwrap(),
            basis: CostBasis::Estimated,
            ..attempt
        };
        let lost = ended(call.worst_case(), 1_100, Some("cancelled"));
        ledger.end_first(&call, lost);
        call.stand_for(second);
        let outcome = Outcome {
            status: EntryStatus::Settled,
            error: None,
            http_status: 200,
            last: Some(ended(call.worst_case(), 900, None)),
            latency_ms: 1_702,
            time_to_first_token_ms: None,
            saved: Picodollars::ZERO,
        };
        call.settle(outcome).await.unwrap();
        let shown = fixture.get(&format!("/api/requests/{id}")).await.json();
        assert_matches("RequestDetail", &shown);
        let told = |place: usize| {
            let attempt = &shown["attempts"][place];
            (attempt["model"].clone(), attempt["hedge"].clone(), attempt["error"].clone())
        };
        assert_eq!(told(0), (json!("sandbox-small"), json!(false), json!("cancelled")));
        assert_eq!(told(1), (json!("sandbox-large"), json!(true), Value::Null));
        let hedge = json!({"deployment": "sandbox/sandbox-large", "afterMs": 800, "won": true});
        assert_eq!((&shown["decision"]["hedge"], &shown["costUsd"]), (&hedge, &json!("0.02")));
    });
}

#[test]
fn a_bill_that_todays_prices_do_not_come_to_has_no_lines() {
    run(async {
        let fixture = Fixture::new();
        let planned = Planned {
            deployment: "sandbox/sandbox-small".parse().unwrap(),
            worst_case: WorstCase::fixed(Picodollars::from_dollars(1)),
            turning: Vec::new(),
            charges: Vec::new(),
            watched: Vec::new(),
            started_ms: 0,
        };
        let facts = fixture.facts(noon());
        let id = facts.id;
        let reservation = fixture.state.ledger.reserve(facts, planned).await.unwrap();
        let last = Attempt {
            usage: TokenUsage { uncached_input: 10, ..TokenUsage::default() },
            cost: "0.5".parse().unwrap(),
            basis: CostBasis::Exact,
            raw_usage: Some("not json".into()),
            ..reservation.worst_case()
        };
        let outcome = Outcome {
            status: EntryStatus::Settled,
            error: None,
            http_status: 200,
            last: Some(last),
            latency_ms: 1,
            time_to_first_token_ms: None,
            saved: Picodollars::ZERO,
        };
        reservation.settle(outcome).await.unwrap();
        let shown = fixture.get(&format!("/api/requests/{id}")).await.json();
        assert_eq!((&shown["costUsd"], &shown["attempts"][0]["costLines"]), (&json!("0.5"), &Value::Null));
        assert_eq!(shown["attempts"][0]["rawUsage"], Value::Null);
    });
}

#[test]
fn a_call_that_runs_has_cost_nothing_yet_and_holds_what_it_may() {
    run(async {
        let fixture = Fixture::new();
        let planned = Planned {
            deployment: "sandbox/sandbox-small".parse().unwrap(),
            worst_case: WorstCase::fixed("0.25".parse().unwrap()),
            turning: Vec::new(),
            charges: Vec::new(),
            watched: Vec::new(),
            started_ms: 0,
        };
        let reservation = fixture.state.ledger.reserve(fixture.facts(noon()), planned).await.unwrap();
        let listed = fixture.get("/api/requests?status=pending").await.json();
        assert_matches("RequestList", &listed);
        let item = &listed["items"][0];
        assert_eq!(
            (&item["status"], &item["costUsd"], &item["reservedUsd"]),
            (&json!("pending"), &json!("0"), &json!("0.25"))
        );
        assert_eq!(fixture.get("/api/requests?status=pending&to=2026-11-22").await.json()["items"], json!([]));
        assert_eq!(fixture.get(&format!("/api/requests/{}", reservation.id())).await.json()["status"], "pending");
        assert_eq!(
            fixture.get("/api/requests").await.json()["items"],
            json!([]),
            "what runs is asked for by its status"
        );
        drop(reservation);
    });
}

#[test]
fn every_filter_chooses() {
    run(async {
        let fixture = Fixture::new();
        let mut facts = fixture.facts(noon());
        facts.team = Some("research".into());
        facts.operation = "review-code".into();
        facts.cache = CacheOutcome::Miss;
        facts.client_request_id = Some("needle".into());
        facts.tags = vec![("env".into(), "a=b".into())];
        let wanted = fixture.book(facts).await;
        fixture.book_as(fixture.facts(at("2026-11-21T12:00:00Z")), EntryStatus::Failed, Some("upstream_error")).await;
        let key = fixture.key.id.as_str();
        let chosen = |query: &str| format!("/api/requests?{query}");
        for query in [
            "from=2026-11-22",
            "team=research",
            "operation=review-code",
            "cache=miss",
            "q=needle",
            "tag=env%3Da%3Db",
            "status=settled",
        ] {
            let items = fixture.get(&chosen(query)).await.json()["items"].clone();
            assert_eq!(items.as_array().unwrap().len(), 1, "{query}");
            assert_eq!(items[0]["id"], wanted.to_string(), "{query}");
        }
        for query in ["to=2026-11-22", "status=failed", "q=upstream_error"] {
            let items = fixture.get(&chosen(query)).await.json()["items"].clone();
            assert_eq!(items[0]["error"], "upstream_error", "{query}");
            assert_eq!(items.as_array().unwrap().len(), 1, "{query}");
        }
        for query in ["", "key=ci", &format!("key={key}"), "provider=sandbox", "model=sandbox-small", "team="] {
            assert_eq!(fixture.get(&chosen(query)).await.json()["items"].as_array().unwrap().len(), 2, "{query}");
        }
        for query in [
            "key=other",
            "provider=openai",
            "model=gpt-5",
            "team=sales",
            "tag=env%3Dprod",
            "q=nothing",
            "status=unknown",
        ] {
            assert_eq!(fixture.get(&chosen(query)).await.json()["items"], json!([]), "{query}");
        }
    });
}

#[test]
fn lists_come_in_pages_newest_first() {
    run(async {
        let fixture = Fixture::new();
        let mut booked = Vec::new();
        for _ in 0..5 {
            booked.push(fixture.book(fixture.facts(noon())).await.to_string());
        }
        let (mut seen, mut uri) = (Vec::new(), "/api/requests?limit=2".to_owned());
        loop {
            let page = fixture.get(&uri).await.json();
            assert_matches("RequestList", &page);
            seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            let Some(cursor) = page["nextCursor"].as_str() else { break };
            uri = format!("/api/requests?limit=2&cursor={cursor}");
        }
        booked.reverse();
        assert_eq!(seen, booked);
    });
}

#[test]
fn what_cannot_be_asked_is_refused() {
    run(async {
        let fixture = Fixture::new();
        let long = format!("/api/requests?q={}", "x".repeat(301));
        let refused = [
            "/api/requests?limit=0",
            "/api/requests?limit=201",
            "/api/requests?limit=-1",
            "/api/requests?limit=1.5",
            "/api/requests?cursor=x",
            "/api/requests?cursor=req_zzzzzzzzzzzzzzzzzzzzzzzzzz",
            "/api/requests?status=dead",
            "/api/requests?cache=warm",
            "/api/requests?tag=env",
            "/api/requests?tag=%3Dprod",
            "/api/requests?from=tomorrow",
            "/api/requests?from=2026-11-22&to=2026-11-22",
            "/api/requests?order=asc",
            "/api/requests?status=failed&status=settled",
            &long,
        ];
        fixture.refuses_all(&refused, "400 invalid_parameter").await;
        let unknown = ["/api/requests/x", "/api/requests/req_00000000000000000000000000", "/api/requests/%2e%2e"];
        fixture.refuses_all(&unknown, "404 not_found").await;
    });
}

#[test]
fn a_key_reads_its_own_calls_and_no_one_elses() {
    run(async {
        let fixture = Fixture::new();
        let own = fixture.book(fixture.facts(noon())).await;
        // Calls of another key under a name that is the first one's id. Such a name is refused now; old entries may have one.
        assert!(fixture.state.keys.create(NewKey::named(fixture.key.id.as_str()), noon()).is_err());
        let (other, secret) = fixture.state.keys.create(NewKey::named("impostor"), noon()).unwrap();
        let impostor = || fixture.key.id.as_str().into();
        let mut facts = fixture.facts(noon());
        (facts.key, facts.key_name) = (other.id.clone(), impostor());
        let others = fixture.book(facts).await;
        let planned = Planned {
            deployment: "sandbox/sandbox-small".parse().unwrap(),
            worst_case: WorstCase::fixed("0.25".parse().unwrap()),
            turning: Vec::new(),
            charges: Vec::new(),
            watched: Vec::new(),
            started_ms: 0,
        };
        let mut running = fixture.facts(noon());
        (running.key, running.key_name) = (other.id.clone(), impostor());
        let running = fixture.state.ledger.reserve(running, planned).await.unwrap();

        let get = |uri: &str| TestRequest::get().uri(uri);
        let listed = fixture.call(As::Key, get("/api/requests")).await.json();
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);
        assert_eq!(listed["items"][0]["id"], own.to_string());
        assert_eq!(fixture.call(As::Key, get("/api/requests?status=pending")).await.json()["items"], json!([]));
        assert_eq!(fixture.call(As::Key, get(&format!("/api/requests/{own}"))).await.status, 200);

        let hidden = fixture.call(As::Key, get(&format!("/api/requests/{others}"))).await;
        let missing = fixture.call(As::Key, get("/api/requests/req_00000000000000000000000000")).await;
        assert_eq!(hidden.verdict(), "404 not_found");
        assert_eq!(hidden.body, missing.body, "another's call looks like none");
        assert_eq!(
            fixture.call(As::Key, get(&format!("/api/requests/{}", running.id()))).await.verdict(),
            "404 not_found"
        );

        for own_name in ["ci", fixture.key.id.as_str()] {
            let listed = fixture.call(As::Key, get(&format!("/api/requests?key={own_name}"))).await.json();
            assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{own_name}");
        }
        let asked = fixture.call(As::Key, get(&format!("/api/requests?key={}", other.id))).await;
        assert_eq!(asked.verdict(), "403 forbidden");

        let as_other = get("/api/requests").insert_header(("authorization", format!("Bearer {}", secret.expose())));
        let listed = fixture.send(as_other).await.json();
        assert_eq!(listed["items"][0]["id"], others.to_string());
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);
        drop(running);
    });
}

fn kept(id: RequestId, key: &VirtualKey, request: &str) -> Exchange {
    Exchange {
        id,
        key: key.id.clone(),
        session: Some("session 1".into()),
        users: vec!["ada".to_owned()],
        request: Excerpt::of(request.as_bytes()),
        answer: Excerpt::of(b"{\"choices\":[]}"),
    }
}

#[test]
fn what_is_kept_of_a_call_is_for_admins_and_can_be_deleted_while_the_entry_stays() {
    run(async {
        let fixture = Fixture::with(&format!("{SETTINGS}\n[log]\nbodies = \"full\"\n"));
        let content = &fixture.state.gateway.parts().content;
        for query in ["user=ada", "session=session+1", "key=ci", &format!("key={}", fixture.key.id)] {
            let id = fixture.book(fixture.facts(noon())).await;
            let uri = format!("/api/requests/{id}");
            assert_eq!(fixture.get(&uri).await.json()["content"], Value::Null);
            content.keep(kept(id, &fixture.key, "{\"model\":\"m\"}"));
            content.sweep(RequestId::first_of(0)).await.unwrap();
            let shown = fixture.get(&uri).await.json();
            assert_matches("RequestDetail", &shown);
            assert_eq!(
                shown["content"],
                json!({
                    "session": "session 1",
                    "users": ["ada"],
                    "request": {"text": "{\"model\":\"m\"}", "bytes": 13, "isTruncated": false},
                    "answer": {"text": "{\"choices\":[]}", "bytes": 14, "isTruncated": false},
                })
            );
            let own = fixture.call(As::Key, TestRequest::get().uri(&uri)).await.json();
            assert_eq!((&own["id"], &own["content"]), (&json!(id.to_string()), &Value::Null));
            let deleted = TestRequest::delete().uri(&format!("/api/content?{query}"));
            let deleted = fixture.call(As::Admin, deleted).await.json();
            assert_matches("Deleted", &deleted);
            assert_eq!(deleted, json!({"deleted": 1}), "{query}");
            let shown = fixture.get(&uri).await.json();
            assert_eq!((&shown["content"], &shown["costUsd"]), (&Value::Null, &json!("0.012")));
        }
    });
}

#[test]
fn contents_are_deleted_for_one_owner_at_a_time() {
    run(async {
        let fixture = Fixture::new();
        for (query, verdict) in [
            ("", "400 invalid_parameter"),
            ("?user=", "400 invalid_parameter"),
            ("?user=a&session=b", "400 invalid_parameter"),
            ("?everything=1", "400 invalid_parameter"),
            ("?key=nothing", "404 not_found"),
            ("?user=nobody", "200"),
        ] {
            let request = TestRequest::delete().uri(&format!("/api/content{query}"));
            assert_eq!(fixture.call(As::Admin, request).await.verdict(), verdict, "{query}");
        }
    });
}

#[test]
fn a_damaged_file_of_contents_takes_nothing_else_down() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("content.redb");
        std::fs::write(&path, "no contents").unwrap();
        let fixture = Fixture::with_content(
            &format!("{SETTINGS}\n[log]\nbodies = \"full\"\n"),
            Content::open(ContentOptions::new(path, Bodies::Full, Vec::new())),
        );
        let id = fixture.book(fixture.facts(noon())).await;
        let shown = fixture.get(&format!("/api/requests/{id}")).await.json();
        assert_eq!(shown["content"], Value::Null);
        assert_eq!(fixture.get("/health").await.status, 200);
        let status = fixture.get("/api/status").await.json();
        assert_matches("Status", &status);
        assert_eq!(status["status"], "ok");
        assert!(status["content"]["trouble"].as_str().unwrap().contains("content"), "{status}");
        let deletion = fixture.call(As::Admin, TestRequest::delete().uri("/api/content?user=ada")).await;
        assert_eq!(deletion.verdict(), "503 content_unavailable");
    });
}
