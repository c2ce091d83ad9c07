//! Virtual keys: the list, the form, the secret that is shown once, and the page of one key.

use askama::Template;
use askama::filters::HtmlSafe;

use super::super::format::{Moment, Money};
use super::layout::Layout;
use super::parts::{Badge, Card, Field, Link, SelectOption};
use super::request::Detail;

/// Fills `#key-list`.
#[derive(Clone, Debug, Template)]
#[template(path = "keys/key-list.html")]
pub struct KeyList {
    /// `6 keys`.
    pub summary: String,
    /// The month whose spend is shown: `November`.
    pub month: String,
    /// The keys.
    pub rows: Card<Vec<KeyRow>>,
    /// True where it replaces the one on the page.
    pub is_update: bool,
    /// True where the reader may make keys.
    pub may_create: bool,
    /// True on the page that has the form in a dialog.
    pub has_dialog: bool,
}

/// Its template escapes every value.
impl HtmlSafe for KeyList {}

/// One key.
#[derive(Clone, Debug)]
pub struct KeyRow {
    /// Its name.
    pub name: String,
    /// Its team; empty for none.
    pub team: String,
    /// Its own page.
    pub href: String,
    /// `tg-…9f3c`.
    pub ends_in: String,
    /// `All models`, or their names.
    pub models: String,
    /// `120 / min`, or `none`.
    pub rate: String,
    /// What it spent in the month.
    pub spend: Money,
    /// When it was used last.
    pub last_used: Option<Moment>,
    /// How it is: active, no budget, refused, expired, revoked.
    pub state: Badge,
}

/// Fills `#key-form`.
#[derive(Clone, Debug, Template)]
#[template(path = "keys/key-form.html")]
pub struct KeyForm {
    /// Proves that the form came from here.
    pub csrf_token: String,
    /// Its name.
    pub name: Field,
    /// Its team; empty for none.
    pub team: Field,
    /// Teams that there are, to choose from.
    pub teams: Vec<String>,
    /// The only team that the reader makes keys for.
    pub own_team: Option<String>,
    /// never, 30d, 90d, 365d.
    pub expiries: Vec<SelectOption>,
    /// Dollars; empty for none.
    pub limit: Field,
    /// day or month.
    pub windows: Vec<SelectOption>,
    /// Requests per minute; empty for no limit.
    pub rate: Field,
    /// `block` or `alert`.
    pub action: String,
    /// What is wrong as a whole.
    pub error: Option<String>,
}

/// Its template escapes every value.
impl HtmlSafe for KeyForm {}

/// `/keys/new`: the form as a page of its own.
#[derive(Clone, Debug, Template)]
#[template(path = "keys/form-page.html")]
pub struct KeyFormPage {
    /// The page around it.
    pub layout: Layout,
    /// The form.
    pub form: KeyForm,
}

/// Fills `#key-form` once: the only answer that ever has the secret. Send it with `Cache-Control: no-store`.
#[derive(Clone, Debug, Template)]
#[template(path = "keys/key-created.html")]
pub struct KeyCreated {
    /// The key's name.
    pub name: String,
    /// The secret.
    pub secret: String,
    /// The running address, without a path.
    pub address: String,
    /// How long the secret before goes on, where there was one.
    pub note: Option<String>,
    /// Where to go on.
    pub done_href: String,
    /// The list with the new key, replaced on the way.
    pub list: Option<KeyList>,
}

/// Its template escapes every value.
impl HtmlSafe for KeyCreated {}

/// The answer to the form without script. Send it with `Cache-Control: no-store`.
#[derive(Clone, Debug, Template)]
#[template(path = "keys/created-page.html")]
pub struct KeyCreatedPage {
    /// The page around it.
    pub layout: Layout,
    /// The secret.
    pub created: KeyCreated,
}

/// `/keys/{id}`: one key, and its end.
#[derive(Clone, Debug, Template)]
#[template(path = "keys/page.html")]
pub struct KeyPage {
    /// The page around it.
    pub layout: Layout,
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: Badge,
    /// What it may do, and what it did.
    pub details: Vec<Detail>,
    /// Where its list is.
    pub back: Link,
    /// Its requests.
    pub requests_href: String,
    /// What of it the reader may change; `None` where nothing is, or its end has come.
    pub edit: Option<KeyEditForm>,
    /// A new secret for it.
    pub rotate: Option<RotateForm>,
    /// The end of it; `None` where that has come.
    pub revoke: Option<RevokeForm>,
}

/// What of a key can be changed.
#[derive(Clone, Debug)]
pub struct KeyEditForm {
    /// Where it is sent.
    pub href: String,
    /// Which state of the key the form was made from.
    pub revision: String,
    /// Its name.
    pub name: Field,
    /// The person to ask about it.
    pub owner: Field,
    /// `env=prod, app=web`.
    pub tags: Field,
    /// What only admins change.
    pub limits: Option<KeyLimitsForm>,
    /// What is wrong as a whole.
    pub error: Option<String>,
}

/// What a key may do, and until when.
#[derive(Clone, Debug)]
pub struct KeyLimitsForm {
    /// Its team; empty for none.
    pub team: Field,
    /// Teams that there are, to choose from.
    pub teams: Vec<String>,
    /// A date; empty for never.
    pub expires: Field,
    /// Patterns, one a line; empty for every model.
    pub models: Field,
    /// The families of endpoints, chosen or not.
    pub endpoints: Vec<SelectOption>,
    /// Requests per minute; empty for no limit.
    pub requests: Field,
    /// Tokens per minute; empty for no limit.
    pub tokens: Field,
    /// Calls at once; empty for no limit.
    pub concurrent: Field,
}

/// A new secret, and how long the old one goes on.
#[derive(Clone, Debug)]
pub struct RotateForm {
    /// Where it is sent.
    pub href: String,
    /// none, 1h, 24h, 7d.
    pub overlaps: Vec<SelectOption>,
    /// What is wrong.
    pub error: Option<String>,
}

/// What cannot be undone asks for the name.
#[derive(Clone, Debug)]
pub struct RevokeForm {
    /// Where it is sent.
    pub href: String,
    /// Proves that the form came from here.
    pub csrf_token: String,
    /// The name as it was typed.
    pub confirm: Field,
}
