//! Receipts: their bytes, what of them is checked, and that every lie in them is named.

use audit::commitment::{blind, prompt_hash};
use audit::receipt::{
    Asked, PAYLOAD_SIZE_MAX, Payload, Receipt, SIZE, Seeding, SignedReceipt, Terms, Trust,
    nonce_commitment, seed,
};
use audit::replay::{Replayed, Run, replay};
use audit::verify::{Check, Known, Missing, Report, verify};
use data_encoding::HEXLOWER;
use engine::artifact::config::Family;
use engine::batch::Engine;
use engine::kernels::Isa;
use engine::request::Request;
use engine::sampling::{BIASES_MAX, Seed};
use expect_test::expect_file;
use types::amount::{Amount, Epoch};
use types::bounded::List;
use types::codec::{decode, encode};
use types::id::{Address, Cid, Hash};
use types::node_key::NodeSecret;
use types::sampling::SamplingNumbers;

use crate::{alone, model, options, tokens};

const SPECIFICATION: &str = include_str!("../../../../docs/spec/receipt.md");

fn secret() -> NodeSecret {
    NodeSecret::new([7; 32])
}

fn terms() -> Terms {
    Terms {
        network: Hash([1; 32]),
        epoch: Epoch(2),
        model: Cid::node(Hash([3; 32])),
        tokenizer: Hash([4; 32]),
        template: Hash([5; 32]),
        profile: 1,
        trust: Trust::Checked,
        prompt_price: Amount::new(300_000).unwrap(),
        output_price: Amount::new(2_000_000).unwrap(),
        payer: Address([6; 20]),
        worker: Address([7; 20]),
        worker_key: secret().key(),
        gateway: Hash([8; 32]),
        channel: 9,
        sequence: 10,
        nonce: Hash([11; 32]),
    }
}

fn asked() -> Asked {
    Asked {
        prompt: List::new(tokens(21, 6)).unwrap(),
        tokens_max: 12,
        end_tokens: List::new(vec![149]).unwrap(),
        numbers: SamplingNumbers {
            temperature: 1 << 16,
            top_k: 40,
            top_p: 62_000,
            min_p: 100,
            repetition_penalty: 70_000,
            presence_penalty: -5,
            frequency_penalty: 6,
        },
        biases: List::new(vec![(3, -70_000), (5, 9)]).unwrap(),
        seeding: Seeding::Joint,
        client_nonce: Hash([12; 32]),
        choice: 1,
    }
}

/// An answer by a small model, its receipt, and a replay of it.
fn answered(tokens_max: u32) -> (SignedReceipt, Payload, Replayed) {
    let model = model(Family::Llama, 3);
    let asked = Asked { tokens_max, ..asked() };
    let worker_nonce = Hash([13; 32]);
    let sampling = asked.sampling(&worker_nonce);
    let request = Request {
        prompt: asked.prompt.as_slice().to_vec(),
        said: Vec::new(),
        sampling: sampling.clone(),
        tokens_max,
        end_tokens: asked.end_tokens.as_slice().to_vec(),
        logprobs: None,
        prompt_logprobs: false,
        grammar: None,
    };
    let (output, leaves) = alone(&model, &request, options(Isa::Scalar, 1));
    let prompt = &request.prompt;
    let blinding = Hash([14; 32]);
    let blinded = Hash(blind(&leaves.root(&prompt_hash(prompt)), &blinding.0));
    let run = Run { prompt, output: &output, said: 0, sampling: &sampling };
    let mut engine = Engine::new(model, options(Isa::best(), 1));
    let replayed = replay(&mut engine, &run).unwrap();
    let output = List::new(output).unwrap();
    let payload = Payload { asked, worker_nonce, said: 0, output, blinding: Some(blinding) };
    let receipt = Receipt::of(terms(), &payload, blinded).unwrap();
    (receipt.sign(&secret()), payload, replayed)
}

/// The field that is named as wrong.
fn wrong(signed: &SignedReceipt, payload: &Payload, replayed: &Replayed) -> &'static str {
    let terms = terms();
    let known = Known {
        terms: Some(&terms),
        worker: None,
        payload: Some(payload),
        replayed: Some(replayed),
        identity: Some(&terms.identity()),
    };
    verify(signed, known).map_or_else(|wrong| wrong.field, |_| "nothing")
}

