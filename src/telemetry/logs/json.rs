//! An event as a line of JSON: when, how grave, what, where from.
//!
//! Written straight from the event: each call has such a line, and going through a serializer costs three times as much.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// `{"timestamp":…,"level":…,"fields":{"message":…},"target":…}`.
pub(super) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        line.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut line)?;
        line.write_str("\",\"level\":\"")?;
        line.write_str(event.metadata().level().as_str())?;
        line.write_str("\",\"fields\":{")?;
        let mut fields = Fields { line: &mut line, is_first: true, written: Ok(()) };
        event.record(&mut fields);
        fields.written?;
        line.write_str("},\"target\":")?;
        write_text(&mut line, event.metadata().target())?;
        line.write_str("}\n")
    }
}

struct Fields<'a, 'w> {
    line: &'a mut Writer<'w>,
    is_first: bool,
    /// The visitor's methods can't fail, so the failure waits here.
    written: fmt::Result,
}

impl Fields<'_, '_> {
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let is_first = std::mem::replace(&mut self.is_first, false);
        if self.written.is_ok() {
            self.written = (|| {
                if !is_first {
                    self.line.write_char(',')?;
                }
                write_text(self.line, field.name())?;
                self.line.write_char(':')?;
                value(self.line)
            })();
        }
    }
}

impl Visit for Fields<'_, '_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |line| write!(line, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, |line| write!(line, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // What JSON has no number for.
        self.field(field, |line| if value.is_finite() { write!(line, "{value}") } else { line.write_str("null") });
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, |line| line.write_str(if value { "true" } else { "false" }));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, |line| write_text(line, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, |line| {
            line.write_char('"')?;
            write!(Escaped(line), "{value:?}")?;
            line.write_char('"')
        });
    }
}

fn write_text(line: &mut Writer<'_>, text: &str) -> fmt::Result {
    line.write_char('"')?;
    Escaped(line).write_str(text)?;
    line.write_char('"')
}

/// Escapes what may not stand inside a JSON text.
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
            self.0.write_str(&rest[..at])?;
            match rest.as_bytes()[at] {
                b'\n' => self.0.write_str("\\n")?,
                byte @ (b'"' | b'\\') => write!(self.0, "\\{}", char::from(byte))?,
                byte => write!(self.0, "\\u{byte:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::Lines;
    use super::*;
    use std::sync::mpsc;

    struct Told(mpsc::Sender<Vec<u8>>);

    impl std::io::Write for Told {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn told(log: impl FnOnce()) -> serde_json::Value {
        let (tell, told) = mpsc::channel();
        let subscriber = tracing_subscriber::fmt()
            .event_format(JsonLine)
            .with_writer(&*Box::leak(Box::new(Lines::new(Told(tell)))))
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let line = String::from_utf8(told.try_iter().flatten().collect()).unwrap();
        assert!(line.ends_with("}\n") && line.lines().count() == 1, "{line}");
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn a_line_is_sound_json_whatever_is_in_it() {
        let text = "a \"quoted\" \\ line\n\tand é \u{7} 안녕";
        let line = told(|| {
            let absent: Option<&str> = None;
            tracing::warn!({ "gateway.cost" } = 5_u64, minus = -3, part = 0.5, no = f64::NAN, is = true, text, absent,
                shown = %text, printed = ?text, "it says {text}");
        });
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["target"], module_path!());
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
        let fields = &line["fields"];
        assert_eq!(
            (&fields["gateway.cost"], &fields["minus"], &fields["part"]),
            (&5.into(), &(-3).into(), &0.5.into())
        );
        assert_eq!((&fields["no"], &fields["is"]), (&serde_json::Value::Null, &true.into()));
        assert_eq!((fields["text"].as_str(), fields["shown"].as_str()), (Some(text), Some(text)));
        assert_eq!(fields["printed"], format!("{text:?}"));
        assert_eq!(fields["message"], format!("it says {text}"));
        assert!(fields.get("absent").is_none());
    }

    #[test]
    fn a_message_may_be_all_there_is() {
        assert_eq!(told(|| tracing::info!("stopped"))["fields"], serde_json::json!({ "message": "stopped" }));
    }
}
