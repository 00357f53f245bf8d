//! The bytes of `docs/spec/network.md`: each message as it is written down, and every other refused.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::fmt::Debug;
use std::fmt::Write as _;

use expect_test::expect_file;
use network::audit::{Given, Want};
use network::keep::{
    ANSWER_SIZE_MAX, Answer, Keep, KeepCause, QUESTION_SIZE_MAX, Question, SOURCES_MAX,
};
use network::membership::{Announcement, Offer, SignedAnnouncement, SignedPass};
use network::messages::{Hello, Knock, Reply, Revoked, Welcome, words};
use network::revocation::{Revocation, SignedRevocation};
use network::ticket::Ticket;
use network::work::{Ask, Cause, End, Note, Payment, Score, SeedSource, Tell};
use types::amount::{Amount, Epoch};
use types::bounded::{Bytes, List, Text};
use types::codec::{Canonical, decode, encode};
use types::id::{Cid, Hash};
use types::node_key::NodeSecret;
use types::sampling::SamplingNumbers;
use types::signature::Signature;
use types::transaction::OpenPayload;

const NETWORK: Hash = Hash([1; 32]);

fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).unwrap()
}

fn list<T, const MAX: usize>(items: Vec<T>) -> List<T, MAX> {
    List::new(items).unwrap()
}

fn ticket() -> Ticket {
    Ticket {
        network: NETWORK,
        node: NodeSecret::new([1; 32]).key(),
        addresses: list(vec![text("/ip4/192.0.2.7/udp/8422/quic-v1")]),
        secret: [3; 16],
        expires: 1_800_000_000,
    }
}

fn pass() -> SignedPass {
    let (node, issuer) = (NodeSecret::new([2; 32]).key(), NodeSecret::new([1; 32]));
    SignedPass::issue(NETWORK, node, 1_800_000_000, &issuer)
}

fn announcement() -> SignedAnnouncement {
    let offer = Offer {
        model: text("bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"),
        name: text("tiny"),
        context: 512,
        price: 250_000,
        prefill: 1000,
        decode: 100,
        slots: 8,
    };
    let announcement = Announcement {
        network: NETWORK,
        node: NodeSecret::new([2; 32]).key(),
        issued: 1_700_000_000_000,
        name: text("مختبر"),
        addresses: list(vec![text("/ip4/192.0.2.8/tcp/8422")]),
        passes: list(vec![pass()]),
        offers: list(vec![offer]),
    };
    SignedAnnouncement::sign(announcement, &NodeSecret::new([2; 32]))
}

/// The node that let another in takes that back.
fn revocation() -> SignedRevocation {
    let (node, maker) = (NodeSecret::new([2; 32]).key(), NodeSecret::new([1; 32]));
    let (until, passes) = (1_800_000_000, list(vec![]));
    let revocation = Revocation { network: NETWORK, node, maker: maker.key(), until, passes };
    SignedRevocation::sign(revocation, &maker)
}

fn ask() -> Ask {
    Ask {
        model: text("bafy"),
        prompt: list(vec![1, 2, 3]),
        said: list(vec![4]),
        tokens_max: 5,
        end_tokens: list(vec![6]),
        numbers: SamplingNumbers {
            temperature: 7,
            top_k: 8,
            top_p: 9,
            min_p: 10,
            repetition_penalty: 11,
            presence_penalty: -12,
            frequency_penalty: 13,
        },
        logit_bias: list(vec![(14, -15)]),
        seed: SeedSource::Fixed(Hash([16; 32])),
        logprobs: Some(17),
        prompt_logprobs: true,
        grammar: list(b"start: /a+/".to_vec()),
        payment: None,
    }
}

fn score() -> Score {
    Score { max: -1, total: 1 << 30, token: 2, logit: -3, top: list(vec![(2, -3), (4, -5)]) }
}

fn welcome() -> Welcome {
    Welcome {
        genesis: list(b"name = \"tiny\"\n".to_vec()),
        root: NodeSecret::new([1; 32]).key(),
        passes: list(vec![pass()]),
        known: list(vec![announcement()]),
    }
}

fn keep(sources: usize) -> Keep {
    let sources = list(vec![Hash([6; 32]); sources]);
    Keep { cid: Cid::node(Hash([5; 32])), size: 1 << 20, seconds: 3600, sources }
}

fn shown() -> OpenPayload {
    let (receipt, payload) = (Bytes::new(vec![25; 3]).unwrap(), Bytes::new(vec![26; 2]).unwrap());
    OpenPayload { batch: 7, index: 3, receipt, path: list(vec![Hash([27; 32])]), payload }
}

/// Writes a message down, and tries everything that is nearly it.
fn check<T: Canonical + PartialEq + Debug>(out: &mut String, name: &str, value: &T) {
    let bytes = encode(value);
    writeln!(out, "{name} {}", data_encoding::HEXLOWER.encode(&bytes)).unwrap();
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(value), "{name}");
    for cut in 0..bytes.len() {
        assert!(decode::<T>(&bytes[..cut]).is_err(), "{name} cut at {cut}");
    }
    assert!(decode::<T>(&[&bytes[..], &[0]].concat()).is_err(), "{name} and more");
    for at in 0..bytes.len() {
        for other in [0, 1, 0x7f, 0xff, bytes[at] ^ 1, bytes[at] ^ 0x80] {
            let mut changed = bytes.clone();
            changed[at] = other;
            // Another message, whose bytes these are, or none.
            if let Ok(value) = decode::<T>(&changed) {
                assert_eq!(encode(&value), changed, "{name} at {at}");
            }
        }
    }
}

