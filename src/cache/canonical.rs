//! The canonical form of a request, written straight into a hash.
//!
//! Two bodies have one canonical form exactly when they ask the same: the order of keys, white space, the spelling of
//! numbers and the escapes of texts don't show in it, everything else does. A key that stands twice keeps both values
//! in their order, whatever a provider makes of it. Every piece begins with a mark and ends where it can't be
//! mistaken, so no two forms share their bytes.
//!
//! Left out of the top level, because no answer's content depends on it:
//! - members that are null, which both dialects read as absent; further down null is a value, as in a schema's `enum`;
//! - `stream` and `stream_options`: a stored answer is given in either form;
//! - `store` where it is false, its default in chat completions;
//! - `metadata` of chat completions that the provider doesn't store: labels for its list of stored ones, read by nobody
//!   else, and different in every call of programs that write a trace's id into them.
//!
//! `user`, `safety_identifier`, `prompt_cache_key` and the messages' `metadata.user_id` stay in: a program that tells its
//! users apart wouldn't want one of them to learn by timing what another has asked. So do `service_tier` and cache marks,
//! which decide over the price.

use sha2::{Digest as _, Sha256};

use super::index::{Index, Member, Text, Unreadable, scalar, skip_space};
use crate::domain::Endpoint;

/// Counted up whenever the form changes, so that answers kept elsewhere are never taken for another request's.
pub(super) const VERSION: u8 = 1;

/// Ends texts and numbers: no UTF-8 has this byte.
const END: u8 = 0xff;

/// What a request shows beside its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// Whether it asks for the likeliest answer: a temperature of 0.
    pub(super) is_deterministic: bool,
}

/// Writes the canonical form of a request's body.
pub(super) fn write(body: &[u8], endpoint: Endpoint, sink: &mut Sink) -> Result<Shown, Unreadable> {
    let index = Index::of_object(body)?;
    let mut writer = Writer { index: &index, sink, order: Vec::with_capacity(32) };
    writer.top(endpoint)?;
    let temperature = index.top().find(|&number| is_named(&index, number, b"temperature"));
    let is_deterministic = temperature.is_some_and(|number| is_zero(index.value(index.member(number))));
    Ok(Shown { is_deterministic })
}

fn is_zero(number: &[u8]) -> bool {
    Number::read(number).is_ok_and(|number| number.whole.is_empty() && number.fraction.is_empty())
}

/// A hash that is fed in many small pieces: they are gathered, because each one handed on by itself costs more than its
/// bytes do.
pub(super) struct Sink {
    hasher: Sha256,
    gathered: [u8; 256],
    len: usize,
}

impl Sink {
    pub(super) fn new() -> Self {
        Self { hasher: Sha256::new(), gathered: [0; 256], len: 0 }
    }

    /// Adds bytes.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.gathered.get_mut(self.len..self.len + bytes.len()) {
            place.copy_from_slice(bytes);
            self.len += bytes.len();
            return;
        }
        self.hasher.update(&self.gathered[..self.len]);
        self.len = 0;
        if bytes.len() < self.gathered.len() {
            self.gathered[..bytes.len()].copy_from_slice(bytes);
            self.len = bytes.len();
        } else {
            self.hasher.update(bytes);
        }
    }

    /// Adds a field of any bytes, so that no other field can be taken for a part of it.
    pub(super) fn put_field(&mut self, bytes: &[u8]) {
        self.put(&(bytes.len() as u64).to_le_bytes());
        self.put(bytes);
    }

    /// The hash of all that was added.
    pub(super) fn finish(mut self) -> [u8; 32] {
        self.hasher.update(&self.gathered[..self.len]);
        self.hasher.finalize().into()
    }
}

struct Writer<'a, 'b> {
    index: &'b Index<'a>,
    sink: &'b mut Sink,
    /// Members in the order in which they are written: those of an object above those of the objects around it.
    order: Vec<u32>,
}

impl Writer<'_, '_> {
    fn top(&mut self, endpoint: Endpoint) -> Result<(), Unreadable> {
        let index = self.index;
        let find = |name: &[u8]| index.top().find(|&number| is_named(index, number, name));
        let is_stored = find(b"store").is_some_and(|number| index.value(index.member(number)) == b"true");
        let labels_only = endpoint == Endpoint::ChatCompletions && !is_stored;
        for number in index.top() {
            let value = index.value(index.member(number));
            let named = |name: &[u8]| is_named(index, number, name);
            let left_out = value == b"null"
                || named(b"stream")
                || named(b"stream_options")
                || (value == b"false" && named(b"store"))
                || (labels_only && named(b"metadata"));
            if !left_out {
                self.order.push(number);
            }
        }
        self.members(0)
    }

    /// Writes the members that stand in the order from `first` on, and takes them off.
    fn members(&mut self, first: usize) -> Result<(), Unreadable> {
        let index = self.index;
        // Stable, so that a key that stands twice keeps the order of its values.
        let key = |number: &u32| index.key(index.member(*number));
        let is_plain = !self.order[first..].iter().any(|number| key(number).has_escapes);
        if is_plain {
            self.order[first..].sort_by_key(|number| key(number).written);
        } else {
            self.order[first..].sort_by_cached_key(|number| meant(key(number)));
        }
        self.sink.put(b"{");
        for place in first..self.order.len() {
            let number = self.order[place];
            let member = index.member(number);
            self.text(index.key(member))?;
            self.value(Index::value_start(member), number + 1)?;
        }
        self.sink.put(b"}");
        self.order.truncate(first);
        Ok(())
    }

