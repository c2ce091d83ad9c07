//! `POST /v1/embeddings`.
//!
//! A vector is made of the hashes of a text's words: equal texts have equal vectors, and texts that share words lie nearer
//! together than texts that don't. That is enough to try out a search, and no more.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::completions::texts_or_tokens;
use super::openai::model;
use super::refusal::Refusal;
use super::reply::Reply;
use super::request::Call;
use super::seed::Seed;
use super::wire_openai::{Embedding, EmbeddingUsage, Embeddings, Vector};

const DIMENSIONS_DEFAULT: u64 = 1536;
const DIMENSIONS_MAX: i64 = 3072;
const INPUTS_MAX: usize = 2048;
/// How many places of the vector a word adds to: enough that two words rarely share them all.
const PLACES_PER_WORD: usize = 24;

/// Answers with vectors.
pub(super) fn embeddings(call: &Call<'_>) -> Result<Reply, Refusal> {
    let fields = call.fields();
    let model = model(&fields)?;
    let value = fields.required("input", fields.get("input"))?;
    let inputs = texts_or_tokens(value).ok_or_else(|| fields.wrong_type("input", "a string or an array"))?;
    if inputs.is_empty() || inputs.len() > INPUTS_MAX {
        let message = format!("Invalid 'input': expected 1 to {INPUTS_MAX} inputs, but got {}.", inputs.len());
        return Err(Refusal::of_field("input", "invalid_value", message));
    }
    if inputs.iter().any(|input| input.text.is_empty()) {
        return Err(Refusal::of_field("input", "invalid_value", "Invalid 'input': input cannot be an empty string."));
    }
    let default = if model.contains("3-large") { 3072 } else { DIMENSIONS_DEFAULT };
    let dimensions = fields.integer("dimensions", 1, DIMENSIONS_MAX)?;
    let dimensions = usize::try_from(dimensions.unwrap_or(default)).unwrap_or(1);
    let is_base64 = match fields.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => return Err(fields.unknown_value("encoding_format", other, &["float", "base64"])),
    };
    let tokens = inputs.iter().map(|input| input.tokens).sum();
    let data = inputs.iter().enumerate().map(|(index, input)| {
        let vector = vector(&input.text, dimensions);
        let embedding = if is_base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            Vector::Base64(STANDARD.encode(bytes))
        } else {
            Vector::Floats(vector)
        };
        Embedding { object: "embedding", index, embedding }
    });
    let usage = EmbeddingUsage { prompt_tokens: tokens, total_tokens: tokens };
    Ok(Reply::json(&Embeddings { object: "list", data: data.collect(), model, usage }))
}

/// A vector of length 1.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions];
    let lower = text.to_lowercase();
    let words = lower.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
    // The text itself counts as a faint word: it tells apart what has the same words, and what has none.
    for (word, weight) in words.map(|word| (word, 1.0_f32)).chain([(text, 0.25)]) {
        let mut dice = Seed::of_bytes("embedding", word.as_bytes()).dice();
        for _ in 0..PLACES_PER_WORD {
            let place = dice.below(dimensions);
            vector[place] += if dice.chance(0.5) { weight } else { -weight };
        }
    }
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    if length > 0.0 {
        for number in &mut vector {
            *number /= length;
        }
    } else {
        vector[0] = 1.0;
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn likeness(first: &str, second: &str) -> f32 {
        vector(first, 1536).iter().zip(vector(second, 1536)).map(|(first, second)| first * second).sum()
    }

    #[test]
    fn texts_that_share_words_lie_nearer() {
        let near = likeness("how do I reset my password", "How can I reset the password?");
        let far = likeness("how do I reset my password", "rain falls over green hills");
        assert!(near > 0.4 && near > far + 0.3, "{near} {far}");
        assert!((likeness("same", "same") - 1.0).abs() < 1e-5);
    }

    #[test]
    fn every_vector_has_length_one_in_any_dimension() {
        for dimensions in [1, 2, 256, 3072] {
            for text in ["?", "a", "many words make one vector", "안녕하세요"] {
                let length: f32 = vector(text, dimensions).iter().map(|number| number * number).sum();
                assert!((length - 1.0).abs() < 1e-4, "{text} {dimensions}: {length}");
            }
        }
    }
}
