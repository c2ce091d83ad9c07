//! Whether each provider knows each of our keys, and whether calls may use it here: the two are told side by side, for a key can be
//! good there and paused here, or the other way round.

use std::time::Instant;

use super::installation::reached_at;
use super::report::Check;
use crate::config::{Config, ProviderConfig};
use crate::domain::wording::{count_exact, counted, uptime};
use crate::provider::{Asked, CredentialStanding, CredentialState, Credentials, Probe, Refusal, Unanswered};

const NAME: &str = "provider keys";

/// What is known of the keys of one provider.
pub(super) struct Seen<'a> {
    pub(super) provider: &'a ProviderConfig,
    /// What the provider answered; absent where it was not asked.
    pub(super) probe: Option<&'a Probe>,
    /// What calls have shown of each key; of a server that doesn't run, nothing.
    pub(super) standings: Option<Vec<CredentialStanding>>,
}

/// What a provider says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Opinion {
    Known,
    Refused,
    Unknown(String),
    /// It was not asked.
    Unasked,
}

/// One key.
struct Key {
    standing: CredentialStanding,
    opinion: Opinion,
}

/// What is to be said of the keys of a provider, one check for all of them; nothing where the provider was not asked and calls have
/// shown nothing that matters.
pub(super) fn judge(seen: &Seen<'_>, config: &Config, now: Instant) -> Option<Check> {
    let provider = seen.provider;
    let name = provider.name.as_str();
    let asked = seen.probe.map(|probe| probe.asked.as_slice()).unwrap_or_default();
    if provider.api_keys.is_empty() {
        return Some(without_a_key(name, opinion(asked.first()?)).about(name));
    }
    let fresh = || Credentials::new(provider.name.clone(), provider.api_keys.clone()).standings(now);
    let standings = seen.standings.clone().unwrap_or_else(fresh);
    let key = |(place, standing)| Key { standing, opinion: asked.get(place).map_or(Opinion::Unasked, opinion) };
    let keys: Vec<Key> = standings.into_iter().enumerate().map(key).collect();
    let is_idle = |key: &Key| key.opinion == Opinion::Unasked && key.standing.worst() == CredentialState::Ready;
    if seen.probe.is_none() && keys.iter().all(is_idle) {
        return None;
    }
    let count = |wanted: Opinion| keys.iter().filter(|key| key.opinion == wanted).count();
    let (known, refused) = (count(Opinion::Known), count(Opinion::Refused));
    let paused = keys.iter().filter(|key| key.is_paused()).count();
    let check = verdict(name, &keys, config, now);
    let check = check.number("keys", keys.len()).number("known", known).number("refused", refused);
    Some(check.number("paused", paused).about(name))
}

fn without_a_key(name: &str, opinion: Opinion) -> Check {
    match opinion {
        Opinion::Refused => {
            let mend =
                format!("[[providers]]\nname = \"{name}\"\napi_key = \"env:NAME\"   # the variable that holds the key");
            Check::problem(NAME, "it wants a key (401), and none is set", mend)
        }
        Opinion::Unknown(why) => Check::skipped(NAME, format!("can't be told: {why}")),
        Opinion::Known | Opinion::Unasked => Check::ok(NAME, "it wants none, and none is set"),
    }
}

fn verdict(name: &str, keys: &[Key], config: &Config, now: Instant) -> Check {
    let found = words(keys, now);
    let mends: Vec<String> = keys.iter().filter_map(|key| key.mend(name, config)).collect();
    let is_unusable = |key: &Key| key.opinion == Opinion::Refused || key.standing.state != CredentialState::Ready;
    if keys.iter().all(is_unusable) && !mends.is_empty() {
        return Check::problem(NAME, format!("no key is ready: {found}"), mends.join("\n"));
    }
    if keys.iter().any(|key| key.opinion == Opinion::Refused) {
        return Check::problem(NAME, found, mends.join("\n"));
    }
    if !mends.is_empty() {
        return Check::warning(NAME, found, mends.join("\n"));
    }
    let is_unknown = |key: &Key| matches!(key.opinion, Opinion::Unknown(_));
    if keys.iter().any(is_unknown) { Check::skipped(NAME, found) } else { Check::ok(NAME, found) }
}

