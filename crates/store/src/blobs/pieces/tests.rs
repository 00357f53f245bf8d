use tempfile::tempdir;

use super::*;

/// Three chunks, of which the last has no whole block.
const SIZE: usize = 2 * CHUNK_SIZE + 4097;

fn bytes() -> Vec<u8> {
    (0..SIZE).map(|at| (at % 251) as u8).collect()
}

#[test]
fn memory_that_is_used_again_is_written_directly_and_its_last_odd_chunk_as_well() {
    let (dir, bytes) = (tempdir().unwrap(), bytes());
    let blobs = Blobs::open(dir.path()).unwrap();
    let leaves = Arc::new(Cid::leaves_of_reader(bytes.as_slice()).unwrap());
    let mut buffer = ChunkBuffer::default();
    let mut place = |pieces: &Pieces, index: usize, flip: bool| {
        let range = pieces.leaves().range(index);
        let chunk = buffer.first((range.end - range.start) as usize);
        assert_eq!(is_aligned(chunk), index < 2);
        chunk.copy_from_slice(&bytes[range.start as usize..range.end as usize]);
        chunk[0] ^= u8::from(flip);
        pieces.place(index, chunk).unwrap()
    };
    let pieces = blobs.pieces(Arc::clone(&leaves)).unwrap();
    assert!(!place(&pieces, 1, true), "a chunk with another bit is not written");
    assert!(place(&pieces, 2, false) && place(&pieces, 0, false));
    assert_eq!(pieces.size(), CHUNK_SIZE as u64 + 4097);
    // What an earlier attempt left counts, however it was written.
    drop(pieces);
    let pieces = blobs.pieces(Arc::clone(&leaves)).unwrap();
    assert_eq!([0, 1, 2].map(|index| pieces.has(index)), [true, false, true]);
    assert!(place(&pieces, 1, false));
    let cid = pieces.commit().unwrap();
    assert!(std::fs::read(blobs.path(&cid)).unwrap() == bytes);
}

#[test]
fn a_buffer_gives_no_more_than_a_chunk() {
    let mut buffer = ChunkBuffer::default();
    assert_eq!(
        [0, 1, CHUNK_SIZE, usize::MAX].map(|size| buffer.first(size).len()),
        [0, 1, CHUNK_SIZE, CHUNK_SIZE]
    );
}
