//! A provider whose streams come piece by piece: each chunk is a write of its own, as a model's tokens are.
//!
//! What `benches/proxy/run.py` measures streams against. `paced_upstream LISTEN CHUNKS INTERVAL_MS`.

use std::process::ExitCode;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use bytes::Bytes;
use futures_util::stream;

struct Pace {
    records: Vec<Bytes>,
    interval: Duration,
}

fn record(rest: &str) -> String {
    format!(
        r#"data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1795330000,"model":"gpt-4o-mini-2024-07-18",{rest}}}"#
    ) + "\n\n"
}

fn records(chunks: usize) -> Vec<Bytes> {
    let mut records: Vec<String> = (0..chunks)
        .map(|_| {
            record(
                r#""choices":[{"index":0,"delta":{"content":" a few words of text"},"logprobs":null,"finish_reason":null}],"usage":null"#,
            )
        })
        .collect();
    let end = record(r#""choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null"#)
        + &record(&format!(
            r#""choices":[],"usage":{{"prompt_tokens":250,"completion_tokens":{},"total_tokens":{}}}"#,
            chunks * 5,
            chunks * 5 + 250
        ))
        + "data: [DONE]\n\n";
    records.last_mut().expect("there is at least one chunk").push_str(&end);
    records.into_iter().map(Bytes::from).collect()
}

async fn answer(_body: Bytes, pace: web::Data<Pace>) -> HttpResponse {
    let pieces = stream::unfold((pace, 0), |(pace, at)| async move {
        let piece = pace.records.get(at)?.clone();
        if at > 0 {
            tokio::time::sleep(pace.interval).await;
        }
        Some((Ok::<_, actix_web::Error>(piece), (pace, at + 1)))
    });
    HttpResponse::Ok().content_type("text/event-stream").streaming(pieces)
}

async fn serve(listen: String, chunks: usize, interval: Duration) -> std::io::Result<()> {
    let pace = web::Data::new(Pace { records: records(chunks.max(1)), interval });
    let server = HttpServer::new(move || App::new().app_data(pace.clone()).default_service(web::to(answer)));
    server.tcp_nodelay(true).bind(listen)?.run().await
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, chunks, interval] = arguments.as_slice() else { return ExitCode::from(2) };
    let (Ok(chunks), Ok(interval)) = (chunks.parse(), interval.parse()) else { return ExitCode::from(2) };
    match actix_web::rt::System::new().block_on(serve(listen.clone(), chunks, Duration::from_millis(interval))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
