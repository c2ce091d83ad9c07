//! The sandbox as a plain upstream: what it answers, sent as a real provider's server would send it.
//!
//! What is said is decided by [`provider::sandbox`](crate::provider::sandbox); here answers are waited for, sent
//! piece by piece, held back for ever, or broken off, as they tell.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;
use futures_util::stream;

use super::upgrade;
use crate::provider::sandbox::{SandboxBody, SandboxRequest, SandboxSettings, answer};

/// The largest body that providers take.
const BODY_BYTES_MAX: usize = 32 << 20;
/// Nothing that runs here is worth waiting for at the stop.
const STOP_SECONDS_MAX: u64 = 1;

/// Answers every request on a listener as the sandbox does, until the server's handle stops it.
pub fn serve(listener: TcpListener, settings: SandboxSettings) -> std::io::Result<actix_web::dev::Server> {
    let settings = Arc::new(settings);
    let server = HttpServer::new(move || {
        let settings = Arc::clone(&settings);
        App::new().app_data(web::PayloadConfig::new(BODY_BYTES_MAX)).wrap_fn(upgrade::ignore).default_service(web::to(
            move |request: HttpRequest, body: web::Bytes| respond(Arc::clone(&settings), request, body),
        ))
    });
    Ok(server.disable_signals().shutdown_timeout(STOP_SECONDS_MAX).listen(listener)?.run())
}

async fn respond(settings: Arc<SandboxSettings>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let headers = headers_of(&request);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let asked = SandboxRequest { method: request.method().as_str(), path, headers: &headers, body: &body };
    let answer = answer(&settings, &asked);
    if answer.hang {
        std::future::pending::<()>().await;
    }
    pause(answer.delay).await;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    for (name, value) in &answer.headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            response.append_header((name, value));
        }
    }
    match answer.body {
        SandboxBody::Whole(body) => response.body(body),
        SandboxBody::Stream { frames, delay, cut } => {
            let end = cut.then(|| Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted)));
            let pieces = frames.into_iter().map(Ok).chain(end).enumerate();
            response.streaming(stream::unfold(pieces, move |mut pieces| async move {
                let (place, piece): (usize, Result<Bytes, std::io::Error>) = pieces.next()?;
                if place > 0 {
                    pause(delay).await;
                }
                Some((piece, pieces))
            }))
        }
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// The server's header type is of an older version of the same library, so each one is taken over.
fn headers_of(request: &HttpRequest) -> http::HeaderMap {
    let pairs = request.headers().iter().filter_map(|(name, value)| {
        let name = http::HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        Some((name, http::HeaderValue::from_bytes(value.as_bytes()).ok()?))
    });
    let mut headers = http::HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, value);
    }
    headers
}
