//! `mashaa audit`: keys, openings and light audits, without a network.
//!
//! The auditor makes a key once from the model and a beacon; the worker opens a position; whoever has
//! receipt, payload, key and opening checks it without the model.
//!
//! Not here: what is right about a position (`audit::light`).

use std::path::Path;

use ::audit::commitment::{blind, prompt_hash};
use ::audit::graph::Shape;
use ::audit::light::bytes::{KEY_SIZE_MAX, NamedKey, OPENING_SIZE_MAX, Opened};
use ::audit::light::{Committed, Key, Opening, Sums, check};
use ::audit::receipt::{Payload, SignedReceipt, Trust};
use ::audit::replay::Run;
use ::audit::verify::{Known, verify};
use anyhow::Context as _;
use engine::sampling::Sampling;
use serde_json::json;
use types::codec::{decode, encode};
use types::id::{Cid, Hash};

use crate::arguments::{AuditCommand, KeyArguments, LightArguments, OpenArguments};
use crate::context::Context;
use crate::draw;
use crate::outcome::{Outcome, Problem};
use crate::verify::{compute, model, no_such, payload_of, read, receipt};

/// Does what a command of `mashaa audit` says.
pub(crate) fn run(context: &Context, command: &AuditCommand) -> anyhow::Result<Outcome> {
    match command {
        AuditCommand::Key(it) => key(context, it),
        AuditCommand::Open(it) => open(context, it),
        AuditCommand::Light(it) => light(context, it),
        AuditCommand::Draw { node, block } => draw::run(context, node, *block),
    }
}

fn key(context: &Context, it: &KeyArguments) -> anyhow::Result<Outcome> {
    let beacon = match &it.beacon {
        Some(text) => {
            let hash = Hash::parse(&format!("0x{}", text.trim_start_matches("0x")));
            hash.ok_or_else(|| Problem::Usage("--beacon is 64 hexadecimal digits".to_owned()))?
        }
        None => {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).context("this machine has no randomness")?;
            Hash(bytes)
        }
    };
    let record = context.model(Some(&it.model))?;
    let no_artifact = || Problem::Refused(format!("{} is no artifact", record.artifact));
    let artifact = Cid::parse(&record.artifact).ok_or_else(no_artifact)?;
    let name: [u8; 36] = encode(&artifact).try_into().map_err(|_| no_artifact())?;
    let model = node::opened::open(&context.blobs, &record)?.model;
    let key = Key::new(&model, beacon.0).ok_or_else(no_artifact)?;
    let digest = Hash(key.digest());
    let bytes = NamedKey { artifact: name, key }.encode();
    write(&it.output, &bytes)?;
    if context.json {
        let (beacon, key) = (beacon.to_string(), digest.to_string());
        let model = artifact.to_string();
        println!("{}", json!({"model": model, "beacon": beacon, "key": key, "bytes": bytes.len()}));
        return Ok(Outcome::Done);
    }
    println!("model   {artifact}");
    println!("beacon  {beacon}");
    println!("key     {digest}");
    println!("file    {}, {} bytes", it.output.display(), bytes.len());
    println!();
    println!(
        "It stands for the weights where an answer's receipt was signed before anyone knew this"
    );
    println!("beacon: a worker that knows it beforehand can prepare sums that pass.");
    Ok(Outcome::Done)
}

