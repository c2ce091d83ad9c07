//! The response cache over the API: its entries, what goes, and calls that fill it.

use serde_json::json;

use super::schema::assert_matches;
use super::*;
use crate::cache::{Circle, Fingerprint, Form, NewEntry, Prompt, Question};
use crate::config::CacheScope;

/// Keeps an answer to the question of a number.
fn keep(fixture: &Fixture, number: u64, model: &str) -> Fingerprint {
    let body =
        json!({"model": model, "messages": [{"role": "user", "content": format!("Question {number}")}]}).to_string();
    let question = Question {
        endpoint: Endpoint::ChatCompletions,
        body: body.as_bytes(),
        version: None,
        betas: None,
        extras: [None, None],
    };
    let circle = Circle::of(CacheScope::Key, &fixture.key.id, None);
    let fingerprint = Fingerprint::of(&circle, &question).unwrap().fingerprint;
    let entry = NewEntry {
        request: fixture.ids.next(noon().as_millisecond()),
        endpoint: Endpoint::ChatCompletions,
        form: Form::Whole,
        body: "{}".into(),
        deployment: format!("sandbox/{model}").parse().unwrap(),
        requested_model: model.parse().unwrap(),
        operation: "chat".into(),
        key: fixture.key.id.clone(),
        key_name: "ci".into(),
        team: None,
        tags: vec![("env".into(), "prod".into())],
        prompt: Prompt::of(body.as_bytes()),
        usage: TokenUsage { uncached_input: 10, output: 5, ..TokenUsage::default() },
        cost: "0.002".parse().unwrap(),
        upstream_request_id: None,
        ttl: None,
    };
    let _ = fixture.state.cache.store(fingerprint, entry, Duration::from_hours(1), 0, noon());
    fingerprint
}

async fn delete(fixture: &Fixture, uri: &str) -> Answered {
    fixture.call(As::Admin, TestRequest::delete().uri(uri)).await
}

#[test]
fn entries_are_listed_with_what_they_save_and_without_the_answers() {
    run(async {
        let fixture = Fixture::new();
        let first = keep(&fixture, 1, "sandbox-small");
        keep(&fixture, 2, "sandbox-large");
        for _ in 0..3 {
            fixture.state.cache.lookup(&first, noon()).unwrap();
        }
        let listed = fixture.get("/api/cache?order=saved").await.json();
        assert_matches("CacheList", &listed);
        assert_eq!((&listed["size"], &listed["metrics"]["savedUsd"]), (&json!(2), &json!("0.006")));
        let mut shown = listed["items"][0].clone();
        for volatile in ["id", "requestId", "keyId", "bytes"] {
            shown[volatile] = json!("…");
        }
        insta::assert_snapshot!(shown.to_string(), @r##"{"bytes":"…","costUsd":"0.002","createdAt":"2026-11-22T12:00:00Z","endpoint":"chat.completions","expiresAt":"2026-11-22T13:00:00Z","hits":3,"id":"…","inputTokens":10,"key":"ci","keyId":"…","model":"sandbox-small","operation":"chat","outputTokens":5,"provider":"sandbox","requestId":"…","requestedModel":"sandbox-small","savedUsd":"0.006","stream":false,"tags":{"env":"prod"},"team":null,"title":"Question 1"}"##);
        let status = fixture.get("/api/status").await.json();
        assert_eq!(status["cache"]["metrics"], listed["metrics"]);
        assert_eq!(fixture.get("/api/metrics").await.json()["cache"]["size"], 2);
    });
}

#[test]
fn a_list_goes_on_where_its_page_ended_and_can_be_narrowed() {
    run(async {
        let fixture = Fixture::new();
        for number in 0..5 {
            keep(&fixture, number, if number == 0 { "sandbox-large" } else { "sandbox-small" });
        }
        let (mut uri, mut ids) = ("/api/cache?limit=2".to_owned(), Vec::new());
        loop {
            let page = fixture.get(&uri).await.json();
            ids.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].to_string()));
            let Some(cursor) = page["nextCursor"].as_str() else { break };
            uri = format!("/api/cache?limit=2&cursor={cursor}");
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 5);
        let narrowed = fixture.get("/api/cache?pattern=model:*large+tag:env=prod").await.json();
        assert_eq!((&narrowed["fitting"], &narrowed["size"]), (&json!(1), &json!(5)));
        let wrong =
            ["/api/cache?cursor=x", "/api/cache?order=oldest", "/api/cache?limit=0", "/api/cache?pattern=modle:x"];
        fixture.refuses_all(&wrong, "400 invalid_parameter").await;
    });
}

