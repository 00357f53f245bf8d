//! Fetches from one source and several, honest and not.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use node::fetch::http::Gateway;
use node::fetch::source::Source;
use node::fetch::{Event, FetchError, Rules, Verdict, fetch};
use store::cid::{CHUNK_SIZE, Cid, Codec};
use store::dag_pb::{Link, Node};
use store::directory::{self, Entry};
use tokio::time::timeout;

use crate::server::{Fault, Place, Server, fetch_from, random, rules};

/// Bytes of the file that is fetched from sources with faults; `MASHAA_FETCH_BYTES` says another number.
fn size() -> u64 {
    let small = 40 * CHUNK_SIZE as u64 + 77;
    std::env::var("MASHAA_FETCH_BYTES").map_or(small, |size| size.parse().unwrap())
}

/// A file of 40 chunks and a bit.
fn file() -> Vec<u8> {
    random(40 * CHUNK_SIZE + 77, 1)
}

async fn serve(place: &Place, faults: &[Fault]) -> Vec<Server> {
    let mut servers = Vec::new();
    for fault in faults {
        servers.push(place.serve(*fault).await);
    }
    servers
}

/// Fetches the file from servers with these faults, checks what has come, and gives what was thought
/// of each.
async fn verdicts(faults: &[Fault]) -> Vec<Verdict> {
    let (place, cid) = Place::with(&file());
    let servers = serve(&place, faults).await;
    let here = Place::new();
    let servers: Vec<&Server> = servers.iter().collect();
    let outcome = fetch_from(&here, cid, &servers).await.unwrap();
    assert_eq!(std::fs::read(here.blobs.path(&cid)).unwrap(), file());
    here.blobs.verify(&cid).unwrap();
    assert_eq!(outcome.bytes, file().len() as u64);
    outcome.parts.into_iter().map(|part| part.verdict).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_from_one_source_and_from_several() {
    assert_eq!(verdicts(&[Fault::None]).await, [Verdict::Good]);
    assert_eq!(verdicts(&[Fault::None; 3]).await, [Verdict::Good, Verdict::Good, Verdict::Good]);
}

/// With `MASHAA_FETCH_BYTES` of any size.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_flips_a_bit_one_that_stalls_and_one_with_another_file_are_named() {
    let faults = [Fault::Flips(CHUNK_SIZE + 5), Fault::Stalls(1000), Fault::OtherFile, Fault::None];
    let (place, cid) = Place::with_size(size());
    let servers = serve(&place, &faults).await;
    let servers: Vec<&Server> = servers.iter().collect();
    let here = Place::new();
    let begun = std::time::Instant::now();
    let outcome = fetch_from(&here, cid, &servers).await.unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    here.blobs.verify(&cid).unwrap();
    assert_eq!(outcome.bytes, size());
    outcome.parts.iter().for_each(|part| eprintln!("{part}"));
    eprintln!("{} bytes in {seconds:.1} s", size());
    let found: Vec<&Verdict> = outcome.parts.iter().map(|part| &part.verdict).collect();
    assert!(matches!(found[0], Verdict::Lies { .. }), "{found:?}");
    assert!(!matches!(found[1], Verdict::Good | Verdict::Lies { .. }), "{found:?}");
    assert!(matches!(found[2], Verdict::Lies { .. }), "{found:?}");
    assert_eq!(found[3], &Verdict::Good);
}

/// A name whose nodes say other sizes than its chunks have, from a gateway that serves blocks alone, so
/// that each chunk hashes to its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_chunks_have_other_sizes_than_its_nodes_say_is_refused() {
    let short = Cid::of(b"short");
    let [chunk, byte] = [[0x80, 0x80, 0x40], [1, 0, 0]];
    let data = [&[0x08, 2, 0x18, 0x81, 0x80, 0x40, 0x20][..], &chunk, &[0x20], &byte[..1]].concat();
    let link = |size| Link { cid: short, name: Vec::new(), size };
    let block = Node { links: vec![link(CHUNK_SIZE as u64), link(1)], data }.encode();
    let root = Cid::of_block(Codec::DagPb, &block);
    let place = Place::new();
    place.blobs.put(&b"short"[..]).unwrap();
    place.blobs.put_node(&root, &block).unwrap();
    let server = place.serve(Fault::BlocksOnly).await;
    let here = Place::new();
    let error = fetch_from(&here, root, &[&server]).await.unwrap_err();
    assert!(matches!(error, FetchError::Sizes { cid } if cid == root), "{error}");
    assert!(!here.blobs.contains(&root));
}

