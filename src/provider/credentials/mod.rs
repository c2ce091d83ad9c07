//! A provider's credentials: which of them a call may use, and what calls have shown of each.
//!
//! [`Credentials::choose`] gives a call a [`Credential`], which travels with the attempt and is told what came of it; dropped
//! untold, it has shown nothing. They take turns. A 401 and an account without money concern all of a provider, a 403 and a 429 one
//! model: companies limit rates by model, and let keys use some models and not others. A scope that a key lacks concerns one path,
//! and so does all that a path says which passes through unread. Nobody is probed: what was refused is tried again by one live
//! call. A provider without credentials has none to lose, and is left to its circuits.

mod condition;
mod scope;
mod standing;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::domain::{Endpoint, ModelId, ProviderName, Secret};

use super::Errand;
use super::by_model::ByModel;
use super::error::ProviderError;

pub use condition::{Refusal, Shown};
pub use scope::Scope;
pub use standing::{CredentialStanding, CredentialState};

use condition::{Access, Condition};
use scope::Reach;
use standing::{Named, last4};

/// Models of a credential that are told by name.
const MODELS_TOLD_MAX: usize = 20;
/// Credentials that an error tells of.
const KEYS_TOLD_MAX: usize = 3;

/// The credentials of one configured provider; a changed configuration has fresh ones.
#[derive(Debug)]
pub struct Credentials {
    provider: ProviderName,
    secrets: Vec<Secret<String>>,
    book: Mutex<Book>,
}

/// What calls have shown.
#[derive(Debug, Default)]
struct Book {
    /// Whose turn it is.
    turn: usize,
    keys: Vec<Key>,
}

/// What calls have shown of one credential.
#[derive(Clone, Debug, Default)]
struct Key {
    /// At the whole provider.
    condition: Condition,
    /// At single paths, as far as they are not simply ready.
    paths: HashMap<Endpoint, Condition>,
    /// At single models, likewise.
    models: ByModel<Condition>,
    /// When the provider last answered a call with it.
    answered: Option<Instant>,
}

/// The credential of one attempt.
#[derive(Debug)]
pub struct Credential {
    of: Arc<Credentials>,
    place: usize,
    errand: Errand,
    chosen: Instant,
    is_told: AtomicBool,
}

/// No credential may be used for a model at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// Why; a provider that limits the rate takes calls again soonest.
    pub cause: Cause,
    /// When the first may be used again.
    pub back_in: Duration,
    /// Which was refused when and why, and what to do.
    pub detail: String,
}

/// Why no credential may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The provider limits the rate of at least one.
    Limited,
    /// It takes none of them.
    Refused(Refusal),
}

impl Key {
    fn at_path(&self, path: Endpoint) -> Condition {
        self.paths.get(&path).copied().unwrap_or_default()
    }

    fn at_model(&self, model: &ModelId) -> Condition {
        self.models.get(model).copied().unwrap_or_default()
    }

    /// What stands in the way of a call.
    fn conditions(&self, errand: &Errand) -> [Condition; 3] {
        [self.condition, self.at_path(errand.path), self.at_model(&errand.model)]
    }

    /// Whether a call may use it.
    fn access(&self, errand: &Errand, now: Instant) -> Access {
        let [at_provider, at_path, at_model] = self.conditions(errand).map(|condition| condition.access(now));
        at_provider.max(at_path).max(at_model)
    }

    /// Changes what stands in the way of a call.
    fn change(&mut self, errand: &Errand, change: impl Fn(Reach, Condition) -> Condition) {
        let [at_provider, at_path, at_model] = self.conditions(errand);
        self.condition = change(Reach::Provider, at_provider);
        match change(Reach::Path, at_path) {
            Condition::Ready { since: None } => drop(self.paths.remove(&errand.path)),
            condition => drop(self.paths.insert(errand.path, condition)),
        }
        match change(Reach::Model, at_model) {
            condition if condition == at_model => {}
            Condition::Ready { since: None } => self.models.remove(&errand.model),
            condition => self.models.set(errand, condition),
        }
    }
}

impl Credentials {
    /// Those of a provider, of which calls have shown nothing yet.
    pub fn new(provider: ProviderName, secrets: Vec<Secret<String>>) -> Arc<Self> {
        let keys = vec![Key::default(); secrets.len()];
        Arc::new(Self { provider, secrets, book: Mutex::new(Book { keys, ..Book::default() }) })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no holder of this lock panics")
    }

    /// The secrets themselves, to be taken out of what the provider says.
    pub(super) fn secrets(&self) -> &[Secret<String>] {
        &self.secrets
    }

