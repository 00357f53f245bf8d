//! Errors as clients see them.
//!
//! Invariants:
//! - Every error body is `{"error":{"message","type","param","code"}}`, all four keys, nothing else.
//! - What goes into `private` reaches the log and never the client.
//!
//! Not here: the `x-request-id` header and the log line, which `observe` adds to every response.

use std::fmt;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::limits::QUOTE_LENGTH_MAX;

/// One refused or failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// What happened; decides the status.
    pub code: Code,
    /// Said to the client.
    pub public: String,
    /// The request field at fault, as a path: `messages[2].content`.
    pub param: Option<String>,
    /// Said to the log only.
    pub private: Option<String>,
    /// When to come back, in seconds.
    pub retry_after: Option<u32>,
}

/// The kinds of error; part of the API, listed in `docs/api.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The body is not JSON.
    InvalidJson,
    /// A field has the wrong JSON type.
    InvalidType,
    /// A field's value is outside its range.
    InvalidValue,
    /// A field that must be there is not.
    MissingParameter,
    /// A field, or this value of it, is not served.
    UnsupportedParameter,
    /// The prompt does not fit the model's context.
    ContextLengthExceeded,
    /// The model's chat template is missing or refuses the conversation.
    TemplateRefused,
    /// No API key, or a wrong one.
    InvalidApiKey,
    /// The key is not for this.
    InsufficientScope,
    /// The key has spent what it may, or the answer could cost more than it has left.
    SpendingCap,
    /// Whoever asks may not.
    Forbidden,
    /// No such model is served.
    ModelNotFound,
    /// No such response is kept.
    ResponseNotFound,
    /// No such chat completion is kept.
    CompletionNotFound,
    /// No such file is kept.
    FileNotFound,
    /// No such batch is kept.
    BatchNotFound,
    /// There is no room for another file, or batch.
    StorageFull,
    /// A request with this key is being answered.
    KeyInUse,
    /// The key was used for another request.
    KeyReused,
    /// The body is not multipart form data.
    InvalidMultipart,
    /// No such path.
    UnknownUrl,
    /// The path does not take this method.
    MethodNotAllowed,
    /// The client did not send its body in time.
    RequestTimeout,
    /// The body is larger than the gateway takes.
    BodyTooLarge,
    /// The body is not declared as JSON.
    UnsupportedMediaType,
    /// The key has used what it may for now.
    RateLimited,
    /// Everything is in use; come back later.
    Busy,
    /// A bug or a failing machine.
    Internal,
    /// The answer broke off before its end.
    AnswerBroken,
    /// The node cannot answer yet.
    NotReady,
    /// The machine's owner has stopped the work for a while.
    Paused,
    /// The answer stayed silent too long.
    AnswerTimeout,
}

impl Code {
    /// Each.
    pub const ALL: [Code; 32] = [
        Code::InvalidJson,
        Code::InvalidType,
        Code::InvalidValue,
        Code::MissingParameter,
        Code::UnsupportedParameter,
        Code::ContextLengthExceeded,
        Code::TemplateRefused,
        Code::InvalidApiKey,
        Code::InsufficientScope,
        Code::SpendingCap,
        Code::Forbidden,
        Code::ModelNotFound,
        Code::ResponseNotFound,
        Code::CompletionNotFound,
        Code::FileNotFound,
        Code::BatchNotFound,
        Code::StorageFull,
        Code::KeyInUse,
        Code::KeyReused,
        Code::InvalidMultipart,
        Code::UnknownUrl,
        Code::MethodNotAllowed,
        Code::RequestTimeout,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::RateLimited,
        Code::Busy,
        Code::Internal,
        Code::AnswerBroken,
        Code::NotReady,
        Code::Paused,
        Code::AnswerTimeout,
    ];

