//! `/budgets`: what runs out when; and the form of a budget.

use std::sync::Arc;

use actix_web::{HttpResponse, web};

use super::super::answer::{PageError, blocking, done, ok, unprocessable};
use super::super::charts::Meter;
use super::super::form::Fields;
use super::super::format::{Clock, MoneyColumn, money, money_whole, percent_whole};
use super::super::session::{Submission, Visitor};
use super::super::summary::{Shared, is_used_up, tone_of, unreadable, used_percent};
use super::super::view::{
    BudgetForm, BudgetFormPage, BudgetList, BudgetRow, BudgetsPage, Entry, Field, KeyList, Layout, Link, Notice,
    SelectOption, Tone,
};
use super::access::{failure_words, sentence};
use super::{clock, keys, layout};
use crate::budget::{Standing, budget_name, outlook, window_words};
use crate::domain::{
    BudgetAction, BudgetDefinition, BudgetId, BudgetScope, BudgetTerms, Picodollars, ProviderName, Window,
};
use crate::http::State;
use crate::keys::{KeyStatus, KeysError};

/// Scopes that a form offers; budgets of runs are made by the workflows themselves.
const SCOPES: [(&str, &str); 7] = [
    ("everything", "Everything"),
    ("team", "A team"),
    ("key", "A key"),
    ("provider", "A provider"),
    ("model", "A model"),
    ("operation", "An operation"),
    ("tag", "A tag"),
];
const WINDOWS: [(&str, &str); 5] =
    [("hour", "hour"), ("day", "day"), ("week", "week"), ("month", "month"), ("total", "no end: in all")];

/// `GET /budgets`.
pub(in super::super) async fn list(visitor: Visitor, shared: web::Data<Shared>) -> Result<HttpResponse, PageError> {
    let layout = layout(&visitor, &shared, "Budgets & keys", Entry::Budgets).await?;
    let state = visitor.state.clone();
    let (budgets, keys_list) = blocking(move || (budget_list(&state), keys::key_list(&state))).await?;
    let token = layout.csrf_token.clone();
    Ok(ok(&BudgetsPage {
        budgets,
        budget_form: empty_form(&visitor.state, &token),
        keys: KeyList { may_create: visitor.has_keys(), ..keys_list },
        key_form: keys::empty_form(&visitor.state, &token),
        layout,
    }))
}

/// `GET /budgets/new`.
pub(in super::super) async fn new(visitor: Visitor, shared: web::Data<Shared>) -> Result<HttpResponse, PageError> {
    let layout = form_layout(&visitor, &shared, "Set a budget").await?;
    let form = empty_form(&visitor.state, &layout.csrf_token);
    Ok(ok(&BudgetFormPage { layout, heading: "Set a budget".to_owned(), form, delete_href: None }))
}

async fn form_layout(visitor: &Visitor, shared: &web::Data<Shared>, title: &str) -> Result<Layout, PageError> {
    let crumb = Some(Link::new("Budgets & keys", "/budgets"));
    Ok(Layout { crumb, ..layout(visitor, shared, title, Entry::Budgets).await? })
}

