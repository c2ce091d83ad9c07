//! `/teams`: teams, and what each has and spends.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::{HttpResponse, web};
use jiff::Timestamp;

use super::super::answer::{PageError, blocking, done, ok, see_other, unprocessable};
use super::super::form::href;
use super::super::format::{MoneyColumn, counted, money, money_whole, percent_whole};
use super::super::session::{Submission, Visitor};
use super::super::summary::{Shared, is_used_up, tone_of, unreadable, used_percent};
use super::super::view::{
    Badge, Card, Entry, Field, KeyList, Layout, Link, Notice, PersonLine, Phrase, TeamBudgetLine, TeamForms, TeamPage,
    TeamRow, TeamsPage, Tone,
};
use super::access::{failure_words, sentence};
use super::people::state_badge;
use super::{keys, layout};
use crate::budget::Standing;
use crate::domain::wording::per_window;
use crate::domain::{BudgetAction, BudgetScope, Picodollars, TeamId, Window, url_encoded};
use crate::http::State;
use crate::keys::{KeyStatus, KeysError, Team};
use crate::ledger::{GroupBy, LedgerError, TimeRange, View};

/// Teams in the list; the API has all of them.
const ROWS_MAX: usize = 200;

/// The address of a team's page.
pub(super) fn address(team: &TeamId) -> String {
    format!("/teams/{}", url_encoded(team.as_str()))
}

/// `GET /teams`; whoever sees one team begins with that.
pub(in super::super) async fn list(visitor: Visitor, shared: web::Data<Shared>) -> Result<HttpResponse, PageError> {
    if let Some(team) = visitor.team() {
        return Ok(see_other(&address(team)));
    }
    Ok(ok(&list_page(&visitor, &shared, Field::default()).await?))
}

async fn list_page(visitor: &Visitor, shared: &web::Data<Shared>, name: Field) -> Result<TeamsPage, PageError> {
    let layout = layout(visitor, shared, "Teams", Entry::Teams).await?;
    let (state, view) = (visitor.state.clone(), visitor.view.clone());
    let (summary, rows) = blocking(move || rows(&state, &view)).await?;
    Ok(TeamsPage { layout, summary, month: month(&visitor.state), rows, name })
}

fn month(state: &State) -> String {
    state.ledger.zone().to_datetime(state.clock.now()).strftime("%B").to_string()
}

fn this_month(view: &View, now: Timestamp) -> TimeRange {
    let month = Window::Month.at(now, view.zone());
    TimeRange { from: month.start(view.zone()).unwrap_or(now), until: month.end(view.zone()).unwrap_or(now) }
}

fn rows(state: &State, view: &View) -> (String, Card<Vec<TeamRow>>) {
    let mut teams = state.keys.teams();
    let mut summary = counted(teams.len() as u64, "team", "teams");
    if teams.len() > ROWS_MAX {
        summary = format!("{summary}, {ROWS_MAX} shown");
    }
    if teams.is_empty() {
        let text = "A team is made with the first key that names it, or below.";
        return (summary, Err(Notice::empty("No team yet", text, None)));
    }
    teams.sort_by_key(|team| team.name.to_lowercase());
    teams.truncate(ROWS_MAX);
    let rows = team_rows(state, view, &teams).or_else(|error| unreadable("The teams", &error, "/teams"));
    (summary, rows)
}

fn team_rows(state: &State, view: &View, teams: &[Arc<Team>]) -> Result<Vec<TeamRow>, LedgerError> {
    let now = state.clock.now();
    let groups = view.costs(this_month(view, now), &[GroupBy::Team])?.groups;
    let spent: HashMap<String, Picodollars> = groups.into_iter().map(|group| (group.name, group.sums.cost)).collect();
    let spent = |team: &Team| spent.get(team.id.as_str()).copied().unwrap_or_default();
    let column = MoneyColumn::of(teams.iter().map(|team| spent(team)));
    let (all_keys, users) = (state.keys.list(), state.keys.users());
    let mut rows = Vec::new();
    for team in teams {
        let standings = standings(state, &team.id, now)?;
        let live = all_keys
            .iter()
            .filter(|key| key.team.as_ref() == Some(&team.id) && key.status(now) == KeyStatus::Live)
            .count();
        let people = users.iter().filter(|user| user.role.team() == Some(&team.id)).count();
        rows.push(TeamRow {
            name: team.name.clone(),
            id: if team.name == team.id.as_str() { String::new() } else { team.id.to_string() },
            href: address(&team.id),
            keys: counted(live as u64, "key", "keys"),
            people: counted(people as u64, "person", "people"),
            budget: tightest(&standings),
            spend: column.cell(spent(team)),
        });
    }
    Ok(rows)
}

