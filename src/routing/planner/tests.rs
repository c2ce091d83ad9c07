use std::sync::Arc;

use proptest::prelude::{Strategy as _, any, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::domain::{Exclusion, Obstacle, Picodollars};
use crate::provider::Upstream;

fn upstream() -> Arc<Upstream> {
    let config = crate::config::Config::from_toml("[[providers]]\nname = \"p\"\nkind = \"sandbox\"\n").unwrap();
    Arc::new(Upstream::new(&config.providers[0], None))
}

/// `a`, `b`, … with a change to each.
fn contenders(count: usize, change: impl Fn(usize, &mut Contender)) -> Vec<Contender> {
    let upstream = upstream();
    let contender = |number: usize| {
        let model = char::from(b'a' + u8::try_from(number).unwrap());
        let deployment: Deployment = format!("p/{model}").parse().unwrap();
        let candidate =
            Candidate { deployment: deployment.clone(), upstream: Arc::clone(&upstream), facts: None, is_listed: true };
        let mut contender = Contender { candidate, seen: Considered::new(deployment), pace: None };
        change(number, &mut contender);
        contender
    };
    (0..count).map(contender).collect()
}

fn names(contenders: &[Contender]) -> String {
    contenders.iter().map(|contender| contender.candidate.deployment.model.as_str()).collect()
}

const ODDS: Odds<'_> = Odds { dice: 12_345, output: 100.0, place: None };

fn check(strategy: Strategy, mut contenders: Vec<Contender>, odds: Odds<'_>, expected: (&str, Reason)) {
    let reason = arrange(&mut contenders, strategy, odds);
    assert_eq!((names(&contenders).as_str(), reason), expected, "{strategy}");
}

fn cost(usd: i128) -> Picodollars {
    Picodollars::new(usd)
}

fn pace(first: f64, samples: f64) -> Pace {
    Pace { first, per_token: 0.01, samples }
}

#[test]
fn primary_takes_the_first_and_fallback_the_first_that_is_healthy() {
    let open_first =
        || contenders(3, |number, contender| contender.seen.obstacle = (number == 0).then_some(Obstacle::Circuit));
    check(Strategy::Primary, open_first(), ODDS, ("abc", Reason::First));
    check(Strategy::Fallback, open_first(), ODDS, ("bca", Reason::FirstHealthy));
    let all_open = contenders(3, |_, contender| contender.seen.obstacle = Some(Obstacle::Circuit));
    check(Strategy::Fallback, all_open, ODDS, ("abc", Reason::First));
    // Who only has to be waited for comes before whose circuit is open.
    let kept = [Some(Obstacle::Circuit), Some(Obstacle::Keys), None, Some(Obstacle::Places)];
    let kept = || contenders(4, |number, contender| contender.seen.obstacle = kept[number]);
    check(Strategy::Fallback, kept(), ODDS, ("cbda", Reason::FirstHealthy));
    check(Strategy::Primary, kept(), ODDS, ("abcd", Reason::First));
}

#[test]
fn who_cant_take_the_call_goes_last_and_the_only_one_that_can_says_so() {
    let blind = |number: usize, contender: &mut Contender| {
        contender.seen.exclusion = (number < 2).then_some(Exclusion::Images);
    };
    check(Strategy::Primary, contenders(4, blind), ODDS, ("cdab", Reason::First));
    check(Strategy::Fallback, contenders(3, blind), ODDS, ("cab", Reason::Only));
}

#[test]
fn the_cheapest_is_first_and_what_has_no_price_last() {
    let costs = [Some(cost(30)), None, Some(cost(10)), Some(cost(20))];
    let priced = || contenders(4, |number, contender| contender.seen.cost = costs[number]);
    check(Strategy::CostOptimized, priced(), ODDS, ("cdab", Reason::Cheapest));
    // What the cache saves is in the cost already, so a place changes nothing.
    let place = "p/a".parse().unwrap();
    check(Strategy::CostOptimized, priced(), Odds { place: Some(&place), ..ODDS }, ("cdab", Reason::Cheapest));
    let free = contenders(2, |number, contender| contender.seen.cost = Some([cost(1), cost(0)][number]));
    check(Strategy::CostOptimized, free, ODDS, ("ba", Reason::Cheapest));
}

#[test]
fn the_fastest_is_first_by_the_time_of_the_whole_answer() {
    // 0.1 + 100 × 0.05 against 1 + 100 × 0.01.
    let speeds = [(0.1, 0.05), (1.0, 0.01)];
    let both = contenders(2, |number, contender| {
        let (first, per_token) = speeds[number];
        contender.pace = Some(Pace { first, per_token, samples: 10.0 });
    });
    check(Strategy::Performance, both, ODDS, ("ba", Reason::Fastest));
}

#[test]
fn a_tenth_of_the_calls_finds_out_how_fast_another_is_and_none_where_that_is_ill() {
    let check = |first_known: usize, count_open: usize, expected: [std::ops::Range<u32>; 3], natural: Reason| {
        let mut counts = [0_u32; 3];
        for dice in 0..2_000 {
            let mut three = contenders(3, |number, contender| {
                contender.pace = Some(pace(1.0, if number < first_known { 9.0 } else { 1.0 }));
                contender.seen.obstacle = (number >= 3 - count_open).then_some(Obstacle::Circuit);
            });
            let reason = arrange(&mut three, Strategy::Performance, Odds { dice, ..ODDS });
            let first = names(&three[..1]);
            counts[usize::from(first.as_bytes()[0] - b'a')] += 1;
            assert_eq!(reason, if first == "a" { natural } else { Reason::Unmeasured });
        }
        for (count, expected) in counts.iter().zip(&expected) {
            assert!(expected.contains(count), "{counts:?}");
        }
    };
    check(1, 0, [1_740..1_860, 60..140, 60..140], Reason::Fastest);
    check(2, 0, [1_740..1_860, 0..1, 140..260], Reason::Fastest);
    // Nobody is known: the order of the route stands.
    check(0, 0, [1_740..1_860, 60..140, 60..140], Reason::Unmeasured);
    check(1, 1, [1_740..1_860, 140..260, 0..1], Reason::Fastest);
    check(1, 2, [2_000..2_001, 0..1, 0..1], Reason::Fastest);
}

#[test]
fn a_conversation_finds_out_nothing() {
    let place = "p/b".parse().unwrap();
    for dice in 0..1_000 {
        let mut two = contenders(2, |_, contender| contender.pace = Some(pace(1.0, 1.0)));
        let reason = arrange(&mut two, Strategy::Performance, Odds { dice, place: Some(&place), ..ODDS });
        assert_eq!((names(&two).as_str(), reason), ("ba", Reason::Conversation));
    }
}

#[test]
fn a_twentieth_of_the_calls_looks_whether_another_has_become_faster() {
    let mut counts = [0_u32; 3];
    for dice in 0..10_000 {
        let mut three = contenders(3, |number, contender| {
            contender.pace = Some(pace(number as f64 + 0.1, [9.0, 5.0, 3.0][number]));
        });
        let reason = arrange(&mut three, Strategy::Performance, Odds { dice, ..ODDS });
        let first = names(&three[..1]);
        counts[usize::from(first.as_bytes()[0] - b'a')] += 1;
        assert_eq!(reason, if first == "a" { Reason::Fastest } else { Reason::Explored });
    }
    // Of those not chosen, the one that was seen longest ago.
    assert_eq!(counts[1], 0);
    assert!((400..600).contains(&counts[2]), "{counts:?}");
}

#[test]
fn shares_follow_the_weights() {
    let mut counts = [0_u32; 3];
    for dice in 0..10_000 {
        let mut three = contenders(3, |number, contender| contender.seen.weight = Some([6, 3, 0][number]));
        assert_eq!(arrange(&mut three, Strategy::Weighted, Odds { dice, ..ODDS }), Reason::Drawn);
        counts[usize::from(names(&three[..1]).as_bytes()[0] - b'a')] += 1;
        assert_eq!(names(&three[2..]), "c", "no weight is the last resort");
    }
    assert!((6_500..6_850).contains(&counts[0]), "{counts:?}");
}

#[test]
fn a_conversation_stays_where_it_is_unless_that_is_ill_or_cant_take_it() {
    let place = "p/c".parse().unwrap();
    let odds = Odds { place: Some(&place), ..ODDS };
    for strategy in [Strategy::Fallback, Strategy::Performance, Strategy::Weighted] {
        let mut plain = contenders(3, |number, contender| contender.pace = Some(pace(number as f64 + 1.0, 9.0)));
        let reason = arrange(&mut plain, strategy, odds);
        assert_eq!(names(&plain[..1]), "c", "{strategy}");
        assert!(reason == Reason::Conversation || strategy == Strategy::Weighted, "{strategy}: {reason}");
    }
    check(Strategy::Primary, contenders(3, |_, _| ()), odds, ("abc", Reason::First));
    let open = contenders(3, |number, contender| contender.seen.obstacle = (number == 2).then_some(Obstacle::Circuit));
    check(Strategy::Fallback, open, odds, ("abc", Reason::FirstHealthy));
    let out = contenders(3, |number, contender| contender.seen.exclusion = (number == 2).then_some(Exclusion::Tools));
    check(Strategy::Fallback, out, odds, ("abc", Reason::FirstHealthy));
    let first = "p/a".parse().unwrap();
    check(
        Strategy::Fallback,
        contenders(2, |_, _| ()),
        Odds { place: Some(&first), ..ODDS },
        ("ab", Reason::FirstHealthy),
    );
}

#[derive(Clone, Debug)]
struct Drawn {
    obstacle: Option<Obstacle>,
    is_out: bool,
    cost: Option<i128>,
    pace: Option<(f64, f64)>,
    weight: Option<u32>,
}

fn drawn() -> impl proptest::strategy::Strategy<Value = Drawn> {
    let pace = proptest::option::of((0.001..60.0_f64, 0.0..20.0_f64));
    let obstacle = proptest::option::of(proptest::sample::select(Obstacle::ALL.as_slice()));
    (obstacle, any::<bool>(), proptest::option::of(0..1_000_i128), pace, proptest::option::of(0..10_u32))
        .prop_map(|(obstacle, is_out, cost, pace, weight)| Drawn { obstacle, is_out, cost, pace, weight })
}

proptest! {
    #[test]
    fn every_order_has_all_of_them_the_able_first_and_among_those_the_healthy(
        all in proptest::collection::vec(drawn(), 1..8),
        strategy in proptest::sample::select(Strategy::ALL),
        dice: u64,
        place in proptest::option::of(0..8_usize),
    ) {
        let make = || contenders(all.len(), |number, contender| {
            let Drawn { obstacle, is_out, cost, pace, weight } = all[number].clone();
            contender.seen.obstacle = obstacle;
            contender.seen.exclusion = is_out.then_some(Exclusion::Tools);
            contender.seen.cost = cost.map(Picodollars::new);
            contender.seen.weight = weight;
            contender.pace = pace.map(|(first, samples)| Pace { first, per_token: 0.01, samples });
        });
        let mut arranged = make();
        let place: Option<Deployment> =
            place.and_then(|place| make().get(place).map(|contender| contender.candidate.deployment.clone()));
        let odds = Odds { dice, output: 50.0, place: place.as_ref() };
        let reason = arrange(&mut arranged, strategy, odds);
        let mut sorted: Vec<char> = names(&arranged).chars().collect();
        sorted.sort_unstable();
        prop_assert_eq!(sorted.into_iter().collect::<String>(), names(&make()));
        let rank = |contender: &Contender| match (contender.can(), contender.seen.obstacle) {
            (true, _) if strategy == Strategy::Primary => 0,
            (true, None) => 0,
            (true, Some(Obstacle::Keys | Obstacle::Places)) => 1,
            (true, Some(Obstacle::Circuit)) => 2,
            (false, _) => 3,
        };
        let ranks: Vec<u8> = arranged.iter().map(rank).collect();
        prop_assert!(ranks.windows(2).all(|pair| pair[0] <= pair[1]), "{:?}", ranks);
        if reason == Reason::Conversation {
            prop_assert_eq!(Some(&arranged[0].candidate.deployment), place.as_ref());
        }
        if reason == Reason::Cheapest && arranged[0].is_ready() {
            let best = arranged.iter().filter(|contender| contender.is_ready()).filter_map(|contender| contender.seen.cost).min();
            prop_assert_eq!(arranged[0].seen.cost, best);
        }
        let mut again = make();
        prop_assert_eq!(arrange(&mut again, strategy, odds), reason);
        prop_assert_eq!(names(&again), names(&arranged), "the same odds, the same order");
    }
}
