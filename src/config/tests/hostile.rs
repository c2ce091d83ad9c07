//! Whatever is written into settings: taken or refused, without a panic and without a secret in the refusal.

use proptest::prelude::*;

use super::{load_with, sources};
use crate::config::{Config, load};

/// Pieces of settings: more likely than random letters to be nearly right.
fn nearly_right() -> impl Strategy<Value = String> {
    let pieces = [
        "[[providers]]\n",
        "[[routes]]\n",
        "[cache]\n",
        "[prices.\"a/b\"]\n",
        "[tls.acme]\n",
        "[limits.new_key_budget]\n",
        "[[schedules]]\n",
        "[log]\n",
        "[github]\n",
        "name = ",
        "kind = ",
        "ttl = ",
        "input = ",
        "listen = ",
        "deployments = ",
        "api_keys = ",
        "timeouts = ",
        "retention = ",
        "cron = ",
        "thresholds = ",
        "\"openai\"\n",
        "\"1h\"\n",
        "\"env:HOME\"\n",
        "\"file:/x\"\n",
        "-9223372036854775808\n",
        "1e400\n",
        "nan\n",
        "true\n",
        "[]\n",
        "[[1], {}]\n",
        "{ connect = \"1s\" }\n",
        "\"999999999999999999y\"\n",
        "\"99999999999999999999TiB\"\n",
        "1979-05-27T07:32:00Z\n",
        "0xffffffffffffffffffffffff\n",
        "\"\\u0000\"\n",
        "\"é/✓\"\n",
        "= ",
        "[",
        "\"",
        "\n",
    ];
    proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..25).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused_but_never_panics(text in any::<String>(), pieces in nearly_right()) {
        for text in [text, pieces] {
            if let Err(problems) = Config::from_toml(&text) {
                prop_assert!(!problems.as_slice().is_empty());
            }
        }
    }

    #[test]
    fn any_variable_is_taken_or_refused_but_never_panics(text in any::<String>()) {
        for name in ["TOLLGATE_LISTEN", "TOLLGATE_CACHE_TTL", "TOLLGATE_REDIS_URL", "TOLLGATE_TIME_ZONE", "TOLLGATE_LIMITS_BODY_BYTES_MAX", "OPENAI_BASE_URL"] {
            let mut sources = sources("", &[("OPENAI_API_KEY", "sk-1")]);
            sources.environment.push((name.to_owned(), text.clone()));
            let _ = load(&sources);
        }
    }

    #[test]
    fn no_refusal_repeats_a_literal_secret(key in "sk-canary[ -~]{0,20}") {
        let key = key.replace(['\\', '"'], "");
        let toml = format!(
            "redis_url = \"{key}\"\n[[providers]]\nname = \"x\"\nkind = \"openai\"\napi_key = \"{key}\"\ncolour = 1\n[alerts]\nwebhook_url = \"{key}\"\n[github]\nprivate_key = \"{key}\"\n[cache]\nttl = 1"
        );
        let problems = load_with(&toml, &[]).expect_err("it is wrong in several places").to_string();
        prop_assert!(!problems.contains("canary"), "{}", problems);
    }
}
