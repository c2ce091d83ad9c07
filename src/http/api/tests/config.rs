//! The settings in force, their revisions, and asking for the files to be read again.

use actix_web::http::Method;
use serde_json::json;

use super::schema::assert_matches;
use super::*;
use crate::config;
use crate::revisions::{NotReloaded, Refused, Reloaded};

fn take(fixture: &Fixture, settings: &str, mark: u8) {
    let marks = [("providers.openai.api_key".to_owned(), [mark; 32])].into();
    let effective = Effective { settings: settings.to_owned(), marks, ..Effective::default() };
    fixture.state.revisions.take(effective, Trigger::Sighup, noon()).1.unwrap();
}

fn problem() -> config::Problem {
    let place = Some("tollgate.toml:3".to_owned());
    config::Problem { place, ..config::Problem::new("routes.smart", "no provider \"opnai\"") }
}

#[test]
fn what_is_in_force_is_shown_with_what_was_refused() {
    run(async {
        let fixture = Fixture::new();
        let shown = fixture.get("/api/config").await.json();
        assert_matches("Config", &shown);
        assert_eq!(
            (&shown["revision"], &shown["trigger"], &shown["lastRefused"]),
            (&json!(1), &json!("start"), &Value::Null)
        );
        assert!(shown["settings"].as_str().unwrap().contains("api_key = \"***\""), "{shown}");
        assert_eq!(fixture.get("/api/status").await.json()["config"]["isRefused"], false);
        let refused = Refused { at: noon(), trigger: Trigger::File, problems: vec![problem()] };
        fixture.state.revisions.refuse(refused);
        let shown = fixture.get("/api/config").await.json();
        assert_matches("Config", &shown);
        insta::assert_snapshot!(shown["lastRefused"], @r#"{"problems":[{"message":"no provider \"opnai\"","path":"routes.smart","place":"tollgate.toml:3"}],"time":"2026-11-22T12:00:00Z","trigger":"file"}"#);
        let status = fixture.get("/api/status").await.json();
        assert_matches("Status", &status);
        assert_eq!(status["config"], json!({"revision": 1, "isRefused": true, "waitingForRestart": []}));
    });
}

#[test]
fn revisions_are_listed_and_compared() {
    run(async {
        let fixture = Fixture::new();
        take(&fixture, "a = 1\nb = 1\n", 1);
        take(&fixture, "a = 2\nb = 1\n", 2);
        let list = fixture.get("/api/config/revisions").await.json();
        assert_matches("ConfigRevisionList", &list);
        let numbers: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|item| &item["revision"]).collect();
        assert_eq!(numbers, [&json!(3), &json!(2), &json!(1)]);
        let one = fixture.get("/api/config/revisions/2").await.json();
        assert_matches("ConfigRevision", &one);
        assert_eq!((&one["isInForce"], &one["diff"]), (&json!(false), &Value::Null));
        let compared = fixture.get("/api/config/revisions/3?against=2").await.json();
        assert_matches("ConfigRevision", &compared);
        insta::assert_snapshot!(compared["diff"], @r##"{"against":2,"lines":[{"edit":"removed","text":"a = 1"},{"edit":"added","text":"a = 2"},{"edit":"kept","text":"b = 1"},{"edit":"removed","text":"# the value of revision 2: providers.openai.api_key"},{"edit":"added","text":"# the value of revision 3: providers.openai.api_key"}]}"##);
        for wrong in ["/9", "/x", "/0", "/-1", "/3?against=9", "/3?against=x"] {
            let answer = fixture.get(&format!("/api/config/revisions{wrong}")).await;
            assert_eq!(answer.verdict(), "404 not_found", "{wrong}");
        }
        assert_eq!(fixture.get("/api/config/revisions/3?with=2").await.verdict(), "400 invalid_parameter");
    });
}

#[test]
fn a_reload_answers_what_has_changed_or_every_problem() {
    run(async {
        let fixture = Fixture::with_content(SETTINGS, Content::absent());
        let reloaded = Reloaded {
            number: 2,
            changed: vec!["cache.ttl".to_owned()],
            waiting: vec!["listen".to_owned()],
            warnings: vec![problem()],
        };
        for (outcome, verdict) in [
            (Ok(reloaded), "200"),
            (Err(NotReloaded::Refused(vec![problem(), problem()])), "422 config_refused"),
            (Err(NotReloaded::Unavailable), "503 busy"),
        ] {
            let answering = async {
                let arrives = std::future::poll_fn(|context| fixture.asks.lock().unwrap().poll_recv(context));
                let ask = arrives.await.unwrap();
                assert_eq!(ask.trigger, Trigger::Api);
                ask.reply.send(outcome).unwrap();
            };
            let request = TestRequest::with_uri("/api/config/reload").method(Method::POST);
            let (answer, ()) = futures_util::future::join(fixture.call(As::Admin, request), answering).await;
            assert_eq!(answer.verdict(), verdict);
            match answer.status.as_u16() {
                200 => assert_matches("Reloaded", &answer.json()),
                422 => assert_eq!(answer.json()["problems"].as_array().unwrap().len(), 2),
                _ => {}
            }
        }
    });
}
