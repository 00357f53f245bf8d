use network::membership::{Announcement, PASS_TIME, Passes, SignedPass};
use network::revocation::Revocation;
use types::bounded::Text;
use types::id::Address;
use types::node_key::NodeSecret;

use super::*;

const NETWORK: Hash = Hash([1; 32]);
const NOW: u64 = 1_000_000_000;
const MODEL: &str = "bafy";
/// The node whose state it is, which began the network.
const ME: u8 = 1;

fn secret(number: u8) -> NodeSecret {
    NodeSecret::new([number; 32])
}

fn key(number: u8) -> Hash {
    secret(number).key()
}

fn state() -> State {
    let member = Member { root: key(ME), passes: Passes::default(), contact: None };
    State::new(member, key(ME), Revocations::default(), 7)
}

fn pass(node: u8, issuer: u8) -> SignedPass {
    SignedPass::issue(NETWORK, key(node), NOW / 1000 + PASS_TIME, &secret(issuer))
}

fn offer() -> Offer {
    let text = || Text::new(MODEL).unwrap();
    let (model, name) = (text(), text());
    Offer { model, name, context: 512, price: 0, prefill: 1, decode: 1, slots: 1 }
}

/// What a node says without passes and offers.
fn blank(node: u8) -> Announcement {
    Announcement {
        network: NETWORK,
        node: key(node),
        issued: NOW,
        name: Text::default(),
        addresses: List::default(),
        passes: List::default(),
        offers: List::default(),
    }
}

/// A worker announces itself with these passes, and is connected.
fn announce(state: &mut State, node: u8, passes: Vec<SignedPass>) -> Result<(), Refused> {
    let announcement = Announcement {
        passes: List::new(passes).unwrap(),
        offers: List::new(vec![offer()]).unwrap(),
        ..blank(node)
    };
    let signed = SignedAnnouncement::sign(announcement, &secret(node));
    let chain = signed.check_passes(&NETWORK, &key(ME), NOW);
    state.learn(signed, chain, NOW)?;
    state.connected(key(node), "/ip4/192.0.2.7/tcp/1".parse().unwrap(), false, NOW);
    Ok(())
}

/// Whose offers are used.
fn used(state: &State) -> Vec<u8> {
    let offers = state.offers(MODEL, NOW);
    let number = |node: &Hash| (1..9).find(|it| key(*it) == *node).unwrap();
    let mut numbers: Vec<u8> = offers.iter().map(|(node, ..)| number(node)).collect();
    numbers.sort_unstable();
    numbers
}

/// The ledger says whose machines compute; node 4 is registered, and node 5 by a member.
fn vote(state: &mut State, workers: Workers) {
    let registration = |is_members| Some(Registration { account: Address([9; 20]), is_members });
    state.consult(workers, |node| match node {
        node if *node == key(4) => registration(false),
        node if *node == key(5) => registration(true),
        _ => None,
    });
}

#[test]
fn only_the_offers_of_those_whom_the_members_let_compute_are_used() {
    let mut state = state();
    for node in 3..=5 {
        announce(&mut state, node, vec![pass(node, ME)]).unwrap();
    }
    assert_eq!(announce(&mut state, 2, vec![]), Err(Refused::NoChain));
    assert_eq!(used(&state), [3, 4, 5]);
    vote(&mut state, Workers::Registered);
    assert_eq!(used(&state), [4, 5]);
    assert_eq!(state.unfit_offering(NOW), 1);
    vote(&mut state, Workers::Members);
    assert_eq!(used(&state), [5]);
    assert!(state.is_member(&key(3), NOW), "it may still ask, and reach the ledger");
    vote(&mut state, Workers::Anyone);
    announce(&mut state, 2, vec![]).unwrap();
    assert_eq!(used(&state), [2, 3, 4, 5]);
    assert!(state.is_member(&key(2), NOW));
    vote(&mut state, Workers::Admitted);
    assert_eq!(used(&state), [3, 4, 5], "a vote holds for those who are there already");
    assert!(!state.is_member(&key(2), NOW));
    assert!(state.freshest(NOW).iter().all(|it| it.announcement().node != key(2)));
}

