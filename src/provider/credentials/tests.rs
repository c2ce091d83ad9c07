use std::fmt;

use super::super::by_model::MADE_UP_MAX;
use super::*;

/// Credentials with a clock in seconds.
struct Fixture {
    credentials: Arc<Credentials>,
    start: Instant,
}

const MODEL: &str = "gpt-4o";

fn talk(model: &str) -> Errand {
    Errand { model: model.parse().unwrap(), is_listed: true, path: Endpoint::ChatCompletions }
}

impl Fixture {
    fn new(count: usize) -> Self {
        let secrets = (1..=count).map(|number| Secret::new(format!("sk-canary-0123456789-key{number}"))).collect();
        Self { credentials: Credentials::new("openai".parse().unwrap(), secrets), start: Instant::now() }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    /// The position of the credential that a call gets, which is told what is shown.
    fn call(&self, seconds: u64, shown: Shown) -> usize {
        self.call_to(MODEL, seconds, shown)
    }

    fn call_to(&self, model: &str, seconds: u64, shown: Shown) -> usize {
        self.call_for(&talk(model), seconds, shown)
    }

    fn call_for(&self, errand: &Errand, seconds: u64, shown: Shown) -> usize {
        let credential = self.credentials.choose(errand, true, self.at(seconds)).unwrap().unwrap();
        credential.tell(shown, self.at(seconds));
        credential.place + 1
    }

    /// The positions that calls to a model get which are answered.
    fn turns(&self, name: &str, seconds: u64, calls: usize) -> Vec<usize> {
        (0..calls).map(|_| self.call_to(name, seconds, Shown::Accepted)).collect()
    }

    fn away(&self, seconds: u64) -> Away {
        self.credentials.choose(&talk(MODEL), true, self.at(seconds)).unwrap_err()
    }

    fn states(&self, seconds: u64) -> Vec<&'static str> {
        self.credentials.standings(self.at(seconds)).iter().map(|standing| standing.state.as_str()).collect()
    }
}

const UNKNOWN: Shown = Shown::Refused(Refusal::Unknown);
const FORBIDDEN: Shown = Shown::Refused(Refusal::Forbidden);

#[test]
fn they_take_turns_and_those_that_are_left_share_evenly() {
    let fixture = Fixture::new(3);
    assert_eq!(fixture.turns(MODEL, 0, 6), [1, 2, 3, 1, 2, 3]);
    assert_eq!(fixture.call(1, UNKNOWN), 1);
    assert_eq!(fixture.turns(MODEL, 2, 6), [2, 3, 2, 3, 2, 3]);
    assert_eq!(fixture.states(2), ["disabled", "ready", "ready"]);
}

#[test]
fn a_401_concerns_every_model_and_a_403_or_429_one() {
    for (shown, elsewhere) in [
        (UNKNOWN, [2, 2]),
        (Shown::Refused(Refusal::OutOfFunds), [2, 2]),
        (FORBIDDEN, [2, 1]),
        (Shown::Limited(None), [2, 1]),
    ] {
        let fixture = Fixture::new(2);
        assert_eq!(fixture.call(0, shown), 1);
        assert_eq!(fixture.turns(MODEL, 0, 2), [2, 2], "{shown:?}");
        fixture.credentials.book().turn = 1;
        assert_eq!(fixture.turns("gpt-5", 0, 2), elsewhere, "{shown:?}");
    }
}

#[test]
fn a_scope_that_is_lacking_concerns_one_path_and_what_an_unread_path_says_no_other() {
    let pictures = Errand { path: Endpoint::Images, ..talk(MODEL) };
    let answers = Errand { path: Endpoint::Responses, ..talk(MODEL) };
    let elsewhere = Errand { path: Endpoint::Responses, ..talk("gpt-5") };
    for (errand, shown) in [
        (&answers, Shown::Refused(Refusal::OutOfScope)),
        (&pictures, Shown::Refused(Refusal::OutOfScope)),
        (&pictures, UNKNOWN),
        (&pictures, FORBIDDEN),
        (&pictures, Shown::Refused(Refusal::OutOfFunds)),
        (&pictures, Shown::Limited(None)),
    ] {
        let fixture = Fixture::new(1);
        fixture.call_for(errand, 0, shown);
        let has_ready = |errand: &Errand| fixture.credentials.has_ready(errand, fixture.at(0));
        assert!(has_ready(&talk(MODEL)) && !has_ready(errand), "{shown:?}");
        assert_eq!(has_ready(&elsewhere), errand.path != elsewhere.path, "{shown:?}");
        assert_eq!(fixture.states(0), ["ready"]);
        let standing = fixture.credentials.standings(fixture.at(0)).remove(0);
        let scopes: Vec<Scope> = standing.elsewhere.into_iter().map(|(scope, _)| scope).collect();
        assert_eq!(scopes, [Scope::Path(errand.path)], "{shown:?}");
    }
}

