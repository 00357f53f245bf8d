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

/// The first event that something is found in, in good time; what follows is thrown away.
async fn find<T>(
    mut events: mpsc::Receiver<Event>,
    mut found: impl FnMut(Event) -> Option<T>,
) -> T {
    let search = async {
        loop {
            if let Some(it) = found(events.recv().await.unwrap()) {
                return it;
            }
        }
    };
    let it = tokio::time::timeout(Duration::from_secs(20), search).await.unwrap();
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    it
}

#[tokio::test]
async fn a_direct_connection_takes_over_from_a_relayed_one_once_that_is_idle() {
    let ((relay, mut relay_events), (hidden, hidden_events)) = (start(1, 9), start(2, 9));
    let (guest, guest_events) = start(3, 9);
    let at = addresses(&mut relay_events).await;
    tokio::spawn(async move { while relay_events.recv().await.is_some() {} });
    let mut incoming = hidden.accept(Purpose::Work).unwrap();
    hidden.dial(relay.me(), at.clone()).await.unwrap();
    hidden.listen_through(relay.me(), at[0].clone()).await;
    let circuit = find(hidden_events, |event| match event {
        Event::Listening(at) if at.to_string().contains("p2p-circuit") => Some(at),
        _ => None,
    });
    let circuit = circuit.await;

    guest.dial(hidden.me(), vec![circuit]).await.unwrap();
    let mut early = guest.open(hidden.me(), Purpose::Work).await.unwrap();
    let direct = |event| match event {
        Event::Connected { node, relayed: false, .. } if node == hidden.me() => Some(()),
        _ => None,
    };
    find(guest_events, direct).await;
    let peer = peer_of(&hidden.me()).unwrap();
    let left = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while guest.control.is_relayed(&peer) {
            look.tick().await;
        }
    };
    // Nothing that is still in use is broken off.
    tokio::pin!(left);
    tokio::time::timeout(Duration::from_secs(7), &mut left).await.unwrap_err();
    early.write_all(b"still").await.unwrap();
    early.flush().await.unwrap();
    let (_, mut stream) = incoming.next().await.unwrap();
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"still");

    drop((early, stream));
    tokio::time::timeout(Duration::from_secs(20), left).await.unwrap();
    let mut late = guest.open(hidden.me(), Purpose::Work).await.unwrap();
    late.write_all(b"again").await.unwrap();
    late.flush().await.unwrap();
    let (_, mut stream) = incoming.next().await.unwrap();
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"again");
}
