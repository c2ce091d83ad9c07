//! Budgets against a model of a few lines, over any order of events; sums that begin, roll over and move.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What may happen to a ledger.
#[derive(Clone, Debug)]
enum Event {
    /// A call begins: key, team, tag, deployment, ceiling.
    Reserve(u8, u8, u8, u8, i128),
    /// One of the calls that run falls back: which, what the attempt cost, deployment and ceiling of the next.
    Renew(usize, i128, u8, i128),
    /// One of them ends: which, and what it cost.
    Settle(usize, i128),
    /// One of them is given up.
    Drop(usize),
    /// A budget begins, whatever was spent before.
    Track(usize),
    /// Time goes on, by minutes.
    Wait(i64),
    /// The process dies.
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..2_u8, 0..2_u8, 0..2_u8, 0..3_u8, 0..60_i128)
            .prop_map(|(key, team, tag, deployment, ceiling)| Event::Reserve(key, team, tag, deployment, ceiling)),
        2 => (any::<usize>(), 0..30_i128, 0..3_u8, 0..60_i128)
            .prop_map(|(which, cost, next, ceiling)| Event::Renew(which, cost, next, ceiling)),
        4 => (any::<usize>(), 0..60_i128).prop_map(|(which, cost)| Event::Settle(which, cost)),
        1 => any::<usize>().prop_map(Event::Drop),
        1 => (0..BUDGETS.len()).prop_map(Event::Track),
        2 => (1..200_i64).prop_map(Event::Wait),
        1 => Just(Event::Crash),
    ]
}

/// Kind, value, window and limit; a budget is in force from the first event that its place in the list is due at.
const BUDGETS: [(&str, &str, Window, i128); 11] = [
    ("everything", "", Window::Day, 300),
    ("everything", "", Window::Total, 900),
    ("key", "key_0", Window::Hour, 80),
    ("team", "team_1", Window::Week, 400),
    ("provider", "p1", Window::Day, 120),
    ("model", "m", Window::Month, 500),
    ("model", "p1/m", Window::Day, 90),
    ("model", "p1/*", Window::Week, 350),
    ("model", "other", Window::Hour, 100),
    ("operation", "chat", Window::Hour, 150),
    ("tag", "env=1", Window::Day, 150),
];

const DEPLOYMENTS: [&str; 3] = ["p0/m", "p1/m", "p1/other-2026-01-01"];

/// One call as the model has it.
#[derive(Clone, Debug)]
struct Call {
    number: u64,
    facts: CallFacts,
    attempts: Vec<(u8, i128)>,
    is_unknown: bool,
}

impl Call {
    /// What it adds to a sum; written apart from what the ledger does.
    fn cost_in(&self, (kind, value, ..): (&str, &str, Window, i128)) -> i128 {
        let facts = &self.facts;
        let belongs = |deployment: u8| {
            let (provider, model) = DEPLOYMENTS[usize::from(deployment)].split_once('/').unwrap();
            match kind {
                "everything" => true,
                "key" => facts.key.as_str() == value,
                "team" => facts.team.as_deref() == Some(value),
                "operation" => *facts.operation == *value,
                "tag" => facts.tags.iter().any(|(name, tag)| format!("{name}={tag}") == value),
                "provider" => provider == value,
                _ => match value {
                    "p1/m" => (provider, model) == ("p1", "m"),
                    "p1/*" => provider == "p1",
                    "other" => model == "other-2026-01-01",
                    plain => model == plain,
                },
            }
        };
        self.attempts.iter().filter(|(deployment, _)| belongs(*deployment)).map(|(_, cost)| cost).sum()
    }
}

#[derive(Default)]
struct Model {
    running: BTreeMap<u64, Call>,
    ended: Vec<Call>,
}

impl Model {
    /// Spent, unknown and held of a budget in the window of an instant.
    fn sums(
        &self,
        budget: (&str, &str, Window, i128),
        instant: jiff::Timestamp,
        zone: &TimeZone,
    ) -> (i128, i128, i128) {
        let window = budget.2.at(instant, zone);
        let is_in = |call: &&Call| budget.2.at(at(call.facts.id.unix_ms()), zone) == window;
        let ended = || self.ended.iter().filter(is_in);
        (
            ended().map(|call| call.cost_in(budget)).sum(),
            ended().filter(|call| call.is_unknown).map(|call| call.cost_in(budget)).sum(),
            self.running.values().filter(is_in).map(|call| call.cost_in(budget)).sum(),
        )
    }

