//! OpenAI's chat completions, as OpenAI and the many servers that imitate it speak them.
//!
//! `request_read` and `answer_write` face a client that speaks this shape, `request_write` and `answer_read` a provider that does. Requests are read
//! strictly: what isn't known is refused by name. Answers are read leniently: servers differ, and an answer that is paid for isn't
//! thrown away over a missing id. What differs between servers in requests is data, in `servers`.

mod answer_read;
mod answer_write;
mod request_read;
mod request_write;
mod servers;
mod wire;

#[cfg(test)]
mod tests;

pub use answer_read::{Reader, read_answer};
pub use answer_write::{Writer, write_answer};
pub use request_read::read_request;
pub use request_write::write_request;
pub use servers::Server;
