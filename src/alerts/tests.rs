//! The outbox and its deliveries, over real files and a receiver on this machine.

use std::sync::atomic::{AtomicU16, Ordering};

use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::config::Config;
use crate::domain::{Window, WindowId};
use crate::store::OpenOptions;

fn noon() -> Timestamp {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

fn settings_in(folder: &Path) -> Settings {
    let path = folder.join("settings.redb");
    Settings::open(&OpenOptions { path, name: "settings", cache_bytes: 1 << 20 }).unwrap()
}

fn alerts_in(folder: &Path, text: &str, clock: &Clock) -> Arc<Alerts> {
    let config = Config::from_toml(text).unwrap();
    Arc::new(Alerts::open(settings_in(folder), &config.alerts, None, clock.clone(), TimeZone::UTC).unwrap())
}

fn about(window: u32, threshold: u8) -> NewAlert {
    let window = WindowId { window: Window::Day, number: window };
    let scope = AlertScope::new("key", Some("key_1"));
    let alert = NewAlert::new(AlertKind::BudgetThreshold, scope, Some(window), "a budget");
    NewAlert { threshold_percent: Some(threshold), ..alert }
}

/// Days since 1970 of the test's day.
const TODAY: u32 = 20_782;

fn texts(alerts: &Alerts) -> Vec<(u64, Option<u8>)> {
    let (items, _) = alerts.page(None, 100);
    items.iter().map(|logged| (logged.alert.id.0, logged.alert.what.threshold_percent)).collect()
}

#[test]
fn the_same_is_told_once_in_its_window_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(noon());
    for _ in 0..3 {
        let alerts = alerts_in(folder.path(), "", &clock);
        for _ in 0..2 {
            alerts.raise([about(TODAY, 50), about(TODAY, 80)]);
        }
        assert_eq!(texts(&alerts), [(2, Some(80)), (1, Some(50))]);
    }
    let alerts = alerts_in(folder.path(), "", &clock);
    alerts.raise([about(TODAY + 1, 50)]);
    assert_eq!(texts(&alerts), [(3, Some(50)), (2, Some(80)), (1, Some(50))]);
}

#[test]
fn what_was_told_is_forgotten_only_when_its_window_is_long_over() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(noon());
    let alerts = alerts_in(folder.path(), "", &clock);
    alerts.raise([about(TODAY, 50)]);
    clock.set(noon() + SignedDuration::from_hours(48));
    alerts.raise([about(TODAY + 2, 50)]);
    assert!(alerts.is_told(&about(TODAY, 50)), "the clock may be set back");
    clock.set(noon() + SignedDuration::from_hours(24 * 5));
    alerts.raise([about(TODAY + 5, 50)]);
    assert!(!alerts.is_told(&about(TODAY, 50)));
    drop(alerts);
    assert!(!alerts_in(folder.path(), "", &clock).is_told(&about(TODAY, 50)), "the file has forgotten too");
}

#[test]
fn an_end_is_told_where_its_beginning_was_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(noon());
    let alert = |kind, number| {
        let window = Some(WindowId { window: Window::Hour, number: TODAY * 24 + number });
        NewAlert::new(kind, AlertScope::new("provider", Some("openai")), window, "openai")
    };
    let (down, up) = (AlertKind::ProviderDown, AlertKind::ProviderRecovered);
    let kinds = |alerts: &Alerts| -> Vec<AlertKind> {
        alerts.page(None, 10).0.iter().rev().map(|logged| logged.alert.what.kind).collect()
    };
    {
        let alerts = alerts_in(folder.path(), "", &clock);
        alerts.end("openai", alert(up, 1));
        assert!(alerts.is_empty(), "nothing had begun");
        alerts.begin("openai", alert(down, 1));
        alerts.begin("openai", alert(down, 2));
        assert_eq!(kinds(&alerts), [down]);
    }
    let alerts = alerts_in(folder.path(), "", &clock);
    assert!(alerts.is_under_way("openai"), "a restart forgets nothing");
    alerts.end("openai", alert(up, 2));
    alerts.end("openai", alert(up, 2));
    assert_eq!(kinds(&alerts), [down, up]);
    for _ in 0..3 {
        alerts.begin("openai", alert(down, 2));
        alerts.end("openai", alert(up, 2));
    }
    assert_eq!(kinds(&alerts), [down, up, down], "what comes and goes is not taken for well in that window again");
    alerts.end("openai", alert(up, 3));
    assert_eq!(kinds(&alerts), [down, up, down, up], "the next window finds it well");
}

