//! A stream on its way to the client: observed in passing, billed whatever happens, its last piece held back.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use crate::domain::{Picodollars, Price};
use crate::provider::{Meaning, ProviderError, TimeLimit, Unneeded};
use crate::routing::Candidate;

use super::attempt::{Flow, next_record};
use super::audience::{Audience, Drain};
use super::outlet::Outlet;
use super::passage::Passage;

/// The most that is read of a stream after its client has gone.
const DRAIN_BYTES_MAX: usize = 1 << 20;
/// After so long without a word a translated stream shows that it lives: what a provider says to that end isn't
/// translated, and the patience of some proxies is ten seconds.
const QUIET_TIME_MAX: Duration = Duration::from_secs(5);

/// How a stream ended.
pub(super) struct Ended {
    /// The record that ends it, and whatever follows: goes out when the call is booked.
    pub(super) last: Bytes,
    /// Why it didn't end as it should.
    pub(super) error: Option<ProviderError>,
    /// Whether the client had left before the end.
    pub(super) client_left: bool,
    /// Whether all of it came, with its end.
    pub(super) is_whole: bool,
}

/// What the relay needs to know beside the stream.
pub(super) struct Rules<'a> {
    /// When the whole call has to be over.
    pub(super) deadline: Instant,
    /// The limit behind it, and how long that is.
    pub(super) total: (TimeLimit, Duration),
    pub(super) drain_usd_max: Picodollars,
    /// Who the stream is for.
    pub(super) audience: &'a Audience,
}

/// Sends the stream on until its end, its failure, or the client's leaving.
pub(super) async fn relay(
    flow: &mut Flow,
    passage: &mut Passage,
    candidate: &Candidate,
    rules: &Rules<'_>,
    outlet: &mut Outlet,
) -> Ended {
    let provider = candidate.upstream.name().to_string();
    let mut drain: Option<ReadingOn<'_>> = None;
    let mut out = BytesMut::new();
    let mut held = std::mem::take(&mut flow.held).into_iter();
    let mut heard = Instant::now();
    let done = |last, error: Option<_>, client_left| {
        let is_whole = error.is_none();
        Ended { last, error, client_left, is_whole }
    };
    let broken = |error, client_left| Ended { last: Bytes::new(), error, client_left, is_whole: false };
    loop {
        // What is here already, up to the end of the stream.
        loop {
            let (record, meaning) = match held.next() {
                Some(held) => held,
                None => match next_record(&mut flow.splitter, &provider) {
                    Ok(Some(record)) => {
                        let meaning = flow.decoder.record(&provider, &record, &mut flow.progress);
                        (record, meaning)
                    }
                    Ok(None) => break,
                    Err(error) => {
                        outlet.send(&mut out).await;
                        return broken(Some(error), !outlet.is_open());
                    }
                },
            };
            match meaning {
                Meaning::End => {
                    let (last, error) = passage.end(record, flow, candidate);
                    outlet.send(&mut out).await;
                    return done(last, error, !outlet.is_open());
                }
                Meaning::Error(error) => {
                    outlet.send(&mut out).await;
                    return broken(Some(error), !outlet.is_open());
                }
                meaning => {
                    if let Err(error) = passage.record(&record, &meaning, flow.decoder, candidate, &mut out) {
                        outlet.send(&mut out).await;
                        return broken(Some(error), !outlet.is_open());
                    }
                }
            }
        }
        let waiting = Instant::now();
        outlet.send(&mut out).await;
        // What a client takes its time for is not the provider's silence.
        heard += waiting.elapsed();
        if !outlet.is_open() && drain.is_none() {
            let Some(right) = rules.audience.drain() else { return broken(None, true) };
            drain = Some(ReadingOn::begin(flow, candidate, rules.drain_usd_max, right));
        }
        if drain.as_ref().is_some_and(|drain| drain.is_over(flow)) {
            return broken(None, true);
        }
        let pings = outlet.is_open() && passage.is_translated();
        match next_chunk(flow, candidate, rules, outlet, drain.as_ref(), Silence { heard, pings }).await {
            Next::Quiet => passage.ping(&mut out),
            Next::Chunk(chunk) => {
                heard = Instant::now();
                if let Some(drain) = &mut drain {
                    drain.bytes += chunk.len();
                }
                flow.take_in(&chunk);
            }
            Next::Unneeded(Unneeded::ClientLeft | Unneeded::Overtaken) => {}
            Next::Unneeded(why @ Unneeded::Stopping) => {
                let error = ProviderError::GivenUp { provider, why, sent: true };
                return broken(Some(error), !outlet.is_open());
            }
            Next::DrainOver => return broken(None, true),
            Next::Failed(error) => return broken(Some(error), !outlet.is_open()),
            Next::End => {
                // A record without its blank line is still a record.
                let rest = flow.splitter.rest();
                // Half a record can't be read, but it broke off for all that.
                if !rest.is_empty()
                    && let Meaning::Error(error) = flow.decoder.record(&provider, &rest, &mut flow.progress)
                    && !matches!(error, ProviderError::Garbage { .. })
                {
                    return broken(Some(error), !outlet.is_open());
                }
                // Some servers leave the end marker out; one that has said why it finished has finished.
                if flow.progress.finished {
                    let (last, error) = passage.end(rest, flow, candidate);
                    return done(last, error, !outlet.is_open());
                }
                let detail = "the stream ended before its end marker".to_owned();
                let error = ProviderError::BrokeOff { provider, detail };
                return broken(Some(error), !outlet.is_open());
            }
        }
    }
}

