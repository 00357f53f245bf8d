//! Serve what the store has to any program of IPFS, which checks every block itself.
//!
//! Specified in <https://specs.ipfs.tech/http-gateways/trustless-gateway/>: blocks and CARs; and, of
//! <https://specs.ipfs.tech/http-gateways/path-gateway/>, whole files and ranges of them.
//!
//! Invariants:
//! - A block that is served hashes to its name; of files' bytes the reader must see to it.
//! - Nothing is fetched for whoever asks.
//! - At most `STREAMS_MAX` answers are being read from disk, each a piece at a time, as fast as its
//!   reader takes them.
//!
//! Not here: IPNS, and pages for people.

mod asked;
mod ranges;
mod routing;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, HeaderName, IF_NONE_MATCH, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use store::blobs::{Blobs, StoreError};
use store::cid::{Cid, Codec};
use store::index::Index;
use store::walk::{self, Scope, WalkError};
use tokio::sync::Semaphore;

use asked::{Asked, Form, PROBE};
use ranges::Part;

/// Answers that are read from the disk at once, at most; a thread each.
pub const STREAMS_MAX: usize = 64;
/// How long an answer may be kept by those who read it: always, what has a CID never changes.
const FOREVER: &str = "public, max-age=29030400, immutable";
/// Seconds after which a client may ask again.
const RETRY_SECONDS: u16 = 1;
const X_IPFS_PATH: HeaderName = HeaderName::from_static("x-ipfs-path");
const X_IPFS_ROOTS: HeaderName = HeaderName::from_static("x-ipfs-roots");

/// What the routes serve.
#[derive(Clone, Debug)]
pub struct Served(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    index: Index,
    streams: Arc<Semaphore>,
    /// Who this node is and where, for routing.
    node: Option<Node>,
}

/// Who this node is and where it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its Ed25519 key.
    pub key: [u8; 32],
    /// Where its HTTP is.
    pub address: SocketAddr,
}

impl Served {
    /// Serves this index.
    #[must_use]
    pub fn new(index: Index, node: Option<Node>) -> Served {
        Served(Arc::new(Inner { index, streams: Arc::new(Semaphore::new(STREAMS_MAX)), node }))
    }
}

/// Why a request is not answered.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    message: String,
}

impl Refused {
    fn new(status: StatusCode, message: impl Into<String>) -> Refused {
        Refused { status, message: message.into() }
    }

    fn bad(message: impl Into<String>) -> Refused {
        Refused::new(StatusCode::BAD_REQUEST, message)
    }
}

impl From<WalkError> for Refused {
    fn from(error: WalkError) -> Refused {
        let status = match &error {
            WalkError::Store(StoreError::Missing { .. })
            | WalkError::NoEntry { .. }
            | WalkError::NotADirectory { .. } => StatusCode::NOT_FOUND,
            WalkError::Store(_) => return failed(&error),
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Refused::new(status, error.to_string())
    }
}

/// The disk's fault; the reason goes into the log alone.
fn failed(error: &dyn std::fmt::Display) -> Refused {
    tracing::error!(%error, "the store cannot be read");
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the store cannot be read")
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status, format!("{}\n", self.message)).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS.into());
        }
        response
    }
}

/// The routes over these blobs, once they are indexed. `key` is the node's Ed25519 key, and `address`
/// where it listens.
///
/// # Errors
/// When the store cannot be read.
pub fn open(
    blobs: Blobs,
    key: Option<[u8; 32]>,
    address: SocketAddr,
) -> Result<Router, StoreError> {
    // Tables that are missing are made, for which their blobs are read; nothing is served before.
    let index = Index::open(blobs)?;
    Ok(router(Served::new(index, key.map(|key| Node { key, address }))))
}

/// The routes.
pub fn router(served: Served) -> Router {
    Router::new()
        .route("/ipfs/{cid}", get(root))
        .route("/ipfs/{cid}/{*path}", get(below))
        .route("/routing/v1/providers/{cid}", get(routing::providers))
        .with_state(served)
}

