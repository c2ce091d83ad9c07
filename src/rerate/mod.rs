//! What history would have cost at other prices, from the usage that every entry keeps.
//!
//! Each attempt is priced again by what decided over its price then: the model that answered, the service tier, where it
//! was computed, the time of day. Entries from before that was kept are priced by what can be told of it: what would
//! reproduce the cost that was booked, or else a guess, and a guess never lowers a cost. What can't be priced again is
//! counted beside the rest, with the reason. Booking the differences is the ledger's ([`crate::ledger::Wanted`]): it
//! compares with what calls cost by then, so a second time with the same prices changes nothing.

mod prices;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use crate::domain::{
    Billed, CostBasis, Deployment, EntryStatus, ModelId, Picodollars, ProviderKind, ProviderName, RequestId, Residency,
    ServiceTier,
};
use crate::ledger::{Adjusted, AdjustmentKind, Attempt, Cause, Ledger, LedgerError, Wanted};
use crate::provider::Upstream;
use crate::provider::anthropic::usage::decode_usage;
use crate::provider::openai::usage::residency_of_host;

pub use prices::{Prices, PricesError, named};

/// Adjustments of one transaction: the calls that run meanwhile wait for it.
const ADJUSTED_AT_ONCE: usize = 200;

/// Why an attempt can't be priced again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// Nobody knows what it used.
    EndNotSeen,
    /// It was booked without a usage.
    NoUsage,
    /// Neither the file nor the prices in force have its model.
    NoPrice,
    /// Somebody has said what it cost.
    ByHand,
    /// What decided over its price was not kept, and a guess would lower its cost.
    NotExact,
}

impl Left {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndNotSeen => "end_not_seen",
            Self::NoUsage => "no_usage",
            Self::NoPrice => "no_price",
            Self::ByHand => "by_hand",
            Self::NotExact => "not_exact",
        }
    }

    /// The reason in words.
    pub const fn why(self) -> &'static str {
        match self {
            Self::EndNotSeen => "its end was never seen, so nobody knows what it used: adjust it by hand",
            Self::NoUsage => "no usage was kept: the endpoint passes through unread",
            Self::NoPrice => "no price is known, neither in the file nor in force",
            Self::ByHand => "somebody has said what it cost, and that stands",
            Self::NotExact => {
                "it can't be re-rated exactly: the service tier or the model that answered was not kept then, and a guess must not lower a cost"
            }
        }
    }
}

/// The attempts of one local day at one model of one provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many could be priced again.
    pub attempts: u64,
    /// Those of them that would have cost something else.
    pub changed: u64,
    /// What they cost, adjustments included.
    pub was: Picodollars,
    /// What they would have cost.
    pub would_be: Picodollars,
}

/// Attempts that could not be priced again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// How many.
    pub attempts: u64,
    /// What they cost, and go on costing.
    pub cost: Picodollars,
}

/// What some calls would have cost.
#[derive(Clone, Debug, Default)]
pub struct Rerated {
    /// Calls that were looked at.
    pub calls: u64,
    /// By day and deployment.
    pub groups: BTreeMap<(Date, Deployment), Sums>,
    /// By deployment and reason.
    pub left: BTreeMap<(Deployment, Left), Rest>,
    /// By section of the file of prices, how many attempts it fits: none means that it was written for something else.
    pub sections: BTreeMap<String, u64>,
    /// The calls that would have cost something else, and what.
    pub wanted: Vec<(RequestId, Wanted)>,
    /// Where to go on; absent at the end.
    pub next: Option<RequestId>,
}

/// What was booked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Booked {
    /// How many calls were adjusted.
    pub adjustments: u64,
    /// By how much, in all.
    pub amount: Picodollars,
}

/// What adjustments by the prices of a file are put down to; without one by those in force.
pub fn cause(by: &str, file: Option<&str>, made: Timestamp) -> Cause {
    let reason = match file {
        Some(file) => format!("re-rated with the prices of {file}"),
        None => "re-rated with the prices in force".to_owned(),
    };
    Cause { kind: AdjustmentKind::Rerated, made, by: by.into(), reason: reason.into() }
}

