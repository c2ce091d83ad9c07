//! The live stream.

use std::pin::Pin;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody as _};

use super::*;

/// A stream as a browser reads it.
struct Stream(BoxBody);

impl Stream {
    async fn open(browser: &Browser, path: &str, last: Option<RequestId>) -> Self {
        let app = App::new().app_data(browser.state.clone()).configure(crate::http::routes);
        let app = init_service(app).await;
        let mut request = TestRequest::get().uri(path).peer_addr(LOOPBACK.parse().unwrap());
        for (name, value) in browser.cookies.borrow().iter() {
            request = request.cookie(Cookie::new(name.clone(), value.clone()));
        }
        if let Some(last) = last {
            request = request.insert_header(("last-event-id", last.to_string()));
        }
        let response = call_service(&app, request.to_request()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers().get("content-type").unwrap(), "text/event-stream; charset=utf-8");
        assert_eq!(response.headers().get("cache-control").unwrap(), "no-store");
        assert_eq!(response.headers().get("x-accel-buffering").unwrap(), "no");
        let mut stream = Self(response.into_body().boxed());
        assert_eq!(stream.next().await.as_deref(), Some("retry: 2000\n\n"));
        stream
    }

    async fn next(&mut self) -> Option<String> {
        let next = std::future::poll_fn(|context| Pin::new(&mut self.0).poll_next(context));
        let next = tokio::time::timeout(Duration::from_secs(20), next).await.expect("a piece within 20 s");
        next.map(|bytes| String::from_utf8(bytes.unwrap().to_vec()).unwrap())
    }
}

#[test]
fn a_call_appears_in_the_stream_when_it_is_booked() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let mut stream = Stream::open(&browser, "/events?topics=request", None).await;
        let id = fixture.call(&fixture.key("web-app"), Call::USUAL).await;
        let event = stream.next().await.unwrap();
        assert!(
            event.starts_with("id: req_") && event.contains("\nevent: request\ndata: <tr class=\"fresh\">"),
            "{event}"
        );
        assert!(event.contains("sandbox-small") && event.contains(&format!("/requests/{id}")), "{event}");
    });
}

#[test]
fn calls_that_come_together_are_one_event_newest_first() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let mut stream = Stream::open(&browser, "/events?topics=request", None).await;
        let key = fixture.key("web-app");
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(fixture.call(&key, Call::USUAL).await);
        }
        let mut seen = String::new();
        while !seen.contains(&ids[2].to_string()) {
            seen = format!("{}{seen}", stream.next().await.unwrap());
        }
        let places: Vec<usize> = ids.iter().map(|id| seen.find(&format!("/requests/{id}")).unwrap()).collect();
        assert!(places[2] < places[1] && places[1] < places[0], "{seen}");
    });
}

#[test]
fn who_comes_back_gets_what_was_missed() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let key = fixture.key("web-app");
        let seen = fixture.call(&key, Call { ago: SignedDuration::from_mins(9), ..Call::USUAL }).await;
        let missed = fixture.call(&key, Call::USUAL).await;
        let mut stream = Stream::open(&browser, "/events?topics=request", Some(seen)).await;
        let event = stream.next().await.unwrap();
        assert!(event.contains(&missed.to_string()) && !event.contains(&format!("/requests/{seen}")), "{event}");
    });
}

#[test]
fn the_parts_of_the_overview_come_at_once_and_then_only_when_they_change() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let mut stream = Stream::open(&browser, "/events?topics=kpi", None).await;
        let first = stream.next().await.unwrap();
        for id in ["kpi-spend", "kpi-month", "kpi-latency", "attention", "providers", "budgets"] {
            assert!(first.contains(&format!("id=\"{id}\"")), "{id}: {first}");
        }
        assert!(first.starts_with("event: kpi\ndata: "), "{first}");
        fixture.call(&fixture.key("web-app"), Call::USUAL).await;
        let second = stream.next().await.unwrap();
        assert!(second.contains("id=\"kpi-spend\"") && second.contains("$0.0014"), "{second}");
        assert!(!second.contains("id=\"budgets\""), "{second}");
    });
}

#[test]
fn the_stream_ends_when_the_server_stops() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let mut stream = Stream::open(&browser, "/events?topics=request", None).await;
        fixture.state.tasks.stopping().cancel();
        assert_eq!(stream.next().await, None);
    });
}
