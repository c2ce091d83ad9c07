//! Which deployment's provider has which beginning in its prompt cache, as far as calls through here can tell.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use crate::domain::Deployment;

use super::prefix::{Beginning, Prefix};

/// Beginnings that are known at once, in two halves: when one is full, the older one is forgotten.
const BEGINNINGS_MAX: usize = 32_768;
/// Deployments that are known to hold the same beginning.
const HOLDERS_MAX: usize = 8;
/// The last pieces after which a turn is remembered, so that one that goes on from a little earlier is found too.
const LAST_PIECES: usize = 3;

/// Who holds a beginning, until when, and how many tokens it has.
#[derive(Clone, Debug)]
struct Holder {
    deployment: Deployment,
    tokens: u32,
    until: Instant,
}

#[derive(Debug, Default)]
struct Halves {
    young: HashMap<u64, Vec<Holder>>,
    old: HashMap<u64, Vec<Holder>>,
}

impl Halves {
    fn get(&self, hash: u64) -> Option<&Vec<Holder>> {
        self.young.get(&hash).or_else(|| self.old.get(&hash))
    }

    fn hold(&mut self, hash: u64, holder: Holder, now: Instant) {
        if self.young.len() >= BEGINNINGS_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        let mut holders = self.young.remove(&hash).or_else(|| self.old.remove(&hash)).unwrap_or_default();
        holders.retain(|known| known.until > now && known.deployment != holder.deployment);
        holders.truncate(HOLDERS_MAX - 1);
        holders.push(holder);
        self.young.insert(hash, holders);
    }
}

/// All that is known of providers' prompt caches.
#[derive(Debug, Default)]
pub(super) struct Holders(Mutex<Halves>);

impl Holders {
    /// How many tokens of a request each deployment holds: the longest beginning that it has.
    pub(super) fn tokens(&self, prefix: &Prefix<'_>, deployments: &[&Deployment], now: Instant) -> Vec<u32> {
        let mut tokens = vec![0; deployments.len()];
        let halves = self.0.lock().expect("no holder of this lock panics");
        for Beginning { hash, .. } in prefix.beginnings().rev() {
            for holder in halves.get(hash).into_iter().flatten().filter(|holder| holder.until > now) {
                let place = deployments.iter().position(|deployment| **deployment == holder.deployment);
                if let Some(place) = place
                    && tokens[place] == 0
                {
                    tokens[place] = holder.tokens;
                }
            }
            if tokens.iter().all(|tokens| *tokens > 0) {
                break;
            }
        }
        tokens
    }

    /// Notes that a deployment has read a request of so many tokens and keeps the first ones of them.
    pub(super) fn hold(
        &self,
        prefix: &Prefix<'_>,
        deployment: &Deployment,
        (tokens, kept): (u64, u64),
        until: Instant,
        now: Instant,
    ) {
        let (bytes, count, fixed) = (prefix.bytes().max(1), prefix.pieces.len(), prefix.fixed_len());
        let mut halves = self.0.lock().expect("no holder of this lock panics");
        for (number, beginning) in (1..).zip(prefix.beginnings()) {
            if number == fixed || number + LAST_PIECES > count {
                // Tokens of a part are taken to be spread evenly: exact enough to compare prices by.
                let share = u128::from(tokens) * beginning.bytes as u128 / bytes as u128;
                let tokens = u32::try_from(share.min(kept.into())).unwrap_or(u32::MAX);
                halves.hold(beginning.hash, Holder { deployment: deployment.clone(), tokens, until }, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::Endpoint;

    fn turn(messages: &[&str]) -> String {
        let messages: Vec<String> =
            messages.iter().map(|text| format!(r#"{{"role":"user","content":"{text}"}}"#)).collect();
        format!(r#"{{"system":"be kind and patient","messages":[{}]}}"#, messages.join(","))
    }

    fn check(holders: &Holders, body: &str, deployment: &str, now: Instant, expected: std::ops::Range<u32>) {
        let prefix = Prefix::of(Endpoint::Messages, body.as_bytes(), "k", None).unwrap();
        let tokens = holders.tokens(&prefix, &[&deployment.parse().unwrap()], now)[0];
        assert!(expected.contains(&tokens), "{body}: {tokens} is not in {expected:?}");
    }

    #[test]
    fn a_deployment_holds_what_it_has_read_until_its_provider_forgets_it() {
        let (holders, now) = (Holders::default(), Instant::now());
        let until = now + Duration::from_mins(5);
        let body = turn(&["one", "two"]);
        let prefix = Prefix::of(Endpoint::Messages, body.as_bytes(), "k", None).unwrap();
        let deployment: Deployment = "a/m".parse().unwrap();
        holders.hold(&prefix, &deployment, (1_000, 1_000), until, now);
        check(&holders, &body, "a/m", now, 1_000..1_001);
        check(&holders, &turn(&["one", "two", "three"]), "a/m", now, 1_000..1_001);
        check(&holders, &turn(&["one", "else"]), "a/m", now, 400..900);
        check(&holders, &turn(&["other"]), "a/m", now, 100..500);
        check(&holders, &body.replace("kind", "rude"), "a/m", now, 0..1);
        check(&holders, &body, "b/m", now, 0..1);
        check(&holders, &body, "a/m", until, 0..1);
    }

    #[test]
    fn beginnings_without_end_take_no_memory_without_end() {
        let mut halves = Halves::default();
        let now = Instant::now();
        let deployment: Deployment = "a/m".parse().unwrap();
        for hash in 0..200_000 {
            let holder = Holder { deployment: deployment.clone(), tokens: 1, until: now + Duration::from_mins(5) };
            halves.hold(hash, holder, now);
        }
        assert!(halves.young.len() + halves.old.len() <= BEGINNINGS_MAX);
        assert!(halves.get(199_999).is_some() && halves.get(0).is_none());
    }
}