/// How long a provider has said nothing.
#[derive(Clone, Copy)]
struct Silence {
    heard: Instant,
    /// Whether the client is told that the stream lives.
    pings: bool,
}

enum Next {
    Chunk(Bytes),
    /// Nothing yet.
    Quiet,
    End,
    Failed(ProviderError),
    Unneeded(Unneeded),
    DrainOver,
}

async fn next_chunk(
    flow: &mut Flow,
    candidate: &Candidate,
    rules: &Rules<'_>,
    outlet: &mut Outlet,
    drain: Option<&ReadingOn<'_>>,
    silence: Silence,
) -> Next {
    let timeouts = candidate.upstream.timeouts();
    let left = rules.deadline.saturating_duration_since(Instant::now());
    let patience = timeouts.idle.saturating_sub(silence.heard.elapsed());
    let (limit, allowed, after) =
        if left < patience { (rules.total.0, left, rules.total.1) } else { (TimeLimit::Idle, patience, timeouts.idle) };
    let allowed = drain.map_or(allowed, |drain| allowed.min(drain.right.time_left()));
    let pings = silence.pings && QUIET_TIME_MAX < allowed;
    let allowed = if pings { QUIET_TIME_MAX } else { allowed };
    tokio::select! {
        // What the provider has sent is counted before the client's leaving is noticed.
        biased;
        chunk = timeout(allowed, flow.body.chunk()) => match chunk {
            Ok(Ok(Some(chunk))) => Next::Chunk(chunk),
            Ok(Ok(None)) => Next::End,
            Ok(Err(error)) => Next::Failed(error),
            Err(_) if pings => Next::Quiet,
            Err(_) if drain.is_some_and(|drain| drain.right.time_left().is_zero()) => Next::DrainOver,
            Err(_) => Next::Failed(ProviderError::Timeout { provider: candidate.upstream.name().to_string(), limit, after }),
        },
        why = outlet.over() => Next::Unneeded(why),
    }
}

/// Reading on without a client, to the usage that makes the bill exact.
struct ReadingOn<'a> {
    right: &'a Drain,
    bytes: usize,
    output_before: u64,
    /// Dearest price of output; free where none is known.
    price: Price,
    usd_max: Picodollars,
}

impl<'a> ReadingOn<'a> {
    fn begin(flow: &Flow, candidate: &Candidate, usd_max: Picodollars, right: &'a Drain) -> Self {
        let price = candidate.facts.as_ref().map_or(Price::FREE, |facts| facts.prices.dearest_output());
        Self { right, bytes: 0, output_before: flow.progress.counted_output(), price, usd_max }
    }

    fn is_over(&self, flow: &Flow) -> bool {
        let since = flow.progress.counted_output().saturating_sub(self.output_before);
        self.bytes > DRAIN_BYTES_MAX || self.right.time_left().is_zero() || self.price.of(since) > self.usd_max
    }
}
