//! A single value as the file or a variable gives it, and what it may be read as.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Value;
use toml::de::DeValue;

use super::choice::Choice;
use super::problem::{any_of, did_you_mean, quoted};
use super::quantities;

/// A value as it was given.
#[derive(Clone, Copy)]
pub(super) enum Given<'c> {
    /// By a variable or a flag: always a text.
    Text(&'c str),
    /// By the file.
    Value(&'c DeValue<'c>),
}

impl<'c> Given<'c> {
    /// The text, or a sentence about what stands there instead.
    pub(super) fn text(self) -> Result<&'c str, String> {
        let text = match self {
            Self::Text(text) => text,
            Self::Value(DeValue::String(text)) => text,
            Self::Value(_) => return Err(format!("expected a text in quotes, found {}", self.kind())),
        };
        if text.trim().is_empty() {
            Err("this is empty; give it a value or take the key out".to_owned())
        } else {
            Ok(text)
        }
    }

    /// What kind of value it is, in words.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Text(_) | Self::Value(DeValue::String(_)) => "a text",
            Self::Value(DeValue::Integer(_) | DeValue::Float(_)) => "a number",
            Self::Value(DeValue::Boolean(_)) => "true or false",
            Self::Value(DeValue::Datetime(_)) => "a date",
            Self::Value(DeValue::Array(_)) => "a list",
            Self::Value(DeValue::Table(_)) => "a table",
        }
    }

    pub(super) const fn is_number(self) -> bool {
        matches!(self, Self::Value(DeValue::Integer(_) | DeValue::Float(_)))
    }

    pub(super) fn integer(self) -> Result<i128, String> {
        match self {
            Self::Text(text) => text.trim().parse().map_err(|_| format!("{} is no whole number", quoted(text))),
            Self::Value(DeValue::Integer(number)) => i128::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| format!("{number} is larger than any number that is used here")),
            Self::Value(DeValue::Float(number)) => Err(format!("expected a whole number, found {number}")),
            Self::Value(DeValue::String(_)) => Err("expected a whole number without quotes, found a text".to_owned()),
            Self::Value(_) => Err(format!("expected a whole number, found {}", self.kind())),
        }
    }

    pub(super) fn fraction(self) -> Result<f64, String> {
        let text = match self {
            Self::Text(text) => text.trim(),
            Self::Value(DeValue::Float(number)) => number.as_str(),
            Self::Value(DeValue::Integer(number)) => number.as_str(),
            Self::Value(_) => {
                return Err(format!("expected a number from 0 to 1 without quotes, found {}", self.kind()));
            }
        };
        let number = text.parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number));
        number.ok_or_else(|| format!("{} is no number from 0 to 1", quoted(text)))
    }

    pub(super) fn boolean(self) -> Result<bool, String> {
        match self {
            Self::Value(DeValue::Boolean(value)) => Ok(*value),
            Self::Text("true") => Ok(true),
            Self::Text("false") => Ok(false),
            Self::Text(text) => Err(format!("{} is neither true nor false", quoted(text))),
            Self::Value(DeValue::String(_)) => Err("expected true or false without quotes, found a text".to_owned()),
            Self::Value(_) => Err(format!("expected true or false, found {}", self.kind())),
        }
    }
}

/// A duration within a range, and how it is shown.
pub(super) fn duration_in(given: Given<'_>, range: &RangeInclusive<Duration>) -> Result<(Duration, Value), String> {
    if given.is_number() {
        return Err("a duration has a unit; write it in quotes, such as \"30s\" or \"800ms\"".to_owned());
    }
    let text = given.text()?.trim();
    let duration = quantities::duration(text)?;
    in_range(duration, range, quantities::show_duration).map(|duration| (duration, text.into()))
}

/// The text of an amount, or what to do about a bare number.
pub(super) fn money_text(given: Given<'_>) -> Result<&str, String> {
    if given.is_number() {
        return Err("an amount is written in quotes, such as \"0.01\": a bare number would be rounded".to_owned());
    }
    given.text().map(str::trim)
}

/// Finds a word in a closed list.
pub(super) fn choice<T: Choice>(text: &str) -> Result<T, String> {
    let words = || T::all().iter().map(|value| value.word());
    T::all().iter().copied().find(|value| value.word() == text).ok_or_else(|| {
        let hint = did_you_mean(text, words());
        format!("{} is not {}{hint}", quoted(text), any_of(words()))
    })
}

/// The value, where it lies in the range.
pub(super) fn in_range<T: PartialOrd + Copy>(
    value: T,
    range: &RangeInclusive<T>,
    show: impl Fn(T) -> String,
) -> Result<T, String> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(format!("{} is out of range; from {} to {} is possible", show(value), show(*range.start()), show(*range.end())))
}
