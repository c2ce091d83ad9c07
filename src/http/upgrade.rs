//! Wishes to go on in another protocol (`Upgrade`): ignored, as RFC 9110 §7.8 lets a server do, and the request is answered as if it had none.
//! Some clients and proxies send one with every request.
//!
//! The server below takes whatever follows the head of a request for a WebSocket as one body without an end, answers it likewise, and
//! keeps no connection on which another protocol was asked for. So such a body ends here at its length, and the answer says that the
//! connection ends with it.

use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::{ConnectionType, header};
use actix_web::{Error, HttpMessage as _};
use bytes::Bytes;
use futures_util::future::Either;
use futures_util::{Stream, StreamExt as _, stream};

/// Serves a request as if it wished for no other protocol.
pub(super) fn ignore<S, B>(
    mut request: ServiceRequest,
    service: &S,
) -> impl Future<Output = Result<ServiceResponse<B>, Error>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
{
    let is_endless = is_endless(&request);
    if !is_endless && !request.head().upgrade() {
        return Either::Left(service.call(request));
    }
    if is_endless {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
        let body = first(length, request.take_payload());
        request.set_payload(Payload::Stream { payload: Box::pin(body) });
    }
    let answering = service.call(request);
    Either::Right(async move {
        let mut response = answering.await?;
        let head = response.response_mut().head_mut();
        head.set_connection_type(ConnectionType::Close);
        // It would be announced in chunks and then sent without.
        head.no_chunking(is_endless);
        Ok(response)
    })
}

/// Whether the server below sees no end of a request's body.
fn is_endless(request: &ServiceRequest) -> bool {
    let is_web_socket = |value: &header::HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket");
    request.headers().get_all(header::UPGRADE).any(is_web_socket) && !request.chunked().unwrap_or(false)
}

/// The first bytes of a body: what follows them is none of it. One that ends before is broken.
fn first(length: u64, body: Payload) -> impl Stream<Item = Result<Bytes, PayloadError>> {
    stream::unfold((length, body), |(left, mut body)| async move {
        if left == 0 {
            return None;
        }
        match body.next().await {
            Some(Ok(mut chunk)) => {
                chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - chunk.len() as u64;
                Some((Ok(chunk), (left, body)))
            }
            Some(Err(error)) => Some((Err(error), (0, body))),
            None => Some((Err(PayloadError::Incomplete(None)), (0, body))),
        }
    })
}
