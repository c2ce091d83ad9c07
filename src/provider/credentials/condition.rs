//! What calls have shown of one credential: a pure state machine, time comes in as a value.
//!
//! An outcome counts from the moment at which its credential was chosen: what was on its way when the state changed says nothing
//! about the state since. So a burst of calls that are refused together is one refusal.

use std::time::{Duration, Instant};

use super::super::retry_after::WAIT_MAX;

/// The first pause of a credential that was refused; it doubles while live calls find it still refused.
const REFUSED_PAUSE: Duration = Duration::from_mins(5);
/// The longest one.
const REFUSED_PAUSE_MAX: Duration = Duration::from_hours(1);
/// The first pause of one whose account is out of money: a smaller request may still be paid for, and accounts are topped up.
const FUNDS_PAUSE: Duration = Duration::from_secs(30);
/// The longest one.
const FUNDS_PAUSE_MAX: Duration = Duration::from_mins(5);
/// The first pause after a 429 that names none; doubles with each that follows.
const LIMITED_PAUSE: Duration = Duration::from_millis(500);
/// The longest one.
const LIMITED_PAUSE_MAX: Duration = Duration::from_secs(30);
/// No call that was on its way when the state changed comes back later than this.
const CALL_TIME_MAX: Duration = Duration::from_hours(1);
/// A live call that tries a refused credential and has not come back after this long is lost, and another may go.
const TRIAL_TIME_MAX: Duration = Duration::from_secs(30);

/// Why a provider doesn't take a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It doesn't know it: 401.
    Unknown,
    /// It knows it, and doesn't let it use the model: 403.
    Forbidden,
    /// It knows it, and the key was given the right to other paths only.
    OutOfScope,
    /// The account behind it has no money.
    OutOfFunds,
}

impl Refusal {
    /// The pause until a live call tries it for the first time, and the longest pause between such calls.
    const fn pauses(self) -> (Duration, Duration) {
        match self {
            Self::Unknown | Self::Forbidden | Self::OutOfScope => (REFUSED_PAUSE, REFUSED_PAUSE_MAX),
            Self::OutOfFunds => (FUNDS_PAUSE, FUNDS_PAUSE_MAX),
        }
    }

    /// The code of the error that showed it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown | Self::Forbidden | Self::OutOfScope => "upstream_unauthorized",
            Self::OutOfFunds => "upstream_out_of_funds",
        }
    }

    /// What the provider said, as the end of a sentence that begins with the credential.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Unknown => "was refused with 401",
            Self::Forbidden => "was refused with 403",
            Self::OutOfScope => "was refused for want of a scope",
            Self::OutOfFunds => "is of an account without money",
        }
    }
}

/// What came of a call, as far as it says something of its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The provider answered.
    Accepted,
    /// It didn't take the credential.
    Refused(Refusal),
    /// It limits the rate, and says or doesn't say how long.
    Limited(Option<Duration>),
    /// Nothing: a request that was refused for itself, a provider that failed.
    Unclear,
}

/// The state of a credential, for all of a provider, for one of its models or for one of its paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// It may be used.
    Ready {
        /// When a call or an admin has made it so; absent where it has always been.
        since: Option<Instant>,
    },
    /// The provider has asked for a pause.
    Cooling { since: Instant, until: Instant, next: Duration },
    /// The provider doesn't take it; from `until` on one live call may find out whether it still doesn't.
    Disabled { refusal: Refusal, since: Instant, until: Instant, next: Duration },
    /// One live call finds out.
    Tried { refusal: Refusal, since: Instant, begun: Instant, next: Duration },
}

/// Whether a call may use a credential; the better comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// It may.
    Open,
    /// It may as the one that finds out.
    Trial,
    /// It may not before then.
    Closed(Instant),
}

impl Default for Condition {
    fn default() -> Self {
        Self::Ready { since: None }
    }
}