#[test]
fn an_answer_is_verified_whether_it_is_long_or_one_token() {
    for tokens_max in [1, 12] {
        let (signed, payload, replayed) = answered(tokens_max);
        assert_eq!(encode(&signed).len(), SIZE);
        assert_eq!(SignedReceipt::decode(&encode(&signed)), Ok(signed.clone()));
        assert_eq!(decode(&encode(&payload)), Ok(payload.clone()));
        let terms = terms();
        let all = Known {
            terms: Some(&terms),
            worker: None,
            identity: Some(&terms.identity()),
            payload: Some(&payload),
            replayed: Some(&replayed),
        };
        let report = verify(&signed, all).unwrap();
        use Check::{
            Answer, Artifact, Choices, Due, Request, Root, Seed, Signature, Terms, Worker,
        };
        let checks = [Terms, Artifact, Request, Answer, Seed, Due, Choices, Root, Signature];
        assert_eq!(report, Report { checked: checks.to_vec(), unchecked: vec![] });

        let file_only = verify(&signed, Known::default()).unwrap();
        assert_eq!(file_only.checked, [Seed, Due, Signature]);
        let missing = [
            (Terms, Missing::Terms),
            (Worker, Missing::Worker),
            (Artifact, Missing::Artifact),
            (Request, Missing::Payload),
            (Answer, Missing::Payload),
            (Choices, Missing::Payload),
            (Root, Missing::Payload),
        ];
        assert_eq!(file_only.unchecked, missing);

        let hidden = Payload { blinding: None, ..payload.clone() };
        let report = verify(&signed, Known { payload: Some(&hidden), ..all }).unwrap();
        assert_eq!(report.unchecked, [(Root, Missing::Blinding)]);
        let report = verify(&signed, Known { replayed: None, ..all }).unwrap();
        assert_eq!(report.unchecked, [(Choices, Missing::Replay), (Root, Missing::Replay)]);
    }
}

/// A change of one field.
type Alter = fn(&mut Receipt);

const ALTERATIONS: [(&str, Alter); 40] = [
    ("network", |it| it.terms.network = Hash([99; 32])),
    ("epoch", |it| it.terms.epoch = Epoch(3)),
    ("model", |it| it.terms.model = Cid::raw(Hash([3; 32]))),
    ("tokenizer", |it| it.terms.tokenizer = Hash([99; 32])),
    ("template", |it| it.terms.template = Hash([99; 32])),
    ("profile", |it| it.terms.profile = 2),
    ("trust", |it| it.terms.trust = Trust::Private),
    ("prompt_price", |it| it.terms.prompt_price = Amount::new(1).unwrap()),
    ("output_price", |it| it.terms.output_price = Amount::new(1).unwrap()),
    ("payer", |it| it.terms.payer = Address([99; 20])),
    ("worker", |it| it.terms.worker = Address([99; 20])),
    ("worker_key", |it| it.terms.worker_key = Hash([99; 32])),
    ("gateway", |it| it.terms.gateway = Hash([99; 32])),
    ("channel", |it| it.terms.channel = 99),
    ("sequence", |it| it.terms.sequence = 99),
    ("nonce", |it| it.terms.nonce = Hash([99; 32])),
    ("temperature", |it| it.choosing.numbers.temperature = 99),
    ("top_k", |it| it.choosing.numbers.top_k = 99),
    ("top_p", |it| it.choosing.numbers.top_p = 99),
    ("min_p", |it| it.choosing.numbers.min_p = 99),
    ("repetition_penalty", |it| it.choosing.numbers.repetition_penalty = 99),
    ("presence_penalty", |it| it.choosing.numbers.presence_penalty = 99),
    ("frequency_penalty", |it| it.choosing.numbers.frequency_penalty = 99),
    ("biases", |it| it.choosing.biases = Hash([99; 32])),
    ("seeding", |it| it.choosing.seeding = Seeding::Fixed),
    ("client_nonce", |it| it.choosing.client_nonce = Hash([99; 32])),
    ("worker_nonce", |it| it.choosing.worker_nonce = Hash([99; 32])),
    ("choice", |it| it.choosing.choice = 99),
    ("seed", |it| it.choosing.seed = Hash([99; 32])),
    ("prompt", |it| it.prompt = Hash([99; 32])),
    ("prompt_tokens", |it| it.prompt_tokens = 99),
    ("tokens_max", |it| it.tokens_max = 99),
    ("end_tokens", |it| it.end_tokens = Hash([99; 32])),
    ("said", |it| it.said = 1),
    ("output", |it| it.output = Hash([99; 32])),
    ("output_tokens", |it| it.output_tokens = 99),
    ("ending", |it| it.ending = audit::receipt::Ending::Stopped),
    ("blinded", |it| it.blinded = Hash([99; 32])),
    ("due", |it| it.due = Amount::new(99).unwrap()),
    ("nothing", |_| {}),
];

