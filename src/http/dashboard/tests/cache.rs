//! The page of the cache: what it shows, and what its forms take out.

use super::*;
use crate::cache::{Circle, Fingerprint, Form, NewEntry, Prompt, Question};
use crate::config::CacheScope;

/// Keeps an answer to a question, and looks it up so often.
fn keep(fixture: &Fixture, text: &str, model: &str, hits: usize) -> Fingerprint {
    let key = crate::domain::KeyId::new("key_1").unwrap();
    let body = serde_json::json!({"model": model, "messages": [{"role": "user", "content": text}]}).to_string();
    let question = Question {
        endpoint: Endpoint::ChatCompletions,
        body: body.as_bytes(),
        version: None,
        betas: None,
        extras: [None, None],
    };
    let fingerprint = Fingerprint::of(&Circle::of(CacheScope::Key, &key, None), &question).unwrap().fingerprint;
    let entry = NewEntry {
        request: fixture.ids.next(noon().as_millisecond()),
        endpoint: Endpoint::ChatCompletions,
        form: Form::Whole,
        body: "{}".into(),
        deployment: format!("sandbox/{model}").parse().unwrap(),
        requested_model: model.parse().unwrap(),
        operation: "chat".into(),
        key,
        key_name: "web-app".into(),
        team: None,
        tags: Vec::new(),
        prompt: Prompt::of(body.as_bytes()),
        usage: TokenUsage::default(),
        cost: "0.5".parse().unwrap(),
        upstream_request_id: None,
        ttl: None,
    };
    let _ = fixture.state.cache.store(fingerprint, entry, 0, noon());
    for _ in 0..hits {
        fixture.state.cache.lookup(&fingerprint, noon()).unwrap();
    }
    fingerprint
}

#[test]
fn an_empty_cache_and_one_that_is_off_say_so() {
    run(async {
        let (_fixture, browser) = Fixture::with_admin(SETTINGS);
        let page = browser.get("/cache").await.body;
        assert!(page.contains("Nothing is kept yet") && page.contains("0 bytes of 256 MiB"), "{page}");
        let (_fixture, browser) = Fixture::with_admin(&format!("{SETTINGS}\n[cache]\nenabled = false\n"));
        let page = browser.get("/cache").await.body;
        assert!(page.contains("The cache is off") && !page.contains("Invalidate"), "{page}");
    });
}

#[test]
fn entries_stand_by_what_they_save_and_lead_to_their_calls() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        keep(&fixture, "Asked once", "sandbox-small", 0);
        keep(&fixture, "Asked <b>often</b>", "sandbox-large", 3);
        let key = fixture.key("web-app");
        fixture.call(&key, Call::USUAL).await;
        let page = browser.get("/cache").await.body;
        for expected in [
            "Asked &#60;b&#62;often&#60;/b&#62;",
            "$1.50",
            "sandbox-large · sandbox",
            "2 of 2 entries",
            "0 hits of 1 answer",
        ] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        let place = |page: &str, text: &str| page.find(text).unwrap_or_else(|| panic!("no {text}: {page}"));
        assert!(place(&page, "often") < place(&page, "Asked once"));
        for query in ["order=newest", "order=hits&range=7d", "order=x&range=30d&removed=x"] {
            assert_eq!(browser.get(&format!("/cache?{query}")).await.status, 200, "{query}");
        }
    });
}

#[test]
fn a_pattern_shows_first_what_it_would_take_out_and_then_takes_it_out() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        keep(&fixture, "One", "sandbox-small", 1);
        keep(&fixture, "Two", "sandbox-large", 0);
        let page = browser.get("/cache?pattern=model:*small").await.body;
        assert!(page.contains("Fits 1 of 2 entries") && page.contains("Remove 1 entry"), "{page}");
        assert!(page.contains("They have saved $0.5000") && !page.contains(">Two<"), "{page}");
        assert_eq!(fixture.state.cache.stats().entries, 2, "looking takes nothing out");
        let answer = browser.post("/cache/clear", &[("pattern", "model:*small")]).await;
        assert_eq!((answer.status, answer.location()), (303, "/cache?removed=1"));
        assert!(browser.get(answer.location()).await.body.contains("1 entry is gone"));
        assert!(browser.get("/cache?pattern=model:*small").await.body.contains("No entry fits"));
        assert_eq!(fixture.state.cache.stats().entries, 1);
    });
}

#[test]
fn one_entry_goes_by_itself_and_the_list_stays_as_it_was_narrowed() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let gone = keep(&fixture, "One", "sandbox-small", 1);
        keep(&fixture, "Two", "sandbox-small", 0);
        let pattern = format!("entry:{gone}");
        let answer =
            browser.post("/cache/clear", &[("pattern", &pattern), ("shown", "key:web*"), ("order", "hits")]).await;
        assert_eq!(answer.location(), "/cache?pattern=key%3Aweb*&order=hits&removed=1");
        let page = browser.get(answer.location()).await.body;
        assert!(page.contains(">Two<") && !page.contains(">One<"), "{page}");
    });
}

#[test]
fn a_pattern_that_is_none_takes_nothing_out_and_says_what_would_be_one() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        keep(&fixture, "One", "sandbox-small", 0);
        for answer in
            [browser.get("/cache?pattern=modle:x").await, browser.post("/cache/clear", &[("pattern", "modle:x")]).await]
        {
            assert_eq!(answer.status, 422);
            assert!(
                answer.body.contains("aria-invalid=\"true\"") && answer.body.contains("use provider, model"),
                "{}",
                answer.body
            );
        }
        for nothing in ["", "  "] {
            assert_eq!(browser.post("/cache/clear", &[("pattern", nothing)]).await.location(), "/cache");
        }
        assert_eq!(fixture.state.cache.stats().entries, 1);
    });
}
