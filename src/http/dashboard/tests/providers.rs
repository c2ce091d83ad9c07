//! The page of providers and routing: figures, routes, explanations, and what happens without any of them.

use super::*;
use crate::domain::{EndpointFamily, KeyId};
use crate::provider::{Errand, Refusal, Shown};
use crate::routing::{Prefix, Turn};

const TWO: &str = "[[providers]]\nname = \"sandbox\"\nkind = \"sandbox\"\n\
     [[providers]]\nname = \"local\"\nkind = \"openai-compatible\"\nbase_url = \"http://user.example:1/v1/secret-path\"\n\
     api_keys = [\"sk-canary-1\", \"sk-canary-2\"]\nconcurrent_requests_max = 7\n\
     [prices.\"local/*\"]\ninput = \"1\"\noutput = \"2\"\n\
     [[routes]]\nname = \"smart\"\nstrategy = \"cost-optimized\"\ndeployments = [\"sandbox/sandbox-large\", \"local/qwen3\"]\n\
     [operations.review-code]\nroute = \"smart\"\n";

fn check(page: &str, expected: &[&str]) {
    for text in expected {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[test]
fn every_provider_is_shown_with_its_figures_and_no_secret() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(TWO);
        let key = fixture.key("web-app");
        fixture.call(&key, Call { provider: "local", model: "qwen3", cost: "0.25", ..Call::USUAL }).await;
        let failed = Call { provider: "local", model: "qwen3", cost: "0", error: Some("timeout_idle"), ..Call::USUAL };
        let failed = fixture.call(&key, failed).await;
        let page = browser.get("/providers").await;
        assert_eq!(page.status, 200);
        check(
            &page.body,
            &[
                "openai-compatible at user.example",
                "2 keys",
                "0 of 7",
                "Prices of local, built-in list, 1 of your own",
                "50.0%",
                "$0.2500",
                "300 ms",
                "900 ms",
                "Not known",
                &format!("/requests/{failed}\">timeout_idle</a>"),
            ],
        );
        assert!(!page.body.contains("sk-canary") && !page.body.contains("secret-path"), "{}", page.body);
        // Older than the range.
        let old = Call { provider: "local", model: "qwen3", ago: SignedDuration::from_hours(3), ..Call::USUAL };
        fixture.call(&key, old).await;
        check(&browser.get("/providers?range=1h").await.body, &["50.0%", "aria-current=\"true\">1 h"]);
        check(&browser.get("/providers?range=30d").await.body, &["33.3%", "aria-current=\"true\">30 d"]);
        assert_eq!(browser.get("/providers?range=9y").await.status, 200);
    });
}

#[test]
fn what_fails_is_shown_with_its_circuit_and_until_when() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(TWO);
        let page = browser.get("/providers").await.body;
        assert!(!page.contains("Circuits that are not closed"), "{page}");
        let router = fixture.state.gateway.router();
        router.fail("local/qwen3", 5, Instant::now());
        let page = browser.get("/providers").await.body;
        check(
            &page,
            &[
                "Circuits that are not closed",
                "No call goes there until 14:32:1",
                "Failing",
                "circuit open: it is tried after all others",
            ],
        );
    });
}

#[test]
fn what_clients_do_and_what_lost_against_another_is_no_failure_of_a_provider() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(TWO);
        let key = fixture.key("web-app");
        for error in
            ["client_left", "upstream_rejected", "cancelled", "stopping", "timeout_call", "crashed", "abandoned"]
        {
            let call = Call { provider: "sandbox", cost: "0", error: Some(error), ..Call::USUAL };
            fixture.call(&key, call).await;
        }
        fixture.call(&key, Call { provider: "sandbox", ..Call::USUAL }).await;
        let dead =
            Call { provider: "local", model: "qwen3", cost: "0", error: Some("upstream_connect"), ..Call::USUAL };
        fixture.call(&key, dead).await;
        let page = browser.get("/providers").await.body;
        let row = |name: &str| {
            let start = page.find(&format!("<span title=\"{name}\">")).unwrap();
            page[start..].split("</tr>").next().unwrap().to_owned()
        };
        let (well, dead) = (row("sandbox"), row("local"));
        assert!(well.contains("0.0%") && !well.contains("Last failure"), "{well}");
        assert!(dead.contains("100.0%") && dead.contains("upstream_connect"), "{dead}");
        assert!(dead.contains("No call has shown it lately"), "{dead}");
        // The overview says the same, and no light of it is green beside nothing but errors.
        let overview = browser.get("/").await.body;
        let lines = &overview[overview.find("id=\"providers\"").unwrap()..];
        let (well, dead) = lines.split_at(lines.find("local").unwrap());
        assert!(well.contains("0.0% errors"), "{well}");
        assert!(dead.contains("100.0% errors") && dead.contains("Failing"), "{dead}");
    });
}

