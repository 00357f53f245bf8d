//! The operations and what surrounds them.
//!
//! Every request passes `observe`, then `origins`, then `auth`, then its operation.
//!
//! Not here: sockets (`serve`).

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::answer::Answer;
use crate::auth::{Keys, authenticate};
use crate::backend::{Backend, ServedModel};
use crate::body::{self, HeldBody};
use crate::error::{ApiError, Code, json_response, quote};
use crate::limits::{BODIES_SIZE_MAX, BODY_SIZE_MAX, PREPARATIONS_MAX};
use crate::metrics::Metrics;
use crate::observe::{RequestId, observe};
use crate::origins::{Origins, share};
use crate::plan::Plan;
use crate::responses::kept::Responses;
use crate::responses::{self, Asked};
use crate::shape::{Shape, Surface};
use crate::{chat, completions, embeddings, models, stream, tokens};

/// Seconds after which a client may ask again while the node cannot answer yet.
const NOT_READY_RETRY: u32 = 5;

/// The operations in the OpenAPI format, for programs that make clients and tests of it.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// What an operator may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Keys that open the API; empty: open to all.
    pub api_keys: Vec<String>,
    /// Web pages that may call the API.
    pub origins: Origins,
    /// Bytes of one request's body, at most; never more than `limits::BODIES_SIZE_MAX`.
    pub body_size_max: usize,
}

/// The gateway: a backend, the operator's choices, and what it counts.
pub struct Gateway {
    backend: Arc<dyn Backend>,
    keys: Keys,
    origins: Origins,
    body_size_max: usize,
    metrics: Arc<Metrics>,
    /// A permit for each byte of request bodies held.
    bodies: Arc<Semaphore>,
    preparations: Arc<Semaphore>,
    responses: Arc<Responses>,
}

impl Default for Options {
    /// Open to every program, and to web pages of this machine.
    fn default() -> Options {
        Options { api_keys: Vec::new(), origins: Origins::default(), body_size_max: BODY_SIZE_MAX }
    }
}

impl Gateway {
    /// A gateway over a backend.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, options: &Options) -> Arc<Gateway> {
        Arc::new(Gateway {
            backend,
            keys: Keys::new(&options.api_keys),
            origins: options.origins.clone(),
            body_size_max: options.body_size_max.min(BODIES_SIZE_MAX),
            metrics: Arc::default(),
            bodies: Arc::new(Semaphore::new(BODIES_SIZE_MAX)),
            preparations: Arc::new(Semaphore::new(PREPARATIONS_MAX)),
            responses: Arc::default(),
        })
    }

    /// What the gateway counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(crate) fn origins(&self) -> &Origins {
        &self.origins
    }

    /// What is counted, for those who count longer than a request lasts.
    pub(crate) fn metrics_shared(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The responses that are kept.
    pub(crate) fn responses(&self) -> &Responses {
        &self.responses
    }

    pub(crate) fn check_ready(&self) -> Result<(), ApiError> {
        if let Some(pause) = self.backend.pause() {
            return Err(ApiError::new(Code::Paused, pause.reason).retry_after(pause.retry_after));
        }
        self.backend.ready().map_err(|reason| {
            let message = format!("not ready: {reason}");
            ApiError::new(Code::NotReady, message).retry_after(NOT_READY_RETRY)
        })
    }

    /// Reads a request's body.
    pub(crate) async fn read(&self, request: Request) -> Result<HeldBody, ApiError> {
        body::read(request, self.body_size_max, &self.bodies).await
    }

    /// Reads and understands a request for a response.
    pub(crate) async fn asked(&self, request: Request) -> Result<Asked, ApiError> {
        let body = self.read(request).await?;
        let responses = Arc::clone(&self.responses);
        self.prepare(move |models| responses::plan(&body.bytes, models, &responses)).await
    }

    async fn plan(&self, surface: Surface, body: HeldBody) -> Result<Plan, ApiError> {
        self.prepare(move |models| match surface {
            Surface::Chat => chat::plan(&body.bytes, models),
            Surface::Completions => completions::plan(&body.bytes, models),
        })
        .await
    }

    /// Decodes and tokenises, off the threads that serve sockets: a long prompt takes a while.
    pub(crate) async fn prepare<T: Send + 'static>(
        &self,
        work: impl FnOnce(&[Arc<ServedModel>]) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let stopped = |error: &dyn fmt::Display| {
            ApiError::new(Code::Internal, "the request could not be prepared").because(error)
        };
        let turn = Arc::clone(&self.preparations).acquire_owned();
        let turn = turn.await.map_err(|error| stopped(&error))?;
        let models = self.backend.models();
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&models)
        });
        done.await.map_err(|error| stopped(&error))?
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("origins", &self.origins).finish_non_exhaustive()
    }
}

