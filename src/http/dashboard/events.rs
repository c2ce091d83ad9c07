//! `/events`: what happens, as it happens: rows of calls, and the parts of the overview that have changed.
//!
//! One stream per tab. Calls come in batches, at most four a second; the overview's parts every five seconds and only
//! those that differ from what the tab has. A tab that can't keep up, or comes back, gets what it missed from the
//! ledger. The stream ends with its session and with the server.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, interval_at, sleep_until};

use super::answer::blocking;
use super::form::Fields;
use super::pages::providers;
use super::pages::row::{List, row};
use super::session::Visitor;
use super::summary::{Shared, Summary};
use super::view::LiveUpdate;
use crate::domain::RequestId;
use crate::http::State;
use crate::ledger::{Entry, EntryFilter, View};

/// Between two batches of calls.
const BATCH_INTERVAL: Duration = Duration::from_millis(250);
/// Between two looks at the overview's parts.
const PARTS_INTERVAL: Duration = Duration::from_secs(5);
/// Between two looks at the providers, of which only changes are told.
const HEALTH_INTERVAL: Duration = Duration::from_secs(2);
/// Between two comments, which keep proxies from closing a quiet stream.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);
/// Calls of one batch: as many rows as a page keeps.
const ROWS_MAX: usize = 50;
/// What a browser waits before it comes back.
const HELLO: &[u8] = b"retry: 2000\n\n";

/// `GET /events?topics=request,kpi`.
pub(super) async fn stream(visitor: Option<Visitor>, request: HttpRequest, shared: web::Data<Shared>) -> HttpResponse {
    let Some(visitor) = visitor else {
        // No redirect: the browser would read the login page as a stream.
        return HttpResponse::Unauthorized()
            .content_type("text/plain; charset=utf-8")
            .body("Sign in at /login first.\n");
    };
    let query = Fields::of_query(request.query_string());
    let has = |topic: &str| query.text("topics").split(',').any(|named| named.trim() == topic);
    let last = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<RequestId>().ok());
    let state = visitor.state.clone();
    let live = Live {
        entries: has("request").then(|| state.ledger.subscribe()),
        is_behind: last.is_some() && has("request"),
        last: last.unwrap_or_else(|| RequestId::first_of(state.clock.now().as_millisecond())),
        waiting: Vec::new(),
        send_at: Instant::now(),
        // The overview's parts are of everybody's calls, and so are the providers.
        parts: (has("kpi") && visitor.team().is_none()).then(|| every(interval(PARTS_INTERVAL))),
        health: (has("health") && visitor.team().is_none()).then(|| every(interval(HEALTH_INTERVAL))),
        health_sent: None,
        view: visitor.view,
        sent: HashMap::new(),
        comments: every(interval_at(Instant::now() + COMMENT_INTERVAL, COMMENT_INTERVAL)),
        cookie: visitor.cookie,
        is_new: true,
        shared,
        state,
    };
    let bytes = stream::unfold(live, |mut live| async move {
        let bytes = live.next().await?;
        Some((Ok::<_, actix_web::Error>(bytes), live))
    });
    HttpResponse::Ok()
        .content_type("text/event-stream; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(bytes)
}

