//! What the network shows of each provider: its name, its certificate, and whether it knows our keys.

use super::report::Check;
use crate::config::ProviderConfig;
use crate::domain::Secret;
use crate::domain::wording::{count_exact, counted, duration};
use crate::provider::{Asked, CertificateTrouble, Probe, Unanswered};

const DNS: &str = "DNS";
const KEYS: &str = "provider keys";
/// A key that is shorter shows nothing of itself.
const SHOWN_KEY_CHARS_MIN: usize = 16;

/// Whether a provider's name leads to a connection that can be trusted.
pub(super) fn connection(provider: &ProviderConfig, probe: &Probe) -> Check {
    let host = provider.base_url.host_str().unwrap_or_default();
    let name = provider.name.as_str();
    let named = match &probe.lookup {
        None => format!("{host} needs no look-up"),
        Some(Ok(lookup)) if lookup.addresses > 0 => {
            let addresses = counted(lookup.addresses as u64, "address", "addresses");
            format!("{host} has {addresses} ({})", duration(lookup.took))
        }
        Some(Ok(_)) => {
            return no_name(host, "no address is known for it").about(name);
        }
        Some(Err(error)) => return no_name(host, error).about(name),
    };
    let answered = probe.asked.iter().find_map(|asked| asked.as_ref().ok());
    let failed = probe.asked.iter().find_map(|asked| asked.as_ref().err());
    let check = match (answered, failed) {
        (Some(asked), _) => Check::ok(DNS, format!("{named}; it answered within {}", duration(asked.took)))
            .number("answerMs", asked.took.as_millis()),
        (None, Some(unanswered)) => no_connection(provider, &named, unanswered),
        (None, None) => Check::skipped(DNS, format!("{named}; nothing was asked")),
    };
    let check = match &probe.lookup {
        Some(Ok(lookup)) => check.number("lookupMs", lookup.took.as_millis()),
        _ => check,
    };
    check.about(name)
}

fn no_name(host: &str, error: &str) -> Check {
    let mend = format!("getent hosts {host}; cat /etc/resolv.conf; and look at base_url in tollgate.toml");
    Check::problem(DNS, format!("the name {host} can't be looked up: {error}"), mend)
}

fn no_connection(provider: &ProviderConfig, named: &str, unanswered: &Unanswered) -> Check {
    let host = provider.base_url.host_str().unwrap_or_default();
    let port = provider.base_url.port_or_known_default().unwrap_or(443);
    let look = format!(
        "openssl s_client -connect {host}:{port} -servername {host} </dev/null | openssl x509 -noout -dates -issuer -subject"
    );
    let (found, mend) = match unanswered {
        Unanswered::Certificate(trouble) => {
            let authority = "[tls]\nca_file = \"/path/to/authorities.pem\"   # where it is your own authority; else: sudo apt install ca-certificates";
            let (what, mend) = match trouble {
                CertificateTrouble::Expired => ("has expired, or the clock here is wrong", format!("date -u; {look}")),
                CertificateTrouble::NotYet => {
                    ("is not valid yet, or the clock here is wrong", format!("date -u; {look}"))
                }
                CertificateTrouble::UnknownIssuer => {
                    ("was made by an authority that is not trusted here", authority.to_owned())
                }
                CertificateTrouble::OtherName => (
                    "is for another name",
                    format!("{look}\nthen write that name into base_url of provider {}", provider.name),
                ),
                CertificateTrouble::Revoked => ("was taken back by its authority", look),
                CertificateTrouble::Other => ("can't be used", look),
            };
            (format!("{named}, but its certificate {what}"), mend)
        }
        Unanswered::Tls(detail) => (format!("{named}, but TLS does not come about: {detail}"), look),
        Unanswered::Late(limit) => (
            format!("{named}, but nothing came back within {}", duration(*limit)),
            format!(
                "curl -sv -m 10 {} -o /dev/null; a firewall or a proxy (HTTPS_PROXY) may stand between",
                origin(provider)
            ),
        ),
        Unanswered::Lost(detail) => (
            format!("{named}, but no connection to port {port} holds: {detail}"),
            format!(
                "curl -sv -m 10 {} -o /dev/null; and look at base_url of provider {}",
                origin(provider),
                provider.name
            ),
        ),
    };
    Check::problem(DNS, found, mend)
}

