//! The models that the sandbox has under names of its own, so that trying out needs no provider's name.

use crate::domain::{Price, PriceName};

use super::facts::{Mode, ModelFacts};
use super::sheet::{PriceSheet, Row, Rows};
use crate::domain::Capabilities;

/// The name of the sandbox's list.
pub const SANDBOX: &str = "sandbox";

/// Id, and prices of input and output in picodollars per token: made up, but of the size that real ones have.
const MODELS: [(&str, u64, u64); 3] =
    [("sandbox-small", 1_000_000, 2_000_000), ("sandbox-large", 5_000_000, 15_000_000), ("sandbox-free", 0, 0)];

/// The sandbox's own models.
pub(super) fn models() -> impl Iterator<Item = ModelFacts> {
    MODELS.into_iter().map(|(id, input, output)| {
        let prices = [(PriceName::Input, input), (PriceName::Output, output)];
        let plain = Row::new(prices.map(|(name, price)| (name, Price::per_token(price))));
        ModelFacts {
            id: id.into(),
            catalog: SANDBOX.into(),
            mode: Mode::Chat,
            context: Some(128_000),
            max_output: Some(16_384),
            capabilities: Capabilities {
                tools: Some(true),
                tool_choice: Some(true),
                json_schema: Some(true),
                system: Some(true),
                ..Capabilities::default()
            },
            prices: PriceSheet { rows: Rows { plain, services: Vec::new() }, ..PriceSheet::default() },
            ..ModelFacts::default()
        }
    })
}