fn every(mut interval: Interval) -> Interval {
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// One tab's stream.
struct Live {
    state: web::Data<State>,
    shared: web::Data<Shared>,
    cookie: String,
    /// What of the ledger may be told.
    view: View,
    /// Calls as they are booked; `None` where the tab doesn't ask for them.
    entries: Option<broadcast::Receiver<Arc<Entry>>>,
    /// Whether calls were missed that the ledger has.
    is_behind: bool,
    /// The newest call that the tab has.
    last: RequestId,
    /// Calls for the next batch, oldest first.
    waiting: Vec<Arc<Entry>>,
    /// When the next batch may go.
    send_at: Instant,
    parts: Option<Interval>,
    /// When the providers are looked at; `None` where the tab doesn't ask for them.
    health: Option<Interval>,
    /// How the tab has the providers.
    health_sent: Option<String>,
    /// What the tab has of each part.
    sent: HashMap<String, String>,
    comments: Interval,
    is_new: bool,
}

/// What woke the stream.
enum Woken {
    Entry(Result<Arc<Entry>, RecvError>),
    Batch,
    Parts,
    Health,
    Comment,
    Stopping,
}

impl Live {
    /// The next piece of the stream; `None` is its end.
    async fn next(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.is_new) {
            return Some(Bytes::from_static(HELLO));
        }
        loop {
            if std::mem::take(&mut self.is_behind) {
                self.catch_up().await;
            }
            match self.wait().await {
                Woken::Stopping => return None,
                Woken::Entry(Ok(entry)) => self.take(entry),
                Woken::Entry(Err(RecvError::Lagged(_))) => self.is_behind = true,
                Woken::Entry(Err(RecvError::Closed)) => return None,
                Woken::Batch => {
                    self.check_reader()?;
                    return Some(self.batch());
                }
                Woken::Parts => {
                    self.check_reader()?;
                    if let Some(bytes) = self.changed_parts().await {
                        return Some(bytes);
                    }
                }
                Woken::Health => {
                    self.check_reader()?;
                    if let Some(bytes) = self.changed_health() {
                        return Some(bytes);
                    }
                }
                Woken::Comment => {
                    self.check_reader()?;
                    return Some(Bytes::from_static(b":\n\n"));
                }
            }
        }
    }

    /// Whether the stream may go on: who was logged out elsewhere, or has another role now, sees nothing more.
    fn check_reader(&self) -> Option<()> {
        let session = self.state.keys.session(&self.cookie, self.state.clock.now())?;
        (session.user.role.team() == self.view.team()).then_some(())
    }

    async fn wait(&mut self) -> Woken {
        let Self { state, entries, waiting, send_at, parts, health, comments, .. } = self;
        let entry = async {
            match entries {
                Some(entries) => entries.recv().await,
                None => std::future::pending().await,
            }
        };
        let tick = async {
            match parts {
                Some(parts) => drop(parts.tick().await),
                None => std::future::pending().await,
            }
        };
        let look = async {
            match health {
                Some(health) => drop(health.tick().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = state.tasks.stopping().cancelled() => Woken::Stopping,
            () = sleep_until(*send_at), if !waiting.is_empty() => Woken::Batch,
            () = tick => Woken::Parts,
            () = look => Woken::Health,
            _ = comments.tick() => Woken::Comment,
            entry = entry => Woken::Entry(entry),
        }
    }

    fn take(&mut self, entry: Arc<Entry>) {
        if !self.view.sees(&entry) {
            return;
        }
        if self.waiting.len() == ROWS_MAX {
            self.waiting.remove(0);
        }
        self.waiting.push(entry);
    }

    /// Reads from the ledger what came after the newest call that the tab has.
    async fn catch_up(&mut self) {
        let after = RequestId::from_number(self.last.number().saturating_add(1));
        let filter = EntryFilter { from: Some(after), ..EntryFilter::default() };
        let view = self.view.clone();
        match blocking(move || view.entries(&filter, None, ROWS_MAX)).await {
            Ok(Ok(page)) => self.waiting = page.items.into_iter().rev().map(Arc::new).collect(),
            Ok(Err(error)) => tracing::warn!("missed calls could not be read for a page: {error}"),
            Err(_) => {}
        }
    }

    /// The calls that wait, newest first, as one event.
    fn batch(&mut self) -> Bytes {
        self.send_at = Instant::now() + BATCH_INTERVAL;
        let clock = super::format::Clock::new(self.state.clock.now(), self.state.ledger.zone().clone());
        let mut html = String::new();
        for entry in self.waiting.drain(..).rev() {
            self.last = self.last.max(entry.facts.id);
            match row(&entry, &clock, List::Live).render() {
                Ok(row) => html.push_str(&row),
                Err(error) => tracing::error!("a template failed: {error}"),
            }
        }
        event("request", Some(self.last), &html)
    }

    /// The providers, where they do otherwise than the tab has it. Looked at in memory alone.
    fn changed_health(&mut self) -> Option<Bytes> {
        let html = providers::now(&self.state).render().ok()?;
        if self.health_sent.as_ref() == Some(&html) {
            return None;
        }
        let bytes = event("health", None, &html);
        self.health_sent = Some(html);
        Some(bytes)
    }

    /// The parts of the overview that differ from what the tab has.
    async fn changed_parts(&mut self) -> Option<Bytes> {
        let summary = self.shared.recent(&self.state).await.ok()?;
        let changed = changed(&mut self.sent, &summary);
        let html = changed.marked().render().ok().filter(|html| !html.trim().is_empty())?;
        Some(event("kpi", None, &html))
    }
}

/// Takes out of a summary what a tab has already.
fn changed(sent: &mut HashMap<String, String>, summary: &Summary) -> LiveUpdate {
    let mut is_new = |id: &str, part: &dyn Part| {
        let html = part.html();
        let is_new = sent.get(id) != Some(&html);
        if is_new {
            sent.insert(id.to_owned(), html);
        }
        is_new
    };
    let LiveUpdate { mut kpis, attention, providers, budgets } = summary.as_update();
    kpis.retain(|kpi| is_new(&kpi.id, kpi));
    LiveUpdate {
        kpis,
        attention: attention.filter(|part| is_new("attention", part)),
        providers: providers.filter(|part| is_new("providers", part)),
        budgets: budgets.filter(|part| is_new("budgets", part)),
    }
}

/// Any fragment, as an object.
trait Part {
    fn html(&self) -> String;
}

impl<T: Template> Part for T {
    fn html(&self) -> String {
        self.render().unwrap_or_default()
    }
}

/// One event: each line of its data stands by itself, so no text can end it early.
fn event(name: &str, id: Option<RequestId>, data: &str) -> Bytes {
    let mut text = String::with_capacity(data.len() + 64);
    if let Some(id) = id {
        writeln!(text, "id: {id}").expect("writing to a string can't fail");
    }
    writeln!(text, "event: {name}").expect("writing to a string can't fail");
    for line in data.split(['\n', '\r']) {
        writeln!(text, "data: {line}").expect("writing to a string can't fail");
    }
    text.push('\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_an_event_early() {
        let bytes = event("request", Some(RequestId::from_number(1)), "<tr>\r\n\nevent: evil\n</tr>");
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(text.matches("\n\n").count(), 1, "{text}");
        assert!(text.ends_with("</tr>\n\n"), "{text}");
        for line in text.trim_end().lines() {
            let is_field = ["id: ", "event: request", "data: "].iter().any(|field| line.starts_with(field));
            assert!(is_field, "{line:?}");
        }
    }
}
