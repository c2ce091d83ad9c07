//! Reads price lists: the built-in file and the operator's, in the same shape.
//!
//! Prices are decimal texts of dollars per million tokens and never pass through a float. Fields that nobody knows are
//! refused, so that a misspelt price can't be taken for a missing one.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::domain::{Multiplier, Picodollars, Price, PriceName, ServiceTier};

use super::facts::{Mode, ModelFacts};
use super::hours::OffPeak;
use super::sheet::{LongContext, PriceSheet, Row, Rows, Surcharges};
use crate::domain::Capabilities;

/// Names that lists have prices for and that no provider counts in its usage: read, checked and left out.
const UNCOUNTED: [&str; 4] = ["audio_cache_read", "image_input", "image_output", "video_input"];

/// A factor above this is a slip of the pen; it also keeps the dearest price inside 64 bits.
const FACTOR_MAX: i128 = 100;

/// Why a price list can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Not JSON, or not of the list's outer shape.
    #[error("the price list is not of the form {{\"models\": [...]}}: {0}")]
    Shape(#[source] serde_json::Error),
    /// Some models of it are wrong.
    #[error("the price list has {} bad rows: {}", .0.len(), listed(.0))]
    Rows(Vec<BadRow>),
}

/// What is wrong with one model of a price list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("models[{row}] ({id}): {problem}")]
pub struct BadRow {
    /// Its place in the list, from 0.
    pub row: usize,
    /// Its id, as far as it can be told.
    pub id: String,
    /// What is wrong.
    pub problem: String,
}

fn listed(rows: &[BadRow]) -> String {
    rows.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with the list \"models\"")]
struct FileWire<'a> {
    #[serde(default, rename = "header")]
    _header: IgnoredAny,
    #[serde(borrow)]
    models: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct IdWire {
    id: String,
}

