//! Where alerts go, and what each place is sent: the words escaped for it, so that a name in them stays a name.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use url::Url;

use super::alert::{Alert, AlertKind, AlertScope};
use crate::config::AlertsConfig;
use crate::domain::{Picodollars, Secret};

/// The longest `content` that Discord takes.
const DISCORD_CHARS_MAX: usize = 2_000;
/// Discord's flag for a message whose links show no preview.
const DISCORD_SUPPRESS_EMBEDS: u32 = 1 << 2;
/// What every chat message begins with: a channel may have other senders.
const OPENING: &str = "Tollgate: ";

/// A kind of receiver; there is at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// A Slack channel, by its incoming webhook.
    Slack,
    /// A Discord channel, by its webhook.
    Discord,
    /// Any other receiver.
    Webhook,
}

impl ChannelKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Slack, Self::Discord, Self::Webhook];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Webhook => "webhook",
        }
    }

    /// The kind that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slack => "Slack",
            Self::Discord => "Discord",
            Self::Webhook => "Webhook",
        }
    }
}

/// A receiver that is configured.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    pub(super) kind: ChannelKind,
    pub(super) url: Secret<Url>,
    secret: Option<Secret<String>>,
}

/// What is posted.
pub(super) struct Message {
    pub(super) body: Vec<u8>,
    /// The value of `x-tollgate-signature`.
    pub(super) signature: Option<String>,
}

impl Channel {
    /// The receivers that the settings name.
    pub(super) fn configured(config: &AlertsConfig) -> Vec<Self> {
        let of = |kind, url: &Option<Secret<Url>>, secret: Option<&Secret<String>>| {
            url.clone().map(|url| Self { kind, url, secret: secret.cloned() })
        };
        let slack = of(ChannelKind::Slack, &config.slack_webhook_url, None);
        let discord = of(ChannelKind::Discord, &config.discord_webhook_url, None);
        let webhook = of(ChannelKind::Webhook, &config.webhook_url, config.webhook_secret.as_ref());
        [slack, discord, webhook].into_iter().flatten().collect()
    }

    /// Whether the receiver can tell who sent a message.
    pub(super) const fn is_signed(&self) -> bool {
        self.secret.is_some()
    }

    /// What is posted for an alert.
    pub(super) fn message(&self, alert: &Alert) -> Message {
        let body = match self.kind {
            ChannelKind::Slack => written(&SlackJson {
                text: format!("{OPENING}{}", escaped_for_slack(&alert.what.text)),
                mrkdwn: false,
                unfurl_links: false,
                unfurl_media: false,
            }),
            ChannelKind::Discord => written(&DiscordJson {
                content: escaped_for_discord(OPENING, &alert.what.text),
                allowed_mentions: NoMentions { parse: [] },
                flags: DISCORD_SUPPRESS_EMBEDS,
            }),
            ChannelKind::Webhook => written(&WebhookJson::from(alert)),
        };
        let signature = self.secret.as_ref().map(|secret| signature(secret.expose(), &body));
        Message { body, signature }
    }
}

fn written(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("texts and numbers can always be written as JSON")
}

fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    digest.iter().fold("sha256=".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Slack reads `&`, `<` and `>` as its own; formatting is off by `mrkdwn`.
fn escaped_for_slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Discord reads Markdown, mentions and addresses; a backslash before each sign that can begin one leaves the sign alone.
fn escaped_for_discord(opening: &str, text: &str) -> String {
    let mut escaped = opening.to_owned();
    let mut length = opening.chars().count();
    for character in text.chars() {
        let is_sign = matches!(
            character,
            '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '<' | '#' | '[' | ']' | '(' | ')' | '@' | ':' | '-'
        );
        let width = 1 + usize::from(is_sign);
        if length + width > DISCORD_CHARS_MAX {
            break;
        }
        length += width;
        if is_sign {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[derive(Serialize)]
struct SlackJson {
    text: String,
    mrkdwn: bool,
    unfurl_links: bool,
    unfurl_media: bool,
}

#[derive(Serialize)]
struct DiscordJson {
    content: String,
    allowed_mentions: NoMentions,
    flags: u32,
}

/// Whatever the text says, nobody is called by it.
#[derive(Serialize)]
struct NoMentions {
    parse: [&'static str; 0],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WebhookJson<'a> {
    id: String,
    r#type: AlertKind,
    scope: &'a AlertScope,
    window: Option<&'static str>,
    threshold_percent: Option<u8>,
    spent_usd: Option<Picodollars>,
    limit_usd: Option<Picodollars>,
    time: String,
    text: &'a str,
}

impl<'a> From<&'a Alert> for WebhookJson<'a> {
    fn from(alert: &'a Alert) -> Self {
        let what = &alert.what;
        Self {
            id: alert.id.to_string(),
            r#type: what.kind,
            scope: &what.scope,
            window: what.window.map(|id| id.window.as_str()),
            threshold_percent: what.threshold_percent,
            spent_usd: what.spent,
            limit_usd: what.limit,
            time: alert.time.to_string(),
            text: &what.text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::alert::{AlertId, NewAlert};
    use crate::domain::{Window, WindowId};
    use proptest::prelude::*;

    const HOSTILE: &str =
        "<!channel> <@U1> @everyone & <https://evil.example|click> [click](https://evil.example) `*_~|#";

    fn alert(text: &str) -> Alert {
        let window = WindowId { window: Window::Day, number: 20_782 };
        let what = NewAlert {
            threshold_percent: Some(80),
            spent: Some("0.81".parse().unwrap()),
            limit: Some(Picodollars::from_dollars(1)),
            ..NewAlert::new(AlertKind::BudgetThreshold, AlertScope::new("key", Some("key_1")), Some(window), text)
        };
        Alert { id: AlertId(7), time: "2026-11-25T12:00:00Z".parse().unwrap(), what }
    }

    fn channel(kind: ChannelKind) -> Channel {
        let secret = (kind == ChannelKind::Webhook).then(|| Secret::new("Jefe".to_owned()));
        Channel { kind, url: Secret::new("https://hooks.example/T0/canary".parse().unwrap()), secret }
    }

    fn body(kind: ChannelKind, text: &str) -> String {
        String::from_utf8(channel(kind).message(&alert(text)).body).unwrap()
    }

    #[test]
    fn slack_is_sent_text_in_which_nothing_is_slacks_own() {
        insta::assert_snapshot!(body(ChannelKind::Slack, HOSTILE), @r##"{"text":"Tollgate: &lt;!channel&gt; &lt;@U1&gt; @everyone &amp; &lt;https://evil.example|click&gt; [click](https://evil.example) `*_~|#","mrkdwn":false,"unfurl_links":false,"unfurl_media":false}"##);
    }

    #[test]
    fn discord_is_sent_text_that_calls_nobody() {
        insta::assert_snapshot!(body(ChannelKind::Discord, HOSTILE), @r##"{"content":"Tollgate: \\<!channel\\> \\<\\@U1\\> \\@everyone & \\<https\\://evil.example\\|click\\> \\[click\\]\\(https\\://evil.example\\) \\`\\*\\_\\~\\|\\#","allowed_mentions":{"parse":[]},"flags":4}"##);
    }

    #[test]
    fn a_webhook_is_sent_every_fact_and_a_signature_over_them() {
        insta::assert_snapshot!(body(ChannelKind::Webhook, HOSTILE), @r##"{"id":"alert_7","type":"budget_threshold","scope":{"kind":"key","id":"key_1"},"window":"day","thresholdPercent":80,"spentUsd":"0.81","limitUsd":"1","time":"2026-11-25T12:00:00Z","text":"<!channel> <@U1> @everyone & <https://evil.example|click> [click](https://evil.example) `*_~|#"}"##);
        assert!(channel(ChannelKind::Webhook).message(&alert("x")).signature.unwrap().starts_with("sha256="));
        assert!(channel(ChannelKind::Slack).message(&alert("x")).signature.is_none());
    }

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        assert_eq!(
            signature("Jefe", b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_channel_never_prints_its_address() {
        assert!(!format!("{:?}", channel(ChannelKind::Webhook)).contains("canary"));
    }

    proptest! {
        #[test]
        fn no_text_reaches_slack_unescaped_or_is_too_long_for_discord(text in any::<String>()) {
            let slack = escaped_for_slack(&text);
            prop_assert!(!slack.contains(['<', '>']));
            prop_assert_eq!(slack.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"), text.clone());
            let discord = escaped_for_discord(OPENING, &text.repeat(50));
            prop_assert!(discord.chars().count() <= DISCORD_CHARS_MAX);
            prop_assert!(!discord.ends_with('\\') || discord.ends_with("\\\\"));
        }
    }
}