impl Condition {
    /// Whether a call may use it now.
    pub(super) fn access(self, now: Instant) -> Access {
        match self {
            Self::Cooling { until, .. } if now < until => Access::Closed(until),
            Self::Ready { .. } | Self::Cooling { .. } => Access::Open,
            Self::Disabled { until, .. } if now < until => Access::Closed(until),
            Self::Tried { begun, .. } if now < begun + TRIAL_TIME_MAX => Access::Closed(begun + TRIAL_TIME_MAX),
            Self::Disabled { .. } | Self::Tried { .. } => Access::Trial,
        }
    }

    /// The state once a call that may has gone.
    #[must_use]
    pub(super) fn taken(self, now: Instant) -> Self {
        match self {
            Self::Disabled { refusal, since, next, .. } | Self::Tried { refusal, since, next, .. }
                if self.access(now) == Access::Trial =>
            {
                Self::Tried { refusal, since, begun: now, next }
            }
            state => state,
        }
    }

    /// The state after a call came back that had chosen the credential at a time.
    #[must_use]
    pub(super) fn after(self, shown: Shown, chosen: Instant, now: Instant) -> Self {
        match shown {
            _ if matches!(self, Self::Ready { .. }) && !self.is_before(chosen) => self,
            Shown::Accepted if self.is_before(chosen) => match self {
                Self::Ready { .. } => self,
                Self::Cooling { .. } => Self::default(),
                Self::Disabled { .. } | Self::Tried { .. } => Self::Ready { since: Some(now) },
            },
            Shown::Accepted => self,
            Shown::Refused(refusal) => self.refused(refusal, chosen, now),
            Shown::Limited(asked) => self.limited(asked, chosen, now),
            Shown::Unclear => match self {
                // The next call finds out.
                Self::Tried { refusal, since, begun, next } if begun <= chosen => {
                    Self::Disabled { refusal, since, until: begun, next }
                }
                state => state,
            },
        }
    }

    /// Whether it stood already when a call chose the credential.
    pub(super) fn is_before(self, chosen: Instant) -> bool {
        match self {
            Self::Ready { since } => since.is_none_or(|since| since <= chosen),
            Self::Cooling { since, .. } | Self::Disabled { since, .. } | Self::Tried { since, .. } => since <= chosen,
        }
    }

    fn refused(self, refusal: Refusal, chosen: Instant, now: Instant) -> Self {
        let (first, longest) = refusal.pauses();
        match self {
            Self::Ready { .. } | Self::Cooling { .. } => {
                Self::Disabled { refusal, since: now, until: now + first, next: (first * 2).min(longest) }
            }
            Self::Disabled { since, next, .. } | Self::Tried { since, next, .. } if self.is_before(chosen) => {
                let pause = next.min(longest);
                Self::Disabled { refusal, since, until: now + pause, next: (pause * 2).min(longest) }
            }
            state => state,
        }
    }

    fn limited(self, asked: Option<Duration>, chosen: Instant, now: Instant) -> Self {
        // Whoever says "at once" each time is not believed: it would be asked without end.
        let asked = asked.filter(|pause| !pause.is_zero()).map(|pause| pause.min(WAIT_MAX));
        match self {
            Self::Ready { .. } => {
                Self::Cooling { since: now, until: now + asked.unwrap_or(LIMITED_PAUSE), next: LIMITED_PAUSE * 2 }
            }
            Self::Cooling { next, .. } if self.is_before(chosen) => {
                let next_pause = (next * 2).min(LIMITED_PAUSE_MAX);
                Self::Cooling { since: now, until: now + asked.unwrap_or(next), next: next_pause }
            }
            Self::Cooling { since, until, next } => {
                Self::Cooling { since, until: asked.map_or(until, |pause| until.max(now + pause)), next }
            }
            // Whoever limits a rate has said nothing about what it refused before.
            state @ (Self::Disabled { .. } | Self::Tried { .. }) => state.after(Shown::Unclear, chosen, now),
        }
    }

