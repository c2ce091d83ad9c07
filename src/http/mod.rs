//! HTTP: the whole table of routes, and the server around it.

pub mod api;
pub mod dashboard;
mod dialect;
mod explain;
pub mod guard;
pub mod health;
mod inference;
mod models;
pub mod openapi;
pub mod problem;
pub mod sandbox_server;
mod state;
mod unserved;
mod upgrade;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpServer, guard as method, web};

use crate::gateway::UpstreamClient;
use crate::provider::ClientSettings;

pub use state::State;

/// How long a client may take to send its headers.
const HEADERS_TIME_MAX: Duration = Duration::from_secs(10);
/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long a client may leave unread what was sent to it. Calls that stream wait for a shorter time; whole answers, pages and files
/// are out of their hands, and their bytes in memory, until the connection takes them.
#[cfg(target_os = "linux")]
const UNREAD_TIME_MAX: Duration = Duration::from_mins(2);

/// Has the system close connections whose clients read nothing: the server would wait for them for ever. What is accepted has the
/// limit of the socket that it came by.
#[cfg(target_os = "linux")]
fn limit_unread(listener: &TcpListener) -> std::io::Result<()> {
    let millis = u32::try_from(UNREAD_TIME_MAX.as_millis()).unwrap_or(u32::MAX);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(listener, millis)?)
}

/// Makes the server; it runs when it is awaited.
pub fn serve(listener: TcpListener, state: Arc<State>, clients: ClientSettings) -> std::io::Result<Server> {
    let state = web::Data::from(state);
    #[cfg(target_os = "linux")]
    limit_unread(&listener)?;
    let server = HttpServer::new(move || {
        // Each worker is one thread with its own runtime and its own connections: nothing on a call's way changes threads.
        let client = web::Data::new(UpstreamClient::new(clients.clone()));
        App::new().app_data(state.clone()).app_data(client).wrap_fn(upgrade::ignore).configure(routes)
    });
    let server = server
        // A client that has gone is noticed when it goes, and not when there is something to write to it: a call that still
        // waits for its place leaves the queue, and one that may be cancelled is. As at most proxies, one that closes only its
        // sending side counts as gone.
        .h1_allow_half_closed(false)
        .client_request_timeout(HEADERS_TIME_MAX)
        .keep_alive(KEEP_ALIVE)
        // Without it every stream's first text comes twenty milliseconds late.
        .tcp_nodelay(true)
        // The application waits for calls itself, and stops the server when they are done.
        .disable_signals()
        .shutdown_timeout(1)
        .listen(listener)?;
    Ok(server.run())
}

/// Every route.
pub fn routes(routes: &mut web::ServiceConfig) {
    for endpoint in inference::CALLS {
        let call = move |request, body, state, client| inference::call(endpoint, request, body, state, client);
        routes.route(endpoint.path(), web::post().to(call));
    }
    for endpoint in inference::OPAQUE {
        let call = move |request, body, state, client| inference::call(endpoint, request, body, state, client);
        routes.service(
            web::resource([endpoint.path().to_owned(), format!("{}/{{below:.*}}", endpoint.path())])
                .guard(method::Any(method::Get()).or(method::Post()).or(method::Delete()))
                .to(call),
        );
    }
    routes
        .route("/v1/models", web::get().to(models::list))
        .route("/v1/models/{id:.*}", web::get().to(models::one))
        .service(web::scope("/v1").default_service(web::to(unserved::unknown)))
        .configure(api::configure)
        .configure(dashboard::configure);
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn what_a_client_leaves_unread_is_not_kept_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        limit_unread(&listener).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let millis = rustix::net::sockopt::tcp_user_timeout(&accepted).unwrap();
        assert_eq!(Duration::from_millis(millis.into()), UNREAD_TIME_MAX);
    }
}
