//! `/requests/{id}`: what happened to one call, and what each line of it cost.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use jiff::{SignedDuration, Timestamp};

use super::super::answer::{PageError, blocking, done, ok, see_other, unprocessable};
use super::super::charts::{Phase, TimeBar};
use super::super::format::{Clock, count_exact, counted, duration, money, percent, share, tokens};
use super::super::session::{Submission, Visitor};
use super::super::summary::{Shared, unreadable};
use super::super::view::{
    AdjustForm, AdjustmentLine, Badge, Card, CostLines, Detail, Entry as Place, Field, KeptText, Kpi, Layout, Link,
    Notice, Phrase, RequestPage, TimelineStep, Tone, UsageLine,
};
use super::access::sentence;
use super::row::{adjustment_words, cost, error_words, notes, status};
use super::{clock, decision, layout};
use crate::content::{BODY_BYTES_MAX, Excerpt};
use crate::domain::{Billed, CacheOutcome, CostBasis, EntryStatus, Picodollars, Price, RequestId};
use crate::http::State;
use crate::http::api::adjust_call;
use crate::http::problem::Code;
use crate::ledger::{Adjusted, Attempt, Entry, OVERTAKEN};
use crate::routing::Router;

/// Shows one call. An adjustment has no page of its own: it stands on that of its call.
pub(in super::super) async fn show(
    visitor: Visitor,
    shared: web::Data<Shared>,
    id: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let id: RequestId = id.parse().map_err(|_| PageError::NotFound)?;
    match page(&visitor, &shared, id).await? {
        Found::Page(page) => Ok(ok(&*page)),
        Found::AdjustmentOf(of) => Ok(see_other(&format!("/requests/{of}"))),
    }
}

/// What stands under an id.
enum Found {
    Page(Box<RequestPage>),
    AdjustmentOf(RequestId),
}

async fn page(visitor: &Visitor, shared: &web::Data<Shared>, id: RequestId) -> Result<Found, PageError> {
    let layout = Layout {
        crumb: Some(Link::new("Requests", "/requests")),
        ..layout(visitor, shared, "Request", Place::Requests).await?
    };
    let (state, view, is_admin) = (visitor.state.clone(), visitor.view.clone(), visitor.is_admin());
    let page = blocking(move || match view.call(id) {
        Ok(None) => Err(PageError::NotFound),
        Ok(Some(call)) => {
            if let Some(adjustment) = &call.entry.adjustment {
                return Ok(Found::AdjustmentOf(adjustment.of));
            }
            let contents = if is_admin { contents(&state, id) } else { Vec::new() };
            Ok(Found::Page(Box::new(RequestPage { contents, ..build(&state, &call, layout) })))
        }
        Err(error) => Ok(Found::Page(Box::new(unread(id, layout, &error)))),
    });
    page.await?
}

/// `POST /requests/{id}/adjust`: what a call whose end nobody saw has cost in truth.
pub(in super::super) async fn adjust(
    submission: Submission,
    shared: web::Data<Shared>,
    id: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let Submission { visitor, fields } = submission;
    let id: RequestId = id.parse().map_err(|_| PageError::NotFound)?;
    let mut form = adjust_form(id);
    (form.cost, form.reason) = (fields.field("cost_usd"), fields.field("reason"));
    let cost = fields.text("cost_usd").trim().trim_start_matches('$').parse::<Picodollars>();
    match cost {
        Err(_) => form.cost.error = Some("Write dollars, such as 0.0123.".to_owned()),
        Ok(cost) => {
            let by = format!("user {:?}", visitor.session.user.name);
            let is_meant = fields.text("above_held") == "yes";
            match adjust_call(&visitor.state, id, (cost, is_meant), &by, fields.text("reason")).await {
                Ok(_) => return Ok(done(&format!("/requests/{id}"), visitor.is_htmx)),
                Err(problem) if problem.code() == Code::NotFound => return Err(PageError::NotFound),
                Err(problem) => match problem.member("field") {
                    Some("reason") => form.reason.error = Some("Say how you know it, in one line.".to_owned()),
                    Some("costUsd") => form.cost.error = Some("A cost can’t be negative.".to_owned()),
                    Some("aboveHeld") => {
                        let told =
                            problem.detail().trim_start_matches("aboveHeld: ").split(';').next().unwrap_or_default();
                        form.cost.error =
                            Some(format!("{}. Is the point in its place?", sentence(told).trim_end_matches('.')));
                        form.asks_above_held = true;
                    }
                    _ => form.error = Some(sentence(problem.detail())),
                },
            }
        }
    }
    match page(&visitor, &shared, id).await? {
        Found::Page(page) => Ok(unprocessable(&RequestPage { adjust_form: Some(form), ..*page })),
        Found::AdjustmentOf(of) => Ok(see_other(&format!("/requests/{of}"))),
    }
}

