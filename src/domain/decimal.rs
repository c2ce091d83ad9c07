//! Numbers as other programs write them: exact, also where a float has left its trace in them.
//!
//! Ledgers of others hold amounts such as `1.5e-05` or `0.30000000000000004`. They are read digit by digit, never through a
//! float, and rounded once, to a unit that the reader names; the reader is told whether anything was lost.

use std::str::FromStr;

/// Why a text is no number that can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not of the form `-1.5e-05`.
    #[error("not a number such as 0.0125 or 1.5e-05")]
    NotANumber,
    /// More digits or a larger exponent than any amount has.
    #[error("beyond any amount or price")]
    Absurd,
}

/// A decimal number: `digits` times ten to the power of `exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    digits: i128,
    exponent: i32,
}

/// A number in whole units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounded {
    /// So many units, to the nearest; halves go away from zero.
    pub units: i128,
    /// Whether that is the number itself.
    pub is_exact: bool,
}

/// More significant digits than a float has ever printed, and few enough for an `i128`.
const DIGITS_MAX: usize = 30;
/// Ten to this power is beyond any amount in either direction.
const EXPONENT_MAX: i32 = 60;

impl Decimal {
    /// True below zero; a negative zero isn't.
    pub const fn is_negative(self) -> bool {
        self.digits < 0
    }

    /// The number in units of ten to the power of minus `decimals`; nothing where that is beyond an `i128`.
    pub fn in_units(self, decimals: u32) -> Option<Rounded> {
        let shift = self.exponent + i32::try_from(decimals).ok()?;
        if self.digits == 0 {
            return Some(Rounded { units: 0, is_exact: true });
        }
        let Some(down) = u32::try_from(-shift).ok().filter(|down| *down > 0) else {
            let factor = 10_i128.checked_pow(u32::try_from(shift).ok()?)?;
            return Some(Rounded { units: self.digits.checked_mul(factor)?, is_exact: true });
        };
        // What is smaller than all digits together is less than half a unit.
        let Some(divisor) = 10_i128.checked_pow(down) else { return Some(Rounded { units: 0, is_exact: false }) };
        let (whole, rest) = (self.digits / divisor, self.digits % divisor);
        let away = if rest.abs() * 2 >= divisor { self.digits.signum() } else { 0 };
        Some(Rounded { units: whole + away, is_exact: rest == 0 })
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let (number, power) = text.split_once(['e', 'E']).map_or((text, None), |(number, power)| (number, Some(power)));
        let unsigned = number.strip_prefix(['-', '+']).unwrap_or(number);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !are_digits(whole) || !are_digits(fraction) {
            return Err(DecimalError::NotANumber);
        }
        let power = match power {
            None => 0,
            Some(power) => {
                let unsigned = power.strip_prefix(['-', '+']).unwrap_or(power);
                if unsigned.is_empty() || !are_digits(unsigned) {
                    return Err(DecimalError::NotANumber);
                }
                power.parse::<i32>().map_err(|_| DecimalError::Absurd)?
            }
        };
        let fraction = fraction.trim_end_matches('0');
        let significant = format!("{whole}{fraction}");
        let significant = significant.trim_start_matches('0');
        if significant.len() > DIGITS_MAX || power.abs() > EXPONENT_MAX {
            return Err(DecimalError::Absurd);
        }
        let magnitude: i128 =
            if significant.is_empty() { 0 } else { significant.parse().map_err(|_| DecimalError::Absurd)? };
        let digits = if number.starts_with('-') { -magnitude } else { magnitude };
        let exponent = power - i32::try_from(fraction.len()).map_err(|_| DecimalError::Absurd)?;
        Ok(Self { digits, exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, decimals: u32, units: i128, is_exact: bool) {
        let number: Decimal = text.parse().unwrap();
        assert_eq!(number.in_units(decimals), Some(Rounded { units, is_exact }), "{text}");
    }

    #[test]
    fn numbers_are_read_exactly_and_rounded_once() {
        check("1.5e-05", 12, 15_000_000, true);
        check("1.5E-5", 12, 15_000_000, true);
        check("0.00012345", 12, 123_450_000, true);
        check("2", 12, 2_000_000_000_000, true);
        check(".5", 0, 1, false);
        check("+0.4", 0, 0, false);
        check("-0.5", 0, -1, false);
        check("1e3", 0, 1000, true);
        check("0e59", 12, 0, true);
        check("0.30000000000000004", 12, 300_000_000_000, false);
        check("2.9999999999999997e-06", 12, 3_000_000, false);
        check("1e-40", 12, 0, false);
        check("0.000000", 12, 0, true);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            "-",
            ".",
            "e5",
            "1e",
            "1e+",
            "NaN",
            "inf",
            "-Infinity",
            "1,5",
            "0x10",
            "1 ",
            " 1",
            "=1+1",
            "1.2.3",
            "1e5.5",
            "--1",
            "١",
        ] {
            assert_eq!(text.parse::<Decimal>(), Err(DecimalError::NotANumber), "{text}");
        }
        for text in ["1e61", "1e-61", "1e99999999999", &"9".repeat(31)] {
            assert_eq!(text.parse::<Decimal>(), Err(DecimalError::Absurd), "{text}");
        }
        assert_eq!("1e40".parse::<Decimal>().unwrap().in_units(12), None);
        assert!(!"-0.0".parse::<Decimal>().unwrap().is_negative());
    }
}