#[test]
fn a_call_for_which_nothing_was_sent_has_no_cost_and_no_time_that_rests_on_anything() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(TWO);
        let unsent = fixture.unsent_call(&fixture.key("web-app")).await;
        let call = browser.get(&format!("/requests/{unsent}")).await.body;
        check(
            &call,
            &["nothing was sent", "No provider was asked.", "The call was given up before anything was sent."],
        );
        assert!(!call.contains("exact") && !call.contains("Until the whole answer"), "{call}");
        let page = browser.get("/providers").await.body;
        let rows = &page[page.find("id=\"provider-list\"").unwrap()..page.find("id=\"routes\"").unwrap()];
        assert!(!rows.contains("0 ms") && !rows.contains("Last failure"), "{rows}");
    });
}

#[test]
fn a_deployment_that_no_attempt_is_left_for_is_marked() {
    run(async {
        let many = format!(
            "{TWO}[[routes]]\nname = \"many\"\ndeployments = [\"sandbox/sandbox-large\", \"local/qwen3\"]\nattempts_max = 1\n"
        );
        let (_fixture, browser) = Fixture::with_admin(&many);
        let page = browser.get("/providers?route=many").await.body;
        check(&page, &["not asked: one attempt at most", "After a failure nobody else is asked; at most 1 attempt."]);
        let explained = &page[page.find("id=\"explanation\"").unwrap()..];
        let explained = explained.split("</section>").next().unwrap();
        assert!(explained.contains("local/qwen3</span> <span class=\"badge\">not asked"), "{explained}");
        assert!(!explained.contains("Expected cost"), "nothing was compared: {explained}");
    });
}

#[test]
fn keys_that_are_not_ready_are_shown_and_put_to_use_again() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(TWO);
        assert!(!browser.get("/providers").await.body.contains("Keys that are not ready"));
        let router = fixture.state.gateway.router();
        let local = router.upstreams().iter().find(|upstream| upstream.name().as_str() == "local").unwrap();
        let errand = Errand { model: "qwen3".parse().unwrap(), is_listed: true, path: Endpoint::ChatCompletions };
        let first = local.credentials().choose(&errand, false, Instant::now()).unwrap().unwrap();
        first.tell(Shown::Refused(Refusal::Unknown), Instant::now());
        let page = browser.get("/providers").await.body;
        check(&page, &["Keys that are not ready", "2 keys, 1 ready", "a call tries it again at 14:3"]);
        let enable = "/providers/local/keys/1/enable";
        check(&page, &[&format!("action=\"{enable}\"")]);
        let answer = browser.post(enable, &[]).await;
        assert_eq!((answer.status, answer.location()), (303, "/providers?enabled=local%2F1"));
        let page = browser.get("/providers?enabled=local/1").await.body;
        check(&page, &["The next calls use key 1 of local again.", "2 keys<"]);
        assert!(!page.contains("Keys that are not ready"), "{page}");
        for nobody in
            ["/providers/local/keys/3/enable", "/providers/local/keys/x/enable", "/providers/gone/keys/1/enable"]
        {
            assert_eq!(browser.post(nobody, &[]).await.status, 404, "{nobody}");
        }
        assert_eq!(browser.get("/providers?enabled=%3Cb%3E/1").await.status, 200);
    });
}

#[test]
fn routes_are_shown_in_todays_order_with_their_numbers() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(TWO);
        let page = browser.get("/providers").await.body;
        check(
            &page,
            &[
                "cost-optimized, at most 3 attempts.",
                "<code>auto</code> leads here for",
                "review-code",
                "<b>sandbox/sandbox-large</b>: expected to cost least.",
                "No route yet",
            ][..4],
        );
        let routes = &page[page.find("id=\"routes\"").unwrap()..];
        assert!(routes.find("sandbox/sandbox-large").unwrap() < routes.find("local/qwen3").unwrap());
        drop(fixture);
        let (_fixture, browser) = Fixture::with_admin("");
        let page = browser.get("/providers").await.body;
        check(
            &page,
            &["No provider yet", "[[providers]]", "env:OPENAI_API_KEY", "No route yet", "Nothing was read from"],
        );
    });
}

#[test]
fn a_call_is_explained_without_being_made() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(TWO);
        let by_link = browser.get("/providers?route=smart&strategy=fallback").await;
        check(&by_link.body, &["What would happen", "<b>sandbox/sandbox-large</b>", "chooses by fallback"]);
        let body = r#"{"messages":[{"role":"user","content":"hi <b>"}]}"#;
        let asked = browser.post("/providers", &[("route", "smart"), ("strategy", ""), ("body", body)]).await;
        assert_eq!(asked.status, 200);
        check(
            &asked.body,
            &["It would go to <b>sandbox/sandbox-large</b>", "After a failure: local/qwen3", "hi &#60;b&#62;"],
        );
        assert!(
            fixture.state.ledger.entries(&crate::ledger::EntryFilter::default(), None, 1).unwrap().items.is_empty()
        );
    });
}

/// Two deployments that a draw decides between, and a hedge whose time the kind of answer decides over.
const DRAWN: &str = "[[providers]]\nname = \"sandbox\"\nkind = \"sandbox\"\n[[routes]]\nname = \"drawn\"\nstrategy = \"weighted\"\n\
     deployments = [\"sandbox/sandbox-large\", \"sandbox/sandbox-small\"]\nhedge = true\nhedge_percent_max = 100\n";