fn adjust_form(id: RequestId) -> AdjustForm {
    let empty = || Field { value: String::new(), error: None };
    AdjustForm {
        href: format!("/requests/{id}/adjust"),
        cost: empty(),
        reason: empty(),
        asks_above_held: false,
        error: None,
    }
}

fn adjustment_lines(call: &Adjusted, clock: &Clock) -> Vec<AdjustmentLine> {
    let line = |entry: &Entry| {
        let adjustment = entry.adjustment.as_ref()?;
        Some(AdjustmentLine {
            by: format!("{}, {}", adjustment_words(adjustment.kind), adjustment.by),
            time: clock.time_or_day(adjustment.made).text,
            reason: adjustment.reason.to_string(),
            amount: money(entry.cost()),
        })
    };
    call.adjustments.iter().filter_map(line).collect()
}

fn unread(id: RequestId, layout: Layout, error: &crate::ledger::LedgerError) -> RequestPage {
    let href = format!("/requests/{id}");
    RequestPage {
        layout,
        id: id.to_string(),
        badges: Vec::new(),
        error: None,
        kpis: Vec::new(),
        timeline_range: String::new(),
        timeline: unreadable("The call", error, &href),
        decision: None,
        cost: unreadable("The cost", error, &href),
        cost_note: None,
        adjustments: Vec::new(),
        adjust_form: None,
        usage: Vec::new(),
        raw_usage: None,
        contents: Vec::new(),
        details: Vec::new(),
    }
}

/// What is kept of the call; a file of contents that can't be read leaves the rest of the page as it is.
fn contents(state: &State, id: RequestId) -> Vec<KeptText> {
    let kept = state.gateway.parts().content.find(id).inspect_err(|error| tracing::warn!("{error}"));
    let Ok(Some(kept)) = kept else { return Vec::new() };
    let text = |title, body: &Excerpt| KeptText {
        title,
        text: body.text(),
        note: body.is_truncated().then(|| {
            format!("The first {} of {} bytes.", count_exact(BODY_BYTES_MAX as u64), count_exact(body.whole_len()))
        }),
    };
    vec![text("The request", &kept.request), text("The answer", &kept.answer)]
}

fn ms(length: u32) -> Duration {
    Duration::from_millis(length.into())
}

fn build(state: &State, call: &Adjusted, layout: Layout) -> RequestPage {
    let entry = &call.entry;
    let clock = clock(state);
    let router = state.gateway.router();
    let mut badges = vec![status(entry)];
    badges.extend(notes(entry));
    if entry.facts.stream {
        badges.push(Badge::new("Streamed", Tone::Neutral));
    }
    let raw: Vec<&str> = entry.attempts.iter().filter_map(|attempt| attempt.raw_usage.as_deref()).collect();
    RequestPage {
        layout,
        id: entry.facts.id.to_string(),
        badges,
        error: error(call),
        kpis: kpis(call),
        timeline_range: timeline_range(entry, state, &clock),
        timeline: Ok(timeline(call)),
        decision: decision::of_call(entry),
        cost: cost_lines(entry, &router),
        cost_note: cost_note(entry),
        adjustments: adjustment_lines(call, &clock),
        adjust_form: (entry.status == EntryStatus::Unknown).then(|| adjust_form(entry.facts.id)),
        usage: usage(entry),
        raw_usage: (!raw.is_empty()).then(|| raw.join("\n")),
        contents: Vec::new(),
        details: details(state, entry, &clock),
    }
}

fn error(call: &Adjusted) -> Option<Notice> {
    let entry = &call.entry;
    let code = entry.error.as_deref()?;
    let owed = if call.cost().is_zero() {
        "Nothing is owed.".to_owned()
    } else {
        format!("{} is owed for what was used.", money(call.cost()))
    };
    let tried = match entry.attempts.iter().filter(|attempt| !attempt.is_unsent()).count() {
        0 => "No provider was asked.".to_owned(),
        count => format!("{} made.", counted(count as u64, "attempt was", "attempts were")),
    };
    Some(Notice {
        title: format!("The call failed: {}", error_words(code).to_lowercase()),
        text: format!("{tried} {owed}").into(),
        action: None,
        is_failure: true,
    })
}

