//! The dashboard: pages, their fragments, and what they are made of.
//!
//! [`view`] holds one plain struct per page, rendered by a template folder of the same name; [`charts`] computes every
//! position of a drawing, so that templates do no arithmetic; [`mod@format`] prints numbers, money and times; [`assets`]
//! hands out the files under `static/`. These are pure: values in, HTML out. The rest fills them: `session` says who looks,
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

use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, Resource, Route, guard, web};

pub(super) use session::address;

use super::State;
use answer::with_headers;

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
    add("/costs", |page| page.route(get().to(pages::costs::show)));
    add("/cache", |page| page.route(get().to(pages::cache::show)));
    add("/cache/clear", |page| page.route(web::post().to(pages::cache::clear)));
    add("/reports", |page| page.route(get().to(pages::reports::list)));
    add("/reports/{period}", |page| page.route(get().to(pages::reports::show)));
    add("/budgets", |page| page.route(get().to(pages::budgets::list)).route(web::post().to(pages::budgets::create)));
    add("/budgets/new", |page| page.route(get().to(pages::budgets::new)));
    add("/budgets/{id}", |page| page.route(get().to(pages::budgets::edit)).route(web::post().to(pages::budgets::save)));
    add("/budgets/{id}/delete", |page| page.route(web::post().to(pages::budgets::delete)));
    add("/keys", |page| page.route(get().to(pages::keys::list)).route(web::post().to(pages::keys::create)));
    add("/keys/new", |page| page.route(get().to(pages::keys::new)));
    add("/keys/{id}", |page| page.route(get().to(pages::keys::show)));
    add("/keys/{id}/revoke", |page| page.route(web::post().to(pages::keys::revoke)));
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
