//! A second attempt beside one that is slow: the first of the two to produce content wins, the other is given up and booked.
//!
//! It is made only where it harms nobody: for calls that mean the same when they are asked twice, at a deployment that is
//! healthy and has a place free, with money that nobody waits for, and for a bounded share of the route's calls. Whatever
//! stands in its way, the first attempt goes on as if there had been no thought of another.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::HedgeConfig;
use crate::domain::ProviderKind;
use crate::ledger::{Attempt, Hold, Reservation};
use crate::provider::{Admission, Credential, Health, Place, ProviderError, Unneeded, UpstreamRequest};
use crate::routing::{Candidate, Plan, Wait};
use crate::telemetry::{Hedging, names};

use super::answer::UpstreamClient;
use super::attempt::{Begun, Failed, Stop, Try};
use super::booking::{AttemptEnd, Evidence};
use super::call::Call;
use super::prepare::{Asked, Outgoing, Prepared};
use super::translation::Translation;
use super::verdict;

/// Where a second attempt may go, with all that it needs but money.
type Picked = (usize, Prepared, Admission, Place, Option<Arc<Credential>>);

/// What came of an attempt.
type Came = Result<Begun, Failed>;

/// An attempt on its way, with what its booking and its answer need.
pub(super) struct Flight {
    pub(super) candidate: Candidate,
    /// What is told how its deployment did.
    pub(super) admission: Admission,
    pub(super) began: Instant,
    /// How the answer gets into the client's shape, where that is another one.
    pub(super) translation: Option<Translation>,
    /// What of the request was left out.
    pub(super) dropped: Vec<&'static str>,
}

/// An attempt that is about to be made.
pub(super) struct Takeoff {
    /// Its place in the plan.
    pub(super) index: usize,
    pub(super) reservation: Reservation,
    pub(super) flight: Flight,
    /// The call's place among those that may run at the provider.
    pub(super) place: Place,
    pub(super) request: UpstreamRequest,
}

/// What came of an attempt; of two, of the one that was not given up.
pub(super) struct Landed {
    /// The place in the plan behind which others are still to be tried.
    pub(super) index: usize,
    pub(super) reservation: Reservation,
    pub(super) flight: Flight,
    pub(super) place: Option<Place>,
    pub(super) came: Came,
    /// Whether a second attempt was made.
    pub(super) hedged: bool,
}

/// A second attempt.
struct Second {
    index: usize,
    flight: Flight,
    hold: Hold,
    place: Option<Place>,
}

/// One of two attempts that run.
struct Lane<'a, F> {
    flight: &'a Flight,
    hold: &'a Hold,
    place: &'a mut Option<Place>,
    running: Pin<&'a mut F>,
    stop: &'a Stop,
}

/// What happens first while two attempts run.
enum News {
    OfFirst(Came),
    OfSecond(Came),
    Unneeded(Unneeded),
}

/// Which of two attempts is left, and what came of it.
enum Raced {
    First(Came),
    Second(Came),
}

impl Call {
    /// Makes an attempt, and where its answer is late and the route hedges, a second one beside it.
    pub(super) async fn fly(&mut self, asked: &Asked<'_>, plan: &Plan, takeoff: Takeoff, may_hedge: bool) -> Landed {
        let Takeoff { index, reservation, flight: Flight { candidate, .. }, .. } = &takeoff;
        let after = if may_hedge { self.hedge_after(asked, plan, *index, candidate, reservation) } else { None };
        // On the heap: what two attempts take would be moved with the state of each call.
        if let Some((hedge, after)) = after {
            return Box::pin(self.fly_hedged(asked, plan, takeoff, hedge, after)).await;
        }
        let Takeoff { index, reservation, flight, place, request } = takeoff;
        let client = Arc::clone(&self.client);
        let stop = Stop::default();
        let attempt = self.try_at(&client, asked, &flight.candidate, reservation.hold(), request, &stop);
        let came = {
            let running = [&flight.admission];
            let over = pin!(self.audience.unneeded(&running));
            awaited(pin!(attempt.run()), over, &stop).await
        };
        Landed { index, reservation, flight, place: Some(place), came, hedged: false }
    }

