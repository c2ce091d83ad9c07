//! Reloads over a real folder: what is taken over, what stays, and what changes nothing.

use std::path::Path;

use tempfile::TempDir;

use super::super::attachments::Attachments;
use super::super::folder::DataFolder;
use super::*;
use crate::domain::{BudgetAction, BudgetScope, BudgetTerms, Picodollars, Window};
use crate::gateway::InForce;

const TWO: &str = "[[providers]]\nname = \"a\"\nkind = \"sandbox\"\n[[providers]]\nname = \"b\"\nkind = \"openai-compatible\"\nbase_url = \"http://127.0.0.1:1\"\napi_key = \"file:KEY\"\n[[routes]]\nname = \"smart\"\ndeployments = [\"a/sandbox-small\", \"b/m\"]\n";

/// A folder with settings, and what goes by them.
struct Running {
    folder: TempDir,
    parts: Parts,
    ground: Ground,
    read: Option<Read>,
}

impl Running {
    async fn start(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "sk-canary-one").unwrap();
        let source = write(folder.path(), text);
        let Source::Files(settings) = &source else { unreachable!() };
        let config = settings.load().unwrap_or_else(|problems| panic!("{problems}"));
        let data = DataFolder::claim(&folder.path().join("data")).unwrap();
        let clock = Clock::manual("2026-11-22T12:00:00Z".parse().unwrap());
        let parts = Parts::build(config, source.file(), &data, clock).await.unwrap();
        let ground = ground(&parts, source);
        let read = Some(ground.first(parts.attached.clone()));
        Self { folder, parts, ground, read }
    }

    fn write(&self, text: &str) {
        write(self.folder.path(), text);
    }

    fn in_force(&self) -> Arc<InForce> {
        self.parts.gateway.in_force()
    }

    fn reload(&mut self) -> Result<Reloaded, Vec<String>> {
        let before = self.read.as_ref().unwrap();
        let reloaded = self.ground.reload(before, Trigger::Sighup);
        let (read, reloaded) =
            reloaded.map_err(|problems| problems.iter().map(Problem::with_place).collect::<Vec<_>>())?;
        self.read = Some(read);
        Ok(reloaded)
    }

    /// Writes a file, has it read, and tells which keys have changed.
    fn change(&mut self, text: &str) -> Vec<String> {
        self.write(text);
        self.reload().unwrap().changed
    }
}

fn write(folder: &Path, text: &str) -> Source {
    let file = folder.join("tollgate.toml");
    std::fs::write(&file, text.replace("KEY", &folder.join("key").display().to_string())).unwrap();
    Source::Files(Settings { file: Some(file), flags: Vec::new() })
}

#[tokio::test]
async fn what_is_the_same_stays_the_one_that_it_was() {
    let mut running = Running::start(TWO).await;
    let before = running.in_force();
    assert_eq!(running.reload().unwrap().changed, Vec::<String>::new());
    assert!(Arc::ptr_eq(&before, &running.in_force()), "nothing has changed, so nothing was swapped");
    let changed = running.change(&TWO.replace("127.0.0.1:1", "127.0.0.1:2"));
    assert_eq!(changed, ["providers.b.base_url"]);
    let after = running.in_force();
    let upstreams = |in_force: &InForce| in_force.router.upstreams().to_vec();
    assert!(Arc::ptr_eq(&upstreams(&before)[0], &upstreams(&after)[0]), "with the calls that run there");
    assert!(!Arc::ptr_eq(&upstreams(&before)[1], &upstreams(&after)[1]));
    assert!(Arc::ptr_eq(before.router.experience(), after.router.experience()), "what was learned lives on");
    assert_eq!(before.config.providers[1].base_url.port(), Some(1), "who holds the old ones sees no other");
    assert_eq!(running.parts.revisions.in_force().unwrap().number, 2);
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_every_problem_has_its_line() {
    let mut running = Running::start(TWO).await;
    let before = running.in_force();
    running.write(&format!("color = 1\n{}", TWO.replace("\"b/m\"", "\"c/m\"")));
    let problems = running.reload().unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("tollgate.toml:1: color: unknown key"), "{problems:?}");
    assert!(problems[1].contains("tollgate.toml:12: routes.smart.deployments[1]: "), "{problems:?}");
    std::fs::remove_file(running.folder.path().join("key")).unwrap();
    running.write(TWO);
    assert!(running.reload().unwrap_err()[0].contains("providers.b.api_key: the file"));
    running.write("[[providers]");
    assert!(running.reload().unwrap_err()[0].contains("tollgate.toml:1:"));
    assert!(Arc::ptr_eq(&before, &running.in_force()));
    let refused = running.parts.revisions.last_refused().unwrap();
    assert_eq!((refused.trigger, running.parts.revisions.all().len()), (Trigger::Sighup, 1));
    std::fs::write(running.folder.path().join("key"), "sk-canary-one").unwrap();
    assert_eq!(running.change(TWO), Vec::<String>::new());
    assert_eq!(running.parts.revisions.last_refused(), None);
}