async fn root(
    State(served): State<Served>,
    Path(cid): Path<String>,
    query: Query<Vec<(String, String)>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    answer(served, &cid, "", (&query.0, &method, &headers)).await
}

async fn below(
    State(served): State<Served>,
    Path((cid, path)): Path<(String, String)>,
    query: Query<Vec<(String, String)>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    answer(served, &cid, &path, (&query.0, &method, &headers)).await
}

/// What a request is for, with what it led to.
struct Found {
    asked: Asked,
    /// What the path leads to.
    cid: Cid,
    /// The nodes on the way.
    way: Vec<Cid>,
    /// The way in words.
    words: String,
    head_only: bool,
}

async fn answer(
    served: Served,
    cid: &str,
    path: &str,
    (query, method, headers): (&[(String, String)], &Method, &HeaderMap),
) -> Result<Response, Refused> {
    let asked = Asked::read(query, headers)?;
    if cid == PROBE && path.is_empty() && asked.form != Form::Car {
        return Ok(probe(asked.form));
    }
    let root: Cid = cid.parse().map_err(|error| Refused::bad(format!("{cid:?}: {error}")))?;
    let steps = path.split('/').filter(|step| !step.is_empty());
    let steps: Vec<Vec<u8>> = steps.map(|step| step.as_bytes().to_vec()).collect();
    if !steps.is_empty() && asked.form == Form::Raw {
        return Err(Refused::bad("a raw block has no path; ask for its own CID"));
    }
    let words =
        if path.is_empty() { format!("/ipfs/{cid}") } else { format!("/ipfs/{cid}/{path}") };
    let etag = asked.etag(&root, &words);
    let same = |value: &HeaderValue| value.to_str().is_ok_and(|seen| asked::matches(seen, &etag));
    let head_only = method == Method::HEAD;
    // Once it is known that this node has it, what the client has is as good.
    let is_known = headers.get_all(IF_NONE_MATCH).iter().any(same);
    let range = headers.get(axum::http::header::RANGE).and_then(|range| range.to_str().ok());
    let range = range.map(str::to_owned);
    let turn = Arc::clone(&served.0.streams).try_acquire_owned();
    let turn = turn.map_err(|_| {
        Refused::new(StatusCode::TOO_MANY_REQUESTS, "too many answers are being read; ask again")
    })?;
    // Looking blocks up reads the disk.
    let looking = tokio::task::spawn_blocking(move || {
        let index = &served.0.index;
        let only_cached = asked.only_if_cached;
        let found = find(index, root, &steps).map_err(|refused| match refused.status {
            StatusCode::NOT_FOUND if only_cached => {
                Refused::new(StatusCode::PRECONDITION_FAILED, refused.message)
            }
            _ => refused,
        });
        let (cid, way) = found?;
        let found = Found { asked, cid, way, words, head_only };
        let mut response = match (is_known, found.asked.form) {
            (true, _) => StatusCode::NOT_MODIFIED.into_response(),
            (false, Form::Raw) => raw(index, &found)?,
            (false, Form::Car) => streams::car(&served, &found, turn)?,
            (false, Form::File) => file(&served, &found, range.as_deref(), turn)?,
        };
        common(response.headers_mut(), &found, &etag);
        Ok(response)
    });
    looking.await.map_err(|error| failed(&error))?
}

/// Where a path leads; refused unless that is here.
fn find(index: &Index, root: Cid, steps: &[Vec<u8>]) -> Result<(Cid, Vec<Cid>), Refused> {
    let (cid, way) = walk::resolve(index, &root, steps)?;
    match index.has(&cid) {
        Ok(true) => Ok((cid, way)),
        Ok(false) => Err(Refused::new(StatusCode::NOT_FOUND, format!("{cid} is not here"))),
        Err(error) => Err(failed(&error)),
    }
}