fn kpis(call: &Adjusted) -> Vec<Kpi> {
    let entry = &call.entry;
    let usage = entry.usage();
    let (input, output) = (usage.total_input(), usage.total_output());
    let basis = match entry.basis() {
        _ if entry.status == EntryStatus::Pending => "known when it ends",
        basis => unsent_words(entry).unwrap_or(match basis {
            CostBasis::Exact if entry.status == EntryStatus::Failed => "nothing is owed",
            CostBasis::Exact => "exact",
            CostBasis::Estimated => "estimated",
            CostBasis::Reserved => "charged at its reservation",
            CostBasis::Unpriced => "no price is known",
        }),
    };
    let (amount, basis) = if call.adjustments.is_empty() {
        (cost(entry), basis.to_owned())
    } else {
        (call.cost(), format!("adjusted from {}", money(cost(entry))))
    };
    let mut price = Kpi::new("call-cost", "Cost", Some(money(amount)), basis);
    price.exact = Some(format!("${amount}"));
    let is_over = entry.status != EntryStatus::Pending;
    let took = duration(ms(entry.latency_ms));
    let first = entry.time_to_first_token_ms.map(|first| duration(ms(first)));
    let streamed = entry.time_to_first_token_ms.map_or(0, |first| entry.latency_ms.saturating_sub(first));
    let speed = if streamed > 0 && output > 0 {
        let per_second = output as f64 / (f64::from(streamed) / 1_000.0);
        format!("then {per_second:.0} tokens per second")
    } else {
        String::new()
    };
    let cached = if usage.cache_read > 0 {
        format!("{} of input was cached", percent(share(usage.cache_read as f64, input as f64)))
    } else {
        "in to out".to_owned()
    };
    let mut token_tile = Kpi::new("call-tokens", "Tokens", (input + output > 0).then(|| tokens(input, output)), cached);
    token_tile.exact = Some(format!("{} in, {} out", count_exact(input), count_exact(output)));
    let provider = |place: usize| entry.attempts[place].deployment.provider.to_string();
    let tried: Vec<String> = in_time(entry).into_iter().map(provider).collect();
    vec![
        price,
        Kpi::new("call-time", "Total time", is_over.then_some(took), "from arrival to end"),
        Kpi::new("call-first", "First token", first, speed),
        token_tile,
        Kpi::new("call-attempts", "Attempts", Some(entry.attempts.len().to_string()), tried.join(", ")),
    ]
}

/// Why a call has no cost that could rest on anything, where nothing was sent for it.
fn unsent_words(entry: &Entry) -> Option<&'static str> {
    match entry.facts.cache {
        _ if !entry.attempts.iter().all(Attempt::is_unsent) => None,
        CacheOutcome::Hit | CacheOutcome::Semantic => Some("answered from the cache"),
        CacheOutcome::Miss | CacheOutcome::Bypass if entry.attempts.is_empty() => Some("no provider was asked"),
        CacheOutcome::Miss | CacheOutcome::Bypass => Some("nothing was sent"),
    }
}

/// Why a call is charged at all that was held for it.
fn unknown_words(entry: &Entry) -> &'static str {
    let unseen = entry.attempts.iter().rev().find(|attempt| attempt.basis == CostBasis::Reserved);
    match unseen.and_then(|attempt| attempt.error.as_deref()) {
        Some("upstream_garbage") => {
            "The provider answered 200 with something that is no answer of its API, such as a web page, and may have billed the call. So all that was held is charged. Is its base_url right? Charged to "
        }
        _ => "Its end was never seen, so all that was held is charged to ",
    }
}

fn timeline_range(entry: &Entry, state: &State, clock: &Clock) -> String {
    let zone = state.ledger.zone();
    let text = |at: Timestamp| zone.to_datetime(at).strftime("%H:%M:%S%.3f").to_string();
    let end = entry.time() + SignedDuration::from_millis(entry.latency_ms.into());
    let day = clock.day(zone.to_datetime(entry.time()).date());
    let name = zone.iana_name().unwrap_or("local time");
    if entry.status == EntryStatus::Pending {
        return format!("{day}, since {} {name}", text(entry.time()));
    }
    format!("{day}, {} to {} {name}", text(entry.time()), text(end))
}

