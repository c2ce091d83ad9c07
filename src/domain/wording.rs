//! How numbers, money and lengths of time are written for people, on pages, in reports and in alerts.
//!
//! Everything is computed exactly and rounded here, at the last moment. Each function is one rule of the interface; a
//! value that can't be written (a rate of nothing, for one) is an en dash, never `NaN`.

use std::error::Error;
use std::time::Duration;

use super::money::Picodollars;
use super::window::Window;

/// Stands where there is no value.
pub const NO_VALUE: &str = "–";
/// The sign before negative numbers: a real minus, as wide as a digit.
const MINUS: &str = "−";

const PER_DOLLAR: u128 = 1_000_000_000_000;

/// Rounds half up to so many decimals and prints with thousands commas.
fn fixed(amount: Picodollars, decimals: u32) -> String {
    let unit = PER_DOLLAR / 10_u128.pow(decimals);
    let units = (amount.get().unsigned_abs() + unit / 2) / unit;
    let sign = if amount.is_negative() && units > 0 { MINUS } else { "" };
    units_text(units, decimals, sign)
}

fn units_text(units: u128, decimals: u32, sign: &str) -> String {
    let scale = 10_u128.pow(decimals);
    let whole = with_commas(units / scale);
    if decimals == 0 {
        return format!("{sign}${whole}");
    }
    format!("{sign}${whole}.{:0width$}", units % scale, width = decimals as usize)
}

fn with_commas(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many decimals an amount of this size has.
fn decimals_of(amount: Picodollars) -> u32 {
    match amount.get().unsigned_abs() / PER_DOLLAR {
        0 => 4,
        1..10_000 => 2,
        _ => 0,
    }
}

/// An amount that stands alone: two decimals from a dollar on, four below, none from $10,000 on.
pub fn money(amount: Picodollars) -> String {
    MoneyColumn { decimals: decimals_of(amount) }.text(amount)
}

/// A limit, or a tick on an axis: without decimals where it is whole dollars.
pub fn money_whole(amount: Picodollars) -> String {
    if amount.get().unsigned_abs().is_multiple_of(PER_DOLLAR) { fixed(amount, 0) } else { money(amount) }
}

/// The decimals that all rows of one column, or all values of one chart, share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoneyColumn {
    decimals: u32,
}

impl MoneyColumn {
    /// For lists of single calls, which cost fractions of a cent: always four decimals.
    pub const CALLS: Self = Self { decimals: 4 };

    /// The decimals that suit the largest amount of a column.
    pub fn of(amounts: impl IntoIterator<Item = Picodollars>) -> Self {
        let largest = amounts.into_iter().map(|amount| Picodollars::new(amount.get().saturating_abs())).max();
        Self { decimals: largest.filter(|amount| !amount.is_zero()).map_or(2, decimals_of) }
    }

    /// The text of one row. What would round to nothing says so; nothing itself is `$0.00`.
    pub fn text(self, amount: Picodollars) -> String {
        let unit = PER_DOLLAR / 10_u128.pow(self.decimals);
        match amount.get().unsigned_abs() {
            0 => "$0.00".to_owned(),
            size if size < unit => {
                let sign = if amount.is_negative() { MINUS } else { "" };
                format!("{sign}<{}", units_text(1, self.decimals, ""))
            }
            _ => fixed(amount, self.decimals),
        }
    }
}

/// The lines of one call's cost with six decimals, and their total: the printed lines sum to the printed total.
///
/// Where rounding each line by itself would miss the total, the lines with the largest remainders are rounded up.
pub fn money_lines(lines: &[Picodollars]) -> (Vec<String>, String) {
    const UNIT: i128 = 1_000_000;
    let total: Picodollars = lines.iter().copied().sum();
    let total_units = (total.get() + UNIT / 2).div_euclid(UNIT);
    let mut units: Vec<i128> = lines.iter().map(|line| line.get().div_euclid(UNIT)).collect();
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(lines[index].get().rem_euclid(UNIT)));
    // Each line was rounded down by less than a unit, so fewer units than lines are missing.
    let missing = usize::try_from(total_units - units.iter().sum::<i128>()).unwrap_or(0);
    for &index in order.iter().take(missing) {
        units[index] += 1;
    }
    let text = |units: i128| units_text(units.unsigned_abs(), 6, if units < 0 { MINUS } else { "" });
    (units.into_iter().map(text).collect(), text(total_units))
}

/// A price per million tokens: `$3.00`, `$0.075`.
pub fn price_per_million(picodollars_per_token: u64) -> String {
    let amount = Picodollars::new(i128::from(picodollars_per_token) * 1_000_000);
    let text = amount.to_string();
    let decimals = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    fixed(amount, u32::try_from(decimals.clamp(2, 6)).unwrap_or(6))
}

