//! The management API: one table of routes with whom each is for, and one file per family of them.
//!
//! [`ROUTES`] is the whole of it: [`configure`] registers what it lists and puts the guard in front, the OpenAPI document is
//! made from it, and a path under `/api` that it lacks is refused. Handlers read parameters, ask the layers below on a
//! blocking task, and write what they answer; they decide nothing about money.

mod adjust;
mod admin;
mod alerts;
mod budgets;
mod cache;
mod content;
mod costs;
mod decision;
mod entry;
mod export;
mod field;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod imports;
mod input;
mod keys;
mod metrics;
mod providers;
mod reconciliation;
mod reports;
mod requests;
mod rerate;
mod routes;
mod routing;
mod status;
mod teams;
#[cfg(test)]
mod tests;
mod users;
mod verify;
mod warm;

use std::future::ready;

use actix_web::body::BoxBody;
use actix_web::dev::ServiceRequest;
use actix_web::http::{Method, header};
use actix_web::middleware::{Next, from_fn};
use actix_web::{HttpRequest, HttpResponse, Resource, Route, guard, web};
use serde::Serialize;

use super::guard::{Access, authorize, not_found};
use super::problem::{Code, Problem};

pub(super) use adjust::adjust_call;
pub use export::{Export, Shape};
pub use imports::{IMPORTED_KEY_PREFIX, PAST_LINES_MAX, PastCallJson, PastError, TakenInJson, book_past};
pub use input::instant;
pub use rerate::RerateJson;
pub use routes::ROUTES;
pub use verify::VerifyJson;

/// A method of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Reads; answers HEAD too.
    Get,
    /// Makes.
    Post,
    /// Puts on new terms.
    Put,
    /// Changes parts.
    Patch,
    /// Takes away.
    Delete,
}

impl Verb {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    fn takes(self, method: &Method) -> bool {
        self.as_str() == method.as_str() || (self == Self::Get && method == Method::HEAD)
    }
}

/// One route: who may call it, what it takes and answers, who handles it.
pub struct RouteSpec {
    /// Its method.
    pub verb: Verb,
    /// Its path, with names in braces for variable parts.
    pub path: &'static str,
    /// Whom it is for.
    pub access: Access,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// The query parameters that it knows.
    pub parameters: &'static [&'static str],
    /// The schema of the body that it takes.
    pub body: Option<&'static str>,
    /// The media type of the body.
    pub body_media: &'static str,
    /// The status of its good answer.
    pub status: u16,
    /// What the good answer is.
    pub answer: Answer,
    /// Who handles it.
    pub handler: fn() -> Route,
}

/// What a good answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    Nothing,
    /// JSON of a schema.
    Json(&'static str),
    /// Text of another kind.
    Text(&'static str),
    /// Text of another kind, or JSON of a schema for who accepts that.
    TextOrJson(&'static str, &'static str),
}

/// Registers every route of [`ROUTES`], `/health`, `/ready` and `/metrics` among them, and refuses every other path under
/// `/api`: to be called after whoever else has paths there.
pub fn configure(cfg: &mut web::ServiceConfig) {
    let mut paths: Vec<&'static str> = ROUTES.iter().map(|route| route.path).collect();
    paths.sort_unstable();
    paths.dedup();
    for path in paths {
        let mut resource = web::resource(path);
        for route in ROUTES.iter().filter(|route| route.path == path) {
            let verb = route.verb;
            let handled = (route.handler)().guard(guard::fn_guard(move |context| verb.takes(&context.head().method)));
            resource = resource.route(handled);
        }
        let refuse = move |request: HttpRequest| ready(method_not_allowed(path, &request));
        register(cfg, path, resource.default_service(web::to(refuse)));
    }
    register(cfg, "", web::resource(["/api", "/api/{unknown:.*}"]).default_service(web::to(not_found)));
}

fn register(cfg: &mut web::ServiceConfig, path: &'static str, resource: Resource) {
    let guarded = move |request: ServiceRequest, next: Next<BoxBody>| {
        authorize(move |method| access_of(path, method), request, next)
    };
    cfg.service(resource.wrap(from_fn(guarded)));
}

/// Whom a method of a path is for; what isn't in the table is for admins.
fn access_of(path: &str, method: &Method) -> Access {
    let found = ROUTES.iter().find(|route| route.path == path && route.verb.takes(method));
    found.map_or(Access::Admin, |route| route.access)
}

fn method_not_allowed(path: &str, request: &HttpRequest) -> HttpResponse {
    let mut allowed = Vec::new();
    for route in ROUTES.iter().filter(|route| route.path == path) {
        allowed.push(route.verb.as_str());
        if route.verb == Verb::Get {
            allowed.push("HEAD");
        }
    }
    let allowed = allowed.join(", ");
    let method: String = request.method().as_str().chars().take(20).collect();
    let mut response =
        Problem::new(Code::MethodNotAllowed, format!("{path} doesn't take {method}: use {allowed}")).response();
    if let Ok(allowed) = allowed.parse() {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// A list as every route answers one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Items<T> {
    items: Vec<T>,
    /// Where the next page begins; null at the end.
    next_cursor: Option<String>,
}

/// Runs what blocks for the disk or for long on a thread of its own.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Problem>
where
    T: Send + 'static,
    E: Send + 'static,
    Problem: From<E>,
{
    match web::block(work).await {
        Ok(result) => result.map_err(Problem::from),
        Err(error) => Err(Problem::internal(&error)),
    }
}
