//! The prices of one model, and what a usage costs by them.
//!
//! One row of prices for each service tier, again for long contexts, and surcharges. Which row holds is decided here
//! and nowhere else; a price that the list lacks is stood in for by the rules in `price_of` and makes the cost an
//! estimate.

use crate::domain::{Billed, CostBasis, Multiplier, Picodollars, Price, PriceName, Residency, ServiceTier, TokenUsage};

use super::hours::OffPeak;

/// More tokens than any usage that is believed has in all its buckets together.
const TOKENS_MAX: u64 = 10_000_000_000_000;

/// Prices by name; some may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row([Option<Price>; PriceName::ALL.len()]);

impl Row {
    /// A row of the prices named. Reasoning is output like any other where the row has no price of its own for it.
    pub(super) fn new(prices: impl IntoIterator<Item = (PriceName, Price)>) -> Self {
        let mut row = Self::default();
        for (name, price) in prices {
            row.0[name as usize] = Some(price);
        }
        if row.get(PriceName::Reasoning).is_none() {
            row.0[PriceName::Reasoning as usize] = row.get(PriceName::Output);
        }
        row
    }

    /// This row, with the prices of another in place of its own wherever the other has one.
    pub(super) fn corrected(&self, corrections: &Self) -> Self {
        let mut row = self.clone();
        for (own, correction) in row.0.iter_mut().zip(corrections.0) {
            *own = correction.or(*own);
        }
        row
    }

    pub(super) fn get(&self, name: PriceName) -> Option<Price> {
        self.0[name as usize]
    }

    fn prices(&self) -> impl Iterator<Item = (PriceName, Price)> {
        PriceName::ALL.iter().filter_map(|name| self.get(*name).map(|price| (*name, price)))
    }
}

/// A plain row and those of the service tiers beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) plain: Row,
    pub(super) services: Vec<(ServiceTier, Row)>,
}

impl Rows {
    fn service(&self, tier: ServiceTier, name: PriceName) -> Option<Price> {
        self.services.iter().find(|(listed, _)| *listed == tier).and_then(|(_, row)| row.get(name))
    }

    fn within(&self, reach: Reach) -> impl Iterator<Item = &Row> {
        let services = self.services.iter().filter(move |(tier, _)| reach.tier.is_none_or(|asked| asked == *tier));
        std::iter::once(&self.plain).chain(services.map(|(_, row)| row))
    }
}

/// The rows that hold for a whole request whose input is longer than a threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LongContext {
    pub(super) above_input_tokens: u64,
    pub(super) rows: Rows,
}

/// Factors on the token cost of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Surcharges {
    pub(super) us: Option<Multiplier>,
    pub(super) eu: Option<Multiplier>,
    pub(super) fast: Option<Multiplier>,
}

impl Surcharges {
    fn residency(&self, residency: Residency) -> Option<Multiplier> {
        match residency {
            Residency::Anywhere => Some(Multiplier::ONE),
            Residency::Us => self.us,
            Residency::Eu => self.eu,
        }
    }
}

/// Every price of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceSheet {
    pub(super) rows: Rows,
    /// By threshold, lowest first.
    pub(super) long_contexts: Vec<LongContext>,
    pub(super) off_peak: Option<(OffPeak, Row)>,
    pub(super) surcharges: Surcharges,
    pub(super) web_search: Option<Price>,
}

/// A cost and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costing {
    /// The sum, exact to the picodollar.
    pub cost: Picodollars,
    /// `Exact`, or `Estimated` where a price had to stand in for a missing one.
    pub basis: CostBasis,
}

/// One line of the bill of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostLine {
    /// What was used, in the words of the price list, or `web_searches`, `residency`, `fast`.
    pub bucket: &'static str,
    /// How many tokens or searches; 0 for a surcharge.
    pub tokens: u64,
    /// The price of one; free for a surcharge, which has its cost alone.
    pub price: Price,
    /// What the line adds to the bill.
    pub cost: Picodollars,
    /// What the line rests on.
    pub basis: CostBasis,
}

/// What a request can be billed as, in the worst case; `None` is anything that the price list has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach {
    /// The service tier asked for: that one or the plain one may be billed.
    pub tier: Option<ServiceTier>,
    /// Where it may be computed.
    pub residency: Option<Residency>,
    /// Whether fast mode was asked for.
    pub fast: Option<bool>,
}

