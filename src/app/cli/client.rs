//! Calls of the management API: JSON out, JSON or a sentence back.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use reqwest::Method;
use serde_json::Value;

use crate::domain::{Secret, url_encoded};

/// Nothing that commands ask for takes longer.
const ANSWER_TIME_MAX: Duration = Duration::from_mins(1);
/// Calls of models wait for as long as their providers let them, and a few follow one another.
const WORK_TIME_MAX: Duration = Duration::from_hours(1);
/// An export of years may take long; each piece of it comes within [`ANSWER_TIME_MAX`].
const PIECES_TIME_MAX: Duration = Duration::from_hours(24);
/// Pages of a list: more items than are ever kept.
const PAGES_MAX: usize = 10_000;

/// A running server, and the right to manage it.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    token: Secret<String>,
}

/// A long answer, as it comes.
pub(super) struct Pieces(reqwest::Response);

impl Pieces {
    /// The next piece; `None` once the answer has come to its own end.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<bytes::Bytes>> {
        let piece = tokio::time::timeout(ANSWER_TIME_MAX, self.0.chunk()).await;
        let piece = piece.map_err(|_| anyhow!("nothing more came from the server for a minute"))?;
        piece.map_err(|error| anyhow!("the answer broke off before its end: {}", error.without_url()))
    }
}

/// The server said no.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub(super) struct Refused {
    pub(super) status: u16,
    /// The problem as it came; null where it was none.
    pub(super) problem: Value,
    detail: String,
}

impl Refused {
    /// Whether something in the command can't be as it was typed.
    pub(super) fn is_wrong_usage(&self) -> bool {
        matches!(self.code(), "invalid_field" | "invalid_parameter")
    }

    /// The stable code of the problem.
    pub(super) fn code(&self) -> &str {
        self.problem["code"].as_str().unwrap_or_default()
    }
}

impl Client {
    /// A client of the server at an address; `near` is one of this machine, which no proxy stands before.
    pub(super) fn new(address: &str, token: Secret<String>, near: bool) -> anyhow::Result<Self> {
        let mut builder =
            reqwest::Client::builder().timeout(ANSWER_TIME_MAX).redirect(reqwest::redirect::Policy::none());
        if near {
            builder = builder.no_proxy();
        }
        let http = builder.build().context("no connection can be made")?;
        Ok(Self { http, base: address.trim_end_matches('/').to_owned(), token })
    }

