//! The columns of the two kinds of files, and the call that a row of them stands for.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::adjustments::{Adjustments, Adjusts};
use super::csv::Row;
use super::mapping::Mapping;
use super::{BadRow, Taken};
use crate::domain::{Decimal, Picodollars, RequestId};
use crate::http::api::PastCallJson;

/// The first characters by which a spreadsheet takes a cell for a formula; exports put an apostrophe before them.
const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];
/// How our own export says that a row is no call, but adjusts one.
const ADJUSTS: &str = "adjusts ";
/// Bits of an id below its time.
const ID_REST_BITS: u32 = 80;

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tollgate,
    Litellm,
}

/// A header that was understood.
pub(super) struct Columns {
    kind: Kind,
    names: Vec<String>,
    places: HashMap<String, usize>,
}

/// What LiteLLM keeps beside a call, as far as it matters here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    user_api_key_alias: Option<String>,
    user_api_key_team_alias: Option<String>,
}

/// The first 128 bits of the hash of texts, each with its length so that they can't run into each other.
pub(super) fn digest(texts: &[&str]) -> u128 {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    let bytes: [u8; 16] = hash.finalize()[..16].try_into().expect("a hash has 32 bytes");
    u128::from_be_bytes(bytes)
}

impl Columns {
    /// Finds out whose columns they are.
    pub(super) fn of(header: &[String]) -> Result<Self, String> {
        let names: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        let mut places = HashMap::new();
        for (place, name) in names.iter().enumerate() {
            if places.insert(name.clone(), place).is_some() {
                return Err(format!("the column {:?} stands in the header twice", cut(name)));
            }
        }
        let has = |name: &str| places.contains_key(name);
        let kind = if has("cost_usd") && has("id") && has("time") && has("key") && has("provider") && has("model") {
            Kind::Tollgate
        } else if has("spend") && has("model") && (has("startTime") || has("start_time")) {
            Kind::Litellm
        } else {
            return Err(
                "neither an export of costs (id, time, key, provider, model, cost_usd, …) nor LiteLLM's spend logs (request_id, startTime, model, spend, …), with commas between the columns"
                    .to_owned(),
            );
        };
        Ok(Self { kind, names, places })
    }

    /// The program that wrote the file.
    pub(super) fn source(&self) -> &'static str {
        match self.kind {
            Kind::Tollgate => "tollgate",
            Kind::Litellm => "litellm",
        }
    }

    /// The column that ids stand in.
    pub(super) fn id_column(&self) -> String {
        match self.kind {
            Kind::Tollgate => "id".to_owned(),
            Kind::Litellm => "request_id".to_owned(),
        }
    }

    /// What a row adjusts, where it is no call.
    pub(super) fn adjusts(&self, row: &Row) -> Result<Option<Adjusts>, BadRow> {
        match self.kind {
            Kind::Tollgate => self.cells(row)?.adjusts(),
            Kind::Litellm => Ok(None),
        }
    }

    fn cells<'r>(&'r self, row: &'r Row) -> Result<Cells<'r>, BadRow> {
        if row.cells.len() == self.names.len() {
            return Ok(Cells { columns: self, row });
        }
        let reason = format!("{} cells under {} columns", row.cells.len(), self.names.len());
        Err(BadRow { line: row.line, column: String::new(), reason })
    }

    /// The call of a row, as it costs after what adjusts it.
    pub(super) fn call(
        &self,
        row: &Row,
        mapping: &Mapping,
        adjustments: &Adjustments,
        alike: &mut HashMap<u128, u32>,
    ) -> Result<Taken, BadRow> {
        let cells = self.cells(row)?;
        match self.kind {
            Kind::Tollgate => cells.own(mapping, adjustments),
            Kind::Litellm => cells.litellm(mapping, alike),
        }
    }
}

/// One row under its header.
struct Cells<'r> {
    columns: &'r Columns,
    row: &'r Row,
}

impl<'r> Cells<'r> {
    fn bad(&self, column: &str, reason: impl Into<String>) -> BadRow {
        BadRow { line: self.row.line, column: column.to_owned(), reason: reason.into() }
    }

