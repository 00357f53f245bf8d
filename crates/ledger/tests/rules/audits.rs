//! Audits: what each stage takes and refuses, and what its deadline costs.

use std::collections::BTreeSet;
use std::fmt::Write;

use audit::dispute::Phase;
use audit::graph::{Place, What};
use audit::receipt::Trust;
use expect_test::expect_file;

use ledger::accounts::{AUDIT_FUND, HELD, TREASURY};
use ledger::audits::Stage;
use ledger::event::Event;
use ledger::refusal::Refusal;
use ledger::state::State;
use types::amount::Amount;
use types::bounded::Bytes;
use types::codec::encode;
use types::id::Hash;
use types::measure::Parameter;
use types::transaction::*;
use types::word::{Finding, Lack};

use crate::audit_story::*;
use crate::bytes::hex;
use crate::runs::{Lie, Party, graph};
use crate::world::*;

fn ask(index: u32) -> Action {
    Action::AskPayload(AskPayload { batch: BATCH, index, lack: Lack::Timeout })
}

fn standing(story: &Story, name: &str) -> u32 {
    story.world.state.standing(&address(name))
}

fn right() -> (Finding, Hash) {
    (Finding::Match, first().root)
}

#[test]
fn a_right_receipt_pays_its_auditors_and_then_its_worker() {
    let mut story = Story::new(vec![honest(0)]);
    let before = AUDITORS.map(|name| story.world.balance(name));
    let has = fund(&story);
    let points = standing(&story, AUDITORS[0]);
    assert_eq!(story.stage(), Some(Stage::Committing));
    story.reveal_all(0, [right(), right()]);
    assert_eq!(story.stage(), None, "the audit is over");
    let pay = story.due(0).checked_part(250, 1000).unwrap();
    let paid = |pay: types::amount::Amount| i128::from(pay.millionths());
    // Before the batch is settled the fund has nothing of it.
    let had = has.min(paid(pay));
    assert_eq!(story.world.balance(AUDITORS[0]), before[0] + had);
    assert!(standing(&story, AUDITORS[0]) > points);
    let worker = story.world.balance(WORKER);
    story.blocks(30);
    assert!(story.world.balance(WORKER) > worker, "the batch is settled");
    assert!(fund(&story) > 0);
}

#[test]
fn a_worker_that_can_pay_no_fee_shows_what_was_drawn() {
    let mut story = Story::new(vec![honest(0)]);
    story.act(PAYER, transfer(WORKER, "51"));
    story.act(WORKER, Action::Leave(Leave {}));
    let fee = story.world.state.parameter_amount(Parameter::FeeFlat);
    let rest = story.world.balance(WORKER) - i128::from(fee.millionths());
    let amount = Amount::new(u64::try_from(rest).unwrap()).unwrap();
    story.act(WORKER, Action::Transfer(Transfer { to: address(PAYER), amount, note: text("") }));
    story.refuse(WORKER, transfer(PAYER, "0.000001"), Refusal::NotEnough);
    story.act(AUDITORS[0], ask(0));
    let payload = story.open_payload(0);
    story.act(WORKER, Action::OpenPayload(payload));
    story.reveal_all(0, [right(), right()]);
    assert_eq!(story.stage(), None, "the audit is over");
    assert_eq!(story.world.balance(WORKER), 0);
}

#[test]
fn what_an_audit_waits_for_takes_none_of_the_free_bytes() {
    let mut story = Story::new(vec![honest(0)]);
    let names = [WORKER, AUDITORS[0], AUDITORS[1]];
    let used =
        |story: &Story| names.map(|name| story.world.state.account(&address(name)).quota_used);
    let treasury = story.world.state.account(&TREASURY).balance;
    let before = used(&story);
    story.act(AUDITORS[0], ask(0));
    let payload = story.open_payload(0);
    story.act(WORKER, Action::OpenPayload(payload));
    story.reveal_all(0, [right(), right()]);
    assert_eq!(used(&story), before);
    assert_eq!(story.world.state.account(&TREASURY).balance, treasury);
}