    /// Where it is.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Asks for something.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// Makes something.
    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Changes something.
    pub(super) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// Changes parts of something.
    pub(super) async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::PATCH, path, Some(body)).await
    }

    /// Takes something away.
    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.call(Method::DELETE, path, None).await.map(drop)
    }

    /// Takes something away, and tells what the server says of it.
    pub(super) async fn delete_answered(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::DELETE, path, None).await
    }

    /// Asks for something that takes long to find out.
    pub(super) async fn get_work(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.request(Method::GET, path).timeout(WORK_TIME_MAX);
        self.read(path, self.answered(request).await?)
    }

    /// Makes something that takes long.
    pub(super) async fn post_work(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.request(Method::POST, path).timeout(WORK_TIME_MAX).json(body);
        self.read(path, self.answered(request).await?)
    }

    /// Sends a text of some media type, whose work may take long.
    pub(super) async fn post_text(&self, path: &str, media: &str, text: String) -> anyhow::Result<Value> {
        let request = self.request(Method::POST, path).timeout(WORK_TIME_MAX);
        let request = request.header("content-type", media).body(text);
        self.read(path, self.answered(request).await?)
    }

    /// All items of a list, page by page.
    pub(super) async fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut page_path = path.to_owned();
        for _ in 0..PAGES_MAX {
            let mut page = self.get(&page_path).await?;
            match page["items"].take() {
                Value::Array(more) => items.extend(more),
                _ => bail!("{}{path} is no list of this program's management API", self.base),
            }
            let Some(cursor) = page["nextCursor"].as_str() else { return Ok(items) };
            page_path = format!("{path}?cursor={}", url_encoded(cursor));
        }
        bail!("{}{path} has no end", self.base)
    }

    /// A text answer, such as CSV.
    pub(super) async fn text(&self, path: &str) -> anyhow::Result<String> {
        let (status, body) = self.send(Method::GET, path, None).await?;
        if !(200..300).contains(&status) {
            return Err(self.refused(status, &body));
        }
        Ok(body)
    }

    /// A text answer of one media type, where a path has several.
    pub(super) async fn text_as(&self, path: &str, media: &str) -> anyhow::Result<String> {
        let request = self.request(Method::GET, path).header(reqwest::header::ACCEPT, media);
        let (status, body) = self.answered(request).await?;
        if !(200..300).contains(&status) {
            return Err(self.refused(status, &body));
        }
        Ok(body)
    }

    /// A long answer, to be read piece by piece.
    pub(super) async fn pieces(&self, path: &str) -> anyhow::Result<Pieces> {
        let request = self.request(Method::GET, path).timeout(PIECES_TIME_MAX);
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status().as_u16();
        if !(200..300).contains(&status) {
            let body = response.text().await.map_err(|error| self.unreachable(error))?;
            return Err(self.refused(status, &body));
        }
        Ok(Pieces(response))
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.read(path, self.send(method, path, body).await?)
    }

    fn read(&self, path: &str, (status, body): (u16, String)) -> anyhow::Result<Value> {
        if !(200..300).contains(&status) {
            return Err(self.refused(status, &body));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&body).with_context(|| format!("{}{path} answers something else than JSON", self.base))
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<(u16, String)> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answered(request).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(self.token.expose())
    }

    async fn answered(&self, request: reqwest::RequestBuilder) -> anyhow::Result<(u16, String)> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status().as_u16();
        Ok((status, response.text().await.map_err(|error| self.unreachable(error))?))
    }

    fn unreachable(&self, error: reqwest::Error) -> anyhow::Error {
        // The innermost cause says it best: connection refused, no such host.
        let error = error.without_url();
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let cause = causes.last().map(ToString::to_string).unwrap_or_default();
        anyhow!("no server answers at {}: {cause}", self.base)
    }

    fn refused(&self, status: u16, body: &str) -> anyhow::Error {
        let problem: Value = serde_json::from_str(body).unwrap_or_default();
        let mut detail = match problem["detail"].as_str() {
            Some(detail) => detail.to_owned(),
            None => format!("{} answered with status {status}", self.base),
        };
        if status == 401 {
            detail = format!(
                "{detail}; give an admin token with --token or TOLLGATE_ADMIN_TOKEN (`tollgate admin token create NAME` makes one)"
            );
        }
        Refused { status, problem, detail }.into()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A server that gives prepared answers, one a connection, and then tells what it was asked.
    pub(crate) fn scripted(answers: Vec<(u16, Value)>) -> (String, std::thread::JoinHandle<Vec<(String, Value)>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let answer = |(status, answer): (u16, Value)| {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(&stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    assert_ne!(reader.read_line(&mut head).unwrap(), 0);
                }
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
                reader.read_exact(&mut body).unwrap();
                let answer = if answer.is_null() { String::new() } else { answer.to_string() };
                write!(
                    &stream,
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{answer}",
                    answer.len()
                )
                .unwrap();
                let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
                assert!(head.contains("authorization: Bearer tga-1"), "{head}");
                (line, serde_json::from_slice(&body).unwrap_or_default())
            };
            answers.into_iter().map(answer).collect()
        });
        (address, thread)
    }

    pub(crate) fn client(address: &str) -> Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::new(address, Secret::new("tga-1".to_owned()), true).unwrap()
    }

    #[tokio::test]
    async fn a_list_is_read_to_its_last_page() {
        let (address, server) = scripted(vec![
            (200, serde_json::json!({ "items": [1, 2], "nextCursor": "a b" })),
            (200, serde_json::json!({ "items": [3], "nextCursor": null })),
        ]);
        assert_eq!(client(&address).list("/api/keys").await.unwrap(), [1, 2, 3]);
        let asked: Vec<String> = server.join().unwrap().into_iter().map(|(line, _)| line).collect();
        assert_eq!(asked, ["GET /api/keys", "GET /api/keys?cursor=a%20b"]);
    }

    #[tokio::test]
    async fn a_refusal_tells_what_the_server_says() {
        let problem = serde_json::json!({ "code": "name_taken", "detail": "there is one already" });
        let (address, server) = scripted(vec![(409, problem)]);
        let refused = client(&address).post("/api/keys", &Value::Null).await.unwrap_err();
        assert_eq!(refused.to_string(), "there is one already");
        assert_eq!(refused.downcast_ref::<Refused>().unwrap().code(), "name_taken");
        server.join().unwrap();
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_by_its_address() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = client(&format!("http://{free}")).get("/api/keys").await.unwrap_err().to_string();
        assert!(refused.starts_with(&format!("no server answers at http://{free}: ")), "{refused}");
    }
}