impl PriceSheet {
    /// What a usage costs. Never negative, and never less for more of anything.
    pub fn cost(&self, usage: &TokenUsage, billed: &Billed) -> Costing {
        let mut costing = Costing { cost: Picodollars::ZERO, basis: CostBasis::Exact };
        self.each_line(usage, billed, |line| {
            costing.cost += line.cost;
            costing.basis = costing.basis.and(line.basis);
        });
        costing
    }

    /// The bill line by line; the lines add up to the cost.
    pub fn lines(&self, usage: &TokenUsage, billed: &Billed) -> Vec<CostLine> {
        let mut lines = Vec::new();
        self.each_line(usage, billed, |line| lines.push(line));
        lines
    }

    /// The plain price of a name, for showing: short context, no service tier, peak hours.
    pub fn plain(&self, name: PriceName) -> Option<Price> {
        self.rows.plain.get(name)
    }

    /// The price of one web search, where the list has one.
    pub fn web_search(&self) -> Option<Price> {
        self.web_search
    }

    /// True where no token has a price above nothing.
    pub fn is_free(&self) -> bool {
        self.reachable_rows(Reach::default(), u64::MAX).all(|row| row.prices().all(|(_, price)| price == Price::FREE))
    }

    /// The dearest price that a token of input can have, whatever the request turns out to be billed as.
    pub fn dearest_input(&self) -> Price {
        self.dearest(Reach::default(), u64::MAX, false)
    }

    /// The dearest price that a token of output can have, whatever the request turns out to be billed as.
    pub fn dearest_output(&self) -> Price {
        self.dearest(Reach::default(), u64::MAX, true)
    }

    /// An upper bound of the cost of any usage with at most so much input, so much output for each of so many choices,
    /// and so many searches, however it is billed.
    pub fn ceiling(
        &self,
        input_tokens_max: u64,
        output_tokens_max: u64,
        choices: u64,
        searches_max: u64,
    ) -> Picodollars {
        self.ceiling_within(Reach::default(), input_tokens_max, output_tokens_max, choices, searches_max)
    }

    /// The same bound for a request that can be billed only within a reach.
    ///
    /// A search without a price adds nothing here, as it adds nothing to the cost: ask [`Self::web_search`] first.
    pub fn ceiling_within(
        &self,
        reach: Reach,
        input_tokens_max: u64,
        output_tokens_max: u64,
        choices: u64,
        searches_max: u64,
    ) -> Picodollars {
        let output = output_tokens_max.saturating_mul(choices);
        // No usage above the cap is believed, so the bound holds there too, and the product stays inside i128.
        self.dearest(reach, input_tokens_max, false).of(input_tokens_max.min(TOKENS_MAX))
            + self.dearest(reach, input_tokens_max, true).of(output.min(TOKENS_MAX))
            + self.web_search.unwrap_or(Price::FREE).of(searches_max.min(TOKENS_MAX))
    }

    fn each_line(&self, usage: &TokenUsage, billed: &Billed, mut add: impl FnMut(CostLine)) {
        let long = self.long_context(usage.total_input());
        let is_off_peak = self.off_peak.as_ref().is_some_and(|(hours, _)| hours.contains(billed.at));
        let is_free = self.is_free();
        let mut tokens_cost = Picodollars::ZERO;
        for name in PriceName::ALL {
            let tokens = count_of(usage, *name);
            if tokens == 0 {
                continue;
            }
            let (price, basis) = self.price_of(*name, billed.tier, long, is_off_peak);
            // Where everything is free, no price that stands in can be wrong.
            let basis = if is_free { CostBasis::Exact } else { basis };
            let cost = price.of(tokens);
            tokens_cost += cost;
            add(CostLine { bucket: name.as_str(), tokens, price, cost, basis });
        }
        let residency =
            ("residency", billed.residency != Residency::Anywhere, self.surcharges.residency(billed.residency));
        let fast = ("fast", billed.fast, self.surcharges.fast);
        for (bucket, holds, factor) in [residency, fast] {
            if holds && !tokens_cost.is_zero() {
                let multiplied = factor.unwrap_or(Multiplier::ONE).of(tokens_cost);
                let basis = if factor.is_some() { CostBasis::Exact } else { CostBasis::Estimated };
                add(CostLine { bucket, tokens: 0, price: Price::FREE, cost: multiplied - tokens_cost, basis });
                tokens_cost = multiplied;
            }
        }
        if usage.web_searches > 0 {
            let price = self.web_search.unwrap_or(Price::FREE);
            let basis = if self.web_search.is_some() { CostBasis::Exact } else { CostBasis::Estimated };
            let tokens = usage.web_searches;
            add(CostLine { bucket: "web_searches", tokens, price, cost: price.of(tokens), basis });
        }
    }