fn fund(story: &Story) -> i128 {
    story.world.state.account(&AUDIT_FUND).balance
}

#[test]
fn a_batch_is_not_settled_while_it_is_audited() {
    let mut story = Story::new(vec![honest(0)]);
    let worker = story.world.balance(WORKER);
    for name in AUDITORS {
        let action = story.commit(name, 0, right());
        story.act(name, action);
    }
    story.blocks(3);
    let open = story.open_receipt(0);
    story.act(WORKER, Action::OpenReceipt(open));
    assert_eq!(story.world.balance(WORKER), worker);
    assert!(story.stage().is_some());
}

#[test]
fn a_settled_batch_pays_audits_treasury_makers_and_worker_exactly_what_it_holds() {
    let mut story = Story::new(vec![honest(0)]);
    story.stage_over();
    let paid = moved_from(HELD, story.world.blocks(30));
    let mut wanted = vec![
        (AUDIT_FUND, credits("0.4")),
        (TREASURY, credits("0.2")),
        // The model's one maker.
        // It is the gateway too, whose part is 0.08.
        (address(GATEWAY), credits("0.48")),
        (address(WORKER), credits("2.92")),
    ];
    wanted.sort();
    assert_eq!(paid, wanted);
    assert_eq!(story.world.state.account(&HELD).balance, 0);
}

#[test]
fn auditors_who_do_not_commit_lose_standing_and_end_an_audit_that_has_none() {
    let mut story = Story::new(vec![honest(0)]);
    let before = AUDITORS.map(|name| standing(&story, name));
    story.stage_over();
    assert_eq!(story.stage(), None);
    for (name, before) in AUDITORS.into_iter().zip(before) {
        assert!(standing(&story, name) < before, "{name}");
    }
    story.blocks(30);
    assert!(story.world.state.batch(BATCH).is_none(), "it is settled");
}

#[test]
fn an_auditor_who_does_not_reveal_loses_standing_and_the_other_is_heard() {
    let mut story = Story::new(vec![honest(0)]);
    let before = AUDITORS.map(|name| standing(&story, name));
    for name in AUDITORS {
        let action = story.commit(name, 0, right());
        story.act(name, action);
    }
    let open = story.open_receipt(0);
    story.act(WORKER, Action::OpenReceipt(open));
    let reveal = story.reveal(0, right());
    story.act(AUDITORS[0], reveal);
    story.stage_over();
    assert_eq!(story.stage(), None);
    assert!(standing(&story, AUDITORS[0]) > before[0]);
    assert!(standing(&story, AUDITORS[1]) < before[1]);
}

#[test]
fn a_worker_that_shows_no_receipt_loses_the_batch_and_its_bond() {
    let mut story = Story::new(vec![honest(0)]);
    for name in AUDITORS {
        let action = story.commit(name, 0, right());
        story.act(name, action);
    }
    check_withheld(&mut story);
}

#[test]
fn a_worker_that_shows_no_payload_loses_the_batch_and_its_bond() {
    let mut story = Story::new(vec![honest(0), honest(1)]);
    story.act(AUDITORS[0], ask(0));
    assert_eq!(story.stage(), Some(Stage::PayloadWanted));
    check_withheld(&mut story);
}

fn check_withheld(story: &mut Story) {
    let payer = story.world.balance(PAYER);
    let held = story.world.state.stake(&address(WORKER)).unwrap().held;
    let bond = story.world.state.batch(BATCH).unwrap().bond;
    assert!(bond > types::amount::Amount::ZERO);
    let events = story.stage_over();
    let closed = Event::AuditClosed { batch: BATCH, index: 0, is_convicted: true };
    assert!(events.contains(&closed));
    assert!(story.world.state.audits_of(BATCH).next().is_none(), "all of the batch's");
    assert!(story.world.state.batch(BATCH).is_none());
    let left = story.world.state.stake(&address(WORKER)).unwrap().held;
    assert_eq!(left, held.checked_sub(bond).unwrap());
    let back = i128::from(credits("4").millionths());
    assert!(story.world.balance(PAYER) > payer + back, "what it paid, and a part of the bond");
}

