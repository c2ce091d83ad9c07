//! Where the members of a JSON text's objects stand: enough to visit them in another order without a tree of values.
//!
//! One pass over the bytes, one small record for each member, none for anything else. A member's own members follow it at
//! once, so that whoever visits them in any order knows where those of each value begin.

use crate::domain::json::DEPTH_MAX;

/// A text that isn't JSON of bounded depth and size. Whoever checks requests says what is wrong with it; here it only means
/// that there is nothing to remember it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is no JSON that can be read")]
pub struct Unreadable;

/// One member of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    key_start: u32,
    key_end: u32,
    value_start: u32,
    value_end: u32,
    /// Where the next member of the same object is, or would be: between lie those of this one's value.
    pub(super) next: u32,
    /// Whether its key has escapes.
    key_escaped: bool,
    /// Whether the object ends with it.
    pub(super) is_last: bool,
}

/// A JSON text with its members in the order in which they stand.
pub(super) struct Index<'a> {
    text: &'a [u8],
    members: Vec<Member>,
}

impl<'a> Index<'a> {
    /// Reads a text whose outermost value is an object.
    pub(super) fn of_object(text: &'a [u8]) -> Result<Self, Unreadable> {
        // Places are kept in 32 bits; a body is far smaller.
        if u32::try_from(text.len()).is_err() || std::str::from_utf8(text).is_err() {
            return Err(Unreadable);
        }
        let mut scan = Scan { text, at: 0, members: Vec::with_capacity(16) };
        scan.skip_space();
        if scan.peek() != Some(b'{') {
            return Err(Unreadable);
        }
        scan.value(0)?;
        scan.skip_space();
        if scan.at != text.len() {
            return Err(Unreadable);
        }
        Ok(Self { text, members: scan.members })
    }

    /// The text.
    pub(super) fn text(&self) -> &'a [u8] {
        self.text
    }

    /// A member by its number.
    pub(super) fn member(&self, number: u32) -> &Member {
        &self.members[number as usize]
    }

    /// The numbers of the members of the outermost object, in order.
    pub(super) fn top(&self) -> impl Iterator<Item = u32> {
        let mut next = (!self.members.is_empty()).then_some(0);
        std::iter::from_fn(move || {
            let number = next?;
            let member = self.member(number);
            next = (!member.is_last).then_some(member.next);
            Some(number)
        })
    }

    /// A member's key as written, without its quotes.
    pub(super) fn key(&self, member: &Member) -> Text<'a> {
        Text {
            written: &self.text[member.key_start as usize..member.key_end as usize],
            has_escapes: member.key_escaped,
        }
    }

    /// A member's value as written.
    pub(super) fn value(&self, member: &Member) -> &'a [u8] {
        &self.text[member.value_start as usize..member.value_end as usize]
    }

    /// Where a member's value begins.
    pub(super) fn value_start(member: &Member) -> usize {
        member.value_start as usize
    }
}

/// The inside of a JSON string.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    /// As it stands between its quotes.
    pub(super) written: &'a [u8],
    /// Whether what is written is not what is meant.
    pub(super) has_escapes: bool,
}

impl<'a> Text<'a> {
    /// Reads the string that begins with the quote at the start of `bytes`; also tells how many bytes it takes, both quotes
    /// included.
    pub(super) fn read(bytes: &'a [u8]) -> Result<(Self, usize), Unreadable> {
        if bytes.first() != Some(&b'"') {
            return Err(Unreadable);
        }
        let (mut at, mut has_escapes) = (1, false);
        loop {
            let rest = bytes.get(at..).ok_or(Unreadable)?;
            let found = memchr::memchr2(b'"', b'\\', rest).ok_or(Unreadable)?;
            at += found;
            if rest[found] == b'"' {
                return Ok((Self { written: &bytes[1..at], has_escapes }, at + 1));
            }
            has_escapes = true;
            at += 2;
        }
    }

