//! The server: started over a data folder, run, and stopped in an order that loses nothing.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::future::{self, Either};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::alert_watch;
use super::first_start::FirstStart;
use super::folder::DataFolder;
use super::local_token::LocalTokenFile;
use super::parts::Parts;
use super::reload::{self, Source};
use super::{reconcile_daily, report_schedule, retention, shared_news, traces};
use crate::config::Config;
use crate::domain::RequestId;
use crate::http;
use crate::keys::{LoginThrottle, SetupToken};
use crate::ledger::Inspection;
use crate::revisions::{Ask, Reloads};
use crate::runtime::Clock;

/// What runs at the stop may end until then: the longest that supervisors wait by default is 30 s.
const DRAIN_MAX: Duration = Duration::from_secs(25);
/// How long calls have that are ended then: to be booked, and to tell their clients.
const ENDING_MAX: Duration = Duration::from_secs(2);
/// How long the connections have, after the last call has ended, to take its last bytes.
const LAST_BYTES_MAX: Duration = Duration::from_secs(2);
/// How long the thread that accepts connections takes to hear that it shall not: it would log an error about the closed socket.
const PAUSE_TIME: Duration = Duration::from_millis(20);
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How often the last use of sessions is written down: at worst a crash logs someone out this much earlier.
const SESSIONS_FLUSH_INTERVAL: Duration = Duration::from_mins(5);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// In order: everything is booked.
    InOrder,
    /// At once, because it was asked for again and again.
    AtOnce,
}

/// A server that listens and is about to be run.
pub(crate) struct Server {
    address: String,
    /// To be polled: it serves while it is.
    serving: actix_web::dev::Server,
    /// The listening socket once more, to close it before the connections.
    listening: TcpListener,
    state: Arc<http::State>,
    parts: Parts,
    local_token: LocalTokenFile,
    folder: DataFolder,
    first_start: FirstStart,
    source: Source,
    asks: mpsc::Receiver<Ask>,
    /// Asks for the settings to be read again; only where they come from files.
    hangups: Option<Signal>,
}

impl Server {
    /// Builds everything, listens, and tells others on this machine where.
    pub(crate) async fn start(
        config: Config,
        source: Source,
        mut folder: DataFolder,
        version: &'static str,
    ) -> anyhow::Result<Self> {
        // First: until somebody listens for it the signal ends the process.
        let hangups = matches!(source, Source::Files(_)).then(|| signal(SignalKind::hangup())).transpose()?;
        let parts = Parts::build(config, source.file(), &folder, Clock::guarded()).await?;
        let config = Arc::clone(&parts.started);
        if parts.keys.setup_needed() && !config.listen.ip().is_loopback() {
            bail!(refusal_of_public_listen(config.listen));
        }
        let listening = TcpListener::bind(config.listen)
            .with_context(|| format!("can't listen on {}: choose another address with --listen", config.listen))?;
        let address = address_for_this_machine(listening.local_addr()?);
        let now = parts.clock.now();
        let (setup, setup_token) = if parts.keys.setup_needed() {
            let (setup, text) = SetupToken::new(now);
            (Some(setup), Some(text))
        } else {
            (None, None)
        };
        let (reloads, asks) = Reloads::channel();
        let state = Arc::new(http::State {
            keys: Arc::clone(&parts.keys),
            ledger: Arc::clone(&parts.ledger),
            budgets: Arc::clone(&parts.budgets),
            cache: Arc::clone(&parts.cache),
            alerts: Arc::clone(&parts.alerts),
            reconciler: Arc::clone(&parts.reconciler),
            revisions: Arc::clone(&parts.revisions),
            reloads,
            gateway: Arc::clone(&parts.gateway),
            metrics: Arc::clone(&parts.metrics),
            clock: parts.clock.clone(),
            tasks: parts.tasks.clone(),
            started: Instant::now(),
            version,
            setup: Mutex::new(setup),
            throttle: LoginThrottle::new(),
            draining: AtomicBool::new(false),
        });
        let clients = parts.client_settings();
        if config.providers.iter().any(|provider| provider.base_url.scheme() == "https") {
            // Beside the start: neither it nor the first call shall wait until the certificates are read.
            let clients = clients.clone();
            std::thread::spawn(move || clients.prepare());
        }
        let serving = http::serve(listening.try_clone()?, Arc::clone(&state), clients)?;
        let token = parts.keys.accept_new_admin_token("local-token");
        let local_token = LocalTokenFile::write(folder.path(), &token)
            .with_context(|| format!("the local token can't be written into {}", folder.path().display()))?;
        // Last: whoever reads the address may call it.
        folder.announce(&address)?;
        let first_start = FirstStart { setup_token, key: None };
        Ok(Self { address, serving, listening, state, parts, local_token, folder, first_start, source, asks, hangups })
    }