#[tokio::test]
async fn another_secret_under_the_same_name_is_a_change_that_shows_nothing_of_it() {
    let mut running = Running::start(TWO).await;
    std::fs::write(running.folder.path().join("key"), "sk-canary-two").unwrap();
    assert_eq!(running.reload().unwrap().changed, ["providers.b.api_key"]);
    assert_eq!(running.in_force().config.providers[1].api_keys[0].expose(), "sk-canary-two");
    let revision = running.parts.revisions.in_force().unwrap();
    assert_eq!((revision.number, revision.unshown["providers.b.api_key"]), (2, 2));
    assert!(!revision.text().contains("canary"), "{}", revision.text());
    let stored = std::fs::read(running.folder.path().join("data/settings.redb")).unwrap();
    assert!(memchr::memmem::find(&stored, b"canary").is_none());
}

#[tokio::test]
async fn what_waits_for_a_restart_is_told_and_stays_as_it_was() {
    let mut running = Running::start(TWO).await;
    running.write(&format!("listen = \"127.0.0.1:9\"\n{TWO}[cache]\nttl = \"5m\"\n"));
    let reloaded = running.reload().unwrap();
    assert_eq!(
        (reloaded.waiting, reloaded.changed),
        (vec!["listen".to_owned()], vec!["cache.ttl".to_owned(), "listen".to_owned()])
    );
    let config = Arc::clone(&running.in_force().config);
    assert_eq!((config.listen, config.cache.ttl.as_secs()), (running.parts.started.listen, 300));
    assert!(running.reload().unwrap().changed.is_empty(), "it is the same file");
    let in_force = running.parts.revisions.in_force().unwrap();
    assert_eq!(in_force.waiting, ["listen"]);
    assert_eq!(in_force.still["listen"], "\"127.0.0.1:8000\"");
    running.write(&format!("{TWO}[cache]\nttl = \"5m\"\n"));
    assert!(running.reload().unwrap().waiting.is_empty());
}

#[tokio::test]
async fn prices_of_the_settings_and_of_the_list_are_taken_over() {
    let mut running = Running::start(TWO).await;
    let own = |price: &str| format!("{TWO}[prices.\"b/*\"]\ninput = \"{price}\"\noutput = \"1\"\n");
    assert_eq!(running.change(&own("1")), ["prices"]);
    let price =
        |running: &Running| format!("{:?}", running.in_force().router.named("b/m").unwrap().facts.unwrap().prices);
    let first = price(&running);
    assert_eq!(running.change(&own("2")), ["prices.b/*.input"]);
    assert_ne!(first, price(&running));
    let list = running.folder.path().join("prices.json");
    let text = |price: &str| {
        format!(r#"{{"models":[{{"id":"own","provider":"b","price":{{"input":"{price}","output":"2"}}}}]}}"#)
    };
    std::fs::write(&list, text("1")).unwrap();
    let with_list = format!("{TWO}[catalog]\nfile = \"{}\"\n", list.display());
    running.change(&with_list);
    std::fs::write(&list, text("7")).unwrap();
    assert_eq!(running.reload().unwrap().changed, ["catalog.file"]);
    std::fs::write(&list, "{").unwrap();
    assert!(running.reload().unwrap_err()[0].contains("catalog.file: "));
}

#[tokio::test]
async fn a_list_that_changes_between_being_read_and_the_end_of_the_start_is_taken_over_by_the_next_reload() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("prices.json");
    let text = |price: &str| {
        format!(r#"{{"models":[{{"id":"own","provider":"b","price":{{"input":"{price}","output":"2"}}}}]}}"#)
    };
    std::fs::write(&list, text("1")).unwrap();
    let mut running = Running::start(&format!("{TWO}[catalog]\nfile = \"{}\"\n", list.display())).await;
    std::fs::write(&list, text("7")).unwrap();
    // What is noted of the start is what was parsed then.
    running.read = Some(running.ground.first(running.parts.attached.clone()));
    assert_eq!(running.reload().unwrap().changed, ["catalog.file"]);
}

#[tokio::test]
async fn what_is_parsed_is_what_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.jsonl");
    std::fs::write(&script, "one").unwrap();
    let settings = format!("[[providers]]\nname = \"box\"\nkind = \"sandbox\"\nscript = \"{}\"\n", script.display());
    let config = Config::from_toml(&settings).unwrap();
    let attachments = Attachments::read(&config);
    std::fs::write(&script, "two").unwrap();
    let running = Running::start(TWO).await;
    let keys = &running.parts.keys;
    assert_eq!(attachments.text(&script).unwrap(), "one");
    let key = "providers.box.script";
    assert_eq!(attachments.marks(&config, keys)[key], keys.mark(key, b"one"));
    assert!(attachments.text(Path::new("other")).is_err());
}

