//! Which keys differ between two settings, as [`super::Config::masked`] shows them.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

/// The paths of the keys that differ, in their order; items of a list of tables go by their names. What was added or taken out
/// as a whole is named as a whole. A text that is no TOML counts as empty.
pub fn changed_keys(before: &str, after: &str) -> Vec<String> {
    let parse = |text: &str| text.parse::<Table>().unwrap_or_default();
    let mut changed = Vec::new();
    compare_tables("", &parse(before), &parse(after), &mut changed);
    changed
}

fn compare_tables(path: &str, before: &Table, after: &Table, changed: &mut Vec<String>) {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in keys {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        compare(path, before.get(key), after.get(key), changed);
    }
}

fn compare(path: String, before: Option<&Value>, after: Option<&Value>, changed: &mut Vec<String>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Table(before)), Some(Value::Table(after))) => compare_tables(&path, before, after, changed),
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            let (Some(before), Some(after)) = (by_name(before), by_name(after)) else {
                changed.push(path);
                return;
            };
            let found = changed.len();
            let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
            for name in names {
                compare(format!("{path}.{name}"), before.get(name).copied(), after.get(name).copied(), changed);
            }
            // The same items in another order.
            if changed.len() == found {
                changed.push(path);
            }
        }
        _ => changed.push(path),
    }
}

/// The tables of a list by their names, where all of them have one of their own.
fn by_name(items: &[Value]) -> Option<BTreeMap<&str, &Value>> {
    let named: BTreeMap<&str, &Value> =
        items.iter().filter_map(|item| Some((item.get("name")?.as_str()?, item))).collect();
    (named.len() == items.len()).then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, after: &str, expected: &[&str]) {
        assert_eq!(changed_keys(before, after), expected, "{before:?} to {after:?}");
    }

    #[test]
    fn the_keys_that_differ_are_named_by_their_paths() {
        check("", "", &[]);
        check("listen = \"a\"", "listen = \"b\"", &["listen"]);
        check("[cache]\nttl = \"1h\"\nenabled = true", "[cache]\nttl = \"2h\"\nenabled = true", &["cache.ttl"]);
        check("[cache]\nttl = \"1h\"", "", &["cache"]);
        check("[alerts]\nthresholds = [50]", "[alerts]\nthresholds = [50, 80]", &["alerts.thresholds"]);
    }

    #[test]
    fn items_of_lists_go_by_their_names() {
        let (a, b) = ("[[routes]]\nname = \"a\"\nx = 1\n", "[[routes]]\nname = \"b\"\nx = 1\n");
        check(a, &format!("{a}{b}"), &["routes.b"]);
        check(&format!("{a}{b}"), b, &["routes.a"]);
        check(&format!("{a}{b}"), &format!("{b}{a}"), &["routes"]);
        check(a, &a.replace("x = 1", "x = 2"), &["routes.a.x"]);
        check("[[schedules]]\nx = 1", "[[schedules]]\nx = 2", &["schedules"]);
    }
}