    /// Whether nothing is lost by forgetting it.
    pub(super) fn is_forgettable(self, now: Instant) -> bool {
        match self {
            Self::Ready { since } => since.is_none_or(|since| now > since + CALL_TIME_MAX),
            // A while longer, so that pauses that follow each other grow.
            Self::Cooling { until, .. } => now > until + LIMITED_PAUSE_MAX,
            Self::Disabled { until, .. } | Self::Tried { begun: until, .. } => now > until + REFUSED_PAUSE_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A credential with a clock in milliseconds.
    struct Fixture {
        start: Instant,
        condition: Condition,
    }

    impl Fixture {
        fn new() -> Self {
            Self { start: Instant::now(), condition: Condition::default() }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        /// A call that chooses it and comes back at times.
        fn call(&mut self, chosen: u64, back: u64, shown: Shown) {
            self.condition = self.condition.taken(self.at(chosen));
            self.condition = self.condition.after(shown, self.at(chosen), self.at(back));
        }

        #[track_caller]
        fn closed(&self, now: u64, until: u64) {
            assert_eq!(self.condition.access(self.at(now)), Access::Closed(self.at(until)), "{:?}", self.condition);
        }

        #[track_caller]
        fn is(&self, now: u64, access: Access) {
            assert_eq!(self.condition.access(self.at(now)), access, "{:?}", self.condition);
        }
    }

    #[test]
    fn a_refused_one_is_left_alone_until_one_live_call_may_find_out() {
        let mut fixture = Fixture::new();
        fixture.call(0, 10, Shown::Refused(Refusal::Unknown));
        fixture.closed(11, 300_010);
        fixture.is(300_010, Access::Trial);
        fixture.condition = fixture.condition.taken(fixture.at(300_010));
        fixture.closed(300_011, 330_010);
        // Still refused: twice as long, and an hour at most.
        let chosen = fixture.at(300_010);
        fixture.condition = fixture.condition.after(Shown::Refused(Refusal::Unknown), chosen, fixture.at(300_020));
        fixture.closed(300_021, 900_020);
        let mut now = 900_020;
        for _ in 0..5 {
            fixture.call(now, now, Shown::Refused(Refusal::Unknown));
            let Access::Closed(until) = fixture.condition.access(fixture.at(now)) else { panic!() };
            now = u64::try_from((until - fixture.start).as_millis()).unwrap();
        }
        fixture.closed(now - 1, now);
        fixture.call(now, now, Shown::Refused(Refusal::Unknown));
        fixture.closed(now, now + 3_600_000);
        fixture.call(now + 3_600_000, now + 3_600_001, Shown::Accepted);
        assert_eq!(fixture.condition, Condition::Ready { since: Some(fixture.at(now + 3_600_001)) });
    }

    #[test]
    fn a_burst_that_is_refused_together_is_one_refusal() {
        let mut fixture = Fixture::new();
        for back in 10..60 {
            fixture.call(0, back, Shown::Refused(Refusal::Unknown));
        }
        fixture.closed(60, 300_010);
        // An answer that was on its way proves nothing about what came after.
        fixture.call(5, 70, Shown::Accepted);
        fixture.closed(70, 300_010);
    }

    #[test]
    fn what_was_on_its_way_when_a_trial_went_well_says_nothing_any_more() {
        let mut fixture = Fixture::new();
        fixture.call(0, 10, Shown::Refused(Refusal::Unknown));
        fixture.call(300_010, 300_020, Shown::Accepted);
        let ready = fixture.condition;
        for shown in [Shown::Refused(Refusal::Unknown), Shown::Limited(Some(9 * SECOND)), Shown::Unclear] {
            fixture.call(5, 300_030, shown);
            assert_eq!(fixture.condition, ready, "{shown:?}");
        }
        fixture.call(300_020, 300_040, Shown::Refused(Refusal::Unknown));
        fixture.closed(300_041, 600_040);
    }

    #[test]
    fn a_limited_one_cools_as_long_as_it_is_told_and_else_longer_each_time() {
        let mut fixture = Fixture::new();
        fixture.call(0, 0, Shown::Limited(Some(7 * SECOND)));
        fixture.closed(1, 7_000);
        fixture.is(7_000, Access::Open);
        fixture.call(7_000, 7_000, Shown::Accepted);
        assert_eq!(fixture.condition, Condition::default());
        let mut now = 10_000;
        for pause in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            fixture.call(now, now, Shown::Limited(None));
            fixture.closed(now, now + pause);
            now += pause;
        }
        fixture.call(now, now, Shown::Limited(Some(Duration::ZERO)));
        fixture.closed(now, now + 30_000);
        now += 30_000;
        // A day is not believed unseen.
        fixture.call(now, now, Shown::Limited(Some(86_400 * SECOND)));
        fixture.closed(now, now + 3_600_000);
    }

    #[test]
    fn a_burst_that_is_limited_together_does_not_make_the_pause_grow_but_a_longer_one_counts() {
        let mut fixture = Fixture::new();
        for back in 10..60 {
            fixture.call(0, back, Shown::Limited(None));
        }
        fixture.closed(60, 510);
        fixture.call(5, 61, Shown::Limited(Some(2 * SECOND)));
        fixture.closed(61, 2_061);
        fixture.call(5, 62, Shown::Limited(Some(SECOND)));
        fixture.closed(62, 2_061);
    }

    #[test]
    fn what_says_nothing_changes_nothing_but_gives_the_trial_to_the_next() {
        let mut fixture = Fixture::new();
        fixture.call(0, 1, Shown::Unclear);
        assert_eq!(fixture.condition, Condition::default());
        fixture.call(0, 1, Shown::Refused(Refusal::OutOfFunds));
        fixture.closed(2, 30_001);
        fixture.call(30_001, 30_002, Shown::Unclear);
        fixture.is(30_002, Access::Trial);
        fixture.call(30_003, 30_004, Shown::Limited(Some(SECOND)));
        fixture.is(30_004, Access::Trial);
        // A call from before is not the one that finds out.
        fixture.condition = fixture.condition.taken(fixture.at(30_005));
        let before = fixture.condition;
        fixture.condition = before.after(Shown::Unclear, fixture.at(0), fixture.at(30_006));
        assert_eq!(fixture.condition, before);
    }

    #[test]
    fn a_trial_that_never_came_back_makes_room_for_another() {
        let mut fixture = Fixture::new();
        fixture.call(0, 0, Shown::Refused(Refusal::Forbidden));
        fixture.condition = fixture.condition.taken(fixture.at(300_000));
        fixture.closed(329_999, 330_000);
        fixture.is(330_000, Access::Trial);
    }

    proptest! {
        #[test]
        fn none_is_shut_for_longer_than_an_hour_nor_tried_twice_at_once(
            steps in proptest::collection::vec((0_u64..2_000_000, 0_u64..60_000, 0_u8..6), 0..200)
        ) {
            let (mut now, mut condition) = (Instant::now(), Condition::default());
            for (pause, lasts, shown) in steps {
                now += Duration::from_millis(pause);
                let access = condition.access(now);
                if let Access::Closed(until) = access {
                    prop_assert!(until - now <= REFUSED_PAUSE_MAX);
                    continue;
                }
                condition = condition.taken(now);
                if access == Access::Trial {
                    prop_assert!(matches!(condition.access(now), Access::Closed(_)), "two at once");
                }
                let shown = [
                    Shown::Accepted,
                    Shown::Refused(Refusal::Unknown),
                    Shown::Refused(Refusal::OutOfFunds),
                    Shown::Limited(Some(Duration::from_millis(pause))),
                    Shown::Limited(None),
                    Shown::Unclear,
                ][usize::from(shown)];
                let back = now + Duration::from_millis(lasts);
                condition = condition.after(shown, now, back);
                match shown {
                    Shown::Accepted => prop_assert_eq!(condition.access(back), Access::Open),
                    Shown::Refused(_) => prop_assert!(matches!(condition.access(back), Access::Closed(_))),
                    _ => {}
                }
                now = back;
            }
        }
    }
}
