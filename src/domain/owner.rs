//! Whose something is that was kept of a call.

use super::ids::KeyId;

/// Whose contents are meant: what was kept of calls can be deleted by any of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Those of a virtual key.
    Key(KeyId),
    /// Those of a session.
    Session(String),
    /// Those of a person.
    User(String),
}
