//! A chain that keeps its last blocks only.

use chain::chain::Chain;
use chain::error::ChainError;
use chain::pool::ACCOUNT_MAX;
use chain::store::Store;
use types::amount::Height;
use types::id::{Cid, Hash};

use crate::world::*;

/// Twice the blocks from one snapshot to the next, which is the fewest.
const KEPT: u64 = 8;

/// Commits a block full of payments; the name of the first.
fn full(chain: &mut Chain, payments: u64) -> Hash {
    let nonce = chain.state().nonce(&address("badr")).0;
    let ids: Vec<Hash> = (nonce..nonce + payments)
        .map(|nonce| chain.submit(pay("badr", nonce, "amal", 1)).unwrap())
        .collect();
    block(chain);
    ids[0]
}

#[test]
fn a_pruned_chain_has_its_last_blocks_and_their_orders_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let mut chain = open(Store::open(&path).unwrap());
    chain.keep_snapshots(&folder.path().join("snapshots")).unwrap();
    let refused = chain.keep_blocks(KEPT - 1).unwrap_err();
    assert!(matches!(refused, ChainError::TooFewBlocks { count: 7, min: KEPT }), "{refused}");
    let mut ids: Vec<Hash> = (0..20).map(|_| full(&mut chain, 2)).collect();
    assert_eq!(chain.first().unwrap(), Height(1));
    // It is told to keep fewer when it has many: it gets there, a few blocks at each.
    chain.keep_blocks(KEPT).unwrap();
    let mut before = 1;
    for _ in 0..20 {
        ids.push(full(&mut chain, 2));
        let first = chain.first().unwrap().0;
        assert!(first > before && first <= before + 4, "from {before} to {first}");
        before = first;
    }
    let check = |chain: &mut Chain, ids: &[Hash]| {
        let (first, last) = (chain.first().unwrap().0, chain.tip().height.0);
        assert_eq!(first, last + 1 - KEPT);
        for height in 1..=last {
            let (is_kept, id) = (height >= first, &ids[usize::try_from(height - 1).unwrap()]);
            assert_eq!(chain.block(Height(height)).unwrap().is_some(), is_kept, "block {height}");
            assert_eq!(chain.order(id).unwrap().is_some(), is_kept, "block {height}");
            assert_eq!(chain.prove_order(id).unwrap().is_some(), is_kept, "block {height}");
        }
        assert!(chain.validators_of(Height(first)).unwrap().is_some());
        // Each snapshot that is kept can be begun from, with the block before the one that names it.
        let is_there = |cid: &Cid| folder.path().join("snapshots").join(cid.to_string()).exists();
        let there: Vec<_> = chain.snapshots().iter().filter(|it| is_there(&it.cid)).collect();
        assert_eq!(there.len(), if last % 4 == 0 { 1 } else { 2 }, "at block {last}");
        assert!(there.iter().all(|named| named.height.0 > first));
    };
    for _ in 0..5 {
        check(&mut chain, &ids);
        ids.push(full(&mut chain, 2));
    }
    check(&mut chain, &ids);
    let tip = chain.tip();
    drop(chain);
    let mut chain = open(Store::open(&path).unwrap());
    assert_eq!(chain.tip(), tip);
    check(&mut chain, &ids);
    chain.keep_blocks(KEPT).unwrap();
    full(&mut chain, 2);
    assert_eq!(balance(&mut chain, "amal"), 92);
    ledger::check::check(chain.state()).unwrap();
}

#[test]
fn the_file_of_a_pruned_chain_stops_growing() {
    let folder = tempfile::tempdir().unwrap();
    let size = |kept: u64| {
        let path = folder.path().join(format!("{kept}.redb"));
        let mut chain = open(Store::open(&path).unwrap());
        chain.keep_blocks(kept).unwrap();
        [50, 100].map(|blocks| {
            for _ in 0..blocks {
                full(&mut chain, ACCOUNT_MAX);
            }
            std::fs::metadata(&path).unwrap().len()
        })
    };
    let (archive, pruned) = (size(0), size(KEPT));
    assert!(archive[1] > archive[0], "{archive:?}");
    assert_eq!(pruned[1], pruned[0]);
}
