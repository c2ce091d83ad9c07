use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::domain::{KeyId, Reason, RequestId, TokenUsage};

const PROVIDERS: &str = r#"
[[providers]]
name = "openai"
kind = "openai"
api_key = "sk-test-not-a-real-key"

[[providers]]
name = "anthropic"
kind = "anthropic"
api_key = "sk-test-not-a-real-key"

[[providers]]
name = "box"
kind = "sandbox"
"#;

fn router(routes: &str) -> Router {
    let config = Config::from_toml(&format!("{PROVIDERS}{routes}")).unwrap();
    let upstreams = config.providers.iter().map(|provider| Arc::new(Upstream::new(provider, None))).collect();
    Router::new(upstreams, Directory::of(&config), Arc::new(Catalog::builtin()), Arc::default())
}

fn route(name: &str, strategy: &str, deployments: &[&str]) -> String {
    format!("\n[[routes]]\nname = \"{name}\"\nstrategy = \"{strategy}\"\ndeployments = {deployments:?}\n")
}

fn at() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn chat() -> Asking<'static> {
    Asking::plain(Endpoint::ChatCompletions, at())
}

fn order(plan: &Plan) -> Vec<String> {
    plan.candidates.iter().map(|candidate| candidate.deployment.to_string()).collect()
}

fn check(router: &Router, name: &str, asking: &Asking<'_>, expected: &[&str]) {
    let plan = router.plan(name, asking, Instant::now()).unwrap();
    assert_eq!(order(&plan), expected, "{name}");
}

