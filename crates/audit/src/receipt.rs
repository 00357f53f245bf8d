//! A worker's signed statement of what it computed, for whom, and at what price.
//!
//! A receipt names everything that an answer is a function of by hash or number, and binds the
//! answer's root behind a blinding, so that an auditor cannot repeat what it has not computed.
//! Specified in `docs/spec/receipt.md`.
//!
//! Invariants:
//! - A receipt has one encoding, of bounded size whatever the prompt and the answer.
//! - The seed of a joint receipt was chosen by neither side alone: the client's nonce was committed
//!   to before the worker's was told.
//!
//! Not here: what is right about a receipt (`verify`), and who may redeem it (the ledger).

use engine::artifact::strings::{self, Strings};
use engine::artifact::{Kind, PROFILE};
use engine::model::Model;
use engine::sampling::{BIASES_MAX, Sampling, Seed};
use engine::texts::Texts;
use sha2::{Digest as _, Sha256};
use types::amount::{Amount, Epoch};
use types::bounded::List;
use types::codec::{Canonical, Malformed, Reader};
use types::id::{Address, Cid, Hash};
use types::node_key::{NodeSecret, NodeSignature, NodeSigned};
use types::sampling::SamplingNumbers;

use crate::commitment::{TOKENS_MAX, output_hash, prompt_hash};
use crate::digest::tagged;

/// Tokens that end an answer, at most: as many as a request may have.
pub const END_TOKENS_MAX: usize = 256;
/// Prices are for so many tokens.
pub const PRICED_TOKENS: u64 = 1_000_000;
/// Bytes of a signed receipt: no field's size varies.
pub const SIZE: usize = 692;
/// Bytes of a payload, at most: two lists of tokens, biases, end tokens and numbers.
pub const PAYLOAD_SIZE_MAX: usize = 8 * TOKENS_MAX + 8 * BIASES_MAX + 4 * END_TOKENS_MAX + 256;

/// The payer where nobody pays, and the worker's account there.
const NOBODY: Address = Address([0; 20]);

/// Separate these hashes from others over the same bytes.
const SEED_TAG: &str = "mashaa/audit/seed/v1";
const NONCE_TAG: &str = "mashaa/audit/nonce/v1";
const ENDS_TAG: &str = "mashaa/audit/ends/v1";
const BIASES_TAG: &str = "mashaa/audit/biases/v1";
/// Version of the layout.
const VERSION: u8 = 1;

types::words! {
    /// What a payer was promised about how an answer is checked.
    Trust {
        /// Any engine; the receipt is signed, and says nothing that could be recomputed.
        1 Fast = "fast",
        /// The exact engine; strangers may be drawn to compute the answer again, and read it.
        2 Checked = "checked",
        /// The exact engine; the payload stays between payer and worker, and the payer audits.
        3 Private = "private",
        /// Checked, on hardware that attests what it runs.
        4 Attested = "attested",
    }
}

types::words! {
    /// Who chose the seed.
    Seeding {
        /// Both: the hash of the client's nonce, committed to first, and the worker's.
        1 Joint = "joint",
        /// The client alone, which asked for it.
        2 Fixed = "fixed",
    }
}

types::words! {
    /// Why an answer ended.
    Ending {
        /// Its last token is one of the request's end tokens.
        1 EndToken = "end-token",
        /// It has as many tokens as it may have.
        2 Length = "length",
        /// The client wanted no more.
        3 Stopped = "stopped",
    }
}

types::record! {
    /// What payer and worker agreed on before anything was computed.
    Terms {
        /// The network: the hash of its genesis.
        network: Hash,
        /// The epoch in which the answer was given.
        epoch: Epoch,
        /// The artifact.
        model: Cid,
        /// SHA-256 of the artifact's vocabulary section.
        tokenizer: Hash,
        /// SHA-256 of the artifact's chat template.
        template: Hash,
        /// The numeric profile's number; 1 is `int-1`.
        profile: u32,
        /// What was promised.
        trust: Trust,
        /// For a million tokens of the prompt.
        prompt_price: Amount,
        /// For a million tokens of the answer.
        output_price: Amount,
        /// Who pays.
        payer: Address,
        /// Who is paid.
        worker: Address,
        /// The node key of the worker's machine, which signs.
        worker_key: Hash,
        /// The node key of the gateway.
        gateway: Hash,
        /// The number of the channel that pays.
        channel: u64,
        /// Receipts of this channel that came before.
        sequence: u64,
        /// A number that the gateway never uses twice, so that no old receipt is shown again.
        nonce: Hash,
    }
}

