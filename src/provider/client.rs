//! The way out: one HTTP client a worker and provider, and the sandbox without a network.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::error::Error as _;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use crate::domain::ProviderName;

use super::error::{ProviderError, TimeLimit};
use super::sandbox::{self, SandboxBody, SandboxRequest};
use super::upstream::{Upstream, UpstreamRequest};

/// The largest answer that is taken as a whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The largest error body that is read: no dialect's is longer.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Connections kept open to a provider while nothing uses them.
const IDLE_CONNECTIONS_MAX: usize = 64;

/// How connections are made.
#[derive(Clone, Debug, Default)]
pub struct ClientSettings {
    /// A file of further certificate authorities, in PEM.
    pub ca_file: Option<PathBuf>,
}

/// Sends requests upstream, and only with a proof in hand that money is held for them.
///
/// `R` is that proof; this layer doesn't know the ledger, so the application says which type it is. Each worker thread has a
/// client of its own: a connection never changes threads.
pub struct Client<R> {
    settings: ClientSettings,
    clients: Mutex<HashMap<ProviderName, reqwest::Client>>,
    proof: PhantomData<fn(&R)>,
}

/// Whether a request has begun to go out.
#[derive(Clone, Debug, Default)]
pub struct Sent(Arc<AtomicBool>);

impl Sent {
    /// Whether anything of the body has been asked for: before that there was no connection, and nobody can have got it.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// A body that tells when it is asked for. It can't be sent twice, so it costs the retry of a request that an HTTP/2
    /// server hands back.
    fn watched(&self, headers: &mut HeaderMap, body: Bytes) -> reqwest::Body {
        headers.insert(http::header::CONTENT_LENGTH, body.len().into());
        let sent = self.clone();
        reqwest::Body::wrap_stream(futures_util::stream::once(async move {
            sent.set();
            Ok::<_, Infallible>(body)
        }))
    }
}

/// An answer that has begun.
pub struct Response {
    /// Its HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, still arriving.
    pub body: Body,
}

/// The body of an answer.
pub enum Body {
    /// Over the network.
    Network(ProviderName, reqwest::Response),
    /// From the sandbox.
    Sandbox(ProviderName, SandboxFrames),
}

/// What is left of a sandbox's answer.
pub struct SandboxFrames {
    frames: VecDeque<Bytes>,
    delay: Duration,
    cut: bool,
}

impl<R> Client<R> {
    /// A client without connections yet.
    pub fn new(settings: ClientSettings) -> Self {
        Self { settings, clients: Mutex::new(HashMap::new()), proof: PhantomData }
    }

    /// Sends a request and waits for the head of its answer. The caller limits the time, and where it may end before the
    /// connection stands, `sent` tells how far the request had got.
    pub async fn send(
        &self,
        _proof: &R,
        upstream: &Upstream,
        request: UpstreamRequest,
        sent: Option<&Sent>,
    ) -> Result<Response, ProviderError> {
        if upstream.sandbox().is_some() {
            sent.inspect(|sent| sent.set());
            return from_sandbox(upstream, &request).await;
        }
        let client = self.client(upstream)?;
        let headers = upstream.provider().headers(request.endpoint, upstream.credential(), &request.headers);
        let method = request.opaque.as_ref().map_or(reqwest::Method::POST, |opaque| opaque.method.clone());
        let mut outgoing = reqwest::Request::new(method, upstream.url(&request));
        *outgoing.headers_mut() = headers;
        if let Some(opaque) = request.opaque {
            outgoing.headers_mut().remove(http::header::CONTENT_TYPE);
            outgoing.headers_mut().extend(opaque.content_type.map(|value| (http::header::CONTENT_TYPE, value)));
        }
        *outgoing.body_mut() = Some(match sent {
            None => request.body.into(),
            Some(sent) => sent.watched(outgoing.headers_mut(), request.body),
        });
        let mut response = client.execute(outgoing).await.map_err(|error| failure(upstream, error, false))?;
        let encoding = response.headers().get(http::header::CONTENT_ENCODING).map(http::HeaderValue::as_bytes);
        if encoding.is_some_and(|encoding| !encoding.is_empty() && encoding != b"identity") {
            let detail = "it is compressed although that was not asked for".to_owned();
            return Err(ProviderError::Garbage { provider: upstream.name().to_string(), detail });
        }
        Ok(Response {
            status: response.status().as_u16(),
            headers: std::mem::take(response.headers_mut()),
            body: Body::Network(upstream.name().clone(), response),
        })
    }

    fn client(&self, upstream: &Upstream) -> Result<reqwest::Client, ProviderError> {
        let mut clients = self.clients.lock().expect("no holder of this lock panics");
        if let Some(client) = clients.get(upstream.name()) {
            return Ok(client.clone());
        }
        let client = build(&self.settings, upstream.timeouts().connect)
            .map_err(|detail| ProviderError::Connect { provider: upstream.name().to_string(), detail })?;
        clients.insert(upstream.name().clone(), client.clone());
        Ok(client)
    }
}