/// A count: plain up to 9,999, then `12.4k`, `1.2M`, `3.1B`.
pub fn count(number: u64) -> String {
    if number < 10_000 {
        return count_exact(number);
    }
    let mut size = number as f64;
    for unit in ["k", "M", "B"] {
        size /= 1_000.0;
        // 999.96k would print as 1000k: the next unit takes over where rounding reaches it.
        let decimals = usize::from(size < 99.95);
        if size < 999.5 {
            return format!("{size:.decimals$}{unit}");
        }
    }
    format!("{}B", count_exact(number / 1_000_000_000))
}

/// Every digit, with thousands commas.
pub fn count_exact(number: u64) -> String {
    with_commas(u128::from(number))
}

/// How often an amount may be spent: `per day`.
pub const fn per_window(window: Window) -> &'static str {
    match window {
        Window::Hour => "per hour",
        Window::Day => "per day",
        Window::Week => "per week",
        Window::Month => "per month",
        Window::Total => "in all",
    }
}

/// `1 request`, `2 requests`: the exact number and its noun.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count_exact(number), if number == 1 { one } else { many })
}

/// A percentage with one decimal; two where it would otherwise say less than 1% in one digit.
pub fn percent(value: f64) -> String {
    if !value.is_finite() {
        return NO_VALUE.to_owned();
    }
    if value != 0.0 && value.abs() < 0.995 { signed(value, 2) } else { signed(value, 1) }
}

/// A percentage without decimals, for budgets and changes.
pub fn percent_whole(value: f64) -> String {
    if value.is_finite() { signed(value, 0) } else { NO_VALUE.to_owned() }
}

fn signed(value: f64, decimals: usize) -> String {
    let digits = format!("{:.decimals$}", value.abs());
    let is_zero = digits.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    let sign = if value < 0.0 && !is_zero { MINUS } else { "" };
    format!("{sign}{digits}%")
}

/// A share of a whole in percent; of nothing it is unknown.
pub fn share(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { f64::NAN } else { part / whole * 100.0 }
}

/// How a cost changed against the period before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `+9%`, `−24%`, or `new`.
    pub text: String,
    /// True where it is bad news: more than 15% dearer.
    pub is_bad: bool,
}

/// The change of a cost; `None` where nothing was spent in either period.
pub fn change(before: Picodollars, now: Picodollars) -> Option<Change> {
    if before.is_zero() {
        return (!now.is_zero()).then(|| Change { text: "new".to_owned(), is_bad: false });
    }
    let percent = now.percent_of(before) - 100.0;
    let text = percent_whole(percent);
    let text = if percent >= 0.5 { format!("+{text}") } else { text };
    Some(Change { text, is_bad: percent > 15.0 })
}

/// A length of time: `6 ms`, `910 ms`, `4.3 s`, `1 min 12 s`, `2 h`.
pub fn duration(length: Duration) -> String {
    let ms = length.as_secs_f64() * 1_000.0;
    if ms < 9.95 {
        let text = format!("{ms:.1}");
        return format!("{} ms", text.strip_suffix(".0").unwrap_or(&text));
    }
    if ms < 999.5 {
        return format!("{ms:.0} ms");
    }
    let seconds = length.as_secs_f64();
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = length.as_secs().max(60);
    let (minutes, rest) = (whole / 60, whole % 60);
    match (minutes, rest) {
        (0..60, 0) => format!("{minutes} min"),
        (0..60, _) => format!("{minutes} min {rest} s"),
        _ => span_of_minutes(minutes),
    }
}

/// How long something has run: `25 s`, `4 min`, `2 h 10 min`, `12 d 4 h`.
pub fn uptime(length: Duration) -> String {
    match length.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds => span_of_minutes(seconds / 60),
    }
}

fn span_of_minutes(minutes: u64) -> String {
    let (hours, rest) = (minutes / 60, minutes % 60);
    match (hours / 24, hours % 24, rest) {
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, rest) => format!("{hours} h {rest} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// Bytes of memory or of a disk, in the units of the settings: `812 bytes`, `1.2 KiB`, `96 MiB`.
pub fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    if bytes < 1_024 {
        return counted(bytes, "byte", "bytes");
    }
    for unit in ["KiB", "MiB", "GiB"] {
        size /= 1_024.0;
        if size < 1_023.5 || unit == "GiB" {
            let decimals = usize::from(size < 9.95);
            return format!("{size:.decimals$} {unit}");
        }
    }
    String::new()
}

/// Tokens in to out: `4,812 → 642`.
pub fn tokens(input: u64, output: u64) -> String {
    format!("{} → {}", count(input), count(output))
}

/// An error in the words of its first cause: what stands around it often says only that something failed.
pub fn first_cause(error: &dyn Error) -> String {
    std::iter::successors(Some(error), |error| (*error).source()).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests;