    /// Writes the value at a place of the text; `below` is the first member that may stand in it. Returns where the value
    /// ends, and the first member after it.
    fn value(&mut self, at: usize, below: u32) -> Result<(usize, u32), Unreadable> {
        let text = self.index.text();
        let rest = text.get(at..).ok_or(Unreadable)?;
        match rest.first().ok_or(Unreadable)? {
            b'{' => self.object(at, below),
            b'[' => self.array(at, below),
            b'"' => {
                let (string, used) = Text::read(rest)?;
                self.text(string)?;
                Ok((at + used, below))
            }
            _ => {
                let written = scalar(rest)?;
                match written {
                    b"true" => self.sink.put(b"t"),
                    b"false" => self.sink.put(b"f"),
                    b"null" => self.sink.put(b"n"),
                    _ => Number::read(written)?.write(self.sink),
                }
                Ok((at + written.len(), below))
            }
        }
    }

    fn object(&mut self, at: usize, below: u32) -> Result<(usize, u32), Unreadable> {
        let text = self.index.text();
        let inside = skip_space(text, at + 1);
        if text.get(inside) == Some(&b'}') {
            self.sink.put(b"{}");
            return Ok((inside + 1, below));
        }
        let first = self.order.len();
        let mut number = below;
        let last: Member = loop {
            self.order.push(number);
            let member = self.index.member(number);
            if member.is_last {
                break *member;
            }
            number = member.next;
        };
        self.members(first)?;
        let end = skip_space(text, Index::value_start(&last) + self.index.value(&last).len());
        Ok((end + 1, last.next))
    }

    fn array(&mut self, at: usize, below: u32) -> Result<(usize, u32), Unreadable> {
        let text = self.index.text();
        self.sink.put(b"[");
        let (mut at, mut below) = (skip_space(text, at + 1), below);
        while text.get(at) != Some(&b']') {
            let (end, next) = self.value(at, below)?;
            below = next;
            at = skip_space(text, end);
            if text.get(at) == Some(&b',') {
                at = skip_space(text, at + 1);
            }
        }
        self.sink.put(b"]");
        Ok((at + 1, below))
    }

    fn text(&mut self, text: Text<'_>) -> Result<(), Unreadable> {
        self.sink.put(b"\"");
        text.pieces(|piece| self.sink.put(piece))?;
        self.sink.put(&[END]);
        Ok(())
    }
}

fn is_named(index: &Index<'_>, number: u32, name: &[u8]) -> bool {
    let key = index.key(index.member(number));
    if key.has_escapes { meant(key) == name } else { key.written == name }
}

fn meant(key: Text<'_>) -> Vec<u8> {
    let mut meant = Vec::with_capacity(key.written.len());
    // What can't be read is refused when it is written.
    let _ = key.pieces(|piece| meant.extend_from_slice(piece));
    meant
}

/// A number as the digits that matter and a power of ten: no float, so that no two numbers fall together.
#[derive(Clone, Copy, Debug)]
struct Number<'a> {
    is_negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Number<'a> {
    fn read(written: &'a [u8]) -> Result<Self, Unreadable> {
        let (is_negative, rest) = match written.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, written),
        };
        let (whole, rest) = digits(rest);
        if whole.is_empty() || (whole.len() > 1 && whole[0] == b'0') {
            return Err(Unreadable);
        }
        let (fraction, rest) = match rest.strip_prefix(b".").map(digits) {
            Some(([], _)) => return Err(Unreadable),
            Some(fraction_and_rest) => fraction_and_rest,
            None => (&rest[..0], rest),
        };
        let exponent = match rest.first() {
            None => 0,
            Some(b'e' | b'E') => {
                let text = std::str::from_utf8(&rest[1..]).map_err(|_| Unreadable)?;
                // A power beyond any that a number can have is as good as no number.
                text.parse::<i32>().map_err(|_| Unreadable)?
            }
            Some(_) => return Err(Unreadable),
        };
        let mut number = Self { is_negative, whole, fraction, exponent: exponent.into() };
        number.shorten();
        Ok(number)
    }

    /// Takes away zeros that change nothing.
    fn shorten(&mut self) {
        while let Some((b'0', rest)) = self.fraction.split_last() {
            self.fraction = rest;
        }
        if self.whole == b"0" {
            self.whole = &self.whole[..0];
        }
        self.exponent -= i64::try_from(self.fraction.len()).unwrap_or(i64::MAX);
        if self.fraction.is_empty() {
            while let Some((b'0', rest)) = self.whole.split_last() {
                self.whole = rest;
                self.exponent += 1;
            }
        }
        if self.whole.is_empty() {
            while let Some((b'0', rest)) = self.fraction.split_first() {
                self.fraction = rest;
            }
        }
        if self.whole.is_empty() && self.fraction.is_empty() {
            (self.is_negative, self.exponent) = (false, 0);
        }
    }

    fn write(&self, sink: &mut Sink) {
        sink.put(if self.is_negative { b"-" } else { b"+" });
        sink.put(self.whole);
        sink.put(self.fraction);
        sink.put(&[END]);
        sink.put(&self.exponent.to_le_bytes());
    }
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len()))
}
