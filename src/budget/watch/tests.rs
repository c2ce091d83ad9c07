//! What is raised, from real books with a clock that is moved.

use std::time::Instant;

use jiff::tz::TimeZone;

use super::*;
use crate::budget::Underestimate;
use crate::config::Config;
use crate::domain::{BudgetAction, BudgetTerms, EntryStatus, RequestIds};
use crate::keys::{NewKey, VirtualKey};
use crate::ledger::{Acknowledge, Attempt, CallFacts, LedgerOptions, Outcome, Planned, WorstCase};
use crate::provider::{Refusal, Scope};
use crate::runtime::{Clock, Leap};
use crate::store::{OpenOptions, Settings};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn noon() -> Timestamp {
    at("2026-11-25T12:00:00Z")
}

struct Fixture {
    _folder: tempfile::TempDir,
    settings: Settings,
    keys: Arc<Keys>,
    ledger: Arc<Ledger>,
    budgets: Arc<Budgets>,
    clock: Clock,
    ids: RequestIds,
    watch: Watch,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.redb");
        let settings = Settings::open(&OpenOptions { path, name: "settings", cache_bytes: 1 << 20 }).unwrap();
        let keys = Arc::new(Keys::open(settings.clone(), &folder.path().join("pepper")).unwrap());
        let path = folder.path().join("ledger.redb");
        let options = LedgerOptions { path, zone: TimeZone::UTC, acknowledge: Acknowledge::Durable };
        let ledger = Arc::new(Ledger::open(options).unwrap());
        let budgets = Arc::new(Budgets::new(Arc::clone(&keys), Arc::clone(&ledger)));
        let clock = Clock::manual(noon());
        let watch = watch(&settings, &keys, &ledger, &budgets, &clock);
        Self { _folder: folder, settings, keys, ledger, budgets, clock, ids: RequestIds::new(1), watch }
    }

    /// Everything that the process knows is forgotten, and what lies on the disk is not.
    fn restart(&mut self) {
        self.watch = watch(&self.settings, &self.keys, &self.ledger, &self.budgets, &self.clock);
    }

    fn key(&self) -> Arc<VirtualKey> {
        self.keys.create(NewKey::named("ci"), noon()).unwrap().0
    }

    async fn budget(&self, window: Window, limit: i64, action: BudgetAction) -> Arc<BudgetDefinition> {
        let terms = BudgetTerms::new(Picodollars::from_dollars(limit), action);
        let budget = self.keys.create_budget(BudgetScope::Everything, window, terms, noon()).unwrap();
        self.budgets.track(&budget, noon()).await.unwrap();
        budget
    }

    /// Books a call and lets the watch note it.
    async fn call(&self, key: &VirtualKey, time: Timestamp, cost: &str, basis: CostBasis) {
        let deployment: Deployment = "openai/gpt-5".parse().unwrap();
        let facts = CallFacts::plain(
            self.ids.next(time.as_millisecond()),
            key.id.clone(),
            key.name.as_str().into(),
            "gpt-5".parse().unwrap(),
        );
        let ceiling = cost.parse().unwrap();
        let worst_case = WorstCase::fixed(ceiling);
        let planned = Planned {
            deployment,
            worst_case,
            charges: Vec::new(),
            turning: Vec::new(),
            watched: Vec::new(),
            started_ms: 0,
        };
        let mut settled = self.ledger.subscribe();
        let reservation = self.ledger.reserve(facts, planned).await.unwrap();
        let last = Attempt { status: 200, cost: ceiling, basis, ..reservation.worst_case() };
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
        self.watch.note(&settled.recv().await.unwrap());
    }

    /// What was raised, oldest first: kind and threshold.
    fn raised(&self) -> Vec<(AlertKind, Option<u8>)> {
        let (items, _) = self.watch.alerts.page(None, 100);
        items.iter().rev().map(|logged| (logged.alert.what.kind, logged.alert.what.threshold_percent)).collect()
    }
}

fn watch(settings: &Settings, keys: &Arc<Keys>, ledger: &Arc<Ledger>, budgets: &Arc<Budgets>, clock: &Clock) -> Watch {
    let config = Config::from_toml("").unwrap();
    let alerts = Alerts::open(settings.clone(), &config.alerts, None, clock.clone(), TimeZone::UTC).unwrap();
    Watch::new(Arc::clone(budgets), Arc::clone(keys), Arc::clone(ledger), Arc::new(alerts))
}

