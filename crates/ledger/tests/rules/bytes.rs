//! The bytes of a genesis and of every kind of entry.

use std::collections::BTreeMap;
use std::fmt::Write;

use expect_test::expect_file;
use ledger::genesis::Genesis;
use ledger::state::State;
use types::amount::{Blocks, Height};
use types::bounded::Set;
use types::codec::{decode, encode};
use types::id::Hash;
use types::measure::*;
use types::transaction::*;
use types::word::{Choice, Policy, Scope, Tier};

use crate::world::*;

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A state with an entry in every table.
fn full() -> State {
    let mut it = World::mutual();
    it.act("amal", Action::Sponsor(Sponsor { applicant: address("nour") }));
    let (key, cap, expires) = (address("key"), credits("5"), Height(100));
    let scopes = Set::new(vec![Scope::Pay]).unwrap();
    it.act("amal", Action::GrantSession(GrantSession { key, cap, scopes, expires }));
    let (topic, to) = (Tier::Budget, address("dina"));
    it.act("badr", Action::Delegate(Delegate { topic, to, expires }));
    it.act("amal", register("base", &[("hadi", 1)], &[]));
    it.act("amal", register("model", &[("amal", 60), ("badr", 40)], &[("base", 1)]));
    it.act("dina", pay("model", "layla", "3"));
    let open = OpenChannel {
        payee: address("badr"),
        amount: credits("2"),
        timeout: Blocks(10),
        node: NO_NODE,
    };
    it.act("amal", Action::OpenChannel(open));
    it.act("amal", Action::CloseChannel(CloseChannel { channel: 1 }));
    let suspend = Measure::SuspendMember(SuspendMember { account: address("layla") });
    it.act("badr", it.register_node("badr", 3, 100));
    let number = it.propose("amal", vec![set(Parameter::FeeFlat, 7), suspend]);
    it.act("dina", vote(number, Choice::Yes));
    it.blocks(2);
    it.state
}

#[test]
fn a_genesis_has_the_bytes_and_the_hash_that_are_written_down() {
    let genesis = genesis(Policy::Prepaid, &["amal", "badr"]);
    let bytes = encode(&genesis);
    let text = format!("{}\n{}\n", genesis.hash(), hex(&bytes));
    expect_file!["../../../../fixtures/ledger/genesis.txt"].assert_eq(&text);
    for end in 0..bytes.len() {
        assert!(decode::<Genesis>(&bytes[..end]).is_err());
    }
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xFF] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            let Ok(other) = decode::<Genesis>(&changed) else { continue };
            assert_eq!(encode(&other), changed);
            assert_ne!(other.hash(), genesis.hash());
            // A state or a refusal, and no panic.
            drop(other.state());
        }
    }
}

#[test]
fn every_table_has_the_entries_that_are_written_down() {
    let entries = full().entries();
    let mut text = String::new();
    for (key, value) in &entries {
        writeln!(text, "{} {}", hex(key), hex(value)).unwrap();
    }
    expect_file!["../../../../fixtures/ledger/entries.txt"].assert_eq(&text);
    for table in 0..=13 {
        assert!(entries.keys().any(|key| key[0] == table), "table {table} is empty");
    }
}

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

fn read(entries: &Entries) -> Option<State> {
    let entries = entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    State::from_entries(entries).ok()
}

/// An entry with the one that every state has.
fn with_meta(meta: &[u8], key: &[u8], value: &[u8]) -> Entries {
    [(vec![0], meta.to_vec()), (key.to_vec(), value.to_vec())].into()
}

#[test]
fn changed_entries_are_refused_or_read_back() {
    let entries = full().entries();
    let meta = &entries[&vec![0]];
    for (key, value) in &entries {
        for end in 0..value.len() {
            assert!(read(&with_meta(meta, key, &value[..end])).is_none());
        }
        for end in 0..key.len() {
            let cut = with_meta(meta, &key[..end], value);
            assert!(read(&cut).is_none(), "key {end}");
        }
        for at in 0..key.len() + value.len() {
            let (mut key, mut value) = (key.clone(), value.clone());
            match at.checked_sub(key.len()) {
                None => key[at] ^= 1,
                Some(at) => value[at] ^= 1,
            }
            let changed = with_meta(meta, &key, &value);
            if let Some(state) = read(&changed) {
                assert_eq!(state.entries(), changed);
            }
        }
    }
    assert!(read(&Entries::new()).is_none(), "a state has a meta entry");
}

#[test]
fn a_state_from_its_entries_goes_on_alike() {
    let mut world = World { state: full() };
    let mut other = World { state: read(&world.state.entries()).unwrap() };
    for it in [&mut world, &mut other] {
        it.act("dina", transfer("amal", "1"));
        it.blocks(30);
    }
    assert_eq!(world.state.entries(), other.state.entries());
    assert_ne!(Hash([0; 32]), world.state.meta().genesis);
}
