//! How late the chunks of many streams come through a proxy: a provider and its clients in one process, with one clock.
//!
//! `stream_probe UPSTREAM PROXY KEY MODEL STREAMS CHUNKS INTERVAL_MS`: listens on UPSTREAM as the provider, opens so many streams at
//! PROXY, and prints one line of JSON: how many chunks came, and microseconds from their writing to their arrival. While
//! all streams are open it prints `open` on a line of its own.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Copy)]
struct Pace {
    began: Instant,
    chunks: usize,
    interval: Duration,
}

/// Reads a request to the end of its body.
async fn read_request(connection: &mut TcpStream) -> Result<bool, Failure> {
    let mut got = Vec::new();
    loop {
        if connection.read_buf(&mut got).await? == 0 {
            return Ok(false);
        }
        let text = String::from_utf8_lossy(&got).to_ascii_lowercase();
        let Some(end) = text.find("\r\n\r\n") else { continue };
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        if got.len() >= end + 4 + length.unwrap_or(0) {
            return Ok(true);
        }
    }
}

async fn write_chunk(connection: &mut TcpStream, record: &str) -> Result<(), Failure> {
    connection.write_all(format!("{:x}\r\n{record}\r\n", record.len()).as_bytes()).await?;
    Ok(())
}

async fn provide(mut connection: TcpStream, pace: Pace) -> Result<(), Failure> {
    connection.set_nodelay(true)?;
    while read_request(&mut connection).await? {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        connection.write_all(head.as_bytes()).await?;
        let mut ticks = tokio::time::interval(pace.interval);
        for _ in 0..pace.chunks {
            ticks.tick().await;
            let now = pace.began.elapsed().as_micros();
            let choice = format!(r#"{{"index":0,"delta":{{"content":"sent@{now};"}},"finish_reason":null}}"#);
            write_chunk(&mut connection, &format!("data: {{\"choices\":[{choice}],\"usage\":null}}\n\n")).await?;
        }
        let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":9}}"#;
        write_chunk(&mut connection, &format!("data: {end}\n\ndata: [DONE]\n\n")).await?;
        connection.write_all(b"0\r\n\r\n").await?;
    }
    Ok(())
}

/// Opens one stream, and notes how late each of its chunks is.
async fn consume(
    request: String,
    proxy: Arc<String>,
    pace: Pace,
    open: Arc<AtomicUsize>,
) -> Result<Vec<u128>, Failure> {
    let mut connection = TcpStream::connect(&*proxy).await?;
    connection.set_nodelay(true)?;
    connection.write_all(request.as_bytes()).await?;
    let (mut got, mut late) = (Vec::new(), Vec::with_capacity(pace.chunks));
    loop {
        if connection.read_buf(&mut got).await? == 0 {
            return Err("the stream broke off".into());
        }
        let now = pace.began.elapsed().as_micros();
        let text = String::from_utf8_lossy(&got);
        let mut rest = &*text;
        while let Some((_, behind)) = rest.split_once("sent@") {
            let Some((micros, behind)) = behind.split_once(';') else { break };
            if late.is_empty() {
                open.fetch_add(1, Ordering::Relaxed);
            }
            late.push(now.saturating_sub(micros.parse()?));
            rest = behind;
        }
        if rest.contains("[DONE]") {
            return Ok(late);
        }
        let kept = rest.len();
        got.drain(..got.len() - kept);
    }
}

async fn probe(arguments: &[String]) -> Result<String, Failure> {
    let [upstream, proxy, key, model, streams, chunks, interval] = arguments else {
        return Err("seven arguments".into());
    };
    let (streams, chunks) = (streams.parse::<usize>()?, chunks.parse()?);
    let pace = Pace { began: Instant::now(), chunks, interval: Duration::from_millis(interval.parse()?) };
    let listener = TcpListener::bind(upstream).await?;
    let providing = async {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((connection, _)) = listener.accept().await {
            connections.spawn(provide(connection, pace));
        }
    };
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: probe\r\ncontent-type: application/json\r\nauthorization: Bearer {key}"
    );
    // Each stream asks for something else: those that ask for the same would share one answer.
    let request = |number| {
        let body = format!(
            r#"{{"model":"{model}","stream":true,"max_tokens":100,"messages":[{{"role":"user","content":"{number:05}"}}]}}"#
        );
        format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let (proxy, open) = (Arc::new(proxy.clone()), Arc::new(AtomicUsize::new(0)));
    let consuming = async {
        let mut consumers = tokio::task::JoinSet::new();
        for number in 0..streams {
            consumers.spawn(consume(request(number), Arc::clone(&proxy), pace, Arc::clone(&open)));
            if number % 50 == 49 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        while open.load(Ordering::Relaxed) < streams {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        say("open");
        let mut late: Vec<u128> = Vec::new();
        while let Some(consumed) = consumers.join_next().await {
            late.extend(consumed??);
        }
        late.sort_unstable();
        let at = |percent: usize| late[(late.len() - 1) * percent / 100];
        Ok(format!(r#"{{"chunks":{},"p50_us":{},"p99_us":{}}}"#, late.len(), at(50), at(99)))
    };
    tokio::select! {
        said = consuming => said,
        () = providing => Err("the provider has stopped".into()),
    }
}

fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    match runtime.block_on(probe(&arguments)) {
        Ok(said) => say(&said),
        Err(failure) => {
            say(&format!("failed: {failure}"));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
