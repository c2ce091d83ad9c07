//! What the settings warn of, and what is wrong with them.

use super::report::Check;
use crate::config::Problem;
use crate::domain::wording::counted;

const NAME: &str = "settings";

/// A check for each warning of settings that are in use, or one that says that there is none.
pub(super) fn warnings(warnings: &[Problem], providers: usize) -> Vec<Check> {
    let mut checks: Vec<Check> = warnings.iter().map(|warning| check(Check::warning, warning)).collect();
    if providers == 0 {
        let mend = "OPENAI_API_KEY=… in .env   # or ANTHROPIC_API_KEY, or [[providers]] in tollgate.toml";
        checks.push(Check::problem(NAME, "there is no provider: no call can be made", mend));
    }
    if checks.is_empty() {
        checks.push(Check::ok(
            NAME,
            format!("nothing to warn of; {} set", counted(providers as u64, "provider is", "providers are")),
        ));
    }
    checks
}

/// A check for each problem of settings that can't be used.
pub fn problems<'a>(problems: impl IntoIterator<Item = &'a Problem>) -> Vec<Check> {
    problems.into_iter().map(|problem| check(Check::problem, problem)).collect()
}

fn check(make: fn(&'static str, String, String) -> Check, problem: &Problem) -> Check {
    // A message says what is wrong, and behind a semicolon what to do; one that is ignored has nothing to be done about.
    let (found, mend) = problem
        .message
        .split_once("; ")
        .unwrap_or((&problem.message, "take it out, or leave it for a version that acts on it"));
    let mend = if problem.message.contains("; ") || problem.message.contains("not used by this version") {
        mend.to_owned()
    } else {
        format!("mend {} there, and prove it: tollgate check-config", problem.path)
    };
    make(NAME, found.to_owned(), mend).about(problem.path.as_str())
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
        let checks = warnings(&config.warnings, 1);
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
    fn settings_without_a_warning_are_right_and_without_a_provider_useless() {
        assert_eq!(warnings(&[], 2)[0].verdict, Verdict::Ok);
        let none = warnings(&[], 0);
        assert!(none[0].verdict == Verdict::Problem && none[0].mend.as_ref().unwrap().contains("OPENAI_API_KEY"));
    }

    #[test]
    fn every_problem_is_a_finding_with_its_own_way_out() {
        let refused =
            Config::from_toml("color = 1\n[[routes]]\nname = \"a\"\ndeployments = [\"opnai/x\"]\n").unwrap_err();
        let checks = problems(&refused);
        assert!(checks.len() >= 2 && checks.iter().all(|check| check.verdict == Verdict::Problem), "{checks:?}");
        assert!(checks.iter().all(|check| check.mend.as_ref().is_some_and(|mend| !mend.is_empty())), "{checks:?}");
    }
}
