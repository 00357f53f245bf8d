//! A web server with one file, which says how far it has come.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// Sends the file, from where it is asked to.
    Honest,
    /// Sends so many bytes, says so, and waits for the other side to go away.
    Stops(usize),
    /// Sends so many bytes, says so, and sends the others.
    GoesOn(usize),
    /// Sends this instead, with zeros after it until nobody listens.
    Endless(Vec<u8>),
    /// Sends this instead, without telling its length.
    Other(Vec<u8>),
    /// Answers with this status.
    Status(u16),
    /// Sends whoever asks to itself.
    Redirects,
}

/// A server that runs until the test ends.
pub(crate) struct Mirror {
    pub(crate) url: String,
    state: Arc<State>,
}

struct State {
    file: Vec<u8>,
    behaviour: Mutex<Behaviour>,
    request_count: Mutex<usize>,
    /// Told whenever the bytes of `Stops` or `GoesOn` are sent.
    sent: Box<dyn Fn() + Send + Sync>,
}

impl Mirror {
    /// A server that tells nobody how far it has come.
    pub(crate) fn new(file: Vec<u8>, behaviour: Behaviour) -> Mirror {
        Mirror::start(file, behaviour, Box::new(|| {}))
    }

    /// A server that tells `events` how far it has come.
    pub(crate) fn telling<E: Send + 'static>(
        file: Vec<u8>,
        events: &Sender<E>,
        event: fn() -> E,
    ) -> Mirror {
        let events = Mutex::new(events.clone());
        // A test that has ended listens no more.
        let sent = move || drop(events.lock().unwrap().send(event()));
        Mirror::start(file, Behaviour::Honest, Box::new(sent))
    }

    fn start(file: Vec<u8>, behaviour: Behaviour, sent: Box<dyn Fn() + Send + Sync>) -> Mirror {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        let (behaviour, request_count) = (Mutex::new(behaviour), Mutex::new(0));
        let state = Arc::new(State { file, behaviour, request_count, sent });
        let own = state.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                // A client that went away is no fault of the server's.
                let _ = own.serve(&mut socket.unwrap());
            }
        });
        Mirror { url, state }
    }

    /// From the next request on.
    pub(crate) fn set(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock().unwrap() = behaviour;
    }

    /// Requests so far.
    pub(crate) fn request_count(&self) -> usize {
        *self.state.request_count.lock().unwrap()
    }
}

impl State {
    fn serve(&self, socket: &mut TcpStream) -> io::Result<()> {
        let start = requested_start(socket)?;
        *self.request_count.lock().unwrap() += 1;
        let rest = self.file.get(start..).unwrap_or_default();
        let behaviour = self.behaviour.lock().unwrap().clone();
        match behaviour {
            Behaviour::Honest => self.answer(socket, start, rest),
            Behaviour::Stops(count) => {
                self.answer(socket, start, &rest[..count.min(rest.len())])?;
                (self.sent)();
                socket.read(&mut [0]).map(drop)
            }
            Behaviour::GoesOn(count) => {
                let (first, others) = rest.split_at(count.min(rest.len()));
                self.answer(socket, start, first)?;
                (self.sent)();
                socket.write_all(others)
            }
            Behaviour::Endless(file) => {
                other(socket, &file)?;
                io::copy(&mut io::repeat(0), socket).map(drop)
            }
            Behaviour::Other(file) => other(socket, &file),
            Behaviour::Status(status) => {
                write!(socket, "HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n")
            }
            Behaviour::Redirects => {
                write!(socket, "HTTP/1.1 302 Found\r\nlocation: /again\r\n")?;
                write!(socket, "connection: close\r\ncontent-length: 0\r\n\r\n")
            }
        }
    }

    /// The head for all of the file from `start`, and `body`.
    fn answer(&self, socket: &mut TcpStream, start: usize, body: &[u8]) -> io::Result<()> {
        let size = self.file.len();
        let (last, left) = (size - 1, size - start);
        match start {
            0 => write!(socket, "HTTP/1.1 200 OK\r\n")?,
            _ => write!(
                socket,
                "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {start}-{last}/{size}\r\n"
            )?,
        }
        write!(socket, "content-length: {left}\r\nconnection: close\r\n\r\n")?;
        socket.write_all(body)
    }
}

fn other(socket: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    socket.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
    socket.write_all(body)
}

/// The first byte that the request asks for.
fn requested_start(socket: &TcpStream) -> io::Result<usize> {
    let mut start = 0;
    for line in BufReader::new(socket).lines() {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            start = range.trim_end_matches('-').parse().unwrap_or(0);
        }
    }
    Ok(start)
}
