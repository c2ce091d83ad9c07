//! What the network shows of each provider: its name and its certificate.

use super::report::Check;
use crate::config::ProviderConfig;
use crate::domain::wording::{counted, duration};
use crate::provider::{CertificateTrouble, Probe, Unanswered};

const DNS: &str = "DNS";

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::report::Verdict;
    use super::*;
    use crate::config::Config;
    use crate::provider::{Asked, Lookup};

    fn provider() -> ProviderConfig {
        let text = "[[providers]]\nname = \"p\"\nkind = \"openai-compatible\"\nbase_url = \"https://p.example/v1\"\n";
        Config::from_toml(text).unwrap().providers.remove(0)
    }

    #[expect(clippy::unnecessary_wraps, reason = "it stands among answers that did not come")]
    fn answered(status: u16) -> Result<Asked, Unanswered> {
        Ok(Asked { status, is_list: true, took: Duration::from_millis(80), clock_ahead: None })
    }

    fn check(found: &Check, verdict: Verdict, expected: &str) {
        let all = format!("{found:?}");
        assert!(found.verdict == verdict && found.found.contains(expected), "{all}");
        assert_eq!(found.mend.is_some(), verdict >= Verdict::Warning, "{all}");
    }

    #[test]
    fn a_connection_is_told_by_what_stands_in_its_way() {
        let lookup = || Some(Ok(Lookup { addresses: 2, took: Duration::from_millis(3) }));
        let of = |lookup, asked| connection(&provider(), &Probe { lookup, asked: vec![asked] });
        check(&of(lookup(), answered(401)), Verdict::Ok, "p.example has 2 addresses (3 ms); it answered within 80 ms");
        check(&of(None, answered(200)), Verdict::Ok, "needs no look-up");
        check(&of(Some(Err("no such name".to_owned())), answered(200)), Verdict::Problem, "can't be looked up");
        let lost = Unanswered::Lost("connection refused".to_owned());
        check(&of(lookup(), Err(lost)), Verdict::Problem, "port 443");
        check(&of(lookup(), Err(Unanswered::Late(Duration::from_secs(6)))), Verdict::Problem, "within 6.0 s");
        check(&of(lookup(), Err(Unanswered::Tls("handshake".to_owned()))), Verdict::Problem, "TLS does not come about");
    }

    #[test]
    fn each_trouble_with_a_certificate_has_its_own_words_and_mend() {
        let of = |trouble| {
            let asked = vec![Err(Unanswered::Certificate(trouble))];
            connection(&provider(), &Probe { lookup: None, asked })
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