#[test]
fn every_message_has_the_bytes_that_are_written_down() {
    let mut out = String::new();
    check(&mut out, "ticket", &ticket());
    writeln!(out, "ticket-text {}", ticket()).unwrap();
    check(&mut out, "pass", &pass());
    check(&mut out, "announcement", &announcement());
    check(&mut out, "hello", &Hello { known: list(vec![announcement()]) });
    check(&mut out, "revocation", &revocation());
    check(&mut out, "revoked", &Revoked { known: list(vec![revocation()]) });
    check(&mut out, "knock", &Knock { secret: [3; 16] });
    check(&mut out, "welcome", &Reply::Welcome(Box::new(welcome())));
    check(&mut out, "not-welcome", &Reply::Refused(words("the ticket has ended")));
    check(&mut out, "ask", &ask());
    let (client, worker) = (Hash([18; 32]), Hash([19; 32]));
    let joint = SeedSource::Joint(Hash([20; 32]));
    check(&mut out, "ask-joint", &Ask { seed: joint, ..ask() });
    check(&mut out, "ask-made", &Ask { seed: SeedSource::Made { client, worker }, ..ask() });
    check(&mut out, "nonce", &Note::Nonce(client));
    let price = Amount::new(250_000).unwrap();
    let (nonce, is_checked) = (Hash([23; 32]), true);
    let payment = Payment { channel: 21, price, epoch: Epoch(22), nonce, is_checked };
    check(&mut out, "ask-paid", &Ask { payment: Some(payment), ..ask() });
    check(&mut out, "stop", &Note::Stop);
    check(&mut out, "voucher", &Note::Voucher(price, Signature([24; 65])));
    check(&mut out, "taken", &Tell::Taken(None));
    check(&mut out, "taken-joint", &Tell::Taken(Some(worker)));
    check(&mut out, "alive", &Tell::Alive);
    check(&mut out, "scores", &Tell::Scores(list(vec![score(), score()])));
    check(&mut out, "prompt", &Tell::Prompt(48));
    check(&mut out, "token", &Tell::Token(7, None));
    check(&mut out, "token-scored", &Tell::Token(7, Some(score())));
    check(&mut out, "finished", &Tell::Finished(End::Length));
    check(&mut out, "finished-stopped", &Tell::Finished(End::Stopped));
    check(&mut out, "receipt", &Tell::Receipt(list(vec![1, 2, 3]), [4; 32]));
    for cause in Cause::ALL {
        check(&mut out, cause.word(), &Tell::Refused(*cause, words("why")));
    }
    check(&mut out, "room", &Question::Room);
    check(&mut out, "keep", &Question::Keep(keep(2)));
    check(&mut out, "release", &Question::Release(Cid::raw(Hash([5; 32]))));
    check(&mut out, "has-room", &Answer::Room { pledged: 1 << 30, free: 7 });
    check(&mut out, "fetching", &Answer::Fetching);
    check(&mut out, "kept", &Answer::Kept(604_800));
    check(&mut out, "released", &Answer::Released);
    for cause in KeepCause::ALL {
        check(&mut out, cause.word(), &Answer::Refused(*cause, words("why")));
    }
    check(&mut out, "want", &Want { batch: 7, index: 3 });
    check(&mut out, "given", &Given::Shown(Box::new(shown())));
    check(&mut out, "not-given", &Given::Refused(words("no seat")));
    expect_file!["../../../fixtures/network/messages.txt"].assert_eq(&out);
}

/// A length of four billion allocates nothing and is refused.
#[test]
fn a_huge_length_is_refused_wherever_it_stands() {
    let bytes = encode(&ask());
    for at in 0..bytes.len() - 4 {
        let mut changed = bytes.clone();
        changed[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        if let Ok(value) = decode::<Ask>(&changed) {
            assert_eq!(encode(&value), changed, "at {at}");
        }
    }
}

#[test]
fn the_largest_question_and_answer_about_copies_are_as_large_as_their_limits_say() {
    let question = encode(&Question::Keep(keep(SOURCES_MAX)));
    assert_eq!(question.len(), QUESTION_SIZE_MAX);
    let longest = words(&"x".repeat(1000));
    let answer = encode(&Answer::Refused(KeepCause::Failed, longest));
    assert_eq!(answer.len(), ANSWER_SIZE_MAX);
    let mut other = question.clone();
    // One source more than there may be, and a CID of another hash function.
    other[49] = u8::try_from(SOURCES_MAX).unwrap() + 1;
    assert!(decode::<Question>(&other).is_err());
    let mut other = question;
    other[3] = 0x13;
    assert!(decode::<Question>(&other).is_err());
}
