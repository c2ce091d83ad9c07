//! What the settings warn of, what is wrong with them, and what of the file is not in force.

use std::path::Path;

use super::files::{may_read, open_to_us};
use super::report::Check;
use super::{Patient, Served};
use crate::config::Problem;
use crate::domain::wording::counted;

const NAME: &str = "settings";
/// The file that is read without being asked for.
const FILE_NAME: &str = "tollgate.toml";

/// What the settings in use warn of and what became of newer ones; or what is wrong with settings that can't be used.
pub(super) fn judge(patient: &Patient) -> Vec<Check> {
    let file = patient.file.as_deref();
    if !patient.unusable.is_empty() {
        return problems(&patient.unusable, file);
    }
    let mut checks = patient.served.as_ref().map(|served| not_in_force(served, file)).unwrap_or_default();
    checks.extend(warnings(&patient.config.warnings, file));
    let providers = patient.config.providers.len();
    if providers == 0 {
        let mend = "OPENAI_API_KEY=… in .env   # or ANTHROPIC_API_KEY, or [[providers]] in tollgate.toml";
        checks.push(Check::problem(NAME, "there is no provider: no call can be made", mend));
    }
    if checks.is_empty() {
        let set = counted(providers as u64, "provider is", "providers are");
        checks.push(Check::ok(NAME, format!("nothing to warn of; {set} set")));
    }
    checks
}

/// What a running server has read and doesn't go by.
fn not_in_force(served: &Served, file: Option<&Path>) -> Vec<Check> {
    let refused = served.refused.iter().flat_map(|refused| {
        problems(&refused.problems, file).into_iter().map(move |mut check| {
            let trigger = refused.trigger;
            check.found =
                format!("not taken over when {trigger} had it read, and what was in force stays: {}", check.found);
            check
        })
    });
    let waiting = served.waiting.iter().map(|key| {
        let found = "what the settings say now waits for a restart, and what the server was started with is in force";
        Check::warning(NAME, found, "sudo systemctl restart tollgate   # or however it was started").about(key.as_str())
    });
    refused.chain(waiting).collect()
}

/// A check for each warning of settings that are in use.
fn warnings(warnings: &[Problem], file: Option<&Path>) -> Vec<Check> {
    warnings.iter().map(|warning| check(Check::warning, warning, file)).collect()
}

/// A check for each problem of settings that can't be used.
pub fn problems<'a>(problems: impl IntoIterator<Item = &'a Problem>, file: Option<&Path>) -> Vec<Check> {
    problems.into_iter().map(|problem| check(Check::problem, problem, file)).collect()
}

fn check(make: fn(&'static str, String, String) -> Check, problem: &Problem, file: Option<&Path>) -> Check {
    // A message says what is wrong, and behind a semicolon what to do; one that is ignored has nothing to be done about.
    let (found, mend) = match problem.message.split_once("; ") {
        Some((found, mend)) => (found, mend.to_owned()),
        None if problem.message.contains("not used by this version") => {
            (problem.message.as_str(), "take it out, or leave it for a version that acts on it".to_owned())
        }
        None => (problem.message.as_str(), mend(problem, file)),
    };
    make(NAME, found.to_owned(), mend).about(problem.path.as_str())
}

/// What mends a problem whose message names no way out: the place where somebody has to, and the command that proves it.
fn mend(problem: &Problem, file: Option<&Path>) -> String {
    let Some(file) = file else { return format!("mend {}, and prove it: tollgate check-config", problem.path) };
    let shown = file.display().to_string();
    let flag = if shown == FILE_NAME { String::new() } else { format!(" --config {shown}") };
    let prove = format!("and prove it: tollgate check-config{flag}");
    if problem.path == shown {
        return if !file.exists() {
            format!("put {shown} there, or name the file that is meant by --config, {prove}")
        } else if may_read(file) {
            format!("mend {shown}, {prove}")
        } else {
            open_to_us(&shown, false)
        };
    }
    match &problem.place {
        Some(place) if problem.path.starts_with(place.as_str()) => format!("mend it there, {prove}"),
        Some(place) => format!("mend {} in {place}, {prove}", problem.path),
        None => format!("mend {}, {prove}", problem.path),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;
    use crate::config::Config;

    fn told(check: &Check) -> (Verdict, &str, &str, &str) {
        (check.verdict, check.about.as_deref().unwrap_or(""), &check.found, check.mend.as_deref().unwrap_or(""))
    }

    #[test]
    fn what_this_version_ignores_is_a_warning_at_its_place() {
        let config = Config::from_toml("[workers]\nconcurrency = 2\n").unwrap();
        let checks = warnings(&config.warnings, None);
        assert_eq!(
            checks.iter().map(told).collect::<Vec<_>>(),
            [(
                Verdict::Warning,
                "workers",
                "not used by this version yet",
                "take it out, or leave it for a version that acts on it"
            )]
        );
    }

    #[test]
    fn a_problem_without_a_way_out_is_to_be_mended_where_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let check = |path: &str, place: Option<&str>, file: &Path, expected: &str| {
            let problem = Problem { place: place.map(str::to_owned), ..Problem::new(path, "wrong") };
            assert_eq!(problems([&problem], Some(file))[0].mend.as_deref(), Some(expected));
        };
        let default = Path::new(FILE_NAME);
        check(
            "color",
            Some("tollgate.toml:3"),
            default,
            "mend color in tollgate.toml:3, and prove it: tollgate check-config",
        );
        check(
            "tollgate.toml:3:1",
            Some("tollgate.toml:3"),
            default,
            "mend it there, and prove it: tollgate check-config",
        );
        check("TOLLGATE_LISTEN", None, default, "mend TOLLGATE_LISTEN, and prove it: tollgate check-config");
        let file = folder.path().join("own.toml");
        let shown = file.display().to_string();
        let expected = format!(
            "put {shown} there, or name the file that is meant by --config, and prove it: tollgate check-config --config {shown}"
        );
        check(&shown, None, &file, &expected);
        std::fs::write(&file, "x").unwrap();
        check(&shown, None, &file, &format!("mend {shown}, and prove it: tollgate check-config --config {shown}"));
    }

    #[test]
    fn every_problem_is_a_finding_with_its_own_way_out() {
        let refused =
            Config::from_toml("color = 1\n[[routes]]\nname = \"a\"\ndeployments = [\"opnai/x\"]\n").unwrap_err();
        let checks = problems(&refused, None);
        assert!(checks.len() >= 2 && checks.iter().all(|check| check.verdict == Verdict::Problem), "{checks:?}");
        assert!(checks.iter().all(|check| check.mend.as_ref().is_some_and(|mend| !mend.is_empty())), "{checks:?}");
    }
}
