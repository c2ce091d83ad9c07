//! Ours beside theirs, day by day: the arithmetic, without a store and without a clock.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::REPORTING_LAG;
use super::drift::Drift;
use super::family::family;
use crate::catalog::Catalog;
use crate::domain::{Billed, CostBasis, Picodollars, ProviderName, ServiceTier, TokenUsage};
use crate::ledger::{Cell, Doubts, GroupBy, Ledger, LedgerError, TimeRange};
use crate::statements::{Charges, Days, Source, Statement, Uses};

/// Ours against theirs in a range of days.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The days.
    pub days: Days,
    /// A line for each provider and day, the latest day first.
    pub lines: Vec<DayLine>,
}

/// One day of one provider.
#[derive(Clone, Debug, PartialEq)]
pub struct DayLine {
    /// The configured provider.
    pub provider: ProviderName,
    /// The UTC day.
    pub day: Date,
    /// Whether its numbers are final.
    pub state: State,
    /// When and how the provider's word came, the older where there are two.
    pub told: Option<(Timestamp, Source)>,
    /// All models together.
    pub total: Line,
    /// By model, the largest difference first.
    pub models: Vec<Line>,
    /// Calls of the day whose cost is not certain: they explain a drift.
    pub doubts: Doubts,
    /// Whether somebody was told of the drift before.
    pub is_drift_told: bool,
}

/// Whether the numbers of a day are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The provider's word came long enough after the day's end.
    Complete,
    /// The day, or its report, may still grow.
    Provisional,
    /// The provider's word has not come.
    Untold,
}

impl State {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Provisional => "provisional",
            Self::Untold => "untold",
        }
    }
}

/// One model, or all.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The model as we call it, or as they do; empty for all.
    pub model: String,
    /// Their names for it, where they use others.
    pub their_models: Vec<String>,
    /// What we booked.
    pub ours: Picodollars,
    /// The tokens that we booked.
    pub our_tokens: Tokens,
    /// Calls that we sent there.
    pub our_requests: u64,
    /// What they say; absent where they don't say it of this model.
    pub theirs: Option<Theirs>,
    /// How far the two lie apart.
    pub drift: Option<Drift>,
}

/// Tokens of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// All input.
    pub input: u64,
    /// The part of it that a cache served.
    pub cached: u64,
    /// All output.
    pub output: u64,
}

impl Tokens {
    fn of(usage: &TokenUsage) -> Self {
        Self { input: usage.total_input(), cached: usage.cache_read, output: usage.total_output() }
    }

    fn all(self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// What they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Theirs {
    /// What was charged; absent where only tokens can be compared.
    pub cost: Option<Picodollars>,
    /// What that rests on.
    pub basis: Basis,
    /// The tokens that they counted, where they told them.
    pub tokens: Option<Tokens>,
    /// The requests that they counted, where they told them.
    pub requests: Option<u64>,
}

/// What their amount rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// They told the money.
    Money,
    /// Their usage at our list prices: they told usage alone.
    Usage,
    /// No price is known: tokens are compared.
    Tokens,
}

impl Basis {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Money => "money",
            Self::Usage => "usage",
            Self::Tokens => "tokens",
        }
    }
}

/// Both sides of one family of models, as they are gathered.
#[derive(Default)]
struct Sides {
    our_names: BTreeSet<String>,
    their_names: BTreeSet<String>,
    ours: Cell,
    charged: Option<Picodollars>,
    used: Option<TokenUsage>,
    requests: Option<u64>,
    /// Their usage at our prices; absent where a price is missing.
    derived: Option<Picodollars>,
}

