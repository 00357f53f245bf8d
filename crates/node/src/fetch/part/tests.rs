use std::sync::{Arc, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{Asked, HEAD_SIZE_MAX, HEADER_COUNT_MAX, Idle, ask};
use crate::fetch::source::SourceError;

/// Asks for the bytes 2 to 6 of something, and lets the gateway answer with this and then close. Gives
/// what was read, and how many connections may be used again.
async fn answered(answer: &[u8]) -> (Result<Vec<u8>, SourceError>, usize) {
    let (near, mut far) = duplex(1 << 20);
    far.write_all(answer).await.unwrap();
    far.shutdown().await.unwrap();
    let idle: Idle<_> = Arc::default();
    let asked = Asked { host: "there", path: "/ipfs/x", range: 2..7 };
    let part = ask(near, &asked, &idle).await;
    let mut request = vec![0; 1 << 10];
    let count = far.read(&mut request).await.unwrap();
    let request = String::from_utf8_lossy(&request[..count]).into_owned();
    assert!(request.starts_with("GET /ipfs/x HTTP/1.1\r\nhost: there\r\n"), "{request}");
    assert!(request.ends_with("\r\nrange: bytes=2-6\r\n\r\n"), "{request}");
    drop(far);
    let read = match part {
        Err(error) => Err(error),
        Ok(mut part) => {
            let mut bytes = Vec::new();
            let read = part.read_to_end(&mut bytes).await;
            read.map(|_| bytes).map_err(|error| SourceError::Broken(error.kind().to_string()))
        }
    };
    let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).len();
    (read, kept)
}

fn head(lines: &str) -> String {
    format!("HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 2-6/9\r\n{lines}\r\n")
}

#[tokio::test]
async fn a_part_is_read_and_its_connection_kept() {
    let good = head("Content-Length: 5\r\n") + "abcde";
    assert_eq!(answered(good.as_bytes()).await, (Ok(b"abcde".to_vec()), 1));
    let closing = head("content-length: 5\r\nConnection: Close\r\n") + "abcde";
    assert_eq!(answered(closing.as_bytes()).await, (Ok(b"abcde".to_vec()), 0));
    let old = good.replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(answered(old.as_bytes()).await, (Ok(b"abcde".to_vec()), 0));
}

#[tokio::test]
async fn a_part_that_breaks_off_is_an_error() {
    let short = head("content-length: 5\r\n") + "abc";
    let (read, kept) = answered(short.as_bytes()).await;
    assert!(matches!(read, Err(SourceError::Broken(_))), "{read:?}");
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn what_is_not_the_part_is_refused_by_name() {
    let other_part = head("content-length: 5\r\n").replace("2-6", "1-6") + "abcde";
    let many = "x: y\r\n".repeat(HEADER_COUNT_MAX);
    let cases = [
        (head("content-length: 5\r\n") + "abcdefg", SourceError::TooMuch),
        (head("content-length: 6\r\n") + "abcdef", SourceError::NoRanges),
        (head("content-length: -5\r\n") + "abcde", SourceError::NoRanges),
        (head("content-length: 99999999999999999999\r\n"), SourceError::NoRanges),
        (head("content-length: 5\r\ncontent-length: 5\r\n") + "abcde", SourceError::NoRanges),
        (head("content-length: 5\r\ntransfer-encoding: chunked\r\n"), SourceError::NoRanges),
        (head("") + "abcde", SourceError::NoRanges),
        (other_part, SourceError::NoRanges),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n".to_owned(), SourceError::NoRanges),
        ("HTTP/1.1 404 Not Found\r\n\r\n".to_owned(), SourceError::Missing),
        ("HTTP/1.1 503 Busy\r\n\r\n".to_owned(), SourceError::Status(503)),
    ];
    for (answer, expected) in cases {
        assert_eq!(answered(answer.as_bytes()).await, (Err(expected), 0), "{answer}");
    }
    let endless = format!("HTTP/1.1 206 OK\r\nx: {}", "y".repeat(HEAD_SIZE_MAX));
    let broken = ["", "HTTP/1.1 20", "nonsense\r\n\r\n", "\0\0", &endless, &head(&many)];
    for answer in broken {
        let (read, kept) = answered(answer.as_bytes()).await;
        assert!(matches!(read, Err(SourceError::Broken(_))), "{answer}: {read:?}");
        assert_eq!(kept, 0);
    }
}