fn build(settings: &ClientSettings, connect_timeout: Duration) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .hickory_dns(true)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX);
    if let Some(path) = &settings.ca_file {
        let pem = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        for certificate in reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| error.to_string())? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build().map_err(|error| format!("no connection can be made: {error}"))
}

/// Whose fault a network error is, and how far the call had got.
fn failure(upstream: &Upstream, error: reqwest::Error, began: bool) -> ProviderError {
    let provider = upstream.name().to_string();
    describe(provider, error, began, upstream.timeouts().connect)
}

fn describe(provider: String, error: reqwest::Error, began: bool, connect_timeout: Duration) -> ProviderError {
    // The address may hold what people put into base URLs; the causes below it don't.
    let error = error.without_url();
    let mut detail = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        detail = inner.to_string();
        cause = inner.source();
    }
    if began {
        ProviderError::BrokeOff { provider, detail }
    } else if error.is_connect() && error.is_timeout() {
        ProviderError::Timeout { provider, limit: TimeLimit::Connect, after: connect_timeout }
    } else if error.is_connect() {
        ProviderError::Connect { provider, detail }
    } else {
        ProviderError::Lost { provider, detail }
    }
}

async fn from_sandbox(upstream: &Upstream, request: &UpstreamRequest) -> Result<Response, ProviderError> {
    let settings = upstream.sandbox().expect("the caller has looked");
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", Some("application/json")),
        ("authorization", Some("Bearer sandbox")),
        ("x-tollgate-sandbox", request.headers.sandbox.as_deref()),
        ("anthropic-version", Some(request.headers.anthropic_version.as_deref().unwrap_or("2023-06-01"))),
        ("anthropic-beta", request.headers.anthropic_beta.as_deref()),
    ] {
        super::upstream::insert(&mut headers, name, value);
    }
    let path = request.endpoint.path();
    let asked = SandboxRequest { method: "POST", path, headers: &headers, body: &request.body };
    let answer = sandbox::answer(settings, &asked);
    if answer.hang {
        std::future::pending::<()>().await;
    }
    if !answer.delay.is_zero() {
        tokio::time::sleep(answer.delay).await;
    }
    let frames = match answer.body {
        SandboxBody::Whole(body) => SandboxFrames { frames: VecDeque::from([body]), delay: Duration::ZERO, cut: false },
        SandboxBody::Stream { frames, delay, cut } => SandboxFrames { frames: frames.into(), delay, cut },
    };
    Ok(Response {
        status: answer.status,
        headers: answer.headers,
        body: Body::Sandbox(upstream.name().clone(), frames),
    })
}

impl Body {
    /// The next piece; `None` at the end. Dropping the body ends the call.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ProviderError> {
        match self {
            Self::Network(provider, response) => {
                response.chunk().await.map_err(|error| describe(provider.to_string(), error, true, Duration::ZERO))
            }
            Self::Sandbox(provider, frames) => {
                if frames.frames.is_empty() {
                    if frames.cut {
                        let detail = "the sandbox cut the stream".to_owned();
                        return Err(ProviderError::BrokeOff { provider: provider.to_string(), detail });
                    }
                    return Ok(None);
                }
                // Before anything is taken: a caller that stops waiting must lose nothing.
                if !frames.delay.is_zero() {
                    tokio::time::sleep(frames.delay).await;
                }
                Ok(frames.frames.pop_front())
            }
        }
    }

    /// The whole body of an answer.
    pub async fn whole(&mut self) -> Result<Bytes, ProviderError> {
        let provider = match self {
            Self::Network(provider, _) | Self::Sandbox(provider, _) => provider.to_string(),
        };
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.chunk().await? else { return Ok(first) };
        let mut whole = BytesMut::from(first.as_ref());
        whole.extend_from_slice(&second);
        while let Some(chunk) = self.chunk().await? {
            whole.extend_from_slice(&chunk);
            if whole.len() > ANSWER_BYTES_MAX {
                let detail = "it is larger than 64 MiB".to_owned();
                return Err(ProviderError::Garbage { provider, detail });
            }
        }
        Ok(whole.freeze())
    }

    /// The beginning of an error's body: what went wrong while reading it doesn't matter any more.
    pub async fn beginning(&mut self) -> Bytes {
        let mut beginning = BytesMut::new();
        while let Ok(Some(chunk)) = self.chunk().await {
            beginning.extend_from_slice(&chunk);
            if beginning.len() > ERROR_BYTES_MAX {
                break;
            }
        }
        beginning.freeze()
    }
}
