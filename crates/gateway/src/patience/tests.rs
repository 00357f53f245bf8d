use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::Instant;

use super::*;

#[tokio::test(start_paused = true)]
async fn client_that_takes_nothing_is_given_up_in_time() {
    let (near, _far) = duplex(16);
    let started = Instant::now();
    let error = Patience::new(near).write_all(&[0; 17]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(started.elapsed().as_secs(), WRITE_TIME_MAX.as_secs());
}

#[tokio::test(start_paused = true)]
async fn client_that_takes_a_little_each_time_is_waited_for() {
    let (near, mut far) = duplex(1);
    let slow = async {
        for _ in 0..4 {
            tokio::time::advance(WRITE_TIME_MAX.mul_f32(0.9)).await;
            far.read_u8().await.unwrap();
        }
    };
    let mut near = Patience::new(near);
    let (written, ()) = tokio::join!(near.write_all(&[0; 4]), slow);
    written.unwrap();
}
