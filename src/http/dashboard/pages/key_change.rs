//! The forms of one key: what it may do, whose it is, and a new secret for it.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::super::answer::{PageError, blocking, done, ok, unprocessable};
use super::super::form::Fields;
use super::super::format::duration;
use super::super::session::{Submission, Visitor};
use super::super::summary::Shared;
use super::super::view::{Field, KeyCreated, KeyCreatedPage, KeyEditForm, KeyLimitsForm, RotateForm, SelectOption};
use super::access::{failure_words, sentence};
use super::keys::{back, form_layout, found, key_page, team_names};
use crate::domain::EndpointFamily;
use crate::keys::{Edit, KeyPatch, KeysError, VirtualKey};

const OVERLAPS: [(&str, &str, Duration); 4] = [
    ("none", "Ends at once", Duration::ZERO),
    ("1h", "Works for 1 more hour", Duration::from_hours(1)),
    ("24h", "Works for 24 more hours", Duration::from_hours(24)),
    ("7d", "Works for 7 more days", Duration::from_hours(7 * 24)),
];

/// The form of what a key is now.
pub(super) fn form_of(visitor: &Visitor, key: &VirtualKey) -> KeyEditForm {
    let field = |value: String| Field { value, error: None };
    let number = |limit: Option<u64>| field(limit.map(|limit| limit.to_string()).unwrap_or_default());
    let zone = visitor.state.ledger.zone();
    let tags: Vec<String> = key.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let limits = visitor.is_admin().then(|| KeyLimitsForm {
        team: field(key.team.as_ref().map(|team| visitor.state.keys.team_name(team.as_str())).unwrap_or_default()),
        teams: team_names(&visitor.state),
        expires: field(date_of(key, zone)),
        models: field(key.allowed_models.clone().unwrap_or_default().join("\n")),
        endpoints: endpoints(|family| key.allowed_endpoints.as_ref().is_some_and(|allowed| allowed.contains(&family))),
        requests: number(key.limits.requests_per_minute),
        tokens: number(key.limits.tokens_per_minute),
        concurrent: number(key.limits.concurrent_requests),
    });
    KeyEditForm {
        href: format!("/keys/{}", key.id),
        revision: key.revision.to_string(),
        name: field(key.name.clone()),
        owner: field(key.owner.clone().unwrap_or_default()),
        tags: field(tags.join(", ")),
        limits,
        error: None,
    }
}

/// The form as it was sent.
fn given_form(visitor: &Visitor, key: &VirtualKey, fields: &Fields) -> KeyEditForm {
    let limits = visitor.is_admin().then(|| KeyLimitsForm {
        team: fields.field("team"),
        teams: team_names(&visitor.state),
        expires: fields.field("expires"),
        models: fields.field("models"),
        endpoints: endpoints(|family| is_chosen(fields, family)),
        requests: fields.field("requests_per_minute"),
        tokens: fields.field("tokens_per_minute"),
        concurrent: fields.field("concurrent_requests"),
    });
    KeyEditForm {
        name: fields.field("name"),
        owner: fields.field("owner"),
        tags: fields.field("tags"),
        revision: fields.text("revision").to_owned(),
        limits,
        ..form_of(visitor, key)
    }
}

fn endpoints(is_chosen: impl Fn(EndpointFamily) -> bool) -> Vec<SelectOption> {
    let option = |family: &EndpointFamily| SelectOption {
        value: family.as_str().to_owned(),
        label: family.as_str().to_owned(),
        is_selected: is_chosen(*family),
    };
    EndpointFamily::ALL.iter().map(option).collect()
}

fn is_chosen(fields: &Fields, family: EndpointFamily) -> bool {
    !fields.text(&format!("endpoint_{family}")).is_empty()
}

/// The last day on which a key still works at its beginning; empty for no end.
fn date_of(key: &VirtualKey, zone: &TimeZone) -> String {
    key.expires_at.map(|at| zone.to_datetime(at).date().to_string()).unwrap_or_default()
}

