//! A node that begins with a snapshot, keeps its last blocks only, and is not taken in by a liar.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::ledger::{Node, Testnet, mashaa, root, until};
use crate::world::{Ended, World};

/// Blocks from one snapshot to the next.
const EVERY: u64 = 30;

/// What a node answers: the lines of its head, and its body.
fn fetch(address: &str, path: &str, range: &str) -> (String, Vec<u8>) {
    let mut socket = TcpStream::connect(address).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{range}connection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = vec![];
    socket.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
    (head, answer[end..].to_vec())
}

/// A node that says what another says, but for the last byte of every snapshot.
fn liar(honest: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut head = BufReader::new(&mut socket).lines().map_while(Result::ok);
            let Some(first) = head.next() else { continue };
            head.find(String::is_empty);
            let path = first.split(' ').nth(1).unwrap();
            let (_, mut body) = fetch(&honest, path, "");
            if path.starts_with("/ledger/snapshots/") {
                *body.last_mut().unwrap() ^= 1;
            }
            let size = body.len();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n");
            // A client that went away is no fault of the liar's.
            let _ = socket.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    address
}

/// The newest snapshot that the first validator names: the block that names it, and its own name.
fn newest(net: &Testnet) -> Option<(u64, String, String)> {
    let status = net.json(0, &["ledger", "status"]);
    let text = |field: &str| status["snapshot"][field].as_str().map(str::to_owned);
    Some((status["snapshot"]["height"].as_u64()?, text("block")?, text("cid")?))
}

/// Parts of a snapshot are those of the file.
fn ranges(net: &Testnet, cid: &str) {
    let path = format!("/ledger/snapshots/{cid}");
    let bytes = fs::read(net.home(0).join("ledger/snapshots").join(cid)).unwrap();
    let size = bytes.len();
    let (head, body) = fetch(&net.address(0), &path, "");
    assert!(
        head.starts_with("http/1.1 200") && head.contains(&format!("content-length: {size}\r\n"))
    );
    assert_eq!(body, bytes);
    let (head, body) = fetch(&net.address(0), &path, "range: bytes=100-\r\n");
    let range = format!("content-range: bytes 100-{}/{size}\r\n", size - 1);
    assert!(head.starts_with("http/1.1 206") && head.contains(&range), "{head}");
    assert_eq!(body, bytes[100..]);
    let (head, body) = fetch(&net.address(0), &path, "range: bytes=7-9\r\n");
    assert!(head.contains(&format!("content-range: bytes 7-9/{size}\r\n")), "{head}");
    assert_eq!(body, bytes[7..10]);
    let (head, _) = fetch(&net.address(0), &path, &format!("range: bytes={size}-\r\n"));
    assert!(head.starts_with("http/1.1 416") && head.contains(&format!("bytes */{size}\r\n")));
    for (path, status) in
        [("/ledger/snapshots/..%2fnode.key", "400"), (&path.replace("ba", "bb"), "40")]
    {
        let (head, _) = fetch(&net.address(0), path, "");
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{path}: {head}");
    }
}

#[test]
fn a_node_joins_from_a_snapshot_prunes_and_names_a_server_that_lies() {
    let world = World::new();
    let net = Testnet::start(&world.path("net"), &["--snapshot-blocks", &EVERY.to_string()]);
    assert_eq!(net.json(1, &["send", crate::ledger::PAYEE, "3"])["status"], "done");
    until("a snapshot", || newest(&net).is_some());
    ranges(&net, &newest(&net).unwrap().2);

    let home = world.path("joins");
    let sync = |from: &str, block: &str| {
        let arguments = ["ledger", "sync", "--from", from, "--header", block];
        Ended::of(&mashaa(&home, &arguments).output().unwrap())
    };
    let (_, block, _) = newest(&net).unwrap();
    assert_eq!(sync(&net.address(0), &block).code, Some(3), "a home without a genesis");
    let genesis = net.home(0).join("ledger/genesis.toml");
    let init = mashaa(&home, &["init", "--genesis"]).arg(genesis).output().unwrap();
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));

    let other = sync(&net.address(0), &format!("0x{:064x}", 1));
    assert!(other.code == Some(3) && other.stderr.contains("snapshots are named by 0x"));
    let liar = liar(net.address(1));
    let mut lied = None;
    until("the liar's answer", || {
        let (_, block, _) = newest(&net).unwrap();
        lied = Some(sync(&liar, &block)).filter(|lied| lied.code != Some(3));
        lied.is_some()
    });
    let lied = lied.unwrap();
    assert_eq!(lied.code, Some(4), "{}", lied.stderr);
    assert!(lied.stderr.contains(&liar), "{}", lied.stderr);

    let mut height = 0;
    until("the snapshot's installation", || {
        let (named, block, _) = newest(&net).unwrap();
        height = named;
        let ended = sync(&net.address(2), &block);
        // It is fetched before two more are made, or the next one is.
        assert!(matches!(ended.code, Some(0 | 3)), "{}", ended.stderr);
        ended.code == Some(0)
    });
    assert_eq!(height % EVERY, 1);
    let again = sync(&net.address(2), &newest(&net).unwrap().1);
    assert!(
        again.code == Some(4) && again.stderr.contains("goes on by itself"),
        "{}",
        again.stderr
    );
    follow(&net, &home, height);
}

/// The node goes on with blocks of its peers, and forgets those that it is not to keep.
fn follow(net: &Testnet, home: &std::path::Path, height: u64) {
    let few = ["ledger", "run", "--listen", "127.0.0.1:0", "--ledger-keep-blocks", "59"];
    let few = Ended::of(&mashaa(home, &few).output().unwrap());
    assert!(few.code == Some(1) && few.stderr.contains("needs 60 or more"), "{}", few.stderr);
    let kept = (2 * EVERY).to_string();
    let peers = net.peers(4);
    let node = Node::start(home, &["--ledger-peers", &peers, "--ledger-keep-blocks", &kept]);
    let now = net.height(0);
    until("the network's height", || node.height() >= now);
    assert_eq!(root(&node.home, &node.address, now), root(&net.home(0), &net.address(0), now));
    assert_eq!(node.json(&["ledger", "account", crate::ledger::PAYEE])["balance"], "3");
    let status = node.json(&["ledger", "status"]);
    assert_eq!(status["sum"], "0");
    assert!(status["first"].as_u64() >= Some(height - 1), "{status}");
    for arguments in [&["ledger", "block", "1"][..], &["ledger", "replay"]] {
        let ended = node.run(arguments);
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert!(ended.stderr.contains("record begins at block"), "{}", ended.stderr);
        assert!(ended.stderr.contains("ask an archive"), "{}", ended.stderr);
    }
    let first = || node.json(&["ledger", "status"])["first"].as_u64().unwrap();
    until("blocks to be forgotten", || first() > height + 3);
    assert_eq!(net.json(0, &["ledger", "status"])["first"], 1, "an archive");
    // The snapshots that it makes itself are those of the validators.
    until("a snapshot of its own", || {
        let shown = node.json(&["ledger", "status"])["snapshot"].clone();
        shown["height"].as_u64() > Some(height)
            && newest(net).is_some_and(|it| shown["cid"] == it.2)
    });
}