types::record! {
    /// How tokens were chosen, in the integers of `docs/spec/int-1.md`, section 9.
    Choosing {
        /// Temperature and the numbers beside it.
        numbers: SamplingNumbers,
        /// Hash of the biases.
        biases: Hash,
        /// Who chose the seed.
        seeding: Seeding,
        /// The client's nonce; where the seed is fixed, the seed.
        client_nonce: Hash,
        /// The worker's nonce; zeros where the seed is fixed.
        worker_nonce: Hash,
        /// Which of several answers to one request this is, from 0.
        choice: u32,
        /// The seed of this answer's choices.
        seed: Hash,
    }
}

types::record! {
    /// What a worker states.
    Receipt {
        /// What was agreed on.
        terms: Terms,
        /// How tokens were chosen.
        choosing: Choosing,
        /// Hash of the prompt's tokens.
        prompt: Hash,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens that the answer might have had.
        tokens_max: u32,
        /// Hash of the tokens that end an answer.
        end_tokens: Hash,
        /// Tokens of the answer that another worker had given already.
        said: u32,
        /// Hash of the answer's tokens, those of the other worker among them.
        output: Hash,
        /// Tokens of the answer.
        output_tokens: u32,
        /// Why it ended.
        ending: Ending,
        /// The answer's root, blinded.
        blinded: Hash,
        /// What the payer owes for it.
        due: Amount,
    }
}

types::record! {
    /// What was asked, in full.
    Asked {
        /// The prompt's tokens.
        prompt: List<u32, TOKENS_MAX>,
        /// Tokens of the answer, at most.
        tokens_max: u32,
        /// Tokens that end the answer.
        end_tokens: List<u32, END_TOKENS_MAX>,
        /// Temperature and the numbers beside it.
        numbers: SamplingNumbers,
        /// Added to logits: token, Q16; ascending by token.
        biases: List<(u32, i32), BIASES_MAX>,
        /// Who chooses the seed.
        seeding: Seeding,
        /// The client's nonce; where the seed is fixed, the seed.
        client_nonce: Hash,
        /// Which of several answers to one request this is, from 0.
        choice: u32,
    }
}

types::record! {
    /// What a receipt is about, which it names by hashes only.
    Payload {
        /// What was asked.
        asked: Asked,
        /// The worker's nonce; zeros where the seed is fixed.
        worker_nonce: Hash,
        /// Tokens of the answer that another worker had given already.
        said: u32,
        /// The answer's tokens.
        output: List<u32, TOKENS_MAX>,
        /// What hides the answer's root; none before it is revealed.
        blinding: Option<Hash>,
    }
}

/// What a receipt's terms say of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The artifact.
    pub model: Cid,
    /// SHA-256 of its vocabulary section.
    pub tokenizer: Hash,
    /// SHA-256 of its chat template; of no bytes where it has none.
    pub template: Hash,
    /// The number of its numeric profile.
    pub profile: u32,
}

/// A receipt and its worker's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReceipt {
    /// The receipt.
    pub receipt: Receipt,
    /// By the worker's node key.
    pub signature: NodeSignature,
}

impl Identity {
    /// That of an opened artifact, whose name is known.
    #[must_use]
    pub fn of(cid: Cid, model: &Model) -> Identity {
        let vocabulary = model.section_bytes(Kind::Vocabulary, 0).unwrap_or_default();
        Identity::by(cid, vocabulary, model.strings())
    }

