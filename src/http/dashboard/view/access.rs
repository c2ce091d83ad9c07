//! Signing in, making the first admin, choosing a new password.

use askama::Template;

use super::layout::Bare;
use super::parts::Field;

/// `/login`.
#[derive(Clone, Debug, Template)]
#[template(path = "login/page.html")]
pub struct LoginPage {
    /// The page around it.
    pub bare: Bare,
    /// Proves that the form came from here.
    pub csrf_token: String,
    /// The host that the reader sees.
    pub host: String,
    /// Where to go afterwards; a path of this server.
    pub next: String,
    /// The name as it was typed.
    pub username: String,
    /// What went wrong, and what is left to try.
    pub error: Option<String>,
    /// What the reader should know first: signed out, session over, plain http refused.
    pub notice: Option<String>,
}

/// `/setup`, opened by the one-time link.
#[derive(Clone, Debug, Template)]
#[template(path = "setup/page.html")]
pub struct SetupPage {
    /// The page around it.
    pub bare: Bare,
    /// Proves that the form came from here.
    pub csrf_token: String,
    /// The one-time token of the link.
    pub token: String,
    /// The name.
    pub username: Field,
    /// The password; its value is never sent back.
    pub password: Field,
    /// What is wrong as a whole: the link was used, or is too old.
    pub error: Option<String>,
    /// Fewest characters of a password.
    pub password_length_min: usize,
}

/// `/reset`, opened by the one-time link for a new password.
#[derive(Clone, Debug, Template)]
#[template(path = "reset/page.html")]
pub struct ResetPage {
    /// The page around it.
    pub bare: Bare,
    /// Proves that the form came from here.
    pub csrf_token: String,
    /// The one-time token of the link.
    pub token: String,
    /// Whose password it is; `None` where the link does not work, and then there is no form.
    pub user: Option<String>,
    /// True where they have no password yet: somebody has invited them.
    pub is_invited: bool,
    /// The password; its value is never sent back.
    pub password: Field,
    /// What is wrong as a whole: the link was used, or is too old.
    pub error: Option<String>,
    /// Fewest characters of a password.
    pub password_length_min: usize,
}
