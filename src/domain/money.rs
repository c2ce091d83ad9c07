//! Money as integers: picodollars, from the price list to the page.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Picodollars in one US dollar.
const PER_DOLLAR: i128 = 1_000_000_000_000;

/// An amount of money in picodollars (10⁻¹² USD), exact from parsing to storage.
///
/// Prints and serializes as a plain decimal number of dollars without trailing zeros: `0.0001554`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Picodollars(i128);

/// Why a text is no amount of money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The text is not a plain decimal number.
    #[error("{0:?} is not a decimal number of dollars such as \"12.50\"")]
    NotDecimal(String),
    /// More decimals than the unit has.
    #[error("{0:?} has more decimals than the {1} that can be kept")]
    TooFine(String, usize),
    /// A number too large to be an amount.
    #[error("{0:?} is larger than any amount kept here")]
    TooLarge(String),
    /// The same of an amount of dollars.
    #[error("{0:?} is larger than any amount kept here, which is {max} at most", max = Picodollars::MAX)]
    BeyondAmounts(String),
    /// An amount below zero where none can be.
    #[error("{0:?} is negative")]
    Negative(String),
}

impl Picodollars {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// More than any sum that will be seen: a million million dollars.
    pub const MAX: Self = Self(PER_DOLLAR * PER_DOLLAR);

    /// An amount from its number of picodollars.
    pub const fn new(picodollars: i128) -> Self {
        Self(picodollars)
    }

    /// The number of picodollars.
    pub const fn get(self) -> i128 {
        self.0
    }

    /// Whole US dollars.
    pub const fn from_dollars(dollars: i64) -> Self {
        Self(dollars as i128 * PER_DOLLAR)
    }

    /// For charts and metrics only: the way back is closed.
    #[expect(clippy::cast_precision_loss, reason = "a chart's height and a metric may be rounded")]
    pub fn to_dollars_f64(self) -> f64 {
        self.0 as f64 / PER_DOLLAR as f64
    }

    /// True for nothing at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// True below zero.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The difference, or nothing where `other` is larger.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0).max(0))
    }

    /// This amount as a share of `whole` in percent, for showing; nothing of nothing is 0.
    pub fn percent_of(self, whole: Self) -> f64 {
        if whole.0 == 0 { 0.0 } else { self.to_dollars_f64() / whole.to_dollars_f64() * 100.0 }
    }
}

/// Parses `[-]digits[.digits]` with at most `decimals` digits after the point into that many decimals' unit.
fn parse_decimal(text: &str, decimals: usize) -> Result<i128, MoneyError> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let dangling = digits.contains('.') && fraction.is_empty();
    if whole.is_empty() || dangling || !all_digits(whole) || !all_digits(fraction) {
        return Err(MoneyError::NotDecimal(text.to_owned()));
    }
    let kept = fraction.trim_end_matches('0');
    if kept.len() > decimals {
        return Err(MoneyError::TooFine(text.to_owned(), decimals));
    }
    if whole.len() > 15 {
        return Err(MoneyError::TooLarge(text.to_owned()));
    }
    let value = format!("{whole}{kept:0<decimals$}");
    let value: i128 = value.parse().map_err(|_| MoneyError::TooLarge(text.to_owned()))?;
    Ok(if negative { -value } else { value })
}

impl FromStr for Picodollars {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let amount = parse_decimal(text, 12).map(Self).map_err(|error| match error {
            MoneyError::TooLarge(text) => MoneyError::BeyondAmounts(text),
            error => error,
        })?;
        if amount.0.abs() > Self::MAX.0 { Err(MoneyError::BeyondAmounts(text.to_owned())) } else { Ok(amount) }
    }
}

impl fmt::Display for Picodollars {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        let (whole, fraction) = (magnitude / PER_DOLLAR.unsigned_abs(), magnitude % PER_DOLLAR.unsigned_abs());
        let digits = format!("{sign}{whole}.{fraction:012}");
        formatter.pad(digits.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Add for Picodollars {
    type Output = Self;
    /// Panics on overflow: a sum beyond 10²⁶ dollars is a broken ledger, and going on would corrupt it.
    fn add(self, other: Self) -> Self {
        Self(self.0.checked_add(other.0).expect("sums of money stay far below the range of i128"))
    }
}

impl AddAssign for Picodollars {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Picodollars {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.checked_sub(other.0).expect("sums of money stay far below the range of i128"))
    }
}

impl Neg for Picodollars {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Sum for Picodollars {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl Serialize for Picodollars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Picodollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(InQuotes)
        } else {
            i128::deserialize(deserializer).map(Self)
        }
    }
}

/// Reads an amount in JSON: a text, since numbers there are floats to most programs.
struct InQuotes;

impl serde::de::Visitor<'_> for InQuotes {
    type Value = Picodollars;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an amount of dollars in quotes, such as \"12.50\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Picodollars, E> {
        text.parse().map_err(E::custom)
    }
}

