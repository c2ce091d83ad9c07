//! stub
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
#[derive(Clone, Debug, Default)]
pub struct SandboxSettings { pub latency: Duration, pub chunk_delay: Duration, pub error_rate: f64, pub rate_limit_rate: f64, pub hang_rate: f64, pub script: Arc<[ScriptLine]> }
#[derive(Clone, Debug)]
pub struct ScriptLine;
pub struct SandboxRequest<'a> { pub method: &'a str, pub path: &'a str, pub headers: &'a http::HeaderMap, pub body: &'a [u8] }
pub struct SandboxAnswer { pub status: u16, pub headers: http::HeaderMap, pub delay: Duration, pub body: SandboxBody, pub hang: bool }
pub enum SandboxBody { Whole(Bytes), Stream { frames: Vec<Bytes>, delay: Duration, cut: bool } }
pub fn answer(_s: &SandboxSettings, _r: &SandboxRequest<'_>) -> SandboxAnswer { SandboxAnswer { status: 500, headers: http::HeaderMap::new(), delay: Duration::ZERO, body: SandboxBody::Whole(Bytes::new()), hang: false } }
#[derive(Debug, thiserror::Error)]
#[error("stub")]
pub struct ScriptError;
pub fn parse_script(_: &str) -> Result<Arc<[ScriptLine]>, ScriptError> { Ok(Arc::default()) }