#[test]
fn the_log_has_a_bounded_length_and_is_read_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let alerts = alerts_in(folder.path(), "", &Clock::manual(noon()));
    alerts.raise((0..1_010).map(|day| about(TODAY + day, 50)));
    assert_eq!(alerts.len(), 1_000);
    let (first, next) = alerts.page(None, 600);
    let (second, end) = alerts.page(next, 600);
    assert_eq!((first.len(), second.len(), end), (600, 400, None));
    assert_eq!((first[0].alert.id.0, second[399].alert.id.0), (1_010, 11));
    drop(alerts);
    let alerts = alerts_in(folder.path(), "", &Clock::manual(noon()));
    assert_eq!(alerts.len(), 1_000);
    alerts.raise([about(TODAY + 2_000, 50)]);
    assert_eq!(alerts.page(None, 1).0[0].alert.id.0, 1_011, "no id is given twice");
}

#[test]
fn no_kind_of_alert_drives_out_another() {
    let folder = tempfile::tempdir().unwrap();
    let alerts = alerts_in(folder.path(), "", &Clock::manual(noon()));
    let down = |_| NewAlert::new(AlertKind::ProviderDown, AlertScope::new("provider", Some("p")), None, "down");
    alerts.raise((0..3).map(down));
    alerts.raise((0..2_000).map(|day| about(TODAY + day, 50)));
    alerts.raise((3..5).map(down));
    let kept = alerts.page(None, 1_000).0;
    let is_down = |logged: &&LoggedAlert| logged.alert.what.kind == AlertKind::ProviderDown;
    assert_eq!((kept.len(), kept.iter().filter(is_down).count()), (1_000, 5));
}

#[test]
fn pauses_double_and_are_bounded() {
    let pauses: Vec<u64> = (1..=12).map(|failures| pause_after(failures, 0.0).as_secs()).collect();
    assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]);
    assert!(pause_after(u32::MAX, 0.999) >= Duration::from_secs(225));
}

/// A receiver whose answer can be changed, and what it was sent.
struct Receiver {
    port: u16,
    status: Arc<AtomicU16>,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    async fn start(status: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver =
            Self { port, status: Arc::new(AtomicU16::new(status)), bodies: Arc::new(Mutex::new(Vec::new())) };
        let (status, bodies) = (Arc::clone(&receiver.status), Arc::clone(&receiver.bodies));
        Tasks::default().spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                // The client sends a length and waits: the body has come when it parses.
                let body = loop {
                    let mut chunk = [0; 4096];
                    let read = stream.read(&mut chunk).await.unwrap_or(0);
                    request.extend_from_slice(&chunk[..read]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
                    if read == 0 || serde_json::from_str::<serde_json::Value>(&body).is_ok() {
                        break body;
                    }
                };
                bodies.lock().unwrap().push(body);
                let status = status.load(Ordering::SeqCst);
                let answer = format!("HTTP/1.1 {status} X\r\nretry-after: 0\r\ncontent-length: 2\r\n\r\nno");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        receiver
    }

    fn settings(&self) -> String {
        let port = self.port;
        format!(
            "[alerts]\nslack_webhook_url = \"http://127.0.0.1:{port}/T0/canary\"\nprivate_hosts = [\"127.0.0.1\"]\n"
        )
    }

    fn count(&self) -> usize {
        self.bodies.lock().unwrap().len()
    }
}

async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it happens in time");
}

