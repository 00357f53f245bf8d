//! `mashaa backup` and `mashaa restore`.
//!
//! Not here: what a backup is (`node::backup`).

use anyhow::Context as _;
use node::backup::{self, Options};
use node::home::Home;
use serde_json::{Value, json};
use store::cid::Cid;

use crate::arguments::{BackupArguments, RestoreArguments};
use crate::context::{Context, variable};
use crate::network::own_genesis;
use crate::outcome::{Outcome, Problem};
use crate::peers::seconds;

/// Writes a backup of the home.
pub(crate) fn make(context: &Context, it: &BackupArguments) -> anyhow::Result<Outcome> {
    let lock = context.home.lock().context("a backup is made of a home that rests")?;
    let genesis = own_genesis(context)?;
    let (root, manifest) =
        backup::make(&context.home, &lock, genesis.as_ref(), (&it.file, seconds()))?;
    if context.json {
        println!("{}", json!({"root": root.to_string(), "manifest": manifest}));
        return Ok(Outcome::Done);
    }
    println!("{root}");
    eprintln!(
        "It has this node's key and wallets: keep it where nobody else reads it, and its name, the CID, \
         elsewhere; `mashaa restore {} --root CID --home DIRECTORY` makes a home of it again.",
        it.file.display()
    );
    tell_elsewhere(&manifest, "Not in it");
    Ok(Outcome::Done)
}

/// Makes a home of a backup.
pub(crate) fn restore(
    home: Option<&std::path::Path>,
    it: &RestoreArguments,
    json: bool,
) -> anyhow::Result<Outcome> {
    let place = Home::place(home, &variable)?;
    let root: Option<Cid> = match &it.root {
        None => None,
        Some(root) => Some(
            root.parse().map_err(|error| Problem::Usage(format!("--root {root:?}: {error}")))?,
        ),
    };
    let options = Options { root, silent_until: it.silent_until };
    let named = || it.file.display().to_string();
    let (root, manifest) = backup::restore(&it.file, &place, options).with_context(named)?;
    if json {
        println!("{}", json!({"root": root.to_string(), "manifest": manifest}));
        return Ok(Outcome::Done);
    }
    println!("{}", place.display());
    eprintln!("Every byte is that of {root}. Never run it and the machine that it was at once.");
    tell_elsewhere(&manifest, "To fetch again");
    Ok(Outcome::Done)
}

/// Names what is fetched by its CID.
fn tell_elsewhere(manifest: &Value, head: &str) {
    let lines = |field: &str, name: &str, cid: &str| -> Vec<String> {
        let all = manifest[field].as_array().map_or(&[][..], Vec::as_slice).iter();
        all.map(|it| {
            let text = |field: &str| it[field].as_str().unwrap_or_default().to_owned();
            format!("  {} {}", text(cid), text(name))
        })
        .collect()
    };
    for (kind, lines) in [
        ("models (`mashaa model pull NAME`)", lines("models", "name", "artifact")),
        ("pins (`mashaa store get CID --from WHERE`)", lines("pins", "name", "cid")),
    ] {
        if !lines.is_empty() {
            eprintln!("{head}, {kind}:\n{}", lines.join("\n"));
        }
    }
}