const THRESHOLD: AlertKind = AlertKind::BudgetThreshold;

#[tokio::test]
async fn what_a_call_touches_is_looked_at_and_told_once_in_each_window() {
    let mut fixture = Fixture::new();
    let key = fixture.key();
    fixture.budget(Window::Day, 1, BudgetAction::Alert).await;
    fixture.call(&key, noon(), "0.6", CostBasis::Exact).await;
    for _ in 0..3 {
        fixture.watch.look(noon());
        fixture.watch.look_at_all(noon());
        fixture.restart();
    }
    let thresholds = |fixture: &Fixture| -> Vec<u8> {
        fixture.raised().iter().filter(|(kind, _)| *kind == THRESHOLD).filter_map(|(_, percent)| *percent).collect()
    };
    assert_eq!(thresholds(&fixture), [50]);
    let tomorrow = at("2026-11-26T12:00:00Z");
    fixture.clock.set(tomorrow);
    fixture.call(&key, tomorrow, "0.85", CostBasis::Exact).await;
    fixture.watch.look(tomorrow);
    assert_eq!(thresholds(&fixture), [50, 50, 80]);
}

#[tokio::test]
async fn what_was_booked_while_nobody_looked_is_found_at_the_start() {
    let mut fixture = Fixture::new();
    let key = fixture.key();
    fixture.budget(Window::Month, 1, BudgetAction::Block).await;
    fixture.call(&key, noon(), "1", CostBasis::Exact).await;
    fixture.restart();
    fixture.watch.look(noon());
    assert!(fixture.raised().is_empty(), "nothing was noted");
    fixture.watch.look_at_all(noon());
    assert_eq!(fixture.raised(), [(THRESHOLD, Some(50)), (THRESHOLD, Some(80)), (THRESHOLD, Some(100))]);
}

#[tokio::test]
async fn a_refusal_counts_only_in_the_window_in_which_it_was() {
    let fixture = Fixture::new();
    let key = fixture.key();
    let budget = fixture.budget(Window::Day, 1, BudgetAction::Block).await;
    fixture.call(&key, noon(), "0.95", CostBasis::Exact).await;
    fixture.budgets.note_refusal(budget.id, Window::Day.at(at("2026-11-24T12:00:00Z"), &TimeZone::UTC));
    fixture.watch.look(noon());
    assert_eq!(fixture.raised(), [(THRESHOLD, Some(50)), (THRESHOLD, Some(80))]);
    fixture.budgets.note_refusal(budget.id, Window::Day.at(noon(), &TimeZone::UTC));
    fixture.watch.look(noon());
    assert_eq!(fixture.raised().last(), Some(&(THRESHOLD, Some(100))));
}

#[tokio::test]
async fn a_pace_that_uses_a_budget_up_is_told_once() {
    let fixture = Fixture::new();
    let key = fixture.key();
    fixture.budget(Window::Day, 10, BudgetAction::Alert).await;
    fixture.budget(Window::Hour, 10, BudgetAction::Alert).await;
    // 4.90 of 10 at noon leads to 9.80; 5.10 leads to more than ten.
    fixture.call(&key, noon(), "4.9", CostBasis::Exact).await;
    fixture.watch.look_at_all(noon());
    assert!(fixture.raised().is_empty());
    fixture.call(&key, noon(), "0.09", CostBasis::Exact).await;
    fixture.watch.look_at_all(at("2026-11-25T11:50:00Z"));
    fixture.watch.look_at_all(at("2026-11-25T11:51:00Z"));
    assert_eq!(fixture.raised(), [(AlertKind::BudgetForecast, None)]);
}

#[tokio::test]
async fn a_key_that_spends_ten_times_its_usual_is_told_once_a_day() {
    let fixture = Fixture::new();
    let key = fixture.key();
    for hour in 1..=12 {
        fixture.call(&key, noon() - SignedDuration::from_hours(hour), "0.2", CostBasis::Exact).await;
    }
    fixture.watch.look_at_all(noon());
    fixture.call(&key, noon(), "1.9", CostBasis::Exact).await;
    fixture.watch.look_at_all(noon());
    assert!(fixture.raised().is_empty());
    fixture.call(&key, noon(), "0.2", CostBasis::Exact).await;
    fixture.watch.look_at_all(noon());
    fixture.call(&key, noon(), "5", CostBasis::Exact).await;
    fixture.watch.look_at_all(noon());
    assert_eq!(fixture.raised(), [(AlertKind::SuddenSpend, None)]);
    let text = fixture.watch.alerts.page(None, 1).0[0].alert.what.text.clone();
    insta::assert_snapshot!(text, @"Key ci has spent $2.10 in this hour; an hour of its last 7 days came to $0.2000 on average.");
}

