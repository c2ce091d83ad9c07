//! `/costs/reconciliation`: what providers charged beside what was booked, and fetching it.

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::civil::Date;

use super::super::answer::{PageError, blocking, done, ok};
use super::super::form::{Fields, href};
use super::super::format::{Clock, MoneyColumn, count_cell, counted, money};
use super::super::session::{Submission, Visitor};
use super::super::summary::Shared;
use super::super::view::{
    Badge, Choice, ChosenDay, DayRow, Entry, Layout, Link, ModelRow, Notice, ReconciliationPage, SourceRow, Tone,
};
use super::{clock, layout};
use crate::http::State;
use crate::ledger::Doubts;
use crate::reconciliation::{Basis, Comparison, DayLine, Line, ReconcileError, State as DayState};
use crate::statements::Days;

const PATH: &str = "/costs/reconciliation";
/// The ranges, by their words.
const RANGES: [(&str, &str, i64); 3] = [("7d", "7 d", 7), ("30d", "30 d", 30), ("90d", "90 d", 90)];

fn range(fields: &Fields) -> (&'static str, i64) {
    let found = RANGES.iter().find(|(word, ..)| *word == fields.text("range")).unwrap_or(&RANGES[0]);
    (found.0, found.2)
}

/// Shows the comparison.
pub(in super::super) async fn show(
    visitor: Visitor,
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, PageError> {
    let crumb = Some(Link::new("Costs", "/costs"));
    let layout = Layout { crumb, ..layout(&visitor, &shared, "Reconciliation", Entry::Costs).await? };
    let query = Fields::of_query(request.query_string());
    let state = visitor.state.clone();
    let page = blocking(move || build(&state, &query, layout)).await?;
    Ok(ok(&page))
}

/// Fetches the reports of the range; how that went stands on the page that follows.
pub(in super::super) async fn fetch(submission: Submission) -> Result<HttpResponse, PageError> {
    let Submission { visitor, fields } = submission;
    let (word, count) = range(&fields);
    let state = visitor.state.clone();
    let days = Days::up_to_today(count, state.clock.now());
    tracing::info!("user {:?} fetches the reports of providers", visitor.session.user.name);
    let back = href(PATH, &[("range", if word == RANGES[0].0 { "" } else { word })]);
    match state.reconciler.fetch(None, days, &state.clock).await {
        // The page says how to get a key, and whoever fetches already brings the same.
        Err(ReconcileError::NoAdminKey | ReconcileError::Busy) => return Ok(done(&back, visitor.is_htmx)),
        Err(error) => return Err(PageError::failed(&error)),
        Ok(_) => {}
    }
    let told = blocking(move || {
        let router = state.gateway.router();
        let comparison = state.reconciler.compare(None, days, &state.ledger, router.catalog())?;
        Ok::<_, ReconcileError>(state.reconciler.tell(&comparison, &state.alerts)?)
    });
    told.await?.map_err(|error| PageError::failed(&error))?;
    Ok(done(&back, visitor.is_htmx))
}

fn build(state: &State, query: &Fields, layout: Layout) -> ReconciliationPage {
    let clock = clock(state);
    let (word, count) = range(query);
    let days = Days::up_to_today(count, state.clock.now());
    let router = state.gateway.router();
    let compared = state.reconciler.compare(None, days, &state.ledger, router.catalog());
    let again = href(PATH, &[("range", word)]);
    let (days, chosen) = match &compared {
        Ok(comparison) if comparison.lines.is_empty() => (Err(nothing()), None),
        Ok(comparison) => {
            let chosen = chosen(comparison, query);
            (Ok(rows(comparison, chosen, word, &clock)), chosen.map(|line| models(line, &clock)))
        }
        Err(error) => {
            tracing::error!("the reconciliation could not be read: {error}");
            (Err(Notice::failed("The comparison could not be made", "The rest of the page is current.", again)), None)
        }
    };
    let sources = sources(state, &clock);
    let choice = |(range, label, _): &(&str, &str, i64)| Choice {
        label: (*label).to_owned(),
        href: href(PATH, &[("range", if *range == RANGES[0].0 { "" } else { range })]),
        is_current: *range == word,
    };
    ReconciliationPage {
        layout,
        ranges: RANGES.iter().map(choice).collect(),
        range: word,
        can_fetch: !sources.is_empty(),
        sources,
        days,
        chosen,
    }
}

fn nothing() -> Notice {
    Notice::empty(
        "No provider has stated anything of these days",
        "Fetch its reports by admin key, or import a file of its console, as below; then what it charged stands beside what was booked.",
        None,
    )
}

/// The day that is asked for, else the latest that drifts, else the latest.
fn chosen<'a>(comparison: &'a Comparison, query: &Fields) -> Option<&'a DayLine> {
    let day = query.given("day").and_then(|day| day.parse::<Date>().ok());
    let provider = query.text("provider");
    let is_asked = |line: &&DayLine| Some(line.day) == day && line.provider.as_str() == provider;
    let asked = comparison.lines.iter().find(is_asked);
    asked.or_else(|| comparison.drifting().next()).or_else(|| comparison.lines.first())
}