fn open(context: &Context, it: &OpenArguments) -> anyhow::Result<Outcome> {
    let signed = receipt(&it.receipt)?;
    let payload = payload_of(&it.payload)?;
    let sampling = payload.asked.sampling(&payload.worker_nonce);
    let run = run_of(&payload, &sampling);
    let shape = Shape { prompt: run.prompt.len(), output: run.output.len() };
    let positions = shape.positions();
    if it.position >= positions {
        let what = match positions {
            0 => "the run has no position that is computed".to_owned(),
            _ => format!("--position is {}, and the last is {}", it.position, positions - 1),
        };
        return Err(Problem::Usage(what).into());
    }
    let known = Known { payload: Some(&payload), ..Known::default() };
    verify(&signed, known).map_err(|wrong| Problem::Refused(wrong.to_string()))?;
    let cid = signed.receipt.terms.model;
    let missing = || {
        Problem::NotFound(format!("the model is not here: `mashaa model pull {cid} --from URL`"))
    };
    let model = model(context, &signed.receipt)?.ok_or_else(missing)?;
    let replayed = compute(context, &model, &payload)?;
    let no_run = |why: String| Problem::Refused(format!("this is no run of {cid}: {why}"));
    let replayed = replayed.map_err(|refused| no_run(refused.to_string()))?;
    let leaves = replayed.ok_or_else(|| no_run("nothing was computed".to_owned()))?.leaves;
    let root = leaves.root(&prompt_hash(run.prompt));
    let is_other = |blinding: Hash| Hash(blind(&root, &blinding.0)) != signed.receipt.blinded;
    if payload.blinding.is_some_and(is_other) {
        return Err(no_run("the receipt's root is not the one computed here".to_owned()).into());
    }
    let opening = Opening::of(&model, &run, it.position);
    let opening = opening.ok_or_else(|| no_run("its artifact is not sound".to_owned()))?;
    let place = shape.answer_after(it.position).and_then(|index| leaves.open(index as u32));
    let opened = Opened { receipt: signed.receipt.id().0, root, place, opening };
    let bytes = opened.encode();
    write(&it.output, &bytes)?;
    let (position, digest) = (it.position, Hash(opened.opening.digest()));
    if context.json {
        let (receipt, opening) = (signed.receipt.id().to_string(), digest.to_string());
        println!(
            "{}",
            json!({"receipt": receipt, "position": position, "opening": opening, "bytes": bytes.len()})
        );
        return Ok(Outcome::Done);
    }
    println!("receipt   {}", signed.receipt.id());
    println!("position  {position} of 0 to {}", positions - 1);
    println!("opening   {digest}");
    println!("file      {}, {} bytes", it.output.display(), bytes.len());
    println!();
    println!("The answer was computed again with the model, and leads to the root of the receipt.");
    Ok(Outcome::Done)
}

/// What of a light audit was found right, or the first thing that is wrong.
type Verdict = Result<Vec<(&'static str, String)>, (&'static str, String)>;

fn light(context: &Context, it: &LightArguments) -> anyhow::Result<Outcome> {
    let signed = receipt(&it.receipt)?;
    let payload = payload_of(&it.payload)?;
    let key = NamedKey::decode(&read(&it.key, KEY_SIZE_MAX)?);
    let key = key.map_err(|error| no_such(&it.key, "key of a light audit", &error))?;
    let opened = Opened::decode(&read(&it.opening, OPENING_SIZE_MAX)?);
    let opened = opened.map_err(|error| no_such(&it.opening, "opening of a position", &error))?;
    let found = judge(&signed, &payload, &key, &opened);
    let unseen = unseen(&payload, &key, &opened);
    let (id, position) = (signed.receipt.id().to_string(), opened.opening.position);
    if context.json {
        let mut value = json!({"receipt": id, "position": position, "right": found.is_ok()});
        match &found {
            Ok(checked) => {
                value["checked"] = checked.iter().map(|(name, _)| *name).collect();
                value["unchecked"] = unseen.iter().map(|(name, _)| *name).collect();
            }
            Err((part, what)) => value["wrong"] = json!({"part": part, "what": what}),
        }
        println!("{value}");
        return Ok(if found.is_ok() { Outcome::Done } else { Outcome::Refused });
    }
    println!("receipt   {id}");
    println!("model     {}", signed.receipt.terms.model);
    println!("position  {position}");
    println!();
    match &found {
        Ok(checked) => {
            for (name, what) in checked {
                println!("right        {name:10} {what}");
            }
            for (name, what) in &unseen {
                println!("not checked  {name:10} {what}");
            }
            println!();
            println!("All that a light audit of this position sees is right.");
        }
        Err((part, what)) => {
            println!("WRONG        {part}: {what}");
            println!();
            println!("No more was checked. A replay decides: `mashaa verify` with the model here.");
        }
    }
    Ok(if found.is_ok() { Outcome::Done } else { Outcome::Refused })
}