impl Comparison {
    /// Holds statements against the ledger, for each of `providers` and for every other that has stated something. `lists`
    /// are the names of the price lists of providers, by their own names. Blocking: looks at every entry of the days.
    pub fn of(
        days: Days,
        statements: Vec<Statement>,
        providers: &BTreeSet<ProviderName>,
        ledger: &Ledger,
        catalog: &Catalog,
        lists: &BTreeMap<ProviderName, String>,
    ) -> Result<Self, LedgerError> {
        let mut stated: BTreeMap<(Date, ProviderName), Statement> =
            statements.into_iter().map(|statement| ((statement.day, statement.provider.clone()), statement)).collect();
        let mut lines = Vec::new();
        for day in days.each().rev() {
            let of_day = stated.keys().filter(|(stated, _)| *stated == day).map(|(_, provider)| provider.clone());
            let named: BTreeSet<ProviderName> = of_day.chain(providers.iter().cloned()).collect();
            if named.is_empty() {
                continue;
            }
            let ours = Ours::read(ledger, day)?;
            for provider in named {
                let statement = stated.remove(&(day, provider.clone()));
                let list = lists.get(&provider).map_or(provider.as_str(), String::as_str);
                let prices = Prices { catalog, provider: &provider, list, day };
                lines.push(line_of_day(&provider, day, &ours, statement.as_ref(), &prices));
            }
        }
        Ok(Self { days, lines })
    }

    /// The complete days that drift by more than is borne, in the sum or in a model.
    pub fn drifting(&self) -> impl Iterator<Item = &DayLine> {
        self.lines.iter().filter(|line| line.is_drifting())
    }
}

impl DayLine {
    /// Whether the day is complete and drifts by more than is borne, in the sum or in a model.
    pub fn is_drifting(&self) -> bool {
        self.state == State::Complete && (self.total.is_over() || self.models.iter().any(Line::is_over))
    }
}

impl Line {
    /// Whether it drifts by more than is borne.
    pub fn is_over(&self) -> bool {
        self.drift.is_some_and(|drift| drift.is_over)
    }
}

/// What we booked on one UTC day.
struct Ours {
    cells: Vec<(String, String, Cell)>,
    doubts: BTreeMap<crate::domain::Deployment, Doubts>,
}

impl Ours {
    /// From rollups where the hours of the team's zone are hours of UTC, from entries where they are not: exact either way.
    fn read(ledger: &Ledger, day: Date) -> Result<Self, LedgerError> {
        let range = TimeRange { from: start_of(day), until: start_of(day.saturating_add(1.day())) };
        let costs = ledger.costs(range, &[GroupBy::Provider, GroupBy::Model])?;
        let cells = costs.groups.into_iter().map(|group| (group.name, group.series, group.sums)).collect();
        Ok(Self { cells, doubts: ledger.doubts(range)? })
    }

    fn doubts_of(&self, provider: &ProviderName) -> Doubts {
        let mut sum = Doubts::default();
        for (_, doubts) in self.doubts.iter().filter(|(deployment, _)| deployment.provider == *provider) {
            sum.add(doubts);
        }
        sum
    }
}

fn start_of(day: Date) -> Timestamp {
    day.at(0, 0, 0, 0).to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).unwrap_or_default()
}

/// Our prices of a provider's models on a day.
struct Prices<'a> {
    catalog: &'a Catalog,
    provider: &'a ProviderName,
    list: &'a str,
    day: Date,
}

impl Prices<'_> {
    /// What a usage costs at list prices, summed over many calls: each token at the price of a short call, for nobody says how
    /// long the calls were.
    fn cost(&self, model: &str, tier: ServiceTier, usage: &TokenUsage) -> Option<Picodollars> {
        let facts = self.catalog.find(self.provider, self.list, model)?;
        let billed = Billed { tier, ..Billed::plainly(start_of(self.day)) };
        let one = |unit: TokenUsage, count: u64| {
            let unit = facts.prices.cost(&unit, &billed);
            let whole = unit.cost.get().checked_mul(count.into()).map(Picodollars::new)?;
            (count == 0 || unit.basis == CostBasis::Exact).then_some(whole)
        };
        let none = TokenUsage::default();
        let parts = [
            one(TokenUsage { uncached_input: 1, ..none }, usage.uncached_input),
            one(TokenUsage { cache_read: 1, ..none }, usage.cache_read),
            one(TokenUsage { cache_write_5m: 1, ..none }, usage.cache_write_5m),
            one(TokenUsage { cache_write_1h: 1, ..none }, usage.cache_write_1h),
            one(TokenUsage { audio_input: 1, ..none }, usage.audio_input),
            one(TokenUsage { output: 1, ..none }, usage.output),
            one(TokenUsage { audio_output: 1, ..none }, usage.audio_output),
            one(TokenUsage { web_searches: 1, ..none }, usage.web_searches),
        ];
        parts.into_iter().sum()
    }
}