    /// Whether a call that begins or goes on fits under all of its budgets.
    fn fits(&self, call: &Call, budgets: &[usize], zone: &TimeZone) -> bool {
        budgets.iter().all(|&budget| {
            let budget = BUDGETS[budget];
            let (spent, _, held) = self.sums(budget, at(call.facts.id.unix_ms()), zone);
            let own = self.running.get(&call.number).map_or(0, |before| before.cost_in(budget));
            let asked = call.cost_in(budget);
            asked <= (budget.3 - spent - (held - own)).max(0)
        })
    }
}

struct World {
    disk: Disk,
    zone: TimeZone,
    ledger: Ledger,
    reservations: BTreeMap<u64, Reservation>,
    model: Model,
    now_ms: i64,
    count: u64,
}

impl World {
    fn new(zone: TimeZone) -> Self {
        let disk = Disk::default();
        let ledger = open_with(&disk, zone.clone(), Acknowledge::Durable);
        let reservations = BTreeMap::new();
        Self { disk, zone, ledger, reservations, model: Model::default(), now_ms: START_MS, count: 0 }
    }

    /// The budgets that are in force by now and that a call may fall under, and their charges. Budgets begin in the
    /// middle of everything, without being tracked beforehand.
    fn charges(&self, call: &Call) -> (Vec<usize>, Vec<Charge>) {
        let in_force = (0..BUDGETS.len()).filter(|&budget| (budget as u64) * 3 <= self.count);
        let budgets: Vec<usize> = in_force.filter(|&budget| call.cost_in(BUDGETS[budget]) > 0).collect();
        let charge = |&budget: &usize| {
            let (kind, value, window, limit) = BUDGETS[budget];
            Charge {
                budget: BudgetId(u32::try_from(budget).unwrap()),
                scope: Scope::of(kind, value),
                window: window.at(at(call.facts.id.unix_ms()), &self.zone),
                limit: Picodollars::new(limit),
            }
        };
        let charges = budgets.iter().map(charge).collect();
        (budgets, charges)
    }

    fn pick(&self, which: usize) -> Option<u64> {
        self.model.running.keys().nth(which % self.model.running.len().max(1)).copied()
    }

