//! The order in which candidates are tried. Pure: numbers, time and chance come in as values.
//!
//! Who can't take the call goes to the end, with the reason; whose circuit is open, before those; before them who has no key ready or
//! no place free; the rest is in the order of the strategy. Then a conversation stays where its prompt cache is.

use crate::domain::{Considered, Deployment, Obstacle, Reason, Strategy};

use super::Candidate;
use super::experience::Pace;

/// The share of calls that look whether another deployment has become faster.
const EXPLORED_SHARE: f64 = 0.05;
/// The share of calls that find out how fast another deployment is while nobody knows: bounded, for one that refuses every call
/// never gets known.
const UNMEASURED_SHARE: f64 = 0.1;

/// A candidate with all that its place depends on.
pub(super) struct Contender {
    pub(super) candidate: Candidate,
    pub(super) seen: Considered,
    /// How fast it is, where the strategy asks.
    pub(super) pace: Option<Pace>,
}

impl Contender {
    fn can(&self) -> bool {
        self.seen.exclusion.is_none()
    }

    fn is_ready(&self) -> bool {
        self.can() && self.seen.obstacle.is_none()
    }
}

/// What else the order depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Odds<'a> {
    /// A number that differs from call to call.
    pub(super) dice: u64,
    /// Tokens that the answer is expected to have.
    pub(super) output: f64,
    /// Where the conversation is.
    pub(super) place: Option<&'a Deployment>,
}

/// Puts contenders in order and says why the first is the first.
pub(super) fn arrange(contenders: &mut [Contender], strategy: Strategy, odds: Odds<'_>) -> Reason {
    let able = contenders.iter().filter(|contender| contender.can()).count();
    let reason = match strategy {
        Strategy::Primary => Reason::First,
        Strategy::Fallback | Strategy::Learned | Strategy::Experiment => Reason::FirstHealthy,
        Strategy::CostOptimized => {
            // Who has no price comes last: nothing says that it is cheap.
            contenders.sort_by_key(|contender| (contender.seen.cost.is_none(), contender.seen.cost));
            Reason::Cheapest
        }
        Strategy::Performance => by_pace(contenders, odds),
        Strategy::Weighted => {
            contenders.sort_by(|a, b| draw(a, odds.dice).total_cmp(&draw(b, odds.dice)));
            Reason::Drawn
        }
    };
    // Stable, so that the order of the strategy stays within each group.
    let last = |obstacle: Option<Obstacle>| match obstacle {
        _ if strategy == Strategy::Primary => 0,
        None => 0,
        Some(Obstacle::Keys | Obstacle::Places) => 1,
        Some(Obstacle::Circuit) => 2,
    };
    contenders.sort_by_key(|contender| (!contender.can(), last(contender.seen.obstacle)));
    if able == 1 && contenders.len() > 1 {
        return Reason::Only;
    }
    let is_kept_from_all = contenders.first().is_some_and(|first| !first.is_ready());
    let reason = if reason == Reason::FirstHealthy && is_kept_from_all { Reason::First } else { reason };
    let natural = contenders.first().map(|first| &first.candidate.deployment);
    // What is cheapest was compared with its cache in mind; the first is the first.
    let stays = !matches!(strategy, Strategy::Primary | Strategy::CostOptimized) && odds.place != natural;
    let place = odds.place.filter(|_| stays);
    let at = contenders.iter().position(|contender| Some(&contender.candidate.deployment) == place);
    match at {
        Some(at) if contenders[at].is_ready() => {
            contenders[..=at].rotate_right(1);
            Reason::Conversation
        }
        _ => reason,
    }
}

/// Fastest first, then what is not known yet in the order of the route; but for a few calls that look how fast another is.
fn by_pace(contenders: &mut [Contender], odds: Odds<'_>) -> Reason {
    let known = |contender: &Contender| contender.pace.filter(Pace::is_known);
    contenders.sort_by(|a, b| {
        let seconds = |contender: &Contender| known(contender).map_or(f64::MAX, |pace| pace.seconds(odds.output));
        seconds(a).total_cmp(&seconds(b))
    });
    let ready: Vec<usize> = (0..contenders.len()).filter(|place| contenders[*place].is_ready()).collect();
    let Some((first, others)) = ready.split_first() else { return Reason::Fastest };
    let natural = if known(&contenders[*first]).is_some() { Reason::Fastest } else { Reason::Unmeasured };
    let unknown: Vec<usize> = others.iter().copied().filter(|place| known(&contenders[*place]).is_none()).collect();
    // The one that was looked at longest ago.
    let samples = |place: &usize| contenders[*place].pace.map_or(0.0, |pace| pace.samples);
    let stalest = others.iter().copied().min_by(|a, b| samples(a).total_cmp(&samples(b)));
    match stalest {
        _ if odds.place.is_some() => natural,
        Some(_) if !unknown.is_empty() && share(odds.dice, 0) < UNMEASURED_SHARE => {
            put_first(contenders, unknown[pick(odds.dice, unknown.len())], Reason::Unmeasured)
        }
        Some(stalest) if unknown.is_empty() && share(odds.dice, 0) < EXPLORED_SHARE => {
            put_first(contenders, stalest, Reason::Explored)
        }
        _ => natural,
    }
}

fn put_first(contenders: &mut [Contender], place: usize, reason: Reason) -> Reason {
    contenders[..=place].rotate_right(1);
    reason
}

/// When a contender arrives in a race in which the chance to be the first is its weight's share.
fn draw(contender: &Contender, dice: u64) -> f64 {
    let weight = contender.seen.weight.unwrap_or(1);
    if weight == 0 {
        return f64::INFINITY;
    }
    let name = contender.candidate.deployment.to_string();
    let place = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    -(1.0 - share(dice, place)).ln() / f64::from(weight)
}

/// A number from 0 to 1, one for each salt.
fn share(dice: u64, salt: u64) -> f64 {
    (mixed(dice ^ mixed(salt)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length is below it")]
fn pick(dice: u64, len: usize) -> usize {
    ((share(dice, 1) * len as f64) as usize).min(len - 1)
}

/// `splitmix64`: near numbers become far ones.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
