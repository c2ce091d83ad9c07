//! The dashboard: pages, their fragments, and what they are made of.
//!
//! [`view`] holds one plain struct per page, rendered by a template folder of the same name; [`charts`] computes every
//! position of a drawing, so that templates do no arithmetic; [`mod@format`] prints numbers, money and times; [`assets`]
//! hands out the files under `static/`. These are pure: values in, HTML out. The rest fills them: `session` says who looks
//! and lets in whom the table here names,
//! `pages` reads the stores for each page, `summary` is what the overview and the live `events` share. Templates
//! escape every value; the content security policy allows no inline script and no inline style.

mod answer;
pub mod assets;
pub mod charts;
mod events;
mod form;
pub mod format;
mod pages;
mod session;
mod summary;
#[cfg(test)]
mod tests;
pub mod view;

use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, Resource, Route, guard, web};

pub(super) use session::address;

use super::State;
use answer::with_headers;

use super::guard::Access;

/// Who but admins may read a page, and who may send its form; what isn't here is for admins.
///
/// A handler behind [`Access::Team`] shows what the visitor's own view has, and nothing else.
const OTHERS: &[(&str, Access, Access)] = &[
    ("/", Access::Team, Access::Admin),
    ("/welcome", Access::Everything, Access::Admin),
    ("/logout", Access::Admin, Access::Team),
    ("/prefs/theme", Access::Admin, Access::Team),
    ("/requests", Access::Team, Access::Admin),
    ("/requests/{id}", Access::Team, Access::Admin),
    ("/costs", Access::Team, Access::Admin),
    ("/costs/reconciliation", Access::Everything, Access::Admin),
    ("/cache", Access::Everything, Access::Admin),
    ("/reports", Access::Everything, Access::Admin),
    ("/reports/{period}", Access::Everything, Access::Admin),
    ("/budgets", Access::Everything, Access::Admin),
    ("/providers", Access::Everything, Access::Admin),
    ("/teams", Access::Team, Access::Admin),
    ("/teams/{id}", Access::Team, Access::Admin),
    ("/keys", Access::Team, Access::TeamKeys),
    ("/keys/new", Access::TeamKeys, Access::Admin),
    ("/keys/{id}", Access::Team, Access::TeamKeys),
    ("/keys/{id}/rotate", Access::Admin, Access::TeamKeys),
    ("/keys/{id}/revoke", Access::Admin, Access::TeamKeys),
    ("/alerts", Access::Everything, Access::Admin),
    ("/events", Access::Team, Access::Admin),
];

/// Whom a method of a page is for, by the pattern that its address fits.
fn page_access(pattern: Option<&str>, method: &Method) -> Access {
    let found = OTHERS.iter().find(|(page, ..)| Some(*page) == pattern);
    found.map_or(Access::Admin, |(_, read, send)| if method.is_safe() { *read } else { *send })
}

