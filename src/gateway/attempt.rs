//! One attempt at one deployment, up to the point where its answer is committed to the client.

use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::content::Excerpt;
use crate::dialect::sse::RecordSplitter;
use crate::domain::Dialect;
use crate::ledger::Hold;
use crate::provider::{
    Body, Decoder, Meaning, Progress, ProviderError, Sent, Shown, TimeLimit, Unneeded, UpstreamRequest, Whole, decoder,
    retry_after,
};
use crate::routing::Candidate;
use crate::runtime::Clock;

use super::answer::UpstreamClient;

/// Records before the first content that are held back at most; beyond, the answer is committed as it is.
const HELD_BYTES_MAX: usize = 64 << 10;

/// How long the body of an error is waited for: it comes with its head, and whoever falls back shall not wait for one that doesn't.
const ERROR_BODY_TIME_MAX: Duration = Duration::from_millis(500);

/// What one attempt is made with.
pub(super) struct Try<'a> {
    pub(super) client: &'a UpstreamClient,
    pub(super) hold: &'a Hold,
    pub(super) candidate: &'a Candidate,
    pub(super) request: UpstreamRequest,
    pub(super) stream: bool,
    /// Whether a stream is gathered on its way, because it may be kept.
    pub(super) keeps_answer: bool,
    /// When the whole call has to be over.
    pub(super) deadline: Instant,
    /// The limit behind it, and how long that is.
    pub(super) total: (TimeLimit, Duration),
    /// What says when now is, to a provider that doesn't.
    pub(super) clock: Clock,
    /// How it is told that nobody needs its answer any more.
    pub(super) stop: &'a Stop,
}

/// Ends an attempt before its answer has begun, and knows how far it had got.
#[derive(Debug, Default)]
pub(super) struct Stop {
    told: CancellationToken,
    why: OnceLock<Unneeded>,
    sent: Sent,
}

impl Stop {
    /// Ends the attempt: its connection is closed.
    pub(super) fn tell(&self, why: Unneeded) {
        let _ = self.why.set(why);
        self.told.cancel();
    }

    /// Returns when it has been told.
    async fn heard(&self) -> Unneeded {
        self.told.cancelled().await;
        *self.why.get().expect("the reason is set before anybody hears")
    }
}

/// An answer that will go out.
pub(super) enum Begun {
    /// All of it.
    Whole(Box<WholeBegun>),
    /// A stream whose first content has come.
    Stream(Box<Flow>),
}

/// A whole answer.
pub(super) struct WholeBegun {
    pub(super) bytes: Bytes,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) whole: Whole,
    pub(super) upstream_request_id: Option<Arc<str>>,
}

/// A stream on its way.
pub(super) struct Flow {
    pub(super) body: Body,
    pub(super) splitter: RecordSplitter,
    pub(super) progress: Progress,
    pub(super) decoder: &'static dyn Decoder,
    /// Whole records up to and including the first content, with what they mean.
    pub(super) held: Vec<(Bytes, Meaning)>,
    pub(super) first_content: Instant,
    pub(super) upstream_request_id: Option<Arc<str>>,
    /// The beginning of what came, where it may be kept.
    pub(super) kept: Option<Excerpt>,
}

impl Flow {
    /// Takes in the next piece from upstream.
    pub(super) fn take_in(&mut self, chunk: &[u8]) {
        if let Some(kept) = &mut self.kept {
            kept.push(chunk);
        }
        self.splitter.push(chunk);
    }
}

/// An attempt that failed before anything went out.
pub(super) struct Failed {
    pub(super) error: ProviderError,
    /// What had come of a stream.
    pub(super) progress: Option<Box<Progress>>,
    pub(super) upstream_request_id: Option<Arc<str>>,
}

impl From<ProviderError> for Failed {
    fn from(error: ProviderError) -> Self {
        Self { error, progress: None, upstream_request_id: None }
    }
}