#[test]
fn every_field_altered_in_turn_is_named() {
    let (signed, payload, replayed) = answered(12);
    for (field, alter) in ALTERATIONS {
        let mut receipt = signed.receipt.clone();
        alter(&mut receipt);
        // Changed by someone on the way, and stated so by the worker itself.
        let forged = SignedReceipt { receipt: receipt.clone(), signature: signed.signature };
        assert_eq!(wrong(&forged, &payload, &replayed), field);
        assert_eq!(wrong(&receipt.clone().sign(&secret()), &payload, &replayed), field);
        let is_changed = field != "nothing";
        assert_eq!(receipt.id() != signed.receipt.id(), is_changed);
        // Whoever knows nothing else still sees that it was changed after it was signed.
        assert_eq!(verify(&forged, Known::default()).is_err(), is_changed, "{field}");
    }
    let expected = |worker| verify(&signed, Known { worker, ..Known::default() });
    assert!(expected(Some(secret().key())).unwrap().checked.contains(&Check::Worker));
    assert_eq!(expected(Some(Hash([1; 32]))).unwrap_err().field, "worker_key");
    let mut forged = signed.clone();
    forged.signature.0[5] ^= 1;
    assert_eq!(wrong(&forged, &payload, &replayed), "signature");
    let stranger = signed.receipt.sign(&NodeSecret::new([8; 32]));
    assert_eq!(wrong(&stranger, &payload, &replayed), "signature");
}

#[test]
fn a_payload_altered_by_one_token_is_refused() {
    let (signed, payload, replayed) = answered(12);
    for index in 0..payload.output.as_slice().len() {
        let mut output = payload.output.as_slice().to_vec();
        output[index] ^= 1;
        let altered = Payload { output: List::new(output).unwrap(), ..payload.clone() };
        assert_eq!(wrong(&signed, &altered, &replayed), "output", "{index}");
    }
    let shorter = List::new(payload.output.as_slice()[1..].to_vec()).unwrap();
    let altered = Payload { output: shorter, ..payload.clone() };
    assert_eq!(wrong(&signed, &altered, &replayed), "output_tokens");
    let mut prompt = payload.asked.prompt.as_slice().to_vec();
    prompt[20] ^= 1;
    let prompt = List::new(prompt).unwrap();
    let asked = Asked { prompt, ..payload.asked.clone() };
    assert_eq!(wrong(&signed, &Payload { asked, ..payload.clone() }, &replayed), "prompt");
    let altered = Payload { blinding: Some(Hash([0; 32])), ..payload };
    assert_eq!(wrong(&signed, &altered, &replayed), "blinded");
}

