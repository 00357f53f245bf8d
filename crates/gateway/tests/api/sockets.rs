//! The server on a socket of this machine: ending well, and noticing who left.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use gateway::router::{Gateway, Options, router};
use gateway::serve::serve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::world::{CHAT, HI, HI_STREAM, Line, Script};

/// Far longer than any of these takes, so that a fault fails the test and does not hang it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs with the clock of the world, because sockets do not wait for a paused one.
fn run(future: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    runtime.block_on(async { timeout(PATIENCE, future).await }).unwrap();
}

async fn ask(listener: &TcpListener, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream
}

/// Reads until the text has come.
async fn until(stream: &mut TcpStream, text: &str) -> String {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(text) {
        let mut buffer = [0; 1024];
        let size = stream.read(&mut buffer).await.unwrap();
        assert!(size > 0, "closed before {text:?}");
        seen.extend_from_slice(&buffer[..size]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

#[test]
fn client_that_leaves_cancels_its_job() {
    run(async {
        let script = Arc::new(Script::new(&[&[Line::Prompt(0), Line::Text("H"), Line::Hang]]));
        let gateway = Gateway::new(Arc::clone(&script) as _, &Options::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = ask(&listener, HI_STREAM).await;
        tokio::spawn(serve(listener, router(gateway), pending()));
        until(&mut stream, "\"H\"").await;
        let sender = script.hanging.lock().unwrap().pop().unwrap();
        assert!(!sender.is_closed());
        drop(stream);
        sender.closed().await;
    });
}

#[test]
fn client_that_leaves_while_it_waits_for_the_whole_answer_cancels_its_job() {
    run(async {
        let script = Arc::new(Script::new(&[&[Line::Prompt(0), Line::Hang]]));
        let gateway = Gateway::new(Arc::clone(&script) as _, &Options::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = ask(&listener, HI).await;
        tokio::spawn(serve(listener, router(gateway), pending()));
        let sender = loop {
            let sender = script.hanging.lock().unwrap().pop();
            match sender {
                Some(sender) => break sender,
                None => tokio::task::yield_now().await,
            }
        };
        assert!(!sender.is_closed());
        drop(stream);
        sender.closed().await;
    });
}

#[test]
fn shutdown_lets_the_answer_in_flight_finish_and_takes_no_more() {
    run(async {
        let script = Arc::new(Script::new(&[&[Line::Prompt(0), Line::Text("H"), Line::Hang]]));
        let gateway = Gateway::new(Arc::clone(&script) as _, &Options::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut stream = ask(&listener, HI_STREAM).await;
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let server = tokio::spawn(serve(listener, router(gateway), shutdown));
        until(&mut stream, "\"H\"").await;
        stop.send(()).unwrap();
        // The listener is gone once connecting fails.
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        let sender = script.hanging.lock().unwrap().pop().unwrap();
        let finished = engine::request::Finish::Length;
        sender.send(Ok(engine::request::Output::Finished(finished))).unwrap();
        until(&mut stream, "data: [DONE]").await;
        server.await.unwrap();
    });
}
