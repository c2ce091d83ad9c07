//! Whether a client has hung up, told without writing to it.
//!
//! The server looks at a connection again only when it has something to write, so a client that leaves while a provider says
//! nothing would be noticed when the provider speaks. Where calls are cancelled at once, that is too late: a second handle
//! on the socket is looked at now and then. Nothing is read from it. A client that closes only its sending side counts
//! as gone, as it does for most proxies.

use std::any::Any;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::dev::Extensions;

/// How often a connection is looked at: a glance costs microseconds, and only calls that wait take one.
const GLANCE_INTERVAL: Duration = Duration::from_millis(250);

/// A second handle on a connection's socket.
struct Peer(TcpStream);

impl Peer {
    fn has_hung_up(&self) -> bool {
        match self.0.peek(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }
}

/// Keeps a second handle on a new connection's socket beside it, as long as it lives.
pub(super) fn remember(connection: &dyn Any, data: &mut Extensions) {
    let stream = connection.downcast_ref::<actix_web::rt::net::TcpStream>();
    let handle = stream.and_then(|stream| stream.as_fd().try_clone_to_owned().ok());
    if let Some(handle) = handle {
        data.insert(Arc::new(Peer(handle.into())));
    }
}

/// A look at the connection of a request.
#[derive(Clone, Default)]
pub(super) struct Hangup(Option<Weak<Peer>>);

impl Hangup {
    /// Of a request; where its connection isn't remembered, nothing is ever noticed.
    pub(super) fn of(request: &HttpRequest) -> Self {
        Self(request.conn_data::<Arc<Peer>>().map(Arc::downgrade))
    }

    /// Waits until the client has hung up.
    pub(super) async fn noticed(&self) {
        let Some(peer) = &self.0 else { return std::future::pending().await };
        loop {
            tokio::time::sleep(GLANCE_INTERVAL).await;
            if peer.upgrade().is_none_or(|peer| peer.has_hung_up()) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::net::{Shutdown, TcpListener};

    fn connection() -> (TcpStream, Peer) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (client, Peer(server))
    }

    fn becomes(peer: &Peer, hung_up: bool) {
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while peer.has_hung_up() != hung_up {
            assert!(std::time::Instant::now() < until);
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_client_that_closes_is_gone_and_one_that_is_silent_or_sends_is_not() {
        let (mut client, peer) = connection();
        assert!(!peer.has_hung_up());
        client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        assert!(!peer.has_hung_up());
        drop(client);
        let (client, peer) = connection();
        drop(client);
        becomes(&peer, true);
    }

    #[test]
    fn a_client_that_closes_its_sending_side_is_gone() {
        let (client, peer) = connection();
        client.shutdown(Shutdown::Write).unwrap();
        becomes(&peer, true);
    }

    #[tokio::test]
    async fn a_connection_that_has_ended_is_gone_and_one_that_nobody_knows_never_is() {
        let peer = Arc::new(connection().1);
        let hangup = Hangup(Some(Arc::downgrade(&peer)));
        drop(peer);
        hangup.noticed().await;
        let waited = tokio::time::timeout(GLANCE_INTERVAL * 2, Hangup::default().noticed()).await;
        assert!(waited.is_err());
    }
}
