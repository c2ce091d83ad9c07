//! `tollgate serve`: the server, until a signal stops it.

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::super::folder::DataFolder;
use super::super::reload::Source;
use super::super::serve::{Ended, Server};
use super::{Shared, VERSION, block_on, terminal};

const EXAMPLES: &str = "\
Examples:
  tollgate serve
  tollgate serve --listen 127.0.0.1:9000 --data-dir /var/lib/tollgate
  OPENAI_API_KEY=sk-... tollgate

The first start prints a link to the dashboard and one virtual key. To listen on an address that other machines reach,
there must be an admin. A change of tollgate.toml, .env or the price file is taken over at once, if all of it can be; SIGHUP has
them read again (what needs a restart is told). SIGTERM and Ctrl-C let calls that run end within 25 s;
a second one ends them now, booked at what they have cost so far, and a third the process itself.";

/// Arguments of `serve`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServeArguments {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

/// Starts the server and runs it.
pub(super) fn run(shared: &Shared, arguments: &ServeArguments) -> anyhow::Result<ExitCode> {
    let listen = arguments.listen.iter().map(|address| ("listen", address.clone()));
    let settings = shared.settings(listen);
    let config = settings.load()?;
    for warning in &config.warnings {
        tracing::warn!("settings: {}", warning.with_place());
    }
    let folder = DataFolder::claim(&config.data_dir)?;
    block_on(async {
        let mut signals = Signals::listen()?;
        let mut server = Server::start(config, Source::Files(settings), folder, VERSION).await?;
        let (address, public) = (server.address().to_owned(), server.public_address());
        tracing::info!("Tollgate {VERSION} listens on {address}");
        if let Some(text) = server.first_start()?.text(&public) {
            terminal::tell(&text);
        }
        let ended = server.run(async || signals.next().await).await?;
        // From here, where all is closed: an ordinary return would wait for threads that read a disk which no longer answers.
        terminal::end(match ended {
            Ended::InOrder => 0,
            Ended::AtOnce => 1,
        })
    })
}

/// What asks a process to end.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from the system, which would end the process.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