/// A directory in a directory in a directory, each as large as a block can be.
#[tokio::test(flavor = "multi_thread")]
async fn directories_without_end_are_refused() {
    let place = Place::new();
    let mut root = Cid::of(b"x");
    let name = vec![b'a'; 1000];
    for number in 0..140u32 {
        let link = |other: u32| Link {
            // Nobody has these, and nobody gets as far as to ask for them.
            cid: if other == 2000 {
                root
            } else {
                Cid::of(&[number.to_le_bytes(), other.to_le_bytes()].concat())
            },
            name: [&name, other.to_string().as_bytes()].concat(),
            size: 0,
        };
        // Links are followed in order, the first one first.
        let links = [2000].into_iter().chain(0..1900).map(link).collect();
        let block = Node { links, data: vec![0x08, 1] }.encode();
        root = Cid::of_block(Codec::DagPb, &block);
        place.blobs.put_node(&root, &block).unwrap();
    }
    let server = place.serve(Fault::None).await;
    let error = fetch_from(&Place::new(), root, &[&server]).await.unwrap_err();
    assert!(error.to_string().contains("too large"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_breaks_off_again_and_again_is_made_up_for() {
    let found = verdicts(&[Fault::Breaks(CHUNK_SIZE / 2), Fault::None]).await;
    assert!(matches!(found[0], Verdict::Failed(_)), "{found:?}");
    assert_eq!(found[1], Verdict::Good);
    // Alone it does, as long as each connection brings a chunk.
    assert_eq!(verdicts(&[Fault::Breaks(CHUNK_SIZE * 3 / 2)]).await, [Verdict::Good]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_blocks_alone_will_do() {
    assert_eq!(verdicts(&[Fault::BlocksOnly]).await, [Verdict::Good]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_about_the_root_is_named() {
    let found = verdicts(&[Fault::WrongBlocks, Fault::None]).await;
    assert!(matches!(found[0], Verdict::Lies { .. }), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_liars_gives_nothing_and_their_names() {
    let (place, cid) = Place::with(&file());
    let servers = serve(&place, &[Fault::OtherFile, Fault::Flips(7)]).await;
    let here = Place::new();
    let error = fetch_from(&here, cid, &[&servers[0], &servers[1]]).await.unwrap_err();
    assert!(error.is_other_bytes(), "{error}");
    for server in &servers {
        assert!(error.to_string().contains(&server.url()), "{error}");
    }
    assert!(!here.blobs.contains(&cid));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_is_missing() {
    let (place, _) = Place::with(b"something else");
    let server = place.serve(Fault::None).await;
    let error = fetch_from(&Place::new(), Cid::of(&file()), &[&server]).await.unwrap_err();
    assert!(error.is_missing(), "{error}");
    let error = fetch_from(&Place::new(), Cid::of(&file()), &[]).await.unwrap_err();
    assert!(matches!(error, FetchError::Sources(0)));
}

/// The fetch is dropped when half has come, as a kill would end it; the next one goes on from there.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_come_is_not_fetched_again() {
    let (place, cid) = Place::with(&file());
    let server = place.serve(Fault::Stalls(2 * CHUNK_SIZE + 9)).await;
    let here = Place::new();
    let came = Arc::new(AtomicU64::new(0));
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let source = Arc::new(Gateway::parse(&server.url()).unwrap()) as Arc<dyn Source>;
    let blobs = here.blobs.clone();
    let fetching = tokio::spawn(async move {
        let report = move |event: Event<'_>| {
            if let Event::Received { done, .. } = event {
                tell.send(done).unwrap();
            }
        };
        // Waits for ever, so that it is at it when it is ended.
        let rules = Rules { silence: Duration::from_secs(3600), ..rules() };
        fetch(&blobs, cid, &[source], &rules, Arc::new(report)).await
    });
    // Each of three requests brings two chunks before it stalls.
    while came.load(Ordering::Relaxed) < 6 * CHUNK_SIZE as u64 {
        came.store(told.recv().await.unwrap(), Ordering::Relaxed);
    }
    fetching.abort();
    assert!(fetching.await.unwrap_err().is_cancelled());
    let honest = place.serve(Fault::None).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let source = Arc::new(Gateway::parse(&honest.url()).unwrap()) as Arc<dyn Source>;
    let report = move |event: Event<'_>| {
        if let Event::Received { done, .. } = event {
            tell.send(done).unwrap();
        }
    };
    let outcome = fetch(&here.blobs, cid, &[source], &rules(), Arc::new(report)).await.unwrap();
    assert_eq!(told.recv().await.unwrap(), 6 * CHUNK_SIZE as u64);
    assert_eq!(outcome.parts[0].bytes, file().len() as u64 - 6 * CHUNK_SIZE as u64);
    here.blobs.verify(&cid).unwrap();
}

/// As a fetch that was ended does until its last chunk is on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_someone_else_is_at_is_waited_for() {
    let (place, cid) = Place::with(&file());
    let server = place.serve(Fault::None).await;
    let here = Place::new();
    let held = here.blobs.pieces(Arc::new(place.blobs.leaves(&cid).unwrap())).unwrap();
    let servers = [&server];
    let mut fetching = pin!(fetch_from(&here, cid, &servers));
    assert!(timeout(Duration::from_millis(300), &mut fetching).await.is_err());
    drop(held);
    assert_eq!(fetching.await.unwrap().files, 1);
    here.blobs.verify(&cid).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_comes_with_all_that_is_in_it() {
    let place = Place::new();
    let long = random(3 * CHUNK_SIZE, 2);
    let mut entries = BTreeMap::new();
    for (name, bytes) in [("long", &long[..]), ("short", b"hi"), ("empty", b"")] {
        let cid = place.blobs.put(bytes).unwrap();
        entries.insert(name.as_bytes().to_vec(), Entry { cid, total_size: bytes.len() as u64 });
    }
    let inner = directory::make(&entries).unwrap();
    let outer = directory::make(&[(b"inner".to_vec(), inner.entry)].into()).unwrap();
    for (cid, block) in inner.blocks.iter().chain(&outer.blocks) {
        place.blobs.put_node(cid, block).unwrap();
    }
    let server = place.serve(Fault::None).await;
    let here = Place::new();
    let root = outer.entry.cid;
    let outcome = fetch_from(&here, root, &[&server]).await.unwrap();
    assert_eq!(outcome.files, 3);
    assert!(store::collect::reach(&here.blobs, [root]).unwrap().missing.is_empty());
    // Once it is here, nobody is asked.
    let before = server.requests();
    assert_eq!(fetch_from(&here, root, &[&server]).await.unwrap().files, 0);
    assert_eq!(server.requests(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_there_is_room_for_is_not_begun() {
    let (place, cid) = Place::with(&file());
    let server = place.serve(Fault::None).await;
    let here = Place::new();
    let source = Arc::new(Gateway::parse(&server.url()).unwrap()) as Arc<dyn Source>;
    let rules = Rules { room: 40 * CHUNK_SIZE as u64, ..rules() };
    let fetched = fetch(&here.blobs, cid, &[source], &rules, Arc::new(|_: Event<'_>| {})).await;
    let error = fetched.unwrap_err();
    assert!(matches!(error, FetchError::Room { .. }), "{error}");
}

#[test]
fn addresses_of_gateways_are_read_or_refused() {
    for url in ["http://127.0.0.1:8420", "http://[::1]:80/", "http://node.example"] {
        Gateway::parse(url).unwrap();
    }
    for url in ["https://node.example", "node.example:80", "http://", "http://a/b", "http://a b"] {
        Gateway::parse(url).unwrap_err();
    }
}
