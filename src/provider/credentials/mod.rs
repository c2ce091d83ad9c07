//! A provider's credentials: which of them a call may use, and what calls have shown of each.
//!
//! [`Credentials::choose`] gives a call a [`Credential`], which travels with the attempt and is told what came of it; dropped
//! untold, it has shown nothing. They take turns. A 401 and an account without money concern all of a provider, a 403 and a 429 one
//! model: companies limit rates by model, and let keys use some models and not others. Nobody is probed: what was refused is tried
//! again by one live call. A provider without credentials has none to lose, and is left to its circuits.

mod condition;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::domain::{Deployment, ModelId, ProviderName, Secret};

use super::error::ProviderError;

pub use condition::{Refusal, Shown};

use condition::{Access, Condition};

/// A key that is shorter is not shown by its end: too much of it would be known.
const SHOWN_CHARS_MIN: usize = 16;
/// Models of a provider that are remembered at once as limited or forbidden: clients make up names, and each costs a little memory.
const MODELS_MAX: usize = 10_000;
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
    /// Of each, at the whole provider.
    keys: Vec<Key>,
    /// At single models, as far as they are not simply ready.
    models: HashMap<(usize, ModelId), Condition>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Key {
    condition: Condition,
    /// When the provider last answered a call with it.
    answered: Option<Instant>,
}

/// The credential of one attempt.
#[derive(Debug)]
pub struct Credential {
    of: Arc<Credentials>,
    place: usize,
    model: ModelId,
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

/// How one credential does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialStanding {
    /// Its place in the settings, from 1.
    pub position: usize,
    /// The end of the key, where it is long enough.
    pub last4: Option<String>,
    /// How it does at the whole provider.
    pub state: CredentialState,
    /// When the provider last answered a call with it.
    pub answered: Option<Instant>,
    /// Models at which it does otherwise, by name; no more than are worth reading.
    pub models: Vec<(ModelId, CredentialState)>,
}

/// The state of a credential, as people read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialState {
    /// It is used in its turn.
    Ready,
    /// It is not used before the time that the provider asked for.
    Cooling {
        /// When that was asked for.
        since: Instant,
        /// The time.
        until: Instant,
    },
    /// It is not used before a time: the provider doesn't take it.
    Disabled {
        /// Why.
        refusal: Refusal,
        /// Since when.
        since: Instant,
        /// The time from which one live call may find out.
        until: Instant,
    },
    /// A live call is finding out whether the provider takes it again, or the next one will.
    HalfOpen {
        /// Why it didn't.
        refusal: Refusal,
        /// Since when.
        since: Instant,
    },
}

impl CredentialState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Cooling { .. } => "cooling",
            Self::Disabled { .. } => "disabled",
            Self::HalfOpen { .. } => "half-open",
        }
    }

    /// Every word, as metrics list them.
    pub const WORDS: [&'static str; 4] = ["ready", "cooling", "disabled", "half-open"];

    /// Since when it is so, where it is not simply ready.
    pub const fn since(self) -> Option<Instant> {
        match self {
            Self::Ready => None,
            Self::Cooling { since, .. } | Self::Disabled { since, .. } | Self::HalfOpen { since, .. } => Some(since),
        }
    }

    /// When it may be used again, where that is later.
    pub const fn until(self) -> Option<Instant> {
        match self {
            Self::Cooling { until, .. } | Self::Disabled { until, .. } => Some(until),
            Self::Ready | Self::HalfOpen { .. } => None,
        }
    }

    /// Why the provider doesn't take it.
    pub const fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Disabled { refusal, .. } | Self::HalfOpen { refusal, .. } => Some(refusal),
            Self::Ready | Self::Cooling { .. } => None,
        }
    }

    fn of(condition: Condition, now: Instant) -> Self {
        match condition {
            Condition::Cooling { since, until, .. } if now < until => Self::Cooling { since, until },
            Condition::Ready | Condition::Cooling { .. } => Self::Ready,
            Condition::Disabled { refusal, since, until, .. } if now < until => {
                Self::Disabled { refusal, since, until }
            }
            Condition::Disabled { refusal, since, .. } | Condition::Tried { refusal, since, .. } => {
                Self::HalfOpen { refusal, since }
            }
        }
    }
}

impl CredentialStanding {
    /// The worst of its states, at the whole provider and at models: one that is refused before one that is limited.
    pub fn worst(&self) -> CredentialState {
        let states = || std::iter::once(self.state).chain(self.models.iter().map(|(_, state)| *state));
        let refused = states().find(|state| state.refusal().is_some());
        refused.or_else(|| states().find(|state| *state != CredentialState::Ready)).unwrap_or(CredentialState::Ready)
    }