    /// Hands over what is meant, piece by piece. A surrogate without its partner, which no text can hold, is handed over as
    /// the three bytes that UTF-8 would have for it: no other text has them.
    pub(super) fn pieces(self, mut take: impl FnMut(&[u8])) -> Result<(), Unreadable> {
        let mut rest = self.written;
        if !self.has_escapes {
            take(rest);
            return Ok(());
        }
        while let Some(found) = memchr::memchr(b'\\', rest) {
            take(&rest[..found]);
            let kind = *rest.get(found + 1).ok_or(Unreadable)?;
            rest = &rest[found + 2..];
            let plain = match kind {
                b'"' | b'\\' | b'/' => kind,
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'u' => {
                    let (code, used) = code_point(rest)?;
                    rest = &rest[used..];
                    take_code_point(code, &mut take);
                    continue;
                }
                _ => return Err(Unreadable),
            };
            take(&[plain]);
        }
        take(rest);
        Ok(())
    }
}

/// The code point whose four hexadecimal digits, and its second half where it has one, stand at the start.
fn code_point(digits: &[u8]) -> Result<(u32, usize), Unreadable> {
    let unit = |at: usize| {
        let four = digits.get(at..at + 4).filter(|four| four.iter().all(u8::is_ascii_hexdigit))?;
        u32::from_str_radix(std::str::from_utf8(four).ok()?, 16).ok()
    };
    let first = unit(0).ok_or(Unreadable)?;
    if (0xd800..0xdc00).contains(&first)
        && digits.get(4..6) == Some(b"\\u")
        && let Some(second) = unit(6).filter(|second| (0xdc00..0xe000).contains(second))
    {
        return Ok((0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00), 10));
    }
    Ok((first, 4))
}

fn take_code_point(code: u32, take: &mut impl FnMut(&[u8])) {
    if let Some(character) = char::from_u32(code) {
        take(character.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        let low_six = |bits: u32| 0x80 | u8::try_from(bits & 0x3f).unwrap_or(0);
        take(&[0xed, low_six(code >> 6), low_six(code)]);
    }
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    members: Vec<Member>,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        self.at = skip_space(self.text, self.at);
    }

    fn value(&mut self, depth: usize) -> Result<(), Unreadable> {
        match self.peek().ok_or(Unreadable)? {
            b'{' => self.object(deeper(depth)?),
            b'[' => self.array(deeper(depth)?),
            b'"' => self.string().map(drop),
            _ => {
                self.at += scalar(&self.text[self.at..])?.len();
                Ok(())
            }
        }
    }

    fn string(&mut self) -> Result<bool, Unreadable> {
        let (text, used) = Text::read(&self.text[self.at..])?;
        self.at += used;
        Ok(text.has_escapes)
    }

    fn object(&mut self, depth: usize) -> Result<(), Unreadable> {
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let number = self.members.len();
            let key_start = self.place() + 1;
            let key_escaped = self.string()?;
            let key_end = self.place() - 1;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(Unreadable);
            }
            self.at += 1;
            self.skip_space();
            let value_start = self.place();
            self.members.push(Member {
                key_start,
                key_end,
                value_start,
                value_end: value_start,
                next: 0,
                key_escaped,
                is_last: false,
            });
            self.value(depth)?;
            let (value_end, next) = (self.place(), u32::try_from(self.members.len()).map_err(|_| Unreadable)?);
            self.skip_space();
            let end = self.peek();
            self.at += 1;
            let member = &mut self.members[number];
            (member.value_end, member.next, member.is_last) = (value_end, next, end == Some(b'}'));
            match end {
                Some(b'}') => return Ok(()),
                Some(b',') => self.skip_space(),
                _ => return Err(Unreadable),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), Unreadable> {
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth)?;
            self.skip_space();
            let end = self.peek();
            self.at += 1;
            match end {
                Some(b']') => return Ok(()),
                Some(b',') => self.skip_space(),
                _ => return Err(Unreadable),
            }
        }
    }

    /// Where the scan is; the text is shorter than 4 GiB.
    fn place(&self) -> u32 {
        u32::try_from(self.at).unwrap_or(u32::MAX)
    }
}

fn deeper(depth: usize) -> Result<usize, Unreadable> {
    if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(Unreadable) }
}

/// The first place from `at` on that isn't white space.
pub(super) fn skip_space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

/// The number or word at the start of a text, as written.
pub(super) fn scalar(text: &[u8]) -> Result<&[u8], Unreadable> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let len = text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len());
    if len == 0 { Err(Unreadable) } else { Ok(&text[..len]) }
}
