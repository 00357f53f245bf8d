//! `mashaa verify`: checks the receipt of an answer, without a network.
//!
//! The more there is, the more is checked: the file alone, its payload, and the model, with which the
//! answer is computed again. Whatever is not checked is said as well.
//!
//! Not here: what is right about a receipt (`audit::verify`).

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use audit::receipt::{Identity, PAYLOAD_SIZE_MAX, Payload, Receipt, SIZE, SignedReceipt};
use audit::replay::{NotReplayed, Replayed, Run, replay};
use audit::verify::{Known, Report, Wrong, verify};
use engine::batch::{Engine, Refused};
use engine::model::Model;
use node::texts::KeptTexts;
use serde_json::{Value, json};
use types::codec::decode;

use crate::arguments::VerifyArguments;
use crate::context::Context;
use crate::order::node_key;
use crate::outcome::{Outcome, Problem};

/// Checks a receipt. Only if all that could be checked is right is this `Done`.
pub(crate) fn run(context: &Context, it: &VerifyArguments) -> anyhow::Result<Outcome> {
    let worker = it.worker.as_deref().map(node_key).transpose()?;
    let signed = receipt(&it.receipt)?;
    let payload = it.payload.as_deref().map(payload_of).transpose()?;
    let model = model(context, &signed.receipt)?;
    let cid = signed.receipt.terms.model;
    let identity = match &model {
        Some(model) => Some(Identity::of(cid, model)),
        // A machine that only asks has as much of the model as that takes.
        None => KeptTexts::of(&context.home)
            .get(&cid.to_string())?
            .map(|(_, texts)| Identity::of_texts(cid, &texts)),
    };
    let replayed = match (&model, &payload) {
        (Some(model), Some(payload)) => compute(context, model, payload)?,
        _ => Ok(None),
    };
    let known = Known {
        terms: None,
        worker,
        identity: identity.as_ref(),
        payload: payload.as_ref(),
        replayed: replayed.as_ref().ok().and_then(Option::as_ref),
    };
    let found = verify(&signed, known).and_then(|report| match replayed {
        Ok(_) => Ok(report),
        // All else is right: the worker has stated what no run of this model can be.
        Err(refused) => Err(Wrong { field: "model", what: refused.to_string() }),
    });
    match context.json {
        true => println!("{}", shown(&signed.receipt, &found)),
        false => print(&signed.receipt, &found),
    }
    Ok(if found.is_ok() { Outcome::Done } else { Outcome::Refused })
}

/// The receipt in a file.
pub(crate) fn receipt(path: &Path) -> anyhow::Result<SignedReceipt> {
    let signed = SignedReceipt::decode(&read(path, SIZE)?);
    Ok(signed.map_err(|error| no_such(path, "receipt", &error))?)
}

/// The payload in a file.
pub(crate) fn payload_of(path: &Path) -> anyhow::Result<Payload> {
    let payload = decode::<Payload>(&read(path, PAYLOAD_SIZE_MAX)?);
    Ok(payload.map_err(|error| no_such(path, "payload", &error))?)
}

/// The bytes of a file that has at most so many.
pub(crate) fn read(path: &Path, size_max: usize) -> anyhow::Result<Vec<u8>> {
    let name = || path.display().to_string();
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            anyhow::Error::new(Problem::NotFound(format!("{}: there is no such file", name())))
        }
        _ => anyhow::Error::new(error).context(name()),
    })?;
    let mut bytes = Vec::new();
    file.take(size_max as u64 + 1).read_to_end(&mut bytes).with_context(name)?;
    if bytes.len() > size_max {
        let what = format!("{} has more than {size_max} bytes", name());
        return Err(Problem::Refused(what).into());
    }
    Ok(bytes)
}

pub(crate) fn no_such(path: &Path, what: &str, error: &dyn std::fmt::Display) -> Problem {
    Problem::Refused(format!("{} is no {what}: {error}", path.display()))
}

/// The model that the receipt names, if it is here.
pub(crate) fn model(context: &Context, receipt: &Receipt) -> anyhow::Result<Option<Arc<Model>>> {
    let cid = receipt.terms.model.to_string();
    let is_it = |record: &node::models::ModelRecord| record.artifact == cid;
    let Some(record) = context.models.list()?.into_iter().find(is_it) else { return Ok(None) };
    Ok(Some(node::opened::open(&context.blobs, &record)?.model))
}

/// Computes the answer again; or says why it is no run of this model.
pub(crate) fn compute(
    context: &Context,
    model: &Arc<Model>,
    payload: &Payload,
) -> anyhow::Result<Result<Option<Replayed>, Refused>> {
    let sampling = payload.asked.sampling(&payload.worker_nonce);
    let run = Run {
        prompt: payload.asked.prompt.as_slice(),
        output: payload.output.as_slice(),
        said: payload.said as usize,
        sampling: &sampling,
    };
    let mut engine = Engine::new(Arc::clone(model), context.engine_options()?);
    match replay(&mut engine, &run) {
        Ok(replayed) => Ok(Ok(Some(replayed))),
        Err(NotReplayed::Refused(refused)) => Ok(Err(refused)),
        Err(error) => Err(error).context("the answer could not be computed again; see kv_mib"),
    }
}

fn shown(receipt: &Receipt, found: &Result<Report, Wrong>) -> Value {
    let terms = &receipt.terms;
    let mut value = json!({
        "receipt": receipt.id().to_string(),
        "right": found.is_ok(),
        "network": terms.network.to_string(),
        "model": terms.model.to_string(),
        "worker_key": terms.worker_key.to_string(),
        "trust": terms.trust.word(),
        "unpaid": terms.is_unpaid(),
        "due": receipt.due.to_string(),
        "prompt_tokens": receipt.prompt_tokens,
        "output_tokens": receipt.output_tokens,
        "ending": receipt.ending.word(),
    });
    match found {
        Ok(report) => {
            value["checked"] = report.checked.iter().map(|check| check.word()).collect();
            let missing = report.unchecked.iter();
            value["unchecked"] = missing
                .map(|(check, why)| json!({"check": check.word(), "why": why.meaning()}))
                .collect();
        }
        Err(Wrong { field, what }) => value["wrong"] = json!({"field": field, "what": what}),
    }
    value
}

fn print(receipt: &Receipt, found: &Result<Report, Wrong>) {
    let terms = &receipt.terms;
    println!("receipt     {}", receipt.id());
    println!("network     {}", terms.network);
    println!("model       {}", terms.model);
    println!("worker key  {}", terms.worker_key);
    let (prompt, output, ending) =
        (receipt.prompt_tokens, receipt.output_tokens, receipt.ending.word());
    println!("answer      {output} tokens to a prompt of {prompt}, ending: {ending}");
    match terms.is_unpaid() {
        true => println!("price       nobody pays"),
        false => println!("price       {} to {} by {}", receipt.due, terms.worker, terms.payer),
    }
    println!();
    match found {
        Ok(report) => {
            for check in &report.checked {
                println!("right        {:10} {}", check.word(), check.meaning());
            }
            for (check, why) in &report.unchecked {
                println!("not checked  {:10} {}", check.word(), why.meaning());
            }
            println!(
                "not checked  {:10} whose the worker key is, and whether a ledger has the receipt",
                "ledger"
            );
            println!();
            println!("All that could be checked is right.");
        }
        Err(Wrong { field, what }) => {
            println!("WRONG        {field}: {what}");
            println!();
            println!(
                "Receipt and payload do not belong together, or the receipt is wrong; no more was checked."
            );
        }
    }
}