    /// Where it answers on this machine, such as `http://127.0.0.1:8000`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Where people reach it.
    pub(crate) fn public_address(&self) -> String {
        self.parts.started.public_url.as_ref().map_or_else(|| self.address.clone(), ToString::to_string)
    }

    /// What is to be told to whoever started it; makes the first virtual key where there has never been one.
    pub(crate) fn first_start(&mut self) -> anyhow::Result<&FirstStart> {
        let Parts { keys, started: config, clock, .. } = &self.parts;
        self.first_start.make_key(
            keys,
            config.limits.new_key_budget.as_ref(),
            &config.alerts.thresholds,
            clock.now(),
        )?;
        Ok(&self.first_start)
    }

    /// The token of the setup link, where there is no admin yet.
    pub(crate) fn setup_token(&self) -> Option<&crate::domain::Secret<String>> {
        self.first_start.setup_token.as_ref()
    }

    /// Serves until it is asked to stop, then stops in order. Asked a second time it waits for no call any more, but books what
    /// each has cost so far; a third time it ends at once.
    pub(crate) async fn run(self, mut asked_to_stop: impl AsyncFnMut()) -> anyhow::Result<Ended> {
        let Self { serving, listening, state, parts, local_token, folder, source, asks, hangups, .. } = self;
        reload::start(&parts, source, (state.reloads.clone(), asks), hangups);
        let gateway = Arc::clone(&parts.gateway);
        let retention = move || gateway.in_force().config.log.retention;
        retention::sweep_contents(&parts.content, retention, &parts.clock, &parts.tasks);
        retention::sweep_idempotency_keys(&parts.idempotency, &parts.clock, &parts.tasks);
        flush_sessions_now_and_then(&parts);
        inspect_the_ledger(&parts);
        alert_watch::start(&parts);
        shared_news::follow(&parts);
        reconcile_daily::start(&parts);
        report_schedule::start(&parts);
        traces::start(&parts, state.version)?;
        let ended = serve_and_stop(serving, listening, &state, &parts, &mut asked_to_stop).await?;
        if ended == Ended::AtOnce {
            return Ok(ended);
        }
        drop((state, local_token));
        parts.close().await;
        drop(folder);
        tracing::info!("stopped");
        Ok(Ended::InOrder)
    }
}

/// Serves, and after the first wish to stop ends the calls and then the connections.
///
/// The server is gone with everything that it holds when this returns.
async fn serve_and_stop(
    server: actix_web::dev::Server,
    listening: TcpListener,
    state: &http::State,
    parts: &Parts,
    asked_to_stop: &mut impl AsyncFnMut(),
) -> anyhow::Result<Ended> {
    let handle = server.handle();
    let mut server = pin!(server);
    if let Either::Left((ended, _)) = future::select(server.as_mut(), pin!(asked_to_stop())).await {
        ended.context("the server has stopped by itself")?;
        bail!("the server has stopped by itself");
    }
    tracing::info!("stopping: calls that run may end within {} s", DRAIN_MAX.as_secs());
    state.draining.store(true, Ordering::Release);
    let stopping = async {
        handle.pause().await;
        tokio::time::sleep(PAUSE_TIME).await;
        refuse_connections(listening);
        let drained = tokio::time::timeout(DRAIN_MAX, calls_to_end(parts));
        let is_drained = match future::select(pin!(drained), pin!(asked_to_stop())).await {
            Either::Left((drained, _)) => drained.is_ok(),
            Either::Right(_) => false,
        };
        let stopped = async {
            if !is_drained {
                end_calls(parts).await;
            }
            tokio::time::timeout(LAST_BYTES_MAX, handle.stop(true)).await
        };
        match future::select(pin!(stopped), pin!(asked_to_stop())).await {
            Either::Left(_) => Ended::InOrder,
            Either::Right(_) => Ended::AtOnce,
        }
    };
    // The server has to be polled for its handle to get an answer, and for its connections to be served.
    let mut stopping = pin!(stopping);
    match future::select(server.as_mut(), stopping.as_mut()).await {
        Either::Left(_) => Ok(stopping.await),
        Either::Right((ended, _)) => Ok(ended),
    }
}