fn states(alerts: &Alerts) -> Vec<DeliveryState> {
    alerts.page(None, 10).0.iter().rev().map(|logged| logged.deliveries[0].state).collect()
}

#[tokio::test]
async fn a_receiver_that_is_away_gets_each_alert_once_when_it_is_back_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(noon());
    let receiver = Receiver::start(503).await;
    {
        let tasks = Tasks::default();
        let alerts = alerts_in(folder.path(), &receiver.settings(), &clock);
        alerts.deliver(&tasks);
        alerts.raise([about(TODAY, 50), about(TODAY, 80)]);
        until(|| receiver.count() >= 3).await;
        assert_eq!(states(&alerts), [DeliveryState::Waiting, DeliveryState::Waiting]);
        tasks.stop().await;
    }
    let before = receiver.count();
    receiver.status.store(200, Ordering::SeqCst);
    let tasks = Tasks::default();
    let alerts = alerts_in(folder.path(), &receiver.settings(), &clock);
    alerts.deliver(&tasks);
    until(|| states(&alerts) == [DeliveryState::Delivered, DeliveryState::Delivered]).await;
    assert_eq!(receiver.count() - before, 2);
    tasks.stop().await;
}

#[tokio::test]
async fn a_refusal_is_final_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(404).await;
    let tasks = Tasks::default();
    let alerts = alerts_in(folder.path(), &receiver.settings(), &Clock::manual(noon()));
    alerts.deliver(&tasks);
    alerts.raise([about(TODAY, 50)]);
    until(|| states(&alerts) == [DeliveryState::Failed]).await;
    assert_eq!(alerts.page(None, 1).0[0].deliveries[0].error.as_deref(), Some("it answered 404: no"));
    receiver.status.store(200, Ordering::SeqCst);
    alerts.raise([about(TODAY, 80)]);
    until(|| states(&alerts) == [DeliveryState::Failed, DeliveryState::Delivered]).await;
    tasks.stop().await;
}

#[tokio::test]
async fn what_could_not_be_delivered_for_a_day_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(noon());
    let receiver = Receiver::start(503).await;
    let tasks = Tasks::default();
    let alerts = alerts_in(folder.path(), &receiver.settings(), &clock);
    alerts.raise([about(TODAY, 50)]);
    clock.set(noon() + SignedDuration::from_hours(25));
    alerts.deliver(&tasks);
    until(|| states(&alerts) == [DeliveryState::Failed]).await;
    tasks.stop().await;
}

#[tokio::test]
async fn a_delivery_to_a_receiver_that_was_taken_out_of_the_settings_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(noon());
    let receiver = Receiver::start(503).await;
    alerts_in(folder.path(), &receiver.settings(), &clock).raise([about(TODAY, 50)]);
    let alerts = alerts_in(folder.path(), "", &clock);
    assert_eq!(states(&alerts), [DeliveryState::Failed]);
    assert!(alerts.channels().is_empty());
}

#[tokio::test]
async fn a_test_tells_what_came_of_it_and_stands_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(404).await;
    let alerts = alerts_in(folder.path(), &receiver.settings(), &Clock::manual(noon()));
    let tested = alerts.test(None).await;
    assert_eq!(tested, [Tested { channel: ChannelKind::Slack, error: Some("it answered 404: no".to_owned()) }]);
    receiver.status.store(204, Ordering::SeqCst);
    assert_eq!(alerts.test(Some(ChannelKind::Slack)).await[0].error, None);
    assert!(alerts.test(Some(ChannelKind::Discord)).await.is_empty(), "it is not configured");
    assert_eq!(states(&alerts), [DeliveryState::Failed, DeliveryState::Delivered]);
    assert_eq!(alerts.channels()[0].last.as_ref().unwrap().state, DeliveryState::Delivered);
    assert!(!format!("{:?}", alerts.channels()).contains("canary"));
}
