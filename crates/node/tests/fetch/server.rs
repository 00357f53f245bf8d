//! Nodes that serve a store over HTTP, with faults in what they send.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use node::fetch::http::Gateway;
use node::fetch::source::Source;
use node::fetch::{Event, FetchError, Outcome, Rules, fetch};
use node::trustless::{Node, Served, router};
use store::blobs::Blobs;
use store::cid::Cid;
use store::index::Index;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// What a server does with requests for parts of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Flips a bit of this byte of each answer.
    Flips(usize),
    /// Sends so many bytes of each answer, and then nothing, with the connection open.
    Stalls(usize),
    /// Breaks each connection after so many bytes.
    Breaks(usize),
    /// Sends zeros of the right length.
    OtherFile,
    /// Has no parts of files, only blocks.
    BlocksOnly,
    /// Sends a wrong byte in each block.
    WrongBlocks,
}

/// A store with its folder.
pub(crate) struct Place {
    _dir: TempDir,
    pub(crate) blobs: Blobs,
}

impl Place {
    pub(crate) fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        Place { _dir: dir, blobs }
    }

    /// A store with a file of so many bytes, and the file's name.
    pub(crate) fn with_size(size: u64) -> (Place, Cid) {
        let place = Place::new();
        let cid =
            place.blobs.put(RandomBytes { state: 1, word: [0; 8], given: 8 }.take(size)).unwrap();
        (place, cid)
    }

    /// A store with this file, and the file's name.
    pub(crate) fn with(bytes: &[u8]) -> (Place, Cid) {
        let place = Place::new();
        let cid = place.blobs.put(bytes).unwrap();
        (place, cid)
    }

    /// Serves the store; counts the requests.
    pub(crate) async fn serve(&self, fault: Fault) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = Some(Node { key: [7; 32], address });
        let routes = router(Served::new(Index::open(self.blobs.clone()).unwrap(), node));
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let routes = routes.layer(from_fn(move |request: Request, next: Next| {
            counted.fetch_add(1, Ordering::Relaxed);
            answer(fault, request, next)
        }));
        tokio::spawn(serve(listener, routes));
        Server { address, requests }
    }
}

async fn serve(listener: TcpListener, routes: Router) {
    gateway::serve::serve(listener, routes, std::future::pending()).await;
}

async fn answer(fault: Fault, request: Request, next: Next) -> Response {
    let is_block = request.uri().query() == Some("format=raw");
    if fault == Fault::BlocksOnly && !is_block {
        return StatusCode::NOT_ACCEPTABLE.into_response();
    }
    let response = next.run(request).await;
    if is_block != (fault == Fault::WrongBlocks) || !response.status().is_success() {
        return response;
    }
    let (head, body) = response.into_parts();
    Response::from_parts(head, spoil(fault, body).await)
}

async fn spoil(fault: Fault, body: Body) -> Body {
    match fault {
        Fault::None | Fault::BlocksOnly => body,
        Fault::Flips(_) | Fault::OtherFile | Fault::WrongBlocks => {
            let mut bytes = axum::body::to_bytes(body, 64 << 20).await.unwrap().to_vec();
            match fault {
                Fault::OtherFile => bytes.fill(0),
                Fault::Flips(at) => bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1),
                _ => bytes.iter_mut().for_each(|byte| *byte ^= 0x80),
            }
            Body::from(bytes)
        }
        Fault::Stalls(count) => {
            let rest = futures_util::stream::pending();
            Body::from_stream(first(body, count).chain(rest))
        }
        Fault::Breaks(count) => {
            let broken = async { Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe)) };
            Body::from_stream(first(body, count).chain(futures_util::stream::once(broken)))
        }
    }
}

/// The first bytes of a body.
fn first(
    body: Body,
    count: usize,
) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> {
    let mut left = count;
    body.into_data_stream().map(move |bytes| {
        let mut bytes = bytes.map_err(std::io::Error::other)?;
        bytes.truncate(left);
        left -= bytes.len();
        Ok(bytes)
    })
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Short waits, for servers that never answer.
pub(crate) fn rules() -> Rules {
    Rules {
        silence: Duration::from_millis(500),
        hedge: Duration::from_millis(50),
        ..Rules::default()
    }
}

pub(crate) async fn fetch_from(
    place: &Place,
    cid: Cid,
    servers: &[&Server],
) -> Result<Outcome, FetchError> {
    let source =
        |server: &&Server| -> Arc<dyn Source> { Arc::new(Gateway::parse(&server.url()).unwrap()) };
    let sources: Vec<_> = servers.iter().map(source).collect();
    fetch(&place.blobs, cid, &sources, &rules(), Arc::new(|_: Event<'_>| {})).await
}

/// Bytes that repeat nowhere.
pub(crate) fn random(size: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; size];
    RandomBytes { state: seed, word: [0; 8], given: 8 }.read_exact(&mut bytes).unwrap();
    bytes
}

/// Steele, Lea and Flood 2014.
struct RandomBytes {
    state: u64,
    word: [u8; 8],
    /// Bytes of the word that were given out.
    given: usize,
}

impl Read for RandomBytes {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        for byte in buffer.iter_mut() {
            if self.given == self.word.len() {
                self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = self.state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (self.word, self.given) = ((z ^ (z >> 31)).to_le_bytes(), 0);
            }
            *byte = self.word[self.given];
            self.given += 1;
        }
        Ok(buffer.len())
    }
}