    /// What it is called in sentences: `key 2 (…abcd)`.
    pub fn name(&self) -> impl fmt::Display {
        Named { position: self.position, last4: self.last4.clone() }
    }
}

/// `key 2 (…abcd)`.
struct Named {
    position: usize,
    last4: Option<String>,
}

impl fmt::Display for Named {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "key {}", self.position)?;
        self.last4.as_ref().map_or(Ok(()), |last4| write!(formatter, " (…{last4})"))
    }
}

impl Book {
    fn of_model(&self, place: usize, model: &ModelId) -> Condition {
        if self.models.is_empty() {
            return Condition::Ready;
        }
        self.models.get(&(place, model.clone())).copied().unwrap_or_default()
    }

    /// Whether a call to a model may use a credential.
    fn access(&self, place: usize, model: &ModelId, now: Instant) -> Access {
        self.keys[place].condition.access(now).max(self.of_model(place, model).access(now))
    }

    fn set_model(&mut self, place: usize, model: &ModelId, condition: Condition, now: Instant) {
        if condition == Condition::Ready {
            if !self.models.is_empty() {
                self.models.remove(&(place, model.clone()));
            }
            return;
        }
        if self.models.len() >= MODELS_MAX {
            self.models.retain(|_, condition| !condition.is_forgettable(now));
        }
        if self.models.len() < MODELS_MAX {
            self.models.insert((place, model.clone()), condition);
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

    /// The credential of a call to a model: the next in turn that may be used; nothing where there are none.
    ///
    /// A call that `may_try` finds out about one whose pause is over: it can afford to fail. One that can't does so only where no
    /// other credential is ready.
    pub fn choose(
        self: &Arc<Self>,
        model: &ModelId,
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
            match book.access(place, model, now) {
                Access::Open => open = open.or(Some(place)),
                Access::Trial => trial = trial.or(Some(place)),
                Access::Closed(_) => {}
            }
        }
        let found = if may_try { trial.or(open) } else { open.or(trial) };
        let Some(place) = found else { return Err(self.away(&book, model, now)) };
        if Some(place) == open {
            book.turn = (place + 1) % count;
        } else {
            book.keys[place].condition = book.keys[place].condition.taken(now);
            let of_model = book.of_model(place, model).taken(now);
            book.set_model(place, model, of_model, now);
        }
        drop(book);
        Ok(Some(Arc::new(Credential {
            of: Arc::clone(self),
            place,
            model: model.clone(),
            chosen: now,
            is_told: AtomicBool::new(false),
        })))
    }

    /// Why no call to a model may go now, where none may.
    pub fn look(&self, model: &ModelId, now: Instant) -> Result<(), Away> {
        let book = self.book();
        let is_closed = |place| matches!(book.access(place, model, now), Access::Closed(_));
        if !self.secrets.is_empty() && (0..self.secrets.len()).all(is_closed) {
            return Err(self.away(&book, model, now));
        }
        Ok(())
    }

    /// Whether there is a credential that a call to a model may use now.
    pub fn has_ready(&self, model: &ModelId, now: Instant) -> bool {
        !self.secrets.is_empty() && self.look(model, now).is_ok()
    }

    fn away(&self, book: &Book, model: &ModelId, now: Instant) -> Away {
        let (mut cooling, mut first, mut refused) = (None::<Instant>, None::<Instant>, Vec::new());
        let sooner = |known: Option<Instant>, at: Instant| Some(known.map_or(at, |known| known.min(at)));
        for place in 0..self.secrets.len() {
            let Access::Closed(until) = book.access(place, model, now) else { continue };
            first = sooner(first, until);
            let states = [
                CredentialState::of(book.keys[place].condition, now),
                CredentialState::of(book.of_model(place, model), now),
            ];
            match states.iter().find_map(|state| Some((state.refusal()?, state.since()?))) {
                Some((refusal, since)) => refused.push((place, refusal, since, until)),
                None => cooling = sooner(cooling, until),
            }
        }
        let in_seconds = |at: Instant| at.saturating_duration_since(now).as_secs_f64().ceil();
        let (cause, back) = match (cooling, refused.first()) {
            (None, Some((_, refusal, ..))) => (Cause::Refused(*refusal), first),
            (cooling, _) => (Cause::Limited, cooling.or(first)),
        };
        let mut told: Vec<String> = refused
            .iter()
            .take(KEYS_TOLD_MAX)
            .map(|(place, refusal, since, until)| {
                let (ago, back) = (now.saturating_duration_since(*since).as_secs(), in_seconds(*until));
                format!("key {} {} {ago} s ago and is tried again in {back} s", place + 1, refusal.words())
            })
            .collect();
        if refused.len() > KEYS_TOLD_MAX {
            told.push(format!("{} more are no better", refused.len() - KEYS_TOLD_MAX));
        }
        if let Some(until) = cooling {
            told.push(format!("the provider limits the rate for another {} s", in_seconds(until)));
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
    pub fn enable(&self, position: usize) -> bool {
        let mut book = self.book();
        let Some(place) = position.checked_sub(1).filter(|place| *place < self.secrets.len()) else { return false };
        book.keys[place].condition = Condition::Ready;
        book.models.retain(|(other, _), _| *other != place);
        true
    }

    /// How each does, in the order of the settings.
    pub fn standings(&self, now: Instant) -> Vec<CredentialStanding> {
        let mut book = self.book();
        book.models.retain(|_, condition| !condition.is_forgettable(now));
        let standing = |(place, key): (usize, &Key)| {
            let of_it = book.models.iter().filter(|((other, _), _)| *other == place);
            let mut models: Vec<(ModelId, CredentialState)> = of_it
                .map(|((_, model), condition)| (model.clone(), CredentialState::of(*condition, now)))
                .filter(|(_, state)| *state != CredentialState::Ready)
                .collect();
            models.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            models.truncate(MODELS_TOLD_MAX);
            CredentialStanding {
                position: place + 1,
                last4: last4(&self.secrets[place]),
                state: CredentialState::of(key.condition, now),
                answered: key.answered,
                models,
            }
        };
        book.keys.iter().enumerate().map(standing).collect()
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
        let is_of_model = matches!(shown, Shown::Refused(Refusal::Forbidden) | Shown::Limited(_));
        // What concerns one model says nothing about the others; an answer is one for both.
        let of_key = if is_of_model { Shown::Unclear } else { shown };
        let of_model = if matches!(shown, Shown::Refused(_)) && !is_of_model { Shown::Unclear } else { shown };
        let mut book = self.of.book();
        let key = &mut book.keys[self.place];
        let key_before = key.condition;
        key.condition = key_before.after(of_key, self.chosen, now);
        if shown == Shown::Accepted {
            key.answered = Some(now);
        }
        let key_after = key.condition;
        let model_before = book.of_model(self.place, &self.model);
        let model_after = model_before.after(of_model, self.chosen, now);
        if model_after != model_before {
            book.set_model(self.place, &self.model, model_after, now);
        }
        drop(book);
        self.log(key_before, key_after, false, now);
        self.log(model_before, model_after, true, now);
    }

    fn log(&self, before: Condition, after: Condition, is_of_model: bool, now: Instant) {
        let provider = &self.of.provider;
        let name = Named { position: self.place + 1, last4: last4(self.secret()) };
        let deployment = Deployment { provider: provider.clone(), model: self.model.clone() };
        match (before, after) {
            (before, after) if before == after => {}
            (_, Condition::Disabled { refusal, until, .. }) if until > now => {
                let pause = until.saturating_duration_since(now).as_secs();
                if is_of_model {
                    tracing::error!(
                        "{name} of {provider} {} at {deployment}; it is not used there for {pause} s",
                        refusal.words()
                    );
                } else {
                    tracing::error!("{name} of {provider} {}; it is not used for {pause} s", refusal.words());
                }
            }
            (Condition::Disabled { .. } | Condition::Tried { .. }, Condition::Ready) => {
                tracing::info!("{name} of {provider} is taken again");
            }
            (_, Condition::Cooling { until, .. }) => {
                let pause = until.saturating_duration_since(now);
                tracing::debug!("{deployment} limits the rate of {name}; it is not used there for {pause:?}");
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
            Self::Unauthorized { status: 401, .. } => Shown::Refused(Refusal::Unknown),
            Self::Unauthorized { is_of_key: true, .. } => Shown::Refused(Refusal::Forbidden),
            Self::OutOfFunds { .. } => Shown::Refused(Refusal::OutOfFunds),
            Self::RateLimited { retry_after, .. } => Shown::Limited(*retry_after),
            _ => Shown::Unclear,
        }
    }
}

/// The end of a secret that is long enough to be known by it.
fn last4(secret: &Secret<String>) -> Option<String> {
    let text = secret.expose();
    let count = text.chars().count();
    (count >= SHOWN_CHARS_MIN).then(|| text.chars().skip(count - 4).collect())
}

#[cfg(test)]
mod tests;
