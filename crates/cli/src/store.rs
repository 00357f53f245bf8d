//! `mashaa store`: files and directories by their CIDs.
//!
//! Not here: how they are kept (`store`), fetched and served (`node`).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use node::copies::files::Files;
use node::fetch::http::Gateway;
use node::fetch::source::Source;
use node::fetch::{self, Beginning, Event, FetchError, Rules, SOURCE_COUNT_MAX};
use node::folder::{self, Taking, Writing};
use node::models::ModelRecord;
use node::routing;
use node::texts::KeptTexts;
use serde_json::{Value, json};
use store::blobs::StoreError;
use store::cid::{Cid, Codec};
use store::collect::{collect, reach};
use store::fsck;
use store::index::Index;
use store::unix_fs::Kind;
use store::walk::{self, Scope};
use tokio::runtime::Runtime;
use types::id::Hash;

use crate::arguments::{FromFlag, NodeFlag, StoreCommand};
use crate::client::{Client, text};
use crate::context::Context;
use crate::copies;
use crate::outcome::{Outcome, Problem};
use crate::progress::Progress;

/// Runs a `store` command.
pub(crate) fn run(context: &Context, command: &StoreCommand) -> anyhow::Result<Outcome> {
    match command {
        StoreCommand::Add { path, no_pin, hidden } => add(context, path, !no_pin, *hidden),
        StoreCommand::Get { cid, from, output, outside_links, no_pin } => {
            let writing = Writing { outside_links: *outside_links };
            let output = output.as_deref().map(|output| (output, writing));
            get(context, &read(cid)?, from, output, !no_pin)
        }
        StoreCommand::Ls { cid: None } => list(context),
        StoreCommand::Ls { cid: Some(cid) } => list_directory(context, &read(cid)?),
        StoreCommand::Pin { cid, name, availability } => {
            pin(context, &read(cid)?, name, availability.as_deref())
        }
        StoreCommand::Plan { cid, availability, node } => {
            copies::plan(context, &read(cid)?, availability.as_deref(), node)
        }
        StoreCommand::Unpin { cid } => unpin(context, &read(cid)?),
        StoreCommand::Gc => gc(context),
        StoreCommand::Fsck { from } => check(context, from),
        StoreCommand::Export { cid, file } => export(context, &read(cid)?, file),
        StoreCommand::Import { file, no_pin } => import(context, file, !no_pin),
        StoreCommand::Stat { cid: None } => stat(context),
        StoreCommand::Stat { cid: Some(cid) } => stat_one(context, &read(cid)?),
    }
}

/// Reads a CID that was named.
pub(crate) fn read(text: &str) -> anyhow::Result<Cid> {
    let text = text.strip_prefix("/ipfs/").unwrap_or(text);
    text.parse().map_err(|error| Problem::Usage(format!("{text:?}: {error}")).into())
}

/// Bytes that may be added to the store.
pub(crate) fn room(context: &Context) -> anyhow::Result<u64> {
    let wanted = "a number of GiB up to 2^24, or 0";
    match context.config.number("store_gib", 0..=1 << 24, wanted)? {
        0 => Ok(u64::MAX),
        gib => Ok((gib << 30).saturating_sub(context.blobs.used()?)),
    }
}

fn add(context: &Context, path: &Path, pinned: bool, hidden: bool) -> anyhow::Result<Outcome> {
    let _hold = context.blobs.hold()?;
    let taking = Taking { hidden, room: room(context)? };
    let entry = folder::add(&context.blobs, path, taking)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    if pinned {
        context.blobs.pin(&entry.cid, &name.unwrap_or_default())?;
    }
    match context.json {
        true => println!("{}", json!({"cid": entry.cid.to_string(), "size": entry.total_size})),
        false => println!("{}", entry.cid),
    }
    Ok(Outcome::Done)
}

