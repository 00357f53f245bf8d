//! Names the large files that IPIP-499 publishes, whose bytes are made as they are read.
//!
//! The small ones and the directories are tests (`cid`, `directory`). The values are those of `kubo`'s
//! `test/cli/cid_profiles_test.go` and of the profile tests of `js-ipfs-unixfs`.

#![expect(clippy::print_stdout, reason = "a program for people")]

#[path = "../src/cid/tests/key_stream.rs"]
mod key_stream;

use std::io::Read;
use std::process::ExitCode;

use key_stream::KeyStream;
use store::cid::{CHUNK_SIZE, Cid};

const SEED: &str = "v1-2025-seed";

/// As many chunks as a node has links, a byte more, and a chunk more.
const PUBLISHED: [(u64, &str); 3] = [
    (1024 * CHUNK_SIZE as u64, "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm"),
    (1024 * CHUNK_SIZE as u64 + 1, "bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe"),
    (1025 * CHUNK_SIZE as u64, "bafybeihmzokxxjqwxjcryerhp5ezpcog2wcawfryb2xm64xiakgm4a5jue"),
];

fn main() -> ExitCode {
    let mut wrong = 0;
    for (size, published) in PUBLISHED {
        let got = Cid::of_reader(KeyStream::of(SEED).take(size)).expect("memory can be read");
        let verdict =
            if got.to_string() == published { "as published" } else { "NOT as published" };
        println!("{size} bytes: {got}, {verdict}");
        wrong += u8::from(got.to_string() != published);
    }
    ExitCode::from(wrong)
}