#[test]
fn a_path_is_tried_again_by_one_live_call() {
    let fixture = Fixture::new(1);
    let pictures = Errand { path: Endpoint::Images, ..talk(MODEL) };
    fixture.call_for(&pictures, 0, UNKNOWN);
    let choose = || fixture.credentials.choose(&pictures, true, fixture.at(301));
    let trial = choose().unwrap().unwrap();
    assert!(choose().is_err(), "one at a time");
    trial.tell(Shown::Accepted, fixture.at(302));
    assert!(choose().is_ok() && fixture.credentials.standings(fixture.at(302))[0].elsewhere.is_empty());
}

#[test]
fn what_is_not_of_the_key_changes_none() {
    let fixture = Fixture::new(1);
    fixture.call(0, Shown::Unclear);
    assert_eq!(fixture.states(0), ["ready"]);
    drop(fixture.credentials.choose(&talk(MODEL), true, fixture.at(0)).unwrap());
    assert_eq!(fixture.states(0), ["ready"]);
}

#[test]
fn a_refused_one_is_tried_by_a_call_that_can_afford_it_and_by_one_at_a_time() {
    let fixture = Fixture::new(2);
    fixture.call(0, UNKNOWN);
    assert_eq!(fixture.turns(MODEL, 299, 2), [2, 2]);
    let choose = |may_try| fixture.credentials.choose(&talk(MODEL), may_try, fixture.at(301)).unwrap().unwrap();
    assert_eq!(choose(false).place, 1, "a call with its last attempt takes what is known to work");
    let trial = choose(true);
    assert_eq!((trial.place, choose(true).place), (0, 1));
    assert_eq!(fixture.states(301), ["half-open", "ready"]);
    trial.tell(Shown::Accepted, fixture.at(302));
    assert_eq!(fixture.states(302), ["ready", "ready"]);
}

#[test]
fn a_trial_that_is_dropped_leaves_the_way_to_the_next() {
    let fixture = Fixture::new(1);
    fixture.call(0, UNKNOWN);
    let choose = || fixture.credentials.choose(&talk(MODEL), false, fixture.at(301));
    let trial = choose().unwrap();
    assert!(choose().is_err(), "one at a time");
    drop(trial);
    assert!(choose().is_ok());
}

#[test]
fn where_none_is_left_it_says_which_was_refused_when_and_what_to_do() {
    let fixture = Fixture::new(2);
    fixture.call(0, UNKNOWN);
    fixture.call(1, FORBIDDEN);
    let Away { cause, back_in, detail } = fixture.away(5);
    assert_eq!((cause, back_in), (Cause::Refused(Refusal::Unknown), Duration::from_secs(295)));
    insta::assert_snapshot!(detail, @"key 1 was refused with 401 5 s ago and is tried again in 295 s, key 2 was refused with 403 4 s ago and is tried again in 296 s. Mend the key in the settings of Tollgate; one that is good again at the provider is used at once after POST /api/providers/openai/credentials/1/enable");
    assert!(!fixture.credentials.has_ready(&talk(MODEL), fixture.at(5)));
}

#[test]
fn a_limited_one_among_refused_ones_says_when_to_come_back() {
    let fixture = Fixture::new(2);
    fixture.call(0, UNKNOWN);
    fixture.call(0, Shown::Limited(Some(Duration::from_secs(40))));
    let Away { cause, back_in, detail } = fixture.away(10);
    assert_eq!((cause, back_in), (Cause::Limited, Duration::from_secs(30)));
    insta::assert_snapshot!(detail, @"key 2 is limited for another 30 s, key 1 was refused with 401 10 s ago and is tried again in 290 s");
    assert_eq!(fixture.turns("gpt-5", 10, 2), [2, 2]);
}

#[test]
fn one_alone_has_no_other_even_where_it_is_ready() {
    let (alone, two) = (Fixture::new(1), Fixture::new(2));
    let has_another = |fixture: &Fixture, seconds| fixture.credentials.has_another(&talk(MODEL), fixture.at(seconds));
    let slow = alone.credentials.choose(&talk(MODEL), true, alone.at(0)).unwrap().unwrap();
    alone.call(1, Shown::Limited(Some(Duration::ZERO)));
    slow.tell(Shown::Limited(Some(Duration::ZERO)), alone.at(9));
    assert!(alone.credentials.has_ready(&talk(MODEL), alone.at(9)) && !has_another(&alone, 9));
    two.call(0, UNKNOWN);
    assert!(has_another(&two, 0));
    two.call(0, UNKNOWN);
    assert!(!has_another(&two, 0));
}

