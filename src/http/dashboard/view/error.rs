//! The page for what went wrong: what failed, what is still true, what to do.

use askama::Template;

use super::layout::Bare;
use super::parts::Link;

/// An error as a page.
#[derive(Clone, Debug, Template)]
#[template(path = "error/page.html")]
pub struct ErrorPage {
    /// The page around it.
    pub bare: Bare,
    /// The status, small.
    pub status: u16,
    /// What failed.
    pub what: String,
    /// What is still true, and what to do.
    pub still_true: String,
    /// The way out.
    pub action: Link,
    /// To find it in the log.
    pub request_id: Option<String>,
}

impl ErrorPage {
    /// There is no such page.
    pub fn not_found(bare: Bare) -> Self {
        Self {
            bare,
            status: 404,
            what: "There is no page at this address".to_owned(),
            still_true: "A link may be old, or a request may have been deleted by its retention. Nothing was changed."
                .to_owned(),
            action: Link::new("Go to the overview", "/"),
            request_id: None,
        }
    }

    /// It may not be done from here.
    pub fn forbidden(bare: Bare) -> Self {
        Self {
            bare,
            status: 403,
            what: "This was not allowed".to_owned(),
            still_true: "The form was open for too long, or came from another site. Nothing was changed. \
                         Open the page again and send it once more."
                .to_owned(),
            action: Link::new("Go to the overview", "/"),
            request_id: None,
        }
    }

    /// It is for other roles.
    pub fn not_yours(bare: Bare) -> Self {
        Self {
            bare,
            status: 403,
            what: "This is not for your role".to_owned(),
            still_true: "Ask an admin to do it, or for another role.".to_owned(),
            action: Link::new("Go back to your pages", "/"),
            request_id: None,
        }
    }

    /// The server could not do it.
    pub fn failed(bare: Bare, request_id: Option<String>) -> Self {
        Self {
            bare,
            status: 500,
            what: "The server could not make this page".to_owned(),
            still_true: "Calls go on being served and booked. The log of the server says why; try again in a moment."
                .to_owned(),
            action: Link::new("Go to the overview", "/"),
            request_id,
        }
    }
}
