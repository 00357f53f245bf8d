//! A web server with one file and many faults.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// Sends the file, from where it is asked to.
    Honest,
    /// Sends the whole file whatever it is asked for.
    IgnoresRange,
    /// Tells a length, and hangs up after so many bytes of the file.
    HangsUp(usize),
    /// Tells no length, and ends after so many bytes of the file.
    Short(usize),
    /// Tells no length, and sends zeros after the file until nobody listens.
    Endless,
    /// Claims that the answer starts elsewhere.
    OtherRange,
    /// Answers with this status.
    Status(u16),
    /// Sends whoever asks to itself.
    Redirects,
    /// Sends so many bytes, and waits for the other side to go away.
    Pauses(usize),
}

/// A server that runs until the process ends.
pub(crate) struct Server {
    pub(crate) url: String,
    state: Arc<State>,
}

struct State {
    file: Vec<u8>,
    behaviour: Mutex<Behaviour>,
    /// The first byte asked for, for each request.
    starts: Mutex<Vec<usize>>,
}

impl Server {
    pub(crate) fn new(file: Vec<u8>, behaviour: Behaviour) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        let (behaviour, starts) = (Mutex::new(behaviour), Mutex::default());
        let state = Arc::new(State { file, behaviour, starts });
        let own = state.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                // A client that went away is no fault of the server's.
                let _ = own.serve(&mut socket.unwrap());
            }
        });
        Server { url, state }
    }

    pub(crate) fn set(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn starts(&self) -> Vec<usize> {
        self.state.starts.lock().unwrap().clone()
    }
}

impl State {
    fn serve(&self, socket: &mut TcpStream) -> io::Result<()> {
        let start = requested_start(socket)?;
        self.starts.lock().unwrap().push(start.unwrap_or(0));
        let rest = self.file.get(start.unwrap_or(0)..).unwrap_or_default();
        let behaviour = self.behaviour.lock().unwrap().clone();
        match behaviour {
            Behaviour::Honest => self.answer(socket, start, rest),
            Behaviour::IgnoresRange => self.answer(socket, None, &self.file),
            Behaviour::HangsUp(count) => self.answer(socket, start, &rest[..count.min(rest.len())]),
            Behaviour::Short(count) => {
                socket.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
                socket.write_all(&self.file[..count])
            }
            Behaviour::Endless => {
                socket.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
                socket.write_all(&self.file)?;
                io::copy(&mut io::repeat(0), socket).map(drop)
            }
            Behaviour::OtherRange => self.answer(socket, start.map(|start| start + 1), rest),
            Behaviour::Status(status) => {
                write!(socket, "HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n")
            }
            Behaviour::Redirects => {
                write!(socket, "HTTP/1.1 302 Found\r\nlocation: /again\r\n")?;
                write!(socket, "connection: close\r\ncontent-length: 0\r\n\r\n")
            }
            Behaviour::Pauses(count) => {
                self.answer(socket, start, &rest[..count.min(rest.len())])?;
                socket.read(&mut [0]).map(drop)
            }
        }
    }

    /// The head for all of the file from `start`, and `body`.
    fn answer(&self, socket: &mut TcpStream, start: Option<usize>, body: &[u8]) -> io::Result<()> {
        let size = self.file.len();
        match start {
            Some(start) => write!(
                socket,
                "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {start}-{}/{size}\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n",
                size - 1,
                size - start
            )?,
            None => write!(
                socket,
                "HTTP/1.1 200 OK\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n"
            )?,
        }
        socket.write_all(body)
    }
}

fn requested_start(socket: &TcpStream) -> io::Result<Option<usize>> {
    let mut start = None;
    for line in BufReader::new(socket).lines() {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            start = range.trim_end_matches('-').parse().ok();
        }
    }
    Ok(start)
}

/// Bytes that look like nothing, the same for the same seed (SplitMix64).
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Steele, Lea and Flood 2014.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
