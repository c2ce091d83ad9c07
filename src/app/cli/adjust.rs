//! `tollgate adjust`: what a call of unknown cost has cost in truth.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::reach::{Absent, Folder, Reach};
use super::{Shared, Usage, terminal};
use crate::domain::{EntryStatus, Picodollars, RequestId};
use crate::ledger::NotAdjustable;
use crate::runtime::Clock;

const EXAMPLES: &str = "\
Examples:
  tollgate adjust req_06f1v3q8xg0000000000000000 --cost 0.0123 --reason \"the provider's invoice of November\"
  tollgate adjust req_06f1v3q8xg0000000000000000 --cost 0 --reason \"the provider never got it\"

For calls whose end was never seen, and others whose cost is not exact. The entry stays as it is; the difference is booked as
an entry of its own, at the time of the call, with who has booked it and why. Doing the same twice changes nothing. More than
was held for the call needs --above-held: it is likelier a slip of the decimal point.";

/// Which call, and what it has cost.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AdjustArguments {
    /// The call's id, as x-tollgate-request-id and the list of requests tell it
    #[arg(value_name = "REQUEST")]
    id: String,
    /// What it has cost in truth, in US dollars
    #[arg(long, value_name = "USD")]
    cost: String,
    /// How that is known
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Book it although it is more than was held for the call
    #[arg(long)]
    above_held: bool,
}

/// Books the difference.
pub(super) async fn run(shared: &Shared, arguments: &AdjustArguments) -> anyhow::Result<ExitCode> {
    let AdjustArguments { id, cost, reason, above_held } = arguments;
    let cost: Picodollars = cost.parse().map_err(|error| Usage(format!("--cost: {error}")))?;
    let request: RequestId = id.parse().map_err(|error| Usage(format!("{error}: it has to be a request's id")))?;
    let answer = match Reach::find(shared, Absent::Told)? {
        Reach::Server(client) => {
            let path = format!("/api/requests/{request}/adjust");
            client.post(&path, &json!({ "costUsd": cost, "reason": reason, "aboveHeld": above_held })).await?
        }
        Reach::Folder(folder) => in_folder(&folder, request, (cost, *above_held), reason).await?,
    };
    if shared.json {
        terminal::print(&answer.to_string());
    } else {
        let (booked, now) = (answer["costUsd"].as_str(), answer["adjustedCostUsd"].as_str());
        let booked = booked.unwrap_or_default();
        terminal::print(&format!("{request} was booked at {booked} USD and costs {} USD now", now.unwrap_or(booked)));
    }
    Ok(ExitCode::SUCCESS)
}

async fn in_folder(
    folder: &Folder,
    id: RequestId,
    (cost, may_be_above_held): (Picodollars, bool),
    reason: &str,
) -> anyhow::Result<Value> {
    let ledger = folder.ledger()?;
    let missing = || anyhow::anyhow!("there is no call {id}");
    let call = ledger.call(id)?.ok_or_else(missing)?;
    // Nobody runs on the folder, so what ran has been booked as unknown just now.
    anyhow::ensure!(call.entry.status != EntryStatus::Pending, "{id} is still running: it has no cost yet");
    let made = Clock::system().now();
    let (cause, wanted) = call.by_hand(cost, may_be_above_held, "command line", reason, made).map_err(|refusal| {
        let way_out =
            if matches!(refusal, NotAdjustable::AboveHeld { .. }) { ": add --above-held to book it" } else { "" };
        anyhow::anyhow!("{refusal}{way_out}")
    })?;
    for outcome in ledger.adjust(cause, vec![(id, wanted)]).await? {
        outcome?;
    }
    let call = ledger.call(id)?.ok_or_else(missing)?;
    ledger.stop();
    let adjusted = (!call.adjustments.is_empty()).then(|| call.cost());
    Ok(json!({ "id": id.to_string(), "costUsd": call.entry.cost(), "adjustedCostUsd": adjusted }))
}
