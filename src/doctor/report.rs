//! What an examination found: a flat list of checks, each with its mend.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How bad a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing is wrong.
    Ok,
    /// It can't be told, or doesn't apply; what was found says why.
    Skipped,
    /// It works, and won't for ever or not as somebody wants.
    Warning,
    /// Something doesn't work.
    Problem,
}

impl Verdict {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at, such as `disk`; several checks may share a name, each about something else.
    pub name: Cow<'static, str>,
    /// The provider, budget or file that it is about; absent for the whole.
    pub about: Option<String>,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was found, in a sentence.
    pub found: String,
    /// The numbers in it, each named with its unit.
    #[serde(default)]
    pub numbers: BTreeMap<Cow<'static, str>, i64>,
    /// What mends it: a command or lines of `tollgate.toml` to copy; every warning and problem has one.
    pub mend: Option<String>,
}

impl Check {
    fn new(name: &'static str, verdict: Verdict, found: String, mend: Option<String>) -> Self {
        Self { name: name.into(), about: None, verdict, found, numbers: BTreeMap::new(), mend }
    }

    /// Nothing is wrong.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Ok, found.into(), None)
    }

    /// It can't be told, or doesn't apply.
    pub fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self::new(name, Verdict::Skipped, why.into(), None)
    }

    /// It works, but.
    pub fn warning(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(name, Verdict::Warning, found.into(), Some(mend.into()))
    }

    /// Something doesn't work.
    pub fn problem(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(name, Verdict::Problem, found.into(), Some(mend.into()))
    }

    /// The same about one thing of several.
    #[must_use]
    pub fn about(mut self, about: impl Into<String>) -> Self {
        self.about = Some(about.into());
        self
    }

    /// The same with a number; one that doesn't fit is cut.
    #[must_use]
    pub fn number(mut self, name: &'static str, number: impl TryInto<i64>) -> Self {
        self.numbers.insert(name.into(), number.try_into().unwrap_or(i64::MAX));
        self
    }
}

/// Everything that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether there is no problem; warnings don't count.
    pub ok: bool,
    /// How many problems there are.
    pub problems: usize,
    /// How many warnings.
    pub warnings: usize,
    /// Whether a running server has looked, or a command at its folder.
    pub by_server: bool,
    /// In the order in which they are read.
    pub checks: Vec<Check>,
}

impl Report {
    /// Counts what is wrong.
    pub fn new(checks: Vec<Check>, by_server: bool) -> Self {
        let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
        let (problems, warnings) = (count(Verdict::Problem), count(Verdict::Warning));
        Self { ok: problems == 0, problems, warnings, by_server, checks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_ok_without_problems_and_says_how_many_there_are() {
        let check = |checks: Vec<Check>, expected: (bool, usize, usize)| {
            let report = Report::new(checks, true);
            assert_eq!((report.ok, report.problems, report.warnings), expected);
        };
        check(vec![Check::ok("disk", "fine"), Check::skipped("DNS", "offline")], (true, 0, 0));
        check(vec![Check::warning("disk", "small", "grow it")], (true, 0, 1));
        check(vec![Check::problem("disk", "full", "empty it"), Check::warning("disk", "slow", "wait")], (false, 1, 1));
    }

    #[test]
    fn a_report_reads_back_as_it_was_written() {
        let check = Check::warning("disk", "small", "grow it").about("/data").number("freeBytes", 12_u64);
        let report = Report::new(vec![check], false);
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.contains("\"byServer\":false") && json.contains("\"freeBytes\":12"), "{json}");
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}