/// The form that gives a key a new secret.
pub(super) fn rotate_form(key: &VirtualKey) -> RotateForm {
    let option = |(value, label, _): &(&str, &str, Duration)| SelectOption::new(value, label, "24h");
    RotateForm {
        href: format!("/keys/{}/rotate", key.id),
        overlaps: OVERLAPS.iter().map(option).collect(),
        error: None,
    }
}

/// `POST /keys/{id}`.
pub(in super::super) async fn save(
    submission: Submission,
    shared: web::Data<Shared>,
    id: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let Submission { visitor, fields } = submission;
    let key = found(&visitor, &id)?;
    let mut form = given_form(&visitor, &key, &fields);
    if let Some(patch) = patch(&visitor, &key, &fields, &mut form) {
        let expected = fields.expected();
        let (keys, id, now) = (Arc::clone(&visitor.state.keys), key.id.clone(), visitor.state.clock.now());
        match blocking(move || keys.change_key(&id, patch, &expected, now)).await? {
            Ok(key) => {
                tracing::info!("user {:?} has changed the virtual key {}", visitor.session.user.name, key.id);
                return Ok(done(&format!("/keys/{}", key.id), visitor.is_htmx));
            }
            Err(error) => tell(&visitor, &key, &mut form, &error),
        }
    }
    let mut page = key_page(&visitor, &shared, Arc::clone(&key), Field::default()).await?;
    // Revoked meanwhile, it has no form any more.
    page.edit = page.edit.map(|_| form);
    Ok(unprocessable(&page))
}

/// Says in the form why the change was not made.
fn tell(visitor: &Visitor, key: &VirtualKey, form: &mut KeyEditForm, error: &KeysError) {
    match error {
        KeysError::ChangedMeanwhile { .. } => {
            let now = visitor.state.keys.get(&key.id);
            *form = form_of(visitor, now.as_deref().unwrap_or(key));
            form.error = Some("Someone else changed this key meanwhile. This is what it is now.".to_owned());
        }
        KeysError::NameTaken { .. } => {
            form.name.error = Some("A key with this name exists. Choose another name.".to_owned());
        }
        KeysError::Invalid { field, problem } => {
            let place = match (*field, form.limits.as_mut()) {
                ("name", _) => Some(&mut form.name),
                ("owner", _) => Some(&mut form.owner),
                ("tags", _) => Some(&mut form.tags),
                ("team", Some(limits)) => Some(&mut limits.team),
                ("expiresAt", Some(limits)) => Some(&mut limits.expires),
                ("allowedModels", Some(limits)) => Some(&mut limits.models),
                _ => None,
            };
            match place {
                Some(place) => place.error = Some(sentence(problem)),
                None => form.error = Some(sentence(problem)),
            }
        }
        error => form.error = Some(failure_words(error)),
    }
}

