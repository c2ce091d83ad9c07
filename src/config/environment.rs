//! Variables and flags: which of them set which key, and which of them set nothing.
//!
//! A key's variable is `TOLLGATE_` and its path in capitals, dots and dashes as underscores. Nothing is guessed from a
//! variable's name: the reader asks for each key that it knows, so a key with an underscore can't be mistaken, and
//! what nobody asked for at the end is unknown. Order: flag, environment, file, `.env`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::Sources;
use super::problem::{Problem, nearest};

/// What the name of every variable of this program begins with.
const PREFIX: &str = "TOLLGATE_";
/// The variable that sets an admin token for scripts.
pub(super) const ADMIN_TOKEN: &str = "TOLLGATE_ADMIN_TOKEN";
/// Variables that are no keys of the file: `ADMIN_TOKEN` is read by [`super::load`], the others by the command line.
const RESERVED: [&str; 4] = [ADMIN_TOKEN, "TOLLGATE_SERVER", "TOLLGATE_LOG", "TOLLGATE_BIN"];

/// The text of a key that a flag or a variable sets, and the name by which people know where it came from.
pub(super) struct Override<'c> {
    pub(super) name: String,
    pub(super) text: &'c str,
}

/// Flags, environment and `.env`, with a memory of what was asked for.
pub(super) struct Variables<'c> {
    flags: BTreeMap<&'c str, &'c str>,
    environment: BTreeMap<&'c str, &'c str>,
    dotenv: BTreeMap<&'c str, &'c str>,
    known: RefCell<BTreeSet<String>>,
    referenced: RefCell<BTreeSet<String>>,
}

impl<'c> Variables<'c> {
    pub(super) fn new(sources: &'c Sources<'_>) -> Self {
        let pairs = |pairs: &'c [(String, String)]| {
            // Of a name that stands twice in `.env` the first counts, as it does for other programs.
            pairs.iter().rev().map(|(name, text)| (name.as_str(), text.as_str())).collect()
        };
        Self {
            flags: sources.flags.iter().map(|(path, text)| (*path, text.as_str())).collect(),
            environment: pairs(&sources.environment),
            dotenv: pairs(&sources.dotenv),
            known: RefCell::default(),
            referenced: RefCell::default(),
        }
    }

    /// What stands above the file for a key: a flag, else the environment.
    pub(super) fn above_file(&self, path: &str) -> Option<Override<'c>> {
        let name = variable_name(path);
        let flag =
            self.flags.get(path).map(|text| Override { name: format!("--{}", path.replace(['_', '.'], "-")), text });
        let variable = self.environment.get(name.as_str()).map(|text| Override { name: name.clone(), text });
        self.known.borrow_mut().insert(name);
        flag.or(variable)
    }

    /// What stands below the file for a key: `.env`.
    pub(super) fn below_file(&self, path: &str) -> Option<Override<'c>> {
        let name = variable_name(path);
        self.dotenv.get(name.as_str()).map(|text| Override { name, text })
    }

    /// A variable by its own name: from the environment, else from `.env`.
    pub(super) fn get(&self, name: &str) -> Option<&'c str> {
        self.environment.get(name).or_else(|| self.dotenv.get(name)).copied()
    }

    /// A variable that a setting refers to as `env:NAME`.
    pub(super) fn referenced(&self, name: &str) -> Option<&'c str> {
        self.referenced.borrow_mut().insert(name.to_owned());
        self.get(name)
    }

    /// Whether any setting referred to a variable so far.
    pub(super) fn is_referenced(&self, name: &str) -> bool {
        self.referenced.borrow().contains(name)
    }

    /// A problem for every variable that looks like a setting and is none; to be called when every key has been asked for.
    pub(super) fn unknown(&self) -> Vec<Problem> {
        let known = self.known.borrow();
        let referenced = self.referenced.borrow();
        let names: BTreeMap<&str, &str> =
            self.dotenv.iter().chain(&self.environment).map(|(name, text)| (*name, *text)).collect();
        names
            .into_iter()
            .filter(|(name, _)| name.starts_with(PREFIX) && !known.contains(*name) && !referenced.contains(*name))
            .filter(|(name, text)| !RESERVED.contains(name) && !is_service_link(name, text))
            .map(|(name, _)| {
                // Without the prefix: with it any two names would be alike.
                let candidates =
                    known.iter().map(String::as_str).chain(RESERVED).filter_map(|name| name.strip_prefix(PREFIX));
                let near = nearest(name.strip_prefix(PREFIX).unwrap_or(name), candidates);
                let way_out =
                    near.map_or_else(|| "unset it".to_owned(), |near| format!("did you mean {PREFIX}{near}?"));
                Problem::new(name, format!("no setting has this variable; {way_out}"))
            })
            .collect()
    }
}

/// The name of the variable that sets a key.
pub(super) fn variable_name(path: &str) -> String {
    format!("{PREFIX}{}", path.replace(['.', '-'], "_").to_uppercase())
}

/// Whether Kubernetes made the variable: it sets these in every container beside a service that is called `tollgate`.
fn is_service_link(name: &str, text: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    rest == "SERVICE_HOST"
        || rest.starts_with("SERVICE_PORT")
        || (rest == "PORT" && text.contains("://"))
        || (rest.starts_with("PORT_") && rest.contains("_TCP"))
}