type RowWire = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelWire {
    id: String,
    provider: String,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    aliases: Vec<Box<str>>,
    context: Option<u64>,
    max_output: Option<u64>,
    dimensions: Option<u32>,
    price: RowWire,
    flex: Option<RowWire>,
    priority: Option<RowWire>,
    batch: Option<RowWire>,
    ultrafast: Option<RowWire>,
    #[serde(default)]
    tiers: Vec<TierWire>,
    off_peak: Option<OffPeakWire>,
    #[serde(default)]
    multipliers: MultipliersWire,
    usd_per_web_search: Option<String>,
    prompt_cache_min_tokens: Option<u64>,
    #[serde(default)]
    capabilities: Capabilities,
    #[serde(default)]
    endpoints: Vec<Box<str>>,
    deprecation_date: Option<String>,
    #[serde(default, rename = "from")]
    _from: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TierWire {
    above_input_tokens: u64,
    price: RowWire,
    flex: Option<RowWire>,
    priority: Option<RowWire>,
    batch: Option<RowWire>,
    ultrafast: Option<RowWire>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OffPeakWire {
    price: RowWire,
    windows: Vec<WindowWire>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowWire {
    hours_utc: OneOrMany,
    #[serde(default)]
    weekdays: Vec<i8>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MultipliersWire {
    inference_geo_us: Option<String>,
    speed_fast: Option<String>,
    region_us: Option<String>,
    region_eu: Option<String>,
}

/// The models of a price list, all of them checked.
pub(super) fn parse(json: &str) -> Result<Vec<ModelFacts>, CatalogError> {
    let file: FileWire = serde_json::from_str(json).map_err(CatalogError::Shape)?;
    let mut models = Vec::with_capacity(file.models.len());
    let mut bad_rows = Vec::new();
    let mut seen = BTreeSet::new();
    for (row, text) in file.models.iter().enumerate() {
        let checked = model(text.get()).and_then(|facts| {
            let is_new = seen.insert((facts.catalog.clone(), facts.id.clone()));
            if is_new { Ok(facts) } else { Err("its id stands in the list twice".to_owned()) }
        });
        match checked {
            Ok(facts) => models.push(facts),
            Err(problem) => {
                let id = serde_json::from_str(text.get()).map_or_else(|_| "no id".to_owned(), |wire: IdWire| wire.id);
                bad_rows.push(BadRow { row, id, problem });
            }
        }
    }
    if bad_rows.is_empty() { Ok(models) } else { Err(CatalogError::Rows(bad_rows)) }
}

fn model(json: &str) -> Result<ModelFacts, String> {
    let wire: ModelWire = serde_json::from_str(json).map_err(|error| error.to_string())?;
    if wire.id.is_empty() || wire.provider.is_empty() {
        return Err("id and provider can't be empty".to_owned());
    }
    let plain = row("price", &wire.price)?;
    if plain.get(PriceName::Input).is_none() {
        return Err("price: has no input price".to_owned());
    }
    let services = services(wire.flex, wire.priority, wire.batch, wire.ultrafast)?;
    let prices = PriceSheet {
        rows: Rows { plain, services },
        long_contexts: long_contexts(wire.tiers)?,
        off_peak: wire.off_peak.map(off_peak).transpose()?,
        surcharges: surcharges(&wire.multipliers)?,
        web_search: wire.usd_per_web_search.as_deref().map(per_piece).transpose()?,
    };
    let retires_on = wire.deprecation_date.as_deref().map(date).transpose()?;
    Ok(ModelFacts {
        id: wire.id.into(),
        catalog: wire.provider.into(),
        aliases: wire.aliases,
        mode: wire.mode,
        context: wire.context,
        max_output: wire.max_output,
        dimensions: wire.dimensions,
        prompt_cache_min_tokens: wire.prompt_cache_min_tokens,
        capabilities: wire.capabilities,
        endpoints: wire.endpoints,
        retires_on,
        prices,
    })
}

fn row(place: &str, wire: &RowWire) -> Result<Row, String> {
    let mut prices = Vec::with_capacity(wire.len());
    for (word, text) in wire {
        let price = Price::parse_usd_per_million(text).map_err(|error| format!("{place}.{word}: {error}"))?;
        match PriceName::from_word(word) {
            Some(name) => prices.push((name, price)),
            None if UNCOUNTED.contains(&word.as_str()) => {}
            None => return Err(format!("{place}.{word}: no price is called that")),
        }
    }
    Ok(Row::new(prices))
}

fn services(
    flex: Option<RowWire>,
    priority: Option<RowWire>,
    batch: Option<RowWire>,
    ultrafast: Option<RowWire>,
) -> Result<Vec<(ServiceTier, Row)>, String> {
    let wires = [
        (ServiceTier::Flex, flex),
        (ServiceTier::Priority, priority),
        (ServiceTier::Batch, batch),
        (ServiceTier::Ultrafast, ultrafast),
    ];
    let listed = wires.into_iter().filter_map(|(tier, wire)| wire.map(|wire| (tier, wire)));
    listed.map(|(tier, wire)| Ok((tier, row(tier.as_str(), &wire)?))).collect()
}

fn long_contexts(wires: Vec<TierWire>) -> Result<Vec<LongContext>, String> {
    let mut long_contexts = Vec::with_capacity(wires.len());
    for wire in wires {
        let rows = Rows {
            plain: row("tiers.price", &wire.price)?,
            services: services(wire.flex, wire.priority, wire.batch, wire.ultrafast)?,
        };
        long_contexts.push(LongContext { above_input_tokens: wire.above_input_tokens, rows });
    }
    long_contexts.sort_by_key(|long| long.above_input_tokens);
    let is_repeated = |pair: &[LongContext]| pair[0].above_input_tokens == pair[1].above_input_tokens;
    if long_contexts.windows(2).any(is_repeated) {
        return Err("tiers: two of them have the same threshold".to_owned());
    }
    Ok(long_contexts)
}

fn off_peak(wire: OffPeakWire) -> Result<(OffPeak, Row), String> {
    let mut windows = OffPeak::default();
    for window in wire.windows {
        let hours = match window.hours_utc {
            OneOrMany::One(hours) => vec![hours],
            OneOrMany::Many(hours) => hours,
        };
        for hours in hours {
            windows.add(&hours, &window.weekdays).map_err(|problem| format!("off_peak.windows: {problem}"))?;
        }
    }
    Ok((windows, row("off_peak.price", &wire.price)?))
}

fn surcharges(wire: &MultipliersWire) -> Result<Surcharges, String> {
    let factor = |name: &str, text: &Option<String>| {
        let Some(text) = text else { return Ok(None) };
        let factor = Multiplier::parse(text).map_err(|error| format!("multipliers.{name}: {error}"))?;
        if factor.of(Picodollars::new(1_000_000)).get() > FACTOR_MAX * 1_000_000 {
            return Err(format!("multipliers.{name}: {text} is above {FACTOR_MAX}"));
        }
        Ok(Some(factor))
    };
    let (geo, region) = (factor("inference_geo_us", &wire.inference_geo_us)?, factor("region_us", &wire.region_us)?);
    Ok(Surcharges {
        us: geo.or(region),
        eu: factor("region_eu", &wire.region_eu)?,
        fast: factor("speed_fast", &wire.speed_fast)?,
    })
}

/// A price in dollars for one piece rather than for a million.
fn per_piece(text: &str) -> Result<Price, String> {
    let amount: Picodollars = text.parse().map_err(|error| format!("usd_per_web_search: {error}"))?;
    // A thousand dollars: above any price of a search, and as high as a price of a token may be.
    let price = u64::try_from(amount.get()).ok().filter(|price| *price <= 1_000_000_000_000_000);
    price.map(Price::per_token).ok_or_else(|| format!("usd_per_web_search: {text} is negative or too large"))
}

fn date(text: &str) -> Result<jiff::civil::Date, String> {
    text.parse().map_err(|_| format!("deprecation_date: {text:?} is not a day such as \"2026-11-22\""))
}