fn get(
    context: &Context,
    cid: &Cid,
    from: &FromFlag,
    output: Option<(&Path, Writing)>,
    pinned: bool,
) -> anyhow::Result<Outcome> {
    let _hold = context.blobs.hold()?;
    let fetched = match is_whole(context, cid)? {
        true => None,
        false => Some(fetch_from(context, cid, from)?),
    };
    if pinned {
        context.blobs.pin(cid, "")?;
    }
    if let Some((output, writing)) = output {
        folder::write_out(&Index::open(context.blobs.clone())?, cid, output, writing)?;
    }
    let parts = fetched.iter().flat_map(|fetched| &fetched.parts);
    if context.json {
        let parts = parts.map(|part| {
            json!({
                "source": part.source, "verdict": part.verdict.to_string(),
                "bytes": part.bytes, "taken_over": part.taken_over,
            })
        });
        let fetched_bytes = fetched.as_ref().map_or(0, |fetched| fetched.bytes);
        let value = json!({
            "cid": cid.to_string(), "bytes": fetched_bytes, "sources": parts.collect::<Vec<_>>(),
        });
        println!("{value}");
        return Ok(Outcome::Done);
    }
    parts.for_each(|part| eprintln!("{part}"));
    match output {
        Some((output, _)) => println!("{}", output.display()),
        None if context.blobs.contains(cid) => println!("{}", context.blobs.path(cid).display()),
        None => println!("{cid}"),
    }
    Ok(Outcome::Done)
}

/// Whether everything at and below a root is here.
fn is_whole(context: &Context, cid: &Cid) -> anyhow::Result<bool> {
    Ok(reach(&context.blobs, [*cid])?.missing.is_empty())
}

/// Fetches what is missing at and below a root, and tells how it goes. The caller holds the store.
pub(crate) fn fetch_from(
    context: &Context,
    cid: &Cid,
    from: &FromFlag,
) -> anyhow::Result<fetch::Outcome> {
    let sources = sources(context, cid, from)?;
    let rules = Rules { room: room(context)?, ..Rules::default() };
    let fetching = fetch::fetch(&context.blobs, *cid, &sources, &rules, Arc::new(report()));
    Ok(runtime()?.block_on(fetching)?)
}

/// Fetches what it takes to ask others for answers of a model: the texts of its artifact.
pub(crate) fn texts_from(
    context: &Context,
    cid: &Cid,
    from: &FromFlag,
    name: &str,
) -> anyhow::Result<ModelRecord> {
    let sources = sources(context, cid, from)?;
    let kept = KeptTexts::of(&context.home);
    runtime()?.block_on(async {
        let rules = Rules::default();
        let mut artifact = Beginning::open(*cid, &sources, &rules, Arc::new(report())).await?;
        let record = kept.take(cid, &mut artifact, Some(name)).await?;
        artifact.parts().iter().for_each(|part| eprintln!("{part}"));
        Ok(record)
    })
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// Shows how a fetch goes.
fn report() -> impl Fn(Event<'_>) + Send + Sync {
    let shown: Mutex<Option<(Cid, Progress)>> = Mutex::default();
    move |event: Event<'_>| match event {
        Event::Received { cid, done, total } => {
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            if shown.as_ref().is_none_or(|(other, _)| *other != cid) {
                *shown = Some((cid, Progress::new(&format!("fetching {cid}"))));
            }
            if let Some((_, progress)) = shown.as_mut() {
                progress.update(done, total);
            }
        }
        Event::Dropped { source, why } => eprintln!("{source}: {why}; not asked again"),
    }
}

/// The gateways that were named, and those that whoever was named to be asked knows of.
fn sources(context: &Context, cid: &Cid, from: &FromFlag) -> anyhow::Result<Vec<Arc<dyn Source>>> {
    let named = from.from.iter().map(|url| {
        let gateway = Gateway::parse(&url_of(context, url)?)
            .map_err(|error| Problem::Usage(error.to_string()))?;
        Ok(Arc::new(gateway) as Arc<dyn Source>)
    });
    let mut sources = named.collect::<anyhow::Result<Vec<_>>>()?;
    let endpoints = routing::endpoints(context.config.text("store_routing"))?;
    for endpoint in &endpoints {
        match endpoint.ask(cid) {
            Ok(found) => {
                sources.extend(found.into_iter().map(|it| Arc::new(it) as Arc<dyn Source>))
            }
            // Another one may know.
            Err(error) => eprintln!("{error}"),
        }
    }
    let mut names = BTreeSet::new();
    sources.retain(|source| names.insert(source.name().to_owned()));
    sources.truncate(SOURCE_COUNT_MAX);
    if sources.is_empty() {
        let what = match endpoints.is_empty() {
            true => format!(
                "{cid} is not here; say with --from where to fetch it, or with the setting store_routing who knows"
            ),
            false => {
                format!("{cid} is not here, and nobody who was asked knows who serves it over HTTP")
            }
        };
        return Err(Problem::NotFound(what).into());
    }
    Ok(sources)
}