/// Checks everything that can be without the model.
fn judge(signed: &SignedReceipt, payload: &Payload, named: &NamedKey, opened: &Opened) -> Verdict {
    let receipt = &signed.receipt;
    let wrong = |part: &'static str, what: &str| Err((part, what.to_owned()));
    if let Err(error) = verify(signed, Known { payload: Some(payload), ..Known::default() }) {
        return wrong("receipt", &error.to_string());
    }
    if receipt.terms.trust == Trust::Fast {
        return wrong("receipt", "a fast answer promises nothing that could be audited");
    }
    let artifact = decode::<Cid>(&named.artifact);
    if artifact != Ok(receipt.terms.model) {
        let of = artifact.map_or_else(|error| error.to_string(), |cid| cid.to_string());
        let what = format!("it is of {of}; make one of {}", receipt.terms.model);
        return wrong("key", &what);
    }
    if opened.receipt != receipt.id().0 {
        let what = format!("it is of the receipt {}", Hash(opened.receipt));
        return wrong("opening", &what);
    }
    let Some(blinding) = payload.blinding else {
        return wrong("payload", "the root is still hidden: it has no blinding");
    };
    if Hash(blind(&opened.root, &blinding.0)) != receipt.blinded {
        return wrong("root", "the opening's root is not the one that the worker has signed");
    }
    let sampling = payload.asked.sampling(&payload.worker_nonce);
    let run = run_of(payload, &sampling);
    let shape = Shape { prompt: run.prompt.len(), output: run.output.len() };
    let (position, is_answer) = (opened.opening.position, opened.place.is_some());
    if is_answer != (position < shape.positions() && shape.answer_after(position).is_some()) {
        return wrong("opening", "exactly a position of the answer has a path to the root");
    }
    let prompt = prompt_hash(run.prompt);
    let root = &opened.root;
    let place = opened.place.as_ref();
    let committed = place.map(|opening| Committed { prompt: &prompt, root, opening });
    if let Err(error) = check(&named.key, &opened.opening, &run, committed) {
        return wrong("position", &error.to_string());
    }
    let products = opened.opening.sums.len();
    let sums: usize = opened.opening.sums.iter().map(Sums::count).sum();
    let mut right = vec![
        ("receipt", "signature, seed and amount; it is about this payload".to_owned()),
        ("products", format!("{products} products with {sums} sums are those of the weights")),
        ("steps", "norms, rotations, attention and activations were computed again".to_owned()),
    ];
    if is_answer {
        let what = "the token is the one that the rules choose, or was said before the worker";
        right.push(("token", what.to_owned()));
        right.push(("root", "row and token are those that the worker has signed".to_owned()));
    }
    Ok(right)
}

/// What no light audit of this position can see.
fn unseen(payload: &Payload, named: &NamedKey, opened: &Opened) -> Vec<(&'static str, String)> {
    let (prompt, output) = (payload.asked.prompt.as_slice(), payload.output.as_slice());
    let others = (prompt.len() + output.len()).saturating_sub(2);
    let mut unseen = Vec::new();
    if opened.opening.position > 0 {
        let what = "whether keys and values of earlier positions are the run's; a replay sees it";
        unseen.push(("past", what.to_owned()));
    }
    if opened.place.is_none() {
        let what = "no token of the answer follows this position, so that no root binds it";
        unseen.push(("root", what.to_owned()));
    }
    unseen.push(("others", format!("the {others} other positions of this run")));
    let beacon = Hash(*named.key.beacon());
    unseen.push(("beacon", format!("whether the worker had signed before {beacon} was known")));
    unseen.push(("key", format!("whether {} was made of the weights", Hash(named.key.digest()))));
    unseen
}

fn run_of<'a>(payload: &'a Payload, sampling: &'a Sampling) -> Run<'a> {
    Run {
        prompt: payload.asked.prompt.as_slice(),
        output: payload.output.as_slice(),
        said: payload.said as usize,
        sampling,
    }
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| path.display().to_string())
}
