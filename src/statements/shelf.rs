//! Where statements are kept: a row for each provider and day in the settings file, and how the last fetch went.
//!
//! What was charged and what was used come from different reports, so a new reading takes the place of its own half of a
//! day. Days of the last two years are kept.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::days::{Days, day_of};
use super::reading::{Charges, Reading, Used, Uses};
use crate::domain::{Picodollars, ProviderName, ServiceTier};
use crate::store::{ReadableTable as _, Settings, SettingsError, TableDefinition};

/// `2026-11-22 openai`: a day's rows lie together.
const STATEMENTS: TableDefinition<&str, &[u8]> = TableDefinition::new("statements");
/// How the last fetch of a provider went, by its name.
const ATTEMPTS: TableDefinition<&str, &[u8]> = TableDefinition::new("statement_attempts");
/// The version of every row here.
const ROW_VERSION: u8 = 1;
/// Days that are kept: an audit looks at the year before, and a year of two providers is a megabyte.
const DAYS_KEPT: i64 = 2 * 366;

/// How a statement came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Fetched with an admin key.
    Api,
    /// Read from a file.
    File,
}

impl Source {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::File => "file",
        }
    }
}

/// One half of a statement: what was told, when and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<T> {
    /// When it was fetched or read.
    pub at: Timestamp,
    /// How it came.
    pub source: Source,
    /// What was told.
    pub what: T,
}

/// What a provider has stated of one UTC day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The configured provider.
    pub provider: ProviderName,
    /// The day.
    pub day: Date,
    /// What was charged.
    pub charges: Option<Told<Charges>>,
    /// What was used.
    pub uses: Option<Told<Uses>>,
    /// Whether somebody was told that the day doesn't agree.
    pub is_drift_told: bool,
}

/// How the last fetch of a provider's reports went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    #[serde(rename = "at_ms", with = "milliseconds")]
    /// When.
    pub at: Timestamp,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Instants as whole milliseconds.