    /// That of an artifact of which only the first part is here.
    #[must_use]
    pub fn of_texts(cid: Cid, texts: &Texts) -> Identity {
        Identity::by(cid, texts.vocabulary_bytes(), texts.strings())
    }

    fn by(cid: Cid, vocabulary: &[u8], texts: &Strings) -> Identity {
        let sha256 = |bytes: &[u8]| Hash(Sha256::digest(bytes).into());
        let template = texts.get(strings::CHAT_TEMPLATE).map_or("", |it| it.as_str());
        Identity {
            model: cid,
            tokenizer: sha256(vocabulary),
            template: sha256(template.as_bytes()),
            profile: PROFILE,
        }
    }
}

impl Terms {
    /// The terms of an answer that nobody pays for.
    #[must_use]
    pub fn unpaid(
        network: Hash,
        of: &Identity,
        (worker_key, gateway): (Hash, Hash),
        nonce: Hash,
    ) -> Terms {
        Terms {
            network,
            epoch: Epoch(0),
            model: of.model,
            tokenizer: of.tokenizer,
            template: of.template,
            profile: of.profile,
            trust: Trust::Private,
            prompt_price: Amount::ZERO,
            output_price: Amount::ZERO,
            payer: NOBODY,
            worker: NOBODY,
            worker_key,
            gateway,
            channel: 0,
            sequence: 0,
            nonce,
        }
    }

    /// Whether nobody pays.
    #[must_use]
    pub fn is_unpaid(&self) -> bool {
        self.payer == NOBODY
    }

    /// What the terms say of the artifact.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let Terms { model, tokenizer, template, profile, .. } = self;
        Identity { model: *model, tokenizer: *tokenizer, template: *template, profile: *profile }
    }
}

impl NodeSigned for Receipt {
    const TAG: &'static [u8] = b"mashaa/audit/receipt/v1";
}

impl Receipt {
    /// The statement about a payload under these terms. None where the lists are so long or the
    /// prices so high that there is no such statement.
    #[must_use]
    pub fn of(terms: Terms, payload: &Payload, blinded: Hash) -> Option<Receipt> {
        let asked = &payload.asked;
        let mut receipt = Receipt {
            terms,
            choosing: asked.choosing(&payload.worker_nonce),
            prompt: Hash(prompt_hash(asked.prompt.as_slice())),
            prompt_tokens: count(asked.prompt.as_slice()),
            tokens_max: asked.tokens_max,
            end_tokens: ends_hash(asked.end_tokens.as_slice()),
            said: payload.said,
            output: Hash(output_hash(payload.output.as_slice())),
            output_tokens: count(payload.output.as_slice()),
            ending: payload.ending(),
            blinded,
            due: Amount::ZERO,
        };
        receipt.due = receipt.price()?;
        Some(receipt)
    }

    /// What the payer owes: the prompt's price for all tokens that were given, the output's for those
    /// that the worker chose. None where it said more than there are, or for more than any amount.
    #[must_use]
    pub fn price(&self) -> Option<Amount> {
        let given = u128::from(self.prompt_tokens) + u128::from(self.said);
        let chosen = u128::from(self.output_tokens.checked_sub(self.said)?);
        let millions = given * u128::from(self.terms.prompt_price.millionths())
            + chosen * u128::from(self.terms.output_price.millionths());
        u64::try_from(millions / u128::from(PRICED_TOKENS)).ok().and_then(Amount::new)
    }

    /// The receipt's name: SHA-256 of what is signed.
    #[must_use]
    pub fn id(&self) -> Hash {
        Hash(Sha256::digest(self.signed_bytes()).into())
    }

    /// Signs it with the worker's node key.
    #[must_use]
    pub fn sign(self, secret: &NodeSecret) -> SignedReceipt {
        let signature = NodeSigned::sign(&self, secret);
        SignedReceipt { receipt: self, signature }
    }
}

impl SignedReceipt {
    /// Whether the worker's node key has signed it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.receipt.is_signed(&self.receipt.terms.worker_key, &self.signature)
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the bytes are no signed receipt.
    pub fn decode(bytes: &[u8]) -> Result<SignedReceipt, Malformed> {
        types::codec::decode(bytes)
    }
}