/// Ends what still runs: streams with an error of their dialect, everything booked at what it has cost so far.
async fn end_calls(parts: &Parts) {
    let running = || parts.metrics.totals().in_flight;
    if running() > 0 {
        tracing::warn!("{} calls still run: they end now, booked at what has come of them so far", running());
    }
    parts.tasks.ending().cancel();
    if tokio::time::timeout(ENDING_MAX, calls_to_end(parts)).await.is_err() && running() > 0 {
        tracing::warn!("{} calls did not end: they are booked as unknown, at what was held for them", running());
    }
}

/// Returns when no call runs and no task that belongs to one.
async fn calls_to_end(parts: &Parts) {
    loop {
        parts.tasks.stop().await;
        if parts.metrics.totals().in_flight <= 0 && parts.tasks.is_empty() {
            return;
        }
        tokio::time::sleep(DRAIN_POLL_INTERVAL).await;
    }
}

/// Makes the system refuse new connections, while those that are there live on: clients try elsewhere at once.
fn refuse_connections(listening: TcpListener) {
    // Shutting a listening socket down ends listening on Linux; elsewhere the connections wait for the end.
    let _ = TcpStream::from(OwnedFd::from(listening)).shutdown(Shutdown::Both);
}

/// Looks at what the start had no time for, on a thread of its own beside the calls.
fn inspect_the_ledger(parts: &Parts) {
    let (ledger, now, stopping) = (Arc::clone(&parts.ledger), parts.clock.now(), parts.tasks.stopping().clone());
    std::thread::spawn(move || {
        let yesterday = RequestId::first_of((now - jiff::SignedDuration::from_hours(24)).as_millisecond());
        match ledger.inspect(yesterday, || !stopping.is_cancelled()) {
            Inspection::Sound { rows } => tracing::debug!("the ledger's {rows} rows can all be read"),
            Inspection::Unfinished => tracing::debug!("the ledger was not read to its end"),
            Inspection::Differs { differences } => tracing::error!(
                "the ledger since yesterday is wrong in {differences} places: run `tollgate verify` for which"
            ),
            Inspection::Damaged { detail } => tracing::error!("calls are refused from now on: {detail}"),
        }
    });
}

fn flush_sessions_now_and_then(parts: &Parts) {
    let (keys, clock, stopping) = (Arc::clone(&parts.keys), parts.clock.clone(), parts.tasks.stopping().clone());
    parts.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(SESSIONS_FLUSH_INTERVAL) => {}
            }
            let (keys, now) = (Arc::clone(&keys), clock.now());
            match tokio::task::spawn_blocking(move || keys.flush_sessions(now)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("the last use of sessions couldn't be written: {error}"),
                Err(error) => tracing::error!("writing the last use of sessions failed: {error}"),
            }
        }
    });
}