#[test]
fn a_worker_that_lies_consistently_is_found_by_the_replay_or_by_the_rules() {
    let (signed, payload, _) = answered(12);
    let blinded = signed.receipt.blinded;
    let state = |payload: &Payload| Receipt::of(terms(), payload, blinded).unwrap().sign(&secret());
    let replay_of = |payload: &Payload| {
        let sampling = payload.asked.sampling(&payload.worker_nonce);
        let (prompt, output) = (payload.asked.prompt.as_slice(), payload.output.as_slice());
        let run = Run { prompt, output, said: payload.said as usize, sampling: &sampling };
        replay(&mut Engine::new(model(Family::Llama, 3), options(Isa::best(), 1)), &run).unwrap()
    };
    let mut output = payload.output.as_slice().to_vec();
    output[4] ^= 1;
    let forged = Payload { output: List::new(output.clone()).unwrap(), ..payload.clone() };
    assert_eq!(wrong(&state(&forged), &forged, &replay_of(&forged)), "output", "another token");

    output.truncate(3);
    let cut = Payload { output: List::new(output).unwrap(), ..payload.clone() };
    assert_eq!(state(&cut).receipt.ending, audit::receipt::Ending::Stopped, "it must say so");

    let ends = List::new(vec![payload.output.as_slice()[2]]).unwrap();
    let asked = Asked { end_tokens: ends, ..payload.asked.clone() };
    let longer = Payload { asked, ..payload.clone() };
    assert_eq!(wrong(&state(&longer), &longer, &replay_of(&longer)), "output", "past its end");

    let asked = Asked { tokens_max: 5, ..payload.asked.clone() };
    let more = Payload { asked, ..payload.clone() };
    let found = wrong(&state(&more), &more, &replay_of(&more));
    assert_eq!(found, "output_tokens", "more than was asked for");

    let asked = Asked {
        numbers: SamplingNumbers { top_p: 0, ..payload.asked.numbers.clone() },
        ..payload.asked.clone()
    };
    let none = Payload { asked, ..payload.clone() };
    assert_eq!(wrong(&state(&none), &none, &replay_of(&payload)), "top_p", "no such sampling");

    let fast = Terms { trust: Trust::Fast, ..terms() };
    let fast = Receipt::of(fast, &payload, blinded).unwrap().sign(&secret());
    let replayed = replay_of(&payload);
    let known = Known { payload: Some(&payload), replayed: Some(&replayed), ..Known::default() };
    let report = verify(&fast, known).unwrap();
    let missing = [Check::Choices, Check::Root].map(|check| (check, Missing::Promise));
    assert_eq!(report.unchecked[3..], missing);
}

#[test]
fn neither_side_alone_chooses_a_joint_seed() {
    let seed_of =
        |client: u8, worker: u8| seed(Seeding::Joint, &Hash([client; 32]), &Hash([worker; 32]));
    assert_ne!(seed_of(1, 2), seed_of(1, 3));
    assert_ne!(seed_of(1, 2), seed_of(2, 2));
    assert_ne!(seed_of(1, 2), seed_of(2, 1));
    assert_ne!(nonce_commitment(&Hash([1; 32])), nonce_commitment(&Hash([2; 32])));
    assert_eq!(seed(Seeding::Fixed, &Hash([5; 32]), &Hash([2; 32])), Seed([5; 32]));
    let (signed, mut payload, replayed) = answered(1);
    payload.asked.seeding = Seeding::Fixed;
    let fixed = Receipt::of(terms(), &payload, signed.receipt.blinded).unwrap().sign(&secret());
    assert_eq!(wrong(&fixed, &payload, &replayed), "worker_nonce");
}

#[test]
fn a_continuation_is_owed_for_its_own_tokens() {
    let (_, mut payload, _) = answered(12);
    let due = |payload: &Payload| Receipt::of(terms(), payload, Hash([0; 32])).map(|it| it.due);
    // 21 tokens at 0.3 and 12 at 2 credits a million.
    assert_eq!(due(&payload), Amount::new(6 + 24));
    payload.said = 5;
    assert_eq!(due(&payload), Amount::new(7 + 14));
    payload.said = 12;
    assert_eq!(due(&payload), Amount::new(9));
    payload.said = 13;
    assert_eq!(due(&payload), None);
}

