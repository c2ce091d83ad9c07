//! Answers that the user wrote: lines of JSON, each a text to look for and what to say then.

use std::sync::Arc;

use serde::Deserialize;

/// One line of a script.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptLine {
    /// The text to look for in the last user message, letter by letter.
    #[serde(rename = "match")]
    pub needle: String,
    /// What to say then.
    pub answer: String,
}

/// Why a script can't be used; lines count from 1.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// Not a JSON object with `match` and `answer`.
    #[error("line {line} of the sandbox script is not {{\"match\":\"…\",\"answer\":\"…\"}}")]
    Malformed {
        /// Which line.
        line: usize,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// It would answer everything, which is surely not meant.
    #[error("line {line} of the sandbox script has an empty \"match\", which every message holds")]
    EmptyMatch {
        /// Which line.
        line: usize,
    },
}

/// Reads a script: one `{"match":"…","answer":"…"}` a line; empty lines are skipped.
pub fn parse_script(text: &str) -> Result<Arc<[ScriptLine]>, ScriptError> {
    let mut lines = Vec::new();
    for (index, text) in text.lines().enumerate() {
        if text.trim().is_empty() {
            continue;
        }
        let line = index + 1;
        let parsed: ScriptLine =
            serde_json::from_str(text).map_err(|source| ScriptError::Malformed { line, source })?;
        if parsed.needle.is_empty() {
            return Err(ScriptError::EmptyMatch { line });
        }
        lines.push(parsed);
    }
    Ok(lines.into())
}

/// What the script says to a message, if anything.
pub(super) fn scripted<'a>(script: &'a [ScriptLine], message: &str) -> Option<&'a str> {
    script.iter().find(|line| message.contains(&line.needle)).map(|line| line.answer.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_answers() {
        let script = parse_script(
            "{\"match\":\"weather\",\"answer\":\"Sunny.\"}\n\n{\"match\":\"the weather\",\"answer\":\"Never said.\"}\n",
        )
        .unwrap();
        assert_eq!(scripted(&script, "How is the weather?"), Some("Sunny."));
        assert_eq!(scripted(&script, "How is the Weather?"), None);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let error = |text: &str| parse_script(text).unwrap_err().to_string();
        assert!(error("{\"match\":\"a\",\"answer\":\"b\"}\n\nnonsense").starts_with("line 3 "));
        assert!(error("{\"match\":\"a\"}").starts_with("line 1 "));
        assert!(error("{\"match\":\"a\",\"answer\":\"b\",\"delay\":1}").starts_with("line 1 "));
        assert!(error("{\"match\":\"\",\"answer\":\"b\"}").contains("empty \"match\""));
    }
}
