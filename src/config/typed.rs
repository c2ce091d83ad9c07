//! The kinds of values that a [`Section`] reads, with and without defaults.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use super::NamedFile;
use super::choice::Choice;
use super::given::{Given, choice, duration_in, in_range, money_text};
use super::problem::quoted;
use super::quantities;
use super::reader::Section;
use crate::domain::Picodollars;

impl<'c> Section<'c> {
    /// Reads a key with a parser that also says how its value is shown.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(Given<'c>) -> Result<(T, Value), String>,
    ) -> Option<T> {
        let found = self.find(key)?;
        match parse(found.given) {
            Ok((value, shown)) => {
                self.show(key, shown);
                Some(value)
            }
            Err(message) => {
                self.problem_with(&found, message);
                None
            }
        }
    }

    /// Reads a text that a parser takes; shown as it was written.
    pub(super) fn parsed<T>(&mut self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        self.value(key, |given| {
            let text = given.text()?.trim();
            parse(text).map(|value| (value, text.into()))
        })
    }

    /// Reads a text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.parsed(key, |text| Ok(text.to_owned()))
    }

    /// Reads the path of a file or folder; a relative one is taken from the working directory.
    pub(super) fn file_path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.parsed(key, |text| {
            if text.contains('\0') { Err("a path can't hold a zero byte".to_owned()) } else { Ok(text.into()) }
        })
    }

    /// Reads the path of a file and has it looked at.
    pub(super) fn checked_file(&mut self, key: &'static str, what: NamedFile) -> Option<PathBuf> {
        let check = self.context.sources.check_file;
        self.parsed(key, |text| {
            let path = PathBuf::from(text);
            check(what, &path)?;
            Ok(path)
        })
    }

    /// Reads a duration within a range.
    pub(super) fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.value(key, |given| duration_in(given, &range))
    }

    /// Reads a duration that has a default.
    pub(super) fn duration_or(
        &mut self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        self.duration(key, range).unwrap_or_else(|| {
            self.show(key, quantities::show_duration(default));
            default
        })
    }

    /// Reads a size in bytes that has a default.
    pub(super) fn size_or(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let size = self.value(key, |given| {
            let bytes = if given.is_number() {
                u64::try_from(given.integer()?).map_err(|_| "a size can't be negative".to_owned())?
            } else {
                quantities::size(given.text()?.trim())?
            };
            in_range(bytes, &range, quantities::show_size).map(|bytes| (bytes, quantities::show_size(bytes).into()))
        });
        size.unwrap_or_else(|| {
            self.show(key, quantities::show_size(default));
            default
        })
    }

    /// Reads a whole number within a range.
    pub(super) fn whole<T: Copy + TryFrom<i128> + Into<i128> + PartialOrd>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        self.value(key, |given| {
            let number = given.integer()?;
            let (least, most) = ((*range.start()).into(), (*range.end()).into());
            let number = in_range(number, &(least..=most), |number| number.to_string())?;
            let value =
                T::try_from(number).map_err(|_| format!("{number} is larger than any number that is used here"))?;
            Ok((value, Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))))
        })
    }

    /// Reads a whole number that has a default.
    pub(super) fn whole_or<T: Copy + TryFrom<i128> + Into<i128> + PartialOrd>(
        &mut self,
        key: &'static str,
        default: T,
        range: RangeInclusive<T>,
    ) -> T {
        self.whole(key, range).unwrap_or_else(|| {
            self.show(key, i64::try_from(default.into()).unwrap_or(i64::MAX));
            default
        })
    }

    /// Reads a share from 0 to 1; nothing is 0.
    pub(super) fn fraction_or_zero(&mut self, key: &'static str) -> f64 {
        self.value(key, |given| given.fraction().map(|number| (number, number.into()))).unwrap_or(0.0)
    }

    /// Reads true or false, with a default.
    pub(super) fn boolean_or(&mut self, key: &'static str, default: bool) -> bool {
        self.value(key, |given| given.boolean().map(|value| (value, value.into()))).unwrap_or_else(|| {
            self.show(key, default);
            default
        })
    }

    /// Reads an amount of money that can't be negative.
    pub(super) fn money(&mut self, key: &'static str) -> Option<Picodollars> {
        self.value(key, |given| {
            let text = money_text(given)?;
            let amount: Picodollars = text.parse().map_err(|error: crate::domain::MoneyError| error.to_string())?;
            if amount.is_negative() {
                return Err(format!("{} is negative; an amount here is 0 or more", quoted(text)));
            }
            Ok((amount, amount.to_string().into()))
        })
    }

    /// Reads an amount of money that has a default.
    pub(super) fn money_or(&mut self, key: &'static str, default: Picodollars) -> Picodollars {
        self.money(key).unwrap_or_else(|| {
            self.show(key, default.to_string());
            default
        })
    }

    /// Reads one word of a closed list.
    pub(super) fn choice<T: Choice>(&mut self, key: &'static str) -> Option<T> {
        self.parsed(key, choice)
    }

    /// Reads one word of a closed list, with a default.
    pub(super) fn choice_or<T: Choice>(&mut self, key: &'static str, default: T) -> T {
        self.choice(key).unwrap_or_else(|| {
            self.show(key, default.word());
            default
        })
    }

    /// Reads a list of texts that a parser takes.
    pub(super) fn parsed_list<T: ToString>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        self.list(key, |value: &T| value.to_string().into(), |given| parse(given.text()?.trim()))
    }
}
