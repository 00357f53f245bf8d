//! Spans of answers, for a collector of OpenTelemetry (OTLP over HTTP, as JSON).
//!
//! A span is made of the log's line about an answer (docs/cli.md, "The log"), so that both say the same; the
//! library batches them, and sends them from a thread of its own.
//!
//! Invariants:
//! - No answer waits for a collector: what is too much for it, or what it does not take, is lost, and said.
//! - A span holds no prompt and no answer.
//!
//! Not here: which fields there are (`gateway`), and how the log is written (`log`).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use node::config::{Config, ConfigError};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, IdGenerator, RandomIdGenerator, SpanData, SpanEvents,
    SpanLinks, SpanProcessor,
};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Where the lines about answers come from.
pub(crate) const TARGET: &str = "gateway::caller";
/// The line that becomes a span.
const MESSAGE: &str = "answered";
/// Spans that wait for the collector, at most; later ones are lost.
const WAITING_MAX: usize = 2048;
/// Between two batches.
const PAUSE: Duration = Duration::from_secs(2);
/// A collector that takes longer has failed.
const TIME_MAX: Duration = Duration::from_secs(10);
/// How long a node that ends waits for its last spans.
const END_MAX: Duration = Duration::from_secs(5);
/// An answer of the collector, at most.
const ANSWER_SIZE_MAX: u64 = 64 << 10;
/// Fields of a span, at most: twice as many as there are.
const FIELDS_MAX: usize = 32;
const WANTED: &str = "http://HOST:PORT of a collector, with a path unless it is /v1/traces";

/// Makes spans of the log's lines.
#[derive(Debug)]
pub(crate) struct Spans {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

/// Sends the last spans when it goes.
#[derive(Debug)]
pub(crate) struct Sending(Arc<Spans>);

/// What is asked of the collector takes the way of the tree's other requests.
#[derive(Debug)]
struct Client(ureq::Agent);

/// The spans, as a part of the log.
#[derive(Debug)]
pub(crate) struct Layered(pub(crate) Arc<Spans>);

/// The fields of a line.
#[derive(Debug, Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Spans {
    /// None where the setting `traces` names no collector.
    ///
    /// # Errors
    /// When the setting is not what it takes.
    pub(crate) fn of(config: &Config) -> Result<Option<Spans>, ConfigError> {
        let said = config.text("traces");
        if said.is_empty() {
            return Ok(None);
        }
        let wrong = || config.wrong("traces", WANTED);
        let url: ureq::http::Uri = said.parse().map_err(|_| wrong())?;
        let scheme = url.scheme_str().filter(|it| ["http", "https"].contains(it));
        let authority = url.authority().ok_or_else(wrong)?;
        let path = if url.path() == "/" { "/v1/traces" } else { url.path() };
        let url = format!("{}://{authority}{path}", scheme.ok_or_else(wrong)?);
        let agent = ureq::Agent::config_builder().proxy(None).http_status_as_error(false);
        let agent = agent.timeout_global(Some(TIME_MAX)).build().into();
        let exporter = SpanExporter::builder().with_http().with_http_client(Client(agent));
        let exporter = exporter.with_protocol(Protocol::HttpJson).with_endpoint(url);
        let exporter = exporter.with_timeout(TIME_MAX).build().map_err(|_| wrong())?;
        let batches = BatchConfigBuilder::default().with_max_queue_size(WAITING_MAX);
        let batches = batches.with_scheduled_delay(PAUSE).build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches);
        let mut processor = processor.build();
        let version = env!("CARGO_PKG_VERSION");
        let service = Resource::builder_empty().with_service_name("mashaa");
        let service = service.with_attribute(KeyValue::new("service.version", version));
        processor.set_resource(&service.build());
        let scope = InstrumentationScope::builder(TARGET).with_version(version).build();
        Ok(Some(Spans { processor, scope }))
    }
}

impl Sending {
    /// Those of some spans, which a subscriber keeps to the end of the process.
    pub(crate) fn of(spans: &Arc<Spans>) -> Sending {
        Sending(Arc::clone(spans))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        // What cannot be sent by now is lost, as is what a collector does not take.
        let _ = self.0.processor.shutdown_with_timeout(END_MAX);
    }
}

impl<S: Subscriber> Layer<S> for Layered {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(span) = fields.span(SystemTime::now(), &self.0.scope) {
            self.0.processor.on_end(span);
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    /// Waits in the thread of the library's that asks.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let url = request.uri().clone();
        let answer = self.0.run(request.map(|body| body.to_vec())).and_then(|answer| {
            let (head, mut body) = answer.into_parts();
            let body = body.with_config().limit(ANSWER_SIZE_MAX).read_to_vec()?;
            Ok(Response::from_parts(head, Bytes::from(body)))
        });
        match &answer {
            Ok(it) if it.status().is_success() => {}
            Ok(it) => tracing::warn!(%url, status = it.status().as_u16(), "spans are not taken"),
            Err(error) => tracing::warn!(%url, %error, "spans are not taken"),
        }
        Ok(answer?)
    }
}

impl Fields {
    /// The span of an answer that ended at a time; none where it is another line.
    fn span(mut self, end: SystemTime, scope: &InstrumentationScope) -> Option<SpanData> {
        if self.take("message")?.as_str() != MESSAGE {
            return None;
        }
        let milliseconds = match self.take("duration_ms") {
            Some(Value::I64(it)) => u64::try_from(it).unwrap_or(0),
            _ => 0,
        };
        let trace = self.take("trace_id").and_then(|it| TraceId::from_hex(&it.as_str()).ok());
        let parent = self.take("parent_span_id");
        let parent = parent.and_then(|it| SpanId::from_hex(&it.as_str()).ok());
        let own = self.take("span_id").and_then(|it| SpanId::from_hex(&it.as_str()).ok());
        let ids = RandomIdGenerator::default();
        let context = SpanContext::new(
            trace.unwrap_or_else(|| ids.new_trace_id()),
            own.unwrap_or_else(|| ids.new_span_id()),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        );
        let of = |name: &str| self.0.iter().find(|it| it.0 == name).map(|it| it.1.as_str());
        let name = [of("gen_ai.operation.name")?, of("gen_ai.request.model")?].join(" ");
        let status = match of("error.type") {
            Some(error) => Status::error(error.into_owned()),
            None => Status::Unset,
        };
        let attributes = self.0.into_iter().map(|(name, value)| attribute(name, value)).collect();
        Some(SpanData {
            span_context: context,
            parent_span_id: parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: parent.is_some(),
            span_kind: SpanKind::Server,
            name: name.into(),
            start_time: end.checked_sub(Duration::from_millis(milliseconds)).unwrap_or(end),
            end_time: end,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: scope.clone(),
        })
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|it| it.0 == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        if self.0.len() < FIELDS_MAX {
            self.0.push((field.name(), value.into()));
        }
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

/// An attribute by its name in the conventions, or under `mashaa` where they have none.
fn attribute(name: &'static str, value: Value) -> KeyValue {
    match name {
        "gen_ai.response.finish_reasons" => {
            let reasons = value.as_str();
            let reasons = reasons.split(',').filter(|it| !it.is_empty());
            let reasons = reasons.map(|it| StringValue::from(it.to_owned())).collect();
            KeyValue::new(name, Value::Array(Array::String(reasons)))
        }
        _ if name.contains('.') => KeyValue::new(name, value),
        _ => KeyValue::new(format!("mashaa.{name}"), value),
    }
}