/// A price in whole picodollars per token.
///
/// Published prices have at most six decimals per million tokens, so every one of them is a whole number here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(u64);

impl Price {
    /// No charge.
    pub const FREE: Self = Self(0);

    /// A price from picodollars per token.
    pub const fn per_token(picodollars: u64) -> Self {
        Self(picodollars)
    }

    /// Parses dollars per million tokens, as price lists print them.
    pub fn parse_usd_per_million(text: &str) -> Result<Self, MoneyError> {
        let value = parse_decimal(text, 6)?;
        if value < 0 {
            return Err(MoneyError::Negative(text.to_owned()));
        }
        // A billion dollars per million tokens is beyond any price, and keeps every product inside i128.
        if value > 1_000_000_000_000_000 {
            return Err(MoneyError::TooLarge(text.to_owned()));
        }
        u64::try_from(value).map(Self).map_err(|_| MoneyError::TooLarge(text.to_owned()))
    }

    /// What so many tokens cost: exact.
    pub fn of(self, tokens: u64) -> Picodollars {
        Picodollars(i128::from(self.0) * i128::from(tokens))
    }

    /// The number of picodollars per token.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A factor on a whole cost, such as the surcharge for data residency, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiplier(u32);

impl Multiplier {
    /// No surcharge.
    pub const ONE: Self = Self(1_000_000);

    /// Parses a decimal such as `1.1`.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        let value = parse_decimal(text, 6)?;
        if value < 0 {
            return Err(MoneyError::Negative(text.to_owned()));
        }
        u32::try_from(value).map(Self).map_err(|_| MoneyError::TooLarge(text.to_owned()))
    }

    /// The amount times the factor, rounded up to a whole picodollar where prices are odd at the twelfth decimal.
    pub fn of(self, amount: Picodollars) -> Picodollars {
        let scaled = amount.0 * i128::from(self.0);
        Picodollars(scaled.div_euclid(1_000_000) + i128::from(scaled.rem_euclid(1_000_000) != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, picodollars: i128, shown: &str) {
        let amount: Picodollars = text.parse().unwrap();
        assert_eq!(amount, Picodollars(picodollars));
        assert_eq!(amount.to_string(), shown);
    }

    #[test]
    fn amounts_are_read_and_shown_exactly() {
        check("0", 0, "0");
        check("12.50", 12_500_000_000_000, "12.5");
        check("0.0001554", 155_400_000, "0.0001554");
        check("-1.000000000001", -1_000_000_000_001, "-1.000000000001");
        check("0.1000", 100_000_000_000, "0.1");
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", "-", ".5", "5.", "1e3", "NaN", "inf", "1,5", " 1", "0x1", "1.2.3", "--1", "+1"] {
            assert!(matches!(text.parse::<Picodollars>(), Err(MoneyError::NotDecimal(_))), "{text:?}");
        }
        assert!(matches!("0.0000000000001".parse::<Picodollars>(), Err(MoneyError::TooFine(..))));
        assert!(matches!("99999999999999999999".parse::<Picodollars>(), Err(MoneyError::BeyondAmounts(_))));
        let told = "1000000000000.01".parse::<Picodollars>().unwrap_err().to_string();
        assert!(told.contains("1000000000000 at most"), "{told}");
    }

    #[test]
    fn prices_are_whole_picodollars_per_token() {
        assert_eq!(Price::parse_usd_per_million("0.075"), Ok(Price(75_000)));
        assert_eq!(Price::parse_usd_per_million("15"), Ok(Price(15_000_000)));
        assert!(Price::parse_usd_per_million("-1").is_err());
        assert!(Price::parse_usd_per_million("0.0000001").is_err());
    }

    #[test]
    fn a_multiplier_never_rounds_down() {
        let factor = Multiplier::parse("1.1").unwrap();
        assert_eq!(factor.of(Picodollars(10)), Picodollars(11));
        assert_eq!(factor.of(Picodollars(1)), Picodollars(2));
        assert_eq!(Multiplier::ONE.of(Picodollars(7)), Picodollars(7));
    }

    proptest! {
        #[test]
        fn an_amount_survives_being_shown(value in -1_000_000_000_000_000_000_000_i128..1_000_000_000_000_000_000_000) {
            let amount = Picodollars(value);
            prop_assert_eq!(amount.to_string().parse::<Picodollars>(), Ok(amount));
        }

        #[test]
        fn more_tokens_never_cost_less(price in 0_u64..1_000_000_000, a in 0_u64..1_000_000_000_000, b in 0_u64..1_000_000_000_000) {
            prop_assert!(Price(price).of(a + b) >= Price(price).of(a));
            prop_assert_eq!(Price(price).of(a) + Price(price).of(b), Price(price).of(a + b));
        }
    }
}
