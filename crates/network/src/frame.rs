//! Messages on a stream: a length of four bytes, little endian, and the message's canonical bytes.
//!
//! Invariants: nothing is allocated for a length over the reader's bound.
//!
//! Not here: the messages.

use std::io;

use futures_util::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use types::codec::{Canonical, Malformed, decode, encode};

/// Why no message came.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream broke, or ended inside a message.
    #[error("the stream broke: {0}")]
    Stream(#[from] io::Error),
    /// The other side says that its message is longer than any may be.
    #[error("a message of {size} bytes is over the limit of {max}")]
    TooLong {
        /// What it says.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The bytes are no message.
    #[error("a message is malformed: {0}")]
    Malformed(#[from] Malformed),
}

impl FrameError {
    /// Whether the other side broke the protocol, rather than the line.
    #[must_use]
    pub fn is_misconduct(&self) -> bool {
        !matches!(self, FrameError::Stream(_))
    }
}

/// Writes one message, and lets it go at once.
///
/// # Errors
///
/// When the stream is broken.
pub async fn write<T: Canonical>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> io::Result<()> {
    let body = encode(message);
    let size = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // One write for both, so that a small message is one packet.
    let frame = [&size.to_le_bytes()[..], &body].concat();
    stream.write_all(&frame).await?;
    stream.flush().await
}

/// Reads one message of at most `max` bytes.
///
/// # Errors
///
/// When the stream ends or breaks, or what comes is no message.
pub async fn read<T: Canonical>(
    stream: &mut (impl AsyncRead + Unpin),
    max: usize,
) -> Result<T, FrameError> {
    let mut size = [0; 4];
    stream.read_exact(&mut size).await?;
    let size = u32::from_le_bytes(size) as usize;
    if size > max {
        return Err(FrameError::TooLong { size, max });
    }
    let mut body = vec![0; size];
    stream.read_exact(&mut body).await?;
    Ok(decode(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_comes_back_and_a_cut_or_long_one_is_refused() {
        let mut wire = Vec::new();
        write(&mut wire, &(7u64, true)).await.unwrap();
        assert_eq!(wire, [9, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(read::<(u64, bool)>(&mut wire.as_slice(), 9).await.unwrap(), (7, true));
        let long = read::<(u64, bool)>(&mut wire.as_slice(), 8).await.unwrap_err();
        assert!(long.is_misconduct(), "{long}");
        for cut in 0..wire.len() {
            let error = read::<(u64, bool)>(&mut &wire[..cut], 9).await.unwrap_err();
            assert!(!error.is_misconduct(), "{error}");
        }
        let error = read::<(u64, u8)>(&mut [9u8, 0, 0, 0, 7, 0, 0, 0].as_slice(), 9).await;
        assert!(error.is_err());
        let error = read::<bool>(&mut [1u8, 0, 0, 0, 2].as_slice(), 9).await.unwrap_err();
        assert!(error.is_misconduct(), "{error}");
    }
}