    /// The credential of a call: the next in turn that may be used; nothing where there are none.
    ///
    /// A call that `may_try` finds out about one whose pause is over: it can afford to fail. One that can't does so only where no
    /// other credential is ready.
    pub fn choose(
        self: &Arc<Self>,
        errand: &Errand,
        may_try: bool,
        now: Instant,
    ) -> Result<Option<Arc<Credential>>, Away> {
        let count = self.secrets.len();
        if count == 0 {
            return Ok(None);
        }
        let mut book = self.book();
        let (mut open, mut trial) = (None, None);
        for step in 0..count {
            let place = (book.turn + step) % count;
            match book.keys[place].access(errand, now) {
                Access::Open => open = open.or(Some(place)),
                Access::Trial => trial = trial.or(Some(place)),
                Access::Closed(_) => {}
            }
        }
        let found = if may_try { trial.or(open) } else { open.or(trial) };
        let Some(place) = found else { return Err(self.away(&book, errand, now)) };
        if Some(place) == open {
            book.turn = (place + 1) % count;
        } else {
            book.keys[place].change(errand, |_, condition| condition.taken(now));
        }
        drop(book);
        Ok(Some(Arc::new(Credential {
            of: Arc::clone(self),
            place,
            errand: errand.clone(),
            chosen: now,
            is_told: AtomicBool::new(false),
        })))
    }

    /// Why no such call may go now, where none may.
    pub fn look(&self, errand: &Errand, now: Instant) -> Result<(), Away> {
        let book = self.book();
        let is_closed = |place: usize| matches!(book.keys[place].access(errand, now), Access::Closed(_));
        if !self.secrets.is_empty() && (0..self.secrets.len()).all(is_closed) {
            return Err(self.away(&book, errand, now));
        }
        Ok(())
    }

    /// Whether there is a credential that such a call may use now.
    pub fn has_ready(&self, errand: &Errand, now: Instant) -> bool {
        !self.secrets.is_empty() && self.look(errand, now).is_ok()
    }

    /// Whether a call that failed with one may go on with another now. One alone may be ready too, when an answer that was long on
    /// its way comes after the pause that it asks for: then the call makes a pause like any other.
    pub fn has_another(&self, errand: &Errand, now: Instant) -> bool {
        self.secrets.len() > 1 && self.has_ready(errand, now)
    }

    fn away(&self, book: &Book, errand: &Errand, now: Instant) -> Away {
        let (mut first, mut limited, mut refused) = (None::<Instant>, Vec::new(), Vec::new());
        let sooner = |known: Option<Instant>, at: Instant| Some(known.map_or(at, |known| known.min(at)));
        for place in 0..self.secrets.len() {
            let Access::Closed(until) = book.keys[place].access(errand, now) else { continue };
            first = sooner(first, until);
            let states = book.keys[place].conditions(errand).map(|condition| CredentialState::of(condition, now));
            match states.iter().find_map(|state| Some((state.refusal()?, state.since()?))) {
                Some((refusal, since)) => refused.push((place, refusal, since, until)),
                None => limited.push((place, until)),
            }
        }
        let in_seconds = |at: Instant| at.saturating_duration_since(now).as_secs_f64().ceil();
        limited.sort_by_key(|(_, until)| *until);
        let cooling = limited.first().map(|(_, until)| *until);
        let (cause, back) = match (cooling, refused.first()) {
            (None, Some((_, refusal, ..))) => (Cause::Refused(*refusal), first),
            (cooling, _) => (Cause::Limited, cooling.or(first)),
        };
        // What comes back soonest first.
        let cools = limited
            .iter()
            .map(|(place, until)| format!("key {} is limited for another {} s", place + 1, in_seconds(*until)));
        let are_refused = refused.iter().map(|(place, refusal, since, until)| {
            let (ago, back) = (now.saturating_duration_since(*since).as_secs(), in_seconds(*until));
            format!("key {} {} {ago} s ago and is tried again in {back} s", place + 1, refusal.words())
        });
        let mut told: Vec<String> = cools.chain(are_refused).take(KEYS_TOLD_MAX).collect();
        let untold = limited.len() + refused.len() - told.len();
        if untold > 0 {
            told.push(format!("{untold} more are no better"));
        }
        let mut detail = told.join(", ");
        if let (Cause::Refused(_), Some((place, ..))) = (cause, refused.first()) {
            detail = format!(
                "{detail}. Mend the key in the settings of Tollgate; one that is good again at the provider is used at once after POST /api/providers/{}/credentials/{}/enable",
                self.provider,
                place + 1
            );
        }
        Away { cause, back_in: back.map(|at| at.saturating_duration_since(now)).unwrap_or_default(), detail }
    }

    /// Uses a credential at once, whatever was shown of it; false where there is none at this position, which counts from 1.
    /// Calls that had it before say nothing of it any more.
    pub fn enable(&self, position: usize, now: Instant) -> bool {
        let mut book = self.book();
        let Some(place) = position.checked_sub(1).filter(|place| *place < self.secrets.len()) else { return false };
        let answered = book.keys[place].answered;
        book.keys[place] = Key { condition: Condition::Ready { since: Some(now) }, answered, ..Key::default() };
        true
    }