    async fn fly_hedged(
        &mut self,
        asked: &Asked<'_>,
        plan: &Plan,
        takeoff: Takeoff,
        hedge: HedgeConfig,
        after: Duration,
    ) -> Landed {
        let Takeoff { index, mut reservation, flight, place, request } = takeoff;
        let (client, gateway) = (Arc::clone(&self.client), Arc::clone(&self.gateway));
        let (stop_first, stop_second) = (Stop::default(), Stop::default());
        let mut place = Some(place);
        let mut started = None;
        let raced = {
            let running = [&flight.admission];
            let mut over = pin!(self.audience.unneeded(&running));
            let attempt = self.try_at(&client, asked, &flight.candidate, reservation.hold(), request, &stop_first);
            let mut first = pin!(attempt.run());
            let alone = tokio::select! {
                biased;
                came = awaited(first.as_mut(), over.as_mut(), &stop_first) => Some(came),
                second = self.begin_second(asked, plan, index, &reservation, hedge, after) => {
                    started = second;
                    None
                }
            };
            match (alone, &mut started) {
                (Some(came), _) => Raced::First(came),
                (None, None) => Raced::First(awaited(first, over, &stop_first).await),
                (None, Some((second, request))) => {
                    gateway.parts().metrics.hedged(Hedging::Started);
                    let Second { flight: its, hold, place: its_place, .. } = second;
                    let request = request.clone();
                    let attempt = self.try_at(&client, asked, &its.candidate, hold, request, &stop_second);
                    let running = [&flight.admission, &its.admission];
                    let over = pin!(self.audience.unneeded(&running));
                    let (running, stop) = (pin!(attempt.run()), &stop_second);
                    let second = Lane { flight: its, hold, place: its_place, running, stop };
                    let (hold, running, stop) = (reservation.hold(), first, &stop_first);
                    let first = Lane { flight: &flight, hold, place: &mut place, running, stop };
                    self.race(asked, &reservation, first, second, over).await
                }
            }
        };
        let hedged = started.is_some();
        if let Some((second, _)) = &started {
            self.begin_attempt(&second.flight.candidate, second.hold.held());
        }
        match (raced, started) {
            (Raced::Second(came), Some((second, _))) => {
                let Second { index, flight, hold, place } = second;
                reservation.stand_for(hold);
                if came.is_ok() {
                    gateway.parts().metrics.hedged(Hedging::Won);
                }
                Landed { index, reservation, flight, place, came, hedged }
            }
            (Raced::First(came) | Raced::Second(came), started) => {
                let index = started.map_or(index, |(second, _)| second.index);
                Landed { index, reservation, flight, place, came, hedged }
            }
        }
    }

    /// Waits for the time of a second attempt, finds a deployment for it and holds money. Nothing is left of it when it is
    /// dropped on the way.
    async fn begin_second(
        &self,
        asked: &Asked<'_>,
        plan: &Plan,
        first: usize,
        reservation: &Reservation,
        hedge: HedgeConfig,
        after: Duration,
    ) -> Option<(Second, UpstreamRequest)> {
        // Nobody pays twice for an answer that is read for its bill alone.
        self.audience.pause(after).await.ok()?;
        let route = &plan.decision.as_ref()?.route;
        let router = self.router();
        if !router.experience().hedges().take(route, hedge.percent_max, Instant::now()) {
            return None;
        }
        let mut undo = Undo { call: self, route, reservation: None, is_made: false };
        let (index, prepared, admission, place, credential) =
            self.pick(asked, plan, first, reservation.output_cap() > 0)?;
        let candidate = plan.candidates[index].clone();
        undo.reservation = Some(reservation);
        let held = self.gateway.parts().ledger.reserve_beside(reservation, prepared.planned).await;
        let hold = held
            .inspect_err(|refusal| {
                tracing::debug!({ names::REQUEST_ID } = %asked.facts.id, "no second attempt: {refusal}");
            })
            .ok()?;
        undo.is_made = true;
        let Outgoing { asked_at, body, translation, dropped } = prepared.outgoing;
        let request = self.upstream_request(asked_at, body, translation.is_some(), credential);
        let flight = Flight { candidate, admission, began: Instant::now(), translation, dropped };
        Some((Second { index, flight, hold, place: Some(place) }, request))
    }