#[test]
fn a_payload_that_is_asked_for_is_shown_and_gives_the_auditors_their_time() {
    let mut story = Story::new(vec![honest(0)]);
    let action = story.commit(AUDITORS[1], 0, right());
    story.act(AUDITORS[1], action);
    story.act(AUDITORS[0], ask(0));
    story.blocks(2);
    let mut bad = story.open_payload(0);
    let with_blinding =
        audit::receipt::Payload { blinding: Some(BLINDING), ..story.stated[0].payload.clone() };
    bad.payload = Bytes::new(encode(&with_blinding)).unwrap();
    story.refuse(WORKER, Action::OpenPayload(bad), Refusal::OtherPayload);
    let open = story.open_payload(0);
    story.act(WORKER, Action::OpenPayload(open));
    assert_eq!(story.world.state.payload((BATCH, 0)), Some(&story.stated[0].payload));
    assert_eq!(story.stage(), Some(Stage::Committing));
    story.refuse(AUDITORS[0], ask(0), Refusal::AlreadyStated);
    let action = story.commit(AUDITORS[0], 0, right());
    story.act(AUDITORS[0], action);
    assert_eq!(story.stage(), Some(Stage::Opening));
    let open = story.open_receipt(0);
    story.act(WORKER, Action::OpenReceipt(open));
    for name in AUDITORS {
        let reveal = story.reveal(0, right());
        story.act(name, reveal);
    }
    assert_eq!(story.stage(), None);
    assert_eq!(story.world.state.payload((BATCH, 0)), None, "it goes with the audit");
}

#[test]
fn the_answer_of_a_private_receipt_is_its_payers_to_dispute() {
    for trust in [Trust::Private, Trust::Fast] {
        let mut story = Story::new(vec![Stated { trust, ..honest(0) }]);
        let before = AUDITORS.map(|name| standing(&story, name));
        let inconclusive = (Finding::Inconclusive, Hash([0; 32]));
        for name in AUDITORS {
            let action = story.commit(name, 0, inconclusive);
            story.act(name, action);
        }
        let open = story.open_receipt(0);
        story.act(WORKER, Action::OpenReceipt(open));
        assert_eq!(story.stage(), Some(Stage::Challenging));
        let reveal = story.reveal(0, inconclusive);
        story.refuse(AUDITORS[0], reveal, Refusal::NotNow);
        let challenge = Story::challenge(Hash([1; 32]), Hash([2; 32]));
        story.refuse(AUDITORS[0], challenge.clone(), Refusal::NoClaim);
        let model = Action::ShowModel(Story::show_model());
        story.act(PAYER, model);
        if trust == Trust::Fast {
            story.refuse(PAYER, challenge, Refusal::NoClaim);
            story.stage_over();
        } else {
            story.act(PAYER, challenge);
            story.stage_over();
            assert!(story.world.state.batch(BATCH).is_none(), "the worker was silent");
        }
        assert_eq!(story.stage(), None);
        assert_eq!(AUDITORS.map(|name| standing(&story, name)), before);
    }
}

#[test]
fn a_private_payload_need_not_be_shown_to_whoever_asks_for_it() {
    let mut story = Story::new(vec![Stated { trust: Trust::Private, ..honest(0) }]);
    story.act(AUDITORS[0], ask(0));
    let open = story.open_receipt(0);
    story.act(WORKER, Action::OpenReceipt(open));
    assert_eq!(story.stage(), Some(Stage::Challenging));
    story.stage_over();
    assert_eq!(story.stage(), None);
    assert_eq!(story.world.state.payload((BATCH, 0)), None);
    let mut story = Story::new(vec![honest(0)]);
    let open = story.open_receipt(0);
    story.refuse(WORKER, Action::OpenReceipt(open), Refusal::NotNow);
}