    /// The rows of the highest threshold that the input is above: they hold for the whole request.
    fn long_context(&self, total_input: u64) -> Option<&LongContext> {
        self.long_contexts.iter().rev().find(|long| total_input > long.above_input_tokens)
    }

    /// The price of a name, and whether it is the listed one.
    ///
    /// A name that the billed tier lacks has the plain price, or the tier's price for short contexts where that is
    /// dearer. A name without a price in any row is charged as input, or as output where it is a kind of output.
    fn price_of(
        &self,
        name: PriceName,
        tier: ServiceTier,
        long: Option<&LongContext>,
        is_off_peak: bool,
    ) -> (Price, CostBasis) {
        let plain = long
            .and_then(|long| long.rows.plain.get(name))
            .or_else(|| self.off_peak.as_ref().filter(|_| is_off_peak).and_then(|(_, row)| row.get(name)))
            .or_else(|| self.rows.plain.get(name));
        let short_service = self.rows.service(tier, name);
        let listed = match (tier, long) {
            (ServiceTier::Default, _) => plain,
            (_, Some(long)) => long.rows.service(tier, name),
            (_, None) => short_service,
        };
        if let Some(price) = listed {
            return (price, CostBasis::Exact);
        }
        if let Some(price) = plain.max(short_service) {
            return (price, CostBasis::Estimated);
        }
        let stand_in = match name {
            PriceName::Input => return (Price::FREE, CostBasis::Estimated),
            PriceName::Reasoning | PriceName::AudioOutput => PriceName::Output,
            _ => PriceName::Input,
        };
        (self.price_of(stand_in, tier, long, is_off_peak).0, CostBasis::Estimated)
    }

    fn reachable_rows(&self, reach: Reach, input_tokens_max: u64) -> impl Iterator<Item = &Row> {
        let long = self.long_contexts.iter().filter(move |long| input_tokens_max > long.above_input_tokens);
        self.rows
            .within(reach)
            .chain(self.off_peak.iter().map(|(_, row)| row))
            .chain(long.flat_map(move |long| long.rows.within(reach)))
    }

    fn dearest(&self, reach: Reach, input_tokens_max: u64, output: bool) -> Price {
        // Output without a price is charged as input.
        let input_stands_in = output && self.rows.plain.get(PriceName::Output).is_none();
        let listed = self
            .reachable_rows(reach, input_tokens_max)
            .flat_map(Row::prices)
            .filter(|(name, _)| name.is_output() == output || (input_stands_in && *name == PriceName::Input))
            .map(|(_, price)| price)
            .max()
            .unwrap_or(Price::FREE);
        // What was promised may not be kept, so that a request can be billed without a surcharge that it asked for.
        let is_reached =
            |place: &Residency| *place == Residency::Anywhere || reach.residency.is_none_or(|asked| asked == *place);
        let fast = if reach.fast.unwrap_or(true) { self.surcharges.fast } else { None };
        let dearest = Residency::ALL
            .iter()
            .filter(|place| is_reached(place))
            .flat_map(|place| {
                let multiplied = self.surcharges.residency(*place).unwrap_or(Multiplier::ONE).of(listed.of(1));
                [multiplied, fast.unwrap_or(Multiplier::ONE).of(multiplied)]
            })
            .max()
            .unwrap_or(Picodollars::ZERO);
        Price::per_token(u64::try_from(dearest.get()).unwrap_or(u64::MAX))
    }
}

/// The tokens that a price name is charged for. Reasoning is a part of the output, so it is taken out of that.
fn count_of(usage: &TokenUsage, name: PriceName) -> u64 {
    let reasoning = usage.reasoning.min(usage.output);
    match name {
        PriceName::Input => usage.uncached_input,
        PriceName::CacheRead => usage.cache_read,
        PriceName::CacheWrite5m => usage.cache_write_5m,
        PriceName::CacheWrite1h => usage.cache_write_1h,
        PriceName::AudioInput => usage.audio_input,
        PriceName::Output => usage.output - reasoning,
        PriceName::Reasoning => reasoning,
        PriceName::AudioOutput => usage.audio_output,
    }
}
