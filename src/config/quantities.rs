//! Durations, sizes, addresses and the like as people write them, each refused with an example of how to.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::tz::TimeZone;
use url::Url;

use super::problem::{did_you_mean, quoted};

/// Parses `800ms`, `60s`, `10m`, `1h 30m`, `30d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    // The parser takes a lone 0 without a unit; here every duration has one.
    let has_unit = text.chars().any(char::is_alphabetic);
    humantime::parse_duration(text).ok().filter(|_| has_unit).ok_or_else(|| {
        format!("{} is no duration; write a number and its unit, such as \"30s\" or \"800ms\"", quoted(text))
    })
}

/// A duration as [`duration`] reads it, in one unit where it has one.
pub(super) fn show_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// The units of sizes, longest first, so that `KiB` isn't read as `B`.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Parses `256MiB`, `10 MB`, `4096B`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{} is no size; write a whole number and its unit, such as \"256MiB\"", quoted(text));
    // A plain number is what a variable gives, and the keys say bytes in their names.
    let (number, unit) = SIZE_UNITS
        .iter()
        .find_map(|(unit, bytes)| text.strip_suffix(unit).map(|number| (number.trim_end(), *bytes)))
        .unwrap_or((text, 1));
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)
}

/// A size as [`size`] reads it, in the largest binary unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    let (unit, factor) = SIZE_UNITS
        .into_iter()
        .find(|(unit, factor)| (unit.ends_with("iB") || *factor == 1) && bytes != 0 && bytes.is_multiple_of(*factor))
        .unwrap_or(("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// Parses an address and port to listen on; `localhost` stands for the loopback address.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    numeric
        .as_deref()
        .unwrap_or(text)
        .parse()
        .map_err(|_| format!("{} is no address and port, such as \"127.0.0.1:8000\" or \"[::]:8000\"", quoted(text)))
}

/// Looks up a time zone by its IANA name.
pub(super) fn time_zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| {
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect();
        let hint = did_you_mean(text, names.iter().map(String::as_str));
        format!("no time zone {}{hint}; use an IANA name such as \"Europe/Berlin\" or \"UTC\"", quoted(text))
    })
}

/// Parses an http or https URL with a host and without credentials or a fragment.
///
/// No part of it is repeated in a message: it may hold a password or, in a webhook's address, a token.
pub(super) fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("this is no URL ({error}); write it as https://host/path"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("this URL is of another scheme; write http:// or https://".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("this URL names no host; write it as https://host/path".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL here can't hold a user name or password; take them out, and give a key by its own setting"
            .to_owned());
    }
    if url.fragment().is_some() {
        return Err("a URL here can't have a fragment; take out the # and what follows it".to_owned());
    }
    Ok(url)
}

/// Parses a URL to which paths are added: as [`http_url`], and without a query or a closing slash.
pub(super) fn base_url(text: &str) -> Result<Url, String> {
    let mut url = http_url(text)?;
    if url.query().is_some() {
        return Err(
            "paths are added to this URL, so it can't have a query; take out the ? and what follows it".to_owned()
        );
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}
