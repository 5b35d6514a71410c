//! Logs: one subscriber, which writes text for people or JSON for machines.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::args::LogEncoding;

/// Starts logging to standard error. A second call changes nothing.
///
/// # Errors
/// The level is no level.
pub(crate) fn start(level: &str, encoding: LogEncoding) -> Result<(), ParseError> {
    // Libraries log only warnings: below that, they repeat what overlayd logs itself, and may log more than they should.
    let filter = EnvFilter::try_new(format!("warn,overlayd={level}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let started = match encoding {
        LogEncoding::Text => builder.try_init(),
        LogEncoding::Json => {
            let builder = builder.fmt_fields(JsonFields::new());
            builder.event_format(FluxLines).try_init()
        }
    };
    drop(started);
    Ok(())
}

/// The span of a reconcile. Its fields are those by which `flux logs` selects lines.
pub(crate) fn reconcile_span<K>(name: &str, namespace: Option<&str>) -> tracing::Span
where
    K: kube::Resource<DynamicType = ()>,
{
    let kind = K::kind(&());
    tracing::error_span!(
        "reconcile",
        controller = kind.to_lowercase(),
        controllerGroup = &*K::group(&()),
        controllerKind = &*kind,
        name,
        namespace,
    )
}

/// Writes an event as a line of JSON as Flux's controllers do: `level`, `ts` and `msg`, then the fields of the event and
/// those of the spans around it.
struct FluxLines;

impl<S, N> FormatEvent<S, N> for FluxLines
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Map::new();
        let spans = context.event_scope().into_iter();
        for span in spans.flat_map(tracing_subscriber::registry::Scope::from_root) {
            let extensions = span.extensions();
            let written = extensions.get::<FormattedFields<N>>();
            let written = written.and_then(|written| serde_json::from_str(&written.fields).ok());
            if let Some(Value::Object(span)) = written {
                fields.extend(span);
            }
        }
        event.record(&mut Fields(&mut fields));
        let message = fields.remove("message").unwrap_or_default();
        let level = level(*event.metadata().level());
        write!(
            writer,
            r#"{{"level":"{level}","ts":"{:.3}","msg":{message}"#,
            Timestamp::now()
        )?;
        for (name, value) in &fields {
            write!(writer, ",{}:{value}", Value::from(name.as_str()))?;
        }
        writeln!(writer, "}}")
    }
}

/// The level as Flux writes it.
fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Takes the fields of an event.
struct Fields<'f>(&'f mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use overlayd_core::api::kustomization::Kustomization;
    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_the_field_names_of_flux() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .fmt_fields(JsonFields::new())
            .event_format(FluxLines)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let _span = reconcile_span::<Kustomization>("app", Some("team")).entered();
            tracing::warn!(revision = "main@sha1:a", error = %"no \"such\" file", "not applied");
        });
        let text = String::from_utf8(sink.0.lock().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with(r#"{"level":"warn","ts":"20"#), "{text}");
        let mut line: Value = serde_json::from_str(&text).unwrap();
        let time = line["ts"].take();
        let time: Timestamp = time.as_str().unwrap().parse().unwrap();
        assert!(time <= Timestamp::now());
        let expected = json!({
            "level": "warn", "ts": null, "msg": "not applied",
            "controller": "kustomization", "controllerGroup": "kustomize.toolkit.fluxcd.io",
            "controllerKind": "Kustomization", "name": "app", "namespace": "team",
            "revision": "main@sha1:a", "error": "no \"such\" file",
        });
        assert_eq!(line, expected);
    }
}