mod milliseconds {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.as_millisecond())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Timestamp::from_millisecond(i64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[derive(Default, Serialize, Deserialize)]
struct StatementRow {
    charges: Option<Half<ChargeRow>>,
    uses: Option<Half<UseRow>>,
    #[serde(default)]
    is_drift_told: bool,
}

#[derive(Serialize, Deserialize)]
struct Half<R> {
    #[serde(rename = "at_ms", with = "milliseconds")]
    at: Timestamp,
    source: Source,
    rows: Vec<R>,
}

#[derive(Serialize, Deserialize)]
struct ChargeRow {
    model: Option<String>,
    usd: Picodollars,
}

#[derive(Serialize, Deserialize)]
struct UseRow {
    model: String,
    tier: ServiceTier,
    #[serde(flatten)]
    used: Used,
}

fn encode(row: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![ROW_VERSION];
    serde_json::to_writer(&mut bytes, row).expect("rows have text keys and write to memory");
    bytes
}

/// A row of this version; a later one counts as none, for it can be fetched again.
fn decode<R: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<R> {
    let (&version, json) = bytes.split_first()?;
    (version == ROW_VERSION).then(|| serde_json::from_slice(json).ok()).flatten()
}

fn key(day: Date, provider: &ProviderName) -> String {
    format!("{day} {provider}")
}

/// The statements of one data folder.
#[derive(Clone, Debug)]
pub struct Statements(Settings);

impl Statements {
    /// The statements in a settings file. Blocks for the disk.
    pub fn open(settings: Settings) -> Result<Self, SettingsError> {
        settings.write::<_, SettingsError>(|transaction| {
            transaction.open_table(STATEMENTS)?;
            transaction.open_table(ATTEMPTS)?;
            Ok(())
        })?;
        Ok(Self(settings))
    }

    /// Keeps a reading in the place of what was known of its days. Blocks for the disk.
    pub fn keep(
        &self,
        provider: &ProviderName,
        reading: &Reading,
        source: Source,
        now: Timestamp,
    ) -> Result<(), SettingsError> {
        self.0.write(|transaction| {
            let mut table = transaction.open_table(STATEMENTS)?;
            for day in reading.days.each() {
                let key = key(day, provider);
                let known = table.get(key.as_str())?.and_then(|row| decode(row.value()));
                let mut row: StatementRow = known.unwrap_or_default();
                if let Some(charges) = &reading.charges {
                    let charges = charges.get(&day).into_iter().flatten();
                    let rows = charges.map(|(model, usd)| ChargeRow { model: model.clone(), usd: *usd }).collect();
                    row.charges = Some(Half { at: now, source, rows });
                }
                if let Some(uses) = &reading.uses {
                    let uses = uses.get(&day).into_iter().flatten();
                    let rows =
                        uses.map(|((model, tier), used)| UseRow { model: model.clone(), tier: *tier, used: *used });
                    row.uses = Some(Half { at: now, source, rows: rows.collect() });
                }
                table.insert(key.as_str(), encode(&row).as_slice())?;
            }
            let first_kept = day_of(now).saturating_sub(DAYS_KEPT.days()).to_string();
            table.retain_in(..first_kept.as_str(), |_, _| false)?;
            Ok(())
        })
    }

    /// What is kept of a range of days, by day and provider. Blocks for the disk.
    pub fn of(&self, days: Days) -> Result<Vec<Statement>, SettingsError> {
        self.0.read(|transaction| {
            let table = transaction.open_table(STATEMENTS)?;
            let (from, until) = (days.from().to_string(), days.until().to_string());
            let mut statements = Vec::new();
            for row in table.range(from.as_str()..until.as_str())? {
                let (key, value) = row?;
                statements.extend(decode(value.value()).and_then(|row| statement(key.value(), row)));
            }
            Ok(statements)
        })
    }

    /// Notes that somebody was told of a day that doesn't agree. Blocks for the disk.
    pub fn note_drift_told(&self, provider: &ProviderName, day: Date) -> Result<(), SettingsError> {
        self.0.write(|transaction| {
            let mut table = transaction.open_table(STATEMENTS)?;
            let key = key(day, provider);
            let known = table.get(key.as_str())?.and_then(|row| decode::<StatementRow>(row.value()));
            if let Some(mut row) = known {
                row.is_drift_told = true;
                table.insert(key.as_str(), encode(&row).as_slice())?;
            }
            Ok(())
        })
    }

    /// Notes how a fetch went. Blocks for the disk.
    pub fn note_attempt(&self, provider: &ProviderName, attempt: &Attempt) -> Result<(), SettingsError> {
        self.0.write(|transaction| {
            transaction.open_table(ATTEMPTS)?.insert(provider.as_str(), encode(attempt).as_slice())?;
            Ok(())
        })
    }

    /// How the last fetch of each provider went. Blocks for the disk.
    pub fn attempts(&self) -> Result<BTreeMap<String, Attempt>, SettingsError> {
        self.0.read(|transaction| {
            let table = transaction.open_table(ATTEMPTS)?;
            let mut attempts = BTreeMap::new();
            for row in table.iter()? {
                let (provider, value) = row?;
                attempts.extend(decode(value.value()).map(|attempt| (provider.value().to_owned(), attempt)));
            }
            Ok(attempts)
        })
    }
}

fn statement(key: &str, row: StatementRow) -> Option<Statement> {
    let (day, provider) = key.split_once(' ')?;
    let charges = row.charges.map(|Half { at, source, rows }| {
        let what = rows.into_iter().map(|ChargeRow { model, usd }| (model, usd)).collect();
        Told { at, source, what }
    });
    let uses = row.uses.map(|Half { at, source, rows }| {
        let what = rows.into_iter().map(|UseRow { model, tier, used }| ((model, tier), used)).collect();
        Told { at, source, what }
    });
    Some(Statement {
        provider: provider.parse().ok()?,
        day: day.parse().ok()?,
        charges,
        uses,
        is_drift_told: row.is_drift_told,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TokenUsage;
    use crate::store::OpenOptions;

    fn open(folder: &tempfile::TempDir) -> Statements {
        let path = folder.path().join("settings.redb");
        Statements::open(Settings::open(&OpenOptions { path, name: "settings", cache_bytes: 1 << 20 }).unwrap())
            .unwrap()
    }

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn days(from: &str, until: &str) -> Days {
        Days::new(day(from), day(until)).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn provider(name: &str) -> ProviderName {
        name.parse().unwrap()
    }

    fn charged(days: Days, usd: &[(&str, &str)]) -> Reading {
        let mut charges: BTreeMap<Date, Charges> = BTreeMap::new();
        for (on, usd) in usd {
            charges.entry(day(on)).or_default().insert(Some("gpt-5".to_owned()), usd.parse().unwrap());
        }
        Reading { days, charges: Some(charges), uses: None }
    }

    fn used(days: Days, on: &str) -> Reading {
        let used = Used { requests: Some(2), usage: TokenUsage { output: 7, ..TokenUsage::default() } };
        let uses = BTreeMap::from([(day(on), Uses::from([(("gpt-5".to_owned(), ServiceTier::Batch), used)]))]);
        Reading { days, charges: None, uses: Some(uses) }
    }

    fn total(statement: &Statement) -> String {
        let charges = statement.charges.as_ref().map(|told| told.what.values().copied().sum::<Picodollars>());
        charges.map_or_else(|| "-".to_owned(), |sum| sum.to_string())
    }

    #[test]
    fn a_later_reading_takes_the_place_of_its_own_half_of_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let statements = open(&folder);
        let openai = provider("openai");
        let range = days("2026-11-20", "2026-11-22");
        let (first, second) = (at("2026-11-21T06:00:00Z"), at("2026-11-22T06:00:00Z"));
        assert_eq!(statements.of(range).unwrap(), []);
        let reading = charged(range, &[("2026-11-20", "1.5"), ("2026-11-21", "2")]);
        statements.keep(&openai, &reading, Source::Api, first).unwrap();
        statements.keep(&openai, &used(range, "2026-11-20"), Source::File, first).unwrap();
        // A day that the new report doesn't name had nothing.
        statements.keep(&openai, &charged(range, &[("2026-11-20", "1.6")]), Source::Api, second).unwrap();
        statements.keep(&provider("other"), &charged(range, &[("2026-11-20", "9")]), Source::Api, second).unwrap();
        drop(statements);
        let kept = open(&folder).of(range).unwrap();
        let shown: Vec<(String, String, String)> =
            kept.iter().map(|s| (s.day.to_string(), s.provider.to_string(), total(s))).collect();
        let row = |day: &str, provider: &str, usd: &str| (day.to_owned(), provider.to_owned(), usd.to_owned());
        assert_eq!(
            shown,
            [
                row("2026-11-20", "openai", "1.6"),
                row("2026-11-20", "other", "9"),
                row("2026-11-21", "openai", "0"),
                row("2026-11-21", "other", "0"),
            ]
        );
        let told = kept[0].uses.as_ref().unwrap();
        assert_eq!((told.at, told.source), (first, Source::File));
        assert_eq!(told.what[&("gpt-5".to_owned(), ServiceTier::Batch)].usage.output, 7);
        assert_eq!(kept[0].charges.as_ref().unwrap().at, second);
    }

    #[test]
    fn that_somebody_was_told_survives_a_later_reading() {
        let folder = tempfile::tempdir().unwrap();
        let (statements, openai) = (open(&folder), provider("openai"));
        let range = days("2026-11-20", "2026-11-21");
        let now = at("2026-11-22T06:00:00Z");
        statements.note_drift_told(&openai, range.from()).unwrap();
        assert_eq!(statements.of(range).unwrap(), [], "there is no such day");
        statements.keep(&openai, &charged(range, &[]), Source::Api, now).unwrap();
        statements.note_drift_told(&openai, range.from()).unwrap();
        statements.keep(&openai, &charged(range, &[("2026-11-20", "1")]), Source::Api, now).unwrap();
        assert!(statements.of(range).unwrap()[0].is_drift_told);
    }

    #[test]
    fn days_of_more_than_two_years_ago_go() {
        let folder = tempfile::tempdir().unwrap();
        let (statements, openai) = (open(&folder), provider("openai"));
        let old = days("2024-01-01", "2024-01-03");
        statements.keep(&openai, &charged(old, &[]), Source::Api, at("2024-02-01T00:00:00Z")).unwrap();
        assert_eq!(statements.of(old).unwrap().len(), 2);
        let new = days("2026-11-20", "2026-11-21");
        statements.keep(&openai, &charged(new, &[]), Source::Api, at("2026-11-22T00:00:00Z")).unwrap();
        assert_eq!(statements.of(old).unwrap(), []);
        assert_eq!(statements.of(new).unwrap().len(), 1);
    }

    #[test]
    fn how_the_last_fetch_went_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (statements, now) = (open(&folder), at("2026-11-22T06:00:00Z"));
        assert!(statements.attempts().unwrap().is_empty());
        let failed = Attempt { at: now, error: Some("401".to_owned()) };
        statements.note_attempt(&provider("openai"), &failed).unwrap();
        assert_eq!(statements.attempts().unwrap()["openai"], failed);
        let good = Attempt { at: now, error: None };
        statements.note_attempt(&provider("openai"), &good).unwrap();
        assert_eq!(statements.attempts().unwrap()["openai"], good);
    }
}
