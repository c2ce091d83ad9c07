//! What the server says that everything cost: entry by entry from the export, and as one sum.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::super::client::Client;
use super::stage::Played;
use crate::domain::Picodollars;

/// The costs of the server that the demonstration ran on.
pub(super) struct Account {
    /// The export, by the entries' ids.
    pub(super) entries: BTreeMap<String, Entry>,
    /// `totalUsd` of `/api/costs`.
    pub(super) total: Picodollars,
    /// `heldUsd` of it.
    pub(super) held: Picodollars,
    /// `requests` of it.
    pub(super) requests: u64,
}

/// What the export says of one call.
pub(super) struct Entry {
    status: String,
    cost: Picodollars,
    basis: String,
}

impl Account {
    /// Asks the server.
    pub(super) async fn take(admin: &Client) -> anyhow::Result<Self> {
        // Neither `from` nor `to`: this month, which the calls of a minute ago are in but for one minute a month.
        let costs = admin.get("/api/costs").await.context("reading the sums")?;
        let export = admin.text("/api/costs.csv").await.context("reading the entries")?;
        Ok(Self {
            entries: entries(&export)?,
            total: amount(&costs, "totalUsd")?,
            held: amount(&costs, "heldUsd")?,
            requests: costs["requests"].as_u64().context("/api/costs has no requests")?,
        })
    }

    /// What the calls of a scene cost.
    pub(super) fn cost_of(&self, scene: &Played) -> Picodollars {
        scene.calls.iter().filter_map(|call| self.entries.get(&call.id)).map(|entry| entry.cost).sum()
    }

    /// What all entries come to.
    pub(super) fn sum(&self) -> Picodollars {
        self.entries.values().map(|entry| entry.cost).sum()
    }

    /// What is wrong with the books.
    pub(super) fn complaints(&self, played: &[Played]) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.sum() != self.total {
            complaints.push(format!("the entries come to {} USD, and the sum is {}", self.sum(), self.total));
        }
        if !self.held.is_zero() {
            complaints.push(format!("{} USD are held although nothing runs", self.held));
        }
        if self.requests != self.entries.len() as u64 {
            complaints.push(format!(
                "{} requests are counted, and there are {} entries",
                self.requests,
                self.entries.len()
            ));
        }
        for call in played.iter().flat_map(|scene| &scene.calls) {
            match self.entries.get(&call.id) {
                Some(entry) if call.status == 200 => {
                    let Entry { status, cost, basis } = entry;
                    let is_free = call.cache == "hit";
                    let is_good = status == "settled" && basis == "exact" && cost.is_zero() == is_free;
                    let booked = format!("{} was answered and is booked as {status}, {cost} USD, {basis}", call.id);
                    complaints.extend((!is_good).then_some(booked));
                }
                Some(entry) if !entry.cost.is_zero() => {
                    complaints.push(format!("{} failed and is booked with {} USD", call.id, entry.cost));
                }
                None if call.status == 200 => complaints.push(format!("{} was answered and is not booked", call.id)),
                _ => {}
            }
        }
        complaints
    }
}

fn amount(costs: &Value, name: &str) -> anyhow::Result<Picodollars> {
    let text = costs[name].as_str().with_context(|| format!("/api/costs has no {name}"))?;
    text.parse().with_context(|| format!("{name} of /api/costs"))
}

fn entries(export: &str) -> anyhow::Result<BTreeMap<String, Entry>> {
    let mut rows = rows(export).into_iter();
    let header = rows.next().context("the export is empty")?;
    let column = |name: &str| {
        header.iter().position(|column| column == name).with_context(|| format!("the export has no column {name}"))
    };
    let (id, status, cost, basis) = (column("id")?, column("status")?, column("cost_usd")?, column("cost_basis")?);
    let mut entries = BTreeMap::new();
    for row in rows {
        if row.len() != header.len() {
            bail!("a row of the export has {} cells instead of {}", row.len(), header.len());
        }
        let cost = row[cost].parse().with_context(|| format!("cost_usd of {}", row[id]))?;
        let entry = Entry { status: row[status].clone(), cost, basis: row[basis].clone() };
        if entries.insert(row[id].clone(), entry).is_some() {
            bail!("{} is in the export twice", row[id]);
        }
    }
    Ok(entries)
}

/// The cells of a CSV text, row by row (RFC 4180).
fn rows(text: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let (mut row, mut cell) = (Vec::new(), String::new());
    let mut is_quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => row.push(std::mem::take(&mut cell)),
            '\n' if !is_quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            '\r' if !is_quoted => {}
            letter => cell.push(letter),
        }
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_may_hold_commas_quotes_and_line_ends() {
        let expected = [vec!["a", "b,\"c\"\nd", ""], vec!["1", "", "2"]];
        assert_eq!(rows("a,\"b,\"\"c\"\"\nd\",\r\n1,,2"), expected);
        assert_eq!(rows("a\n"), [vec!["a"]]);
        assert!(rows("").is_empty());
    }

    fn account(export: &str, total: &str) -> Account {
        Account {
            entries: entries(export).unwrap(),
            total: total.parse().unwrap(),
            held: Picodollars::ZERO,
            requests: 1,
        }
    }

    #[test]
    fn sums_that_differ_from_the_entries_are_complained_of() {
        let export = "id,status,cost_usd,cost_basis\n\"req_1\",\"settled\",0.25,\"exact\"\n";
        assert_eq!(account(export, "0.25").complaints(&[]), Vec::<String>::new());
        assert_eq!(account(export, "0.250000000001").complaints(&[]).len(), 1);
        let held = Account { held: Picodollars::new(1), requests: 2, ..account(export, "0.25") };
        assert_eq!(held.complaints(&[]).len(), 2);
    }

    #[test]
    fn an_export_that_is_none_is_refused() {
        for export in [
            "",
            "id,status\n",
            "id,status,cost_usd,cost_basis\nreq_1,settled\n",
            "id,status,cost_usd,cost_basis\na,b,x,d\n",
        ] {
            assert!(entries(export).is_err(), "{export:?}");
        }
    }
}