/// Where a source is: a URL, or where this home's node reaches the machine that has the key.
fn url_of(context: &Context, from: &str) -> anyhow::Result<String> {
    if Hash::parse(from).is_none() {
        return Ok(from.to_owned());
    }
    let own = Client::of(context, &NodeFlag { node: None });
    let answer = own.post(&format!("/node/stores/{from}"), &json!({}))?;
    Ok(text(&answer, "at")?.to_owned())
}

fn list(context: &Context) -> anyhow::Result<Outcome> {
    let size = |cid: &Cid| std::fs::metadata(context.blobs.path(cid)).map(|file| file.len()).ok();
    let pins = context.blobs.pins()?.into_iter().map(|pin| (pin.cid, "pin", pin.name));
    let models =
        context.models.list()?.into_iter().filter_map(|record| {
            record.artifact.parse().ok().map(|cid| (cid, "model", record.name))
        });
    let kept = copies::leases(context)?.into_iter();
    let kept = kept.map(|lease| (lease.cid, "kept", format!("for {}", lease.node)));
    let listed: Vec<(Cid, &str, String)> = pins.chain(models).chain(kept).collect();
    let copies = listed.iter().map(|(cid, kind, _)| match *kind {
        "pin" => copies::of_pin(context, cid),
        _ => Ok(Value::Null),
    });
    let copies = copies.collect::<anyhow::Result<Vec<_>>>()?;
    if context.json {
        let entries = listed.iter().zip(&copies).map(|((cid, kind, name), copies)| {
            json!({
                "cid": cid.to_string(), "kind": kind, "name": name, "size": size(cid),
                "copies": copies,
            })
        });
        println!("{}", json!(entries.collect::<Vec<_>>()));
        return Ok(Outcome::Done);
    }
    for ((cid, kind, name), copies) in listed.iter().zip(&copies) {
        let size = match size(cid) {
            Some(size) => size.to_string(),
            None if context.blobs.has_node(cid) => "directory".to_owned(),
            None => "not here".to_owned(),
        };
        println!("{cid}  {kind:5}  {size:>12}  {name}");
        if !copies.is_null() {
            println!("  {}", copies::in_words(copies));
        }
    }
    Ok(Outcome::Done)
}

fn list_directory(context: &Context, cid: &Cid) -> anyhow::Result<Outcome> {
    let index = Index::open(context.blobs.clone())?;
    let entries = walk::entries(&index, cid)?;
    let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    if context.json {
        let entries = entries.iter().map(|link| {
            let (cid, name) = (link.cid.to_string(), name(&link.name));
            json!({"name": name, "cid": cid, "size": link.size})
        });
        println!("{}", json!(entries.collect::<Vec<_>>()));
        return Ok(Outcome::Done);
    }
    for link in &entries {
        println!("{}  {:>12}  {}", link.cid, link.size, name(&link.name).escape_debug());
    }
    Ok(Outcome::Done)
}

fn pin(
    context: &Context,
    cid: &Cid,
    name: &str,
    availability: Option<&str>,
) -> anyhow::Result<Outcome> {
    let wanted = availability.map(copies::wanted).transpose()?;
    let _hold = context.blobs.hold()?;
    if !is_whole(context, cid)? {
        let what =
            format!("{cid} is not here whole; `mashaa store get {cid} --from URL` fetches it");
        return Err(Problem::NotFound(what).into());
    }
    context.blobs.pin(cid, name)?;
    if let Some(wanted) = wanted {
        Files::of(&context.home).set_wanted(cid, wanted)?;
    }
    done(context, json!({"pinned": cid.to_string()}))
}

fn unpin(context: &Context, cid: &Cid) -> anyhow::Result<Outcome> {
    // Before the pin goes: what is to be available has to be here.
    Files::of(&context.home).set_wanted(cid, None)?;
    if !context.blobs.unpin(cid)? {
        return Err(Problem::NotFound(format!("{cid} is not pinned")).into());
    }
    done(context, json!({"unpinned": cid.to_string()}))
}

/// Prints what was done, to programs alone.
fn done(context: &Context, value: serde_json::Value) -> anyhow::Result<Outcome> {
    if context.json {
        println!("{value}");
    }
    Ok(Outcome::Done)
}

