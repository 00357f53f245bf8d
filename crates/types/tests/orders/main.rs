//! Orders of every kind against what is written down: their bytes, their typed data, the signatures
//! that another wallet makes, and the tables of the specification.
//!
//! `fixtures/orders/README.md` says how the files are made again.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod samples;

use std::fmt::Write;

use data_encoding::HEXLOWER;
use expect_test::expect_file;
use types::codec::{decode, encode};
use types::envelope::{Order, SIGNED_SIZE_MAX, Signed};
use types::id::Address;
use types::measure::{Measure, Parameter};
use types::node_key::NodeSigned;
use types::record::Table;
use types::signature::{Signature, Unsigned};
use types::transaction::{Action, Consent, Parent, Share, Voucher};
use types::word::{Choice, Finding, Fund, Lack, Policy, Scope, Tier, WorkKind};

use samples::{address, consent, genesis, node, orders, secret};

const ETH_ACCOUNT: &str = include_str!("../../../../fixtures/orders/eth_account.txt");
const VIEM: &str = include_str!("../../../../fixtures/orders/viem.txt");

fn signed(order: &Order) -> Signed {
    order.clone().sign(&secret(), &genesis())
}

#[test]
fn every_kind_has_the_bytes_that_are_written_down() {
    let mut lines = String::new();
    for (name, order) in orders() {
        let signed = signed(&order);
        let bytes = encode(&signed);
        assert!(bytes.len() <= SIGNED_SIZE_MAX);
        assert_eq!(Signed::decode(&bytes), Ok(signed), "{name}");
        writeln!(lines, "{name} {}", HEXLOWER.encode(&bytes)).unwrap();
    }
    expect_file!["../../../../fixtures/orders/bytes.txt"].assert_eq(&lines);
}

#[test]
fn every_kind_has_the_typed_data_that_is_written_down() {
    let mut lines = String::new();
    for (name, order) in orders() {
        let json = order.json(&genesis());
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["primaryType"], name.split('-').next().unwrap());
        writeln!(lines, "{json}").unwrap();
    }
    expect_file!["../../../../fixtures/orders/typed.jsonl"].assert_eq(&lines);
}

#[test]
fn signatures_of_other_wallets_are_ours_and_are_accepted() {
    let lines: Vec<&str> = ETH_ACCOUNT.lines().chain(VIEM.lines()).collect();
    let twice = orders().into_iter().chain(orders());
    assert_eq!(lines.len(), twice.clone().count());
    for ((name, order), line) in twice.zip(lines) {
        let bytes = HEXLOWER.decode(line.trim_start_matches("0x").as_bytes()).unwrap();
        let theirs = Signature(bytes.try_into().unwrap());
        assert_eq!(signed(&order).signature, theirs, "{name}");
        let verified = Signed { order, signature: theirs }.verify(&genesis()).unwrap();
        assert_eq!(verified.signer(), secret().address());
    }
}

#[test]
fn no_flipped_bit_of_a_signature_names_the_signer() {
    let (_, order) = orders().remove(0);
    let good = signed(&order);
    for bit in 0..65 * 8 {
        let mut bad = good.clone();
        bad.signature.0[bit / 8] ^= 1 << (bit % 8);
        let signer = bad.verify(&genesis()).map(|verified| verified.signer());
        assert_ne!(signer, Ok(secret().address()), "bit {bit}");
    }
    let elsewhere = good.verify(&types::id::keccak256(b"another network"));
    assert_ne!(elsewhere.map(|verified| verified.signer()), Ok(secret().address()));
}

#[test]
fn the_mirror_of_a_signature_is_refused() {
    let (_, order) = orders().remove(0);
    let mut mirrored = signed(&order);
    let order_of_group = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let group = HEXLOWER.decode(order_of_group.as_bytes()).unwrap();
    let mut borrow = 0;
    for at in (0..32).rev() {
        let digit = i16::from(group[at]) - i16::from(mirrored.signature.0[32 + at]) - borrow;
        borrow = i16::from(digit < 0);
        mirrored.signature.0[32 + at] = u8::try_from(digit.rem_euclid(256)).unwrap();
    }
    mirrored.signature.0[64] ^= 27 ^ 28;
    assert_eq!(mirrored.verify(&genesis()), Err(Unsigned::HighS));
    mirrored.signature.0[64] = 0;
    assert_eq!(mirrored.verify(&genesis()), Err(Unsigned::BadRecovery));
    assert!(Signature([27; 65]).recover(&genesis()).is_ok());
    let mut zero = Signature([0; 65]);
    zero.0[64] = 27;
    assert_eq!(zero.recover(&genesis()), Err(Unsigned::NoKey));
}

/// Any bytes are refused, or are the one encoding of a value.
fn check(bytes: &[u8]) {
    if let Ok(signed) = Signed::decode(bytes) {
        assert_eq!(encode(&signed), bytes);
        assert!(!signed.order.json(&genesis()).is_empty());
    }
}

#[test]
fn every_prefix_is_refused() {
    for (name, order) in orders() {
        let bytes = encode(&signed(&order));
        for end in 0..bytes.len() {
            assert!(Signed::decode(&bytes[..end]).is_err(), "{name} {end}");
        }
        assert!(Signed::decode(&[bytes.as_slice(), &[0]].concat()).is_err(), "{name}");
    }
}

