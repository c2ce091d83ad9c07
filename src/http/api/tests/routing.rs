//! Routes over the API: how they do, where a call would go and why, and what prompt caches served.

use serde_json::json;

use super::schema::assert_matches;
use super::*;
use crate::domain::{Considered, Decision, Deployment, Exclusion, Obstacle, Reason, Strategy};
use crate::routing::{Candidate, Prefix, Turn};

const ROUTES: &str = r#"
[[routes]]
name = "choice"
strategy = "cost-optimized"
deployments = ["sandbox/sandbox-large", "sandbox/sandbox-small", "openai/gpt-5-chat"]

[operations.review-code]
route = "choice"
"#;

fn fixture() -> Fixture {
    Fixture::with(&format!("{SETTINGS}{ROUTES}"))
}

#[test]
fn routes_are_listed_with_who_uses_them_and_how_they_do() {
    run(async {
        let fixture = fixture();
        let listed = fixture.get("/api/routes").await.json();
        assert_matches("RouteList", &listed);
        let names: Vec<&str> =
            listed["items"].as_array().unwrap().iter().map(|route| route["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["cheap", "choice", "auto", "auto"]);
        assert_eq!(listed["items"][1]["operations"], json!(["review-code"]));
        assert_eq!(listed["items"][2]["operations"], json!(["chat", "analyze-issue", "explain-code"]));
        assert_eq!(listed["items"][1]["deployments"][0]["circuit"], "closed");
    });
}

#[test]
fn an_explanation_has_every_candidate_with_its_numbers() {
    run(async {
        let fixture = fixture();
        let plain = fixture.get("/api/routes/choice/explain").await.json();
        assert_matches("Explanation", &plain);
        assert_eq!((&plain["chosen"], &plain["reason"]), (&json!("sandbox/sandbox-small"), &json!("cheapest")));
        let body = json!({"messages": [], "tools": [{"type": "function"}], "max_tokens": 10});
        let told = fixture.post("/api/routes/auto/explain?operation=review-code", &body).await.json();
        assert_matches("Explanation", &told);
        assert_eq!(told["order"], json!(["sandbox/sandbox-small", "sandbox/sandbox-large"]));
        assert_eq!((&told["route"], &told["outputTokens"]), (&json!("choice"), &json!(10)));
        assert_eq!(told["candidates"][2]["excluded"], "tools");
        let spelled = fixture.post("/api/routes/auto/explain?operation=Review-Code", &body).await.json();
        assert_eq!(spelled["route"], told["route"], "an operation is the same however a call writes it");
        let refused = fixture.get("/api/routes/choice/explain?endpoint=embeddings&key=ci").await.json();
        assert_matches("Explanation", &refused);
        let named = fixture.get("/api/routes/openai%2Fgpt-5/explain").await.json();
        assert_matches("Explanation", &named);
        assert_eq!((&named["chosen"], &named["reason"]), (&json!("openai/gpt-5"), &json!("named")));
    });
}

#[test]
fn an_explanation_tells_when_a_second_attempt_would_start_and_where_or_why_none_would() {
    run(async {
        let routes = r#"
[[routes]]
name = "timed"
deployments = ["sandbox/sandbox-large", "sandbox/sandbox-small"]
hedge = "800ms"
[[routes]]
name = "measured"
deployments = ["sandbox/sandbox-large", "sandbox/sandbox-small"]
hedge = true
hedge_percent_max = 5
"#;
        let fixture = Fixture::with(&format!("{SETTINGS}{routes}"));
        let listed = fixture.get("/api/routes").await.json();
        assert_matches("RouteList", &listed);
        let hedge_of = |name: &str| {
            let mut items = listed["items"].as_array().unwrap().iter();
            items.find(|route| route["name"] == name).unwrap()["hedge"].clone()
        };
        assert_eq!(hedge_of("timed"), json!({"after": "800ms", "percentMax": 10}));
        assert_eq!(hedge_of("measured"), json!({"after": "p95", "percentMax": 5}));
        assert_eq!(hedge_of("auto"), Value::Null);
        let check = async |uri: &str, after: Value, why: &str| {
            let told = fixture.post(&format!("/api/routes/{uri}"), &json!({"max_tokens": 9})).await.json();
            assert_matches("Explanation", &told);
            assert_eq!(told["hedge"]["afterMs"], after, "{uri}");
            let reason = told["hedge"]["reason"].as_str().unwrap_or_default();
            assert!(reason.contains(why) && reason.is_empty() == why.is_empty(), "{uri}: {reason}");
        };
        check(
            "timed/explain",
            json!(800.0),
            "at most 10 in 100 may be hedged (hedge_percent_max), and one more hedge would be over that",
        )
        .await;
        check("measured/explain", Value::Null, "sandbox-large 0 whole answers were measured lately, and 20 have").await;
        let router = fixture.state.gateway.router();
        let (experience, now) = (router.experience(), Instant::now());
        let deployment: Deployment = "sandbox/sandbox-large".parse().unwrap();
        for _ in 0..30 {
            let wait = crate::routing::Wait::Came(Duration::from_millis(500));
            experience.note_wait(&deployment, true, wait, now);
            experience.hedges().count(&"timed".into(), now);
        }
        check("timed/explain", json!(800.0), "").await;
        check("timed/explain?strategy=primary", json!(800.0), "no deployment or attempt left").await;
        check("measured/explain?stream=false", Value::Null, "whole answers").await;
        let told = fixture.get("/api/routes/measured/explain?stream=true").await.json();
        let after = told["hedge"]["afterMs"].as_f64().unwrap();
        assert!((500.0..560.0).contains(&after), "{after}");
        assert_eq!(told["hedge"]["deployment"], "sandbox/sandbox-small");
        let told = fixture.get("/api/routes/timed/explain").await.json();
        assert!(told["hedge"]["reason"].as_str().unwrap().contains("sets no limit on its output"), "{told}");
        let told = fixture.get("/api/routes/timed/explain?stream=true").await.json();
        assert_eq!(told["hedge"]["reason"], Value::Null, "what a stream has written shows");
        let told = fixture.post("/api/routes/timed/explain", &json!({"web_search_options": {}})).await.json();
        assert!(told["hedge"]["reason"].as_str().unwrap().contains("is made once"), "{told}");
        let plain = fixture.get("/api/routes/auto/explain").await.json();
        assert_eq!(plain["hedge"], Value::Null);
        assert_eq!(fixture.get("/api/routes/timed/explain?stream=2").await.status, 400);
    });
}

#[test]
fn an_explanation_minds_which_endpoints_its_key_may_call() {
    run(async {
        let fixture = fixture();
        let only_chat = json!({"name": "only-chat", "allowedEndpoints": ["chat"]});
        let id = fixture.post("/api/keys", &only_chat).await.json()["id"].as_str().unwrap().to_owned();
        let told = fixture.get("/api/routes/choice/explain?endpoint=messages&key=only-chat").await.json();
        assert_matches("Explanation", &told);
        assert_eq!(
            (&told["refusal"]["status"], &told["refusal"]["code"]),
            (&json!(403), &json!("endpoint_not_allowed"))
        );
        let told = fixture.get(&format!("/api/routes/choice/explain?key={id}")).await.json();
        assert_eq!(told["refusal"], Value::Null);
        fixture.call(As::Admin, TestRequest::delete().uri(&format!("/api/keys/{id}"))).await;
        let gone = fixture.get(&format!("/api/routes/choice/explain?key={id}")).await;
        assert_eq!(gone.verdict(), "400 invalid_parameter", "no call is made with a key that was revoked");
    });
}

#[test]
fn an_explanation_of_nothing_is_refused() {
    run(async {
        let only_openai =
            "[[providers]]\nname = \"openai\"\nkind = \"openai\"\napi_key = \"sk-canary-of-the-provider\"\n";
        let unknown = Fixture::with(only_openai).get("/api/routes/gpt-55/explain").await;
        assert_eq!(unknown.verdict(), "404 not_found", "{}", unknown.body);
        let fixture = Fixture::new();
        fixture
            .refuses_all(
                &[
                    "/api/routes/cheap/explain?strategy=experiment",
                    "/api/routes/cheap/explain?endpoint=files",
                    "/api/routes/cheap/explain?key=nobody",
                    "/api/routes/cheap/explain?unknown=1",
                ],
                "400 invalid_parameter",
            )
            .await;
        let request = TestRequest::post().uri("/api/routes/cheap/explain").set_payload("[]");
        assert_eq!(fixture.call(As::Admin, request).await.verdict(), "400 invalid_json");
        assert_eq!(fixture.call(As::Key, TestRequest::get().uri("/api/routes")).await.status, 403);
    });
}

#[test]
fn what_broke_a_prompt_cache_is_told_without_quotes_unless_bodies_are_kept() {
    run(async {
        let fixture = fixture();
        let router = fixture.state.gateway.router();
        let upstream = Arc::clone(&router.upstreams()[0]);
        let facts = router.catalog().find(upstream.name(), upstream.catalog(), "gpt-5");
        let candidate = Candidate { deployment: "openai/gpt-5".parse().unwrap(), upstream, facts, is_listed: true };
        for time in ["10:00", "10:01"] {
            let filler = "rules of the house ".repeat(200);
            let body = json!({"messages": [{"role": "system", "content": format!("{filler}{time}")}, {"role": "user", "content": "hi"}]});
            let body = body.to_string();
            let prefix = Prefix::of(Endpoint::ChatCompletions, body.as_bytes(), fixture.key.id.as_str(), None).unwrap();
            let turn = Turn {
                prefix: &prefix,
                request: fixture.ids.next(noon().as_millisecond()),
                key: &fixture.key.id,
                route: &"openai/gpt-5".into(),
                candidate: &candidate,
                is_strayed: false,
                usage: &TokenUsage { uncached_input: 2_000, output: 1, ..TokenUsage::default() },
                at: noon(),
                may_quote: false,
            };
            router.experience().learn(&turn, Instant::now());
        }
        let told = fixture.get("/api/routes/openai%2Fgpt-5/prompt-cache").await.json();
        assert_matches("PromptCache", &told);
        assert_eq!(told["keys"][0]["calls"], 2);
        let finding = &told["findings"][0];
        assert_eq!(
            (&finding["cause"], &finding["place"], &finding["before"]),
            (&json!("changed"), &json!("messages[0]"), &json!(null))
        );
        assert!(finding["text"].as_str().unwrap().starts_with("messages[0] differs"), "{finding}");
        let none = fixture.get("/api/routes/choice/prompt-cache").await.json();
        assert_eq!((&none["keys"], &none["findings"]), (&json!([]), &json!([])));
    });
}

#[test]
fn an_entry_keeps_why_it_went_where_it_went() {
    run(async {
        let fixture = Fixture::new();
        let small: Deployment = "sandbox/sandbox-small".parse().unwrap();
        let decision = Decision {
            route: "choice".into(),
            strategy: Strategy::CostOptimized,
            reason: Reason::Only,
            input_tokens: Some(12),
            output_tokens: None,
            considered: vec![
                Considered { cost: Some("0.01".parse().unwrap()), cached_tokens: 3, ..Considered::new(small) },
                Considered {
                    exclusion: Some(Exclusion::Context { takes: 10, needed: 12 }),
                    obstacle: Some(Obstacle::Circuit),
                    first_token_ms: Some(20),
                    tokens_per_10_s: Some(455),
                    weight: Some(2),
                    ..Considered::new("openai/gpt-5".parse().unwrap())
                },
            ],
            more: 4,
        };
        let facts = CallFacts { decision: Some(Arc::new(decision)), ..fixture.facts(noon()) };
        let id = fixture.book(facts).await;
        let shown = fixture.get(&format!("/api/requests/{id}")).await.json();
        assert_matches("RequestDetail", &shown);
        let decision = &shown["decision"];
        assert_eq!((&decision["chosen"], &decision["more"]), (&json!("sandbox/sandbox-small"), &json!(4)));
        assert_eq!(decision["candidates"][0]["expectedCostUsd"], "0.01");
        let out = &decision["candidates"][1];
        assert_eq!(out["excludedText"], "it takes 10 tokens and the call needs about 12");
        assert_eq!(
            (&out["tokensPerSecond"], &out["weight"], &out["circuitOpen"]),
            (&json!(45.5), &json!(2), &json!(true))
        );
    });
}
