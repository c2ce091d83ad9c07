//! What a request says in words: for people who look for an answer among those that are kept.

use super::index::{Index, Member, Text, skip_space};

/// Bytes that are kept of the beginning, and as many of the end: instructions stand first, the question last.
const HALF_BYTES_MAX: usize = 2 << 10;
/// Characters of a title.
const TITLE_CHARS_MAX: usize = 96;
/// Members of the top level that hold words, in all dialects.
const TOP: [&[u8]; 5] = [b"messages", b"system", b"input", b"instructions", b"prompt"];
/// Members below them whose texts are words, and not the names of roles or kinds.
const WORDS: [&[u8]; 2] = [b"content", b"text"];

/// The words of a request, as many as are worth keeping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Beginning and end of everything that is said.
    pub text: Box<str>,
    /// Where in it the last thing said begins.
    last: usize,
}

impl Prompt {
    /// Reads the words of a request's body; of what is no request there are none.
    pub fn of(body: &[u8]) -> Self {
        let Ok(index) = Index::of_object(body) else { return Self::default() };
        let mut texts = Vec::new();
        for number in index.top() {
            let member = index.member(number);
            if !TOP.contains(&index.key(member).written) {
                continue;
            }
            gather(&index, member, &mut texts);
            for below in number + 1..member.next {
                let member = index.member(below);
                if WORDS.contains(&index.key(member).written) {
                    gather(&index, member, &mut texts);
                }
            }
        }
        let (text, last) = both_ends(&texts);
        Self { text: text.into(), last }
    }

    /// The beginning of the last thing said, on one line: made when somebody looks, which is seldom.
    pub fn title(&self) -> Box<str> {
        one_line(&self.text[self.last..])
    }

    /// What it is made of.
    pub(super) fn parts(&self) -> (&str, usize) {
        (&self.text, self.last)
    }

    /// The same from its parts; nothing where they don't fit together.
    pub(super) fn from_parts(text: &str, last: usize) -> Option<Self> {
        text.is_char_boundary(last).then(|| Self { text: text.into(), last })
    }

    /// Bytes of memory.
    pub(super) fn weight(&self) -> usize {
        self.text.len()
    }
}

/// The texts of a value: the value itself, or the texts of a list.
fn gather<'a>(index: &Index<'a>, member: &Member, texts: &mut Vec<Text<'a>>) {
    let value = index.value(member);
    if let Ok((text, _)) = Text::read(value) {
        texts.push(text);
        return;
    }
    // A list of anything else than texts has its words in members, which are met by themselves.
    let mut at = skip_space(value, usize::from(value.first() == Some(&b'[')));
    while let Some(Ok((text, used))) = value.get(at..).map(Text::read) {
        texts.push(text);
        at = skip_space(value, at + used);
        if value.get(at) != Some(&b',') {
            break;
        }
        at = skip_space(value, at + 1);
    }
}

/// The beginning of a text as it is meant, about so many bytes of it.
fn read(text: Text<'_>, bytes_max: usize) -> String {
    let cut = Text { written: &text.written[..text.written.len().min(bytes_max)], ..text };
    let mut bytes = Vec::with_capacity(cut.written.len());
    // The cut may have gone through an escape; what stands before it has been taken.
    let _ = cut.pieces(|piece| bytes.extend_from_slice(piece));
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn one_line(text: &str) -> Box<str> {
    let mut line = String::new();
    for word in text.split_whitespace() {
        let left = TITLE_CHARS_MAX.saturating_sub(line.chars().count());
        if left == 0 {
            line.push('…');
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().filter(|character| !character.is_control()).take(left));
    }
    line.into()
}

/// The beginning and the end, and where the last text begins in them.
fn both_ends(texts: &[Text<'_>]) -> (String, usize) {
    let mut kept = String::new();
    let (mut taken, mut last) = (0, 0);
    for text in texts {
        if kept.len() >= HALF_BYTES_MAX {
            break;
        }
        if !kept.is_empty() {
            kept.push('\n');
        }
        last = kept.len();
        kept.push_str(&read(*text, HALF_BYTES_MAX));
        taken += 1;
    }
    let (mut end, mut bytes) = (Vec::new(), 0);
    for text in texts[taken..].iter().rev() {
        if bytes >= HALF_BYTES_MAX {
            break;
        }
        let text = read(*text, HALF_BYTES_MAX - bytes);
        bytes += text.len();
        end.push(text);
    }
    for text in end.iter().rev() {
        kept.push('\n');
        last = kept.len();
        kept.push_str(text);
    }
    (kept, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_is_the_last_thing_said_and_the_text_everything() {
        let body = br#"{"model":"gpt-5","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":[
            {"type":"text","text":"How do I\n reset \u0061 password?"},{"type":"image_url","image_url":{"url":"data:x"}}]}]}"#;
        let prompt = Prompt::of(body);
        assert_eq!(&*prompt.title(), "How do I reset a password?");
        assert_eq!(&*prompt.text, "Be brief.\nHow do I\n reset a password?");
        assert_eq!(
            &*Prompt::of(br#"{"system":"S","messages":[{"content":"Q"}],"tools":[{"content":"no"}]}"#).text,
            "S\nQ"
        );
        assert_eq!(&*Prompt::of(br#"{"input":[ "one" , "two"]}"#).text, "one\ntwo");
        assert_eq!(Prompt::of(b"[1"), Prompt::default());
    }

    #[test]
    fn of_much_text_the_beginning_and_the_end_are_kept() {
        let message = |text: &str| format!(r#"{{"role":"user","content":"{text}"}}"#);
        let messages: Vec<String> = (0..100).map(|number| message(&format!("{number}: {}", "é".repeat(500)))).collect();
        let prompt = Prompt::of(format!(r#"{{"messages":[{}]}}"#, messages.join(",")).as_bytes());
        assert!(prompt.text.starts_with("0: é") && prompt.text.contains("99: é"), "{}", prompt.text);
        assert!(prompt.text.len() < 3 * HALF_BYTES_MAX, "{}", prompt.text.len());
        assert!(prompt.title().chars().count() <= TITLE_CHARS_MAX + 1);
        // One text that is longer than everything that is kept.
        let prompt = Prompt::of(format!(r#"{{"prompt":"{}"}}"#, "\\u00e9".repeat(5_000)).as_bytes());
        assert!(prompt.text.len() <= HALF_BYTES_MAX && prompt.text.starts_with('é'));
    }
}