/// Of keys with which nothing is the matter their number; each other one by its name.
fn words(keys: &[Key], now: Instant) -> String {
    let mut said = Vec::new();
    let plain = keys.iter().filter(|key| key.opinion == Opinion::Known && key.here(now).is_none()).count();
    if plain > 0 {
        said.push(format!("{} to it", counted(plain as u64, "key is known", "keys are known")));
    }
    let untried = keys.iter().filter(|key| key.opinion == Opinion::Unasked && key.here(now).is_none()).count();
    let unknown = keys.iter().filter_map(|key| match &key.opinion {
        Opinion::Unknown(why) if key.here(now).is_none() => Some((key, why)),
        _ => None,
    });
    // What a provider doesn't tell of one key it seldom tells of another.
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for (key, why) in unknown {
        let name = key.standing.name().to_string();
        match reasons.iter_mut().find(|(known, _)| known == why) {
            Some((_, names)) => names.push(name),
            None => reasons.push((why, vec![name])),
        }
    }
    for key in keys {
        let name = key.standing.name();
        match (&key.opinion, key.here(now)) {
            (Opinion::Refused, None) => said.push(format!("{name} is refused (401)")),
            (Opinion::Refused, Some(here)) => said.push(format!("{name} is refused (401), and {here}")),
            (Opinion::Known, Some(here)) => said.push(format!("{name} is known to it, and {here}")),
            (Opinion::Unasked | Opinion::Unknown(_), Some(here)) => said.push(format!("{name} {here}")),
            (Opinion::Known | Opinion::Unknown(_) | Opinion::Unasked, None) => {}
        }
    }
    said.extend(reasons.iter().map(|(why, names)| format!("of {} it can't be told: {why}", names.join(", "))));
    if untried > 0 {
        said.push(format!("{} more were not tried", count_exact(untried as u64)));
    }
    said.join("; ")
}

impl Key {
    /// Whether calls leave it out because it was refused to one.
    fn is_paused(&self) -> bool {
        self.standing.worst().refusal().is_some()
    }

    /// What calls have shown of it, where it is not simply ready.
    fn here(&self, now: Instant) -> Option<String> {
        let of_model = self.standing.elsewhere.iter().map(|(scope, state)| (format!(" at {scope}"), *state));
        let all = || std::iter::once((String::new(), self.standing.state)).chain(of_model.clone());
        let worst = self.standing.worst();
        let (which, state) = all().find(|(_, state)| *state == worst)?;
        let pause = state.until().map(|until| uptime(until.saturating_duration_since(now)));
        match (state, pause) {
            (CredentialState::Ready, _) => None,
            (CredentialState::Cooling { .. }, pause) => {
                Some(format!("cools here{which} for another {}: its rate was limited", pause.unwrap_or_default()))
            }
            (state, Some(pause)) => Some(format!("is paused here{which} for another {pause}: it {}", said(state))),
            (state, None) => Some(format!("is tried again here{which} by the next call: it {}", said(state))),
        }
    }

    /// What brings it back into use.
    fn mend(&self, provider: &str, config: &Config) -> Option<String> {
        let position = self.standing.position;
        if self.opinion == Opinion::Refused {
            return Some(format!(
                "make a new key at the provider, and put it where key {position} of provider {provider} points: a file or .env is read again at once, a variable of the server's own environment at its next start"
            ));
        }
        let is_out_of_funds = self.standing.worst().refusal()? == Refusal::OutOfFunds;
        let why = if is_out_of_funds { "once the account has money" } else { "once it is good at the provider" };
        Some(format!(
            "curl -X POST -H \"Authorization: Bearer $TOLLGATE_ADMIN_TOKEN\" {}/api/providers/{provider}/credentials/{position}/enable   # {why}",
            address(config)
        ))
    }
}

fn said(state: CredentialState) -> &'static str {
    state.refusal().map_or("was refused", Refusal::words)
}