fn line_of_day(
    provider: &ProviderName,
    day: Date,
    ours: &Ours,
    statement: Option<&Statement>,
    prices: &Prices<'_>,
) -> DayLine {
    let (charges, uses) = (statement.and_then(|s| s.charges.as_ref()), statement.and_then(|s| s.uses.as_ref()));
    let told = [charges.map(|told| (told.at, told.source)), uses.map(|told| (told.at, told.source))];
    let told = told.into_iter().flatten().min_by_key(|(at, _)| *at);
    let final_from = start_of(day.saturating_add(1.day())) + REPORTING_LAG;
    let state = match told {
        None => State::Untold,
        Some((at, _)) if at >= final_from => State::Complete,
        Some(_) => State::Provisional,
    };
    let (charges, uses) = (charges.map(|told| &told.what), uses.map(|told| &told.what));
    let sides = gather(provider, ours, charges, uses, prices);
    // A file may tell the sum of a day alone; then no model can be held against it.
    let has_sum_only = charges.is_some_and(|charges| charges.contains_key(&None));
    let says = Says { money: charges.is_some() && !has_sum_only, usage: uses.is_some() };
    let total = total(&sides, charges, uses.is_some());
    let mut models: Vec<Line> = sides.into_values().filter_map(|sides| sides.line(says)).collect();
    let weight = |line: &Line| {
        let theirs = line.theirs.as_ref().and_then(|theirs| theirs.cost).unwrap_or(line.ours);
        (line.ours.get() - theirs.get()).abs()
    };
    models.sort_by(|a, b| weight(b).cmp(&weight(a)).then(b.ours.cmp(&a.ours)).then_with(|| a.model.cmp(&b.model)));
    DayLine {
        provider: provider.clone(),
        day,
        state,
        told,
        total,
        models,
        doubts: ours.doubts_of(provider),
        is_drift_told: statement.is_some_and(|statement| statement.is_drift_told),
    }
}

/// Brings together what belongs to one family of models.
fn gather(
    provider: &ProviderName,
    ours: &Ours,
    charges: Option<&Charges>,
    uses: Option<&Uses>,
    prices: &Prices<'_>,
) -> BTreeMap<String, Sides> {
    let mut families: BTreeMap<String, Sides> = BTreeMap::new();
    for (_, model, cell) in ours.cells.iter().filter(|(name, ..)| name == provider.as_str()) {
        let sides = families.entry(family(model)).or_default();
        sides.our_names.insert(model.clone());
        sides.ours.add(cell);
    }
    for (model, amount) in charges.into_iter().flatten() {
        let Some(model) = model else { continue };
        let sides = families.entry(family(model)).or_default();
        sides.their_names.insert(model.clone());
        sides.charged = Some(sides.charged.unwrap_or_default() + *amount);
    }
    for ((model, tier), used) in uses.into_iter().flatten() {
        let sides = families.entry(family(model)).or_default();
        sides.their_names.insert(model.clone());
        let cost = prices.cost(model, *tier, &used.usage);
        sides.derived = match (sides.used, sides.derived, cost) {
            (None, _, cost) => cost,
            (Some(_), Some(sum), Some(cost)) => Some(sum + cost),
            (Some(_), ..) => None,
        };
        sides.used = Some(sides.used.unwrap_or_default() + used.usage);
        if let Some(requests) = used.requests {
            sides.requests = Some(sides.requests.unwrap_or(0).saturating_add(requests));
        }
    }
    families
}