fn gc(context: &Context) -> anyhow::Result<Outcome> {
    let mut wrong = None;
    let collected = collect(&context.blobs, || match context.roots() {
        Ok(roots) => Ok(roots),
        Err(error) => {
            wrong = Some(error);
            Err(StoreError::Held)
        }
    });
    if let Some(error) = wrong {
        return Err(error);
    }
    let collected = collected?;
    let (files, nodes) = (collected.blobs.len(), collected.nodes.len());
    if context.json {
        let value = json!({
            "files": files, "directory_blocks": nodes, "bytes": collected.bytes,
            "unfinished": collected.staged, "in_use": collected.kept.len(),
        });
        println!("{value}");
        return Ok(Outcome::Done);
    }
    println!(
        "deleted {files} files, {nodes} blocks of directories and {} unfinished downloads: {} bytes",
        collected.staged, collected.bytes
    );
    for cid in &collected.kept {
        eprintln!("{cid} is in use and stays until the next gc");
    }
    Ok(Outcome::Done)
}

fn check(context: &Context, from: &FromFlag) -> anyhow::Result<Outcome> {
    let _hold = context.blobs.hold()?;
    let mut progress = Progress::new("checking");
    let mut roots = artifacts(context)?;
    roots.extend(context.kept()?);
    let mut report =
        fsck::check(&context.blobs, &roots, &mut |done, total| progress.update(done, total))?;
    let mut mended = Vec::new();
    if !from.from.is_empty() {
        let wanted: Vec<Cid> = report.missing.iter().chain(&report.damaged).copied().collect();
        for cid in wanted {
            if !context.blobs.contains(&cid) {
                fetch_from(context, &cid, from)?;
                mended.push(cid);
            }
        }
        report.missing.retain(|cid| !mended.contains(cid));
        report.damaged.retain(|cid| !mended.contains(cid));
    }
    // What was a damaged block of a directory is missing now, if anything leads to it.
    let sound = report.missing.is_empty() && report.damaged.is_empty();
    let names = |cids: &mut dyn Iterator<Item = &Cid>| cids.map(Cid::to_string).collect::<Vec<_>>();
    if context.json {
        let value = json!({
            "files": report.blobs, "bytes": report.bytes, "directory_blocks": report.nodes,
            "damaged": names(&mut report.damaged.iter()),
            "damaged_directory_blocks": names(&mut report.damaged_nodes.iter()),
            "tables_made_again": names(&mut report.tables.iter()),
            "missing": names(&mut report.missing.iter()), "fetched": names(&mut mended.iter()),
        });
        println!("{value}");
    } else {
        println!(
            "{} files of {} bytes and {} blocks of directories are right",
            report.blobs, report.bytes, report.nodes
        );
        report.tables.iter().for_each(|cid| println!("{cid}: the table of chunks was made again"));
        mended.iter().for_each(|cid| println!("{cid}: fetched"));
        for cid in &report.damaged {
            println!("{cid}: damaged, moved to staging");
        }
        for cid in &report.damaged_nodes {
            println!("{cid}: damaged block of a directory, deleted");
        }
        for cid in &report.missing {
            println!("{cid}: needed and not here; `mashaa store fsck --from URL` fetches it");
        }
    }
    Ok(if sound { Outcome::Done } else { Outcome::Refused })
}

/// The artifacts of models; their sources may be gone, since nothing is served from them.
fn artifacts(context: &Context) -> anyhow::Result<Vec<Cid>> {
    let records = context.models.list()?;
    Ok(records.iter().filter_map(|record| record.artifact.parse().ok()).collect())
}

fn export(context: &Context, cid: &Cid, file: &Path) -> anyhow::Result<Outcome> {
    let named = || file.display().to_string();
    if !is_whole(context, cid)? {
        return Err(StoreError::Missing { cid: *cid }.into());
    }
    let index = Index::open(context.blobs.clone())?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create_new(file).with_context(named)?);
    let written = store::car::export(&index, cid, &Scope::All, &mut out);
    let written = written.and_then(|()| Ok(out.flush()?));
    if let Err(error) = written {
        // Half an archive is of no use.
        std::fs::remove_file(file).with_context(named)?;
        return Err(error.into());
    }
    let bytes = std::fs::metadata(file).with_context(named)?.len();
    done(context, json!({"cid": cid.to_string(), "bytes": bytes}))
}