impl Try<'_> {
    fn provider(&self) -> String {
        self.candidate.upstream.name().to_string()
    }

    /// Waits for at most the shorter of a limit and what is left of the call. What it waits for stays where it is pinned.
    async fn within<T>(
        &self,
        limit: TimeLimit,
        after: Duration,
        waiting: Pin<&mut impl Future<Output = Result<T, ProviderError>>>,
    ) -> Result<T, ProviderError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let allowed = left.min(after);
        let (limit, after) = if left < after { self.total } else { (limit, after) };
        let expired = |_| ProviderError::Timeout { provider: self.provider(), limit, after };
        tokio::select! {
            // What has come counts, even if nobody needs it any more.
            biased;
            done = timeout(allowed, waiting) => done.map_err(expired)?,
            why = self.stop.heard() => {
                Err(ProviderError::GivenUp { provider: self.provider(), why, sent: self.stop.sent.is_set() })
            }
        }
    }

    /// Sends the request and reads until the answer may be committed; what came of it is told to the credential that it was made with.
    pub(super) async fn run(&self) -> Result<Begun, Failed> {
        let credential = self.request.credential.clone();
        let begun = self.begin().await;
        if let Some(credential) = credential {
            let shown = begun.as_ref().map_or_else(|failed| failed.error.shown(), |_| Shown::Accepted);
            credential.tell(shown, Instant::now());
        }
        begun
    }

    async fn begin(&self) -> Result<Begun, Failed> {
        let timeouts = *self.candidate.upstream.timeouts();
        let first_by = Instant::now() + timeouts.first_token;
        // Without a stream, the head of an answer comes only when all of it has been written.
        let head_limit = if self.stream { timeouts.first_token } else { timeouts.total };
        let sent = &self.stop.sent;
        let request = self.request.clone();
        let send = self.client.send(self.hold, &self.candidate.upstream, request, Some(sent));
        let mut response = match self.within(TimeLimit::FirstToken, head_limit, pin!(send)).await {
            Err(ProviderError::Timeout { provider, limit: TimeLimit::Total | TimeLimit::Call, after })
                if !sent.is_set() =>
            {
                return Err(ProviderError::Timeout { provider, limit: TimeLimit::Unsent, after }.into());
            }
            response => response?,
        };
        let upstream_request_id = ["x-request-id", "request-id"]
            .iter()
            .find_map(|name| response.headers.get(*name)?.to_str().ok())
            .filter(|id| id.len() <= 128)
            .map(Arc::from);
        let dialect = self.request.endpoint.dialect();
        let decoder = decoder(self.request.endpoint);
        let failed = |error, progress| Failed { error, progress, upstream_request_id: upstream_request_id.clone() };
        if (300..400).contains(&response.status) {
            let location = response.headers.get(http::header::LOCATION).and_then(|value| value.to_str().ok());
            return Err(failed(ProviderError::redirect(self.provider(), response.status, location), None));
        }
        if !(200..300).contains(&response.status) {
            let beginning = async { Ok(response.body.beginning(ERROR_BODY_TIME_MAX).await) };
            let body = self.within(TimeLimit::Idle, timeouts.idle, pin!(beginning)).await.unwrap_or_default();
            let retry_after = retry_after(&response.headers, self.clock.now());
            let error = decoder.error(&self.provider(), response.status, retry_after, &body);
            let error = error.not_found_at(&self.candidate.upstream.path(&self.request));
            return Err(failed(error, None));
        }
        let content_type = response.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_stream = content_type.is_some_and(|value| value.starts_with("text/event-stream"));
        if !self.stream {
            let read = pin!(response.body.whole(timeouts.idle));
            let bytes =
                self.within(TimeLimit::Total, timeouts.total, read).await.map_err(|error| failed(error, None))?;
            let whole = decoder.whole(&self.provider(), &bytes).map_err(|error| failed(error, None))?;
            let content_type = response.headers.remove(http::header::CONTENT_TYPE);
            return Ok(Begun::Whole(Box::new(WholeBegun { bytes, content_type, whole, upstream_request_id })));
        }
        if !is_stream {
            let shown = content_type.unwrap_or("no content type").chars().take(100).collect::<String>();
            let detail = format!("a stream was asked for and {shown} came");
            return Err(failed(ProviderError::Garbage { provider: self.provider(), detail }, None));
        }
        let mut flow = Flow {
            body: response.body,
            splitter: RecordSplitter::default(),
            progress: Progress::new(dialect),
            decoder,
            held: Vec::new(),
            first_content: Instant::now(),
            upstream_request_id: upstream_request_id.clone(),
            kept: self.keeps_answer.then(Excerpt::default),
        };
        match self.until_content(&mut flow, first_by, dialect).await {
            Ok(()) => {
                flow.first_content = Instant::now();
                Ok(Begun::Stream(Box::new(flow)))
            }
            Err(error) => Err(Failed { error, progress: Some(Box::new(flow.progress)), upstream_request_id }),
        }
    }

    /// Reads records until one has content, or the stream ends, or too much would be held back.
    async fn until_content(&self, flow: &mut Flow, first_by: Instant, dialect: Dialect) -> Result<(), ProviderError> {
        let provider = self.provider();
        let mut held_bytes = 0;
        loop {
            let mut committed = false;
            while let Some(record) = next_record(&mut flow.splitter, &provider)? {
                held_bytes += record.len();
                let meaning = flow.decoder.record(&provider, &record, &mut flow.progress);
                match &meaning {
                    Meaning::Error(error) => return Err(error.clone()),
                    Meaning::Content | Meaning::End => committed = true,
                    Meaning::Prelude | Meaning::Other | Meaning::UsageOnly => {}
                }
                flow.held.push((record, meaning));
            }
            if committed || held_bytes > HELD_BYTES_MAX {
                return Ok(());
            }
            let left = first_by.saturating_duration_since(Instant::now());
            let chunk = match self.within(TimeLimit::FirstToken, left, pin!(flow.body.chunk())).await {
                Err(ProviderError::Timeout { provider, limit: TimeLimit::FirstToken, .. }) => {
                    let after = self.candidate.upstream.timeouts().first_token;
                    return Err(ProviderError::Timeout { provider, limit: TimeLimit::FirstToken, after });
                }
                chunk => chunk?,
            };
            match chunk {
                Some(chunk) => flow.take_in(&chunk),
                // An answer without any content, but with its end, is an answer: some models say nothing.
                None if flow.progress.finished && dialect == Dialect::OpenAi => return Ok(()),
                None => {
                    let detail = "the stream ended before its end marker".to_owned();
                    return Err(ProviderError::BrokeOff { provider, detail });
                }
            }
        }
    }
}

/// The next whole record; one that never ends is no answer.
pub(super) fn next_record(splitter: &mut RecordSplitter, provider: &str) -> Result<Option<Bytes>, ProviderError> {
    splitter
        .next_record()
        .map_err(|error| ProviderError::Garbage { provider: provider.to_owned(), detail: error.to_string() })
}
