//! How contents lie in their file.

use redb::TableDefinition;
use serde::{Deserialize, Serialize};

use super::{Excerpt, Exchange};
use crate::domain::{KeyId, Owner, RequestId};

/// Contents: request id → [`StoredExchange`].
pub(super) const BODIES: TableDefinition<u128, &[u8]> = TableDefinition::new("body");
/// Whose they are: kind of owner, owner, request id.
pub(super) const OWNERS: TableDefinition<(u8, &str, u128), ()> = TableDefinition::new("owner");

/// The first byte of each stored value.
const VERSION: u8 = 1;
/// Longer names of sessions and users are looked up by their beginning: deleting may then take more, never less.
const OWNER_BYTES_MAX: usize = 256;

#[derive(Serialize, Deserialize)]
struct StoredExchange {
    key: String,
    session: Option<String>,
    users: Vec<String>,
    request: Excerpt,
    answer: Excerpt,
}

/// A stored form of an exchange.
pub(super) fn encode(exchange: &Exchange) -> Vec<u8> {
    let stored = StoredExchange {
        key: exchange.key.to_string(),
        session: exchange.session.as_deref().map(ToOwned::to_owned),
        users: exchange.users.clone(),
        request: exchange.request.clone(),
        answer: exchange.answer.clone(),
    };
    postcard::to_extend(&stored, vec![VERSION]).expect("these types always have a stored form")
}

/// An exchange from its stored form.
pub(super) fn decode(id: RequestId, bytes: &[u8]) -> Result<Exchange, redb::Error> {
    let wrong = |detail: String| redb::Error::Corrupted(format!("a stored content can't be read: {detail}"));
    let stored: StoredExchange = match bytes {
        [VERSION, rest @ ..] => postcard::from_bytes(rest).map_err(|error| wrong(error.to_string()))?,
        [other, ..] => return Err(wrong(format!("version {other} is unknown"))),
        [] => return Err(wrong("it is empty".to_owned())),
    };
    Ok(Exchange {
        id,
        key: KeyId::new(&stored.key).map_err(|error| wrong(error.to_string()))?,
        session: stored.session.map(Into::into),
        users: stored.users,
        request: stored.request,
        answer: stored.answer,
    })
}

/// Where in [`OWNERS`] the contents of an owner are.
pub(super) fn place(owner: &Owner) -> (u8, &str) {
    match owner {
        Owner::Key(key) => (0, beginning(key.as_str())),
        Owner::Session(session) => (1, beginning(session)),
        Owner::User(user) => (2, beginning(user)),
    }
}

/// Everybody whose the contents of an exchange are.
pub(super) fn owners(exchange: &Exchange) -> Vec<Owner> {
    let session = exchange.session.iter().map(|session| Owner::Session(session.to_string()));
    let users = exchange.users.iter().map(|user| Owner::User(user.clone()));
    std::iter::once(Owner::Key(exchange.key.clone())).chain(session).chain(users).collect()
}

fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(OWNER_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_an_exchange_or_an_error(bytes: Vec<u8>) {
            let _ = decode(RequestId::first_of(1), &bytes);
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let owner = Owner::User("ä".repeat(200));
        assert_eq!(place(&owner).1.len(), OWNER_BYTES_MAX);
        let owner = Owner::User(format!("a{}", "ä".repeat(200)));
        assert_eq!(place(&owner).1.len(), OWNER_BYTES_MAX - 1);
    }
}