/// Which of their reports say something of single models.
#[derive(Clone, Copy)]
struct Says {
    money: bool,
    usage: bool,
}

impl Sides {
    /// The line of the family; none where neither side has anything.
    fn line(self, says: Says) -> Option<Line> {
        let requests = self.ours.requests - self.ours.cache_hits.min(self.ours.requests);
        let ours_is_nothing = self.ours.cost.is_zero() && self.ours.usage.is_empty() && requests == 0;
        let charged_nothing = self.charged.is_none_or(Picodollars::is_zero);
        if ours_is_nothing && charged_nothing && self.used.is_none_or(|usage| usage.is_empty()) {
            return None;
        }
        let our_tokens = Tokens::of(&self.ours.usage);
        let used = self.used.unwrap_or_default();
        let tokens = says.usage.then(|| Tokens::of(&used));
        // What is used nowhere costs nothing, whether there is a price or not.
        let derived = if self.used.is_none() { Some(Picodollars::ZERO) } else { self.derived };
        let requests_told = if says.usage { self.requests } else { None };
        let theirs = |cost, basis| Theirs { cost, basis, tokens, requests: requests_told };
        let theirs = match (says.money, says.usage, derived) {
            (true, ..) => Some(theirs(Some(self.charged.unwrap_or_default()), Basis::Money)),
            (false, true, Some(cost)) => Some(theirs(Some(cost), Basis::Usage)),
            (false, true, None) => Some(theirs(None, Basis::Tokens)),
            (false, false, _) => None,
        };
        let drift = theirs.as_ref().map(|theirs| drift(self.ours.cost, our_tokens, theirs));
        let names: Vec<String> = self.our_names.into_iter().collect();
        let model = names.first().or(self.their_names.first()).cloned().unwrap_or_default();
        let their_models = self.their_names.into_iter().filter(|name| *name != model).collect();
        Some(Line { model, their_models, ours: self.ours.cost, our_tokens, our_requests: requests, theirs, drift })
    }
}

fn drift(ours: Picodollars, our_tokens: Tokens, theirs: &Theirs) -> Drift {
    match (theirs.cost, theirs.tokens) {
        (Some(cost), _) => Drift::of_money(ours, cost),
        (None, Some(tokens)) => Drift::of_counts(our_tokens.all(), tokens.all()),
        (None, None) => Drift::of_counts(our_tokens.all(), 0),
    }
}

/// The line of all models.
fn total(sides: &BTreeMap<String, Sides>, charges: Option<&Charges>, has_uses: bool) -> Line {
    let mut ours = Cell::default();
    let mut used = TokenUsage::default();
    let (mut requests, mut derived) = (None::<u64>, Some(Picodollars::ZERO));
    for side in sides.values() {
        ours.add(&side.ours);
        used = used + side.used.unwrap_or_default();
        if let Some(more) = side.requests {
            requests = Some(requests.unwrap_or(0).saturating_add(more));
        }
        if side.used.is_some() {
            derived = derived.zip(side.derived).map(|(sum, more)| sum + more);
        }
    }
    let our_tokens = Tokens::of(&ours.usage);
    let tokens = has_uses.then(|| Tokens::of(&used));
    let theirs = |cost, basis| Theirs { cost, basis, tokens, requests };
    let theirs = match (charges, has_uses, derived) {
        (Some(charges), ..) => Some(theirs(Some(charges.values().copied().sum()), Basis::Money)),
        (None, true, Some(cost)) => Some(theirs(Some(cost), Basis::Usage)),
        (None, true, None) => Some(theirs(None, Basis::Tokens)),
        (None, false, _) => None,
    };
    let drift = theirs.as_ref().map(|theirs| drift(ours.cost, our_tokens, theirs));
    Line {
        model: String::new(),
        their_models: Vec::new(),
        ours: ours.cost,
        our_tokens,
        our_requests: ours.requests - ours.cache_hits.min(ours.requests),
        theirs,
        drift,
    }
}