/// Every page, form and file of the dashboard, and the answer for what is not there at all.
pub fn configure(routes: &mut web::ServiceConfig) {
    routes.app_data(web::Data::new(summary::Shared::default()));
    let mut add = |path: &str, resource: fn(Resource) -> Resource| {
        routes.service(resource(web::resource(path)).wrap(from_fn(with_headers)));
    };
    add("/", |page| page.route(get().to(pages::overview::show)));
    add("/welcome", |page| page.route(get().to(pages::welcome::show)));
    add("/login", |page| page.route(get().to(pages::access::login)).route(web::post().to(pages::access::log_in)));
    add("/logout", |page| page.route(web::post().to(pages::access::log_out)));
    add("/setup", |page| page.route(get().to(pages::access::setup)).route(web::post().to(pages::access::set_up)));
    add("/reset", |page| page.route(get().to(pages::access::reset)).route(web::post().to(pages::access::redeem)));
    add("/prefs/theme", |page| page.route(web::post().to(pages::access::choose_theme)));
    add("/requests", |page| page.route(get().to(pages::requests::show)));
    add("/requests/{id}", |page| page.route(get().to(pages::request::show)));
    add("/requests/{id}/adjust", |page| page.route(web::post().to(pages::request::adjust)));
    add("/costs", |page| page.route(get().to(pages::costs::show)));
    add("/costs/reconciliation", |page| {
        page.route(get().to(pages::reconciliation::show)).route(web::post().to(pages::reconciliation::fetch))
    });
    add("/cache", |page| page.route(get().to(pages::cache::show)));
    add("/cache/clear", |page| page.route(web::post().to(pages::cache::clear)));
    add("/reports", |page| page.route(get().to(pages::reports::list)));
    add("/reports/{period}", |page| page.route(get().to(pages::reports::show)));
    add("/budgets", |page| page.route(get().to(pages::budgets::list)).route(web::post().to(pages::budgets::create)));
    add("/budgets/new", |page| page.route(get().to(pages::budgets::new)));
    add("/budgets/{id}", |page| page.route(get().to(pages::budgets::edit)).route(web::post().to(pages::budgets::save)));
    add("/budgets/{id}/delete", |page| page.route(web::post().to(pages::budgets::delete)));
    add("/providers", |page| {
        page.route(get().to(pages::providers::show)).route(web::post().to(pages::providers::explain))
    });
    add("/providers/{name}/keys/{position}/enable", |page| page.route(web::post().to(pages::provider_keys::enable)));
    add("/keys", |page| page.route(get().to(pages::keys::list)).route(web::post().to(pages::keys::create)));
    add("/keys/new", |page| page.route(get().to(pages::keys::new)));
    add("/keys/{id}", |page| page.route(get().to(pages::keys::show)).route(web::post().to(pages::key_change::save)));
    add("/keys/{id}/rotate", |page| page.route(web::post().to(pages::key_change::rotate)));
    add("/keys/{id}/revoke", |page| page.route(web::post().to(pages::keys::revoke)));
    add("/teams", |page| page.route(get().to(pages::teams::list)).route(web::post().to(pages::teams::create)));
    add("/teams/{id}", |page| page.route(get().to(pages::teams::show)).route(web::post().to(pages::teams::rename)));
    add("/teams/{id}/delete", |page| page.route(web::post().to(pages::teams::delete)));
    add("/people", |page| page.route(get().to(pages::people::list)).route(web::post().to(pages::people::create)));
    add("/people/{name}", |page| page.route(get().to(pages::people::show)).route(web::post().to(pages::people::save)));
    add("/people/{name}/invite", |page| page.route(web::post().to(pages::people::invite)));
    add("/people/{name}/delete", |page| page.route(web::post().to(pages::people::delete)));
    add("/settings", |page| page.route(get().to(pages::settings::show)));
    add("/settings/reload", |page| page.route(web::post().to(pages::settings::reload)));
    add("/alerts", |page| page.route(get().to(pages::alerts::show)));
    add("/alerts/test", |page| page.route(web::post().to(pages::alerts::test)));
    add("/events", |page| page.route(web::get().to(events::stream)));
    add("/static/{path:.*}", |page| page.route(get().to(asset)));
    routes.default_service(web::to(nothing_here).wrap(from_fn(with_headers)));
}

/// Reads a page; HEAD is answered like GET.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// One file under `static/`.
async fn asset(request: HttpRequest, path: web::Path<String>) -> HttpResponse {
    use actix_web::http::header;
    let Some(asset) = assets::find(&path) else { return answer::not_found(session::bare(&request)) };
    let asked = form::Fields::of_query(request.query_string());
    let cache_control = asset.cache_control(asked.given("v"));
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let is_known = known.is_some_and(|tags| asset.is_known_to(tags));
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((header::ETAG, asset.etag)).insert_header((header::CACHE_CONTROL, cache_control));
    if is_known {
        return response.finish();
    }
    response.content_type(asset.content_type).body(asset.bytes.into_owned())
}

/// What is said at an address that nothing else answers.
async fn nothing_here(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    if let Some(misplaced) = super::unserved::misplaced(&request, &state) {
        return misplaced;
    }
    answer::not_found(session::bare(&request))
}
