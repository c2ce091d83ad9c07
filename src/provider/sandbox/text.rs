//! What to say: short plain sentences that repeat a bit of what was asked, so that people see it is theirs.

use serde_json::json;

use super::conversation::Conversation;
use super::seed::{Dice, Seed};
use super::tokens::CHARACTERS_PER_TOKEN;
use super::tools::Tool;

const EXCERPT_WORDS: usize = 9;
const EXCERPT_CHARACTERS: usize = 64;

const OPENINGS: [&str; 8] = [
    "You asked: “{}”.",
    "About “{}”: here is a short answer.",
    "Thank you for “{}”.",
    "Here is what the sandbox says to “{}”.",
    "“{}” is a fair thing to ask.",
    "Your words were “{}”.",
    "Let us look at “{}”.",
    "In reply to “{}”, a few plain words.",
];

const RESULT_OPENINGS: [&str; 4] = [
    "The tool answered: “{}”.",
    "According to the tool: “{}”.",
    "The result is in: “{}”.",
    "Here is what came back: “{}”.",
];

const SENTENCES: [&str; 24] = [
    "The sandbox made this text without a model, so it cost nothing.",
    "The same request always gets the same words.",
    "Small steps are easier to check than large ones.",
    "Start with the part that you can measure.",
    "A list of three points is often enough.",
    "First look at what is there, then at what is missing.",
    "The short way is to try it and see.",
    "Most of the time the simple answer is the right one.",
    "Write down what you expect before you run it.",
    "There are two sides to this, and both have a point.",
    "It depends on how much you want to spend.",
    "A good name saves a long comment.",
    "Keep the first version small and ship it.",
    "The details matter less than the order of the steps.",
    "One example says more than a page of rules.",
    "If in doubt, leave it out.",
    "Numbers first, opinions after.",
    "The careful reader will find an exception.",
    "That has been asked before, and it was a good question then.",
    "Nothing here was looked up anywhere.",
    "An answer can be short and still be complete.",
    "The rest follows from that.",
    "You can ask again with other words to hear something else.",
    "That is all there is to say for now.",
];

const THOUGHTS: [&str; 6] = [
    "First I should see what is really asked for.",
    "There may be more than one reading of it.",
    "The simplest reading seems to be the right one.",
    "I should check that nothing was left out.",
    "A short answer will do here.",
    "Let me put that into plain words.",
];

/// The beginning of a text, on one line: what an answer repeats of it.
pub(super) fn excerpt(text: &str) -> String {
    let mut excerpt = String::new();
    let mut words = text.split_whitespace();
    for word in words.by_ref().take(EXCERPT_WORDS) {
        if !excerpt.is_empty() {
            excerpt.push(' ');
        }
        excerpt.push_str(word);
    }
    let is_long = words.next().is_some();
    if let Some((end, _)) = excerpt.char_indices().nth(EXCERPT_CHARACTERS) {
        excerpt.truncate(end);
        excerpt.push('…');
    } else if is_long {
        excerpt.push('…');
    }
    if excerpt.is_empty() { "your request".to_owned() } else { excerpt.trim_end_matches(['.', '?', '!']).to_owned() }
}

/// One to three sentences after an opening.
pub(super) fn reply(conversation: &Conversation, seed: Seed) -> String {
    let mut dice = seed.part("text", 0).dice();
    let mut text = opening(conversation, &mut dice);
    let start = dice.below(SENTENCES.len());
    // A stride that shares no factor with the number of sentences never repeats one.
    for step in 0..=dice.below(3) {
        text.push(' ');
        text.push_str(SENTENCES[(start + step * 7) % SENTENCES.len()]);
    }
    text
}

/// A text of exactly that many tokens.
pub(super) fn of_length(conversation: &Conversation, seed: Seed, tokens: u64) -> String {
    let mut dice = seed.part("text", 0).dice();
    fill(opening(conversation, &mut dice), &SENTENCES, tokens, &mut dice)
}

/// A thought of exactly that many tokens.
pub(super) fn thought(conversation: &Conversation, seed: Seed, tokens: u64) -> String {
    if tokens == 0 {
        return String::new();
    }
    let opening = format!("The request is “{}”.", excerpt(conversation.last_user()));
    fill(opening, &THOUGHTS, tokens, &mut seed.part("thought", 0).dice())
}

/// What is said before tools are called.
pub(super) fn before_calls(tools: &[&Tool], seed: Seed) -> String {
    let names = tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(" and ");
    let phrases = ["I will ask {}.", "Let me look that up with {}.", "One moment, I will use {}."];
    let phrase = seed.part("before", 0).dice().pick(&phrases).copied().unwrap_or("{}");
    phrase.replace("{}", &names)
}

/// A JSON object, for clients that want one of any shape.
pub(super) fn json_object(conversation: &Conversation, seed: Seed) -> String {
    let mut dice = seed.part("text", 0).dice();
    let answer = dice.pick(&SENTENCES).copied().unwrap_or_default();
    json!({"answer": answer, "question": excerpt(conversation.last_user())}).to_string()
}

fn opening(conversation: &Conversation, dice: &mut Dice) -> String {
    let result = conversation.fresh_results().last();
    let (phrases, quoted) = match result {
        Some(result) => (&RESULT_OPENINGS[..], result),
        None => (&OPENINGS[..], conversation.last_user()),
    };
    dice.pick(phrases).copied().unwrap_or("{}").replace("{}", &excerpt(quoted))
}

fn fill(mut text: String, sentences: &[&str], tokens: u64, dice: &mut Dice) -> String {
    let characters = usize::try_from(tokens).unwrap_or(usize::MAX).saturating_mul(CHARACTERS_PER_TOKEN);
    let mut count = text.chars().count();
    let start = dice.below(sentences.len());
    // In their order from a chance beginning, so that none follows itself.
    for sentence in sentences.iter().cycle().skip(start) {
        if count >= characters {
            break;
        }
        text.push(' ');
        text.push_str(sentence);
        count += 1 + sentence.chars().count();
    }
    if let Some((end, _)) = text.char_indices().nth(characters) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::conversation::Role;
    use super::*;

    fn conversation(turns: &[(Role, &str)]) -> Conversation {
        let mut conversation = Conversation::default();
        for (role, text) in turns {
            conversation.push(*role, (*text).to_owned());
        }
        conversation
    }

    #[test]
    fn an_answer_repeats_a_bit_of_the_question() {
        let asked = conversation(&[(Role::User, "What is the\ncapital of France?")]);
        for index in 0..20 {
            let text = reply(&asked, Seed::of_bytes("", b"").part("", index));
            assert!(text.contains("What is the capital of France"), "{text}");
        }
    }

    #[test]
    fn after_a_tool_the_answer_repeats_its_result() {
        let asked = conversation(&[(Role::User, "Weather?"), (Role::Assistant, ""), (Role::Tool, "21 degrees")]);
        assert!(reply(&asked, Seed::of_bytes("", b"")).contains("21 degrees"));
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt(" \n "), "your request");
        assert_eq!(excerpt("a  b\nc?"), "a b c");
        assert_eq!(excerpt("1 2 3 4 5 6 7 8 9 10"), "1 2 3 4 5 6 7 8 9…");
        assert_eq!(excerpt(&"안".repeat(200)).chars().count(), EXCERPT_CHARACTERS + 1);
    }
}
