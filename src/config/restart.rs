//! What a running process has from its start on, whatever the settings say later.

use super::Config;

/// One row for each key of the file that only a start can take over: how it is called, and where it stands in [`Config`].
macro_rules! bound_to_the_start {
    ($($key:literal = $($field:ident).+;)+) => {
        impl Config {
            /// These settings as far as a process can take them over that was started with others, and the keys that wait for
            /// its next start.
            pub fn within_reach_of(mut self, started: &Self) -> (Self, Vec<&'static str>) {
                let mut waiting = Vec::new();
                $(
                    if self.$($field).+ != started.$($field).+ {
                        self.$($field).+.clone_from(&started.$($field).+);
                        waiting.push($key);
                    }
                )+
                (self, waiting)
            }
        }
    };
}

bound_to_the_start! {
    "listen" = listen;
    "data_dir" = data_dir;
    // Windows of budgets are numbered in it.
    "time_zone" = time_zone;
    "redis_url" = redis_url;
    "redis_secret" = redis_secret;
    "TOLLGATE_ADMIN_TOKEN" = admin_token;
    // Its store has its size for life.
    "cache.bytes_max" = cache.bytes_max;
    "ledger.durability" = ledger.durability;
    "telemetry.otlp_endpoint" = telemetry.otlp_endpoint;
    "telemetry.otlp_headers" = telemetry.otlp_headers;
    "tls.cert, tls.key" = tls.certificate;
    "tls.acme" = tls.acme;
    // Each worker's connections are made with it.
    "tls.ca_file" = tls.ca_file;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, after: &str, waiting: &[&str]) {
        let of = |text: &str| Config::from_toml(text).unwrap_or_else(|problems| panic!("{problems}"));
        let (started, new) = (of(before), of(after));
        let (reached, found) = new.clone().within_reach_of(&started);
        assert_eq!(found, waiting, "{after}");
        assert_eq!(reached.cache.ttl, new.cache.ttl);
        assert_eq!(
            (reached.listen, &reached.ledger, reached.cache.bytes_max),
            (started.listen, &started.ledger, started.cache.bytes_max)
        );
        assert_eq!(reached.telemetry.otlp_endpoint, started.telemetry.otlp_endpoint);
    }

    #[test]
    fn what_is_bound_to_the_start_stays_and_is_named() {
        check("", "", &[]);
        check("", "[cache]\nttl = \"5m\"\n[limits]\nrequests_per_minute = 1", &[]);
        check("", "listen = \"127.0.0.1:9\"", &["listen"]);
        check("listen = \"127.0.0.1:9\"", "", &["listen"]);
        check(
            "",
            "time_zone = \"Asia/Seoul\"\nredis_url = \"redis://u:p@localhost\"\n[cache]\nbytes_max = \"1MiB\"\nttl = \"1s\"\n[ledger]\ndurability = \"relaxed\"\n[telemetry]\notlp_endpoint = \"http://localhost:4318\"",
            &["time_zone", "redis_url", "cache.bytes_max", "ledger.durability", "telemetry.otlp_endpoint"],
        );
    }
}