fn refused(router: &Router, name: &str, asking: &Asking<'_>) -> String {
    match router.plan(name, asking, Instant::now()) {
        Ok(plan) => panic!("{name} leads to {:?}", order(&plan)),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_model_that_the_call_names_itself_is_asked_whatever_its_list_says() {
    let router = router("");
    let asking = Asking { needs: Needs { tools: true, ..Needs::default() }, ..chat() };
    check(&router, "openai/gpt-5-chat", &asking, &["openai/gpt-5-chat"]);
    assert_eq!(router.plan("gpt-5", &asking, Instant::now()).unwrap().decision, None);
}

#[test]
fn a_route_leaves_out_who_cant_take_the_call_and_says_why() {
    let router = router(&route("smart", "fallback", &["openai/gpt-5-chat", "anthropic/claude-2", "openai/gpt-5"]));
    check(&router, "smart", &chat(), &["openai/gpt-5-chat", "anthropic/claude-2", "openai/gpt-5"]);
    let tools = Asking { needs: Needs { tools: true, ..Needs::default() }, ..chat() };
    let plan = router.plan("smart", &tools, Instant::now()).unwrap();
    assert_eq!(order(&plan), ["openai/gpt-5"]);
    let decision = plan.decision.unwrap();
    assert_eq!((&*decision.route, decision.strategy, decision.reason), ("smart", Strategy::Fallback, Reason::Only));
    let exclusions: Vec<Option<Exclusion>> = decision.considered.iter().map(|seen| seen.exclusion).collect();
    assert_eq!(exclusions, [None, Some(Exclusion::Tools), Some(Exclusion::Tools)]);
    check(&router, "smart", &Asking { strategy: Some(Strategy::Primary), ..chat() }, &["openai/gpt-5-chat"]);
}

#[test]
fn when_nobody_can_take_the_call_what_is_missing_is_named_at_each() {
    let router = router(&route("old", "fallback", &["openai/gpt-5-chat", "anthropic/claude-2"]));
    let tools = Asking { needs: Needs { tools: true, ..Needs::default() }, ..chat() };
    assert_eq!(
        refused(&router, "old", &tools),
        "no deployment of the route \"old\" can take this call: openai/gpt-5-chat: it takes no tools; anthropic/claude-2: it takes no tools"
    );
    let embeddings = Asking::plain(Endpoint::Embeddings, at());
    let router = self::router(&route("claude", "fallback", &["anthropic/claude-haiku-4-5"]));
    assert!(matches!(router.plan("claude", &embeddings, Instant::now()), Err(RouteError::NotServed { .. })));
}

#[test]
fn what_is_longer_than_a_context_goes_to_a_larger_one() {
    let router = router(&route("long", "fallback", &["anthropic/claude-haiku-4-5", "anthropic/claude-sonnet-5"]));
    let body = format!(r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#, "word ".repeat(180_000));
    let asking = Asking { body: body.as_bytes(), ..chat() };
    let plan = router.plan("long", &asking, Instant::now()).unwrap();
    assert_eq!(order(&plan), ["anthropic/claude-sonnet-5"]);
    let Some(Exclusion::Context { takes: 200_000, needed }) = plan.decision.unwrap().considered[1].exclusion else {
        panic!("no exclusion");
    };
    assert!((224_000..226_000).contains(&needed), "{needed}");
}

#[test]
fn what_asks_for_a_longer_answer_than_a_model_writes_or_has_room_for_goes_elsewhere() {
    let router = router(&route("long", "fallback", &["openai/gpt-3.5-turbo", "openai/gpt-4", "openai/gpt-5"]));
    let last = |output_cap, body: &str| {
        let asking = Asking { body: body.as_bytes(), output_cap: Some(output_cap), ..chat() };
        let plan = router.plan("long", &asking, Instant::now()).unwrap();
        (order(&plan), plan.decision.as_ref().unwrap().considered.last().unwrap().exclusion)
    };
    let all = ["openai/gpt-3.5-turbo", "openai/gpt-4", "openai/gpt-5"];
    assert_eq!(last(4_096, "{}"), (all.map(str::to_owned).to_vec(), None), "what a model just writes it is asked for");
    assert_eq!(
        last(4_097, "{}"),
        (vec!["openai/gpt-5".to_owned()], Some(Exclusion::Output { writes: 4_096, asked: 4_097 }))
    );
    assert_eq!(last(100_000, "{}").0, ["openai/gpt-5"]);
    // It writes that much, and has no room for it behind this input.
    let input = "word ".repeat(4_800);
    let (asked, out) = last(4_000, &input);
    assert_eq!(asked, ["openai/gpt-3.5-turbo", "openai/gpt-5"]);
    assert!(matches!(out, Some(Exclusion::Context { takes: 8_192, needed: 9_000.. })), "{out:?}");
    let asking = Asking { output_cap: Some(200_000), ..chat() };
    assert!(
        refused(&router, "long", &asking)
            .ends_with("openai/gpt-5: it writes at most 128000 tokens and the call asks for 200000")
    );
    check(&router, "openai/gpt-4", &asking, &["openai/gpt-4"]);
}

#[test]
fn a_refusal_because_nobody_fits_tells_how_it_came_to_that() {
    let router = router(&route("old", "cost-optimized", &["openai/gpt-5-chat", "anthropic/claude-2"]));
    let tools = Asking { needs: Needs { tools: true, ..Needs::default() }, ..chat() };
    let Err(RouteError::NoneFits(decision)) = router.plan("old", &tools, Instant::now()) else {
        panic!("it leads somewhere")
    };
    assert_eq!(
        (decision.strategy, decision.reason, decision.chosen()),
        (Strategy::CostOptimized, Reason::NoneFits, None)
    );
    assert!(decision.considered.iter().all(|seen| seen.exclusion == Some(Exclusion::Tools)));
}

#[test]
fn no_attempt_is_left_for_the_last_of_many() {
    let all = ["openai/gpt-5", "openai/gpt-4", "box/sandbox-large", "box/sandbox-small"];
    let router = router(&route("many", "fallback", &all));
    let now = Instant::now();
    let halves = |plan: &Plan| {
        let names = |half: &[Candidate]| half.iter().map(|each| each.deployment.to_string()).collect::<Vec<_>>();
        let (asked, unasked) = plan.within_attempts();
        (names(asked), names(unasked))
    };
    let plan = router.plan("many", &chat(), now).unwrap();
    assert_eq!(halves(&plan), (all[..3].iter().map(ToString::to_string).collect(), vec![all[3].to_owned()]));
    // Who is passed over takes no attempt from the others.
    router.fail("openai/gpt-5", 5, now);
    let plan = router.plan("many", &chat(), now).unwrap();
    assert_eq!(halves(&plan), (all[1..].iter().map(ToString::to_string).collect(), vec![all[0].to_owned()]));
}

#[test]
fn a_circuit_whose_time_is_over_is_half_open_wherever_it_is_shown() {
    let router = router(&route("smart", "fallback", &["openai/gpt-5", "box/sandbox-large"]));
    let (deployment, now) = ("openai/gpt-5".parse().unwrap(), Instant::now());
    router.fail("openai/gpt-5", 5, now);
    let shown = |at| (router.circuit(&deployment, at).as_str(), router.health_of(&deployment.provider, at).circuit());
    assert_eq!(shown(now), ("open", "open"));
    assert_eq!(shown(now + Duration::from_secs(5)), ("half-open", "half-open"));
}

#[test]
fn only_a_name_that_something_lists_is_counted_under_a_label_of_its_own() {
    let router = router(&route("late", "fallback", &["openai/of-a-route"]));
    let naming = |name: &str| router.naming(&name.parse().unwrap());
    for listed in ["openai/gpt-5", "openai/of-a-route"] {
        assert_eq!(naming(listed), Naming::Listed, "{listed}");
    }
    assert_eq!(naming("openai/made-up"), Naming::Unknown);
}

#[test]
fn a_key_gets_of_a_route_what_it_may_use() {
    let router = router(&route("smart", "fallback", &["openai/gpt-5", "anthropic/claude-haiku-4-5"]));
    let only = |deployment: &Deployment| deployment.model.as_str() == "claude-haiku-4-5";
    check(&router, "smart", &Asking { allows: Some(&only), ..chat() }, &["anthropic/claude-haiku-4-5"]);
    let none = |_: &Deployment| false;
    assert!(refused(&router, "smart", &Asking { allows: Some(&none), ..chat() }).contains("the key may not use it"));
}

#[test]
fn auto_is_the_route_of_the_operation_or_one_that_ships() {
    let plain = router("");
    let of = |operation| Asking { operation, ..chat() };
    for operation in ["chat", "explain-code", "analyze-issue", "summaries-of-my-own"] {
        check(&plain, AUTO, &of(operation), &["openai/gpt-5-mini", "anthropic/claude-haiku-4-5"]);
    }
    for operation in ["review-code", "generate-code", "suggest-fix"] {
        check(&plain, AUTO, &of(operation), &["openai/gpt-5", "anthropic/claude-sonnet-5"]);
    }
    let configured = router(&format!(
        "{}\n[operations.review-code]\nroute = \"mine\"\n",
        route("mine", "primary", &["box/sandbox-large"])
    ));
    check(&configured, AUTO, &of("review-code"), &["box/sandbox-large"]);
    check(&configured, AUTO, &of("chat"), &["openai/gpt-5-mini", "anthropic/claude-haiku-4-5"]);
    let own = router(&route(AUTO, "primary", &["box/sandbox-free"]));
    check(&own, AUTO, &of("review-code"), &["box/sandbox-free"]);
    let config = Config::from_toml("").unwrap();
    let none = Router::new(Vec::new(), Directory::of(&config), Arc::new(Catalog::builtin()), Arc::default());
    assert!(refused(&none, AUTO, &chat()).contains("[operations.chat]"));
}

#[test]
fn a_shipped_model_is_in_the_price_list_and_not_about_to_retire() {
    let router = router("");
    let shipped: Vec<Deployment> = router.own_routes().iter().flat_map(|route| route.deployments.clone()).collect();
    assert_eq!(shipped.len(), 4);
    for deployment in shipped {
        let facts = router.candidate(&deployment).unwrap().facts.unwrap();
        assert!(facts.retires_on.is_none_or(|day| day > jiff::civil::date(2027, 6, 1)), "{deployment}");
    }
}

#[test]
fn cost_decides_with_the_length_of_the_answer_and_what_is_cached() {
    let router = router(&route("cheap", "cost-optimized", &["openai/gpt-5", "openai/gpt-5-mini"]));
    check(&router, "cheap", &chat(), &["openai/gpt-5-mini", "openai/gpt-5"]);
    let text = "read this ".repeat(6_000);
    let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);
    let asking = || Asking { body: body.as_bytes(), output_cap: Some(100), key: "key_1", ..chat() };
    check(&router, "cheap", &asking(), &["openai/gpt-5-mini", "openai/gpt-5"]);
    // 15,000 tokens × $0.25 against 15,000 × $0.125 and a dearer answer, per million.
    let turn = answered(&router, "openai/gpt-5", &body, 15_000);
    let plan = router.plan("cheap", &asking(), turn).unwrap();
    assert_eq!(order(&plan), ["openai/gpt-5", "openai/gpt-5-mini"], "{:?}", plan.decision);
    let decision = plan.decision.unwrap();
    assert_eq!(decision.reason, Reason::Cheapest);
    assert!(decision.considered[0].cached_tokens > 10_000 && decision.considered[0].cost < decision.considered[1].cost);
    let later = router.plan("cheap", &asking(), turn + Duration::from_mins(6)).unwrap();
    assert_eq!(order(&later), ["openai/gpt-5-mini", "openai/gpt-5"], "its provider has forgotten it");
}

/// Tells the router that a deployment has answered a body, and returns the time of that.
fn answered(router: &Router, deployment: &str, body: &str, tokens: u64) -> Instant {
    let candidate = router.candidate(&deployment.parse().unwrap()).unwrap();
    let prefix = Prefix::of(Endpoint::ChatCompletions, body.as_bytes(), "key_1", None).unwrap();
    let now = Instant::now();
    let turn = Turn {
        prefix: &prefix,
        request: RequestId::first_of(1),
        key: &KeyId::new("key_1").unwrap(),
        route: &"cheap".into(),
        candidate: &candidate,
        is_strayed: true,
        usage: &TokenUsage { uncached_input: tokens, output: 10, ..TokenUsage::default() },
        at: at(),
        may_quote: false,
    };
    router.experience.learn(&turn, now);
    now
}

#[test]
fn a_conversation_stays_with_the_provider_that_has_it_cached() {
    let routes = [("f", "fallback"), ("p", "performance"), ("w", "weighted")]
        .map(|(name, strategy)| route(name, strategy, &["openai/gpt-5", "openai/gpt-5-mini"]))
        .concat();
    let router = router(&routes);
    let text = "read this ".repeat(600);
    let first = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);
    let second = format!(
        r#"{{"messages":[{{"role":"user","content":"{text}"}},{{"role":"assistant","content":"a"}},{{"role":"user","content":"b"}}]}}"#
    );
    let now = answered(&router, "openai/gpt-5-mini", &first, 1_500);
    let asking = |body: &'static str, dice| Asking { body: body.as_bytes(), key: "key_1", dice, ..chat() };
    let second: &'static str = second.leak();
    for dice in 0..30 {
        for name in ["f", "p", "w"] {
            let plan = router.plan(name, &asking(second, dice), now).unwrap();
            assert_eq!(order(&plan)[0], "openai/gpt-5-mini", "{name}");
        }
    }
    let decision = router.plan("f", &asking(second, 1), now).unwrap().decision.unwrap();
    assert_eq!(decision.reason, Reason::Conversation);
    let forgotten = router.plan("f", &asking(second, 1), now + Duration::from_mins(6)).unwrap();
    assert_eq!(order(&forgotten)[0], "openai/gpt-5");
    let other = Asking { key: "key_2", ..asking(second, 1) };
    assert_eq!(order(&router.plan("f", &other, now).unwrap())[0], "openai/gpt-5", "another key's conversation");
    // A first question is nobody's conversation, so equal ones are spread by weight.
    let first: &'static str = first.leak();
    let drawn =
        (0..200).filter(|dice| order(&router.plan("w", &asking(first, *dice), now).unwrap())[0] == "openai/gpt-5");
    assert!((60..140).contains(&drawn.count()));
    router.fail("openai/gpt-5-mini", 5, now);
    assert_eq!(order(&router.plan("f", &asking(second, 1), now).unwrap())[0], "openai/gpt-5", "it is ill");
}

#[test]
fn performance_goes_where_answers_came_faster() {
    let router = router(&route("fast", "performance", &["openai/gpt-5", "openai/gpt-5-mini"]));
    let now = Instant::now();
    for (deployment, first) in [("openai/gpt-5", 900), ("openai/gpt-5-mini", 200)] {
        for _ in 0..5 {
            let first = Duration::from_millis(first);
            let timing = Timing { first: Some(first), whole: first * 3, tokens: 100 };
            router.experience.note_timing(&deployment.parse().unwrap(), timing, now);
        }
    }
    let fastest = (0..1_000).filter(|dice| {
        let plan = router.plan("fast", &Asking { dice: *dice, ..chat() }, now).unwrap();
        order(&plan)[0] == "openai/gpt-5-mini"
    });
    assert!((920..980).contains(&fastest.count()));
    let decision = router.plan("fast", &Asking { dice: 7, ..chat() }, now).unwrap().decision.unwrap();
    assert!(decision.considered.iter().all(|seen| seen.first_token_ms.is_some() && seen.tokens_per_10_s.is_some()));
}
