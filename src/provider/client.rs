//! The way out: connections of each worker to each provider, and the sandbox without a network.

use std::collections::{HashMap, VecDeque};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::proxy::matcher::Matcher;

use crate::domain::ProviderName;

use super::direct::{ConnectTimedOut, Direct, IDLE_CONNECTIONS_MAX, find, sent_again};
use super::error::{ProviderError, TimeLimit};
use super::resolver::Names;
use super::sandbox::{self, SandboxBody, SandboxRequest};
use super::sent::{Sent, Watched};
use super::tls::{ClientSettings, trusting_nobody};
use super::upstream::{Upstream, UpstreamRequest};

/// The largest answer that is taken as a whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The largest error body that is read: no dialect's is longer.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Sends requests upstream, and only with a proof in hand that money is held for them.
///
/// `R` is that proof; this layer doesn't know the ledger, so the application says which type it is. Each worker thread has a
/// client of its own: a connection never changes threads.
pub struct Client<R> {
    settings: ClientSettings,
    names: Names,
    ways: Mutex<HashMap<ProviderName, Made>>,
    proof: PhantomData<fn(&R)>,
}

/// How a provider is reached.
#[derive(Clone)]
enum Way {
    Direct(Arc<Direct>),
    /// Through a proxy that the environment names.
    Proxied(reqwest::Client),
}

/// A way, and what of the provider's settings it was made for.
struct Made {
    base: Uri,
    connect_timeout: Duration,
    way: Way,
}

impl Made {
    /// Whether it is the way to a provider as it is configured now: another call may have another state of the settings.
    fn leads_to(&self, upstream: &Upstream) -> bool {
        self.base == *upstream.base_uri() && self.connect_timeout == upstream.timeouts().connect
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
    Direct(ProviderName, Incoming),
    /// Over the network, through a proxy.
    Proxied(ProviderName, reqwest::Response),
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
        Self { settings, names: Names::default(), ways: Mutex::default(), proof: PhantomData }
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
        let answer = match self.way(upstream)? {
            Way::Direct(direct) => call(&direct, upstream, &request, sent).await?,
            Way::Proxied(client) => call_proxied(&client, upstream, &request, sent).await?,
        };
        let encoding = answer.headers.get(http::header::CONTENT_ENCODING).map(http::HeaderValue::as_bytes);
        if encoding.is_some_and(|encoding| !encoding.is_empty() && encoding != b"identity") {
            let detail = "it is compressed although that was not asked for".to_owned();
            return Err(ProviderError::Garbage { provider: upstream.name().to_string(), detail });
        }
        Ok(answer)
    }

    fn way(&self, upstream: &Upstream) -> Result<Way, ProviderError> {
        let mut ways = self.ways.lock().expect("no holder of this lock panics");
        if let Some(made) = ways.get(upstream.name()).filter(|made| made.leads_to(upstream)) {
            return Ok(made.way.clone());
        }
        let way = self
            .make_way(upstream)
            .map_err(|detail| ProviderError::Connect { provider: upstream.name().to_string(), detail })?;
        let (base, connect_timeout) = (upstream.base_uri().clone(), upstream.timeouts().connect);
        ways.insert(upstream.name().clone(), Made { base, connect_timeout, way: way.clone() });
        Ok(way)
    }

    fn make_way(&self, upstream: &Upstream) -> Result<Way, String> {
        let connect_timeout = upstream.timeouts().connect;
        let tls = || self.settings.tls().map_err(|detail| format!("no connection can be made: {detail}"));
        if Matcher::from_system().intercept(upstream.base_uri()).is_none() {
            // Without TLS no certificates are needed, and a machine may well have none.
            let tls = if upstream.is_encrypted() { tls()?.clone() } else { trusting_nobody() };
            return Ok(Way::Direct(Arc::new(Direct::new(tls, self.names.clone(), connect_timeout))));
        }
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(with_both_versions(tls()?.clone()))
            .connect_timeout(connect_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .hickory_dns(true)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX);
        builder.build().map(Way::Proxied).map_err(|error| format!("no connection can be made: {error}"))
    }
}

