//! Virtual keys: the list beside the budgets, the form, the secret that is shown once, one key and its end.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use jiff::{SignedDuration, Timestamp};

use super::super::answer::{PageError, blocking, done, ok, see_other, unprocessable};
use super::super::form::{Fields, href};
use super::super::format::{
    Clock, Moment, Money, MoneyColumn, count_exact, counted, duration, money, money_whole, percent_whole,
};
use super::super::session::{Submission, Visitor};
use super::super::summary::{Shared, is_used_up, tone_of, unreadable, used_percent};
use super::super::view::{
    Badge, Detail, Entry, Field, KeyCreated, KeyCreatedPage, KeyForm, KeyFormPage, KeyList, KeyPage, KeyRow, Layout,
    Link, Notice, Phrase, RevokeForm, SelectOption, Tone,
};
use super::access::{failure_words, sentence};
use super::budgets::{track, typed_dollars};
use super::spend::days_back;
use super::{clock, key_change, layout, teams};
use crate::budget::Standing;
use crate::config::{BudgetAction as UsualAction, NewKeyBudget};
use crate::domain::wording::per_window;
use crate::domain::{BudgetAction, BudgetError, BudgetScope, BudgetTerms, KeyId, Picodollars, Window};
use crate::http::State;
use crate::keys::{KeyBudget, KeyLimits, KeyStatus, Keys, KeysError, NewKey, VirtualKey};
use crate::ledger::{EntryFilter, GroupBy, LedgerError, TimeRange, View};

/// Keys in the list; the API has all of them.
const ROWS_MAX: usize = 200;
const EXPIRIES: [(&str, &str, i64); 4] =
    [("never", "Never", 0), ("30d", "In 30 days", 30), ("90d", "In 90 days", 90), ("365d", "In a year", 365)];
const WINDOWS: [(&str, &str); 2] = [("month", "month"), ("day", "day")];

/// `GET /keys`: the list stands beside the budgets, or on the page of the only team that is seen.
pub(in super::super) async fn list(visitor: Visitor) -> HttpResponse {
    see_other(&format!("{}#key-list", back(&visitor).href))
}

/// Where the reader has their keys.
pub(super) fn back(visitor: &Visitor) -> Link {
    match visitor.team() {
        None => Link::new("Budgets & keys", "/budgets"),
        Some(team) => Link::new(visitor.state.keys.team_name(team.as_str()), teams::address(team)),
    }
}

/// `GET /keys/new`.
pub(in super::super) async fn new(visitor: Visitor, shared: web::Data<Shared>) -> Result<HttpResponse, PageError> {
    let layout = form_layout(&visitor, &shared, "Create a key").await?;
    let own_team = own_team(&visitor);
    let form = KeyForm { own_team, ..empty_form(&visitor.state, &layout.csrf_token) };
    Ok(ok(&KeyFormPage { layout, form }))
}

/// The name of the only team that a visitor makes keys for.
fn own_team(visitor: &Visitor) -> Option<String> {
    visitor.team().map(|team| visitor.state.keys.team_name(team.as_str()))
}

pub(super) async fn form_layout(
    visitor: &Visitor,
    shared: &web::Data<Shared>,
    title: &str,
) -> Result<Layout, PageError> {
    let entry = if visitor.team().is_some() { Entry::Teams } else { Entry::Budgets };
    Ok(Layout { crumb: Some(back(visitor)), ..layout(visitor, shared, title, entry).await? })
}

/// The names of teams, to choose from.
pub(super) fn team_names(state: &State) -> Vec<String> {
    state.keys.teams().iter().take(ROWS_MAX).map(|team| team.name.clone()).collect()
}

fn expiries(current: &str) -> Vec<SelectOption> {
    EXPIRIES.iter().map(|(value, label, _)| SelectOption::new(value, label, current)).collect()
}

fn windows(current: &str) -> Vec<SelectOption> {
    WINDOWS.iter().map(|(value, label)| SelectOption::new(value, label, current)).collect()
}

