use super::*;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// Publishes a sequence's pages and returns them.
fn store(table: &mut PageTable, tokens: &[u32]) -> Option<Vec<u32>> {
    let (mut held, mut prefix) = table.find(Prefix::default(), tokens);
    for tokens in tokens.as_chunks::<PAGE>().0.iter().skip(held.len()) {
        let Some(page) = table.take() else {
            held.into_iter().for_each(|page| table.release(page));
            return None;
        };
        prefix = table.publish(prefix, *tokens, page);
        held.push(page);
    }
    Some(held)
}

fn chain(head: u32, pages: usize) -> Vec<u32> {
    (0..pages * PAGE).map(|i| if i < PAGE { head } else { i as u32 }).collect()
}

#[test]
fn a_prefix_is_found_again_and_shared() {
    let mut table = PageTable::new(8);
    let first = store(&mut table, &chain(1, 3)).unwrap();
    let second = store(&mut table, &chain(1, 4)).unwrap();
    assert_eq!(first[..], second[..3]);
    assert_eq!(table.available(), 4);
    first.into_iter().chain(second).for_each(|page| table.release(page));
    assert_eq!(table.find(Prefix::default(), &chain(1, 4)).0.len(), 4);
    assert_eq!(table.find(Prefix::default(), &chain(2, 4)).0.len(), 0);
}

#[test]
fn the_longest_unused_leaf_goes_first() {
    let mut table = PageTable::new(4);
    for head in [1, 2] {
        let held = store(&mut table, &chain(head, 2)).unwrap();
        held.into_iter().for_each(|page| table.release(page));
    }
    let taken = table.take().unwrap();
    assert_eq!(table.find(Prefix::default(), &chain(1, 2)).0.len(), 1);
    assert_eq!(table.find(Prefix::default(), &chain(2, 2)).0.len(), 2);
    table.release(taken);
}

#[test]
fn no_page_is_lost_or_given_twice() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut table = PageTable::new(16);
        let mut live: Vec<Vec<u32>> = Vec::new();
        for _ in 0..200 {
            if random.below(3) == 0 && !live.is_empty() {
                let held = live.swap_remove(random.below(live.len() as u64) as usize);
                held.into_iter().for_each(|page| table.release(page));
            } else {
                let tokens = chain(random.below(4) as u32, 1 + random.below(6) as usize);
                live.extend(store(&mut table, &tokens));
            }
            let held: BTreeSet<u32> = live.iter().flatten().copied().collect();
            assert!(held.iter().all(|page| !table.free.contains(page)), "seed {seed}");
            let idle = table.idle.iter().all(|(_, page)| !held.contains(page));
            assert!(idle, "seed {seed}: a held page is idle");
        }
        live.drain(..).flatten().for_each(|page| table.release(page));
        table.clear();
        assert_eq!(table.available(), 16, "seed {seed}");
    }
}