fn timeline(call: &Adjusted) -> Vec<TimelineStep> {
    let entry = &call.entry;
    let whole = entry.attempts.iter().map(|attempt| attempt.started_ms.saturating_add(attempt.latency_ms)).max();
    let whole = ms(whole.unwrap_or(0).max(entry.latency_ms).max(1));
    let mut steps = Vec::new();
    let mut step = |icon, tone, name: String, start: u32, length: u32, phase, detail: Phrase| {
        steps.push(TimelineStep {
            icon,
            tone,
            name,
            bar: TimeBar::new(ms(start), ms(length), whole, phase),
            length: duration(ms(length)),
            detail,
        });
    };
    let asked = Phrase::new("Asked for ").code(entry.facts.requested_model.to_string());
    match entry.facts.cache {
        CacheOutcome::Hit | CacheOutcome::Semantic => {
            step(
                "cache",
                Tone::Accent,
                "Cache".to_owned(),
                0,
                entry.latency_ms,
                Phase::Inside,
                asked.text(": answered from the cache."),
            );
        }
        _ => {
            let first = in_time(entry).first().map(|place| &entry.attempts[*place]);
            let before = first.map_or(entry.latency_ms, |first| first.started_ms);
            let detail = match first {
                Some(first) => asked.text(", first sent to ").code(first.deployment.to_string()).text("."),
                None => asked.text(": no provider was asked."),
            };
            step("route", Tone::Neutral, "Checks and routing".to_owned(), 0, before, Phase::Inside, detail);
        }
    }
    let (order, hedge) = (in_time(entry), entry.hedge());
    for (index, &place) in order.iter().enumerate() {
        let attempt = &entry.attempts[place];
        let previous = index.checked_sub(1).map(|index| &entry.attempts[order[index]]);
        let provider = attempt.deployment.provider.as_str();
        let name = match previous {
            _ if hedge.is_some_and(|hedge| hedge.place == place) => format!("Hedge, {provider}"),
            Some(before) if before.deployment == attempt.deployment => format!("Retry, {provider}"),
            Some(_) => format!("Fallback, {provider}"),
            None => format!("Attempt {}, {provider}", index + 1),
        };
        if let Some(why) = given_up(attempt) {
            step("x", Tone::Warn, name, attempt.started_ms, attempt.latency_ms, Phase::Waiting, why.into());
            continue;
        }
        if let Some(error) = &attempt.error {
            let what = if attempt.status == 0 {
                error_words(error)
            } else {
                format!("{} {}", attempt.status, error_words(error).to_lowercase())
            };
            let detail = Phrase::default().toned(what, Tone::Bad).text(format!(". {}", owed_for(attempt)));
            step("bad", Tone::Bad, name, attempt.started_ms, attempt.latency_ms, Phase::Failed, detail);
            continue;
        }
        let is_fallback = previous.is_some() && hedge.is_none_or(|hedge| hedge.place != place);
        let (icon, tone) = if is_fallback { ("undo", Tone::Warn) } else { ("bolt", Tone::Neutral) };
        let waited = attempt.time_to_first_token_ms.unwrap_or(attempt.latency_ms).min(attempt.latency_ms);
        let detail =
            if attempt.time_to_first_token_ms.is_some() { "Until the first token." } else { "Until the whole answer." };
        step(icon, tone, name, attempt.started_ms, waited, Phase::Waiting, detail.into());
        if attempt.time_to_first_token_ms.is_some() {
            let length = attempt.latency_ms - waited;
            let detail = counted(attempt.usage.total_output(), "token came", "tokens came");
            step(
                "bolt",
                Tone::Neutral,
                "Answer".to_owned(),
                attempt.started_ms + waited,
                length,
                Phase::Streaming,
                format!("{detail}.").into(),
            );
        }
    }
    if entry.status != EntryStatus::Pending {
        let key = entry.facts.key_name.to_string();
        let (icon, tone, detail) = match entry.status {
            EntryStatus::Unknown if !call.adjustments.is_empty() => {
                let told = format!("Its end was never seen. Adjusted since, {} charged to ", money(call.cost()));
                ("warn", Tone::Warn, Phrase::new(told).strong(key).text("."))
            }
            EntryStatus::Unknown => ("warn", Tone::Warn, Phrase::new(unknown_words(entry)).strong(key).text(".")),
            EntryStatus::Failed => ("bad", Tone::Bad, Phrase::new("Nothing is charged to ").strong(key).text(".")),
            _ => ("check", Tone::Ok, Phrase::new(format!("{} charged to ", money(entry.cost()))).strong(key).text(".")),
        };
        step(icon, tone, error_words(entry.status.as_str()), entry.latency_ms, 0, Phase::Inside, detail);
    }
    steps
}