/// `POST /budgets`.
pub(in super::super) async fn create(
    submission: Submission,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, PageError> {
    let Submission { visitor, fields } = submission;
    let mut form = given_form(&visitor, &fields, None);
    let scope = checked_scope(&visitor.state, &fields, &mut form);
    let terms = checked_terms(&visitor.state, &fields, &mut form);
    let window = Window::from_word(fields.text("window"));
    if window.is_none() {
        form.error = Some("Choose a time from the list.".to_owned());
    }
    if let (Some(scope), Some(terms), Some(window)) = (scope, terms, window) {
        let (keys, now) = (Arc::clone(&visitor.state.keys), visitor.state.clock.now());
        match blocking(move || keys.create_budget(scope, window, terms, now)).await? {
            Ok(budget) => return taken_up(&visitor, &budget).await,
            Err(error) => form.error = Some(words(&error)),
        }
    }
    again(&visitor, &shared, "Set a budget", form, None).await
}

/// Makes the ledger keep a new budget's sum, and goes back to the list.
async fn taken_up(visitor: &Visitor, budget: &BudgetDefinition) -> Result<HttpResponse, PageError> {
    track(&visitor.state, budget).await;
    tracing::info!(
        "user {:?} has set {} of {} per {}",
        visitor.session.user.name,
        budget.id,
        budget.scope,
        budget.window
    );
    Ok(done("/budgets", visitor.is_htmx))
}

/// Makes the ledger keep a budget's sum. Where it can't be written now, nothing is lost: the start tracks every budget.
pub(super) async fn track(state: &State, budget: &BudgetDefinition) {
    if let Err(error) = state.budgets.track(budget, state.clock.now()).await {
        tracing::error!("the sum of {} could not be taken up: {error}", budget.id);
    }
}

async fn again(
    visitor: &Visitor,
    shared: &web::Data<Shared>,
    heading: &str,
    form: BudgetForm,
    delete_href: Option<String>,
) -> Result<HttpResponse, PageError> {
    if visitor.is_htmx {
        return Ok(unprocessable(&form));
    }
    let layout = form_layout(visitor, shared, heading).await?;
    Ok(unprocessable(&BudgetFormPage { layout, heading: heading.to_owned(), form, delete_href }))
}

fn found(state: &State, id: &str) -> Result<Arc<BudgetDefinition>, PageError> {
    let id: BudgetId = id.parse().map_err(|_| PageError::NotFound)?;
    state.keys.budget(id).ok_or(PageError::NotFound)
}

fn heading(state: &State, budget: &BudgetDefinition) -> String {
    format!("{}, {}", budget_name(budget, &state.keys), window_words(budget.window))
}

/// `GET /budgets/{id}`.
pub(in super::super) async fn edit(
    visitor: Visitor,
    shared: web::Data<Shared>,
    id: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let budget = found(&visitor.state, &id)?;
    let layout = form_layout(&visitor, &shared, "Budget").await?;
    let form = BudgetForm {
        href: format!("/budgets/{}", budget.id),
        limit: Field { value: budget.limit.to_string(), error: None },
        action: budget.action.word().to_owned(),
        downgrade_to: Field { value: budget.action.downgrade_to().unwrap_or_default().to_owned(), error: None },
        thresholds: Field { value: percents(&budget.thresholds), error: None },
        revision: Some(budget.revision.to_string()),
        is_edit: true,
        ..empty_form(&visitor.state, &layout.csrf_token)
    };
    let delete_href = Some(format!("/budgets/{}/delete", budget.id));
    Ok(ok(&BudgetFormPage { layout, heading: heading(&visitor.state, &budget), form, delete_href }))
}

/// `POST /budgets/{id}`.
pub(in super::super) async fn save(
    submission: Submission,
    shared: web::Data<Shared>,
    id: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let Submission { visitor, fields } = submission;
    let budget = found(&visitor.state, &id)?;
    let mut form = given_form(&visitor, &fields, Some(budget.id));
    if let Some(terms) = checked_terms(&visitor.state, &fields, &mut form) {
        let (keys, id, expected) = (Arc::clone(&visitor.state.keys), budget.id, fields.expected());
        match blocking(move || keys.update_budget(id, terms, &expected)).await? {
            Ok(budget) => return taken_up(&visitor, &budget).await,
            Err(KeysError::NotFound { .. }) => return Err(PageError::NotFound),
            Err(error) => form.error = Some(words(&error)),
        }
    }
    let delete_href = Some(format!("/budgets/{}/delete", budget.id));
    again(&visitor, &shared, &heading(&visitor.state, &budget), form, delete_href).await
}

/// `POST /budgets/{id}/delete`.
pub(in super::super) async fn delete(submission: Submission, id: web::Path<String>) -> Result<HttpResponse, PageError> {
    let visitor = submission.visitor;
    let budget = found(&visitor.state, &id)?;
    let (keys, id) = (Arc::clone(&visitor.state.keys), budget.id);
    match blocking(move || keys.remove_budget(id)).await? {
        Ok(budget) => {
            tracing::info!("user {:?} has removed {} of {}", visitor.session.user.name, budget.id, budget.scope);
            Ok(done("/budgets", visitor.is_htmx))
        }
        Err(KeysError::NotFound { .. }) => Err(PageError::NotFound),
        Err(error) => Err(PageError::failed(&error)),
    }
}

fn options(values: &[(&str, &str)], current: &str) -> Vec<SelectOption> {
    values.iter().map(|(value, label)| SelectOption::new(value, label, current)).collect()
}

fn empty_form(state: &State, csrf_token: &str) -> BudgetForm {
    BudgetForm {
        href: "/budgets".to_owned(),
        csrf_token: csrf_token.to_owned(),
        scopes: options(&SCOPES, "everything"),
        scope_id: Field::default(),
        windows: options(&WINDOWS, "month"),
        limit: Field::default(),
        action: "block".to_owned(),
        downgrade_to: Field::default(),
        thresholds: Field { value: percents(&state.config.alerts.thresholds), error: None },
        revision: None,
        is_edit: false,
        error: None,
    }
}

fn given_form(visitor: &Visitor, fields: &Fields, id: Option<BudgetId>) -> BudgetForm {
    BudgetForm {
        href: id.map_or_else(|| "/budgets".to_owned(), |id| format!("/budgets/{id}")),
        csrf_token: visitor.session.csrf_token.expose().clone(),
        scopes: options(&SCOPES, fields.text("scope_kind")),
        scope_id: fields.field("scope_id"),
        windows: options(&WINDOWS, fields.text("window")),
        limit: fields.field("limit_usd"),
        action: fields.text("action").to_owned(),
        downgrade_to: fields.field("downgrade_to"),
        thresholds: fields.field("thresholds"),
        revision: fields.given("revision").map(ToOwned::to_owned),
        is_edit: id.is_some(),
        error: None,
    }
}

fn words(error: &KeysError) -> String {
    match error {
        KeysError::BudgetExists { .. } => {
            "There is a budget for this and this time already. Change that one.".to_owned()
        }
        KeysError::ChangedMeanwhile { .. } => {
            "Somebody else has changed this budget meanwhile. Open it again to see how it is now, then change it."
                .to_owned()
        }
        error => failure_words(error),
    }
}

/// Percents as they are typed.
fn percents(thresholds: &[u8]) -> String {
    thresholds.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")
}

fn checked_thresholds(fields: &Fields, form: &mut BudgetForm) -> Option<Vec<u8>> {
    let typed = fields.text("thresholds").split([',', ' ']).filter(|word| !word.is_empty());
    let read: Result<Vec<u8>, _> = typed.map(|word| word.trim_end_matches('%').parse()).collect();
    let sound = read.ok().filter(|percents: &Vec<u8>| {
        percents.iter().all(|percent| (1..=100).contains(percent))
            && percents.is_sorted_by(|before, after| before < after)
    });
    if sound.is_none() {
        form.thresholds.error = Some("Write whole percents from 1 to 100 that rise, such as 50, 80, 100.".to_owned());
    }
    sound
}

fn checked_scope(state: &State, fields: &Fields, form: &mut BudgetForm) -> Option<BudgetScope> {
    let kind = fields.text("scope_kind");
    if !SCOPES.iter().any(|(known, _)| *known == kind) {
        form.error = Some("Choose what it limits from the list.".to_owned());
        return None;
    }
    let given = fields.given("scope_id");
    let mut refuse = |words: &str| {
        form.scope_id.error = Some(words.to_owned());
        None
    };
    let Some(name) = given else {
        if kind == "everything" {
            return Some(BudgetScope::Everything);
        }
        return refuse(&format!("Say which {kind}."));
    };
    let id = match kind {
        "everything" => return refuse("A budget of everything has no name. Leave it empty, or choose what it limits."),
        // People know a key by its name, the ledger by its id.
        "key" => match state.keys.named(name, state.clock.now()) {
            Some(key) => key.id.to_string(),
            None if state.keys.list().iter().any(|key| key.id.as_str() == name) => name.to_owned(),
            None => return refuse("There is no such key."),
        },
        "provider" => {
            let is_known = ProviderName::new(name).is_ok_and(|name| state.config.provider(&name).is_some());
            if !is_known {
                return refuse("There is no such provider in the settings.");
            }
            name.to_owned()
        }
        "model" if state.config.route(name).is_some() => {
            return refuse("That is a route; name a model that calls reach.");
        }
        _ => name.to_owned(),
    };
    match BudgetScope::new(kind, Some(&id)) {
        Ok(scope) => Some(scope),
        Err(error) => refuse(&sentence(&error.to_string())),
    }
}

/// An amount as people type it: `$12.50`. A comma parts thousands for some and cents for others, so it is not guessed at.
pub(super) fn typed_dollars(text: &str) -> Result<Picodollars, String> {
    let plain = text.trim().trim_start_matches('$').trim_start();
    if plain.contains(',') {
        return Err("Write a point before the cents and nothing between thousands, such as 1250 or 12.50.".to_owned());
    }
    let wrong = || "Write dollars such as 20 or 12.50.".to_owned();
    let amount: Picodollars = plain.parse().map_err(|_| wrong())?;
    if amount.is_negative() { Err(wrong()) } else { Ok(amount) }
}

fn checked_terms(state: &State, fields: &Fields, form: &mut BudgetForm) -> Option<BudgetTerms> {
    let limit = match typed_dollars(fields.text("limit_usd")) {
        Ok(limit) => Some(limit),
        Err(wrong) => {
            form.limit.error = Some(wrong);
            None
        }
    };
    let action = match fields.text("action") {
        "downgrade" => {
            let route = fields.given("downgrade_to");
            let known = route.filter(|route| state.config.route(route).is_some());
            if known.is_none() {
                form.downgrade_to.error = Some("Name a route of the settings.".to_owned());
            }
            known.and_then(|route| BudgetAction::new("downgrade", Some(route)).ok())
        }
        _ if fields.given("downgrade_to").is_some() => {
            let words = "Only a budget that uses a cheaper route has one: leave this empty, or choose that above.";
            form.downgrade_to.error = Some(words.to_owned());
            None
        }
        word => BudgetAction::new(word, None)
            .map_err(|_| form.error = Some("Choose what happens at the limit.".to_owned()))
            .ok(),
    };
    let thresholds = checked_thresholds(fields, form);
    Some(BudgetTerms { limit: limit?, action: action?, thresholds: thresholds? })
}

/// The budgets, closest to their limit first. Blocking.
fn budget_list(state: &State) -> BudgetList {
    let clock = clock(state);
    let (now, zone) = (state.clock.now(), state.ledger.zone());
    let zone_name = zone.iana_name().unwrap_or("local time");
    let note = Window::Month.at(now, zone).end(zone).map_or_else(String::new, |end| {
        format!("days end at 00:00 {zone_name}, the month on {}", clock.day(zone.to_datetime(end).date()))
    });
    let rows = match state.budgets.standings(now) {
        Err(error) => unreadable("The budgets", &error, "/budgets"),
        Ok(standings) if standings.is_empty() => Err(Notice::empty(
            "No budget is set",
            "Calls are counted, and nothing holds them back.",
            Some(Link::new("Set a budget", "/budgets/new")),
        )),
        Ok(mut standings) => {
            standings.sort_by(|a, b| used_percent(b).total_cmp(&used_percent(a)));
            let column = MoneyColumn::of(standings.iter().map(|standing| standing.balance.spent));
            Ok(standings.iter().map(|standing| budget_row(state, standing, column, &clock)).collect())
        }
    };
    BudgetList { note, rows, is_update: false }
}

fn budget_row(state: &State, standing: &Standing, column: MoneyColumn, clock: &Clock) -> BudgetRow {
    let definition = &standing.definition;
    let (spent, held) = (standing.balance.spent, standing.balance.held);
    let percent = used_percent(standing);
    let (now, zone) = (state.clock.now(), state.ledger.zone());
    let ahead = outlook(standing.window, zone, now, spent, Some(definition.limit));
    let name = budget_name(definition, &state.keys);
    let forecast = ahead.forecast.filter(|_| !definition.limit.is_zero());
    let forecast = forecast.map(|forecast| forecast.percent_of(definition.limit));
    let ended = match &definition.scope {
        BudgetScope::Key(id) => state.keys.get(id).map(|key| key.status(now)),
        _ => None,
    };
    let (outlook, outlook_tone) = match (is_used_up(standing), ahead.passes_at) {
        _ if ended == Some(KeyStatus::Revoked) => ("Key revoked".to_owned(), Tone::Neutral),
        _ if ended == Some(KeyStatus::Expired) => ("Key expired".to_owned(), Tone::Neutral),
        (true, _) if definition.limit.is_zero() => ("Lets nothing pass".to_owned(), tone_of(standing)),
        (true, _) => ("Has run out".to_owned(), tone_of(standing)),
        (false, Some(at)) => {
            let when = clock.time_or_day(at).text;
            let when = when.split(',').next().unwrap_or_default();
            (format!("Passes around {}", when.strip_suffix(":00").unwrap_or(when)), Tone::Warn)
        }
        (false, None) if ahead.forecast.is_none() => ("Too early to say".to_owned(), tone_of(standing)),
        (false, None) => ("On track".to_owned(), tone_of(standing)),
    };
    BudgetRow {
        sub: format!("{} · {}", definition.scope.kind(), window_words(definition.window)),
        spent: column.cell(spent),
        limit: format!("of {}", money_whole(definition.limit)),
        free: format!("{} free", money(standing.free())),
        held: (!held.is_zero()).then(|| format!("{} held for running calls", money(held))),
        meter: Meter::budget(format!("{name}: {} used", percent_whole(percent)), percent, forecast),
        percent: percent_whole(percent),
        at_limit: at_limit(definition),
        outlook,
        outlook_tone,
        href: format!("/budgets/{}", definition.id),
        name,
    }
}

fn at_limit(definition: &BudgetDefinition) -> String {
    let mut warns: Vec<String> =
        definition.thresholds.iter().filter(|percent| **percent < 100).map(|percent| format!("{percent}%")).collect();
    let then = match &definition.action {
        BudgetAction::Alert => {
            warns.push("100%".to_owned());
            return format!("Warns at {}", warns.join(", "));
        }
        BudgetAction::Block => "stops at 100%".to_owned(),
        BudgetAction::Downgrade { to } => format!("calls without room go to {}", to.as_str()),
    };
    if warns.is_empty() {
        sentence(&then).trim_end_matches('.').to_owned()
    } else {
        format!("Warns at {}, {then}", warns.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_taken_as_people_type_them() {
        for (text, expected) in [("20", "20"), (" $ 1250.50 ", "1250.5"), ("0", "0")] {
            assert_eq!(typed_dollars(text).unwrap().to_string(), expected);
        }
        for text in
            ["", "-1", "NaN", "1e9", "ten", "$", "1.0000000000001", "99999999999999999999", "1,5", "1,000", "1.500,50"]
        {
            assert!(typed_dollars(text).is_err(), "{text:?}");
        }
    }
}