/// History, and the prices to see it by.
pub struct Rerating {
    ledger: Arc<Ledger>,
    prices: Prices,
    upstreams: Vec<Arc<Upstream>>,
}

/// An attempt at other prices.
struct Rate {
    cost: Picodollars,
    basis: CostBasis,
}

impl Rerating {
    /// Over a ledger, whose providers are known by their settings of now.
    pub fn new(ledger: Arc<Ledger>, prices: Prices, upstreams: Vec<Arc<Upstream>>) -> Self {
        Self { ledger, prices, upstreams }
    }

    /// Looks at some thousands of calls of a half-open range of ids, oldest first. Blocking, well under a second.
    pub fn look(&self, from: RequestId, until: RequestId) -> Result<Rerated, LedgerError> {
        let sections = self.prices.sections().iter().map(|section| (section.clone(), 0)).collect();
        let mut rerated = Rerated { sections, ..Rerated::default() };
        let (calls, next) = self.ledger.calls_between(from, until)?;
        rerated.next = next;
        for call in &calls {
            rerated.calls += 1;
            self.take(call, &mut rerated);
        }
        Ok(rerated)
    }

    /// Books what a look has found: each call then costs what it would have cost. Twice changes nothing.
    pub async fn book(&self, rerated: &Rerated, cause: &Cause) -> Result<Booked, LedgerError> {
        let mut booked = Booked::default();
        for some in rerated.wanted.chunks(ADJUSTED_AT_ONCE) {
            for outcome in self.ledger.adjust(cause.clone(), some.to_vec()).await? {
                if let Some(entry) = outcome? {
                    booked.adjustments += 1;
                    booked.amount += entry.cost();
                }
            }
        }
        Ok(booked)
    }

    fn take(&self, call: &Adjusted, rerated: &mut Rerated) {
        let entry = &call.entry;
        let day = self.ledger.zone().to_datetime(entry.time()).date();
        let mut wanted = vec![None; entry.attempts.len()];
        let mut is_changed = false;
        for (at, (attempt, was)) in entry.attempts.iter().zip(call.attempt_costs()).enumerate() {
            self.count_sections(attempt, &mut rerated.sections);
            let rate = match self.rate(call, attempt, was) {
                None => continue,
                Some(Err(left)) => {
                    let rest = rerated.left.entry((attempt.deployment.clone(), left)).or_default();
                    rest.attempts += 1;
                    rest.cost += was;
                    continue;
                }
                Some(Ok(rate)) => rate,
            };
            let sums = rerated.groups.entry((day, attempt.deployment.clone())).or_default();
            sums.attempts += 1;
            sums.was += was;
            sums.would_be += rate.cost;
            if rate.cost != was {
                sums.changed += 1;
                is_changed = true;
                wanted[at] = Some((rate.cost, rate.basis));
            }
        }
        if is_changed {
            rerated.wanted.push((entry.facts.id, Wanted::Attempts(wanted)));
        }
    }

    /// Counts an attempt under every section that fits what was asked for or what answered.
    fn count_sections(&self, attempt: &Attempt, sections: &mut BTreeMap<String, u64>) {
        if sections.is_empty() {
            return;
        }
        let (provider, list) = list(self.upstream(&attempt.deployment.provider), attempt);
        let asked = attempt.deployment.model.as_str();
        let answered = attempt.rating.as_ref().and_then(|rating| rating.model.as_ref()).map(ModelId::as_str);
        let answered = answered.filter(|answered| *answered != asked);
        let mut fitting: Vec<&str> = self.prices.sections_of(provider, list, asked).collect();
        fitting.extend(answered.into_iter().flat_map(|answered| self.prices.sections_of(provider, list, answered)));
        fitting.sort_unstable();
        fitting.dedup();
        for section in fitting {
            *sections.entry(section.to_owned()).or_default() += 1;
        }
    }