/// Why an attempt was given up of which nothing is wrong.
fn given_up(attempt: &Attempt) -> Option<String> {
    if attempt.is_unsent() {
        return Some("The call was given up before anything was sent.".to_owned());
    }
    let is_overtaken = attempt.error.as_deref() == Some(OVERTAKEN);
    is_overtaken.then(|| format!("Cancelled: another deployment answered first. {}", owed_for(attempt)))
}

/// What an attempt without an answer cost, as a sentence.
fn owed_for(attempt: &Attempt) -> String {
    match attempt.basis {
        _ if attempt.cost.is_zero() => "Nothing is owed for it.".to_owned(),
        CostBasis::Reserved => {
            format!("{} is owed for it, all that was held: what it came to was never seen.", money(attempt.cost))
        }
        _ => format!("{} is owed for it.", money(attempt.cost)),
    }
}

/// The places of an entry's attempts in the order in which they began.
fn in_time(entry: &Entry) -> Vec<usize> {
    let mut places: Vec<usize> = (0..entry.attempts.len()).collect();
    places.sort_by_key(|place| entry.attempts[*place].started_ms);
    places
}

fn bucket_words(bucket: &str) -> String {
    match bucket {
        "input" => "Input, not cached".to_owned(),
        "cache_read" => "Input, read from provider cache".to_owned(),
        "cache_write_5m" => "Input, written to cache for 5 min".to_owned(),
        "cache_write_1h" => "Input, written to cache for 1 h".to_owned(),
        "audio_input" => "Audio input".to_owned(),
        "output" => "Output".to_owned(),
        "reasoning" => "Reasoning".to_owned(),
        "audio_output" => "Audio output".to_owned(),
        "web_searches" => "Web searches".to_owned(),
        "residency" => "Surcharge for where it was computed".to_owned(),
        "fast" => "Surcharge for fast mode".to_owned(),
        other => error_words(other),
    }
}

/// A line's name, its tokens, their price, and what it cost.
type Line = (String, u64, Option<Price>, Picodollars);

/// The bill of an attempt at the prices of today, where that comes to what was booked, to the picodollar.
fn priced(attempt: &Attempt, entry: &Entry, router: &Router) -> Option<Vec<Line>> {
    if !matches!(attempt.basis, CostBasis::Exact | CostBasis::Estimated) || attempt.usage.is_empty() {
        return None;
    }
    let (provider, model) = (&attempt.deployment.provider, &attempt.deployment.model);
    let upstream = router.upstream(provider.as_str())?;
    let facts = router.catalog().find(provider, upstream.catalog(), model.as_str())?;
    let plainly = Billed::plainly(entry.time());
    let billed = attempt.rating.as_ref().map_or(plainly, |rating| rating.billed(entry.time()));
    let lines = facts.prices.lines(&attempt.usage, &billed);
    let sum: Picodollars = lines.iter().map(|line| line.cost).sum();
    // A price per million would mislead beside a number of searches or a surcharge.
    let price = |line: &crate::catalog::CostLine| {
        (!matches!(line.bucket, "web_searches" | "residency" | "fast")).then_some(line.price)
    };
    let line = |line: crate::catalog::CostLine| (bucket_words(line.bucket), line.tokens, price(&line), line.cost);
    (sum == attempt.cost).then(|| lines.into_iter().map(line).collect())
}

fn cost_lines(entry: &Entry, router: &Router) -> Card<CostLines> {
    if entry.status == EntryStatus::Pending {
        let text = format!("{} is held for it until its cost is known.", money(entry.reserved));
        return Err(Notice::empty("The call is running", text, None));
    }
    let mut lines = Vec::new();
    let is_billed = |attempt: &Attempt| !attempt.cost.is_zero() || !attempt.usage.is_empty();
    let billed = entry.attempts.iter().filter(|attempt| is_billed(attempt)).count();
    for (index, place) in in_time(entry).into_iter().enumerate() {
        let attempt = &entry.attempts[place];
        if !is_billed(attempt) {
            continue;
        }
        let mut own = priced(attempt, entry, router).unwrap_or_else(|| {
            let label = match attempt.basis {
                CostBasis::Reserved => "All that was held for it",
                CostBasis::Unpriced => "Tokens without a known price",
                CostBasis::Exact | CostBasis::Estimated => "As booked, at the prices of then",
            };
            let tokens = attempt.usage.total_input() + attempt.usage.total_output();
            vec![(label.to_owned(), tokens, None, attempt.cost)]
        });
        if billed > 1 {
            for line in &mut own {
                line.0 = format!("{} · attempt {}", line.0, index + 1);
            }
        }
        lines.append(&mut own);
    }
    if lines.is_empty() {
        let text = match entry.facts.cache {
            CacheOutcome::Hit | CacheOutcome::Semantic => "The answer came from the cache.",
            _ => "No provider has answered.",
        };
        return Err(Notice::empty("Nothing is owed", text, None));
    }
    Ok(CostLines::new(&lines))
}