    /// Finds the next deployment behind one that can take a second attempt at once.
    fn pick(&self, asked: &Asked<'_>, plan: &Plan, first: usize, is_capped: bool) -> Option<Picked> {
        let now = Instant::now();
        // Who is given up without having shown its work is booked at all that was held: where that has no bound that
        // somebody set, it is far more than any answer costs.
        let has_bound = is_capped || asked.envelope.output_cap.is_some() || !self.inbound.endpoint.writes();
        let is_known = |candidate: &Candidate| has_bound || asked.shows_work_of(candidate);
        if !is_known(&plan.candidates[first]) {
            return None;
        }
        plan.candidates.iter().enumerate().skip(first + 1).find_map(|(index, candidate)| {
            if !is_known(candidate) {
                return None;
            }
            if !candidate.upstream.places().has_room() || candidate.is_open(now) {
                return None;
            }
            let prepared = self.prepare(asked, candidate).ok()?;
            let place = candidate.upstream.places().try_take()?;
            // A credential that was refused is found out about by calls that have nothing better.
            let errand = candidate.errand(self.inbound.endpoint);
            let credential = candidate.upstream.credentials().choose(&errand, false, now).ok()?;
            let admission = candidate.upstream.health().admit(errand, now).ok()?;
            Some((index, prepared, admission, place, credential))
        })
    }

    /// Lets two attempts run until one has answered, or one is left.
    async fn race<A, B, O>(
        &self,
        asked: &Asked<'_>,
        reservation: &Reservation,
        mut first: Lane<'_, A>,
        mut second: Lane<'_, B>,
        mut over: Pin<&mut O>,
    ) -> Raced
    where
        A: Future<Output = Came>,
        B: Future<Output = Came>,
        O: Future<Output = Unneeded>,
    {
        let ledger = &self.gateway.parts().ledger;
        let news = tokio::select! {
            biased;
            came = &mut first.running => News::OfFirst(came),
            came = &mut second.running => News::OfSecond(came),
            why = &mut over => News::Unneeded(why),
        };
        match news {
            // The second goes on as if there had been none before it.
            News::OfFirst(Err(failed)) => {
                *first.place = None;
                ledger.end_first(reservation, self.ended_beside(asked, first.flight, first.hold, Err(failed)));
                Raced::Second(awaited(second.running, over, second.stop).await)
            }
            News::OfFirst(Ok(begun)) => {
                second.stop.tell(Unneeded::Overtaken);
                let lost = second.running.await;
                *second.place = None;
                ledger.end_beside(reservation, self.ended_beside(asked, second.flight, second.hold, lost));
                Raced::First(Ok(begun))
            }
            News::Unneeded(why) => {
                second.stop.tell(why);
                let lost = second.running.await;
                *second.place = None;
                ledger.end_beside(reservation, self.ended_beside(asked, second.flight, second.hold, lost));
                first.stop.tell(why);
                Raced::First(first.running.await)
            }
            News::OfSecond(Ok(begun)) => {
                first.stop.tell(Unneeded::Overtaken);
                let lost = first.running.await;
                *first.place = None;
                ledger.end_first(reservation, self.ended_beside(asked, first.flight, first.hold, lost));
                Raced::Second(Ok(begun))
            }
            News::OfSecond(Err(failed)) => {
                *second.place = None;
                ledger.end_beside(reservation, self.ended_beside(asked, second.flight, second.hold, Err(failed)));
                Raced::First(awaited(first.running, over, first.stop).await)
            }
        }
    }