/// The operations by their paths.
fn operations() -> Vec<(&'static str, MethodRouter<Arc<Gateway>>)> {
    vec![
        ("/v1/chat/completions", post(chat)),
        ("/v1/completions", post(completions)),
        ("/v1/embeddings", post(embeddings::embeddings)),
        ("/v1/responses", post(responses::create)),
        ("/v1/responses/input_tokens", post(responses::count)),
        ("/v1/responses/{id}", get(responses::retrieve).delete(responses::delete)),
        ("/v1/responses/{id}/cancel", post(responses::cancel)),
        ("/v1/responses/{id}/input_items", get(responses::input_items)),
        ("/v1/models", get(models::list)),
        ("/v1/models/{*id}", get(models::one)),
        ("/tokenize", post(tokens::tokenize)),
        ("/detokenize", post(tokens::detokenize)),
        ("/tokenizer_info", get(tokens::info)),
        ("/openapi.json", get(openapi)),
        ("/livez", get(livez)),
        ("/readyz", get(readyz)),
        ("/metrics", get(metrics)),
    ]
}

/// The paths that are served, as `openapi.json` spells them.
#[must_use]
pub fn paths() -> Vec<String> {
    operations().into_iter().map(|(path, _)| path.replace("{*", "{")).collect()
}

/// The routes of a gateway.
pub fn router(gateway: Arc<Gateway>) -> Router {
    let routes = operations().into_iter();
    routes
        .fold(Router::new(), |router, (path, methods)| router.route(path, methods))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(unknown_url)
        .layer(from_fn_with_state(Arc::clone(&gateway), authenticate))
        .layer(from_fn_with_state(Arc::clone(&gateway), share))
        .layer(from_fn_with_state(Arc::clone(&gateway), observe))
        .with_state(gateway)
}

async fn chat(
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(&gateway, id, request, Surface::Chat).await
}

async fn completions(
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(&gateway, id, request, Surface::Completions).await
}

async fn answer(
    gateway: &Gateway,
    id: RequestId,
    request: Request,
    surface: Surface,
) -> Result<Response, ApiError> {
    gateway.check_ready()?;
    let body = gateway.read(request).await?;
    let plan = gateway.plan(surface, body).await?;
    let shape = Shape::new(&plan)?;
    let answer = Answer::start(&plan, gateway.backend(), &gateway.metrics).await?;
    let worker = answer.worker();
    let mut response = match plan.stream {
        Some(options) => stream::respond(answer, shape, options, id),
        None => answer.whole(&shape).await?,
    };
    if let Some(worker) = worker {
        response.headers_mut().insert("x-mashaa-worker", worker);
    }
    Ok(response)
}

/// The document that describes the operations.
async fn openapi() -> Response {
    let mut response = OPENAPI.into_response();
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

async fn livez() -> Response {
    json_response(StatusCode::OK, &json!({"status": "alive"}))
}

async fn readyz(State(gateway): State<Arc<Gateway>>) -> Result<Response, ApiError> {
    gateway.check_ready()?;
    Ok(json_response(StatusCode::OK, &json!({"status": "ready"})))
}

async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    let mut response = gateway.metrics.render().into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

async fn method_not_allowed(request: Request) -> ApiError {
    let (method, path) = (request.method(), quote(request.uri().path()));
    ApiError::new(Code::MethodNotAllowed, format!("{path} does not take {method}"))
}

async fn unknown_url(uri: Uri) -> ApiError {
    ApiError::new(Code::UnknownUrl, format!("there is nothing at {}", quote(uri.path())))
}