    /// What an attempt would have cost; `None` where nothing was owed for it.
    fn rate(&self, call: &Adjusted, attempt: &Attempt, was: Picodollars) -> Option<Result<Rate, Left>> {
        if call.entry.status == EntryStatus::Unknown || attempt.basis == CostBasis::Reserved {
            let is_owed = !was.is_zero() || !attempt.usage.is_empty() || attempt.basis == CostBasis::Reserved;
            return is_owed.then_some(Err(Left::EndNotSeen));
        }
        if attempt.usage.is_empty() {
            return (attempt.basis == CostBasis::Unpriced).then_some(Err(Left::NoUsage));
        }
        if call.is_adjusted_by_hand() {
            return Some(Err(Left::ByHand));
        }
        let upstream = self.upstream(&attempt.deployment.provider);
        // The provider's own time of billing: when the answer had come.
        let length = attempt.started_ms.saturating_add(attempt.latency_ms);
        let at = call.entry.time() + SignedDuration::from_millis(length.into());
        let asked = attempt.deployment.model.as_str();
        let (answered, billed, is_certain) = match &attempt.rating {
            Some(rating) => {
                let answered = rating.model.as_ref().map_or(asked, |model| model.as_str());
                (answered, rating.billed(at), true)
            }
            None => self.told_by_cost(upstream, attempt, at),
        };
        let (provider, list) = list(upstream, attempt);
        let Some((facts, found_basis)) = self.prices.find(provider, list, asked, answered) else {
            return Some(Err(Left::NoPrice));
        };
        let costing = facts.prices.cost(&attempt.usage, &billed);
        // Of what had no price it is not kept whether its usage was whole; one that the provider told nearly always is.
        let usage_basis = match attempt.basis {
            CostBasis::Unpriced if attempt.raw_usage.is_some() => CostBasis::Exact,
            CostBasis::Unpriced => CostBasis::Estimated,
            basis => basis,
        };
        let guess_basis = if is_certain { CostBasis::Exact } else { CostBasis::Estimated };
        if !is_certain && costing.cost < was {
            return Some(Err(Left::NotExact));
        }
        let basis = usage_basis.and(costing.basis).and(found_basis).and(guess_basis);
        Some(Ok(Rate { cost: costing.cost, basis }))
    }

    fn upstream(&self, name: &ProviderName) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.name() == name).map(|upstream| &**upstream)
    }

    /// What decided over the price of an attempt that didn't keep it: what the usage itself says, or what reproduces the
    /// cost that was booked at the prices in force; and whether that is certain.
    fn told_by_cost<'a>(
        &self,
        upstream: Option<&Upstream>,
        attempt: &'a Attempt,
        at: Timestamp,
    ) -> (&'a str, Billed, bool) {
        let asked = attempt.deployment.model.as_str();
        let mut plain = Billed::plainly(at);
        let mut tiers = ServiceTier::ALL;
        let reported = attempt.raw_usage.as_ref().and_then(|raw| {
            // Anthropic tells all of it inside the usage.
            decode_usage(format!("{{\"usage\":{raw}}}").as_bytes()).ok().flatten()
        });
        match upstream.map(Upstream::kind) {
            Some(ProviderKind::Anthropic) => {
                if let Some(reported) = reported {
                    plain = reported.billed(at);
                    tiers = &[];
                }
            }
            Some(ProviderKind::OpenAi) => {
                plain.residency = upstream.map_or(Residency::Anywhere, |upstream| residency_of_host(upstream.host()));
            }
            _ => {}
        }
        if attempt.basis == CostBasis::Unpriced {
            return (asked, plain, false);
        }
        let (provider, list) = list(upstream, attempt);
        let Some(facts) = self.prices.in_force(provider, list, asked) else { return (asked, plain, false) };
        let reproduces = |billed: &Billed| facts.prices.cost(&attempt.usage, billed).cost == attempt.cost;
        if reproduces(&plain) {
            return (asked, plain, true);
        }
        let others = tiers.iter().map(|tier| Billed { tier: *tier, ..plain });
        let fitting: Vec<Billed> = others.filter(reproduces).collect();
        match fitting[..] {
            [only] => (asked, only, true),
            _ => (asked, plain, false),
        }
    }
}

/// The provider and the list of its prices: one that is not configured any more has the list of its name.
fn list<'a>(upstream: Option<&'a Upstream>, attempt: &'a Attempt) -> (&'a ProviderName, &'a str) {
    let provider = &attempt.deployment.provider;
    (provider, upstream.map_or(provider.as_str(), Upstream::catalog))
}