/// Where a request to the server goes; of a port that the system chose only the start has told.
fn address(config: &Config) -> String {
    match &config.public_url {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None if config.listen.port() == 0 => "\"$TOLLGATE_SERVER\"".to_owned(),
        None => format!("http://{}", reached_at(config.listen)),
    }
}

fn opinion(asked: &Result<Asked, Unanswered>) -> Opinion {
    match asked {
        // Who asks too often is known.
        Ok(Asked { status: 429, .. }) => Opinion::Known,
        Ok(Asked { status: 200..=299, is_list: true, .. }) => Opinion::Known,
        Ok(Asked { status: 200..=299, .. }) => {
            Opinion::Unknown("what it answers is no list of models: look at its base_url".to_owned())
        }
        Ok(Asked { status: 401, .. }) => Opinion::Refused,
        Ok(Asked { status: 403, .. }) => Opinion::Unknown(
            "it does not show its models to the key (403), which may call them all the same".to_owned(),
        ),
        Ok(Asked { status: status @ (404 | 405 | 501), .. }) => {
            Opinion::Unknown(format!("it has no list of models ({status})"))
        }
        Ok(Asked { status, .. }) => Opinion::Unknown(format!("it answered with status {status}")),
        Err(_) => Opinion::Unknown("it gave no answer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::report::Verdict;
    use super::*;
    use crate::provider::Scope;

    const SECRET: &str = "sk-0123456789abcdefWXYZ";
    const OTHER: &str = "sk-0123456789abcdefUVWX";

    struct Fixture {
        config: Config,
        standings: Vec<CredentialStanding>,
        now: Instant,
    }

    impl Fixture {
        fn new(keys: &str) -> Self {
            let text = format!(
                "listen = \"0.0.0.0:8000\"\n[[providers]]\nname = \"p\"\nkind = \"openai-compatible\"\nbase_url = \"https://p.example/v1\"\n{keys}\n"
            );
            let config = Config::from_toml(&text).unwrap();
            let (provider, now) = (&config.providers[0], Instant::now());
            let credentials = Credentials::new(provider.name.clone(), provider.api_keys.clone());
            Self { standings: credentials.standings(now), config, now }
        }

        /// Calls have shown this of the first keys.
        fn shown(mut self, states: impl IntoIterator<Item = CredentialState>) -> Self {
            for (standing, state) in self.standings.iter_mut().zip(states) {
                standing.state = state;
            }
            self
        }

        fn refused(self, refusal: Refusal, keys: usize) -> Self {
            let until = self.now + Duration::from_mins(5);
            let disabled = CredentialState::Disabled { refusal, since: self.now, until };
            self.shown(vec![disabled; keys])
        }

        fn judge(&self, asked: &[(u16, bool)]) -> Option<Check> {
            let answered = |(status, is_list): &(u16, bool)| {
                Ok(Asked { status: *status, is_list: *is_list, took: Duration::from_millis(80), clock_ahead: None })
            };
            let probe = Probe { lookup: None, asked: asked.iter().map(answered).collect() };
            let seen = Seen {
                provider: &self.config.providers[0],
                probe: (!asked.is_empty()).then_some(&probe),
                standings: Some(self.standings.clone()),
            };
            let found = judge(&seen, &self.config, self.now)?;
            assert!(!format!("{found:?}").contains("0123456789"), "{found:?}");
            assert_eq!(found.mend.is_some(), found.verdict >= Verdict::Warning, "{found:?}");
            Some(found)
        }

        #[track_caller]
        fn check(&self, asked: &[(u16, bool)], verdict: Verdict, expected: &str, mend: &str) {
            let found = self.judge(asked).unwrap();
            assert_eq!((found.verdict, found.found.as_str()), (verdict, expected));
            assert!(found.mend.clone().unwrap_or_default().contains(mend), "{found:?}");
        }
    }

    fn one() -> Fixture {
        Fixture::new(&format!("api_key = \"{SECRET}\""))
    }

    fn three() -> Fixture {
        Fixture::new(&format!("api_keys = [\"{SECRET}\", \"{OTHER}\", \"short\"]"))
    }

    #[test]
    fn a_key_is_judged_by_the_status_of_the_list() {
        let check = |asked, verdict, expected: &str| one().check(&[asked], verdict, expected, "");
        check((200, true), Verdict::Ok, "1 key is known to it");
        check((429, false), Verdict::Ok, "1 key is known to it");
        let unknown = |why: &str| format!("of key 1 (…WXYZ) it can't be told: {why}");
        check((200, false), Verdict::Skipped, &unknown("what it answers is no list of models: look at its base_url"));
        check((404, true), Verdict::Skipped, &unknown("it has no list of models (404)"));
        check((500, true), Verdict::Skipped, &unknown("it answered with status 500"));
        check((401, true), Verdict::Problem, "no key is ready: key 1 (…WXYZ) is refused (401)");
        assert!(one().judge(&[(401, true)]).unwrap().mend.unwrap().contains("read again at once"));
    }

    #[test]
    fn of_several_keys_each_is_told_by_its_place_and_its_end() {
        let expected = "1 key is known to it; key 2 (…UVWX) is refused (401); key 3 is refused (401)";
        three().check(
            &[(200, true), (401, true), (401, true)],
            Verdict::Problem,
            expected,
            "where key 3 of provider p",
        );
        let expected = "1 key is known to it; key 2 (…UVWX) is refused (401); of key 3 it can't be told: it answered with status 500";
        three().check(
            &[(200, true), (401, true), (500, true)],
            Verdict::Problem,
            expected,
            "where key 2 of provider p",
        );
        three().check(&[(200, true), (200, true)], Verdict::Ok, "2 keys are known to it; 1 more were not tried", "");
    }

    #[test]
    fn what_calls_have_shown_of_a_key_stands_beside_what_the_provider_says() {
        let all = [(200, true); 3];
        let refused = three().refused(Refusal::Unknown, 1);
        let expected = "2 keys are known to it; key 1 (…WXYZ) is known to it, and is paused here for another 5 min: it was refused with 401";
        let mend = "http://127.0.0.1:8000/api/providers/p/credentials/1/enable";
        refused.check(&all, Verdict::Warning, expected, mend);
        // Nobody has to be asked for that.
        let expected = "key 1 (…WXYZ) is paused here for another 5 min: it was refused with 401; 2 more were not tried";
        refused.check(&[], Verdict::Warning, expected, mend);
        let none = three().refused(Refusal::OutOfFunds, 3);
        let found = none.judge(&all).unwrap();
        assert!(found.verdict == Verdict::Problem && found.found.starts_with("no key is ready: key 1"), "{found:?}");
        assert_eq!((found.numbers["paused"], found.mend.unwrap().lines().count()), (3, 3));
    }

    #[test]
    fn a_key_whose_rate_is_limited_or_that_may_not_use_one_model_says_so() {
        let (mut limited, now) = (one(), Instant::now());
        let cooling = CredentialState::Cooling { since: now, until: limited.now + Duration::from_secs(7) };
        limited.standings[0].elsewhere.push((Scope::Model("m".parse().unwrap()), cooling));
        let expected = "key 1 (…WXYZ) is known to it, and cools here at m for another 7 s: its rate was limited";
        limited.check(&[(200, true)], Verdict::Ok, expected, "");
        let mut forbidden = one();
        let trial = CredentialState::HalfOpen { refusal: Refusal::Forbidden, since: now };
        forbidden.standings[0].elsewhere.push((Scope::Model("m".parse().unwrap()), trial));
        let expected =
            "key 1 (…WXYZ) is known to it, and is tried again here at m by the next call: it was refused with 403";
        forbidden.check(&[(200, true)], Verdict::Warning, expected, "/enable");
    }

    #[test]
    fn keys_that_are_ready_and_were_not_asked_about_are_not_told_of() {
        assert_eq!(three().judge(&[]), None);
    }

    #[test]
    fn a_provider_without_a_key_may_want_one_or_not() {
        Fixture::new("").check(&[(200, true)], Verdict::Ok, "it wants none, and none is set", "");
        Fixture::new("").check(&[(401, true)], Verdict::Problem, "it wants a key (401), and none is set", "env:NAME");
    }
}
