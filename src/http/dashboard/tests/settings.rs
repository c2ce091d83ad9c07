//! The page of settings, and its button.

use super::*;
use crate::config::Problem;
use crate::revisions::{NotReloaded, Refused, Reloaded};

fn take(fixture: &Fixture, settings: &str) {
    let effective = Effective { settings: settings.to_owned(), ..Effective::default() };
    fixture.state.revisions.take(effective, Trigger::File, noon()).1.unwrap();
}

#[test]
fn the_page_shows_what_is_in_force_with_secrets_masked() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let page = browser.get("/settings").await;
        assert_eq!(page.status, 200);
        assert!(page.body.contains("Revision 1") && page.body.contains("tollgate.toml"), "{}", page.body);
        assert!(!page.body.contains("not in force") && !page.body.contains("id=\"compare\""), "{}", page.body);
        take(&fixture, &format!("name = \"{HOSTILE}\"\n"));
        let page = browser.get("/settings").await.body;
        assert!(page.contains("Revision 2") && !page.contains(HOSTILE), "{page}");
    });
}

#[test]
fn what_was_refused_stands_there_and_on_the_overview_until_it_is_mended() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let place = Some("tollgate.toml:7".to_owned());
        let problems = vec![Problem { place, ..Problem::new("color", HOSTILE) }, Problem::new("KEY", "not set")];
        fixture.state.revisions.refuse(Refused { at: noon(), trigger: Trigger::File, problems });
        let page = browser.get("/settings").await.body;
        for text in ["The settings on the disk are not in force", "tollgate.toml:7", "2 problems were found", "not set"]
        {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert!(!page.contains(HOSTILE), "{page}");
        let overview = browser.get("/?range=24h").await.body;
        assert!(overview.contains("The settings on the disk are not in force.") && overview.contains("/settings"));
        take(&fixture, "a = 1\n");
        assert!(!browser.get("/settings").await.body.contains("not in force"));
    });
}

#[test]
fn two_revisions_are_compared_line_by_line() {
    run(async {
        let (fixture, browser) = Fixture::with_admin(SETTINGS);
        let lines: Vec<String> = (0..20).map(|number| format!("key_{number} = 1")).collect();
        let lines = lines.join("\n");
        take(&fixture, &lines);
        take(&fixture, &lines.replace("key_10 = 1", "key_10 = 2"));
        let page = browser.get("/settings?from=2&to=3").await.body;
        let diff = page.split_once("<div class=\"diff\"").unwrap().1;
        assert!(page.contains("From revision 2 to 3") && diff.contains("key_10 = 1") && diff.contains("key_10 = 2"));
        assert!(diff.contains("7 lines that are the same") && !diff.contains("key_2 = 1"), "{diff}");
        assert!(browser.get("/settings?from=3&to=3").await.body.contains("They say the same."));
        for wrong in ["from=1", "from=9&to=3", "from=x&to=y"] {
            let page = browser.get(&format!("/settings?{wrong}")).await;
            assert!(page.status == 200 && !page.body.contains("class=\"diff\""), "{wrong}");
        }
    });
}

#[test]
fn the_button_has_the_files_read_and_leads_back_to_what_came_of_it() {
    run(async {
        let fixture = Fixture::listening(SETTINGS);
        fixture.make_admin();
        let browser = fixture.logged_in();
        let reloaded = |changed: &[&str]| Reloaded {
            number: 1,
            changed: changed.iter().map(|key| (*key).to_owned()).collect(),
            waiting: Vec::new(),
            warnings: Vec::new(),
        };
        for (outcome, location, text) in [
            (Ok(reloaded(&["cache.ttl"])), "/settings?reloaded=taken", "revision 1 is in force"),
            (Ok(reloaded(&[])), "/settings?reloaded=same", "Nothing has changed"),
            (Err(NotReloaded::Refused(Vec::new())), "/settings", "Revision 1"),
            (Err(NotReloaded::Unavailable), "/settings?reloaded=away", "could not be read now"),
        ] {
            let answering = async {
                let arrives = std::future::poll_fn(|context| fixture.asks.borrow_mut().poll_recv(context));
                arrives.await.unwrap().reply.send(outcome).unwrap();
            };
            let (answer, ()) = futures_util::future::join(browser.post("/settings/reload", &[]), answering).await;
            assert_eq!((answer.status, answer.location()), (303, location));
            assert!(browser.get(location).await.body.contains(text), "{location}");
        }
    });
}
