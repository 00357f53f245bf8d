//! Checks a receipt against whatever is known, and says what was checked and what was not.
//!
//! The more is known, the more is checked: the terms, the payload, a replay. A field that is wrong is
//! named, and the signature is looked at last, so that a field that someone changed is named as well.
//! Specified in `docs/spec/receipt.md`, section 5.
//!
//! Invariants:
//! - Nothing counts as checked that was not: each check is in exactly one of the report's lists.
//!
//! Not here: the replay itself (`replay`), and inclusion in the ledger.

use types::amount::{Amount, Epoch};
use types::id::{Address, Cid, Hash};

use crate::commitment::{blind, prompt_hash};
use crate::receipt::{
    Asked, Choosing, Ending, Identity, Payload, Receipt, Seeding, SignedReceipt, Terms, Trust, seed,
};
use crate::replay::{Replayed, WrongToken};

/// What the checker knows besides the receipt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// What was agreed on.
    pub terms: Option<&'a Terms>,
    /// The node key whose signature is expected.
    pub worker: Option<Hash>,
    /// What the artifact with the model's CID has.
    pub identity: Option<&'a Identity>,
    /// What was asked and answered.
    pub payload: Option<&'a Payload>,
    /// What a replay of the payload gave.
    pub replayed: Option<&'a Replayed>,
}

/// One thing that can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The terms are those that were agreed on.
    Terms,
    /// The worker key is the one that is expected.
    Worker,
    /// Where nobody pays: nothing in the terms says that somebody does.
    Unpaid,
    /// Tokenizer, template and profile are those of the artifact that the receipt names.
    Artifact,
    /// Prompt, limits and sampling are those that were asked for.
    Request,
    /// The answer's tokens, their number and their end are those that were received.
    Answer,
    /// The seed follows from the nonces.
    Seed,
    /// What is owed follows from prices and counts.
    Due,
    /// Every token is the one that the rules choose.
    Choices,
    /// The root is that of the computation.
    Root,
    /// The worker's key has signed.
    Signature,
}

/// Why something was not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The terms are not known.
    Terms,
    /// Nobody has said whose signature is expected.
    Worker,
    /// The artifact is not here.
    Artifact,
    /// The payload is not known.
    Payload,
    /// Nobody has computed the answer again.
    Replay,
    /// The root is still hidden.
    Blinding,
    /// The worker did not promise an answer that can be computed again.
    Promise,
}

/// What was checked and found right, and what was not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Found right.
    pub checked: Vec<Check>,
    /// Not checked, and why.
    pub unchecked: Vec<(Check, Missing)>,
}

/// A field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receipt's {field} is wrong: {what}")]
pub struct Wrong {
    /// The field's name.
    pub field: &'static str,
    /// What it says and what it should say.
    pub what: String,
}

/// What is expected of the signature.
struct Pinned {
    worker_key: Hash,
}

/// Compares fields by name; the first that differs is the answer.
macro_rules! equal {
    ($found:expr, $right:expr, $($field:ident),+ $(,)?) => {
        $(if $found.$field != $right.$field {
            return Err(differs(stringify!($field), &$found.$field, &$right.$field));
        })+
    };
}

/// Checks a receipt.
///
/// # Errors
/// Names the first field that is wrong.
pub fn verify(signed: &SignedReceipt, known: Known<'_>) -> Result<Report, Wrong> {
    let receipt = &signed.receipt;
    let mut report = Report::default();
    match known.terms {
        Some(terms) => {
            terms_of(receipt, terms)?;
            report.checked.push(Check::Terms);
        }
        None => report.miss(Check::Terms, Missing::Terms),
    }
    match (known.worker, known.terms) {
        (Some(worker_key), _) => {
            let right = Pinned { worker_key };
            equal!(receipt.terms, right, worker_key);
            report.checked.push(Check::Worker);
        }
        // They say it too.
        (None, Some(_)) => {}
        (None, None) => report.miss(Check::Worker, Missing::Worker),
    }
    if receipt.terms.is_unpaid() {
        unpaid(receipt)?;
        report.checked.push(Check::Unpaid);
    }
    match known.identity {
        Some(identity) => {
            equal!(receipt.terms, identity, model, tokenizer, template, profile);
            report.checked.push(Check::Artifact);
        }
        None => report.miss(Check::Artifact, Missing::Artifact),
    }
    match known.payload {
        Some(payload) => {
            request(receipt, payload)?;
            answer(receipt, payload, known.replayed)?;
            report.checked.extend([Check::Request, Check::Answer]);
        }
        None => {
            report.miss(Check::Request, Missing::Payload);
            report.miss(Check::Answer, Missing::Payload);
        }
    }
    seed_of(&receipt.choosing)?;
    due(receipt)?;
    report.checked.extend([Check::Seed, Check::Due]);
    replayed(receipt, known, &mut report)?;
    if !signed.is_signed() {
        let what = "it is not the worker's, or something was changed after it was signed";
        return Err(Wrong { field: "signature", what: what.to_owned() });
    }
    report.checked.push(Check::Signature);
    Ok(report)
}