/// Scheme, host and port alone: a name, a password or a query could be a credential.
fn origin(provider: &ProviderConfig) -> String {
    provider.base_url.origin().ascii_serialization()
}

/// What a provider thinks of each key, one check for all of them.
pub(super) fn keys(provider: &ProviderConfig, probe: &Probe) -> Check {
    let name = provider.name.as_str();
    let opinions: Vec<Opinion> = probe.asked.iter().map(opinion).collect();
    let count = |wanted: fn(&Opinion) -> bool| opinions.iter().filter(|opinion| wanted(opinion)).count();
    let (known, refused) = (count(|it| matches!(it, Opinion::Known)), count(|it| matches!(it, Opinion::Refused)));
    let check = if refused > 0 {
        refused_keys(provider, &opinions)
    } else if let Some(why) = opinions.iter().find_map(|opinion| match opinion {
        Opinion::Unknown(why) => Some(why),
        _ => None,
    }) {
        let some =
            if known > 0 { format!("{known} of {} are known; of the rest ", opinions.len()) } else { String::new() };
        Check::skipped(KEYS, format!("{some}can't be told: {why}"))
    } else if provider.api_keys.is_empty() {
        Check::ok(KEYS, "it wants none, and none is set")
    } else {
        let keys = counted(known as u64, "key is known", "keys are known");
        let untried = provider.api_keys.len().saturating_sub(opinions.len());
        let rest =
            if untried > 0 { format!("; {} more were not tried", count_exact(untried as u64)) } else { String::new() };
        Check::ok(KEYS, format!("{keys} to it{rest}"))
    };
    check.about(name).number("keys", provider.api_keys.len()).number("known", known).number("refused", refused)
}

enum Opinion {
    Known,
    Refused,
    Unknown(String),
}