/// How the team's own budgets stand.
fn standings(state: &State, team: &TeamId, now: Timestamp) -> Result<Vec<Standing>, LedgerError> {
    let all = state.keys.budgets();
    let is_its = |scope: &BudgetScope| matches!(scope, BudgetScope::Team(name) if name.as_str() == team.as_str());
    let its = all.iter().filter(|budget| is_its(&budget.scope));
    its.map(|budget| state.budgets.standing(budget, now)).collect()
}

fn tightest(standings: &[Standing]) -> Phrase {
    let worst = standings.iter().max_by(|a, b| used_percent(a).total_cmp(&used_percent(b)));
    match worst {
        None => Phrase::default().toned("No budget", Tone::Warn),
        Some(worst) => Phrase::default().toned(
            format!(
                "{} of {} {}",
                percent_whole(used_percent(worst)),
                money_whole(worst.definition.limit),
                per_window(worst.definition.window)
            ),
            tone_of(worst),
        ),
    }
}

/// `POST /teams`.
pub(in super::super) async fn create(
    submission: Submission,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, PageError> {
    let Submission { visitor, fields } = submission;
    let mut name = fields.field("name");
    let (keys, now, wanted) =
        (Arc::clone(&visitor.state.keys), visitor.state.clock.now(), name.value.trim().to_owned());
    match blocking(move || keys.create_team(&wanted, now)).await? {
        Ok(team) => {
            tracing::info!("user {:?} has made the team {:?}", visitor.session.user.name, team.id.as_str());
            return Ok(done(&address(&team.id), visitor.is_htmx));
        }
        Err(error) => name.error = Some(name_words(&error)),
    }
    Ok(unprocessable(&list_page(&visitor, &shared, name).await?))
}

fn name_words(error: &KeysError) -> String {
    match error {
        KeysError::NameTaken { .. } => "A team with this name exists. Choose another name.".to_owned(),
        KeysError::Invalid { problem, .. } => sentence(problem),
        error => failure_words(error),
    }
}

fn found(visitor: &Visitor, id: &str) -> Result<Arc<Team>, PageError> {
    let team = visitor.state.keys.team(id).filter(|team| visitor.sees_team(Some(&team.id)));
    team.ok_or(PageError::NotFound)
}

/// `GET /teams/{id}`.
pub(in super::super) async fn show(
    visitor: Visitor,
    shared: web::Data<Shared>,
    id: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let team = found(&visitor, &id)?;
    Ok(ok(&team_page(&visitor, &shared, &team).await?))
}

async fn team_page(visitor: &Visitor, shared: &web::Data<Shared>, team: &Arc<Team>) -> Result<TeamPage, PageError> {
    let crumb = visitor.team().is_none().then(|| Link::new("Teams", "/teams"));
    let layout = Layout { crumb, ..layout(visitor, shared, "Team", Entry::Teams).await? };
    let (state, of, is_admin) = (visitor.state.clone(), Arc::clone(team), visitor.is_admin());
    let (spent, budgets, keys) = blocking(move || {
        let view = View::new(&state.ledger, Some(&of.id));
        (spent(&state, &view), budget_lines(&state, &of, is_admin), keys::keys_seen(&state, &view))
    })
    .await?;
    let users = visitor.state.keys.users();
    let people: Vec<PersonLine> = users
        .iter()
        .filter(|user| user.role.team() == Some(&team.id))
        .map(|user| PersonLine {
            name: user.name.clone(),
            role: user.role.as_str().to_owned(),
            state: state_badge(user.state),
        })
        .collect();
    let forms = is_admin.then(|| {
        let live =
            visitor.state.keys.list().iter().any(|key| {
                key.team.as_ref() == Some(&team.id) && key.status(visitor.state.clock.now()) == KeyStatus::Live
            });
        let is_used = live || !people.is_empty() || budgets.as_ref().is_ok_and(|lines| !lines.is_empty());
        let in_use = "First revoke its keys or give them another team, remove its budgets, and give its people another \
                      team.";
        TeamForms {
            href: address(&team.id),
            name: Field { value: team.name.clone(), error: None },
            revision: team.revision.to_string(),
            error: None,
            in_use: is_used.then(|| in_use.to_owned()),
        }
    });
    Ok(TeamPage {
        layout,
        name: team.name.clone(),
        spent,
        requests_href: href("/requests", &[("range", "30d"), ("team", team.id.as_str())]),
        costs_href: if visitor.team().is_some() { "/costs?by=key" } else { "/costs?by=team" }.to_owned(),
        budgets,
        keys: KeyList { may_create: visitor.has_keys(), ..keys },
        people,
        forms,
    })
}

fn spent(state: &State, view: &View) -> Phrase {
    match view.costs(this_month(view, state.clock.now()), &[]) {
        Err(_) => "its spend could not be read".into(),
        Ok(costs) => Phrase::new(format!(
            "{} in {}, {}",
            money(costs.total.cost),
            month(state),
            counted(costs.total.requests, "request", "requests")
        )),
    }
}

fn budget_lines(state: &State, team: &Team, is_admin: bool) -> Card<Vec<TeamBudgetLine>> {
    let standings = match standings(state, &team.id, state.clock.now()) {
        Ok(standings) => standings,
        Err(error) => return unreadable("The budgets", &error, &address(&team.id)),
    };
    if standings.is_empty() {
        let set = is_admin.then(|| Link::new("Set a budget", "/budgets/new"));
        return Err(Notice::empty("No budget", "Only wider budgets and those of its keys hold it.", set));
    }
    let line = |standing: &Standing| {
        let budget = &standing.definition;
        let state = match tone_of(standing) {
            _ if is_used_up(standing) && budget.action == BudgetAction::Block => Badge::new("Refused", Tone::Bad),
            _ if is_used_up(standing) => Badge::new("Used up", Tone::Bad),
            Tone::Warn => Badge::new("Near limit", Tone::Warn),
            _ => Badge::new("On track", Tone::Ok),
        };
        TeamBudgetLine {
            window: format!("Per {}", budget.window),
            amount: format!("{} of {}", money(standing.balance.spent), money_whole(budget.limit)),
            percent: percent_whole(used_percent(standing)),
            action: match &budget.action {
                BudgetAction::Block => "Stops".to_owned(),
                BudgetAction::Alert => "Warns only".to_owned(),
                BudgetAction::Downgrade { to } => format!("Goes on by {}", to.as_str()),
            },
            state,
            href: is_admin.then(|| format!("/budgets/{}", budget.id)),
        }
    };
    Ok(standings.iter().map(line).collect())
}

/// `POST /teams/{id}`: another name.
pub(in super::super) async fn rename(
    submission: Submission,
    shared: web::Data<Shared>,
    id: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let Submission { visitor, fields } = submission;
    let team = found(&visitor, &id)?;
    let expected = fields.expected();
    let (keys, id, name) = (Arc::clone(&visitor.state.keys), team.id.clone(), fields.text("name").trim().to_owned());
    let error = match blocking(move || keys.rename_team(&id, &name, &expected)).await? {
        Ok(team) => {
            tracing::info!("user {:?} has named the team {:?} anew", visitor.session.user.name, team.id.as_str());
            return Ok(done(&address(&team.id), visitor.is_htmx));
        }
        Err(error) => error,
    };
    let team = found(&visitor, team.id.as_str())?;
    let mut page = team_page(&visitor, &shared, &team).await?;
    if let Some(forms) = page.forms.as_mut() {
        if matches!(error, KeysError::ChangedMeanwhile { .. }) {
            forms.error = Some("Someone else changed this team meanwhile. This is what it is now.".to_owned());
        } else {
            forms.name = Field { value: fields.text("name").to_owned(), error: Some(name_words(&error)) };
        }
    }
    Ok(unprocessable(&page))
}

/// `POST /teams/{id}/delete`.
pub(in super::super) async fn delete(
    submission: Submission,
    shared: web::Data<Shared>,
    id: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let Submission { visitor, fields } = submission;
    let team = found(&visitor, &id)?;
    let expected = fields.expected();
    let (keys, id, now) = (Arc::clone(&visitor.state.keys), team.id.clone(), visitor.state.clock.now());
    match blocking(move || keys.remove_team(&id, &expected, now)).await? {
        Ok(team) => {
            tracing::info!("user {:?} has removed the team {:?}", visitor.session.user.name, team.id.as_str());
            Ok(done("/teams", visitor.is_htmx))
        }
        Err(error) => {
            let team = found(&visitor, team.id.as_str())?;
            let mut page = team_page(&visitor, &shared, &team).await?;
            if let Some(forms) = page.forms.as_mut() {
                forms.error = Some(failure_words(&error));
            }
            Ok(unprocessable(&page))
        }
    }
}
