//! The least that a proxy on this stack can cost: actix-web in front, one reqwest client per worker behind, nothing between.
//!
//! What `benches/proxy/run.py` compares Tollgate with. `bare_proxy LISTEN UPSTREAM`, such as
//! `bare_proxy 127.0.0.1:9001 http://127.0.0.1:9002`.

use std::process::ExitCode;

use actix_web::http::header;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;

/// The largest body that is taken.
const BODY_BYTES_MAX: usize = 16 << 20;

struct Proxy {
    client: reqwest::Client,
    upstream: String,
}

async fn forward(request: HttpRequest, body: Bytes, proxy: web::Data<Proxy>) -> HttpResponse {
    let address = format!("{}{}", proxy.upstream, request.path());
    let mut outgoing = proxy.client.post(address).body(body);
    for name in [header::CONTENT_TYPE, header::AUTHORIZATION] {
        if let Some(value) = request.headers().get(&name) {
            outgoing = outgoing.header(name.as_str(), value.as_bytes());
        }
    }
    let Ok(answer) = outgoing.send().await else { return HttpResponse::BadGateway().finish() };
    let status = actix_web::http::StatusCode::from_u16(answer.status().as_u16()).expect("it is a status already");
    let mut response = HttpResponse::build(status);
    if let Some(value) = answer.headers().get("content-type") {
        response.insert_header((header::CONTENT_TYPE, value.as_bytes()));
    }
    if let Some(length) = answer.content_length() {
        response.no_chunking(length);
    }
    response.streaming(answer.bytes_stream())
}

async fn serve(listen: String, upstream: String) -> std::io::Result<()> {
    let server = HttpServer::new(move || {
        let client = reqwest::Client::builder().tcp_nodelay(true).build().expect("nothing in it can be refused");
        let proxy = web::Data::new(Proxy { client, upstream: upstream.clone() });
        App::new().app_data(proxy).app_data(web::PayloadConfig::new(BODY_BYTES_MAX)).default_service(web::to(forward))
    });
    server.tcp_nodelay(true).bind(listen)?.run().await
}

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (arguments.next(), arguments.next()) else { return ExitCode::from(2) };
    match actix_web::rt::System::new().block_on(serve(listen, upstream)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