    /// How each does, in the order of the settings.
    pub fn standings(&self, now: Instant) -> Vec<CredentialStanding> {
        let mut book = self.book();
        let standing = |(place, key): (usize, &mut Key)| {
            key.models.retain(|condition| !condition.is_forgettable(now));
            let paths = key.paths.iter().map(|(path, condition)| (Scope::Path(*path), *condition));
            let models = key.models.iter().map(|(model, condition)| (Scope::Model(model.clone()), *condition));
            let states = paths.chain(models).map(|(scope, condition)| (scope, CredentialState::of(condition, now)));
            let mut elsewhere: Vec<(Scope, CredentialState)> =
                states.filter(|(_, state)| *state != CredentialState::Ready).collect();
            elsewhere.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            let paths = elsewhere.iter().filter(|(scope, _)| matches!(scope, Scope::Path(_))).count();
            elsewhere.truncate(paths + MODELS_TOLD_MAX);
            CredentialStanding {
                position: place + 1,
                last4: last4(&self.secrets[place]),
                state: CredentialState::of(key.condition, now),
                answered: key.answered,
                elsewhere,
            }
        };
        book.keys.iter_mut().enumerate().map(standing).collect()
    }
}

impl Credential {
    /// The secret itself, for the header that carries it.
    pub(super) fn secret(&self) -> &Secret<String> {
        &self.of.secrets[self.place]
    }

    /// Tells what came of the attempt, once: a refusal is an error of the log, for somebody has to act.
    pub fn tell(&self, shown: Shown, now: Instant) {
        if self.is_told.swap(true, Ordering::Relaxed) {
            return;
        }
        let reach = self.errand.reach(shown);
        let mut book = self.of.book();
        let key = &mut book.keys[self.place];
        let before = key.conditions(&self.errand);
        // Enabled since, or found to be taken again, it is so everywhere.
        if matches!(key.condition, Condition::Ready { .. }) && !key.condition.is_before(self.chosen) {
            return;
        }
        key.change(&self.errand, |of, condition| {
            // What concerns a part says nothing about the rest; an answer is one for all.
            let shown = if of == reach || shown == Shown::Accepted { shown } else { Shown::Unclear };
            condition.after(shown, self.chosen, now)
        });
        if shown == Shown::Accepted {
            key.answered = Some(now);
        }
        let after = key.conditions(&self.errand);
        drop(book);
        let Errand { path, model, .. } = &self.errand;
        let scopes = [None, Some(Scope::Path(*path)), Some(Scope::Model(model.clone()))];
        for ((before, after), scope) in before.into_iter().zip(after).zip(scopes) {
            if before != after {
                self.log(before, after, scope, now);
            }
        }
    }

    fn log(&self, before: Condition, after: Condition, scope: Option<Scope>, now: Instant) {
        let provider = &self.of.provider;
        let name = Named { position: self.place + 1, last4: last4(self.secret()) };
        let at = scope.map(|scope| match scope {
            Scope::Model(model) => format!(" at {provider}/{model}"),
            path @ Scope::Path(_) => format!(" at {path}"),
        });
        let (at, there) = (at.as_deref().unwrap_or_default(), if at.is_some() { " there" } else { "" });
        match (before, after) {
            (_, Condition::Disabled { refusal, until, .. }) if until > now => {
                let pause = until.saturating_duration_since(now).as_secs();
                tracing::error!("{name} of {provider} {}{at}; it is not used{there} for {pause} s", refusal.words());
            }
            (Condition::Disabled { .. } | Condition::Tried { .. }, Condition::Ready { .. }) => {
                tracing::info!("{name} of {provider} is taken again{at}");
            }
            (_, Condition::Cooling { until, .. }) => {
                let pause = until.saturating_duration_since(now);
                tracing::debug!("{provider} limits the rate of {name}{at}; it is not used{there} for {pause:?}");
            }
            _ => {}
        }
    }
}

impl Drop for Credential {
    /// An attempt that was never made, or whose end nobody has seen, leaves the way free for the next.
    fn drop(&mut self) {
        self.tell(Shown::Unclear, self.chosen);
    }
}

impl ProviderError {
    /// What a failed attempt shows of the credential that it was made with.
    pub fn shown(&self) -> Shown {
        match self {
            Self::Unauthorized { refusal: Some(refusal), .. } => Shown::Refused(*refusal),
            Self::OutOfFunds { .. } => Shown::Refused(Refusal::OutOfFunds),
            Self::RateLimited { is_of_request: false, retry_after, .. } => Shown::Limited(*retry_after),
            _ => Shown::Unclear,
        }
    }
}

#[cfg(test)]
mod tests;
