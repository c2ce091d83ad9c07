//! Answers: pages with the headers that every one of them has, redirects, and what is said when there is no page.

use std::fmt;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpResponse, ResponseError, web};
use askama::Template;

use super::form::href;
use super::view::{Bare, ErrorPage};

/// Nothing but what this server itself sends, and no inline script or style.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Why there is no page.
#[derive(Debug)]
pub(super) enum PageError {
    /// Nobody is logged in.
    LoginNeeded {
        /// Where to go afterwards.
        next: String,
        /// Whether a part of a page asked.
        is_htmx: bool,
    },
    /// There is no admin yet.
    SetupNeeded {
        /// Whether a part of a page asked.
        is_htmx: bool,
    },
    /// A form without its token or from another site.
    Forbidden,
    /// A page or form that is for other roles.
    NotYours,
    /// Nothing at this address.
    NotFound,
    /// No form at all, or one that is too large.
    BadForm,
    /// The server could not; the log says why.
    Failed,
}

impl PageError {
    /// A failure of the server, told to the log once.
    pub(super) fn failed(error: &dyn fmt::Display) -> Self {
        tracing::error!("a page could not be made: {error}");
        Self::Failed
    }
}

impl fmt::Display for PageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::LoginNeeded { .. } => "nobody is logged in",
            Self::SetupNeeded { .. } => "there is no admin yet",
            Self::Forbidden => "not allowed",
            Self::NotYours => "not for this role",
            Self::NotFound => "no such page",
            Self::BadForm => "no form",
            Self::Failed => "the page could not be made",
        })
    }
}

impl ResponseError for PageError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::LoginNeeded { is_htmx: true, .. } | Self::SetupNeeded { is_htmx: true } => StatusCode::UNAUTHORIZED,
            Self::LoginNeeded { .. } | Self::SetupNeeded { .. } => StatusCode::SEE_OTHER,
            Self::Forbidden | Self::NotYours => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::BadForm => StatusCode::BAD_REQUEST,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let to = |location: &str, is_htmx| if is_htmx { unauthorized(location) } else { see_other(location) };
        match self {
            Self::LoginNeeded { next, is_htmx } => {
                let next = if next == "/" { "" } else { next };
                to(&href("/login", &[("next", next)]), *is_htmx)
            }
            Self::SetupNeeded { is_htmx } => to("/setup", *is_htmx),
            Self::NotFound => not_found(Bare::default()),
            Self::NotYours => page(self.status_code(), &ErrorPage::not_yours(Bare::default())),
            Self::Forbidden | Self::BadForm => page(self.status_code(), &ErrorPage::forbidden(Bare::default())),
            Self::Failed => page(self.status_code(), &ErrorPage::failed(Bare::default(), None)),
        }
    }
}

/// A page or a fragment.
pub(super) fn page(status: StatusCode, template: &impl Template) -> HttpResponse {
    match template.render() {
        Ok(html) => HttpResponse::build(status).content_type("text/html; charset=utf-8").body(html),
        Err(error) => {
            tracing::error!("a template failed: {error}");
            HttpResponse::InternalServerError().content_type("text/plain").body("The page could not be made.")
        }
    }
}

/// A page that went well.
pub(super) fn ok(template: &impl Template) -> HttpResponse {
    page(StatusCode::OK, template)
}

/// A form that went wrong, with its errors.
pub(super) fn unprocessable(template: &impl Template) -> HttpResponse {
    page(StatusCode::UNPROCESSABLE_ENTITY, template)
}

/// There is nothing at this address.
pub(super) fn not_found(bare: Bare) -> HttpResponse {
    page(StatusCode::NOT_FOUND, &ErrorPage::not_found(bare))
}

/// Goes on somewhere else by GET.
pub(super) fn see_other(location: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, location)).finish()
}

fn unauthorized(location: &str) -> HttpResponse {
    HttpResponse::Unauthorized().insert_header((HeaderName::from_static("hx-redirect"), location)).finish()
}

/// Goes on after a form: the whole page does, even where a part of it has sent the form.
pub(super) fn done(location: &str, is_htmx: bool) -> HttpResponse {
    if is_htmx {
        HttpResponse::Ok().insert_header((HeaderName::from_static("hx-redirect"), location)).finish()
    } else {
        see_other(location)
    }
}

/// Runs what blocks for the disk or for long on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PageError> {
    web::block(work).await.map_err(|error| PageError::failed(&error))
}

/// Puts the headers on an answer that every page, fragment and file has.
pub(super) async fn with_headers<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let mut response = next.call(request).await?;
    let headers = response.headers_mut();
    let mut put = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    put(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(header::REFERRER_POLICY, "no-referrer");
    put(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response)
}