impl Check {
    /// What is checked, in words.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Check::Terms => "the terms are those that were agreed on",
            Check::Worker => "the worker key is the one that is expected",
            Check::Unpaid => "nobody pays, and nothing in the terms says otherwise",
            Check::Artifact => "tokenizer, template and profile are those of the artifact",
            Check::Request => "prompt, limits and sampling are those of the payload",
            Check::Answer => "tokens, their number and their end are those of the payload",
            Check::Seed => "the seed follows from the nonces",
            Check::Due => "what is owed follows from prices and counts",
            Check::Choices => "every token is the one that the rules choose, computed again",
            Check::Root => "the answer's root is that of the computation, computed again",
            Check::Signature => "the worker key has signed",
        }
    }

    /// One word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Check::Terms => "terms",
            Check::Worker => "worker",
            Check::Unpaid => "unpaid",
            Check::Artifact => "artifact",
            Check::Request => "request",
            Check::Answer => "answer",
            Check::Seed => "seed",
            Check::Due => "due",
            Check::Choices => "choices",
            Check::Root => "root",
            Check::Signature => "signature",
        }
    }
}

impl Missing {
    /// What is missing, in words.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Missing::Terms => "what was agreed on is not known",
            Missing::Worker => "whose signature is expected was not said",
            Missing::Artifact => "the model is not here",
            Missing::Payload => "there is no payload",
            Missing::Replay => "the answer was not computed again",
            Missing::Blinding => "the root is still hidden",
            Missing::Promise => "a fast answer promises nothing that could be computed again",
        }
    }
}

impl Report {
    fn miss(&mut self, check: Check, missing: Missing) {
        self.unchecked.push((check, missing));
    }
}

/// A value as a person reads it.
trait Shown {
    fn shown(&self) -> String;
}

macro_rules! shown {
    ($($name:ty => $text:expr),+ $(,)?) => {
        $(impl Shown for $name {
            fn shown(&self) -> String {
                let text: fn(&$name) -> String = $text;
                text(self)
            }
        })+
    };
}

shown! {
    u32 => u32::to_string,
    i32 => i32::to_string,
    u64 => u64::to_string,
    Epoch => |it| it.0.to_string(),
    Amount => Amount::to_string,
    Hash => Hash::to_string,
    Address => Address::to_string,
    Cid => Cid::to_string,
    Trust => |it| it.word().to_owned(),
    Seeding => |it| it.word().to_owned(),
    Ending => |it| it.word().to_owned(),
}

fn differs<T: Shown>(field: &'static str, found: &T, right: &T) -> Wrong {
    let what = format!("it says {} and should say {}", found.shown(), right.shown());
    Wrong { field, what }
}

fn terms_of(receipt: &Receipt, terms: &Terms) -> Result<(), Wrong> {
    equal!(
        receipt.terms,
        terms,
        network,
        epoch,
        model,
        tokenizer,
        template,
        profile,
        trust,
        prompt_price,
        output_price,
        payer,
        worker,
        worker_key,
        gateway,
        channel,
        sequence,
        nonce,
    );
    Ok(())
}

fn unpaid(receipt: &Receipt) -> Result<(), Wrong> {
    let terms = &receipt.terms;
    let nodes = (terms.worker_key, terms.gateway);
    let right = Terms::unpaid(terms.network, &terms.identity(), nodes, terms.nonce);
    equal!(
        terms,
        right,
        epoch,
        trust,
        prompt_price,
        output_price,
        payer,
        worker,
        channel,
        sequence,
    );
    Ok(())
}

