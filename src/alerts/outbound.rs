//! The one client for addresses that an admin has set: it reaches the open internet, and of private networks only what the
//! settings name.
//!
//! A name is looked up anew for each connection, and the connection is made to the very addresses that were looked at, so an
//! answer that changes meanwhile leads nowhere. Redirects are not followed. No proxy is used: it would make the connection
//! where nobody looks at the address.

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::channel::Message;
use crate::domain::is_public;
use crate::domain::wording::first_cause;
use crate::outbound;

/// The longest that one delivery takes.
const TIME_MAX: Duration = Duration::from_secs(10);
/// What is read of a reply: it is wanted for its status, and for a word why something was refused.
const REPLY_BYTES_MAX: usize = 64 << 10;
/// What is kept of it.
const REPLY_CHARS_KEPT: usize = 200;
const SIGNATURE: header::HeaderName = header::HeaderName::from_static("x-tollgate-signature");

/// Why no answer came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OutboundError {
    /// It lies where the settings don't allow.
    #[error("{0}")]
    Inside(Inside),
    /// No connection, or it broke.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// Not in time.
    #[error("no answer within {} s", TIME_MAX.as_secs())]
    Timeout,
}

/// An address that lies in a private network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} leads into a private network, where nothing is sent: name it in alerts.private_hosts if it is a receiver of yours"
)]
pub(super) struct Inside {
    host: String,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// When to come back, where it says so.
    pub(super) retry_after: Option<Duration>,
    /// The beginning of what it says, in one line.
    pub(super) text: String,
}

/// The client.
#[derive(Debug)]
pub(super) struct Outbound {
    client: reqwest::Client,
    private_hosts: Arc<[Host]>,
}

impl Outbound {
    /// A client that may reach these hosts wherever they lie; `ca_file` holds further certificate authorities.
    pub(super) fn new(private_hosts: &[Host], ca_file: Option<&Path>) -> Result<Self, String> {
        let private_hosts: Arc<[Host]> = private_hosts.into();
        let builder = outbound::client(ca_file)?
            .timeout(TIME_MAX)
            .no_proxy()
            // A connection that is kept was looked at when it was made: alerts are rare, so each makes its own.
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(Resolver { private_hosts: Arc::clone(&private_hosts) }));
        let client = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { client, private_hosts })
    }

    /// Posts a message and waits for what comes of it.
    pub(super) async fn post(&self, url: &Url, message: Message) -> Result<Reply, OutboundError> {
        // The resolver is not asked about what is an address already.
        check_literal(url, &self.private_hosts).map_err(OutboundError::Inside)?;
        let mut request = self.client.post(url.clone()).header(header::CONTENT_TYPE, "application/json");
        if let Some(signature) = message.signature {
            request = request.header(SIGNATURE, signature);
        }
        let mut response = request.body(message.body).send().await.map_err(failure)?;
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        // Discord gives fractions of seconds; a date is rare and not worth a parser.
        let retry_after = retry_after
            .and_then(|text| text.parse().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let mut text = Vec::new();
        // The status has come: a body that breaks off or is too long takes nothing away from it.
        while let Ok(Some(chunk)) = response.chunk().await {
            text.extend_from_slice(&chunk);
            if text.len() > REPLY_BYTES_MAX {
                break;
            }
        }
        let status = response.status().as_u16();
        Ok(Reply { status, retry_after, text: line(&text) })
    }
}

/// The beginning of a reply in one line without control characters.
fn line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(REPLY_BYTES_MAX)]);
    let visible = text.chars().map(|character| if character.is_control() { ' ' } else { character });
    visible.take(REPLY_CHARS_KEPT).collect::<String>().trim().to_owned()
}

/// Refuses an address in a URL that lies inside; a name passes, for the resolver looks where it leads.
fn check_literal(url: &Url, private_hosts: &[Host]) -> Result<(), Inside> {
    let Some(host) = url.host().map(|host| host.to_owned()) else { return Ok(()) };
    let address: Option<IpAddr> = match &host {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some((*address).into()),
        Host::Ipv6(address) => Some((*address).into()),
    };
    if address.is_none_or(is_public) || private_hosts.contains(&host) {
        return Ok(());
    }
    Err(Inside { host: host.to_string() })
}

/// What of a name's addresses may be called.
fn allowed(name: &str, private_hosts: &[Host], found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Inside> {
    let is_named =
        private_hosts.iter().any(|host| matches!(host, Host::Domain(known) if known.eq_ignore_ascii_case(name)));
    let mut allowed = found;
    if !is_named {
        allowed.retain(|address| is_public(address.ip()));
    }
    if allowed.is_empty() { Err(Inside { host: name.to_owned() }) } else { Ok(allowed) }
}

/// Looks names up as the system does, and hands on only what may be called.
struct Resolver {
    private_hosts: Arc<[Host]>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let private_hosts = Arc::clone(&self.private_hosts);
        Box::pin(async move {
            let name = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name, 0)).await?.collect();
            let addresses: Addrs = Box::new(allowed(name, &private_hosts, found)?.into_iter());
            Ok(addresses)
        })
    }
}