fn opinion(asked: &Result<Asked, Unanswered>) -> Opinion {
    match asked {
        // Who asks too often is known.
        Ok(Asked { status: 429, .. }) => Opinion::Known,
        Ok(Asked { status: 200..=299, is_json: true, .. }) => Opinion::Known,
        Ok(Asked { status: 200..=299, .. }) => Opinion::Unknown("what it answers is no list of models".to_owned()),
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

fn refused_keys(provider: &ProviderConfig, opinions: &[Opinion]) -> Check {
    let name = provider.name.as_str();
    let refused: Vec<String> = provider
        .api_keys
        .iter()
        .zip(opinions)
        .filter(|(_, opinion)| matches!(opinion, Opinion::Refused))
        .map(|(key, _)| ending(key))
        .collect();
    let lines = format!("[[providers]]\nname = \"{name}\"\napi_key = \"env:NAME\"   # the variable that holds the key");
    if refused.is_empty() {
        return Check::problem(KEYS, "it wants a key (401), and none is set", lines);
    }
    let (which, verb) = if refused.len() == 1 { ("key", "is") } else { ("keys", "are") };
    let found = format!("{} {which} {verb} refused (401): {}", refused.len(), refused.join(", "));
    let mend = format!("make a new key at the provider, put it where api_key of provider {name} points, and restart");
    Check::problem(KEYS, found, mend)
}

/// What of a key people know it by: its last four characters at most.
fn ending(key: &Secret<String>) -> String {
    let characters: Vec<char> = key.expose().chars().collect();
    if characters.len() < SHOWN_KEY_CHARS_MIN {
        return "a short one".to_owned();
    }
    let ending: String = characters[characters.len() - 4..].iter().collect();
    format!("…{ending}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::report::Verdict;
    use super::*;
    use crate::config::Config;
    use crate::provider::Lookup;

    const SECRET: &str = "sk-0123456789abcdefWXYZ";

    fn provider(keys: &str) -> ProviderConfig {
        let text = format!(
            "[[providers]]\nname = \"p\"\nkind = \"openai-compatible\"\nbase_url = \"https://p.example/v1\"\n{keys}\n"
        );
        Config::from_toml(&text).unwrap().providers.remove(0)
    }

    #[expect(clippy::unnecessary_wraps, reason = "it stands among answers that did not come")]
    fn answered(status: u16, is_json: bool) -> Result<Asked, Unanswered> {
        Ok(Asked { status, is_json, took: Duration::from_millis(80), clock_ahead: None })
    }

    fn check(found: &Check, verdict: Verdict, expected: &str) {
        let all = format!("{found:?}");
        assert!(found.verdict == verdict && found.found.contains(expected), "{all}");
        assert_eq!(found.mend.is_some(), verdict >= Verdict::Warning, "{all}");
        assert!(!all.contains("0123456789"), "{all}");
    }

    #[test]
    fn a_key_is_judged_by_the_status_of_the_list() {
        let key = format!("api_key = \"{SECRET}\"");
        let of =
            |status, is_json| keys(&provider(&key), &Probe { lookup: None, asked: vec![answered(status, is_json)] });
        check(&of(200, true), Verdict::Ok, "1 key is known");
        check(&of(429, true), Verdict::Ok, "1 key is known");
        check(&of(200, false), Verdict::Skipped, "no list of models");
        check(&of(401, true), Verdict::Problem, "1 key is refused (401): …WXYZ");
        check(&of(403, true), Verdict::Skipped, "403");
        check(&of(404, true), Verdict::Skipped, "can't be told: it has no list of models (404)");
        check(&of(500, true), Verdict::Skipped, "status 500");
    }

    #[test]
    fn of_several_keys_the_refused_ones_are_named() {
        let several = format!("api_keys = [\"{SECRET}\", \"sk-0123456789abcdefUVWX\", \"short\"]");
        let asked = vec![answered(200, true), answered(401, true), answered(401, true)];
        let found = keys(&provider(&several), &Probe { lookup: None, asked });
        check(&found, Verdict::Problem, "2 keys are refused (401): …UVWX, a short one");
        assert_eq!((found.numbers["known"], found.numbers["refused"]), (1, 2));
    }

    #[test]
    fn a_provider_without_a_key_may_want_one_or_not() {
        let of = |status| keys(&provider(""), &Probe { lookup: None, asked: vec![answered(status, true)] });
        check(&of(200), Verdict::Ok, "it wants none");
        check(&of(401), Verdict::Problem, "it wants a key");
    }

    #[test]
    fn a_connection_is_told_by_what_stands_in_its_way() {
        let lookup = || Some(Ok(Lookup { addresses: 2, took: Duration::from_millis(3) }));
        let of = |lookup, asked| connection(&provider(""), &Probe { lookup, asked: vec![asked] });
        check(
            &of(lookup(), answered(401, true)),
            Verdict::Ok,
            "p.example has 2 addresses (3 ms); it answered within 80 ms",
        );
        check(&of(None, answered(200, true)), Verdict::Ok, "needs no look-up");
        check(&of(Some(Err("no such name".to_owned())), answered(200, true)), Verdict::Problem, "can't be looked up");
        let lost = Unanswered::Lost("connection refused".to_owned());
        check(&of(lookup(), Err(lost)), Verdict::Problem, "port 443");
        check(&of(lookup(), Err(Unanswered::Late(Duration::from_secs(6)))), Verdict::Problem, "within 6.0 s");
        check(&of(lookup(), Err(Unanswered::Tls("handshake".to_owned()))), Verdict::Problem, "TLS does not come about");
    }

    #[test]
    fn each_trouble_with_a_certificate_has_its_own_words_and_mend() {
        let of = |trouble| {
            let asked = vec![Err(Unanswered::Certificate(trouble))];
            connection(&provider(""), &Probe { lookup: None, asked })
        };
        for (trouble, expected, mend) in [
            (CertificateTrouble::Expired, "has expired", "date -u"),
            (CertificateTrouble::NotYet, "not valid yet", "date -u"),
            (CertificateTrouble::UnknownIssuer, "not trusted", "ca_file"),
            (CertificateTrouble::OtherName, "another name", "base_url"),
            (CertificateTrouble::Revoked, "taken back", "openssl"),
            (CertificateTrouble::Other, "can't be used", "openssl"),
        ] {
            let found = of(trouble);
            check(&found, Verdict::Problem, expected);
            assert!(found.mend.as_ref().unwrap().contains(mend), "{found:?}");
        }
    }
}