#[tokio::test]
async fn budgets_that_name_what_is_gone_are_told_of_by_name() {
    let mut running = Running::start(TWO).await;
    let terms = |action| BudgetTerms::new("1".parse::<Picodollars>().unwrap(), action);
    let now = running.parts.clock.now();
    let downgrade = BudgetAction::new("downgrade", Some("smart")).unwrap();
    running.parts.keys.create_budget(BudgetScope::Everything, Window::Day, terms(downgrade), now).unwrap();
    let provider = BudgetScope::new("provider", Some("b")).unwrap();
    running.parts.keys.create_budget(provider, Window::Day, terms(BudgetAction::Block), now).unwrap();
    let warnings = |running: &mut Running| -> Vec<String> {
        running.reload().unwrap().warnings.iter().map(ToString::to_string).collect()
    };
    assert_eq!(warnings(&mut running), Vec::<String>::new());
    running.write("[[providers]]\nname = \"a\"\nkind = \"sandbox\"\n");
    let told = warnings(&mut running);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("the route \"smart\"") && told[1].contains("the provider \"b\""), "{told:?}");
}

#[tokio::test]
async fn contents_alerts_and_reports_of_providers_follow() {
    let mut running = Running::start(TWO).await;
    assert!(!running.parts.content.keeps(crate::config::Bodies::Full, true));
    running.change(&format!(
        "{TWO}[log]\nbodies = \"errors\"\n[alerts]\nwebhook_url = \"http://127.0.0.1:1/x\"\nprivate_hosts = [\"127.0.0.1\"]\n"
    ));
    assert!(running.parts.content.keeps(running.in_force().config.log.bodies, true));
    assert_eq!(running.parts.alerts.channels().len(), 1);
    assert!(running.parts.reconciler.accounts().is_empty());
    running.change(
        "[[providers]]\nname = \"o\"\nkind = \"openai\"\napi_key = \"env:PATH\"\nadmin_api_key = \"file:KEY\"\n",
    );
    assert_eq!((running.parts.reconciler.accounts().len(), running.parts.alerts.channels().len()), (1, 0));
}

#[tokio::test]
async fn asks_are_answered_one_after_the_other_until_the_stop() {
    let Running { parts, ground, folder, .. } = Running::start(TWO).await;
    let (reloads, asks) = Reloads::channel();
    start(&parts, ground.source.clone(), (reloads.clone(), asks), None);
    for number in 1..=5 {
        write(folder.path(), &format!("{TWO}[cache]\nttl = \"{number}s\"\n"));
        let answers = futures_util::future::join_all((0..6).map(|_| reloads.ask(Trigger::Api))).await;
        // The first one of them finds a change, unless the watch was first.
        let changes = answers.iter().filter(|answer| !answer.as_ref().unwrap().changed.is_empty()).count();
        assert!(changes <= 1, "{answers:?}");
    }
    assert_eq!(parts.gateway.in_force().config.cache.ttl.as_secs(), 5);
    parts.tasks.stop().await;
    assert_eq!(reloads.ask(Trigger::Api).await, Err(NotReloaded::Unavailable));
}