#[test]
fn whoever_falls_with_a_pass_is_used_no_more_until_another_lets_it_in() {
    let mut state = state();
    announce(&mut state, 2, vec![pass(2, ME)]).unwrap();
    announce(&mut state, 3, vec![pass(3, 2), pass(2, ME)]).unwrap();
    announce(&mut state, 4, vec![pass(4, ME)]).unwrap();
    let until = NOW / 1000 + PASS_TIME;
    let (node, maker, passes) = (key(2), key(ME), Passes::default());
    let revocation = Revocation { network: NETWORK, node, maker, until, passes };
    let mut all = state.revocations().clone();
    all.keep(SignedRevocation::sign(revocation, &secret(ME)), NOW / 1000).unwrap();
    let mut fallen = state.take_back(all);
    let mut wanted = vec![key(2), key(3)];
    fallen.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(fallen, wanted);
    assert_eq!(used(&state), [4]);
    assert_eq!(state.untold(NOW), [key(4)]);
    assert_eq!(state.untold(NOW), [], "told once");
    let again = announce(&mut state, 3, vec![pass(3, 2), pass(2, ME)]);
    assert_eq!(again, Err(Refused::Revoked { node: key(2), maker: key(ME) }));
    // Its entry is that of before; a new announcement is a later one.
    state.nodes.remove(&key(3));
    announce(&mut state, 3, vec![pass(3, 4), pass(4, ME)]).unwrap();
    assert_eq!(used(&state), [3, 4]);
}

#[test]
fn a_node_whose_own_pass_was_taken_back_stops_to_connect() {
    let member =
        Member { root: key(7), passes: List::new(vec![pass(ME, 7)]).unwrap(), contact: None };
    let mut state = State::new(member, key(ME), Revocations::default(), 7);
    state.recall(key(7), vec!["/ip4/192.0.2.7/tcp/1".to_owned()]);
    let until = NOW / 1000 + PASS_TIME;
    let (node, maker, passes) = (key(ME), key(7), Passes::default());
    let revocation = Revocation { network: NETWORK, node, maker, until, passes };
    let mut all = Revocations::default();
    all.keep(SignedRevocation::sign(revocation, &secret(7)), NOW / 1000).unwrap();
    state.take_back(all);
    assert_eq!(state.own_fit(), Err(Unfit::NotAdmitted));
    assert_eq!(state.due(NOW), []);
    vote(&mut state, Workers::Anyone);
    assert_eq!(state.due(NOW).len(), 1);
}

/// Nodes with an address, of which some offer the model.
fn crowd(state: &mut State, count: u8, workers: u8) {
    for node in 2..2 + count {
        let offers = if node < 2 + workers { vec![offer()] } else { vec![] };
        let announcement = Announcement {
            addresses: List::new(vec![Text::new("/ip4/192.0.2.7/tcp/1").unwrap()]).unwrap(),
            passes: List::new(vec![pass(node, ME)]).unwrap(),
            offers: List::new(offers).unwrap(),
            ..blank(node)
        };
        let signed = SignedAnnouncement::sign(announcement, &secret(node));
        state.learn(signed, Ok(()), NOW).unwrap();
    }
}

#[test]
fn a_node_connects_to_its_own_choice_of_many_and_to_workers_of_its_model_first() {
    let due = |salt, wanted: bool| {
        let member = Member { root: key(ME), passes: Passes::default(), contact: None };
        let mut state = State::new(member, key(ME), Revocations::default(), salt);
        crowd(&mut state, 200, 10);
        if wanted {
            state.want(MODEL);
        }
        let first: Vec<Hash> = state.due(NOW).into_iter().map(|(node, _)| node).collect();
        assert_eq!(first.len(), CONNECTIONS_WANTED);
        assert_eq!(state.due(NOW), [], "those are being tried");
        let workers = first.iter().filter(|it| (2..12).any(|number| key(number) == **it)).count();
        (first, workers)
    };
    let (one, some) = due(1, false);
    let (another, _) = due(2, false);
    assert_ne!(one, another, "not everyone connects to the same ones");
    assert!(some < 10, "{some} workers by chance");
    assert_eq!(due(1, true).1, 10);
}

#[test]
fn workers_of_the_model_have_room_beside_those_who_came_by_themselves() {
    let mut state = state();
    crowd(&mut state, 200, 10);
    for node in 12..12 + 64 {
        state.connected(key(node), "/ip4/192.0.2.7/tcp/1".parse().unwrap(), false, NOW);
    }
    assert_eq!(state.due(NOW), []);
    state.want(MODEL);
    assert_eq!(state.due(NOW).len(), 10);
}