    fn raw(&self, column: &str) -> &'r str {
        self.columns.places.get(column).map_or("", |place| self.row.cells[*place].trim())
    }

    /// A name: what a spreadsheet would compute is refused, and the apostrophe that kept it from that is taken off.
    fn name(&self, column: &str) -> Result<&'r str, BadRow> {
        let raw = self.raw(column);
        if raw.starts_with(FORMULA_STARTS) {
            return Err(self.bad(column, "a formula where a name should be"));
        }
        Ok(raw.strip_prefix('\'').filter(|rest| rest.starts_with(FORMULA_STARTS)).unwrap_or(raw))
    }

    /// A name that has to be there.
    fn needed(&self, column: &str) -> Result<&'r str, BadRow> {
        let name = self.name(column)?;
        if name.is_empty() { Err(self.bad(column, "empty")) } else { Ok(name) }
    }

    /// The first of some columns that has something.
    fn first(&self, columns: &[&str]) -> Result<Option<&'r str>, BadRow> {
        for column in columns {
            let name = self.name(column)?;
            if !name.is_empty() {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// An amount of dollars that is spent, and whether it had to be rounded.
    fn money(&self, column: &str) -> Result<(Picodollars, bool), BadRow> {
        let (amount, is_rounded) = self.signed_money(column)?;
        if amount.is_negative() { Err(self.bad(column, "a negative amount")) } else { Ok((amount, is_rounded)) }
    }

    /// An amount of dollars, and whether it had to be rounded.
    fn signed_money(&self, column: &str) -> Result<(Picodollars, bool), BadRow> {
        let raw = self.raw(column);
        if raw.is_empty() {
            return Err(self.bad(column, "empty, where an amount of dollars should be"));
        }
        let number: Decimal = raw.parse().map_err(|error| self.bad(column, format!("{error}")))?;
        let rounded = number.in_units(12).ok_or_else(|| self.bad(column, "beyond any amount"))?;
        Ok((Picodollars::new(rounded.units), !rounded.is_exact))
    }

    /// A count; nothing is none.
    fn count(&self, column: &str) -> Result<u64, BadRow> {
        let raw = self.raw(column);
        if raw.is_empty() {
            return Ok(0);
        }
        let number: Decimal = raw.parse().map_err(|error| self.bad(column, format!("{error}")))?;
        let whole =
            number.in_units(0).filter(|rounded| rounded.is_exact).and_then(|rounded| u64::try_from(rounded.units).ok());
        whole.ok_or_else(|| self.bad(column, "not a whole number from 0 up"))
    }

    fn time(&self, column: &str) -> Result<Timestamp, BadRow> {
        let raw = self.raw(column);
        instant(raw).ok_or_else(|| self.bad(column, "not a time such as 2026-11-02T09:30:00Z"))
    }

    /// The id of a row of our own export.
    fn own_id(&self) -> Result<RequestId, BadRow> {
        self.needed("id")?.parse().map_err(|_| self.bad("id", "not an id of this program"))
    }

    /// What a row of our own export adjusts, where it is no call.
    fn adjusts(&self) -> Result<Option<Adjusts>, BadRow> {
        let Some(of) = self.raw("error").strip_prefix(ADJUSTS) else { return Ok(None) };
        let of = of.parse().map_err(|_| self.bad("error", "what is adjusted is not an id of this program"))?;
        Ok(Some(Adjusts { id: self.own_id()?, of, more: self.signed_money("cost_usd")?.0 }))
    }

    /// A row of our own export.
    fn own(&self, mapping: &Mapping, adjustments: &Adjustments) -> Result<Taken, BadRow> {
        let id = self.own_id()?;
        let time = self.time("time")?;
        if time.as_millisecond() != id.unix_ms() {
            return Err(self.bad("time", "not the time that its id holds"));
        }
        let (booked, is_rounded) = self.money("cost_usd")?;
        let more = adjustments.of(id);
        let cost_usd = Picodollars::new(booked.get().saturating_add(more.map_or(0, Picodollars::get)));
        if cost_usd.is_negative() {
            return Err(self.bad("cost_usd", format!("{cost_usd} after its adjustments, which is less than nothing")));
        }
        let payer = mapping.payer(self.needed("key")?, self.first(&["team"])?);
        let status = self.first(&["status"])?.unwrap_or("settled");
        if status == "pending" {
            return Err(self.bad("status", "the call was still running: export it again"));
        }
        // Whatever it was booked as, its cost was told since.
        let status = if status == "unknown" && more.is_some() { "settled" } else { status };
        let cost_basis = match self.first(&["cost_basis"])? {
            _ if more.is_some() => "estimated",
            Some("unpriced") => "unpriced",
            Some("reserved") => "reserved",
            _ => "estimated",
        };
        let latency = self.count("latency_ms")?;
        Ok(Taken {
            call: PastCallJson {
                id: id.to_string(),
                key_id: payer.id,
                key_name: payer.name,
                team: payer.team,
                operation: self.first(&["operation"])?.unwrap_or("chat").to_owned(),
                // A call that was refused or answered from the cache went nowhere.
                provider: self.first(&["provider"])?.unwrap_or("none").to_owned(),
                model: self.first(&["model", "requested_model"])?.unwrap_or("none").to_owned(),
                status: status.to_owned(),
                input_tokens: self.count("input_tokens")?,
                cache_read_tokens: self.count("cache_read_tokens")?,
                cache_write_tokens: self.count("cache_write_tokens")?,
                output_tokens: self.count("output_tokens")?,
                reasoning_tokens: self.count("reasoning_tokens")?,
                cost_usd,
                cost_basis: cost_basis.to_owned(),
                latency_ms: u32::try_from(latency).unwrap_or(u32::MAX),
                foreign_id: self.first(&["client_request_id"])?.map(str::to_owned),
                source: "tollgate".to_owned(),
            },
            id,
            is_rounded,
            unknown_key: payer.unknown,
        })
    }

    /// A row of LiteLLM's spend logs.
    fn litellm(&self, mapping: &Mapping, alike: &mut HashMap<u128, u32>) -> Result<Taken, BadRow> {
        let start = if self.columns.places.contains_key("startTime") { "startTime" } else { "start_time" };
        let time = self.time(start)?;
        let (cost_usd, is_rounded) = self.money("spend")?;
        let metadata: Metadata = serde_json::from_str(self.raw("metadata")).unwrap_or_default();
        let key = self.first(&["key_alias", "api_key_alias", "user_api_key_alias"])?;
        let key = key.or(metadata.user_api_key_alias.as_deref().filter(|alias| !alias.is_empty()));
        let key = match key {
            Some(key) => key.to_owned(),
            None => self.first(&["api_key"])?.unwrap_or_default().to_owned(),
        };
        let team = self.first(&["team_alias", "team"])?;
        let team = team.or(metadata.user_api_key_team_alias.as_deref().filter(|alias| !alias.is_empty()));
        let team = match team {
            Some(team) => Some(team.to_owned()),
            None => self.first(&["team_id"])?.map(str::to_owned),
        };
        let payer = mapping.payer(&key, team.as_deref());
        let (provider, model) = self.deployment()?;
        let input_tokens = self.count("prompt_tokens")?;
        let output_tokens = self.count("completion_tokens")?;
        let is_failed = matches!(self.raw("status"), "failure" | "failed" | "error") && cost_usd.is_zero();
        let id = self.id(time, alike)?;
        let latency = self.time("endTime").or_else(|_| self.time("end_time")).ok();
        let latency = latency.map_or(0, |end| end.as_millisecond().saturating_sub(time.as_millisecond()));
        Ok(Taken {
            call: PastCallJson {
                id: id.to_string(),
                key_id: payer.id,
                key_name: payer.name,
                team: payer.team,
                operation: "import".to_owned(),
                provider,
                model,
                status: if is_failed { "failed" } else { "settled" }.to_owned(),
                input_tokens,
                output_tokens,
                cost_usd,
                cost_basis: "estimated".to_owned(),
                latency_ms: u32::try_from(latency).unwrap_or(0),
                foreign_id: self.first(&["request_id"])?.map(|id| id.chars().take(64).collect()),
                source: "litellm".to_owned(),
                ..PastCallJson::default()
            },
            id,
            is_rounded,
            unknown_key: payer.unknown,
        })
    }

    /// Whose model it was: the provider's column, else the prefix of the model.
    fn deployment(&self) -> Result<(String, String), BadRow> {
        let model = match self.first(&["model"])? {
            Some(model) => model,
            // What failed before a model was found has only the name that was asked for.
            None => self.first(&["model_group"])?.unwrap_or("none"),
        };
        Ok(match (self.first(&["custom_llm_provider"])?, model.split_once('/')) {
            (Some(provider), _) => {
                let bare = model.strip_prefix(provider).and_then(|rest| rest.strip_prefix('/')).unwrap_or(model);
                (provider.to_owned(), bare.to_owned())
            }
            (None, Some((provider, bare))) if !provider.is_empty() && !bare.is_empty() => {
                (provider.to_owned(), bare.to_owned())
            }
            _ => ("litellm".to_owned(), model.to_owned()),
        })
    }

    /// The id: its time, and a digest of the other program's id; of a row without one, of all its cells and of how often such a
    /// row came before.
    fn id(&self, time: Timestamp, alike: &mut HashMap<u128, u32>) -> Result<RequestId, BadRow> {
        let foreign = self.first(&["request_id"])?;
        let rest = if let Some(foreign) = foreign {
            digest(&["litellm", foreign])
        } else {
            let cells: Vec<&str> = self.row.cells.iter().map(String::as_str).collect();
            let row = digest(&cells);
            let nth = alike.entry(row).or_default();
            *nth += 1;
            digest(&["litellm row", &row.to_string(), &nth.to_string()])
        };
        let ms = RequestId::first_of(time.as_millisecond()).number();
        Ok(RequestId::from_number(ms | (rest >> (128 - ID_REST_BITS))))
    }
}

/// A time as it is written: RFC 3339, or as databases print it, which is in UTC.
fn instant(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let text = text.strip_suffix("+00").or_else(|| text.strip_suffix("+00:00")).unwrap_or(text);
    let civil: DateTime = text.trim_end_matches(" UTC").parse().ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}