#[test]
fn the_bytes_are_those_that_are_written_down_and_no_others_are_read() {
    let (signed, payload, _) = answered(12);
    let (bytes, payload_bytes) = (encode(&signed), encode(&payload));
    let id = signed.receipt.id();
    let text = format!(
        "receipt {}\nid {id}\npayload {}\n",
        HEXLOWER.encode(&bytes),
        HEXLOWER.encode(&payload_bytes)
    );
    expect_file!["../../../../fixtures/receipts/receipt.txt"].assert_eq(&text);
    let example: String = SPECIFICATION
        .split("```hex")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(example, HEXLOWER.encode(&bytes), "the example of the specification");
    for end in 0..bytes.len() {
        assert!(SignedReceipt::decode(&bytes[..end]).is_err(), "{end} bytes");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(read) = SignedReceipt::decode(&flipped) {
            assert_eq!(encode(&read), flipped);
            assert!(!read.is_signed(), "bit {bit}");
        }
    }
    for end in 0..payload_bytes.len() {
        assert!(decode::<Payload>(&payload_bytes[..end]).is_err(), "{end} bytes");
    }
}

#[test]
fn the_longest_payload_has_no_more_bytes_than_its_limit() {
    let full = vec![0u32; audit::commitment::TOKENS_MAX];
    let (_, mut payload, _) = answered(1);
    payload.asked.prompt = List::new(full.clone()).unwrap();
    payload.output = List::new(full).unwrap();
    payload.asked.biases = List::new(vec![(0, 0); BIASES_MAX]).unwrap();
    payload.asked.end_tokens = List::new(vec![0; audit::receipt::END_TOKENS_MAX]).unwrap();
    assert!(encode(&payload).len() <= PAYLOAD_SIZE_MAX);
    assert_eq!(decode(&encode(&payload)), Ok(payload));
    assert!(
        List::<u32, { audit::commitment::TOKENS_MAX }>::new(vec![
            0;
            audit::commitment::TOKENS_MAX + 1
        ])
        .is_err()
    );
}

/// A change of the terms.
type AlterTerms = fn(&mut Terms);

#[test]
fn an_unpaid_receipt_says_nowhere_that_somebody_pays() {
    let (signed, payload, replayed) = answered(1);
    let identity = terms().identity();
    let right =
        Terms::unpaid(Hash([1; 32]), &identity, (secret().key(), Hash([8; 32])), Hash([11; 32]));
    let wrong = |alter: AlterTerms| {
        let mut terms = right.clone();
        alter(&mut terms);
        let receipt = Receipt::of(terms, &payload, signed.receipt.blinded).unwrap();
        let known =
            Known { payload: Some(&payload), replayed: Some(&replayed), ..Known::default() };
        verify(&receipt.sign(&secret()), known).map_err(|wrong| wrong.field)
    };
    let report = wrong(|_| {}).unwrap();
    assert_eq!(report.checked[0], Check::Unpaid);
    let alterations: [(&str, AlterTerms); 7] = [
        ("epoch", |it| it.epoch = Epoch(1)),
        ("trust", |it| it.trust = Trust::Checked),
        ("prompt_price", |it| it.prompt_price = Amount::new(1).unwrap()),
        ("output_price", |it| it.output_price = Amount::new(1).unwrap()),
        ("worker", |it| it.worker = Address([1; 20])),
        ("channel", |it| it.channel = 1),
        ("sequence", |it| it.sequence = 1),
    ];
    for (field, alter) in alterations {
        assert_eq!(wrong(alter), Err(field));
    }
}

#[test]
fn an_altered_token_is_named_where_the_answer_was_computed_again() {
    let (signed, payload, _) = answered(12);
    let mut output = payload.output.as_slice().to_vec();
    output[7] ^= 1;
    let altered = Payload { output: List::new(output.clone()).unwrap(), ..payload };
    let sampling = altered.asked.sampling(&altered.worker_nonce);
    let run = Run {
        prompt: altered.asked.prompt.as_slice(),
        output: &output,
        said: 0,
        sampling: &sampling,
    };
    let mut engine = Engine::new(model(Family::Llama, 3), options(Isa::best(), 1));
    let replayed = replay(&mut engine, &run).unwrap();
    let known = Known { payload: Some(&altered), replayed: Some(&replayed), ..Known::default() };
    let wrong = verify(&signed, known).unwrap_err();
    assert_eq!(wrong.field, "output");
    assert!(wrong.what.starts_with("token 7 is "), "{}", wrong.what);
}
