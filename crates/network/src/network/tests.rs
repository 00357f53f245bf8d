use futures_util::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn start(number: u8, network: u8) -> (Network, mpsc::Receiver<Event>) {
    let options = Options {
        network: Hash([network; 32]),
        secret: NodeSecret::new([number; 32]),
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        nearby: false,
        announced: Vec::new(),
    };
    Network::start(&options).unwrap()
}

async fn addresses(happened: &mut mpsc::Receiver<Event>) -> Vec<Multiaddr> {
    let mut found = Vec::new();
    while found.len() < 2 {
        if let Event::Listening(address) = happened.recv().await.unwrap() {
            found.push(address);
        }
    }
    found
}

#[test]
fn a_node_has_one_name_and_back() {
    let key = NodeSecret::new([7; 32]).key();
    assert_eq!(node_of(&peer_of(&key).unwrap()), Some(key));
}

#[tokio::test]
async fn two_nodes_exchange_bytes_and_know_each_other() {
    let ((here, mut events), (there, _events)) = (start(1, 9), start(2, 9));
    let mut incoming = here.accept(Purpose::Work).unwrap();
    assert!(here.accept(Purpose::Work).is_err(), "one taker");
    let at = addresses(&mut events).await;
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    there.dial(here.me(), at).await.unwrap();
    let mut out = there.open(here.me(), Purpose::Work).await.unwrap();
    out.write_all(b"ping").await.unwrap();
    out.flush().await.unwrap();
    let (node, mut stream) = incoming.next().await.unwrap();
    assert_eq!(node, there.me());
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ping");
    let refused = there.open(here.me(), Purpose::Ledger).await.unwrap_err();
    assert!(refused.to_string().contains("does not support"), "{refused}");
}

#[tokio::test]
async fn nodes_of_different_networks_open_nothing() {
    let ((here, mut events), (there, _events)) = (start(1, 8), start(2, 9));
    let _incoming = here.accept(Purpose::Work).unwrap();
    let at = addresses(&mut events).await;
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    there.dial(here.me(), at).await.unwrap();
    let refused = there.open(here.me(), Purpose::Work).await.unwrap_err();
    assert!(refused.to_string().contains("does not support"), "{refused}");
}