/// The form before anything was typed.
pub(super) fn empty_form(state: &State, csrf_token: &str) -> KeyForm {
    KeyForm {
        csrf_token: csrf_token.to_owned(),
        name: Field::default(),
        team: Field::default(),
        teams: team_names(state),
        own_team: None,
        expiries: expiries("never"),
        limit: Field::default(),
        windows: windows("month"),
        rate: Field::default(),
        action: "block".to_owned(),
        error: None,
    }
}

/// `POST /keys`.
pub(in super::super) async fn create(
    submission: Submission,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, PageError> {
    let Submission { visitor, fields } = submission;
    let state = &visitor.state;
    let mut form = KeyForm {
        csrf_token: visitor.session.csrf_token.expose().clone(),
        name: fields.field("name"),
        team: fields.field("team"),
        teams: if visitor.is_admin() { team_names(state) } else { Vec::new() },
        own_team: own_team(&visitor),
        expiries: expiries(fields.text("expires")),
        limit: fields.field("limit_usd"),
        windows: windows(fields.text("window")),
        rate: fields.field("requests_per_minute"),
        action: fields.text("action").to_owned(),
        error: None,
    };
    if let Some(mut new) = checked(state, &fields, &mut form) {
        // Whatever was sent: a member makes keys for their own team.
        if let Some(own) = visitor.team() {
            new.team = Some(own.to_string());
        }
        let (keys, now) = (Arc::clone(&state.keys), state.clock.now());
        match blocking(move || keys.create(new, now)).await? {
            Ok((key, secret)) => return created(&visitor, &shared, &key, secret.expose()).await,
            Err(KeysError::NameTaken { .. }) => {
                form.name.error = Some("A key with this name exists. Choose another name.".to_owned());
            }
            Err(KeysError::Invalid { field: "name", problem }) => form.name.error = Some(sentence(&problem)),
            Err(KeysError::Invalid { field: "team", problem }) => form.team.error = Some(sentence(&problem)),
            Err(KeysError::Invalid { field: "limits", problem }) => form.rate.error = Some(sentence(&problem)),
            Err(error) => form.error = Some(failure_words(&error)),
        }
    }
    if visitor.is_htmx {
        return Ok(unprocessable(&form));
    }
    let layout = form_layout(&visitor, &shared, "Create a key").await?;
    Ok(unprocessable(&KeyFormPage { layout, form }))
}

async fn created(
    visitor: &Visitor,
    shared: &web::Data<Shared>,
    key: &VirtualKey,
    secret: &str,
) -> Result<HttpResponse, PageError> {
    let state = &visitor.state;
    tracing::info!("user {:?} has made the virtual key {}", visitor.session.user.name, key.id);
    let scope = BudgetScope::Key(key.id.clone());
    for budget in state.keys.budgets().iter().filter(|budget| budget.scope == scope) {
        track(state, budget).await;
    }
    let mut created = KeyCreated {
        name: key.name.clone(),
        secret: secret.to_owned(),
        address: visitor.address.clone(),
        note: None,
        done_href: back(visitor).href,
        list: None,
    };
    if visitor.is_htmx {
        let (state, view) = (state.clone(), visitor.view.clone());
        let list = blocking(move || keys_seen(&state, &view)).await?;
        created.list = Some(KeyList { is_update: true, has_dialog: visitor.team().is_none(), ..list });
        return Ok(ok(&created));
    }
    let layout = form_layout(visitor, shared, "Key created").await?;
    Ok(ok(&KeyCreatedPage { layout, created }))
}

fn checked(state: &State, fields: &Fields, form: &mut KeyForm) -> Option<NewKey> {
    let now = state.clock.now();
    let name = fields.given("name").unwrap_or_default();
    if name.is_empty() {
        form.name.error = Some("Give the key a name.".to_owned());
    }
    let limit = fields.given("limit_usd").map(typed_dollars).transpose();
    if let Err(wrong) = &limit {
        form.limit.error = Some(wrong.clone());
    }
    let rate = fields.given("requests_per_minute").map(|text| text.parse::<u64>().ok().filter(|rate| *rate > 0));
    if rate == Some(None) {
        form.rate.error = Some("Write a whole number from 1 on.".to_owned());
    }
    let days = EXPIRIES.iter().find(|(value, ..)| *value == fields.text("expires")).map(|(_, _, days)| *days);
    let (Some(days), false) = (days, WINDOWS.iter().all(|(value, _)| *value != fields.text("window"))) else {
        form.error = Some("Choose from the lists.".to_owned());
        return None;
    };
    let action = BudgetAction::new(fields.text("action"), None);
    let Ok(action) = action else {
        form.error = Some("Choose what happens at the limit.".to_owned());
        return None;
    };
    let window = Window::from_word(fields.text("window")).unwrap_or(Window::Month);
    let own = limit.ok()?.map(|limit| KeyBudget { window, terms: BudgetTerms::new(limit, action) });
    let thresholds = &state.config.alerts.thresholds;
    let mut budgets = match own {
        Some(own) => vec![own],
        // What the settings say of keys that are made without a budget holds here too.
        None => match state.config.limits.new_key_budget.as_ref().map(usual_budget).transpose() {
            Ok(usual) => usual.into_iter().collect(),
            Err(error) => {
                form.error = Some(sentence(&error.to_string()));
                return None;
            }
        },
    };
    for budget in &mut budgets {
        budget.terms.thresholds.clone_from(thresholds);
    }
    let requests_per_minute = rate.flatten();
    if form.name.error.is_some() || form.rate.error.is_some() {
        return None;
    }
    Some(NewKey {
        team: fields.given("team").map(ToOwned::to_owned),
        limits: KeyLimits { requests_per_minute, ..KeyLimits::default() },
        expires_at: (days > 0).then(|| now + SignedDuration::from_hours(days * 24)),
        budgets,
        ..NewKey::named(name)
    })
}

fn usual_budget(usual: &NewKeyBudget) -> Result<KeyBudget, BudgetError> {
    let action = match usual.action {
        UsualAction::Block => BudgetAction::Block,
        UsualAction::Alert => BudgetAction::Alert,
        UsualAction::Downgrade => BudgetAction::new("downgrade", usual.downgrade_to.as_deref())?,
    };
    Ok(KeyBudget { window: usual.window, terms: BudgetTerms::new(usual.limit, action) })
}

/// What each key has spent this month.
fn spent_this_month(view: &View, now: Timestamp) -> Result<HashMap<String, Picodollars>, LedgerError> {
    let zone = view.zone();
    let month = Window::Month.at(now, zone);
    let range = TimeRange { from: month.start(zone).unwrap_or(now), until: month.end(zone).unwrap_or(now) };
    let groups = view.costs(range, &[GroupBy::Key])?.groups;
    Ok(groups.into_iter().map(|group| (group.name, group.sums.cost)).collect())
}

/// Calls that are looked at for the exact time of a key's last one.
const LATEST_MAX: usize = 1_000;
/// Days whose sums are looked at for the day of it.
const DAYS_MAX: i64 = 90;

/// When keys were last used: exactly for those of the latest calls, by the day for the others. The ledger has no
/// index of keys, and a look through all of its calls would take too long for a list.
struct LastUses(HashMap<String, Moment>);

impl LastUses {
    fn read(state: &State, view: &View, clock: &Clock) -> Result<Self, LedgerError> {
        let (now, zone) = (state.clock.now(), view.zone());
        let mut uses: HashMap<String, Moment> = HashMap::new();
        for entry in view.entries(&EntryFilter::default(), None, LATEST_MAX)?.items {
            uses.entry(entry.facts.key.to_string()).or_insert_with(|| clock.ago(entry.time()));
        }
        let days = days_back(now, zone, DAYS_MAX);
        let today = zone.to_datetime(now).date();
        // Days come in order, so the last one stays.
        let mut by_day: HashMap<String, Moment> = HashMap::new();
        for group in view.costs(days, &[GroupBy::Day, GroupBy::Key])?.groups {
            let Ok(date) = group.name.parse::<jiff::civil::Date>() else { continue };
            let start = zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible().unwrap_or(now);
            let text = if date == today { "today".to_owned() } else { clock.day(date) };
            by_day.insert(group.series, Moment { text, ..clock.ago(start) });
        }
        for (key, moment) in by_day {
            uses.entry(key).or_insert(moment);
        }
        let first = state.keys.list().iter().map(|key| key.created).min().unwrap_or(days.from);
        if first < days.from {
            for group in view.costs(TimeRange { from: first, until: days.from }, &[GroupBy::Key])?.groups {
                let long_ago = Moment { text: format!("over {DAYS_MAX} days ago"), ..clock.ago(days.from) };
                uses.entry(group.name).or_insert(long_ago);
            }
        }
        Ok(Self(uses))
    }

    fn of(&self, key: &VirtualKey) -> Option<Moment> {
        self.0.get(key.id.as_str()).cloned()
    }
}

/// All the keys: those in force first, the dearest of them first. Blocking.
pub(super) fn key_list(state: &State) -> KeyList {
    KeyList { has_dialog: true, ..keys_seen(state, &View::new(&state.ledger, None)) }
}

/// The keys of whom a view sees, in the same order. Blocking.
pub(super) fn keys_seen(state: &State, view: &View) -> KeyList {
    let now = state.clock.now();
    let clock = clock(state);
    let mut keys = state.keys.list();
    keys.retain(|key| view.team().is_none_or(|team| key.team.as_ref() == Some(team)));
    let live = keys.iter().filter(|key| key.status(now) == KeyStatus::Live).count();
    let mut summary = counted(live as u64, "key", "keys");
    if keys.len() > live {
        summary = format!("{summary}, {} no longer in force", count_exact((keys.len() - live) as u64));
    }
    if keys.len() > ROWS_MAX {
        summary = format!("{summary}, {ROWS_MAX} shown");
    }
    let rows = if keys.is_empty() {
        Err(Notice::empty("No key yet", "Programs need one to call.", Some(Link::new("Create a key", "/keys/new"))))
    } else {
        key_rows(state, view, keys, now, &clock).or_else(|error| unreadable("The keys", &error, "/budgets"))
    };
    let month = state.ledger.zone().to_datetime(now).strftime("%B").to_string();
    KeyList { summary, month, rows, is_update: false, may_create: true, has_dialog: false }
}

fn key_rows(
    state: &State,
    view: &View,
    mut keys: Vec<Arc<VirtualKey>>,
    now: Timestamp,
    clock: &Clock,
) -> Result<Vec<KeyRow>, LedgerError> {
    let spent = spent_this_month(view, now)?;
    let spent = |key: &VirtualKey| spent.get(key.id.as_str()).copied().unwrap_or_default();
    keys.sort_by_key(|key| (key.status(now) != KeyStatus::Live, std::cmp::Reverse(spent(key)), key.created));
    keys.truncate(ROWS_MAX);
    let shown: BTreeSet<&KeyId> = keys.iter().map(|key| &key.id).collect();
    let mut standings: HashMap<KeyId, Vec<Standing>> = HashMap::new();
    for budget in state.keys.budgets().iter() {
        if let BudgetScope::Key(id) = &budget.scope
            && shown.contains(id)
        {
            standings.entry(id.clone()).or_default().push(state.budgets.standing(budget, now)?);
        }
    }
    let column = MoneyColumn::of(keys.iter().map(|key| spent(key)));
    let uses = LastUses::read(state, view, clock)?;
    let row = |key: &Arc<VirtualKey>| {
        let own = standings.get(&key.id).map(Vec::as_slice).unwrap_or_default();
        key_row(&state.keys, key, own, column.cell(spent(key)), uses.of(key), now)
    };
    Ok(keys.iter().map(row).collect())
}

fn key_row(
    keys: &Keys,
    key: &VirtualKey,
    standings: &[Standing],
    spend: Money,
    last_used: Option<Moment>,
    now: Timestamp,
) -> KeyRow {
    let state = key_state(key, standings, last_used.is_some(), now);
    KeyRow {
        name: key.name.clone(),
        team: key.team.as_ref().map(|team| keys.team_name(team.as_str())).unwrap_or_default(),
        href: format!("/keys/{}", key.id),
        ends_in: format!("tg-…{}", key.last4),
        models: models(key),
        rate: key
            .limits
            .requests_per_minute
            .map_or_else(|| "none".to_owned(), |rate| format!("{} / min", count_exact(rate))),
        spend,
        last_used,
        state,
    }
}

fn models(key: &VirtualKey) -> String {
    match key.allowed_models.as_deref() {
        None => "All models".to_owned(),
        // Made before such lists were refused.
        Some([]) => "None".to_owned(),
        Some(models) => models.join(", "),
    }
}

fn key_state(key: &VirtualKey, standings: &[Standing], is_used: bool, now: Timestamp) -> Badge {
    match key.status(now) {
        KeyStatus::Revoked => return Badge::new("Revoked", Tone::Neutral),
        KeyStatus::Expired => return Badge::new("Expired", Tone::Neutral),
        KeyStatus::Live => {}
    }
    let refuses = |standing: &&Standing| is_used_up(standing) && standing.definition.action == BudgetAction::Block;
    let worst = standings.iter().max_by(|a, b| used_percent(a).total_cmp(&used_percent(b)));
    match worst {
        _ if standings.iter().any(|standing| refuses(&standing)) => Badge::new("Refused", Tone::Bad),
        None => Badge::new("No budget", Tone::Warn),
        Some(worst) if is_used_up(worst) => Badge::new("Has run out", Tone::Warn),
        Some(worst) if tone_of(worst) != Tone::Neutral => Badge::new("Near limit", Tone::Warn),
        Some(_) if !is_used => Badge::new("Unused", Tone::Neutral),
        Some(_) => Badge::new("Active", Tone::Ok),
    }
}

/// The key of an id, where the visitor may see it; another team's is as good as none.
pub(super) fn found(visitor: &Visitor, id: &str) -> Result<Arc<VirtualKey>, PageError> {
    let id = KeyId::new(id).map_err(|_| PageError::NotFound)?;
    visitor.state.keys.get(&id).filter(|key| visitor.sees_team(key.team.as_ref())).ok_or(PageError::NotFound)
}

/// `GET /keys/{id}`.
pub(in super::super) async fn show(
    visitor: Visitor,
    shared: web::Data<Shared>,
    id: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let key = found(&visitor, &id)?;
    Ok(ok(&key_page(&visitor, &shared, key, Field::default()).await?))
}

pub(super) async fn key_page(
    visitor: &Visitor,
    shared: &web::Data<Shared>,
    key: Arc<VirtualKey>,
    confirm: Field,
) -> Result<KeyPage, PageError> {
    let layout = form_layout(visitor, shared, "Key").await?;
    let (state, view, of, is_admin) =
        (visitor.state.clone(), visitor.view.clone(), Arc::clone(&key), visitor.is_admin());
    let (details, state_badge) = blocking(move || details(&state, &view, &of, is_admin)).await?;
    let is_live = key.status(visitor.state.clock.now()) == KeyStatus::Live && visitor.has_keys();
    Ok(KeyPage {
        name: key.name.clone(),
        state: state_badge,
        details,
        back: back(visitor),
        requests_href: href("/requests", &[("range", "30d"), ("key", key.id.as_str())]),
        edit: is_live.then(|| key_change::form_of(visitor, &key)),
        rotate: is_live.then(|| key_change::rotate_form(&key)),
        revoke: is_live.then(|| RevokeForm {
            href: format!("/keys/{}/revoke", key.id),
            csrf_token: layout.csrf_token.clone(),
            confirm,
        }),
        layout,
    })
}

fn details(state: &State, view: &View, key: &VirtualKey, is_admin: bool) -> (Vec<Detail>, Badge) {
    let (now, clock) = (state.clock.now(), clock(state));
    let mut details = Vec::new();
    let mut add = |label: &str, value: Phrase, is_code: bool| {
        details.push(Detail { label: label.to_owned(), value, is_code });
    };
    add("Id", key.id.to_string().into(), true);
    add("Secret ends in", format!("tg-…{}", key.last4).into(), true);
    for earlier in key.valid_previous(now) {
        let left = earlier.valid_until.duration_since(now).unsigned_abs();
        let left = duration(Duration::from_secs(left.as_secs() / 60 * 60));
        add("Old secret", format!("tg-…{}, works for {left} more", earlier.last4).into(), false);
    }
    if let Some(team) = &key.team {
        add("Team", state.keys.team_name(team.as_str()).into(), false);
    }
    if let Some(owner) = &key.owner {
        add("Owner", owner.clone().into(), false);
    }
    add("May use", models(key).into(), false);
    if let Some(families) = &key.allowed_endpoints {
        let words: Vec<&str> = families.iter().map(|family| family.as_str()).collect();
        add("May call", if words.is_empty() { "None".to_owned() } else { words.join(", ") }.into(), false);
    }
    let per_minute =
        |limit: Option<u64>, what: &str| limit.map(|limit| format!("{} {what} a minute", count_exact(limit)));
    let KeyLimits { requests_per_minute, tokens_per_minute, concurrent_requests } = key.limits;
    let limits = [
        per_minute(requests_per_minute, "requests"),
        per_minute(tokens_per_minute, "tokens"),
        concurrent_requests.map(|limit| format!("{} at once", count_exact(limit))),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    add("Limits", if limits.is_empty() { "none of its own".to_owned() } else { limits.join(", ") }.into(), false);
    for (name, value) in &key.tags {
        add("Tag", format!("{name}={value}").into(), true);
    }
    let month = state.ledger.zone().to_datetime(now).strftime("%B").to_string();
    let spent = spent_this_month(view, now).map(|spent| spent.get(key.id.as_str()).copied().unwrap_or_default());
    let spent = spent.map_or_else(|_| "could not be read".to_owned(), money);
    add(&format!("Spent in {month}"), spent.into(), false);
    let scope = BudgetScope::Key(key.id.clone());
    let mut standings = Vec::new();
    for budget in state.keys.budgets().iter().filter(|budget| budget.scope == scope) {
        let href = format!("/budgets/{}", budget.id);
        let words = match state.budgets.standing(budget, now) {
            Err(_) => "could not be read".to_owned(),
            Ok(standing) => {
                let words = format!(
                    "{} of {} {}, {} used",
                    money(standing.balance.spent),
                    money_whole(budget.limit),
                    per_window(budget.window),
                    percent_whole(used_percent(&standing))
                );
                standings.push(standing);
                words
            }
        };
        add("Budget", if is_admin { Phrase::default().link(words, href) } else { words.into() }, false);
    }
    if standings.is_empty() {
        let none = Phrase::new("none of its own. ");
        add("Budget", if is_admin { none.link("Set one", "/budgets/new") } else { none }, false);
    }
    add("Made", clock.ago(key.created).text.into(), false);
    if let Some(at) = key.expires_at {
        let words = if at > now {
            let left = at.duration_since(now).as_secs().unsigned_abs();
            format!("in {}", duration(Duration::from_secs(left / 60 * 60)))
        } else {
            clock.ago(at).text
        };
        add("Expires", words.into(), false);
    }
    if let Some(at) = key.revoked_at {
        add("Revoked", clock.ago(at).text.into(), false);
    }
    let used = LastUses::read(state, view, &clock).map(|uses| uses.of(key));
    let is_used = !matches!(used, Ok(None));
    let words = match used {
        Err(_) => "could not be read".to_owned(),
        Ok(None) => "never".to_owned(),
        Ok(Some(moment)) => moment.text,
    };
    add("Last used", words.into(), false);
    let badge = key_state(key, &standings, is_used, now);
    (details, badge)
}

/// `POST /keys/{id}/revoke`: the name has to be typed, for it cannot be undone.
pub(in super::super) async fn revoke(
    submission: Submission,
    shared: web::Data<Shared>,
    id: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let Submission { visitor, fields } = submission;
    let key = found(&visitor, &id)?;
    if fields.text("confirm").trim() != key.name {
        let error = Some("This is not the key’s name. Nothing was changed.".to_owned());
        let confirm = Field { value: fields.text("confirm").to_owned(), error };
        return Ok(unprocessable(&key_page(&visitor, &shared, key, confirm).await?));
    }
    let (keys, id, now) = (Arc::clone(&visitor.state.keys), key.id.clone(), visitor.state.clock.now());
    match blocking(move || keys.revoke(&id, now)).await? {
        Ok(key) => {
            tracing::info!("user {:?} has revoked the virtual key {}", visitor.session.user.name, key.id);
            Ok(done(&back(&visitor).href, visitor.is_htmx))
        }
        Err(KeysError::NotFound { .. }) => Err(PageError::NotFound),
        Err(error) => Err(PageError::failed(&error)),
    }
}