fn rows(comparison: &Comparison, chosen: Option<&DayLine>, range: &str, clock: &Clock) -> Vec<DayRow> {
    let theirs = |line: &Line| line.theirs.as_ref().and_then(|theirs| theirs.cost);
    let column = MoneyColumn::of(
        comparison.lines.iter().flat_map(|line| [Some(line.total.ours), theirs(&line.total)]).flatten(),
    );
    let row = |line: &DayLine| {
        let day = line.day.to_string();
        DayRow {
            day: clock.day(line.day),
            provider: line.provider.to_string(),
            href: href(PATH, &[("range", range), ("day", &day), ("provider", line.provider.as_str())]),
            is_current: chosen.is_some_and(|chosen| chosen.day == line.day && chosen.provider == line.provider),
            ours: column.cell(line.total.ours),
            theirs: theirs(&line.total).map(|cost| column.cell(cost)),
            basis: basis(&line.total),
            drift: line.total.drift.map_or_else(|| "–".to_owned(), crate::reconciliation::Drift::words),
            state: state_of(line),
            doubts: doubts(&line.doubts),
        }
    };
    comparison.lines.iter().map(row).collect()
}

fn state_of(line: &DayLine) -> Badge {
    match line.state {
        DayState::Untold => Badge::new("Not stated", Tone::Neutral),
        DayState::Provisional => Badge::new("Provisional", Tone::Neutral),
        DayState::Complete if line.is_drifting() => Badge::new("Drifts", Tone::Warn),
        DayState::Complete => Badge::new("Agrees", Tone::Ok),
    }
}

fn basis(line: &Line) -> Option<&'static str> {
    match line.theirs.as_ref()?.basis {
        Basis::Money => None,
        Basis::Usage => Some("usage at list prices"),
        Basis::Tokens => Some("tokens only"),
    }
}

fn doubts(doubts: &Doubts) -> Option<String> {
    let told = [
        (doubts.estimated, "estimated", doubts.estimated_cost),
        (doubts.unknown, "of unknown end", doubts.unknown_cost),
        (doubts.pending, "running", doubts.held),
    ];
    let told = told.into_iter().filter(|(count, ..)| *count > 0);
    let told: Vec<String> = told
        .map(|(count, what, cost)| format!("{} {what} ({})", counted(count, "call", "calls"), money(cost)))
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

fn models(line: &DayLine, clock: &Clock) -> ChosenDay {
    let theirs = |line: &Line| line.theirs.as_ref().and_then(|theirs| theirs.cost);
    let column = MoneyColumn::of(line.models.iter().flat_map(|line| [Some(line.ours), theirs(line)]).flatten());
    let row = |model: &Line| {
        let drift = model.drift.map_or_else(|| "–".to_owned(), crate::reconciliation::Drift::words);
        let tone = if line.state == DayState::Complete && model.is_over() { Tone::Warn } else { Tone::Neutral };
        let tokens = model.theirs.as_ref().and_then(|theirs| theirs.tokens);
        ModelRow {
            name: if model.model.is_empty() { "no model named".to_owned() } else { model.model.clone() },
            sub: (!model.their_models.is_empty()).then(|| model.their_models.join(", ")),
            ours: column.cell(model.ours),
            theirs: theirs(model).map(|cost| column.cell(cost)),
            basis: basis(model),
            drift: Badge::new(drift, tone),
            our_tokens: (count_cell(model.our_tokens.input), count_cell(model.our_tokens.output)),
            their_tokens: tokens.map(|tokens| (count_cell(tokens.input), count_cell(tokens.output))),
        }
    };
    ChosenDay {
        title: format!("{} on {}", line.provider, clock.day(line.day)),
        told: line.told.map(|(at, _)| clock.ago(at)),
        rows: line.models.iter().map(row).collect(),
    }
}

fn sources(state: &State, clock: &Clock) -> Vec<SourceRow> {
    // What can't be read now is no reason to hide the page; the log has told of the disk.
    let attempts = state.reconciler.attempts().unwrap_or_default();
    let row = |name: &crate::domain::ProviderName| {
        let last = attempts.get(name.as_str());
        let badge = match last {
            None => Badge::new("Not fetched yet", Tone::Neutral),
            Some(attempt) if attempt.error.is_none() => Badge::new("Fetched", Tone::Ok),
            Some(_) => Badge::new("Failing", Tone::Bad),
        };
        SourceRow {
            name: name.to_string(),
            state: badge,
            tried: last.map(|attempt| clock.ago(attempt.at)),
            note: last.and_then(|attempt| attempt.error.clone()),
        }
    };
    state.reconciler.accounts().iter().map(row).collect()
}