#[test]
fn a_worker_that_signs_two_receipts_for_one_place_is_convicted() {
    let mut story = Story::new(vec![honest(0), honest(1)]);
    let other = |story: &Story, sequence, blinding| {
        let receipt = Bytes::new(encode(&story.receipt(sequence, blinding))).unwrap();
        Action::ShowReceipt(ShowReceipt { batch: BATCH, index: 0, receipt })
    };
    let (same, moved) = (other(&story, 0, BLINDING), other(&story, 1, Hash([1; 32])));
    let shown = other(&story, 0, Hash([1; 32]));
    story.refuse(PAYER, shown.clone(), Refusal::NotNow);
    for name in AUDITORS {
        let action = story.commit(name, 0, right());
        story.act(name, action);
    }
    let open = story.open_receipt(0);
    story.act(WORKER, Action::OpenReceipt(open));
    story.refuse(PAYER, same, Refusal::NoContradiction);
    story.refuse(PAYER, moved, Refusal::NoContradiction);
    story.act(PAYER, shown);
    assert!(story.world.state.batch(BATCH).is_none());
    assert_eq!(story.world.state.audits_of(BATCH).count(), 0);
    let stake = story.world.state.stake(&address(WORKER));
    assert!(stake.is_none_or(|stake| stake.held == types::amount::Amount::ZERO));
}

#[test]
fn nobody_knows_a_finding_from_what_was_committed() {
    let story = Story::new(vec![honest(0)]);
    let commit = |name, index, said| story.commit(name, index, said);
    let all = [
        commit(AUDITORS[0], 0, right()),
        commit(AUDITORS[1], 0, right()),
        commit(AUDITORS[0], 1, right()),
        commit(AUDITORS[0], 0, (Finding::NoMatch, first().root)),
        commit(AUDITORS[0], 0, (Finding::Match, Hash([1; 32]))),
    ];
    let hashes: BTreeSet<String> = all.iter().map(|it| format!("{it:?}")).collect();
    assert_eq!(hashes.len(), all.len());
}

/// A state with an entry in each table of audits.
fn full() -> State {
    let place = Place { position: 6, layer: 1, what: What::AttentionResidual };
    let lie = Lie { place, byte: graph().size(place) - 4 };
    let mut parties = [Some(lie), None].map(|lie| Party::new(&first().answer, lie));
    let root = Hash([9; 32]);
    let mut story = Story::new(vec![Stated { root, ..honest(0) }, honest(1)]);
    story.reveal_all(0, [(Finding::NoMatch, first().root), (Finding::Match, root)]);
    story.act(PAYER, Action::ShowModel(Story::show_model()));
    story.act(AUDITORS[0], Story::challenge(first().root, parties[1].root()));
    story.act(WORKER, Story::answer(parties[0].root()));
    let phase = story.divide(AUDITORS[0], &mut parties);
    let Phase::Judge(cell) = phase else { unreachable!("{phase:?}") };
    for piece in story.evidence(&mut parties[0], &cell) {
        story.act(AUDITORS[0], piece);
    }
    story.act(AUDITORS[0], ask(1));
    let open = story.open_payload(1);
    story.act(WORKER, Action::OpenPayload(open));
    story.world.state
}

#[test]
fn every_table_of_audits_has_the_entries_that_are_written_down() {
    let state = full();
    let entries = state.entries();
    let mut text = String::new();
    for (key, value) in entries.iter().filter(|(key, _)| (20..=24).contains(&key[0])) {
        writeln!(text, "{} {}", hex(key), hex(value)).unwrap();
    }
    expect_file!["../../../../fixtures/ledger/audits.txt"].assert_eq(&text);
    let meta = &entries[&vec![0]];
    for table in 20..=24 {
        let (key, value) = entries.iter().find(|(key, _)| key[0] == table).unwrap();
        for at in (0..value.len()).step_by(value.len().div_ceil(400)) {
            let mut changed = value.clone();
            changed[at] ^= 1;
            let entries = [(&[0][..], meta.as_slice()), (key.as_slice(), &changed)];
            let Ok(state) = State::from_entries(entries) else { continue };
            assert_eq!(state.entries()[key], changed, "table {table}, byte {at}");
            let cut = [(&[0][..], meta.as_slice()), (key.as_slice(), &value[..at])];
            assert!(State::from_entries(cut).is_err(), "table {table}, byte {at}");
        }
    }
}

