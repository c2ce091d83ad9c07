//! A configured provider: its address, credentials and limits, and how requests to its kind are made.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use url::Url;

use crate::config::{ProviderConfig, Timeouts};
use crate::domain::{Endpoint, KeyId, ProviderKind, ProviderName, Secret};

use super::anthropic::Anthropic;
use super::compatible::Compatible;
use super::credentials::{Credential, Credentials};
use super::error::ProviderError;
use super::health::HealthBook;
use super::openai::OpenAi;
use super::places::{NoPlace, Place, Places};
use super::sandbox::Sandbox;
use super::sandbox::SandboxSettings;

/// The longest that a call waits for a place at a provider that has as many running as it may.
const CROWDED_WAIT_MAX: Duration = Duration::from_secs(10);

/// What of a client's headers goes on to a provider: nothing else does.
#[derive(Clone, Debug, Default)]
pub struct ForwardedHeaders {
    /// `anthropic-version`.
    pub anthropic_version: Option<String>,
    /// `anthropic-beta`, a comma list.
    pub anthropic_beta: Option<String>,
    /// `x-tollgate-sandbox`: what the sandbox shall do for this call.
    pub sandbox: Option<String>,
    /// The query string as it came, such as `beta=true`.
    pub query: Option<String>,
}

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct UpstreamRequest {
    /// The path that it goes to.
    pub endpoint: Endpoint,
    /// How an opaque call was made; absent where the endpoint says it all.
    pub opaque: Option<Opaque>,
    /// The body, as it shall arrive.
    pub body: Bytes,
    /// What goes on of the client's headers.
    pub headers: ForwardedHeaders,
    /// What it is made with; nothing where the provider has no keys.
    pub credential: Option<Arc<Credential>>,
}

impl UpstreamRequest {
    /// Its method.
    pub(super) fn method(&self) -> Method {
        self.opaque.as_ref().map_or(Method::POST, |opaque| opaque.method.clone())
    }
}

/// How a call was made that passes through unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// The method.
    pub method: Method,
    /// What follows the endpoint's own path, such as `/file-1/content`; checked to stay below it.
    pub below: String,
    /// The body's content type, which may hold a boundary.
    pub content_type: Option<HeaderValue>,
}

/// One kind of upstream: everything that differs between kinds before an answer comes.
pub trait Provider: Send + Sync {
    /// The path at which a call of this path is asked for: another one needs translation, none can't be served.
    fn asked_at(&self, endpoint: Endpoint) -> Option<Endpoint>;

    /// What the configured base has before the paths of the dialect: OpenAI's bases end in `/v1`, Anthropic's don't.
    fn base_ends_in_v1(&self) -> bool {
        true
    }

    /// The headers of a request: the credential, and what goes on of the client's.
    fn headers(
        &self,
        endpoint: Endpoint,
        credential: Option<&Secret<String>>,
        forwarded: &ForwardedHeaders,
    ) -> HeaderMap;

    /// The field that caps the output of calls of a path.
    fn output_cap_field(&self, endpoint: Endpoint) -> &'static str {
        match endpoint {
            Endpoint::ChatCompletions => "max_completion_tokens",
            Endpoint::Responses => "max_output_tokens",
            _ => "max_tokens",
        }
    }
}

/// A configured provider.
pub struct Upstream {
    name: ProviderName,
    kind: ProviderKind,
    catalog: String,
    base_url: Url,
    base_uri: Uri,
    /// Where each path is, made once: for a call without a query of its own.
    uris: Vec<(Endpoint, Uri)>,
    credentials: Arc<Credentials>,
    health: Arc<HealthBook>,
    retry_percent_max: u32,
    timeouts: Timeouts,
    places: Arc<Places>,
    provider: Box<dyn Provider>,
    sandbox: Option<SandboxSettings>,
}

impl Upstream {
    /// Makes a provider from its settings; `sandbox` is how a sandbox behaves.
    pub fn new(config: &ProviderConfig, sandbox: Option<SandboxSettings>) -> Self {
        let provider: Box<dyn Provider> = match config.kind {
            ProviderKind::OpenAi => Box::new(OpenAi),
            ProviderKind::Anthropic => Box::new(Anthropic),
            ProviderKind::OpenAiCompatible => Box::new(Compatible),
            ProviderKind::Sandbox => Box::new(Sandbox),
        };
        // The sandbox takes any key: what it is told to refuse says nothing of one.
        let api_keys = if config.kind == ProviderKind::Sandbox { Vec::new() } else { config.api_keys.clone() };
        let mut uris = Vec::with_capacity(Endpoint::ALL.len());
        for &endpoint in Endpoint::ALL.iter().filter(|endpoint| !endpoint.is_opaque()) {
            if let Ok(uri) = url_of(&config.base_url, &*provider, endpoint, "").as_str().parse() {
                uris.push((endpoint, uri));
            }
        }
        Self {
            name: config.name.clone(),
            kind: config.kind,
            catalog: config.catalog.clone(),
            base_url: config.base_url.clone(),
            base_uri: config.base_url.as_str().parse().unwrap_or_default(),
            uris,
            credentials: Credentials::new(config.name.clone(), api_keys),
            health: HealthBook::new(config.name.clone()),
            retry_percent_max: config.retry_percent_max,
            timeouts: config.timeouts,
            places: Places::new(usize::try_from(config.concurrent_requests_max).unwrap_or(usize::MAX)),
            provider,
            sandbox: (config.kind == ProviderKind::Sandbox).then(|| sandbox.unwrap_or_default()),
        }
    }