fn import(context: &Context, file: &Path, pinned: bool) -> anyhow::Result<Outcome> {
    let _hold = context.blobs.hold()?;
    let named = || file.display().to_string();
    let mut archive = File::open(file).with_context(named)?;
    // A small archive can be of a file that is larger than the disk.
    let room = room(context)?.min(node::space::free(context.blobs.dir()).unwrap_or(u64::MAX));
    let imported = store::car::import(&context.blobs, &mut archive, room).with_context(named)?;
    for root in &imported.roots {
        if pinned {
            context.blobs.pin(root, &named())?;
        }
    }
    let roots: Vec<String> = imported.roots.iter().map(Cid::to_string).collect();
    if context.json {
        let value = json!({
            "roots": roots, "files": imported.files, "bytes": imported.bytes,
            "directory_blocks": imported.nodes, "unused_blocks": imported.unused,
        });
        println!("{value}");
        return Ok(Outcome::Done);
    }
    roots.iter().for_each(|root| println!("{root}"));
    Ok(Outcome::Done)
}

fn stat(context: &Context) -> anyhow::Result<Outcome> {
    let blobs = &context.blobs;
    let pins = blobs.pins()?;
    let roots = pins.iter().map(|pin| pin.cid).chain(context.roots()?);
    let reached = reach(blobs, roots)?;
    let (files, nodes) = (blobs.list()?, blobs.list_nodes()?);
    let free = |cid: &&Cid| !reached.counts.contains_key(cid);
    let unneeded = files.iter().chain(&nodes).filter(free).count();
    let quota = context.config.number("store_gib", 0..=1 << 24, "a number of GiB, or 0")?;
    let value = json!({
        "files": files.len(), "directory_blocks": nodes.len(), "bytes": blobs.used()?,
        "quota_gib": quota, "pins": pins.len(), "unneeded": unneeded,
        "unfinished": blobs.list_staged()?.len(),
        "pledged_mib": context.config.number("store_pledge_mib", 0..=1 << 40, "a number of MiB")?,
        "kept_for_others": copies::leases(context)?.len(),
    });
    show(context, &value)
}

fn stat_one(context: &Context, cid: &Cid) -> anyhow::Result<Outcome> {
    let blobs = &context.blobs;
    let index = Index::open(blobs.clone())?;
    let block = index.block(cid)?.ok_or(StoreError::Missing { cid: *cid })?;
    let file = index.file(cid)?;
    let kind = match (&file, cid.codec()) {
        (Some(_), _) => "file",
        (None, Codec::Raw) => "chunk",
        (None, Codec::DagPb) => match walk::decode(cid, &block)?.1 {
            Kind::File { .. } => "part of a file",
            Kind::Directory | Kind::Shard => "directory",
            Kind::Symlink(_) => "symbolic link",
        },
    };
    let roots = blobs.pins()?.into_iter().map(|pin| pin.cid).chain(context.roots()?);
    let reached = reach(blobs, roots)?;
    let value = json!({
        "cid": cid.to_string(), "kind": kind, "block_size": block.len(),
        "size": file.as_ref().map(|file| file.leaves.size()),
        "chunks": file.as_ref().map(|file| file.leaves.count()),
        "pinned": blobs.is_pinned(cid),
        "references": reached.counts.get(cid).copied().unwrap_or(0),
        "whole": is_whole(context, cid)?,
        "copies": copies::of_pin(context, cid)?,
    });
    show(context, &value)
}

fn show(context: &Context, value: &serde_json::Value) -> anyhow::Result<Outcome> {
    if context.json {
        println!("{value}");
        return Ok(Outcome::Done);
    }
    for (key, value) in value.as_object().into_iter().flatten().filter(|(_, it)| !it.is_null()) {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Object(_) => copies::in_words(value),
            other => other.to_string(),
        };
        println!("{key:16}  {text}");
    }
    Ok(Outcome::Done)
}

/// What a fetch that failed comes to.
pub(crate) fn of_fetch(error: &FetchError) -> Option<Outcome> {
    match error {
        FetchError::Sources(_) => Some(Outcome::Usage),
        FetchError::Leaves(_) | FetchError::Walk(_) | FetchError::Sizes { .. } => {
            Some(Outcome::Refused)
        }
        error if error.is_other_bytes() => Some(Outcome::Refused),
        error if error.is_missing() => Some(Outcome::NotFound),
        _ => None,
    }
}