/// The change that a form asks for; `None` where something in it can't be, which is then told in the form.
fn patch(visitor: &Visitor, key: &VirtualKey, fields: &Fields, form: &mut KeyEditForm) -> Option<KeyPatch> {
    let owned = |name: &str| fields.given(name).map(ToOwned::to_owned);
    let name = owned("name");
    if name.is_none() {
        form.name.error = Some("Give the key a name.".to_owned());
    }
    let pairs = fields.text("tags").split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())));
    let tags = pairs.collect::<Option<std::collections::BTreeMap<_, _>>>();
    if tags.is_none() {
        form.tags.error = Some("Write name=value, with commas between.".to_owned());
    }
    let own = KeyPatch { name: Some(name?), owner: owned("owner").into(), tags: Some(tags?), ..KeyPatch::default() };
    let Some(limits) = form.limits.as_mut() else { return Some(own) };
    let models: Vec<String> =
        fields.text("models").lines().map(str::trim).filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect();
    let chosen: Vec<EndpointFamily> =
        EndpointFamily::ALL.iter().copied().filter(|family| is_chosen(fields, *family)).collect();
    // All of them is no restriction, and holds for families to come too.
    let is_some_chosen = !chosen.is_empty() && chosen.len() < EndpointFamily::ALL.len();
    let limit = |name: &str, field: &mut Field| {
        let Some(text) = fields.given(name) else { return Some(Edit::Clear) };
        let limit = text.parse::<u64>().ok().filter(|limit| *limit > 0).map(Edit::Set);
        if limit.is_none() {
            field.error = Some("Write a whole number from 1 on.".to_owned());
        }
        limit
    };
    let requests = limit("requests_per_minute", &mut limits.requests);
    let tokens = limit("tokens_per_minute", &mut limits.tokens);
    let concurrent = limit("concurrent_requests", &mut limits.concurrent);
    let zone = visitor.state.ledger.zone();
    let expires_at = match fields.given("expires") {
        None => Some(Edit::Clear),
        // The day is shown, not the time: left as it was, the time stays.
        Some(text) if text == date_of(key, zone) => Some(Edit::Keep),
        Some(text) => start_of(text, zone).map(Edit::Set),
    };
    if expires_at.is_none() {
        limits.expires.error = Some("Write a day such as 2027-01-31.".to_owned());
    }
    Some(KeyPatch {
        team: owned("team").into(),
        allowed_models: kept_or(key.allowed_models.as_deref(), (!models.is_empty()).then_some(models)),
        allowed_endpoints: kept_or(key.allowed_endpoints.as_deref(), is_some_chosen.then_some(chosen)),
        requests_per_minute: requests?,
        tokens_per_minute: tokens?,
        concurrent_requests: concurrent?,
        expires_at: expires_at?,
        ..own
    })
}

fn start_of(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let date: Date = text.parse().ok()?;
    zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible().ok()
}

/// `POST /keys/{id}/rotate`: the new secret is in this answer only.
pub(in super::super) async fn rotate(
    submission: Submission,
    shared: web::Data<Shared>,
    id: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let Submission { visitor, fields } = submission;
    let key = found(&visitor, &id)?;
    let overlap = OVERLAPS.iter().find(|(word, ..)| *word == fields.text("overlap")).map(|(.., overlap)| *overlap);
    let renewed = match overlap {
        None => Err("Choose from the list.".to_owned()),
        Some(overlap) => {
            let (keys, id, now) = (Arc::clone(&visitor.state.keys), key.id.clone(), visitor.state.clock.now());
            let renewed = blocking(move || keys.rotate(&id, overlap, now)).await?;
            renewed.map(|renewed| (renewed, overlap)).map_err(|error| failure_words(&error))
        }
    };
    let ((key, secret), overlap) = match renewed {
        Ok(renewed) => renewed,
        Err(error) => {
            let mut page = key_page(&visitor, &shared, key, Field::default()).await?;
            page.rotate = page.rotate.map(|form| RotateForm { error: Some(error), ..form });
            return Ok(unprocessable(&page));
        }
    };
    tracing::info!("user {:?} has given the virtual key {} a new secret", visitor.session.user.name, key.id);
    let note = if overlap.is_zero() {
        "The old secret opens nothing any more.".to_owned()
    } else {
        format!("The old secret works for {} more.", duration(overlap))
    };
    let created = KeyCreated {
        name: key.name.clone(),
        secret: secret.expose().clone(),
        address: visitor.address.clone(),
        note: Some(note),
        done_href: back(&visitor).href,
        list: None,
    };
    let layout = form_layout(&visitor, &shared, "New secret").await?;
    Ok(ok(&KeyCreatedPage { layout, created }))
}

/// What a list is changed to. Nothing chosen means everything, except for a key that was let nothing: the form shows that
/// as nothing chosen too, and must not open it by being sent.
fn kept_or<T>(there: Option<&[T]>, chosen: Option<Vec<T>>) -> Edit<Vec<T>> {
    if chosen.is_none() && there.is_some_and(<[T]>::is_empty) { Edit::Keep } else { chosen.into() }
}