    /// Its configured name.
    pub fn name(&self) -> &ProviderName {
        &self.name
    }

    /// Its kind.
    pub fn kind(&self) -> ProviderKind {
        self.kind
    }

    /// Whose prices it has.
    pub fn catalog(&self) -> &str {
        &self.catalog
    }

    /// The host that it is called at.
    pub fn host(&self) -> &str {
        self.base_url.host_str().unwrap_or_default()
    }

    /// The port that it is called at, where the address names one.
    pub fn port(&self) -> Option<u16> {
        self.base_url.port()
    }

    /// Its time limits.
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// What differs between kinds.
    pub fn provider(&self) -> &dyn Provider {
        &*self.provider
    }

    /// How the sandbox behaves, where it is one.
    pub fn sandbox(&self) -> Option<&SandboxSettings> {
        self.sandbox.as_ref()
    }

    /// The places of the calls that may run at once.
    pub fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// Waits for a place among the calls that may run at once, in the turn of the virtual key, at most so long.
    pub async fn place(&self, key: &KeyId, wait_max: Duration) -> Result<Place, ProviderError> {
        let place = self.places.take(key, wait_max.min(CROWDED_WAIT_MAX)).await;
        place.map_err(|NoPlace| ProviderError::Crowded { provider: self.name.to_string() })
    }

    /// An error of this provider, without its credentials.
    pub fn redacted(&self, error: ProviderError) -> ProviderError {
        error.without(self.credentials.secrets())
    }

    /// Its credentials.
    pub fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    /// How it does, and each of its deployments.
    pub fn health(&self) -> &Arc<HealthBook> {
        &self.health
    }

    /// How many repeated attempts it may get, in percent of the calls that go there.
    pub fn retry_percent_max(&self) -> u32 {
        self.retry_percent_max
    }

    /// The headers of a request.
    pub(super) fn headers(&self, request: &UpstreamRequest) -> HeaderMap {
        let secret = request.credential.as_ref().map(|credential| credential.secret());
        let mut headers = self.provider.headers(request.endpoint, secret, &request.headers);
        if let Some(opaque) = &request.opaque {
            headers.remove(http::header::CONTENT_TYPE);
            headers.extend(opaque.content_type.clone().map(|value| (http::header::CONTENT_TYPE, value)));
        }
        headers
    }

    /// The address below which its paths are.
    pub(super) fn base_uri(&self) -> &Uri {
        &self.base_uri
    }

    /// Whether it is called over TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        self.base_url.scheme() == "https"
    }

    /// The path that a request goes to: what a client may know of the address.
    pub fn path(&self, request: &UpstreamRequest) -> String {
        self.url(request).path().to_owned()
    }

    /// The address of a path, with the client's query.
    pub(super) fn url(&self, request: &UpstreamRequest) -> Url {
        let below = request.opaque.as_ref().map_or("", |opaque| opaque.below.as_str());
        let mut url = url_of(&self.base_url, &*self.provider, request.endpoint, below);
        url.set_query(request.headers.query.as_deref());
        url
    }

    /// The same, as connections take it.
    pub(super) fn uri(&self, request: &UpstreamRequest) -> Result<Uri, ProviderError> {
        let made = self.uris.iter().find(|(endpoint, _)| *endpoint == request.endpoint);
        match made {
            Some((_, uri)) if request.headers.query.is_none() && request.opaque.is_none() => Ok(uri.clone()),
            _ => self.url(request).as_str().parse().map_err(|error: http::uri::InvalidUri| ProviderError::Connect {
                provider: self.name.to_string(),
                detail: error.to_string(),
            }),
        }
    }
}

fn url_of(base_url: &Url, provider: &dyn Provider, endpoint: Endpoint, below: &str) -> Url {
    let mut url = base_url.clone();
    let base = url.path().trim_end_matches('/').to_owned();
    let path = endpoint.path();
    let path = if provider.base_ends_in_v1() { &path["/v1".len()..] } else { path };
    url.set_path(&format!("{base}{path}{below}"));
    // A query in the base would stand before the path.
    url.set_query(None);
    url
}

/// A header value of a secret, marked so that nothing prints it.
pub(super) fn secret_value(prefix: &str, secret: &Secret<String>) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{prefix}{}", secret.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `content-type`, `accept`, `accept-encoding` and our own name: what every request has.
pub(super) fn base_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(http::header::ACCEPT, HeaderValue::from_static("*/*"));
    // A compressed answer could be a bomb, and couldn't be observed in passing.
    headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(http::header::USER_AGENT, HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION"))));
    headers
}

/// Adds a header where there is a value for it that a header may have.
pub(super) fn insert(headers: &mut HeaderMap, name: &'static str, value: Option<&str>) {
    if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