#[test]
fn an_admin_enables_one_at_once_at_every_model() {
    let fixture = Fixture::new(1);
    fixture.call(0, FORBIDDEN);
    fixture.call_to("gpt-5", 0, UNKNOWN);
    let enable = |position| fixture.credentials.enable(position, fixture.at(1));
    assert!(!enable(0) && !enable(2));
    assert_eq!(fixture.states(1), ["disabled"]);
    assert!(enable(1));
    assert_eq!(fixture.turns(MODEL, 1, 1), [1]);
    // It is judged anew.
    fixture.call(2, UNKNOWN);
    assert_eq!(fixture.away(2).back_in, Duration::from_mins(5));
}

#[test]
fn a_call_from_before_an_admin_enabled_it_says_nothing_of_it() {
    for shown in [UNKNOWN, FORBIDDEN, Shown::Refused(Refusal::OutOfScope), Shown::Limited(None)] {
        let fixture = Fixture::new(1);
        let slow = fixture.credentials.choose(&talk(MODEL), true, fixture.at(0)).unwrap().unwrap();
        fixture.call(0, UNKNOWN);
        assert!(fixture.credentials.enable(1, fixture.at(1)));
        slow.tell(shown, fixture.at(2));
        assert!(fixture.credentials.has_ready(&talk(MODEL), fixture.at(2)), "{shown:?}");
        fixture.call(3, UNKNOWN);
        assert_eq!(fixture.states(3), ["disabled"]);
    }
}

#[test]
fn standings_tell_of_models_by_name_and_of_keys_by_their_end_where_they_are_long_enough() {
    let fixture = Fixture::new(1);
    fixture.call_to("b", 0, FORBIDDEN);
    fixture.call_to("a", 0, Shown::Limited(Some(Duration::from_secs(9))));
    let told = |seconds| {
        let standing = fixture.credentials.standings(fixture.at(seconds)).remove(0);
        let models = standing.elsewhere.iter().map(|(model, state)| format!("{model} {}", state.as_str()));
        (standing.name().to_string(), models.collect::<Vec<_>>())
    };
    assert_eq!(told(1), ("key 1 (…key1)".to_owned(), vec!["a cooling".to_owned(), "b disabled".to_owned()]));
    assert_eq!(told(9).1, ["b disabled"]);
    let short = Credentials::new("local".parse().unwrap(), vec![Secret::new("abcd".to_owned())]);
    assert_eq!(short.standings(Instant::now())[0].name().to_string(), "key 1");
    assert!(!format!("{fixture:?}").contains("canary"), "{fixture:?}");
}

#[test]
fn names_that_clients_make_up_leave_those_of_the_settings_their_state() {
    let fixture = Fixture::new(1);
    fixture.call_to("early", 0, FORBIDDEN);
    for number in 0..3 * MADE_UP_MAX {
        fixture.call_for(&Errand { is_listed: false, ..talk(&format!("made-up-{number}")) }, 0, FORBIDDEN);
    }
    fixture.call_to("late", 0, FORBIDDEN);
    let has_ready = |model| fixture.credentials.has_ready(&talk(model), fixture.at(1));
    assert!(!has_ready("early") && !has_ready("late") && has_ready(MODEL));
    assert!(fixture.credentials.book().keys[0].models.iter().count() <= 2 * MADE_UP_MAX + 2);
    // What is over is forgotten when somebody looks.
    fixture.credentials.standings(fixture.at(8_000));
    assert_eq!(fixture.credentials.book().keys[0].models.iter().count(), 0);
}

#[test]
fn a_provider_without_keys_has_none_to_lose() {
    let fixture = Fixture::new(0);
    assert!(fixture.credentials.choose(&talk(MODEL), true, fixture.at(0)).unwrap().is_none());
    assert!(fixture.credentials.look(&talk(MODEL), fixture.at(0)).is_ok());
    assert!(!fixture.credentials.has_ready(&talk(MODEL), fixture.at(0)));
}

impl fmt::Debug for Fixture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.credentials.fmt(formatter)
    }
}

mod property {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_that_is_refused_gets_no_call_until_its_pause_is_over_and_the_others_share_evenly(
            count in 2_usize..6, bad in 0_usize..6, calls in 1_usize..60
        ) {
            let fixture = Fixture::new(count);
            let bad = bad % count + 1;
            let mut got = vec![0_usize; count + 1];
            for number in 0..calls {
                let credential = fixture.credentials.choose(&talk(MODEL), true, fixture.at(number as u64)).unwrap().unwrap();
                let position = credential.place + 1;
                got[position] += 1;
                credential.tell(if position == bad { UNKNOWN } else { Shown::Accepted }, fixture.at(number as u64));
            }
            prop_assert!(got[bad] <= 1, "{got:?}");
            let good = (1..=count).filter(|position| *position != bad).map(|position| got[position]);
            let (least, most) = (good.clone().min().unwrap(), good.max().unwrap());
            prop_assert!(most - least <= 1, "{got:?}");
        }
    }
}