    /// The code as the body spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.row().1
    }

    /// The error's `type`, by status as in the OpenAI API.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self.status().as_u16() {
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        }
    }

    fn row(self) -> (&'static str, StatusCode) {
        match self {
            Code::InvalidJson => ("invalid_json", StatusCode::BAD_REQUEST),
            Code::InvalidType => ("invalid_type", StatusCode::BAD_REQUEST),
            Code::InvalidValue => ("invalid_value", StatusCode::BAD_REQUEST),
            Code::MissingParameter => ("missing_required_parameter", StatusCode::BAD_REQUEST),
            Code::UnsupportedParameter => ("unsupported_parameter", StatusCode::BAD_REQUEST),
            Code::ContextLengthExceeded => ("context_length_exceeded", StatusCode::BAD_REQUEST),
            Code::TemplateRefused => ("chat_template_refused", StatusCode::BAD_REQUEST),
            Code::InvalidApiKey => ("invalid_api_key", StatusCode::UNAUTHORIZED),
            Code::InsufficientScope => ("insufficient_scope", StatusCode::FORBIDDEN),
            Code::SpendingCap => ("spending_cap_reached", StatusCode::PAYMENT_REQUIRED),
            Code::Forbidden => ("forbidden", StatusCode::FORBIDDEN),
            Code::ModelNotFound => ("model_not_found", StatusCode::NOT_FOUND),
            Code::ResponseNotFound => ("response_not_found", StatusCode::NOT_FOUND),
            Code::CompletionNotFound => ("completion_not_found", StatusCode::NOT_FOUND),
            Code::FileNotFound => ("file_not_found", StatusCode::NOT_FOUND),
            Code::BatchNotFound => ("batch_not_found", StatusCode::NOT_FOUND),
            Code::StorageFull => ("storage_full", StatusCode::PAYLOAD_TOO_LARGE),
            Code::KeyInUse => ("idempotency_key_in_use", StatusCode::CONFLICT),
            Code::KeyReused => ("idempotency_key_reused", StatusCode::UNPROCESSABLE_ENTITY),
            Code::InvalidMultipart => ("invalid_multipart", StatusCode::BAD_REQUEST),
            Code::UnknownUrl => ("unknown_url", StatusCode::NOT_FOUND),
            Code::MethodNotAllowed => ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED),
            Code::RequestTimeout => ("request_timeout", StatusCode::REQUEST_TIMEOUT),
            Code::BodyTooLarge => ("request_too_large", StatusCode::PAYLOAD_TOO_LARGE),
            Code::UnsupportedMediaType => {
                ("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE)
            }
            Code::RateLimited => ("rate_limit_exceeded", StatusCode::TOO_MANY_REQUESTS),
            Code::Busy => ("busy", StatusCode::TOO_MANY_REQUESTS),
            Code::Internal => ("internal_error", StatusCode::INTERNAL_SERVER_ERROR),
            Code::AnswerBroken => ("answer_broken", StatusCode::BAD_GATEWAY),
            Code::NotReady => ("not_ready", StatusCode::SERVICE_UNAVAILABLE),
            Code::Paused => ("paused", StatusCode::SERVICE_UNAVAILABLE),
            Code::AnswerTimeout => ("answer_timeout", StatusCode::GATEWAY_TIMEOUT),
        }
    }
}

impl ApiError {
    /// An error with its public message: lower case, no full stop.
    #[must_use]
    pub fn new(code: Code, public: impl Into<String>) -> ApiError {
        ApiError { code, public: public.into(), param: None, private: None, retry_after: None }
    }

    /// Names the request field at fault.
    #[must_use]
    pub fn at(self, param: impl Into<String>) -> ApiError {
        ApiError { param: Some(param.into()), ..self }
    }

    /// Adds what only the log may know.
    #[must_use]
    pub fn because(self, private: impl fmt::Display) -> ApiError {
        ApiError { private: Some(private.to_string()), ..self }
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> ApiError {
        ApiError { retry_after: Some(seconds), ..self }
    }

    /// What the official clients are told of asking again; nothing where they know themselves.
    fn should_retry(&self) -> Option<&'static str> {
        match self.code.status() {
            _ if self.retry_after.is_some() => Some("true"),
            StatusCode::REQUEST_TIMEOUT => None,
            status if status.is_client_error() => Some("false"),
            _ => None,
        }
    }

    /// The body: `{"error":{...}}`.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({"error": {
            "message": self.public,
            "type": self.code.kind(),
            "param": self.param,
            "code": self.code.name(),
        }})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.code.status(), &self.body());
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            headers.insert("retry-after-ms", HeaderValue::from(u64::from(seconds) * 1000));
        }
        if let Some(word) = self.should_retry() {
            headers.insert("x-should-retry", HeaderValue::from_static(word));
        }
        if self.code == Code::InvalidApiKey {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// A response whose body is this JSON.
pub(crate) fn json_response(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A client's word, cut to a length that an error message can bear.
pub(crate) fn quote(word: &str) -> String {
    let mut characters = word.chars();
    let head: String = characters.by_ref().take(QUOTE_LENGTH_MAX).collect();
    if characters.next().is_some() { format!("`{head}...`") } else { format!("`{head}`") }
}