/// Offers HTTP/2 and HTTP/1.1, as connections without a proxy do by themselves.
pub(super) fn with_both_versions(mut tls: rustls::ClientConfig) -> rustls::ClientConfig {
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    tls
}

async fn call(
    direct: &Direct,
    upstream: &Upstream,
    request: &UpstreamRequest,
    sent: Option<&Sent>,
) -> Result<Response, ProviderError> {
    let uri = upstream.uri(request)?;
    // Made anew where the provider hands it back unread.
    let outgoing = || {
        let mut outgoing = http::Request::new(Watched::new(request.body.clone(), sent));
        *outgoing.method_mut() = request.method();
        *outgoing.uri_mut() = uri.clone();
        *outgoing.headers_mut() = upstream.headers(request);
        outgoing
    };
    let response = direct.send(outgoing).await.map_err(|error| lost(upstream, &error))?;
    let (head, body) = response.into_parts();
    let body = Body::Direct(upstream.name().clone(), body);
    Ok(Response { status: head.status.as_u16(), headers: head.headers, body })
}

async fn call_proxied(
    client: &reqwest::Client,
    upstream: &Upstream,
    request: &UpstreamRequest,
    sent: Option<&Sent>,
) -> Result<Response, ProviderError> {
    let outgoing = || {
        let mut outgoing = reqwest::Request::new(request.method(), upstream.url(request));
        *outgoing.headers_mut() = upstream.headers(request);
        *outgoing.body_mut() = Some(reqwest::Body::wrap(Watched::new(request.body.clone(), sent)));
        outgoing
    };
    let answered = sent_again(|| client.execute(outgoing())).await;
    let mut response = answered.map_err(|error| lost_proxied(upstream, error))?;
    Ok(Response {
        status: response.status().as_u16(),
        headers: std::mem::take(response.headers_mut()),
        body: Body::Proxied(upstream.name().clone(), response),
    })
}

/// Whose fault it is that no answer came, and how far the call had got.
fn lost(upstream: &Upstream, error: &legacy::Error) -> ProviderError {
    let is_late = find::<ConnectTimedOut>(error).is_some();
    told(upstream, error.is_connect(), is_late, innermost(error))
}

/// The same of a call through a proxy.
fn lost_proxied(upstream: &Upstream, error: reqwest::Error) -> ProviderError {
    // The address may hold what people put into base URLs; the causes below it don't.
    let error = error.without_url();
    told(upstream, error.is_connect(), error.is_timeout(), innermost(&error))
}

fn told(upstream: &Upstream, is_connecting: bool, is_late: bool, detail: String) -> ProviderError {
    let provider = upstream.name().to_string();
    if is_connecting && is_late {
        ProviderError::Timeout { provider, limit: TimeLimit::Connect, after: upstream.timeouts().connect }
    } else if is_connecting {
        ProviderError::Connect { provider, detail }
    } else {
        ProviderError::Lost { provider, detail }
    }
}

/// The first of the causes: what stands above it says less.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
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

