//! Traces for a collector: spans gathered beside the calls and sent in batches, as OTLP over HTTP.
//!
//! Nothing here holds a call up: a span that finds no room is dropped and counted. A batch that the collector can't take now is
//! tried again for a while (the statuses are OTLP's own: 429, 502, 503, 504); what it refuses is dropped, because it would
//! refuse it again. What spans say is decided by whoever makes them; names stand in [`super::names`].

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Written, Status, span};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::wording::first_cause;

/// Spans that may wait: some seconds of a busy server.
const QUEUE_LEN: usize = 8_192;
/// Spans of one batch, as the specification's batch processor has them.
const BATCH_MAX: usize = 512;
/// How long a batch is gathered, likewise.
const GATHER_TIME: Duration = Duration::from_secs(5);
/// How long a batch is tried again before it is dropped: spans that wait behind it would be, otherwise.
const RETRY_TIME_MAX: Duration = Duration::from_mins(1);
const RETRY_PAUSE_FIRST: Duration = Duration::from_millis(500);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a stop waits for the last batch.
const LAST_BATCH_TIME_MAX: Duration = Duration::from_secs(3);

/// One stretch of work.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace: u128,
    /// Its own id.
    pub id: u64,
    /// The span around it.
    pub parent: Option<u64>,
    /// What it is.
    pub name: String,
    /// Whose work it is.
    pub kind: SpanKind,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Whose work a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Ours, for a client.
    Server,
    /// A provider's, for us.
    Client,
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A measure.
    Measure(f64),
    /// Yes or no.
    Flag(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// Where spans are sent.
#[derive(Clone, Debug)]
pub struct Collector {
    /// The client that posts them.
    pub client: reqwest::Client,
    /// The collector's address, without `/v1/traces`.
    pub endpoint: url::Url,
    /// Headers that it wants, such as one with a key.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// The version of this program.
    pub version: &'static str,
    /// Which of several instances this is.
    pub instance: String,
}

/// Takes spans in.
#[derive(Clone, Debug)]
pub struct Traces {
    queue: mpsc::Sender<Span>,
}

impl Traces {
    /// A queue, and the task that empties it into a collector until the queue is dropped. Once the process stops, nothing is
    /// tried again.
    pub fn to(collector: Collector, stopping: CancellationToken) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, spans) = mpsc::channel(QUEUE_LEN);
        (Self { queue }, Sending { collector, spans, is_failing: false }.run(stopping))
    }

    /// Hands a span over; `false` where there was no room.
    pub fn take(&self, span: Span) -> bool {
        self.queue.try_send(span).is_ok()
    }
}

struct Sending {
    collector: Collector,
    spans: mpsc::Receiver<Span>,
    /// So that a collector that is away is told of once, and its return too.
    is_failing: bool,
}

/// What came of sending a batch.
enum Sent {
    Taken,
    /// Not now.
    Later(String, Option<Duration>),
    Refused(String),
}