#[test]
fn what_fits_a_pattern_goes_and_nothing_without_one() {
    run(async {
        let fixture = Fixture::new();
        for number in 0..5 {
            keep(&fixture, number, if number == 0 { "sandbox-large" } else { "sandbox-small" });
        }
        for uri in ["/api/cache", "/api/cache?pattern=", "/api/cache?pattern=modle:x", "/api/cache?model=x"] {
            assert_eq!(delete(&fixture, uri).await.verdict(), "400 invalid_parameter", "{uri}");
        }
        let removed = delete(&fixture, "/api/cache?pattern=sandbox-large").await.json();
        assert_matches("CacheRemoved", &removed);
        assert_eq!(removed, json!({ "removed": 1, "removedShared": null }));
        assert_eq!(
            delete(&fixture, "/api/cache?pattern=*").await.json(),
            json!({ "removed": 4, "removedShared": null })
        );
        assert_eq!(fixture.get("/api/cache").await.json()["size"], 0);
    });
}

async fn warm(fixture: &Fixture, uri: &str, lines: &'static str) -> Answered {
    fixture.call(As::Admin, TestRequest::post().uri(uri).set_payload(lines)).await
}

const LINES: &str = r#"{"model":"sandbox-small","messages":[{"role":"user","content":"Hi"}]}
{"endpoint":"/v1/messages","body":{"model":"sandbox-small","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"Hi"}]}}
{"model":"no-such-model","messages":[]}
"#;

#[test]
fn warming_makes_real_calls_under_a_key_and_tells_what_failed() {
    run(async {
        let fixture = Fixture::new();
        let warmed = warm(&fixture, "/api/cache/warm", LINES).await;
        assert_matches("Warmed", &warmed.json());
        let warmed = warmed.json();
        assert_eq!((&warmed["requests"], &warmed["failed"]), (&json!(3), &json!(1)), "{warmed}");
        assert_eq!(warmed["failures"][0]["line"], 3);
        let booked = fixture.get("/api/requests?key=ci&status=settled").await.json();
        assert_eq!(booked["items"].as_array().unwrap().len(), 2, "{booked}");
        assert_eq!(fixture.state.metrics.totals().in_flight, 0);
    });
}

#[test]
fn who_pays_for_warming_is_said_where_it_is_not_plain() {
    run(async {
        let fixture = Fixture::new();
        let (other, _) = fixture.state.keys.create(NewKey::named("web"), noon()).unwrap();
        assert_eq!(warm(&fixture, "/api/cache/warm", LINES).await.verdict(), "400 invalid_parameter");
        assert_eq!(warm(&fixture, "/api/cache/warm?key=nobody", LINES).await.verdict(), "400 invalid_parameter");
        for key in ["web", other.id.as_str()] {
            assert_eq!(warm(&fixture, &format!("/api/cache/warm?key={key}"), LINES).await.status, 200, "{key}");
        }
        let global = Fixture::with(&SETTINGS.replace("[telemetry]", "[cache]\nscope = \"global\"\n[telemetry]"));
        global.state.keys.create(NewKey::named("web"), noon()).unwrap();
        assert_eq!(warm(&global, "/api/cache/warm", LINES).await.status, 200, "all find the answers, whoever pays");
        let off = Fixture::with(&SETTINGS.replace("[telemetry]", "[cache]\nenabled = false\n[telemetry]"));
        assert_eq!(warm(&off, "/api/cache/warm", LINES).await.verdict(), "409 cache_off");
        assert_eq!(off.get("/api/status").await.json()["cache"]["enabled"], false);
    });
}