#[test]
fn an_explanation_is_of_the_key_the_session_and_the_kind_of_answer_that_are_chosen() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(DRAWN);
        let key = |new: NewKey| fixture.state.keys.create(new, fixture.state.clock.now()).unwrap().0;
        let small =
            key(NewKey { allowed_models: Some(vec!["sandbox-small".to_owned()]), ..NewKey::named("only-small") });
        let chat = key(NewKey { allowed_endpoints: Some(vec![EndpointFamily::Chat]), ..NewKey::named("only-chat") });
        let gone = fixture.key("gone");
        fixture.state.keys.revoke(&gone.id, fixture.state.clock.now()).unwrap();
        let page = browser.get("/providers").await.body;
        check(&page, &[&format!("<option value=\"{}\">only-small</option>", small.id), "name=\"session\"", "a stream"]);
        assert!(!page.contains(">gone</option>"), "no call is made with it: {page}");

        let explained = async |fields: &[(&str, &str)]| {
            let sent: Vec<_> = [("route", "drawn")].into_iter().chain(fields.iter().copied()).collect();
            let answer = browser.post("/providers", &sent).await;
            assert_eq!(answer.status, 200, "{fields:?}");
            answer.body[answer.body.find("id=\"explanation\"").unwrap()..].to_owned()
        };
        let of_small = explained(&[("key", small.id.as_str())]).await;
        check(&of_small, &["It would go to <b>sandbox/sandbox-small</b>", "the key may not use it"]);
        let of_chat = explained(&[("key", chat.id.as_str()), ("endpoint", "messages")]).await;
        check(
            &of_chat,
            &["It would be refused", "With status 403: this key may not call messages endpoints, only chat"],
        );
        check(&explained(&[("key", gone.id.as_str())]).await, &["It would be refused", "With status 401"]);

        check(&explained(&[("stream", "true")]).await, &["No second attempt", "0 streams were measured lately"]);
        check(&explained(&[("stream", "false")]).await, &["sets no limit on its output"]);

        converse(&fixture, &chat.id, "ticket-7");
        // Drawn each time, but for the conversation that has its place.
        let mut strays = false;
        for _ in 0..30 {
            let of = |session| [("key", chat.id.as_str()), ("session", session), ("body", LATER_TURN)];
            check(&explained(&of("ticket-7")).await, &["It would go to <b>sandbox/sandbox-small</b>"]);
            strays |= explained(&of("ticket-8")).await.contains("It would go to <b>sandbox/sandbox-large</b>");
        }
        assert!(strays);
        let wrong = browser.post("/providers", &[("route", "drawn"), ("session", &"x".repeat(129))]).await;
        assert_eq!(wrong.status, 422);
        check(&wrong.body, &["This can be no session", "aria-invalid=\"true\""]);
    });
}

const LATER_TURN: &str = r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yes?"},{"role":"user","content":"well"}]}"#;

/// Has a session of a key be served by the small one.
fn converse(fixture: &Fixture, key: &KeyId, session: &str) {
    let router = fixture.state.gateway.router();
    let candidate = router.named("sandbox/sandbox-small").unwrap();
    let prefix = Prefix::of(Endpoint::ChatCompletions, LATER_TURN.as_bytes(), key.as_str(), Some(session)).unwrap();
    let turn = Turn {
        prefix: &prefix,
        request: fixture.ids.next(fixture.state.clock.now().as_millisecond()),
        key,
        route: &"drawn".into(),
        candidate: &candidate,
        is_strayed: false,
        usage: &crate::domain::TokenUsage::default(),
        at: fixture.state.clock.now(),
        may_quote: false,
    };
    router.experience().learn(&turn, Instant::now());
}

#[test]
fn a_sample_that_is_none_and_a_call_that_nobody_takes_are_told_in_their_place() {
    run(async {
        let (_fixture, browser) = Fixture::with_admin(TWO);
        let wrong = browser.post("/providers", &[("route", "smart"), ("body", "{nope")]).await;
        assert_eq!(wrong.status, 422);
        check(&wrong.body, &["This is no request", "{nope</textarea>", "aria-invalid=\"true\""]);
        let hostile = browser.get(&format!("/providers?route={}", "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")).await;
        assert!(!hostile.body.contains(HOSTILE), "{}", hostile.body);
        let without_token = browser.send(Browser::form("/providers", &[("route", "smart")])).await;
        assert_eq!(without_token.status, 403);
        let by_name = browser.get("/providers?route=sandbox/anything").await.body;
        check(&by_name, &["It would go to <b>sandbox/anything</b>: the call names it itself."]);
        let alone =
            TWO.replace("sandbox", "other").replace("kind = \"other\"", "kind = \"openai\"\napi_key = \"sk-1\"");
        let (_fixture, browser) = Fixture::with_admin(&alone);
        let unknown = browser.post("/providers", &[("route", "gone"), ("body", "")]).await;
        assert_eq!(unknown.status, 200);
        check(&unknown.body, &["It would be refused", "With status 404"]);
    });
}
