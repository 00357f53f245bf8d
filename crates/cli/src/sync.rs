//! `mashaa ledger sync`: begin with another node's snapshot, on the word of a block's name.
//!
//! Not here: what makes a snapshot good (`chain`), and going on from it (`network`).

use std::fs::File;

use anyhow::Context as _;
use chain::snapshot::{Base, Checked, SNAPSHOT_SIZE_MAX};
use node::catalogue::{Mirror, SourceEntry};
use node::ledger::sync;
use node::ledger::unhex;
use serde_json::{Value, json};
use types::agreement::Certificate;
use types::codec::decode;
use types::id::Hash;

use crate::arguments::NodeFlag;
use crate::client::{Client, number, text};
use crate::context::Context;
use crate::outcome::{Outcome, Problem};
use crate::{model, network};

/// Fetches a snapshot and the blocks around it, checks them, and begins the ledger of this home.
pub(crate) fn run(context: &Context, from: &str, header: &str) -> anyhow::Result<Outcome> {
    let trusted = Hash::parse(header).ok_or_else(|| {
        Problem::Usage(format!(
            "--header {header:?} is no name of a block: 0x and 64 hexadecimal digits"
        ))
    })?;
    let lock = context.home.lock()?;
    let genesis = network::own_genesis(context)?.ok_or_else(|| {
        let what =
            "this home has no network; take in its genesis first: `mashaa init --genesis FILE`";
        Problem::NotFound(what.to_owned())
    })?;
    let folder = context.home.ledger();
    sync::expect_none(&folder)?;
    let client = Client::of(context, &NodeFlag { node: Some(from.to_owned()) });
    let found = named(&client.get("/ledger/snapshots")?, &trusted)?;
    let (height, size) = (number(&found, "height")?, number(&found, "size")?);
    if size > SNAPSHOT_SIZE_MAX {
        let what = format!("{from} has a snapshot of {size} bytes, over {SNAPSHOT_SIZE_MAX}");
        return Err(Problem::Refused(what).into());
    }
    let checked = base(&client, height)?.check(genesis.hash(), &trusted);
    let checked: Checked = checked.with_context(|| from.to_owned())?;
    let cid = checked.cid().to_string().parse::<store::cid::Cid>();
    let cid = cid.context("the name of the snapshot")?;
    let url = format!("http://{}/ledger/snapshots/{cid}", client.address());
    let source = SourceEntry {
        file: "the snapshot".to_owned(),
        size,
        cid,
        mirrors: vec![Mirror::Http { url }],
        files: Vec::new(),
    };
    model::fetch(context, &source, None)?;
    let path = context.blobs.path(&cid);
    let file = File::open(&path).with_context(|| path.display().to_string())?;
    let tip = sync::begin(&folder, &genesis, &checked, &file);
    // Whatever came of it: good bytes are in the ledger now, and others are of no use.
    context.blobs.remove(&cid)?;
    let tip = tip.with_context(|| from.to_owned())?;
    drop(lock);
    if context.json {
        println!(
            "{}",
            json!({"height": tip.height.0, "block": tip.id.to_string(), "state": tip.state.to_string()})
        );
        return Ok(Outcome::Done);
    }
    println!("height  {}", tip.height.0);
    println!("block   {}", tip.id);
    println!("state   {}", tip.state);
    eprintln!("Start the node: it goes on from there with the blocks of its peers.");
    Ok(Outcome::Done)
}

/// The snapshot that a trusted block names, among those that a node has.
fn named(answer: &Value, trusted: &Hash) -> anyhow::Result<Value> {
    let all = answer["snapshots"].as_array().context("the node's answer has no \"snapshots\"")?;
    let wanted = trusted.to_string();
    if let Some(found) = all.iter().find(|it| it["block"].as_str() == Some(wanted.as_str())) {
        return Ok(found.clone());
    }
    let blocks: Vec<&str> = all.iter().filter_map(|it| it["block"].as_str()).collect();
    let what = match blocks.as_slice() {
        [] => "the node has no snapshot yet".to_owned(),
        _ => format!(
            "the node has no snapshot that {wanted} names; its snapshots are named by {}; ask someone whom you trust for one of these",
            blocks.join(" and ")
        ),
    };
    Err(Problem::NotFound(what).into())
}

/// The block at a height and its parent.
fn base(client: &Client, height: u64) -> anyhow::Result<Base> {
    let parent = client.get(&format!("/ledger/blocks/{}/raw", height.saturating_sub(1)))?;
    let block = client.get(&format!("/ledger/blocks/{height}/raw"))?;
    let bytes = |of: &Value, field: &str| {
        unhex(text(of, field)?).with_context(|| format!("{field} {height} is no hexadecimal"))
    };
    Ok(Base {
        block: bytes(&block, "block")?,
        certificate: Certificate::decode(&bytes(&block, "certificate")?)
            .with_context(|| format!("the certificate of block {height}"))?,
        parent: bytes(&parent, "block")?,
        deciders: decode(&bytes(&parent, "deciders")?).context("who decided the block before")?,
    })
}