fn cost_note(entry: &Entry) -> Option<String> {
    if !entry.saved.is_zero() {
        return Some(format!("The cache saved {}.", money(entry.saved)));
    }
    match entry.basis() {
        _ if entry.status == EntryStatus::Pending => None,
        CostBasis::Exact => None,
        CostBasis::Estimated => {
            Some("Estimated: the provider told no usage, or a price stood in for a missing one.".to_owned())
        }
        CostBasis::Reserved => {
            Some("All that was held for it, because nobody can say what the provider billed: never below its true cost; an admin may set it right once that is known.".to_owned())
        }
        CostBasis::Unpriced => {
            Some("Counted as $0.00. Set a price in tollgate.toml and run tollgate re-rate.".to_owned())
        }
    }
}

fn usage(entry: &Entry) -> Vec<UsageLine> {
    if entry.status == EntryStatus::Pending {
        return Vec::new();
    }
    let usage = entry.usage();
    let lines = [
        ("Input, not cached", usage.uncached_input, false),
        ("Input, read from provider cache", usage.cache_read, false),
        ("Input, written to cache", usage.cache_write(), false),
        ("Audio input", usage.audio_input, false),
        ("Output", usage.output, false),
        ("of it reasoning", usage.reasoning, true),
        ("Audio output", usage.audio_output, false),
        ("Web searches", usage.web_searches, false),
    ];
    let some = lines.into_iter().filter(|(_, tokens, _)| *tokens > 0);
    some.map(|(label, tokens, is_part)| UsageLine { label: label.to_owned(), tokens: count_exact(tokens), is_part })
        .collect()
}

fn details(state: &State, entry: &Entry, clock: &Clock) -> Vec<Detail> {
    let facts = &entry.facts;
    let mut details = Vec::new();
    let mut add = |label: &str, value: Phrase, is_code: bool| {
        details.push(Detail { label: label.to_owned(), value, is_code });
    };
    let key = facts.key_name.to_string();
    let key = if state.keys.get(&facts.key).is_some() {
        Phrase::default().link(key, format!("/keys/{}", facts.key))
    } else {
        key.into()
    };
    add("Key", key, false);
    if let Some(team) = facts.team.as_deref() {
        add("Team", team.into(), false);
    }
    add("Operation", facts.operation.to_string().into(), false);
    add("Asked for", facts.requested_model.to_string().into(), true);
    if let Some(last) = entry.attempts.last() {
        let label = if last.error.is_some() { "Tried last" } else { "Answered by" };
        add(label, last.deployment.to_string().into(), true);
        if let Some(id) = last.upstream_request_id.as_deref() {
            add("Provider’s id", id.into(), true);
        }
    }
    add("Endpoint", facts.endpoint.path().into(), true);
    let basis = match entry.basis() {
        _ if entry.status == EntryStatus::Pending => "known when it ends",
        basis => unsent_words(entry).unwrap_or(match basis {
            CostBasis::Exact if entry.status == EntryStatus::Failed => "exact: nothing is owed",
            CostBasis::Exact => "exact: the provider’s usage at a known price",
            CostBasis::Estimated => "estimated: tokens or prices had to be estimated",
            CostBasis::Reserved => "reserved: what the provider billed is not known",
            CostBasis::Unpriced => "unpriced: no price is known",
        }),
    };
    add("Cost basis", basis.into(), false);
    if let Some(id) = facts.client_request_id.as_deref() {
        add("Client’s id", id.into(), true);
    }
    for (name, value) in &facts.tags {
        add("Tag", format!("{name}={value}").into(), true);
    }
    add("Received", clock.ago(entry.time()).text.into(), false);
    details
}
