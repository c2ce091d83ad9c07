//! Amounts as providers write them: decimal text, however many digits, read exactly and never through a float.

use crate::domain::Picodollars;

/// Decimals of a dollar that are kept.
const PICO: i32 = 12;
/// Digits that a sum is made with; what lies below is far under a picodollar.
const DIGITS_MAX: usize = 30;
/// An exponent beyond this is no amount of money.
const EXPONENT_MAX: i32 = 60;

/// What an amount is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// US dollars.
    Dollars,
    /// Hundredths of one.
    Cents,
}

/// An amount from a decimal number with or without a sign, a point and an exponent, rounded to the nearest picodollar.
///
/// `None` for what is no such number. Reports have more decimals than money has: `0.06130000000000001` is what a float
/// of theirs has become.
pub(super) fn amount(text: &str, unit: Unit) -> Option<Picodollars> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        None => (text, 0),
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
    };
    let (is_negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let dangles = mantissa.contains('.') && fraction.is_empty();
    if whole.is_empty() || dangles || !all_digits(whole) || !all_digits(fraction) || exponent.abs() > EXPONENT_MAX {
        return None;
    }
    let decimals = i32::try_from(fraction.len()).ok()?;
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let kept = &digits[..digits.len().min(DIGITS_MAX)];
    let dropped = i32::try_from(digits.len() - kept.len()).ok()?;
    let value: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    let cents = if unit == Unit::Cents { 2 } else { 0 };
    let power = exponent - decimals + dropped - cents + PICO;
    let value = if value == 0 { 0 } else { scaled(value, power)? };
    let amount = Picodollars::new(if is_negative { -value } else { value });
    (value <= Picodollars::MAX.get()).then_some(amount)
}

/// A value times a power of ten, rounded to the nearest, halves up.
fn scaled(value: i128, power: i32) -> Option<i128> {
    let ten = |power: u32| 10_i128.checked_pow(power);
    if power >= 0 {
        return value.checked_mul(ten(power.unsigned_abs())?);
    }
    // Of a value of at most thirty digits nothing is left below that.
    let Some(divisor) = ten(power.unsigned_abs()) else { return Some(0) };
    Some((value + divisor / 2) / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, unit: Unit, expected: Option<&str>) {
        let found = amount(text, unit).map(|amount| amount.to_string());
        assert_eq!(found.as_deref(), expected, "{text}");
    }

    #[test]
    fn dollars_are_read_to_the_picodollar() {
        let dollars = |text, expected| check(text, Unit::Dollars, Some(expected));
        dollars("0.06", "0.06");
        dollars("12", "12");
        dollars("0", "0");
        dollars("-0.10", "-0.1");
        dollars("0.003835980000000000000000000000", "0.00383598");
        dollars("0.06130000000000001", "0.0613");
        dollars("2.4e-05", "0.000024");
        dollars("1E2", "100");
        dollars("1.5e+1", "15");
        dollars("0.0000000000005", "0.000000000001");
        dollars("0.00000000000049999999999999999999999999999999999999999", "0");
        dollars("0.0000000000000000000000000000000000000000000001", "0");
        dollars("123456789.123456789012345678901234567890123456789", "123456789.123456789012");
    }

    #[test]
    fn cents_are_hundredths_of_dollars() {
        check("123.45", Unit::Cents, Some("1.2345"));
        check("123.78912", Unit::Cents, Some("1.2378912"));
        check("0.000001", Unit::Cents, Some("0.00000001"));
        check("100", Unit::Cents, Some("1"));
        check("-250", Unit::Cents, Some("-2.5"));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", "-", ".5", "5.", "NaN", "inf", "1,5", " 1", "0x1", "1.2.3", "--1", "+1", "1e", "1e1.5", "$1"] {
            check(text, Unit::Dollars, None);
        }
        check("1e61", Unit::Dollars, None);
        check("1e-61", Unit::Dollars, None);
        check("1e25", Unit::Dollars, None);
        check("99999999999999999999999999999999999999999999999999", Unit::Dollars, None);
    }

    proptest! {
        #[test]
        fn what_money_prints_is_read_as_the_same_money(value in -1_000_000_000_000_000_000_i128..1_000_000_000_000_000_000) {
            let money = Picodollars::new(value);
            prop_assert_eq!(amount(&money.to_string(), Unit::Dollars), Some(money));
        }

        #[test]
        fn no_text_makes_it_fail(text in "[-0-9.eE]{0,80}") {
            let _ = amount(&text, Unit::Dollars);
            let _ = amount(&text, Unit::Cents);
        }
    }
}
