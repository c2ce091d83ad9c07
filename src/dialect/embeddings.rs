//! Vectors of embeddings, as numbers or in base64: whichever the client asked for, whatever the server gives.
//!
//! In base64 a vector is its 32-bit floats, little-endian, one after the other: what OpenAI's SDKs ask for by default.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::NotOfShape;

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// A list of numbers.
    Float,
    /// Base64.
    Base64,
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    encoding_format: Option<Cow<'a, str>>,
}

/// The encoding that a request asks for; `None` where it names one that is not known here, for the server to judge.
pub fn asked(request: &[u8]) -> Option<Encoding> {
    let request: Request<'_> = serde_json::from_slice(request).ok()?;
    match request.encoding_format.as_deref() {
        None | Some("float") => Some(Encoding::Float),
        Some("base64") => Some(Encoding::Base64),
        Some(_) => None,
    }
}

/// The answer with its vectors in an encoding; the very same bytes where they are already.
pub fn encoded(body: &Bytes, encoding: Encoding) -> Result<Bytes, NotOfShape> {
    let wrong = |detail: &str| NotOfShape(detail.to_owned());
    let list: List<'_> = serde_json::from_slice(body).map_err(|_| wrong("it is not a list of vectors"))?;
    let mut spliced: Option<(BytesMut, usize)> = None;
    for item in list.data {
        let item: Item<'_> = serde_json::from_str(item.get()).map_err(|_| wrong("an item has no vector"))?;
        let vector = item.embedding.get();
        let Some(written) = rewritten(vector, encoding)? else { continue };
        let start = vector.as_ptr().addr() - body.as_ptr().addr();
        let (out, copied) = spliced.get_or_insert_with(|| (BytesMut::with_capacity(body.len()), 0));
        out.extend_from_slice(&body[*copied..start]);
        out.extend_from_slice(written.as_bytes());
        *copied = start + vector.len();
    }
    Ok(spliced.map_or_else(
        || body.clone(),
        |(mut out, copied)| {
            out.extend_from_slice(&body[copied..]);
            out.freeze()
        },
    ))
}

/// A vector in the other encoding, where it isn't in the right one.
fn rewritten(vector: &str, encoding: Encoding) -> Result<Option<String>, NotOfShape> {
    let wrong = || NotOfShape("a vector can't be read".to_owned());
    match (encoding, vector.as_bytes().first()) {
        (Encoding::Base64, Some(b'[')) => {
            let numbers: Vec<f32> = serde_json::from_str(vector).map_err(|_| wrong())?;
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            Ok(Some(format!("\"{}\"", STANDARD.encode(bytes))))
        }
        (Encoding::Float, Some(b'"')) => {
            let text: Cow<'_, str> = serde_json::from_str(vector).map_err(|_| wrong())?;
            let bytes = STANDARD.decode(&*text).map_err(|_| wrong())?;
            let (numbers, []) = bytes.as_chunks::<4>() else { return Err(wrong()) };
            let numbers: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            // A number that JSON has no word for would become null.
            if numbers.iter().any(|number| !number.is_finite()) {
                return Err(wrong());
            }
            serde_json::to_string(&numbers).map(Some).map_err(|_| wrong())
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOATS: &str = r#"{"data":[{"index":0,"embedding":[0.5,-1.25]},{"index":1,"embedding":[1]}],"usage":{}}"#;
    const BASE64: &str =
        r#"{"data":[{"index":0,"embedding":"AAAAPwAAoL8="},{"index":1,"embedding":"AACAPw=="}],"usage":{}}"#;

    #[track_caller]
    fn check(body: &'static str, encoding: Encoding, expected: &str) {
        assert_eq!(encoded(&Bytes::from_static(body.as_bytes()), encoding).unwrap(), expected);
    }

    #[test]
    fn vectors_come_as_they_were_asked_for() {
        // 0.5 is 0x3F000000, -1.25 is 0xBFA00000, 1 is 0x3F800000.
        check(FLOATS, Encoding::Base64, BASE64);
        check(BASE64, Encoding::Float, &FLOATS.replace("[1]", "[1.0]"));
        check(FLOATS, Encoding::Float, FLOATS);
        check(BASE64, Encoding::Base64, BASE64);
    }

    #[test]
    fn what_is_no_vector_is_refused() {
        for body in [
            "<html>",
            r#"{"data":1}"#,
            r#"{"data":[{}]}"#,
            r#"{"data":[{"embedding":"AAAA"}]}"#,
            r#"{"data":[{"embedding":"!"}]}"#,
            r#"{"data":[{"embedding":"AADAfw=="}]}"#,
        ] {
            assert!(encoded(&Bytes::from_static(body.as_bytes()), Encoding::Float).is_err(), "{body}");
        }
        assert!(encoded(&Bytes::from_static(br#"{"data":[{"embedding":["a"]}]}"#), Encoding::Base64).is_err());
    }

    #[test]
    fn floats_are_the_default() {
        assert_eq!(asked(b"{}"), Some(Encoding::Float));
        assert_eq!(asked(br#"{"encoding_format":"base64"}"#), Some(Encoding::Base64));
        assert_eq!(asked(br#"{"encoding_format":"hex"}"#), None);
    }
}