    fn try_at<'a>(
        &self,
        client: &'a UpstreamClient,
        asked: &Asked<'_>,
        candidate: &'a Candidate,
        hold: &'a Hold,
        request: UpstreamRequest,
        stop: &'a Stop,
    ) -> Try<'a> {
        let (stream, keeps_answer) = (asked.envelope.stream, self.may_keep_answer());
        let (deadline, total) = (self.deadline(candidate), self.total(candidate));
        let clock = self.gateway.parts().clock.clone();
        Try { client, hold, candidate, request, stream, keeps_answer, deadline, total, clock, stop }
    }

    /// What is to be booked for that one of two attempts which does not answer the client: it failed, or is given up.
    fn ended_beside(&self, asked: &Asked<'_>, flight: &Flight, hold: &Hold, came: Came) -> Attempt {
        let Flight { candidate, admission, began, .. } = flight;
        let (router, now) = (self.router(), Instant::now());
        let (health, wait) = match &came {
            Ok(begun) => (verdict::of_begun(begun), Some(Wait::Came(began.elapsed()))),
            Err(Failed { error: ProviderError::GivenUp { sent: true, .. }, .. }) => {
                (Health::Unclear, Some(Wait::Longer(began.elapsed())))
            }
            Err(failed) => (verdict::of_failure(&failed.error, began.elapsed()), None),
        };
        admission.tell(health, now);
        if let Some(wait) = wait {
            router.experience().note_wait(&candidate.deployment, asked.facts.stream, wait, now);
        }
        let end = |upstream_request_id| AttemptEnd {
            reserved: hold.worst_case(),
            arrived: self.inbound.arrived,
            began: *began,
            first_content: None,
            upstream_request_id,
        };
        let request = &self.inbound.body;
        let provider = candidate.upstream.name().to_string();
        let overtaken = ProviderError::GivenUp { provider, why: Unneeded::Overtaken, sent: true };
        let ended = match came {
            // Both came in the same instant.
            Ok(Begun::Whole(begun)) => {
                let bill = self.bill(candidate, &Evidence::whole(&begun.whole, request));
                end(begun.upstream_request_id).billed(bill, 200, Some(&overtaken))
            }
            Ok(Begun::Stream(flow)) => {
                let bill = self.bill(candidate, &Evidence::stream(&flow.progress, request));
                end(flow.upstream_request_id).billed(bill, 200, Some(&overtaken))
            }
            Err(failed) => {
                let error = candidate.upstream.redacted(failed.error);
                if !matches!(error, ProviderError::GivenUp { .. }) {
                    tracing::warn!(
                        { names::REQUEST_ID } = %asked.facts.id, { names::ERROR_TYPE } = error.code(),
                        "{} failed, its call goes on with the other of two attempts: {error}", candidate.deployment
                    );
                }
                let bill = self.bill_of_what_came(asked, candidate, &error, failed.progress);
                end(failed.upstream_request_id).failed(&error, bill)
            }
        };
        self.weigh(hold, &ended);
        ended
    }
}

/// Whether what a deployment has written can be told from what has come. Not of a whole answer, and not where its model may think,
/// and be paid for it, without a word of that in its stream: OpenAI's do, Anthropic's only where they are asked to think.
pub(super) fn shows_its_work(stream: bool, is_asked_to_think: bool, candidate: &Candidate) -> bool {
    stream
        && match candidate.upstream.kind() {
            ProviderKind::Anthropic | ProviderKind::Sandbox => !is_asked_to_think,
            ProviderKind::OpenAi | ProviderKind::OpenAiCompatible => {
                candidate.facts.as_ref().is_some_and(|facts| facts.capabilities.reasoning == Some(false))
            }
        }
}

/// Takes back what was done for a second attempt that is not made, dropped before it is.
struct Undo<'a> {
    call: &'a Call,
    /// Of whose share it is.
    route: &'a Arc<str>,
    /// The call that money may be held for.
    reservation: Option<&'a Reservation>,
    is_made: bool,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if self.is_made {
            return;
        }
        let (router, now) = (self.call.router(), Instant::now());
        router.experience().hedges().give_back(self.route, now);
        if let Some(reservation) = self.reservation {
            self.call.gateway.parts().ledger.forget_beside(reservation);
        }
    }
}

/// Waits for an attempt for as long as anybody does; then it is told to end, and tells what had come of it.
async fn awaited(
    mut running: Pin<&mut impl Future<Output = Came>>,
    over: Pin<&mut impl Future<Output = Unneeded>>,
    stop: &Stop,
) -> Came {
    let why = tokio::select! {
        biased;
        came = running.as_mut() => return came,
        why = over => why,
    };
    stop.tell(why);
    running.await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::OVERTAKEN;
    use crate::provider::Owed;

    #[test]
    fn an_attempt_that_was_overtaken_is_told_by_the_code_that_entries_go_by_and_owes_what_was_sent() {
        let overtaken = |sent| ProviderError::GivenUp { provider: "p".to_owned(), why: Unneeded::Overtaken, sent };
        assert_eq!(overtaken(true).code(), OVERTAKEN);
        assert_eq!((overtaken(true).owed(), overtaken(false).owed()), (Owed::WhatCame, Owed::Nothing));
        assert!(!overtaken(true).is_ill_health());
    }
}