    async fn apply(&mut self, event: Event) {
        match event {
            Event::Reserve(key, team, tag, deployment, ceiling) => {
                self.count += 1;
                let facts = CallFacts {
                    key: KeyId::new(&format!("key_{key}")).unwrap(),
                    team: Some(format!("team_{team}").into()),
                    tags: vec![("env".into(), tag.to_string().into())],
                    ..facts_at(self.count, self.now_ms)
                };
                let call = Call { number: self.count, facts, attempts: vec![(deployment, ceiling)], is_unknown: false };
                let (budgets, charges) = self.charges(&call);
                let fits = self.model.fits(&call, &budgets, &self.zone);
                let planned = planned_for(DEPLOYMENTS[usize::from(deployment)], ceiling, charges);
                match self.ledger.reserve(call.facts.clone(), planned).await {
                    Ok(reservation) => {
                        assert!(fits, "{call:?} was taken");
                        self.reservations.insert(call.number, reservation);
                        self.model.running.insert(call.number, call);
                    }
                    Err(error) => {
                        assert!(matches!(error, LedgerError::OverBudget { .. }), "{error}");
                        assert!(!fits, "{call:?} was refused: {error}");
                    }
                }
            }
            Event::Renew(which, cost, next, ceiling) => {
                let Some(number) = self.pick(which) else { return };
                let mut call = self.model.running[&number].clone();
                let (deployment, held) = call.attempts.pop().unwrap();
                let ended = attempt(DEPLOYMENTS[usize::from(deployment)], cost.min(held));
                call.attempts.extend([(deployment, cost.min(held)), (next, ceiling)]);
                let (budgets, charges) = self.charges(&call);
                let fits = self.model.fits(&call, &budgets, &self.zone);
                let planned = planned_for(DEPLOYMENTS[usize::from(next)], ceiling, charges);
                let reservation = self.reservations.remove(&number).unwrap();
                let reservation = match self.ledger.renew(after(reservation, ended), planned).await {
                    Ok(reservation) => {
                        assert!(fits, "{call:?} went on");
                        self.model.running.insert(number, call);
                        reservation
                    }
                    Err((reservation, error)) => {
                        assert!(!fits, "{call:?} was refused: {error}");
                        self.model.running.remove(&number);
                        call.attempts.pop();
                        self.model.ended.push(call);
                        let last = reservation.attempt();
                        return reservation.settle(outcome(EntryStatus::Settled, last)).await.unwrap();
                    }
                };
                self.reservations.insert(number, reservation);
            }
            Event::Settle(which, cost) => {
                let Some(number) = self.pick(which) else { return };
                let mut call = self.model.running.remove(&number).unwrap();
                let last = call.attempts.last_mut().unwrap();
                last.1 = last.1.min(cost);
                let last = attempt(DEPLOYMENTS[usize::from(last.0)], last.1);
                let reservation = self.reservations.remove(&number).unwrap();
                reservation.settle(outcome(EntryStatus::Settled, Some(last))).await.unwrap();
                self.model.ended.push(call);
            }
            Event::Drop(which) => {
                let Some(number) = self.pick(which) else { return };
                self.reservations.remove(&number);
                let call = self.model.running.remove(&number).unwrap();
                self.model.ended.push(Call { is_unknown: true, ..call });
                flushed(&self.ledger).await;
            }
            Event::Track(budget) => {
                let (kind, value, window, _) = BUDGETS[budget];
                let window = window.at(at(self.now_ms), &self.zone);
                self.ledger.track(Scope::of(kind, value), window).await.unwrap();
            }
            Event::Wait(minutes) => self.now_ms += minutes * 60_000,
            Event::Crash => {
                self.ledger.stop();
                self.reservations.clear();
                let running = std::mem::take(&mut self.model.running);
                self.model.ended.extend(running.into_values().map(|call| Call { is_unknown: true, ..call }));
                self.ledger = open_with(&self.disk, self.zone.clone(), Acknowledge::Durable);
            }
        }
    }

