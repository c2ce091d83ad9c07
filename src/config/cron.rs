//! Checks times written as for cron: five fields, or one of the words that begin with `@`.

use super::problem::quoted;

/// The fields: name, least and most value, and the names of values, the first of which is the least value's.
const FIELDS: [(&str, u32, u32, &[&str]); 5] = [
    ("minute", 0, 59, &[]),
    ("hour", 0, 23, &[]),
    ("day of the month", 1, 31, &[]),
    ("month", 1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    // 0 and 7 are both Sunday.
    ("day of the week", 0, 7, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

const WORDS: [&str; 5] = ["@hourly", "@daily", "@weekly", "@monthly", "@yearly"];

/// Checks a text and gives it back with single spaces.
pub(super) fn check(text: &str) -> Result<String, String> {
    if text.starts_with('@') {
        return if WORDS.contains(&text) {
            Ok(text.to_owned())
        } else {
            Err(format!("{} is none of {}", quoted(text), WORDS.join(", ")))
        };
    }
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!(
            "{} is no time for cron: five fields are minute, hour, day of the month, month, day of the week, such as \"0 6 * * mon\"",
            quoted(text)
        ));
    }
    for (field, (name, least, most, names)) in fields.iter().zip(FIELDS) {
        let is_right = field.split(',').all(|part| is_part(part, least, most, names));
        if !is_right {
            return Err(format!(
                "{} can't be the {name}; write *, */n, or numbers from {least} to {most}",
                quoted(field)
            ));
        }
    }
    Ok(fields.join(" "))
}

/// Whether a part of a list is `*`, a value or a range, each with or without a step.
fn is_part(part: &str, least: u32, most: u32, words: &[&str]) -> bool {
    let value = |text: &str| {
        let by_word =
            words.iter().position(|name| name.eq_ignore_ascii_case(text)).and_then(|index| u32::try_from(index).ok());
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = by_word.map(|index| index + least).or_else(|| text.parse().ok().filter(|_| is_number));
        number.filter(|number| (least..=most).contains(number))
    };
    let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
    let is_step = |step: &str| {
        step.bytes().all(|byte| byte.is_ascii_digit())
            && step.parse::<u32>().is_ok_and(|step| (1..=most).contains(&step))
    };
    let is_range = match range.split_once('-') {
        _ if range == "*" => true,
        Some((from, to)) => value(from).zip(value(to)).is_some_and(|(from, to)| from <= to),
        // A step needs something to step over.
        None => value(range).is_some() && step.is_none(),
    };
    is_range && step.is_none_or(is_step)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_cron_takes_is_taken() {
        for text in ["* * * * *", "0 6 * * mon", "*/15 0-6,22 1,15 JAN-mar 7", "0 0 1-31/2 * *", "@daily"] {
            assert_eq!(check(text).as_deref(), Ok(text));
        }
        assert_eq!(check("0  6 *\t* 1").as_deref(), Ok("0 6 * * 1"));
    }

    #[test]
    fn what_cron_would_never_run_is_refused() {
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "a * * * *",
            "*/0 * * * *",
            "5/2 * * * *",
            "6-2 * * * *",
            "1,,2 * * * *",
            "-1 * * * *",
            "+1 * * * *",
            "@often",
            "* * * foo *",
            "*-3 * * * *",
            "*/ * * * *",
        ] {
            assert!(check(text).is_err(), "{text:?}");
        }
    }
}
