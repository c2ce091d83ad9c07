//! The tree is the architecture: modules import from lower layers only, and a few names are forbidden everywhere.
#![expect(clippy::unwrap_used, reason = "a broken tree shall fail the test at once")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of the library and their layers; a module may use what stands strictly below it.
const LAYERS: &[(&str, u8)] = &[
    ("app", 7),
    ("fuzzing", 7),
    ("http", 6),
    ("operations", 5),
    ("workflow", 5),
    ("reports", 5),
    ("reconciliation", 5),
    ("rerate", 5),
    ("doctor", 5),
    ("gateway", 4),
    ("budget", 3),
    ("routing", 3),
    ("queue", 3),
    ("ledger", 2),
    ("keys", 2),
    ("cache", 2),
    ("content", 2),
    ("idempotency", 2),
    ("provider", 2),
    ("catalog", 2),
    ("alerts", 2),
    ("revisions", 2),
    ("statements", 2),
    ("forge", 2),
    ("scan", 2),
    ("dialect", 1),
    ("config", 1),
    ("telemetry", 1),
    ("shared", 1),
    ("outbound", 1),
    ("runtime", 1),
    ("store", 1),
    ("embedding", 1),
    ("domain", 0),
];

/// Crates that belong to some modules alone: `redb` below the ledger's face, actix in the HTTP layer, and so on.
const HOMES: &[(&str, &[&str])] = &[
    ("actix_web", &["http", "app"]),
    ("askama", &["http"]),
    ("rust_embed", &["http"]),
    ("reqwest", &["outbound", "provider", "alerts", "statements", "telemetry", "app"]),
    ("redb", &["store", "ledger", "keys", "content", "idempotency"]),
    ("opentelemetry_proto", &["telemetry"]),
    ("clap", &["app"]),
    ("toml", &["config"]),
    ("argon2", &["keys"]),
    ("moka", &["cache"]),
    ("redis", &["shared"]),
    ("saphyr_parser", &["app"]),
];

/// Module names that say nothing.
const VAGUE: &[&str] = &["utils", "util", "helpers", "common", "misc", "types"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// The top module that a source file belongs to; none for `lib.rs` and `main.rs`.
fn module_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(name, "lib" | "main")).then(|| name.to_owned())
}

fn layer(module: &str) -> u8 {
    let known = LAYERS.iter().find(|(name, _)| *name == module);
    known.unwrap_or_else(|| panic!("src/{module} has no layer: add it to tests/architecture.rs")).1
}

/// The modules that a line names by `crate::`, also inside braces: `use crate::{config, domain::Secret}`.
fn named(line: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = BTreeSet::new();
    for (at, _) in line.match_indices("crate::") {
        // `$crate` and `tollgate_crate::` are something else.
        let before = line[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &line[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start = 0;
            for (index, c) in list.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => {
                        names.insert(word(list[start..index].trim()));
                        break;
                    }
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        names.insert(word(list[start..index].trim()));
                        start = index + 1;
                    }
                    _ => {}
                }
            }
        } else {
            names.insert(word(rest));
        }
    }
    names.retain(|name| LAYERS.iter().any(|(known, _)| known == name));
    names
}

/// The source without comments, one logical text, so that a list over several lines is seen whole.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join(" ")
}

#[test]
fn modules_import_from_lower_layers_only() {
    let mut faults = Vec::new();
    for path in files(&root().join("src"), ".rs") {
        let Some(module) = module_of(&path) else { continue };
        for name in named(&code(&path)) {
            if name != module && layer(&name) >= layer(&module) {
                faults.push(format!(
                    "{}: {module} (layer {}) uses {name} (layer {})",
                    path.display(),
                    layer(&module),
                    layer(&name)
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_check_sees_what_it_must() {
    let seen = named("use crate::{config::{A, B}, domain, http::State}; let x = crate::app::run();");
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["app", "config", "domain", "http"]);
    assert!(named("$crate::app").contains("app"));
    assert!(named("my_crate::app").is_empty());
}

#[test]
fn outside_crates_stay_in_their_homes() {
    let mut faults = Vec::new();
    for path in files(&root().join("src"), ".rs") {
        let Some(module) = module_of(&path) else { continue };
        let code = code(&path);
        let code = code.split("#[cfg(test)]").next().unwrap();
        for (outside, homes) in HOMES {
            let used = code.contains(&format!(" {outside}::")) || code.contains(&format!("({outside}::"));
            if used && !homes.contains(&module.as_str()) {
                faults.push(format!("{}: {outside} belongs to {homes:?}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    for path in files(&root().join("src"), ".rs") {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let folder = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        assert!(!VAGUE.contains(&stem) && !VAGUE.contains(&folder), "{}", path.display());
    }
}

#[test]
fn every_template_is_used_and_none_switches_escaping_off() {
    let templates = root().join("templates");
    let code: String = files(&root().join("src"), ".rs").iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let pages: Vec<(PathBuf, String)> =
        files(&templates, "").into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect();
    for (path, text) in &pages {
        let name = path.strip_prefix(&templates).unwrap().to_str().unwrap();
        let in_templates = pages.iter().any(|(other, text)| other != path && text.contains(&format!("\"{name}\"")));
        assert!(in_templates || code.contains(&format!("\"{name}\"")), "nothing uses the template {name}");
        assert!(!text.contains("|safe") && !text.contains("| safe"), "{name} switches escaping off");
        for forbidden in ["style=\"", " onclick", " onload", " onerror=", "hx-on", "javascript:"] {
            assert!(!text.contains(forbidden), "{name} has {forbidden}, which the content security policy refuses");
        }
    }
}

#[test]
fn source_files_hold_one_idea_each() {
    for path in files(&root().join("src"), ".rs") {
        if path.to_string_lossy().contains("tests") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap().lines().count();
        assert!(own <= 700, "{} has {own} lines: two ideas in one?", path.display());
    }
}