fn broke_off(provider: &ProviderName, error: &(dyn std::error::Error + 'static)) -> ProviderError {
    ProviderError::BrokeOff { provider: provider.to_string(), detail: innermost(error) }
}

impl Body {
    /// The next piece; `None` at the end. Dropping the body ends the call.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ProviderError> {
        match self {
            Self::Direct(provider, body) => loop {
                let broke_off = |error: hyper::Error| broke_off(provider, &error);
                let Some(frame) = body.frame().await.transpose().map_err(broke_off)? else { return Ok(None) };
                // Anything else is a trailer, and nobody has asked for one.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            },
            Self::Proxied(provider, response) => {
                response.chunk().await.map_err(|error| broke_off(provider, &error.without_url()))
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

    /// The whole body of an answer, of which no more than `idle` may pass between two pieces. The first is not waited for so
    /// strictly: some servers send the head at once and the body when the model has written it.
    pub async fn whole(&mut self, idle: Duration) -> Result<Bytes, ProviderError> {
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.chunk_within(idle).await? else { return Ok(first) };
        let mut whole = BytesMut::from(first.as_ref());
        whole.extend_from_slice(&second);
        while let Some(chunk) = self.chunk_within(idle).await? {
            whole.extend_from_slice(&chunk);
            if whole.len() > ANSWER_BYTES_MAX {
                let detail = "it is larger than 64 MiB".to_owned();
                return Err(ProviderError::Garbage { provider: self.provider(), detail });
            }
        }
        Ok(whole.freeze())
    }

    async fn chunk_within(&mut self, idle: Duration) -> Result<Option<Bytes>, ProviderError> {
        match tokio::time::timeout(idle, self.chunk()).await {
            Ok(chunk) => chunk,
            Err(_) => Err(ProviderError::Timeout { provider: self.provider(), limit: TimeLimit::Idle, after: idle }),
        }
    }

    fn provider(&self) -> String {
        match self {
            Self::Direct(provider, _) | Self::Proxied(provider, _) | Self::Sandbox(provider, _) => provider.to_string(),
        }
    }

    /// The beginning of an error's body, as far as it has come after a time: what went wrong while reading it doesn't matter any
    /// more.
    pub async fn beginning(&mut self, time_max: Duration) -> Bytes {
        let mut beginning = BytesMut::new();
        let reading = async {
            while let Ok(Some(chunk)) = self.chunk().await {
                beginning.extend_from_slice(&chunk);
                if beginning.len() > ERROR_BYTES_MAX {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(time_max, reading).await;
        beginning.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A provider that speaks HTTP/2 refuses so many requests before it answers; how many it got, and what came.
    async fn check_refused(refused: usize, expected: Result<u16, &str>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = format!(
            "[[providers]]\nname = \"p\"\nkind = \"openai-compatible\"\nbase_url = \"http://{}/v1\"",
            listener.local_addr().unwrap()
        );
        let config = crate::config::Config::from_toml(&settings).unwrap();
        let upstream = Upstream::new(&config.providers[0], None);
        let serving = async {
            let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
            for number in 0.. {
                let Some(Ok((_, mut respond))) = connection.accept().await else { return };
                if number < refused {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                } else {
                    respond.send_response(http::Response::new(()), true).unwrap();
                }
            }
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(trusting_nobody())
            .http2_prior_knowledge()
            .build()
            .unwrap();
        let request = UpstreamRequest {
            endpoint: crate::domain::Endpoint::ChatCompletions,
            opaque: None,
            body: "{}".into(),
            headers: super::super::ForwardedHeaders::default(),
            credential: None,
        };
        let sent = Sent::default();
        let came = tokio::select! {
            came = call_proxied(&client, &upstream, &request, Some(&sent)) => came,
            () = serving => panic!("the client has closed the connection"),
        };
        assert!(sent.is_set());
        assert_eq!(came.map(|response| response.status).map_err(|error| error.code()), expected);
    }

    #[tokio::test]
    async fn a_request_that_was_refused_unread_is_made_again_behind_a_proxy_too() {
        check_refused(0, Ok(200)).await;
        check_refused(2, Ok(200)).await;
        check_refused(3, Err("upstream_lost")).await;
    }

    async fn read(pieces: &[&'static str], delay: Duration, idle: Duration) -> Result<Bytes, ProviderError> {
        let frames = pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect();
        let frames = SandboxFrames { frames, delay, cut: false };
        Body::Sandbox("p".parse().unwrap(), frames).whole(idle).await
    }

    #[tokio::test]
    async fn a_whole_answer_may_begin_late_but_not_stop_half_way() {
        // Far apart: on a busy machine both may have passed before anybody looks.
        let (short, long) = (Duration::from_millis(2), Duration::from_millis(500));
        assert_eq!(read(&["late"], long, short).await.unwrap(), "late");
        assert_eq!(read(&["one", "two", "three"], short, 20 * long).await.unwrap(), "onetwothree");
        let stopped = read(&["one", "two"], long, short).await.unwrap_err();
        assert!(matches!(stopped, ProviderError::Timeout { limit: TimeLimit::Idle, after, .. } if after == short));
    }
}