    /// Every sum that is kept is what the model says, and none is above its limit.
    async fn check(&mut self) {
        for budget in BUDGETS {
            let (kind, value, window, limit) = budget;
            let scope = Scope::of(kind, value);
            let window = window.at(at(self.now_ms), &self.zone);
            self.ledger.track(scope.clone(), window).await.unwrap();
            let balance = self.ledger.balance(&scope, window).unwrap();
            let sums = (balance.spent.get(), balance.unknown.get(), balance.held.get());
            assert_eq!(sums, self.model.sums(budget, at(self.now_ms), &self.zone), "{kind} {value} {window:?}");
            if self.count == 0 || kind == "everything" {
                assert!(sums.0 + sums.2 <= limit, "{kind} {value}: {sums:?} is over {limit}");
            }
        }
        check_clean(&self.ledger);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_order_of_events_takes_a_budget_over_its_limit_or_a_sum_from_its_rows(
        events in proptest::collection::vec(event(), 1..60),
        zone in prop_oneof![Just("UTC"), Just("Asia/Kolkata"), Just("America/St_Johns")],
    ) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let mut world = World::new(TimeZone::get(zone).unwrap());
            for event in events {
                world.apply(event).await;
            }
            world.check().await;
            world.apply(Event::Crash).await;
            world.check().await;
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_at_once_never_spend_more_than_the_limit() {
    let ledger = Arc::new(open(&Disk::default()));
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..64 {
        let ledger = Arc::clone(&ledger);
        calls.spawn(async move {
            let mut spent = 0;
            for round in 0..10 {
                let charges = vec![
                    charge(&Scope::everything(), Window::Day, 1_000),
                    charge(&Scope::of("team", "red"), Window::Month, 900),
                ];
                match ledger.reserve(facts(number * 10 + round), planned(10, charges)).await {
                    Ok(reservation) => {
                        reservation.settle(settled(7)).await.unwrap();
                        spent += 7;
                    }
                    Err(error) => assert!(matches!(error, LedgerError::OverBudget { .. }), "{error}"),
                }
            }
            spent
        });
    }
    let spent: i128 = calls.join_all().await.into_iter().sum();
    assert!(spent <= 900, "{spent} was spent");
    assert_eq!(balance(&ledger, &Scope::everything(), Window::Day), (spent, 0, 0));
    check_clean(&ledger);
}

#[tokio::test]
async fn a_sum_that_begins_in_the_middle_of_its_window_knows_what_came_before() {
    let ledger = open(&Disk::default());
    for number in 0..5 {
        ledger.reserve(facts(number), planned(10, vec![])).await.unwrap().settle(settled(10)).await.unwrap();
    }
    let running = ledger.reserve(facts(5), planned(30, vec![])).await.unwrap();
    let team = Scope::of("team", "red");
    let error = ledger.reserve(facts(6), planned(1, vec![charge(&team, Window::Week, 80)])).await.unwrap_err();
    let LedgerError::OverBudget { balance: told, .. } = error else { panic!("{error}") };
    assert_eq!((told.spent.get(), told.held.get()), (50, 30));
    ledger.track(Scope::everything(), Window::Week.at(at(START_MS), &TimeZone::UTC)).await.unwrap();
    assert_eq!(balance(&ledger, &Scope::everything(), Window::Week), (50, 0, 30));
    running.settle(settled(30)).await.unwrap();
    assert_eq!(balance(&ledger, &team, Window::Week), (80, 0, 0));
    check_clean(&ledger);
}

#[tokio::test]
async fn a_new_window_begins_at_nothing_and_old_ones_are_forgotten_by_memory_alone() {
    let disk = Disk::default();
    let ledger = open(&disk);
    let everything = Scope::everything();
    let hourly = |hours: i64| Charge {
        window: Window::Hour.at(at(START_MS + hours * HOUR_MS), &TimeZone::UTC),
        ..charge(&everything, Window::Hour, 10)
    };
    let long = ledger.reserve(facts_at(999, START_MS), planned(4, vec![hourly(0)])).await.unwrap();
    for hours in 0..50 {
        let unix_ms = START_MS + hours * HOUR_MS;
        let facts = facts_at(hours.unsigned_abs(), unix_ms);
        let reservation = ledger.reserve(facts, planned(6, vec![hourly(hours)])).await.unwrap();
        reservation.settle(settled(6)).await.unwrap();
        let next = facts_at(100 + hours.unsigned_abs(), unix_ms);
        assert!(ledger.reserve(next, planned(5, vec![hourly(hours)])).await.is_err(), "the hour is full");
    }
    // A call that began two days ago ends in the window that it began in.
    long.settle(settled(3)).await.unwrap();
    assert_eq!(balance(&ledger, &everything, Window::Hour), (9, 0, 0));
    // A clock that was set back finds the old hour as it was.
    assert!(ledger.reserve(facts_at(500, START_MS + HOUR_MS), planned(5, vec![hourly(1)])).await.is_err());
    assert!(ledger.reserve(facts_at(501, START_MS + HOUR_MS), planned(4, vec![hourly(1)])).await.is_ok());
    flushed(&ledger).await;
    check_clean(&ledger);
    ledger.stop();
    let ledger = open(&disk);
    assert!(ledger.reserve(facts_at(502, START_MS), planned(2, vec![hourly(0)])).await.is_err());
    drop(ledger.reserve(facts_at(503, START_MS), planned(1, vec![hourly(0)])).await.unwrap());
    flushed(&ledger).await;
    assert_eq!(balance(&ledger, &everything, Window::Hour), (10, 1, 0));
    check_clean(&ledger);
}

#[test]
fn memory_keeps_two_windows_of_a_kind_and_those_that_calls_run_in() {
    let mut balances = balances::Balances::default();
    let everything = Scope::everything();
    let hour = |number| WindowId { window: Window::Hour, number };
    balances.adopt(&everything, hour(0), Balance::default());
    let running = tables::tests::entry(1, 5);
    balances.hold(&running, &[hour(0)]);
    for number in 1..1_000 {
        balances.book(&running, &[hour(number)]);
        balances.committed();
    }
    assert_eq!(balances.len(), 3, "the newest two and the held one");
    assert_eq!(balances.standing(&everything, hour(7)), balances::Standing::InFile);
    balances.release(&running, &[hour(0)]);
    balances.book(&running, &[hour(1_000)]);
    balances.committed();
    assert_eq!(balances.len(), 2);
}

#[tokio::test]
async fn another_time_zone_takes_all_sums_anew() {
    let disk = Disk::default();
    let ledger = open(&disk);
    let day = charge(&Scope::everything(), Window::Day, 1_000);
    for hours in 0..48 {
        let facts = facts_at(1, START_MS + hours * HOUR_MS);
        ledger.reserve(facts, planned(1, vec![day.clone()])).await.unwrap().settle(settled(1)).await.unwrap();
    }
    assert_eq!(balance(&ledger, &Scope::everything(), Window::Day), (12, 0, 0));
    ledger.stop();
    for (zone, of_the_day) in [("Asia/Seoul", 3), ("America/New_York", 17), ("UTC", 12)] {
        let ledger = open_with(&disk, TimeZone::get(zone).unwrap(), Acknowledge::Durable);
        assert_eq!(balance(&ledger, &Scope::everything(), Window::Day), (of_the_day, 0, 0), "{zone}");
        check_clean(&ledger);
        ledger.stop();
    }
}

#[tokio::test]
async fn a_reservation_tells_the_least_that_is_left_and_a_budget_that_only_watches_refuses_nothing() {
    let ledger = open(&Disk::default());
    let (all, key) = (Scope::everything(), Scope::of("key", "key_1"));
    let plan = |ceiling, blocking, watching| {
        let charges = vec![charge(&all, Window::Day, blocking)];
        Planned { watched: vec![charge(&key, Window::Month, watching)], ..planned(ceiling, charges) }
    };
    let first = ledger.reserve(facts(1), plan(100, 1_000, 150)).await.unwrap();
    let at = |reservation: &Reservation, cost| reservation.remaining_at(Picodollars::new(cost)).map(Picodollars::get);
    assert_eq!((at(&first, 100), at(&first, 30), at(&first, 0)), (Some(50), Some(120), Some(150)));
    let second = ledger.reserve(facts(2), plan(100, 1_000, 150)).await.unwrap();
    assert_eq!((at(&second, 100), at(&second, 0)), (Some(0), Some(50)), "what others hold is not left");
    let third = ledger.reserve(facts(3), planned(100, vec![charge(&all, Window::Day, 1_000)])).await.unwrap();
    assert_eq!(at(&third, 100), Some(700));
    let renewed = ledger.renew(after(third, attempt("openai/gpt-5", 20)), plan(100, 1_000, 10_000)).await.unwrap();
    assert_eq!(at(&renewed, 100), Some(680), "what the attempt before cost is spent");
    let free = ledger.reserve(facts(4), planned(100, Vec::new())).await.unwrap();
    assert_eq!(at(&free, 100), None, "without a budget nothing is left or gone");
}

#[tokio::test]
async fn a_budget_that_begins_with_an_older_window_still_sees_what_is_held_in_a_newer_one() {
    let ledger = open(&Disk::default());
    let key = Scope::of("key", "key_1");
    let hourly = |hours: i64| {
        let window = Window::Hour.at(at(START_MS + hours * HOUR_MS), &TimeZone::UTC);
        vec![Charge { window, ..charge(&key, Window::Hour, 80) }]
    };
    let old = ledger.reserve(facts_at(1, START_MS), planned(10, Vec::new())).await.unwrap();
    let _new = ledger.reserve(facts_at(2, START_MS + HOUR_MS), planned(35, Vec::new())).await.unwrap();
    // The budget is there from now on, and the first that is asked of it is of the hour before.
    let _old = ledger.renew(after(old, attempt("openai/gpt-5", 0)), planned(20, hourly(0))).await.unwrap();
    let refused = ledger.reserve(facts_at(3, START_MS + HOUR_MS), planned(58, hourly(1))).await.unwrap_err();
    assert!(matches!(refused, LedgerError::OverBudget { .. }), "{refused}");
    assert!(ledger.reserve(facts_at(4, START_MS + HOUR_MS), planned(45, hourly(1))).await.is_ok());
}