#[tokio::test]
async fn models_without_a_price_are_told_once_a_day_for_each_provider() {
    let fixture = Fixture::new();
    let key = fixture.key();
    for _ in 0..2 {
        fixture.call(&key, noon(), "0", CostBasis::Unpriced).await;
        fixture.watch.look(noon());
    }
    assert_eq!(fixture.raised(), [(AlertKind::UnpricedTraffic, None)]);
}

#[tokio::test]
async fn made_up_models_are_one_alert_that_names_the_first_and_how_many() {
    let fixture = Fixture::new();
    let made_up = (0..1_200).map(|number| format!("own/made-up-{number:04}").parse().unwrap());
    let raised: Vec<NewAlert> =
        fixture.watch.unpriced(made_up.chain(["b/m".parse().unwrap()]).collect(), noon()).collect();
    assert_eq!(raised.len(), 2);
    assert_eq!(raised[1].scope, AlertScope::new("provider", Some("own")));
    insta::assert_snapshot!(raised[1].text, @"own was asked for models without a price: made-up-0000, made-up-0001, made-up-0002, made-up-0003, made-up-0004 and 1195 more. Calls to such models count as nothing: a budget that blocks refuses them, and no other one sees what they cost. Give them prices under [prices] in tollgate.toml; this is told once a day, and the costs by model name all of them.");
}

#[tokio::test]
async fn a_provider_counts_as_recovered_only_when_it_has_answered_also_after_a_restart() {
    let mut fixture = Fixture::new();
    let look = |fixture: &Fixture, health: ProviderHealth| {
        fixture.watch.look_at_providers(&[("openai".parse().unwrap(), health)], noon());
    };
    let failing = || vec!["openai/gpt-5".parse().unwrap()];
    let (down, recovered) = ((AlertKind::ProviderDown, None), (AlertKind::ProviderRecovered, None));
    look(&fixture, ProviderHealth::Down(failing()));
    look(&fixture, ProviderHealth::Down(failing()));
    look(&fixture, ProviderHealth::TriedAgain(failing()));
    assert_eq!(fixture.raised(), [down]);
    fixture.restart();
    look(&fixture, ProviderHealth::Unknown);
    assert_eq!(fixture.raised(), [down], "nobody has called yet");
    look(&fixture, ProviderHealth::Well);
    look(&fixture, ProviderHealth::Well);
    assert_eq!(fixture.raised(), [down, recovered]);
}

#[tokio::test]
async fn a_provider_that_answers_but_for_one_model_is_degraded_and_told_so_once_an_hour() {
    let fixture = Fixture::new();
    let failing = || vec!["openai/gpt-5".parse().unwrap()];
    let look = |health| fixture.watch.look_at_providers(&[("openai".parse().unwrap(), health)], noon());
    for health in [ProviderHealth::Degraded(failing()), ProviderHealth::Well, ProviderHealth::Degraded(failing())] {
        look(health);
    }
    assert_eq!(fixture.raised(), [(AlertKind::ProviderDegraded, None)]);
    look(ProviderHealth::Down(failing()));
    look(ProviderHealth::Degraded(failing()));
    let kinds: Vec<AlertKind> = fixture.raised().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [AlertKind::ProviderDegraded, AlertKind::ProviderDown, AlertKind::ProviderRecovered]);
    let text = fixture.watch.alerts.page(None, 1).0[0].alert.what.text.clone();
    assert_eq!(text, "openai answers again, but calls to openai/gpt-5 still fail.");
}

/// A key as calls have left it.
fn key(refusal: Option<Refusal>, answered: bool) -> CredentialStanding {
    let now = Instant::now();
    CredentialStanding {
        position: 2,
        last4: Some("abcd".to_owned()),
        state: refusal.map_or(CredentialState::Ready, |refusal| CredentialState::HalfOpen { refusal, since: now }),
        answered: answered.then_some(now),
        elsewhere: Vec::new(),
    }
}

