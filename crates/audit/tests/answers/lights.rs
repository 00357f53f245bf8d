//! Light audits: honest positions pass, and no changed sum does.

use std::fmt::Write;

use audit::commitment::prompt_hash;
use audit::light::bytes::{NamedKey, Opened, Unreadable};
use audit::light::{Committed, Found, Key, Opening, SUM_MAX, Sums, check};
use audit::replay::Run;
use audit::trace::Memory;
use data_encoding::HEXLOWER;
use engine::artifact::config::Family;
use engine::kernels::Isa;
use expect_test::expect_file;
use merkle::Digest;
use sha2::{Digest as _, Sha256};

use crate::support::Random;
use crate::{FAMILIES, alone, model, options, request, tokens};

/// Changes of one sum that a run of the tests makes; `AUDIT_TAMPERS=10000` makes more.
const TAMPERS: usize = 200;
/// Honest answers of which a run of the tests checks a position; `AUDIT_HONEST=1000` makes more.
const HONEST: usize = 12;

#[test]
fn honest_positions_pass_and_those_of_another_model_do_not() {
    for family in FAMILIES {
        let model = model(family, 3);
        let request = request(tokens(24, 6), 4, 4);
        let (output, leaves) = alone(&model, &request, options(Isa::best(), 1));
        let (prompt, sampling) = (&request.prompt, &request.sampling);
        let run = Run { prompt, output: &output, said: 0, sampling };
        let hash = prompt_hash(prompt);
        let root = leaves.root(&hash);
        let key = Key::new(&model, [9; 32]).unwrap();
        assert_eq!(key.beacon(), &[9; 32]);
        let other = crate::model(family, 4);
        for position in [0, 22, 23, 26] {
            let opening = Opening::of(&model, &run, position).unwrap();
            let place = position.checked_sub(23).and_then(|index| leaves.open(index as u32));
            let committed =
                place.as_ref().map(|opening| Committed { prompt: &hash, root: &root, opening });
            assert_eq!(check(&key, &opening, &run, committed), Ok(()), "{family:?} {position}");
            if let Some(committed) = committed {
                let wrong = Committed { root: &[1; 32], ..committed };
                assert_eq!(check(&key, &opening, &run, Some(wrong)), Err(Found::Root));
            }
            let foreign = Opening::of(&other, &run, position).unwrap();
            assert!(check(&key, &foreign, &run, None).is_err(), "a substituted model");
            // With the right embedding it is caught at its first product.
            let mixed = Opening {
                embedding: opening.embedding.clone(),
                embedding_path: opening.embedding_path.clone(),
                ..foreign
            };
            let found = check(&key, &mixed, &run, None);
            assert!(matches!(found, Err(Found::Product { layer: 0, .. })), "{found:?}");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a longer run is asked for by the environment")]
fn asked(name: &str, count: usize) -> usize {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(count)
}

#[test]
fn no_honest_answer_gives_a_false_alarm() {
    let models = FAMILIES.map(|family| model(family, 3));
    let keys = models.each_ref().map(|model| Key::new(model, [9; 32]).unwrap());
    let mut random = Random(5);
    for answer in 0..asked("AUDIT_HONEST", HONEST) {
        let (model, key) = (&models[answer % 4], &keys[answer % 4]);
        let length = random.within(1, 24) as usize;
        let request = request(tokens(length, answer as u64), answer as i64, 3);
        let (output, leaves) = alone(model, &request, options(Isa::best(), 1));
        let (prompt, sampling) = (&request.prompt, &request.sampling);
        let run = Run { prompt, output: &output, said: 0, sampling };
        let (hash, index) = (prompt_hash(prompt), random.within(0, 2) as u32);
        let (root, place) = (leaves.root(&hash), leaves.open(index).unwrap());
        let position = length - 1 + index as usize;
        let opening = Opening::of(model, &run, position).unwrap();
        let committed = Committed { prompt: &hash, root: &root, opening: &place };
        assert_eq!(check(key, &opening, &run, Some(committed)), Ok(()), "answer {answer}");
    }
}

#[test]
fn every_change_of_a_single_sum_is_caught() {
    let model = model(Family::Llama, 3);
    let request = request(tokens(24, 6), 4, 2);
    let (output, _) = alone(&model, &request, options(Isa::best(), 1));
    let (prompt, sampling) = (&request.prompt, &request.sampling);
    let run = Run { prompt, output: &output, said: 0, sampling };
    let key = Key::new(&model, [9; 32]).unwrap();
    let mut opening = Opening::of(&model, &run, 24).unwrap();
    let mut random = Random(1);
    for tamper in 0..asked("AUDIT_TAMPERS", TAMPERS) {
        let product = random.next() as usize % opening.sums.len();
        let right = opening.sums[product].clone();
        let mut sums = right.to_vec();
        let row = random.next() as usize % right.count();
        let change = match random.within(0, 3) {
            0 => 1,
            1 => -1,
            2 => 1 << random.within(0, 45),
            _ => random.within(-(1 << 44), 1 << 44) | 1,
        };
        sums[row] = sums[row].wrapping_add(change);
        opening.sums[product] = sums.into();
        let found = check(&key, &opening, &run, None);
        assert!(matches!(found, Err(Found::Product { .. })), "{tamper}: {product} {row} {change}");
        opening.sums[product] = right;
    }
    assert_eq!(check(&key, &opening, &run, None), Ok(()));
}

/// Changes the sums of an opening's first product.
fn change(opening: &mut Opening, change: impl Fn(&mut Vec<i64>)) {
    let mut sums = opening.sums[0].to_vec();
    change(&mut sums);
    opening.sums[0] = Sums::from(sums);
}

#[test]
fn openings_of_another_form_are_refused() {
    let model = model(Family::Gemma3, 3);
    let request = request(tokens(24, 6), 4, 2);
    let (output, _) = alone(&model, &request, options(Isa::best(), 1));
    let (prompt, sampling) = (&request.prompt, &request.sampling);
    let run = Run { prompt, output: &output, said: 0, sampling };
    let key = Key::new(&model, [9; 32]).unwrap();
    let good = Opening::of(&model, &run, 23).unwrap();
    let found = |change: fn(&mut Opening)| {
        let mut opening = good.clone();
        change(&mut opening);
        check(&key, &opening, &run, None).unwrap_err()
    };
    assert_eq!(found(|it| it.position = usize::MAX), Found::Form);
    assert_eq!(found(|it| it.position = 25), Found::Form);
    assert_eq!(found(|it| it.past.truncate(3)), Found::Form);
    assert_eq!(found(|it| it.past[0].truncate(3)), Found::Form);
    assert_eq!(found(|it| it.past.push(vec![])), Found::Form);
    assert_eq!(found(|it| it.sums.truncate(3)), Found::Form);
    assert_eq!(found(|it| it.sums.push(vec![].into())), Found::Form);
    assert_eq!(found(|it| it.embedding[0] ^= 1), Found::Embedding);
    assert_eq!(found(|it| it.embedding_path.clear()), Found::Embedding);
    assert!(matches!(found(|it| change(it, |sums| sums.truncate(3))), Found::Product { .. }));
    // A sum that is right modulo the prime alone.
    let wraps = |it: &mut Opening| change(it, |sums| sums[0] += audit::light::PRIME as i64);
    assert!(matches!(found(wraps), Found::Product { .. }));
    assert!(matches!(found(|it| change(it, |sums| sums[0] = i64::MIN)), Found::Product { .. }));
    let large = found(|it| change(it, |sums| sums[0] = SUM_MAX as i64));
    assert_eq!(large, found(|it| change(it, |sums| sums[0] = i64::MAX)));
    // Hostile scales of the past, which the softmax reads.
    assert_eq!(found(|it| it.past.iter_mut().for_each(|it| it.fill(0xff))), Found::Form);
    let mut output = output.clone();
    output[0] ^= 1;
    let changed = Run { output: &output, ..run.clone() };
    assert!(matches!(check(&key, &good, &changed, None), Err(Found::Token { .. })));
}

#[test]
fn roots_traces_keys_and_openings_are_those_that_are_written_down() {
    let mut lines = String::new();
    for family in FAMILIES {
        let model = model(family, 3);
        let request = request(tokens(24, 6), 4, 3);
        let (output, leaves) = alone(&model, &request, options(Isa::best(), 1));
        let (prompt, sampling) = (&request.prompt, &request.sampling);
        let run = Run { prompt, output: &output, said: 0, sampling };
        let trace = Memory::new(&model, run.clone()).unwrap().trace().unwrap();
        let key = Key::new(&model, [9; 32]).unwrap();
        let opening = Opening::of(&model, &run, 25).unwrap();
        let hex = |digest: Digest| HEXLOWER.encode(&digest);
        let root = leaves.root(&prompt_hash(prompt));
        let name = family.name();
        writeln!(lines, "{name} tokens {output:?}").unwrap();
        writeln!(lines, "{name} root {}", hex(root)).unwrap();
        writeln!(lines, "{name} trace {} {}", trace.count(), hex(trace.root())).unwrap();
        writeln!(lines, "{name} key {}", hex(key.digest())).unwrap();
        writeln!(lines, "{name} opening {}", hex(opening.digest())).unwrap();
    }
    expect_file!["../../../../fixtures/audits/roots.txt"].assert_eq(&lines);
}

#[test]
fn bytes_of_keys_and_openings_are_those_that_are_written_down_and_no_others_are_read() {
    let mut lines = String::new();
    for family in FAMILIES {
        let model = model(family, 3);
        let request = request(tokens(24, 6), 4, 3);
        let (output, leaves) = alone(&model, &request, options(Isa::best(), 1));
        let (prompt, sampling) = (&request.prompt, &request.sampling);
        let run = Run { prompt, output: &output, said: 0, sampling };
        let hash = prompt_hash(prompt);
        let named = NamedKey { artifact: [3; 36], key: Key::new(&model, [9; 32]).unwrap() };
        let key = named.encode();
        let place = leaves.open(2);
        let (receipt, root) = ([5; 32], leaves.root(&hash));
        let opening = Opening::of(&model, &run, 25).unwrap();
        let opened = Opened { receipt, root, place, opening }.encode();
        for (what, bytes) in [("key", &key), ("opening", &opened)] {
            let sha256 = HEXLOWER.encode(&Sha256::digest(bytes));
            writeln!(lines, "{} {what} {} {sha256}", family.name(), bytes.len()).unwrap();
        }
        // What was read from the bytes checks like what was made.
        let read = NamedKey::decode(&key).unwrap();
        assert_eq!((read.encode(), read.key.digest()), (key.clone(), named.key.digest()));
        let it = Opened::decode(&opened).unwrap();
        assert_eq!(it.encode(), opened);
        let opening = it.place.as_ref().unwrap();
        let committed = Committed { prompt: &hash, root: &it.root, opening };
        assert_eq!(check(&read.key, &it.opening, &run, Some(committed)), Ok(()));
        refuses_cuts(&key, |bytes| NamedKey::decode(bytes).map(|it| it.encode()));
        refuses_cuts(&opened, |bytes| Opened::decode(bytes).map(|it| it.encode()));
    }
    expect_file!["../../../../fixtures/audits/light.txt"].assert_eq(&lines);
}

/// Whatever is read has these bytes; what is cut, longer or of other form is not read.
fn refuses_cuts(bytes: &[u8], again: impl Fn(&[u8]) -> Result<Vec<u8>, Unreadable>) {
    let mut random = Random(8);
    for at in 0..60 {
        let end = if at < 30 { at } else { random.next() as usize % bytes.len() };
        assert!(again(&bytes[..end]).is_err(), "{end} bytes");
        let mut changed = bytes.to_vec();
        // Half of the changes are among the lengths at the beginning.
        let end = if at % 2 == 0 { end } else { random.next() as usize % bytes.len().min(400) };
        changed[end] ^= 1 << random.within(0, 7);
        if let Ok(found) = again(&changed) {
            assert_eq!(found, changed, "byte {end}");
        }
    }
    assert_eq!(again(&[bytes, &[0]].concat()), Err(Unreadable::Trailing { left: 1 }));
}
