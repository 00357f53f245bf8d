//! Fetch from a trustless gateway, over TCP or anything else that carries bytes both ways.
//!
//! Specified in <https://specs.ipfs.tech/http-gateways/trustless-gateway/>; ranges of files are those
//! of <https://specs.ipfs.tech/http-gateways/path-gateway/>.
//!
//! Invariants:
//! - At most `IDLE_COUNT_MAX` connections are kept for later; every wait for a connection or an
//!   answer's head has a limit.
//!
//! Not here: TLS.

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, HOST};
use axum::http::{Request, Response, StatusCode};
use futures_util::StreamExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use store::cid::Cid;
use store::dag_pb::BLOCK_SIZE_MAX;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::part::{self, Asked, Idle};
use super::source::{Flow, Later, Source, SourceError};

/// Connections of one source that wait for the next request, at most.
const IDLE_COUNT_MAX: usize = 8;
/// How long a connection may take to be made, and an answer to begin.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// A connection that is being made.
pub type Connecting<'a, S> = Pin<Box<dyn Future<Output = io::Result<S>> + Send + 'a>>;

/// How a gateway is reached.
pub trait Connect: fmt::Debug + Send + Sync + 'static {
    /// What carries the bytes.
    type Stream: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin + 'static;

    /// Makes a connection.
    fn connect(&self) -> Connecting<'_, Self::Stream>;
}

/// By TCP.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// `HOST:PORT`.
    pub address: String,
}

impl Connect for Tcp {
    type Stream = TcpStream;

    fn connect(&self) -> Connecting<'_, TcpStream> {
        Box::pin(async {
            let stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }
}

/// A gateway.
#[derive(Debug)]
pub struct Gateway<C: Connect> {
    name: String,
    host: String,
    connect: C,
    idle: Arc<Mutex<Vec<SendRequest<Body>>>>,
    /// Connections over which parts of files come.
    parts: Idle<C::Stream>,
}

/// Why a text is no gateway's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefusal {
    /// It is no URL of a gateway.
    #[error("{0:?} is no gateway's address: http://HOST:PORT")]
    Other(String),
    /// It would need TLS.
    #[error("{0:?} needs TLS, which is not spoken here; name the gateway as http://HOST:PORT")]
    Tls(String),
}

impl Gateway<Tcp> {
    /// The gateway at `http://HOST:PORT`.
    ///
    /// # Errors
    /// When the text is no such address.
    pub fn parse(url: &str) -> Result<Gateway<Tcp>, AddressRefusal> {
        if url.starts_with("https://") {
            return Err(AddressRefusal::Tls(url.to_owned()));
        }
        let other = || AddressRefusal::Other(url.to_owned());
        let rest = url.strip_prefix("http://").ok_or_else(other)?;
        let host = rest.strip_suffix('/').unwrap_or(rest);
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]%".contains(c);
        if host.is_empty() || !host.chars().all(plain) {
            return Err(other());
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { host.to_owned() } else { format!("{host}:80") };
        Ok(Gateway::new(format!("http://{host}"), host.to_owned(), Tcp { address }))
    }
}

impl<C: Connect> Gateway<C> {
    /// A gateway that people call `name`, that is told it is `host`, and that `connect` reaches.
    pub fn new(name: String, host: String, connect: C) -> Gateway<C> {
        Gateway { name, host, connect, idle: Arc::default(), parts: Arc::default() }
    }

    async fn connection(&self) -> Result<SendRequest<Body>, SourceError> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(mut idle) if !idle.is_closed() => {
                    match timeout(PATIENCE, idle.ready()).await {
                        Ok(Ok(())) => return Ok(idle),
                        _ => continue,
                    }
                }
                Some(_) => continue,
                None => break,
            }
        }
        let unreachable = |error: &dyn fmt::Display| SourceError::Unreachable(error.to_string());
        let making = async {
            let stream = self.connect.connect().await.map_err(|error| unreachable(&error))?;
            let (sender, connection) = handshake::<_, Body>(TokioIo::new(stream))
                .await
                .map_err(|error| unreachable(&error))?;
            // It ends when the sender and the answer are dropped.
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to a source broke off");
                }
            });
            Ok(sender)
        };
        let silent = |_| SourceError::Silent(PATIENCE.as_secs());
        timeout(PATIENCE, making).await.map_err(silent)?
    }

    /// Asks, and gives the answer's head and the connection that brings its body.
    async fn ask(
        &self,
        path: String,
        accept: &'static str,
    ) -> Result<(Response<Incoming>, Held), SourceError> {
        let mut sender = self.connection().await?;
        let request = Request::get(path).header(HOST, &self.host).header(ACCEPT, accept);
        let broken = |error: &dyn fmt::Display| SourceError::Broken(error.to_string());
        let request = request.body(Body::empty()).map_err(|error| broken(&error))?;
        let answer = timeout(PATIENCE, sender.send_request(request)).await;
        let answer = answer
            .map_err(|_| SourceError::Silent(PATIENCE.as_secs()))?
            .map_err(|error| broken(&error))?;
        Ok((answer, Held { sender, idle: Arc::clone(&self.idle) }))
    }
}

/// A connection that an answer comes over.
struct Held {
    sender: SendRequest<Body>,
    idle: Arc<Mutex<Vec<SendRequest<Body>>>>,
}

impl Held {
    /// Keeps the connection for the next request, once its answer has been read to the end.
    fn release(self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_COUNT_MAX {
            idle.push(self.sender);
        }
    }
}

impl<C: Connect> Source for Gateway<C> {
    fn name(&self) -> &str {
        &self.name
    }

    fn block(&self, cid: Cid) -> Later<'_, Bytes> {
        Box::pin(async move {
            let path = format!("/ipfs/{cid}?format=raw");
            let (answer, held) = self.ask(path, "application/vnd.ipld.raw").await?;
            match answer.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Err(SourceError::Missing),
                other => return Err(SourceError::Status(other.as_u16())),
            }
            let mut body = Body::new(answer.into_body()).into_data_stream();
            let mut block = Vec::new();
            while let Some(bytes) = body.next().await {
                let bytes = bytes.map_err(|error| SourceError::Broken(error.to_string()))?;
                // Protects the memory.
                if block.len() + bytes.len() > BLOCK_SIZE_MAX {
                    return Err(SourceError::TooMuch);
                }
                block.extend_from_slice(&bytes);
            }
            held.release();
            Ok(block.into())
        })
    }

    fn range(&self, root: Cid, range: Range<u64>) -> Later<'_, Flow> {
        Box::pin(async move {
            let path = format!("/ipfs/{root}");
            let asked = Asked { host: &self.host, path: &path, range };
            let silent = |_| SourceError::Silent(PATIENCE.as_secs());
            // One that waited may have been closed meanwhile; then a new one is asked.
            let waiting = self.parts.lock().unwrap_or_else(PoisonError::into_inner).pop();
            if let Some(stream) = waiting {
                match timeout(PATIENCE, part::ask(stream, &asked, &self.parts)).await {
                    Ok(Err(SourceError::Broken(_))) => {}
                    answer => return Ok(Box::pin(answer.map_err(silent)??) as Flow),
                }
            }
            let making = async {
                let made = self.connect.connect().await;
                made.map_err(|error| SourceError::Unreachable(error.to_string()))
            };
            let stream = timeout(PATIENCE, making).await.map_err(silent)??;
            let answer = timeout(PATIENCE, part::ask(stream, &asked, &self.parts)).await;
            Ok(Box::pin(answer.map_err(silent)??) as Flow)
        })
    }
}
