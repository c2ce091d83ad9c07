//! `tollgate sandbox`: the built-in provider as a plain upstream.

use std::net::TcpListener;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use futures_util::future;

use super::super::parts::read_script;
use super::serve::Signals;
use super::{block_on, terminal};
use crate::http::sandbox_server;
use crate::provider::sandbox::SandboxSettings;

const EXAMPLES: &str = "\
Examples:
  tollgate sandbox
  tollgate sandbox --listen 127.0.0.1:9100 --latency 300ms --error-rate 0.05
  OPENAI_BASE_URL=http://127.0.0.1:9100/v1 OPENAI_API_KEY=any python my_program.py
  curl http://127.0.0.1:9100/v1/chat/completions -H 'authorization: Bearer any' \\
    -H 'content-type: application/json' -H 'x-tollgate-sandbox: latency=50ms,error=500' \\
    -d '{\"model\":\"sandbox-small\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}'

It asks for no valid credential, calls nobody and keeps nothing. The same request gets the same answer.";

/// Arguments of `sandbox`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SandboxArguments {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9100")]
    listen: String,
    /// How long every answer waits before its first byte
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    latency: Duration,
    /// How long a stream waits between two chunks
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    chunk_delay: Duration,
    /// The share of calls that fail with a 500, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    error_rate: f64,
    /// The share of calls that are refused with a 429, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    rate_limit_rate: f64,
    /// The share of calls that are never answered, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    hang_rate: f64,
    /// Answers of your own: lines of {"match":"…","answer":"…"}
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "give a share from 0 to 1, such as 0.05".to_owned())
}

/// Serves the sandbox until a signal stops it.
pub(super) fn run(arguments: &SandboxArguments) -> anyhow::Result<ExitCode> {
    let settings = SandboxSettings {
        latency: arguments.latency,
        chunk_delay: arguments.chunk_delay,
        error_rate: arguments.error_rate,
        rate_limit_rate: arguments.rate_limit_rate,
        hang_rate: arguments.hang_rate,
        script: arguments.script.as_deref().map(read_script).transpose()?.unwrap_or_default(),
    };
    let listen = &arguments.listen;
    let listener = TcpListener::bind(listen)
        .with_context(|| format!("can't listen on {listen}: choose another address with --listen"))?;
    let address = listener.local_addr()?;
    block_on(async {
        let mut signals = Signals::listen()?;
        let server = sandbox_server::serve(listener, settings)?;
        terminal::tell(&format!(
            "the sandbox listens on http://{address}\n  OpenAI SDKs:    base URL http://{address}/v1, any API key\n  Anthropic SDKs: base URL http://{address}, any API key"
        ));
        let handle = server.handle();
        let stopping = async {
            signals.next().await;
            handle.stop(true).await;
        };
        let (served, ()) = future::join(pin!(server), stopping).await;
        served?;
        Ok(ExitCode::SUCCESS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_lies_between_nothing_and_all() {
        assert_eq!(share("0.25"), Ok(0.25));
        for text in ["-0.1", "1.1", "NaN", "5%", ""] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