/// Kinds of orders that an audit has, none of which sets a parameter.
pub(crate) fn every_kind() -> BTreeSet<&'static str> {
    let mut story = Story::new(vec![honest(0), honest(1)]);
    story.act(AUDITORS[0], ask(0));
    let open = story.open_payload(0);
    story.act(WORKER, Action::OpenPayload(open));
    story.reveal_all(0, [right(), right()]);
    let one = (Finding::Match, story.stated[1].root);
    for name in AUDITORS {
        let action = story.commit(name, 1, one);
        story.act(name, action);
    }
    let open = story.open_receipt(1);
    story.act(WORKER, Action::OpenReceipt(open));
    let receipt = Bytes::new(encode(&story.receipt(1, Hash([1; 32])))).unwrap();
    story.act(PAYER, Action::ShowReceipt(ShowReceipt { batch: BATCH, index: 1, receipt }));
    story.kinds
}

/// Refusals of the stages before a dispute.
pub(crate) fn refusals(seen: &mut BTreeSet<Refusal>) {
    let mut story = Story::new(vec![honest(0), honest(1)]);
    let mut no = |story: &mut Story, name: &str, action: Action, wanted| {
        story.refuse(name, action, wanted);
        seen.insert(wanted);
    };
    let hash = Hash([1; 32]);
    let elsewhere = Action::CommitVerdict(CommitVerdict { batch: BATCH, index: 2, hash });
    no(&mut story, AUDITORS[0], elsewhere, Refusal::AuditUnknown);
    let early = story.reveal(0, right());
    no(&mut story, AUDITORS[0], early, Refusal::NotNow);
    let foreign = story.commit(PAYER, 0, right());
    no(&mut story, PAYER, foreign, Refusal::NotAuditor);
    no(&mut story, WORKER, ask(0), Refusal::NotAuditor);
    for name in AUDITORS {
        let action = story.commit(name, 0, right());
        story.act(name, action.clone());
        if name == AUDITORS[0] {
            no(&mut story, name, action, Refusal::AlreadyStated);
            no(&mut story, name, ask(0), Refusal::AlreadyStated);
        }
    }
    let open = story.open_receipt(0);
    no(&mut story, PAYER, Action::OpenReceipt(open.clone()), Refusal::NotTheWorker);
    let other = story.open_receipt(1);
    let moved = OpenReceipt { index: 0, ..other };
    no(&mut story, WORKER, Action::OpenReceipt(moved), Refusal::OtherReceipt);
    let mut broken = encode(&story.receipts[0]);
    *broken.last_mut().unwrap() ^= 1;
    for bytes in [broken, vec![1; 9]] {
        let receipt = Bytes::new(bytes).unwrap();
        let bad = OpenReceipt { receipt, ..open.clone() };
        no(&mut story, WORKER, Action::OpenReceipt(bad), Refusal::BadReceipt);
    }
    let bad = OpenReceipt { root: hash, ..open.clone() };
    no(&mut story, WORKER, Action::OpenReceipt(bad), Refusal::OtherRoot);
    story.act(WORKER, Action::OpenReceipt(open));
    let lie = story.reveal(0, (Finding::NoMatch, first().root));
    no(&mut story, AUDITORS[0], lie, Refusal::OtherVerdict);
    let reveal = story.reveal(0, right());
    story.act(AUDITORS[0], reveal.clone());
    no(&mut story, AUDITORS[0], reveal, Refusal::AlreadyStated);
    story.act(AUDITORS[0], ask(1));
    let foreign = story.open_payload(1);
    no(&mut story, PAYER, Action::OpenPayload(foreign), Refusal::NotTheWorker);
    let payload = story.open_payload(0).payload;
    let other = OpenPayload { payload, ..story.open_payload(1) };
    no(&mut story, WORKER, Action::OpenPayload(other), Refusal::OtherPayload);
    let same = ShowReceipt { batch: BATCH, index: 0, receipt: story.bytes(0) };
    no(&mut story, PAYER, Action::ShowReceipt(same), Refusal::NoContradiction);
}