#[test]
fn every_changed_byte_is_refused_or_another_order() {
    for (_, order) in orders() {
        let bytes = encode(&signed(&order));
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xFF] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                check(&changed);
            }
        }
    }
}

#[test]
fn random_changes_never_panic() {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap()
    };
    let all: Vec<Vec<u8>> = orders().iter().map(|(_, order)| encode(&signed(order))).collect();
    for _ in 0..20_000 {
        let mut bytes = all[next() % all.len()].clone();
        for _ in 0..1 + next() % 4 {
            let at = next() % bytes.len();
            match next() % 3 {
                0 => bytes[at] = u8::try_from(next() % 256).unwrap(),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, u8::try_from(next() % 256).unwrap()),
            }
        }
        check(&bytes);
    }
}

#[test]
fn an_order_over_the_limit_is_not_read() {
    let long = vec![0; SIGNED_SIZE_MAX + 1];
    assert!(matches!(Signed::decode(&long), Err(types::codec::Malformed::TooLong { .. })));
}

#[test]
fn a_voucher_names_its_parties() {
    let voucher = Voucher {
        payer: secret().address(),
        payee: address(9),
        channel: 3,
        cumulative: types::amount::Amount::new(5).unwrap(),
    };
    let hash = types::typed::signing_hash(&voucher.shown(), &genesis());
    let signer: Result<Address, Unsigned> = secret().sign(&hash).recover(&hash);
    assert_eq!(signer, Ok(secret().address()));
    assert_eq!(decode(&encode(&voucher)), Ok(voucher));
}

#[test]
fn a_consent_is_to_one_account_on_one_network_until_one_block() {
    let good = consent();
    let signature = good.sign(&node());
    assert!(good.is_signed(&good.node_key, &signature));
    let until = types::amount::Height(1001);
    let others = [
        Consent { network: types::id::keccak256(b"another network"), ..good.clone() },
        Consent { account: address(9), ..good.clone() },
        Consent { node_key: types::id::Hash([9; 32]), ..good.clone() },
        Consent { until, ..good },
    ];
    for other in others {
        assert!(!other.is_signed(&other.node_key, &signature), "{other:?}");
    }
}

#[test]
fn the_worked_example_of_the_specification_is_an_order() {
    let text = include_str!("../../../../docs/spec/transaction.md");
    let block = text.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let bytes = HEXLOWER.decode(block.replace('\n', "").as_bytes()).unwrap();
    let signed = Signed::decode(&bytes).unwrap();
    assert_eq!(signed.order.action, Action::Leave(types::transaction::Leave {}));
    assert_eq!(signed.verify(&genesis()).unwrap().signer(), secret().address());
}

/// The tables of the specification are made from the definitions. `UPDATE_EXPECT=1` writes them.
#[test]
fn the_specification_has_the_tables_of_the_code() {
    const BEGIN: &str = "<!-- made from the code: begin -->\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec/transaction.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (head, _) = text.split_once(BEGIN).expect("the mark is there");
    let made = format!("{head}{BEGIN}{}", tables());
    expect_file![path].assert_eq(&made);
}

fn tables() -> String {
    let mut out = String::from("\n## 4. Actions\n");
    Action::tables().iter().for_each(|one| table(&mut out, one));
    out.push_str("\n## 5. Measures\n");
    Measure::tables().iter().for_each(|one| table(&mut out, one));
    out.push_str("\n## 6. Parts of the above\n");
    for (name, about, columns) in [
        ("Share", Share::about(), Share::columns()),
        ("Parent", Parent::about(), Parent::columns()),
        ("Voucher", Voucher::about(), Voucher::columns()),
        ("Consent", Consent::about(), Consent::columns()),
    ] {
        writeln!(out, "\n### {name}\n\n{about}\n").unwrap();
        rows(&mut out, &columns);
    }
    out.push_str("\n## 7. Words\n");
    macro_rules! list {
        ($($name:ident),*) => {$(
            writeln!(out, "\n### {}\n", stringify!($name)).unwrap();
            out.push_str("| number | word | meaning |\n| --- | --- | --- |\n");
            for word in $name::ALL {
                let (number, meaning) = (word.number(), word.meaning().trim());
                writeln!(out, "| {number} | `{word}` | {meaning} |").unwrap();
            }
        )*};
    }
    list!(Choice, Scope, Tier, WorkKind, Fund, Policy, Finding, Lack, Parameter);
    out
}

fn table(out: &mut String, table: &Table) {
    writeln!(out, "\n### {} {}\n\n{}\n", table.number, table.name, table.about).unwrap();
    if table.columns.is_empty() {
        writeln!(out, "No fields.").unwrap();
    } else {
        rows(out, &table.columns);
    }
}

fn rows(out: &mut String, columns: &[types::record::Column]) {
    out.push_str("| field | bytes | type | meaning |\n| --- | --- | --- | --- |\n");
    for column in columns {
        let (name, kind) = (&column.name, &column.kind);
        writeln!(out, "| `{name}` | {} | `{kind}` | {} |", column.wire, column.meaning).unwrap();
    }
}
