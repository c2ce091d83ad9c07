//! Calls to providers that no proxy stands before: hyper's client, and nothing around it that a call would pay for.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tower_service::Service;

use super::resolver::Names;
use super::sent::Watched;

/// Connections kept open to a provider while nothing uses them.
pub(super) const IDLE_CONNECTIONS_MAX: usize = 64;
/// How long they are kept: load balancers close them after a minute or more.
const IDLE_TIME_MAX: Duration = Duration::from_secs(90);
/// How often a connection that is silent is asked whether it lives; three questions without an answer end it.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long what was sent may stay unacknowledged.
const UNACKNOWLEDGED_TIME_MAX: Duration = Duration::from_secs(30);
/// How often a request is sent again that the other side says it has not begun to work on.
const REFUSED_RETRIES_MAX: u32 = 2;

type BoxError = Box<dyn StdError + Send + Sync>;
type Connector = Limited<HttpsConnector<HttpConnector<Names>>>;

/// Connections to one provider, made on one worker's runtime.
pub(super) struct Direct(legacy::Client<Connector, Watched>);

/// No connection came about in time.
#[derive(Debug, thiserror::Error)]
#[error("no connection came about in time")]
pub(super) struct ConnectTimedOut;

impl Direct {
    /// A client without connections yet.
    pub(super) fn new(tls: ClientConfig, names: Names, connect_timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(names);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE_INTERVAL));
        tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
        tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIME_MAX));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions();
        let connector = Limited { inner: https.wrap_connector(tcp), limit: connect_timeout };
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Self(client)
    }

    /// Sends a request and waits for the head of its answer; `request` is asked for it again where it was refused unread.
    pub(super) async fn send(
        &self,
        request: impl Fn() -> Request<Watched>,
    ) -> Result<Response<Incoming>, legacy::Error> {
        sent_again(|| self.0.request(request())).await
    }
}

/// Sends a request, and again where it was refused unread.
pub(super) async fn sent_again<T, E, F>(send: impl Fn() -> F) -> Result<T, E>
where
    E: StdError + 'static,
    F: Future<Output = Result<T, E>>,
{
    let mut refused = 0;
    loop {
        match send().await {
            Err(error) if refused < REFUSED_RETRIES_MAX && was_refused_unread(&error) => refused += 1,
            answered => return answered,
        }
    }
}

/// Whether the other side has said, in HTTP/2's words, that it hasn't begun to work on a request: nothing is owed for it.
fn was_refused_unread(error: &(dyn StdError + 'static)) -> bool {
    let Some(error) = find::<h2::Error>(error) else { return false };
    let is_leaving = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    let is_crowded = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (is_leaving || is_crowded)
}

/// The cause of a kind among the causes of an error.
pub(super) fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Limits the time in which a connection has to come about: names, TCP and TLS together.
#[derive(Clone)]
pub(super) struct Limited<C> {
    inner: C,
    limit: Duration,
}

impl<C> Service<Uri> for Limited<C>
where
    C: Service<Uri, Error: Into<BoxError>, Future: Send + 'static>,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.limit, self.inner.call(uri));
        Box::pin(async move { connecting.await.map_err(|_| ConnectTimedOut)?.map_err(Into::into) })
    }
}