impl Asked {
    /// How the tokens are chosen, once the worker's nonce is known.
    #[must_use]
    pub fn choosing(&self, worker_nonce: &Hash) -> Choosing {
        let seed = seed(self.seeding, &self.client_nonce, worker_nonce).choice(self.choice);
        Choosing {
            numbers: self.numbers.clone(),
            biases: biases_hash(self.biases.as_slice()),
            seeding: self.seeding,
            client_nonce: self.client_nonce,
            worker_nonce: *worker_nonce,
            choice: self.choice,
            seed: Hash(seed.0),
        }
    }

    /// The same for the engine.
    #[must_use]
    pub fn sampling(&self, worker_nonce: &Hash) -> Sampling {
        let seed = seed(self.seeding, &self.client_nonce, worker_nonce).choice(self.choice);
        sampling(&self.numbers, self.biases.as_slice().to_vec(), seed)
    }
}

impl Payload {
    /// Why the answer ended, as its tokens show.
    #[must_use]
    pub fn ending(&self) -> Ending {
        let ends = self.asked.end_tokens.as_slice();
        let output = self.output.as_slice();
        if output.last().is_some_and(|last| ends.contains(last)) {
            Ending::EndToken
        } else if output.len() as u64 >= u64::from(self.asked.tokens_max) {
            Ending::Length
        } else {
            Ending::Stopped
        }
    }
}

/// The numbers of an engine's sampling.
#[must_use]
pub fn numbers(sampling: &Sampling) -> SamplingNumbers {
    SamplingNumbers {
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        repetition_penalty: sampling.repetition_penalty,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
    }
}

/// An engine's sampling of these numbers.
#[must_use]
pub fn sampling(numbers: &SamplingNumbers, logit_bias: Vec<(u32, i32)>, seed: Seed) -> Sampling {
    Sampling {
        temperature: numbers.temperature,
        top_k: numbers.top_k,
        top_p: numbers.top_p,
        min_p: numbers.min_p,
        repetition_penalty: numbers.repetition_penalty,
        presence_penalty: numbers.presence_penalty,
        frequency_penalty: numbers.frequency_penalty,
        logit_bias,
        seed,
    }
}

/// The seed before the choice. A fixed one is the client's nonce.
#[must_use]
pub fn seed(seeding: Seeding, client_nonce: &Hash, worker_nonce: &Hash) -> Seed {
    match seeding {
        Seeding::Joint => Seed(tagged(SEED_TAG, &[&client_nonce.0, &worker_nonce.0])),
        Seeding::Fixed => Seed(client_nonce.0),
    }
}

/// What a client states of its nonce before the worker tells its own.
#[must_use]
pub fn nonce_commitment(client_nonce: &Hash) -> Hash {
    Hash(tagged(NONCE_TAG, &[&client_nonce.0]))
}

/// The hash of the tokens that end an answer.
#[must_use]
pub fn ends_hash(tokens: &[u32]) -> Hash {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    Hash(tagged(ENDS_TAG, &[&count(tokens).to_le_bytes(), &bytes]))
}

/// The hash of biases.
#[must_use]
pub fn biases_hash(biases: &[(u32, i32)]) -> Hash {
    let bytes = |(token, bias): &(u32, i32)| [token.to_le_bytes(), bias.to_le_bytes()].concat();
    let bytes: Vec<u8> = biases.iter().flat_map(bytes).collect();
    Hash(tagged(BIASES_TAG, &[&count(biases).to_le_bytes(), &bytes]))
}

/// Lists here have a limit far below 2^32.
fn count<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

impl Canonical for SignedReceipt {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        self.receipt.write(out);
        self.signature.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::read(reader)? {
            VERSION => {}
            number => return Err(Malformed::UnknownVariant { number }),
        }
        let receipt = Receipt::read(reader)?;
        Ok(SignedReceipt { receipt, signature: NodeSignature::read(reader)? })
    }
}