fn request(receipt: &Receipt, payload: &Payload) -> Result<(), Wrong> {
    let Asked { prompt, .. } = &payload.asked;
    let right = expected(receipt, payload)?;
    equal!(
        receipt.choosing.numbers,
        right.choosing.numbers,
        temperature,
        top_k,
        top_p,
        min_p,
        repetition_penalty,
        presence_penalty,
        frequency_penalty,
    );
    equal!(
        receipt.choosing,
        right.choosing,
        biases,
        seeding,
        client_nonce,
        worker_nonce,
        choice,
        seed,
    );
    equal!(receipt, right, prompt_tokens, prompt, tokens_max, end_tokens);
    if let Err(error) = payload.asked.sampling(&payload.worker_nonce).check() {
        return Err(Wrong { field: error.parameter, what: error.to_string() });
    }
    if prompt.as_slice().is_empty() {
        return Err(Wrong { field: "prompt", what: "it has no token".to_owned() });
    }
    Ok(())
}

fn answer(receipt: &Receipt, payload: &Payload, replayed: Option<&Replayed>) -> Result<(), Wrong> {
    let right = expected(receipt, payload)?;
    equal!(receipt, right, said, output_tokens);
    if receipt.output != right.output {
        let mut wrong = differs("output", &receipt.output, &right.output);
        // The hash says only that a token is another; the rules say which.
        let token = replayed.and_then(|it| it.wrong).map(|it| of_token(&it));
        token.into_iter().for_each(|it| wrong.what = format!("{it}; {}", wrong.what));
        return Err(wrong);
    }
    equal!(receipt, right, ending);
    let (output, ends) = (payload.output.as_slice(), payload.asked.end_tokens.as_slice());
    let inner = output.split_last().map_or(output, |(_, inner)| inner);
    if let Some(index) = inner.iter().position(|token| ends.contains(token)) {
        let what = format!("token {index} ends the answer and others follow");
        return Err(Wrong { field: "output", what });
    }
    if receipt.output_tokens > receipt.tokens_max {
        let (found, most) = (receipt.output_tokens, receipt.tokens_max);
        let what = format!("it is {found}, and at most {most} were asked for");
        return Err(Wrong { field: "output_tokens", what });
    }
    Ok(())
}

/// The receipt that its worker should have stated, but for the root.
fn expected(receipt: &Receipt, payload: &Payload) -> Result<Receipt, Wrong> {
    let right = Receipt::of(receipt.terms.clone(), payload, receipt.blinded);
    right.ok_or_else(|| {
        let what = "no amount is owed for such a payload at these prices".to_owned();
        Wrong { field: "said", what }
    })
}

fn seed_of(choosing: &Choosing) -> Result<(), Wrong> {
    let Choosing { seeding, client_nonce, worker_nonce, .. } = choosing;
    if *seeding == Seeding::Fixed && *worker_nonce != Hash::default() {
        let what = "the client fixed the seed, so that it should be zero".to_owned();
        return Err(Wrong { field: "worker_nonce", what });
    }
    let right = Hash(seed(*seeding, client_nonce, worker_nonce).choice(choosing.choice).0);
    match choosing.seed == right {
        true => Ok(()),
        false => Err(differs("seed", &choosing.seed, &right)),
    }
}

fn due(receipt: &Receipt) -> Result<(), Wrong> {
    match receipt.price() {
        Some(right) if right == receipt.due => Ok(()),
        Some(right) => Err(differs("due", &receipt.due, &right)),
        None => {
            let what = "nothing can be owed at these counts and prices".to_owned();
            Err(Wrong { field: "due", what })
        }
    }
}

fn of_token(wrong: &WrongToken) -> String {
    let WrongToken { index, found, right } = wrong;
    format!("token {index} is {found}, and the rules choose {right}")
}

fn replayed(receipt: &Receipt, known: Known<'_>, report: &mut Report) -> Result<(), Wrong> {
    let missing = match (receipt.terms.trust, known.payload, known.replayed) {
        (Trust::Fast, ..) => Missing::Promise,
        (_, None, _) => Missing::Payload,
        (_, _, None) => Missing::Replay,
        (_, Some(payload), Some(replayed)) => {
            if let Some(wrong) = &replayed.wrong {
                return Err(Wrong { field: "output", what: of_token(wrong) });
            }
            report.checked.push(Check::Choices);
            let Some(blinding) = payload.blinding else {
                report.miss(Check::Root, Missing::Blinding);
                return Ok(());
            };
            let root = replayed.leaves.root(&prompt_hash(payload.asked.prompt.as_slice()));
            let right = Hash(blind(&root, &blinding.0));
            if receipt.blinded != right {
                return Err(differs("blinded", &receipt.blinded, &right));
            }
            report.checked.push(Check::Root);
            return Ok(());
        }
    };
    report.miss(Check::Choices, missing);
    report.miss(Check::Root, missing);
    Ok(())
}