#[tokio::test]
async fn a_key_that_is_refused_is_told_once_and_its_end_only_when_a_call_has_shown_it() {
    let mut fixture = Fixture::new();
    let look = |fixture: &Fixture, key: CredentialStanding| {
        fixture.watch.look_at_credentials(&[("openai".parse().unwrap(), key)], noon());
    };
    let (disabled, recovered) = ((AlertKind::CredentialDisabled, None), (AlertKind::CredentialRecovered, None));
    look(&fixture, key(Some(Refusal::Unknown), true));
    look(&fixture, key(Some(Refusal::Unknown), true));
    assert_eq!(fixture.raised(), [disabled]);
    let alert = fixture.watch.alerts.page(None, 1).0.remove(0).alert.what;
    assert_eq!(alert.scope, AlertScope::new("credential", Some("openai/2")));
    assert!(
        alert.text.starts_with("key 2 (…abcd) of openai was refused with 401, so it is not used"),
        "{}",
        alert.text
    );
    fixture.restart();
    look(&fixture, key(None, false));
    assert_eq!(fixture.raised(), [disabled], "nobody has called yet");
    look(&fixture, key(None, true));
    look(&fixture, key(None, true));
    assert_eq!(fixture.raised(), [disabled, recovered]);
}

#[tokio::test]
async fn a_key_that_may_not_use_models_is_told_once_an_hour_however_many_they_are() {
    let fixture = Fixture::new();
    let forbidden = CredentialState::HalfOpen { refusal: Refusal::Forbidden, since: Instant::now() };
    for count in 1..4 {
        let model = |number| Scope::Model(format!("model-{number}").parse().unwrap());
        let elsewhere = (0..count).map(|number| (model(number), forbidden)).collect();
        let standing = CredentialStanding { elsewhere, ..key(None, true) };
        fixture.watch.look_at_credentials(&[("openai".parse().unwrap(), standing)], noon());
    }
    assert_eq!(fixture.raised(), [(AlertKind::CredentialDisabled, None)]);
    let text = fixture.watch.alerts.page(None, 1).0[0].alert.what.text.clone();
    assert!(text.contains("was refused with 403 at model-0"), "{text}");
}

#[tokio::test]
async fn what_costs_more_than_was_held_is_told_once_an_hour_for_each_provider() {
    let mut fixture = Fixture::new();
    let note = |fixture: &Fixture, deployment: &str| {
        fixture.budgets.note_underestimate(Underestimate {
            call: fixture.ids.next(noon().as_millisecond()),
            key_name: "ci".into(),
            deployment: deployment.parse().unwrap(),
            cost: "0.3".parse().unwrap(),
            held: "0.2".parse().unwrap(),
        });
    };
    for _ in 0..2 {
        note(&fixture, "openai/gpt-5");
        note(&fixture, "openai/gpt-5-mini");
        note(&fixture, "groq/llama");
        fixture.watch.look(noon());
        fixture.restart();
    }
    assert_eq!(fixture.raised(), [(AlertKind::LedgerUnderestimate, None); 2]);
    let told = &fixture.watch.alerts.page(None, 1).0[0].alert.what;
    assert_eq!(told.scope, AlertScope::new("provider", Some("openai")));
    assert!(told.text.contains(" of key ci cost 0.3 USD at openai/gpt-5-mini, more than the 0.2 USD"), "{}", told.text);
}

#[tokio::test]
async fn a_clock_that_is_set_wrong_is_told_once_an_hour() {
    let fixture = Fixture::new();
    let day = 86_400_000;
    for leap in [None, Some(Leap::Forward(day)), Some(Leap::Forward(day)), Some(Leap::Back(60_000)), None] {
        fixture.watch.look_at_clock(leap, noon());
    }
    assert_eq!(fixture.raised(), [(AlertKind::ClockWrong, None)]);
    fixture.watch.look_at_clock(Some(Leap::Back(60_000)), noon() + jiff::SignedDuration::from_hours(1));
    assert_eq!(fixture.raised().len(), 2);
    assert_eq!([span(59_999), span(60_000), span(7_199_999), span(7_200_000)], ["59 s", "1 min", "119 min", "2 h"]);
}

#[tokio::test]
async fn trouble_of_the_ledger_is_told_at_its_beginning_and_at_its_end() {
    let fixture = Fixture::new();
    for trouble in [None, Some("no space"), Some("no space"), None, None, Some("no space")] {
        fixture.watch.look_at_ledger(trouble, noon());
    }
    let (trouble, recovered) = ((AlertKind::LedgerTrouble, None), (AlertKind::LedgerRecovered, None));
    assert_eq!(fixture.raised(), [trouble, recovered, trouble], "nobody shall take it for well");
}
