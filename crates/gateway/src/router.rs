//! The operations and what surrounds them.
//!
//! Every request passes `observe`, then `origins`, then `auth`, then `idempotency`, then its operation.
//!
//! Not here: sockets (`serve`).

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::answer::{Answer, name_worker};
use crate::archive::Archive;
use crate::auth::ring::Ring;
use crate::auth::{Keys, authenticate};
use crate::backend::{Backend, ServedModel};
use crate::body::{self, HeldBody};
use crate::caller::Caller;
use crate::error::{self, ApiError, Code, json_response};
use crate::idempotency::{Answers, once};
use crate::limits::{BODIES_SIZE_MAX, BODY_SIZE_MAX, PREPARATIONS_MAX};
use crate::metrics::Metrics;
use crate::observe::{RequestId, observe};
use crate::origins::{Origins, share};
use crate::plan::Plan;
use crate::responses::kept::Responses;
use crate::responses::{self, Asked};
use crate::shape::{Shape, Surface};
use crate::stored::{self, Keeper};
use crate::turns::Turns;
use crate::{
    batches, chat, completions, embeddings, files, messages, models, quote, stream, tokens,
};

/// Seconds after which a client may ask again while the node cannot answer yet.
const NOT_READY_RETRY: u32 = 5;

/// The operations in the OpenAPI format, for programs that make clients and tests of it.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// What an operator may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// Keys that may do everything; without them and a ring the API is open to all.
    pub api_keys: Vec<String>,
    /// Keys with scopes and limits.
    pub ring: Option<Arc<Ring>>,
    /// Web pages that may call the API.
    pub origins: Origins,
    /// Bytes of one request's body, at most; never more than `limits::BODIES_SIZE_MAX`.
    pub body_size_max: usize,
    /// Where files and batches are kept, if they are.
    pub archive: Option<Arc<Archive>>,
    /// Whether the log holds prompts.
    pub log_prompts: bool,
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
    /// Chat completions that are kept.
    completions: Arc<Responses>,
    archive: Option<Arc<Archive>>,
    log_prompts: bool,
    turns: Arc<Turns>,
    answers: Arc<Answers>,
}

impl Default for Options {
    /// Open to every program, and to web pages of this machine.
    fn default() -> Options {
        Options {
            api_keys: Vec::new(),
            ring: None,
            origins: Origins::default(),
            body_size_max: BODY_SIZE_MAX,
            archive: None,
            log_prompts: false,
        }
    }
}

impl Options {
    /// All keys that open the API.
    #[must_use]
    pub fn keys(&self) -> Keys {
        let keys = Keys::new(&self.api_keys);
        match &self.ring {
            Some(ring) => keys.with_ring(Arc::clone(ring)),
            None => keys,
        }
    }
}

impl Gateway {
    /// A gateway over a backend.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, options: &Options) -> Arc<Gateway> {
        Arc::new(Gateway {
            backend,
            keys: options.keys(),
            origins: options.origins.clone(),
            body_size_max: options.body_size_max.min(BODIES_SIZE_MAX),
            metrics: Arc::default(),
            bodies: Arc::new(Semaphore::new(BODIES_SIZE_MAX)),
            preparations: Arc::new(Semaphore::new(PREPARATIONS_MAX)),
            responses: Arc::default(),
            completions: Arc::default(),
            archive: options.archive.clone(),
            log_prompts: options.log_prompts,
            turns: Arc::default(),
            answers: Arc::default(),
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

    pub(crate) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }

    pub(crate) fn log_prompts(&self) -> bool {
        self.log_prompts
    }

    /// What is counted, for those who count longer than a request lasts.
    pub(crate) fn metrics_shared(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The chat completions that are kept.
    pub(crate) fn completions(&self) -> &Responses {
        &self.completions
    }

    /// Where files and batches are kept.
    pub(crate) fn archive(&self) -> Result<&Archive, ApiError> {
        let none = || ApiError::new(Code::UnknownUrl, "no files and batches are kept here");
        self.archive.as_deref().ok_or_else(none)
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

    /// The answers to requests that had a key.
    pub(crate) fn answers(&self) -> &Arc<Answers> {
        &self.answers
    }

    /// Reads a body of any kind, which is read again by whom it is for.
    pub(crate) async fn collect(&self, body: Body) -> Result<Vec<u8>, ApiError> {
        Ok(body::hold(body, self.body_size_max, &self.bodies).await?.bytes)
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
        ("/v1/chat/completions", post(chat).get(stored::list)),
        (
            "/v1/chat/completions/{id}",
            get(stored::retrieve).post(stored::update).delete(stored::delete),
        ),
        ("/v1/chat/completions/{id}/messages", get(stored::messages)),
        ("/v1/completions", post(completions)),
        ("/v1/embeddings", post(embeddings::embeddings)),
        ("/v1/responses", post(responses::create)),
        ("/v1/responses/input_tokens", post(responses::count)),
        ("/v1/responses/{id}", get(responses::retrieve).delete(responses::delete)),
        ("/v1/responses/{id}/cancel", post(responses::cancel)),
        ("/v1/responses/{id}/input_items", get(responses::input_items)),
        ("/v1/messages", post(messages::create)),
        ("/v1/messages/count_tokens", post(messages::count)),
        ("/v1/files", get(files::list).post(files::create)),
        ("/v1/files/{id}", get(files::retrieve).delete(files::delete)),
        ("/v1/files/{id}/content", get(files::content)),
        ("/v1/batches", get(batches::list).post(batches::create)),
        ("/v1/batches/{id}", get(batches::retrieve)),
        ("/v1/batches/{id}/cancel", post(batches::cancel)),
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
        .layer(from_fn_with_state(Arc::clone(&gateway), once))
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

pub(crate) async fn answer(
    gateway: &Gateway,
    id: RequestId,
    request: Request,
    surface: Surface,
) -> Result<Response, ApiError> {
    gateway.check_ready()?;
    let caller = Caller::of(gateway, &request);
    let body = gateway.read(request).await?;
    let mut plan = gateway.plan(surface, body).await?;
    plan.caller = caller;
    if plan.dry_run {
        return Ok(quote::respond(&plan, gateway.backend()));
    }
    let shape = Shape::new(&plan)?;
    let answer = Answer::start(&plan, gateway).await?;
    let worker = answer.worker();
    let completions = &gateway.completions;
    let keeper = plan.keep.map(|keep| Keeper { completions: Arc::clone(completions), keep });
    let mut response = match plan.stream {
        Some(options) => stream::respond(answer, shape, options, id, keeper),
        None => answer.whole(&shape, keeper).await?,
    };
    name_worker(&mut response, worker);
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
    let bodies = BODIES_SIZE_MAX.saturating_sub(gateway.bodies.available_permits());
    let page = gateway.metrics.render(gateway.backend.places(), bodies);
    let mut response = page.into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

async fn method_not_allowed(request: Request) -> ApiError {
    let (method, path) = (request.method(), error::quote(request.uri().path()));
    ApiError::new(Code::MethodNotAllowed, format!("{path} does not take {method}"))
}

async fn unknown_url(uri: Uri) -> ApiError {
    ApiError::new(Code::UnknownUrl, format!("there is nothing at {}", error::quote(uri.path())))
}