/// The innermost cause, without the address: it holds what chats use as a password.
fn failure(error: reqwest::Error) -> OutboundError {
    if error.is_timeout() {
        return OutboundError::Timeout;
    }
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    match causes.find_map(|cause| cause.downcast_ref::<Inside>()) {
        Some(inside) => OutboundError::Inside(inside.clone()),
        None => OutboundError::Unreachable(first_cause(&error.without_url())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn message() -> Message {
        Message { body: b"{}".to_vec(), signature: None }
    }

    fn outbound(private_hosts: &[&str]) -> Outbound {
        let hosts: Vec<Host> = private_hosts.iter().map(|host| Host::parse(host).unwrap()).collect();
        Outbound::new(&hosts, None).unwrap()
    }

    /// A receiver that gives one answer to whoever comes, and where it is.
    async fn receiver(answer: String) -> u16 {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        crate::runtime::Tasks::default().spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        port
    }

    async fn check_inside(outbound: &Outbound, address: &str) {
        let refused = outbound.post(&url(address), message()).await.unwrap_err();
        assert!(matches!(refused, OutboundError::Inside(_)), "{address}: {refused:?}");
        assert!(refused.to_string().contains("alerts.private_hosts"), "{refused}");
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_when_it_is_connected_to() {
        let port = receiver("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned()).await;
        let closed = outbound(&[]);
        check_inside(&closed, &format!("http://localhost:{port}/")).await;
        for host in ["127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"] {
            check_inside(&closed, &format!("http://{host}:{port}/")).await;
        }
    }

    #[tokio::test]
    async fn a_host_that_is_named_may_be_called_and_no_other() {
        let port = receiver("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned()).await;
        let open = outbound(&["127.0.0.1", "localhost"]);
        for host in ["127.0.0.1", "localhost", "LOCALHOST"] {
            let reply = open.post(&url(&format!("http://{host}:{port}/")), message()).await.unwrap();
            assert_eq!((reply.status, reply.text.as_str()), (200, "ok"), "{host}");
        }
        check_inside(&open, &format!("http://127.0.0.2:{port}/")).await;
        check_inside(&open, &format!("http://[::1]:{port}/")).await;
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_followed() {
        let port =
            receiver("HTTP/1.1 307 Away\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_owned())
                .await;
        let reply = outbound(&["127.0.0.1"]).post(&url(&format!("http://127.0.0.1:{port}/")), message()).await.unwrap();
        assert_eq!(reply.status, 307);
    }

    #[tokio::test]
    async fn a_reply_without_end_is_cut_and_its_status_stands() {
        let body = "x".repeat(1 << 20);
        let port =
            receiver(format!("HTTP/1.1 429 Slower\r\nretry-after: 1.5\r\ncontent-length: 99999999\r\n\r\n{body}"))
                .await;
        let reply = outbound(&["127.0.0.1"]).post(&url(&format!("http://127.0.0.1:{port}/")), message()).await.unwrap();
        assert_eq!((reply.status, reply.retry_after), (429, Some(Duration::from_millis(1_500))));
        assert_eq!(reply.text.len(), REPLY_CHARS_KEPT);
    }

    #[tokio::test]
    async fn a_failure_does_not_repeat_the_address() {
        // Bound and never listening.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let url = url(&format!("http://127.0.0.1:{port}/T0/canary"));
        let refused = outbound(&["127.0.0.1"]).post(&url, message()).await.unwrap_err();
        assert!(matches!(refused, OutboundError::Unreachable(_)), "{refused:?}");
        assert!(!refused.to_string().contains("canary"), "{refused}");
    }

    #[test]
    fn of_a_name_with_addresses_inside_and_outside_only_those_outside_are_called() {
        let (inside, outside): (SocketAddr, SocketAddr) = ("10.0.0.1:0".parse().unwrap(), "8.8.8.8:0".parse().unwrap());
        assert_eq!(allowed("x.example", &[], vec![inside, outside]), Ok(vec![outside]));
        assert!(allowed("x.example", &[], vec![inside]).is_err());
        assert!(allowed("x.example", &[], vec![]).is_err());
        let named = [Host::Domain("x.example".to_owned())];
        assert_eq!(allowed("X.example", &named, vec![inside]), Ok(vec![inside]));
        assert!(allowed("y.x.example", &named, vec![inside]).is_err());
    }

    proptest! {
        #[test]
        fn a_url_that_passes_leads_to_a_name_or_to_a_public_address(
            host in prop_oneof![
                any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).to_string()),
                any::<u32>().prop_map(|bits| bits.to_string()),
                any::<u32>().prop_map(|bits| format!("0x{bits:x}")),
                any::<u128>().prop_map(|bits| format!("[{}]", Ipv6Addr::from_bits(bits))),
                any::<u32>().prop_map(|bits| format!("[{}]", Ipv4Addr::from_bits(bits).to_ipv6_mapped())),
                "[a-z0-9.]{1,20}",
            ],
        ) {
            // The second parser is the standard library's, on what the URL says its host is.
            let Ok(url) = Url::parse(&format!("https://{host}/hook")) else { return Ok(()) };
            if check_literal(&url, &[]).is_ok() {
                let shown = url.host_str().unwrap().trim_matches(['[', ']']);
                prop_assert!(shown.parse::<IpAddr>().map_or(true, is_public), "{url}");
            }
        }
    }
}
