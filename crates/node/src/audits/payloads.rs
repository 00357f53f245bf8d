//! Receipts and payloads on their way from a worker to the auditors that were drawn.
//!
//! Specified in `docs/spec/network.md`, section 12.
//!
//! Invariants:
//! - Nobody is given a payload but a node that an account with a seat in the audit has registered, and
//!   nobody the blinding: who knew it before it has committed could repeat the root.
//! - What comes from a worker is what the ledger would take, or nothing.
//!
//! Not here: asking on the ledger, where a worker does not answer (`auditor`).

use std::time::Duration;

use audit::receipt::{Payload, Trust};
use ledger::audits::{Key, Stage, shown};
use ledger::batches::Batch;
use ledger::state::State;
use network::audit::{GIVEN_SIZE_MAX, Given, WANT_SIZE_MAX, Want};
use network::frame;
use network::messages::words;
use network::network::{Network, Purpose, Stream};
use tokio::time::timeout;
use types::bounded::{Bytes, List};
use types::codec::{decode, encode};
use types::id::Hash;
use types::transaction::OpenPayload;
use types::word::Lack;

use crate::earn::Earned;
use crate::ledger::Ledger;

/// How long a question and its answer may take: a megabyte over a slow line.
pub(crate) const GIVE_TIME_MAX: Duration = Duration::from_secs(10);

/// What this node has stated in a place of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    /// What shows receipt and payload.
    pub(crate) shown: OpenPayload,
    /// The payload, without the blinding.
    pub(crate) payload: Payload,
    /// What hides the root.
    pub(crate) blinding: Hash,
    /// What is stated of the root.
    pub(crate) blinded: Hash,
    /// What was promised.
    pub(crate) trust: Trust,
}

impl Own {
    /// What was stated in a place of a batch; none if it is not this node's, or is not on its disk.
    pub(crate) fn find(earned: &Earned, batch: &Batch, (number, index): Key) -> Option<Own> {
        let sequence = batch.first.checked_add(index.into())?;
        let statement = earned.statement(batch.channel, sequence)?;
        let ids = earned.ids(batch.channel, batch.first, batch.count)?;
        let leaves: Vec<merkle::Digest> = ids.iter().map(|id| merkle::leaf(&id.0)).collect();
        let path = merkle::path(&leaves, usize::try_from(index).ok()?)?;
        let mut payload = decode::<Payload>(&statement.payload).ok()?;
        let blinding = payload.blinding.take()?;
        let shown = OpenPayload {
            batch: number,
            index,
            receipt: Bytes::new(statement.receipt).ok()?,
            path: List::new(path.into_iter().map(Hash).collect()).ok()?,
            payload: Bytes::new(encode(&payload)).ok()?,
        };
        let receipt = &statement.signed.receipt;
        let (blinded, trust) = (receipt.blinded, receipt.terms.trust);
        Some(Own { shown, payload, blinding, blinded, trust })
    }
}

/// Answers a node that wants a receipt.
pub(crate) async fn give(
    mut stream: Stream,
    node: Hash,
    ledger: Option<&Ledger>,
    earned: Option<&Earned>,
) {
    let answer = async {
        let Ok(want) = frame::read::<Want>(&mut stream, WANT_SIZE_MAX).await else { return };
        let given = match find(node, ledger, earned, (want.batch, want.index)) {
            Ok(shown) => Given::Shown(Box::new(shown)),
            Err(why) => Given::Refused(words(why)),
        };
        // It hears it, or has gone.
        let _ = frame::write(&mut stream, &given).await;
    };
    // Whoever asks too slowly asks again, or on the ledger.
    let _ = timeout(GIVE_TIME_MAX, answer).await;
}

fn find(
    node: Hash,
    ledger: Option<&Ledger>,
    earned: Option<&Earned>,
    key: Key,
) -> Result<OpenPayload, &'static str> {
    let (Some(ledger), Some(earned)) = (ledger, earned) else {
        return Err("this node earns nothing");
    };
    let batch = {
        let mut chain = ledger.chain();
        let state = chain.state();
        seated(state, &node, key)?;
        state.batch(key.0).filter(|it| it.node == ledger.node_key()).cloned()
    };
    let own = Own::find(earned, &batch.ok_or("the batch is not this node's")?, key);
    let own = own.ok_or("the receipt is not here")?;
    match own.trust {
        Trust::Checked | Trust::Attested => Ok(own.shown),
        Trust::Private | Trust::Fast => Err("the payload stays between payer and worker"),
    }
}

/// Whether a node's account has a seat in an audit that still looks for its finding.
fn seated(state: &State, node: &Hash, key: Key) -> Result<(), &'static str> {
    let account = state.registration(node).map(|it| it.account);
    let account = account.ok_or("no account has registered the node that asks")?;
    let audit = state.audit(key).ok_or("there is no such audit")?;
    audit.seat(&account).ok_or("the account of the node that asks has no seat")?;
    match audit.stage {
        Stage::Committing | Stage::PayloadWanted => Ok(()),
        _ => Err("its auditors have committed"),
    }
}

/// Asks a worker for a receipt and its payload.
///
/// # Errors
/// Says why there is none, or none that the ledger would take.
pub(super) async fn fetch(
    network: &Network,
    ledger: &Ledger,
    worker: Hash,
    key: Key,
) -> Result<(OpenPayload, Payload), (Lack, String)> {
    let given = ask(network, worker, key).await.map_err(|why| (Lack::Timeout, why))?;
    take(ledger, key, given).map_err(|why| (Lack::Refused, why))
}

async fn ask(network: &Network, worker: Hash, (batch, index): Key) -> Result<Given, String> {
    let exchange = async {
        let opened = network.open(worker, Purpose::Audit).await;
        let mut stream = opened.map_err(|error| error.to_string())?;
        let asked = frame::write(&mut stream, &Want { batch, index }).await;
        asked.map_err(|error| error.to_string())?;
        let given = frame::read::<Given>(&mut stream, GIVEN_SIZE_MAX).await;
        given.map_err(|error| error.to_string())
    };
    let given = timeout(GIVE_TIME_MAX, exchange).await;
    given.map_err(|_| "the worker does not answer")?
}

fn take(ledger: &Ledger, key: Key, given: Given) -> Result<(OpenPayload, Payload), String> {
    let open = match given {
        Given::Shown(shown) => *shown,
        Given::Refused(why) => return Err(format!("the worker says: {}", why.as_str())),
    };
    if (open.batch, open.index) != key {
        return Err("the worker gave another receipt".to_owned());
    }
    let (receipt, payload) =
        shown(ledger.chain().state(), &open).map_err(|refusal| refusal.to_string())?;
    match receipt.terms.trust {
        Trust::Checked | Trust::Attested => Ok((open, payload)),
        // The worker may not show it to anyone, and it counts for nothing.
        Trust::Private | Trust::Fast => Err("the payload is not an auditor's to read".to_owned()),
    }
}