/// An address that can be called: one that listens everywhere is called on loopback.
fn address_for_this_machine(mut listen: SocketAddr) -> String {
    if listen.ip().is_unspecified() {
        let loopback: std::net::IpAddr =
            if listen.is_ipv4() { std::net::Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        listen.set_ip(loopback);
    }
    format!("http://{listen}")
}

fn refusal_of_public_listen(listen: SocketAddr) -> String {
    // Of a port that the system chooses, the link that the start prints tells which it is.
    let (port, shown) = match listen.port() {
        0 => (0, "PORT".to_owned()),
        port => (port, port.to_string()),
    };
    format!(
        "{listen} can be reached from other machines, and there is no admin yet, so whoever comes first could take over. Make one: \
         run `tollgate admin create NAME` here, or start once with --listen 127.0.0.1:{port} and open the setup link that it prints \
         (from another machine through `ssh -L {shown}:127.0.0.1:{shown} HOST`); then listen on {listen} again"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn start(folder: &std::path::Path, settings: &str) -> anyhow::Result<Server> {
        let folder = DataFolder::claim_within(folder, Duration::ZERO)?;
        Server::start(Config::from_toml(settings)?, Source::Fixed, folder, "0.0.0").await
    }

    fn in_system<T>(test: impl Future<Output = T>) -> T {
        actix_web::rt::System::new().block_on(test)
    }

    /// Asks to stop at once, and never again.
    fn once() -> impl AsyncFnMut() {
        let mut is_asked = false;
        async move || {
            if std::mem::replace(&mut is_asked, true) {
                future::pending::<()>().await;
            }
        }
    }

    #[test]
    fn a_public_address_is_refused_while_there_is_no_admin() {
        let folder = tempfile::tempdir().unwrap();
        for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
            let refused = in_system(start(folder.path(), &format!("listen = \"{listen}\""))).err().unwrap().to_string();
            assert!(refused.contains("no admin yet") && refused.contains("tollgate admin create"), "{refused}");
        }
    }

    #[test]
    fn a_port_that_the_system_chooses_is_not_proposed_for_a_tunnel() {
        let refused = |listen: &str| refusal_of_public_listen(listen.parse().unwrap());
        assert!(refused("0.0.0.0:8000").contains("`ssh -L 8000:127.0.0.1:8000 HOST`"));
        let told = refused("0.0.0.0:0");
        assert!(told.contains("`ssh -L PORT:127.0.0.1:PORT HOST`") && told.contains("--listen 127.0.0.1:0"), "{told}");
    }

    #[test]
    fn an_admin_may_listen_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        {
            let claimed = DataFolder::claim(folder.path()).unwrap();
            let keys = super::super::parts::open_keys(&claimed).unwrap();
            let now = jiff::Timestamp::UNIX_EPOCH;
            let (setup, text) = SetupToken::new(now);
            keys.create_first_admin(&setup, text.expose(), "ada", "correct horse battery", now).unwrap();
        }
        in_system(async {
            let server = start(folder.path(), "listen = \"0.0.0.0:0\"").await.unwrap();
            assert!(server.address().starts_with("http://127.0.0.1:"), "{}", server.address());
            assert!(server.setup_token().is_none());
            assert_eq!(server.run(once()).await.unwrap(), Ended::InOrder);
        });
    }

    #[test]
    fn a_running_server_tells_where_it_is_and_takes_that_back_at_the_stop() {
        let folder = tempfile::tempdir().unwrap();
        in_system(async {
            let mut server = start(folder.path(), "listen = \"127.0.0.1:0\"").await.unwrap();
            let lock = std::fs::read_to_string(folder.path().join("tollgate.lock")).unwrap();
            assert!(lock.contains(&format!("\"address\":\"{}\"", server.address())), "{lock}");
            let token = super::super::local_token::read(folder.path()).unwrap();
            assert!(server.parts.keys.authenticate_admin_token(token.expose()).is_ok());
            let address = server.address().to_owned();
            let told = server.first_start().unwrap().text(&address).unwrap();
            assert!(told.contains(&format!("{address}/setup?token=")) && told.contains("tg-"), "{told}");
            let refused = start(folder.path(), "listen = \"127.0.0.1:0\"").await.err().unwrap().to_string();
            assert!(refused.contains(&address) && refused.contains(&std::process::id().to_string()), "{refused}");
            assert_eq!(server.run(once()).await.unwrap(), Ended::InOrder);
            assert!(super::super::local_token::read(folder.path()).is_err());
            assert!(TcpStream::connect(address.trim_start_matches("http://")).is_err());
        });
        // The files are closed: the next one may have them.
        in_system(async {
            let server = start(folder.path(), "listen = \"127.0.0.1:0\"").await.unwrap();
            assert!(server.setup_token().is_some(), "every start without an admin has a link");
            server.run(once()).await.unwrap();
        });
    }

    #[test]
    fn asked_again_and_again_it_ends_at_once_although_a_task_still_runs() {
        let folder = tempfile::tempdir().unwrap();
        in_system(async {
            let server = start(folder.path(), "listen = \"127.0.0.1:0\"").await.unwrap();
            server.parts.tasks.spawn(future::pending::<()>());
            assert_eq!(server.run(async || {}).await.unwrap(), Ended::AtOnce);
        });
    }

    #[test]
    fn a_port_that_is_taken_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = format!("listen = \"{}\"", taken.local_addr().unwrap());
        let refused = format!("{:#}", in_system(start(folder.path(), &settings)).err().unwrap());
        assert!(refused.contains("can't listen on 127.0.0.1") && refused.contains("--listen"), "{refused}");
    }
}
