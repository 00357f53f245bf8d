use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use store::blobs::Blobs;
use store::cid::Cid;

use super::{Patience, check_range, fetch};
use crate::mirror::{Delivery, MirrorError};

#[test]
fn ranges_start_where_asked() {
    check_range("bytes 5-9/10", 5, 10).unwrap();
    check_range("bytes 5-7/*", 5, 10).unwrap();
    for range in ["", "bytes", "bytes 5-9", "bytes 0-9/10", "bytes -9/10", "bytes x-9/10"] {
        let refusal = check_range(range, 5, 10).unwrap_err();
        assert!(matches!(refusal, MirrorError::OtherRange { .. }), "{range}");
    }
    let refusal = check_range("bytes 5-10/11", 5, 10).unwrap_err();
    assert!(matches!(refusal, MirrorError::OtherSize { wanted: 10, got: 11 }));
}

/// Asks a server that says `head` and then nothing for as long as it is listened to.
fn ask_a_silent_server(head: &'static str, size: u64) -> MirrorError {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(head.as_bytes()).unwrap();
        // Until the other side hangs up, which may count as an error.
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let mut staged = blobs.stage(&Cid::of(b"x")).unwrap();
    let wait = Duration::from_millis(50);
    let patience = Patience { connect: Duration::from_secs(5), answer: wait, read: wait };
    let mut ignore = |_: crate::pull::Progress<'_>| {};
    let mut delivery = Delivery::new(&mut staged, size, &mut ignore);
    let error = fetch(&url, patience, &mut delivery).unwrap_err();
    server.join().unwrap();
    error
}

#[test]
fn a_server_that_says_nothing_is_left() {
    let error = ask_a_silent_server("", 10);
    assert!(matches!(error, MirrorError::Http(_)), "{error:?}");
    assert!(error.with_causes().contains("timeout"), "{}", error.with_causes());
}

#[test]
fn a_server_that_stops_midway_is_left() {
    let error = ask_a_silent_server("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345", 10);
    assert!(matches!(error, MirrorError::Broken { at: 5, .. }), "{error:?}");
    assert!(error.with_causes().contains("timeout"), "{}", error.with_causes());
}