impl Sending {
    async fn run(mut self, stopping: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            let ended = self.gather(&mut batch).await;
            if !batch.is_empty() {
                let spans = batch.len();
                let request = self.collector.written(std::mem::take(&mut batch));
                if ended {
                    let sent = tokio::time::timeout(LAST_BATCH_TIME_MAX, self.collector.send(request)).await;
                    if !matches!(sent, Ok(Sent::Taken)) {
                        tracing::warn!("the last {spans} spans are lost: the collector has not taken them");
                    }
                } else {
                    self.deliver(request, spans, &stopping).await;
                }
            }
            if ended {
                return;
            }
        }
    }

    /// Waits for a batch to be full or old enough; true when no more spans will come.
    async fn gather(&mut self, batch: &mut Vec<Span>) -> bool {
        let mut until: Option<Instant> = None;
        while batch.len() < BATCH_MAX {
            let old_enough = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                span = self.spans.recv() => match span {
                    Some(span) => {
                        batch.push(span);
                        until = until.or_else(|| Instant::now().checked_add(GATHER_TIME));
                    }
                    None => return true,
                },
                () = old_enough => return false,
            }
        }
        false
    }

    async fn deliver(&mut self, request: Vec<u8>, spans: usize, stopping: &CancellationToken) {
        let began = Instant::now();
        let mut pause = RETRY_PAUSE_FIRST;
        loop {
            let (why, wait) = match self.collector.send(request.clone()).await {
                Sent::Taken => {
                    if std::mem::take(&mut self.is_failing) {
                        tracing::info!("the collector takes traces again");
                    }
                    return;
                }
                Sent::Refused(why) => {
                    tracing::warn!("the collector refuses {spans} spans, which are lost: {why}");
                    return;
                }
                Sent::Later(why, wait) => (why, wait),
            };
            let wait = wait.unwrap_or(pause).min(RETRY_TIME_MAX);
            if began.elapsed() + wait > RETRY_TIME_MAX || stopping.is_cancelled() {
                tracing::warn!("{spans} spans are lost, the collector can't take them: {why}");
                return;
            }
            if !std::mem::replace(&mut self.is_failing, true) {
                tracing::warn!("the collector can't take traces, trying again: {why}");
            }
            tokio::select! {
                () = stopping.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }
}

impl Collector {
    /// Spans as they go over the wire.
    fn written(&self, spans: Vec<Span>) -> Vec<u8> {
        let scope = InstrumentationScope {
            name: "tollgate".to_owned(),
            version: self.version.to_owned(),
            ..Default::default()
        };
        let text = |key: &str, value: &str| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }),
            ..Default::default()
        };
        let resource = Resource {
            attributes: vec![
                text("service.name", "tollgate"),
                text("service.version", self.version),
                text("service.instance.id", &self.instance),
            ],
            ..Default::default()
        };
        let spans = spans.into_iter().map(written).collect();
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
        let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, schema_url: String::new() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    async fn send(&self, request: Vec<u8>) -> Sent {
        let url = format!("{}/v1/traces", self.endpoint.as_str().trim_end_matches('/'));
        let mut post = self.client.post(url).header(http::header::CONTENT_TYPE, "application/x-protobuf");
        for (name, value) in &self.headers {
            post = post.header(name, value);
        }
        let answer = match post.body(request).send().await {
            Ok(answer) => answer,
            Err(error) => return Sent::Later(first_cause(&error.without_url()), None),
        };
        let status = answer.status();
        let wait = answer.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        match status.as_u16() {
            200..=299 => Sent::Taken,
            429 | 502..=504 => Sent::Later(format!("it answers {status}"), wait.map(Duration::from_secs)),
            _ => Sent::Refused(format!("it answers {status}")),
        }
    }
}

fn written(span: Span) -> Written {
    let (code, message) = match span.error {
        Some(error) => (StatusCode::Error, error),
        None => (StatusCode::Unset, String::new()),
    };
    let kind = match span.kind {
        SpanKind::Server => span::SpanKind::Server,
        SpanKind::Client => span::SpanKind::Client,
    };
    Written {
        trace_id: span.trace.to_be_bytes().to_vec(),
        span_id: span.id.to_be_bytes().to_vec(),
        parent_span_id: span.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(span.start),
        end_time_unix_nano: nanoseconds(span.end),
        attributes: span.attributes.into_iter().map(attribute).collect(),
        status: Some(Status { message, code: code.into() }),
        ..Default::default()
    }
}

fn attribute((key, value): (&'static str, Value)) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Number(number) => any_value::Value::IntValue(number),
        Value::Measure(measure) => any_value::Value::DoubleValue(measure),
        Value::Flag(flag) => any_value::Value::BoolValue(flag),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn nanoseconds(instant: Timestamp) -> u64 {
    let since = SystemTime::from(instant).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