/// The empty block whose name is its content, by which gateways are found.
fn probe(form: Form) -> Response {
    let kind = if form == Form::Raw { asked::RAW } else { asked::BYTES };
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, FOREVER)], Body::empty()).into_response()
}

/// What every answer about content says.
fn common(headers: &mut HeaderMap, found: &Found, etag: &str) {
    let mut put = |name: HeaderName, value: &str| {
        // Paths may have characters that no header takes; those are left out.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    let roots: Vec<String> = found.way.iter().chain([&found.cid]).map(Cid::to_string).collect();
    put(CACHE_CONTROL, FOREVER);
    put(ETAG, etag);
    put(X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(X_IPFS_PATH, &found.words);
    put(X_IPFS_ROOTS, &roots.join(","));
    put(VARY, "Accept");
    let ending = match found.asked.form {
        Form::Raw => ".bin",
        Form::Car => ".car",
        Form::File => "",
    };
    // Never shown as a page of this node's: what is in it is anybody's.
    put(CONTENT_DISPOSITION, &format!("attachment; filename=\"{}{ending}\"", found.cid));
}

fn raw(index: &Index, found: &Found) -> Result<Response, Refused> {
    let block = index.block(&found.cid).map_err(|error| failed(&error))?;
    let not_here = || Refused::new(StatusCode::NOT_FOUND, format!("{} is not here", found.cid));
    let block = block.ok_or_else(not_here)?;
    let headers =
        [(CONTENT_TYPE, asked::RAW.to_owned()), (CONTENT_LENGTH, block.len().to_string())];
    let body = if found.head_only { Body::empty() } else { Body::from(block) };
    Ok((headers, body).into_response())
}

fn file(
    served: &Served,
    found: &Found,
    range: Option<&str>,
    turn: tokio::sync::OwnedSemaphorePermit,
) -> Result<Response, Refused> {
    let index = &served.0.index;
    let stored = index.file(&found.cid).map_err(|error| failed(&error))?;
    let Some(stored) = stored else {
        if found.cid.codec() == Codec::Raw {
            // A chunk of a file, which is no file here; as a block it is.
            return raw(index, found).map(bytes);
        }
        let what = "this is no whole file here; ask for it with format=raw or format=car";
        return Err(Refused::new(StatusCode::NOT_ACCEPTABLE, what));
    };
    let size = stored.leaves.size();
    let part = ranges::read(range, size);
    let (status, span) = match part {
        Part::All => (StatusCode::OK, 0..size),
        Part::Span(span) => (StatusCode::PARTIAL_CONTENT, span),
        Part::Nothing => {
            let headers = [(CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response());
        }
    };
    let headers = [
        (CONTENT_TYPE, asked::BYTES.to_owned()),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (CONTENT_LENGTH, (span.end - span.start).to_string()),
    ];
    let content_range = format!("bytes {}-{}/{size}", span.start, span.end.saturating_sub(1));
    let body = match found.head_only || span.is_empty() {
        true => Body::empty(),
        false => {
            let map = stored.map().map_err(|error| failed(&error))?;
            // What was mapped is no longer than memory can be.
            streams::file(map, span.start as usize..span.end as usize, turn)
        }
    };
    let mut response = (status, headers, body).into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let value = HeaderValue::from_str(&content_range).map_err(|error| failed(&error))?;
        response.headers_mut().insert(CONTENT_RANGE, value);
    }
    Ok(response)
}

fn bytes(mut response: Response) -> Response {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(asked::BYTES));
    response
}

/// How a CAR is called, and what of it.
fn scope(index: &Index, found: &Found) -> Result<Scope, Refused> {
    let Some(bytes) = found.asked.bytes else { return Ok(found.asked.scope.clone()) };
    let stored = index.file(&found.cid).map_err(|error| failed(&error))?;
    Ok(match stored {
        Some(stored) => Scope::Entity(Some(bytes.of(stored.leaves.size()))),
        // Of what is no file, bytes mean nothing.
        None => Scope::Entity(None),
    })
}
