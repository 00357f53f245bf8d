//! `mashaa model`: fetch, add, list, show, remove.

use std::path::PathBuf;

use anyhow::Context as _;
use engine::import::{Options, Precision};
use node::catalogue::{Entry, SourceEntry};
use node::importer::{self, Terms};
use node::models::{ModelRecord, check_name};
use node::source::Source;
use serde_json::json;
use store::cid::Cid;

use crate::arguments::{AddArguments, FromFlag, ModelCommand};
use crate::context::{Context, cores};
use crate::outcome::{Outcome, Problem};
use crate::progress::Progress;

/// Runs a `model` command.
pub(crate) fn run(context: &Context, command: ModelCommand) -> anyhow::Result<Outcome> {
    match command {
        ModelCommand::Pull { name, from, alias } => {
            let record = match name.as_deref().map(str::parse::<Cid>) {
                Some(Ok(cid)) => pull_artifact(context, &cid, from, alias.as_deref())?,
                _ if from.len() > 1 || alias.is_some() => {
                    let what = "several --from, and --as, go with an artifact's CID";
                    return Err(Problem::Usage(what.to_owned()).into());
                }
                _ => pull(context, name.as_deref(), from.first().map(PathBuf::from))?,
            };
            tell(context, &record);
            Ok(Outcome::Done)
        }
        ModelCommand::Add(add) => add_file(context, &add),
        ModelCommand::Ls => list(context),
        ModelCommand::Show { name } => show(context, &name),
        ModelCommand::Rm { name } => remove(context, &name),
        ModelCommand::Path { name } => {
            let cid: Cid = context.record(&name)?.artifact.parse()?;
            let path = context.blobs.path(&cid).display().to_string();
            println!("{}", if context.json { json!({ "path": path }).to_string() } else { path });
            Ok(Outcome::Done)
        }
        ModelCommand::Random(random) => crate::random::run(context, &random),
    }
}

/// Fetches an artifact by its CID from other nodes, checks that it can be run, and lists it.
pub(crate) fn pull_artifact(
    context: &Context,
    cid: &Cid,
    from: Vec<String>,
    alias: Option<&str>,
) -> anyhow::Result<ModelRecord> {
    let _hold = context.blobs.hold()?;
    if !context.blobs.contains(cid) {
        if from.is_empty() {
            let what = format!("{cid} is not here; say with --from http://HOST:PORT who has it");
            return Err(Problem::NotFound(what).into());
        }
        let fetched = crate::store::fetch_from(context, cid, &FromFlag { from })?;
        fetched.parts.iter().for_each(|part| eprintln!("{part}"));
    }
    if !context.blobs.contains(cid) {
        return Err(Problem::Refused(format!("{cid} is a directory, and no artifact")).into());
    }
    let record = importer::adopt(&context.blobs, cid, alias)?;
    match context.models.get(&record.name) {
        Ok(known) if known.artifact != record.artifact => {
            let (name, other) = (&record.name, &known.artifact);
            let what =
                format!("a model {name} is here already, {other}; give this one a name with --as");
            Err(Problem::Refused(what).into())
        }
        Ok(known) => Ok(known),
        Err(_) => {
            context.models.put(&record)?;
            Ok(record)
        }
    }
}

/// Fetches a model of the catalogue, imports it, and checks that it is what the catalogue names.
pub(crate) fn pull(
    context: &Context,
    name: Option<&str>,
    from: Option<PathBuf>,
) -> anyhow::Result<ModelRecord> {
    // Between its arrival and its listing, nothing leads to what is fetched.
    let _hold = context.blobs.hold()?;
    let catalogue = context.catalogue()?;
    let entry = match name {
        Some(name) => match catalogue.find(name) {
            Some(entry) => entry,
            None => return Err(not_in_catalogue(name).into()),
        },
        None => catalogue.default_model(),
    };
    if let Ok(record) = context.models.get(&entry.name) {
        let cid: Cid = record.artifact.parse()?;
        let wanted = entry.artifact.cid.is_none_or(|wanted| wanted == cid);
        if wanted && context.blobs.contains(&cid) {
            return Ok(record);
        }
    }
    fetch(context, &entry.source, from.or_else(|| context.mirror()))?;
    let terms = Terms {
        name: entry.name.clone(),
        licence: Some(entry.licence.clone()),
        licence_url: entry.licence_url.clone(),
    };
    let record = import(context, &entry.source.cid, (terms, Options::default()))?;
    let known = entry.artifact.cid.map(|cid| cid.to_string());
    if let Some(known) = known.filter(|known| *known != record.artifact) {
        let (name, made) = (&entry.name, &record.artifact);
        let what = format!(
            "importing {name} gave {made}, and the catalogue names {known}: \
             this program and the catalogue are of different versions, or one of them is faulty"
        );
        let made: Vec<Cid> = made.parse().into_iter().collect();
        context.models.sweep(&context.blobs, &made, context.kept()?)?;
        return Err(Problem::Refused(what).into());
    }
    context.models.put(&record)?;
    Ok(record)
}

fn not_in_catalogue(name: &str) -> Problem {
    Problem::NotFound(format!(
        "{name:?} is not in the catalogue; `mashaa model ls` shows what is, and \
         `mashaa model add FILE` takes a file of your own"
    ))
}

/// Fetches a file that is named by its content, and tells how it goes.
pub(crate) fn fetch(
    context: &Context,
    source: &SourceEntry,
    from: Option<PathBuf>,
) -> anyhow::Result<()> {
    use node::pull::Progress as Event;
    let mut progress = Progress::new(&format!("fetching {}", source.file));
    let mut report = |event: Event<'_>| match event {
        Event::Received { done, total } => progress.update(done, total),
        Event::Trying { mirror } => eprintln!("from {mirror}"),
        Event::Package { package } => eprintln!("fetching the package {package}"),
        Event::Checking => eprintln!("checking {}", source.cid),
        Event::Failed { mirror, reason } => eprintln!("{mirror}: {}", reason.with_causes()),
    };
    let staging = context.home.work();
    node::pull::pull_source(&context.blobs, source, from.as_deref(), &staging, &mut report)?;
    Ok(())
}

fn import(context: &Context, source: &Cid, what: (Terms, Options)) -> anyhow::Result<ModelRecord> {
    let mut progress = Progress::new(&format!("importing {}", what.0.name));
    let mut report = |done, total| progress.update(done, total);
    Ok(importer::import(&context.blobs, source, what, cores(), &mut report)?)
}

fn add_file(context: &Context, add: &AddArguments) -> anyhow::Result<Outcome> {
    let stem = add.file.file_stem().map(|stem| stem.to_string_lossy().to_lowercase());
    let name = add.name.clone().or(stem).context("the file has no name; give one with --name")?;
    check_name(&name)?;
    let precision = match (add.all_8_bit, add.all_4_bit) {
        (true, _) => Precision::AllEight,
        (_, true) => Precision::AllFour,
        _ => Precision::BySource,
    };
    let options = Options { precision, ..Options::default() };
    let _hold = context.blobs.hold()?;
    let terms = Terms { name, ..Terms::default() };
    let source = Source::keep(&context.blobs, &add.file)?;
    let record = match import(context, &source, (terms, options)) {
        Ok(record) => record,
        Err(error) => {
            context.models.sweep(&context.blobs, &[source], context.kept()?)?;
            return Err(error);
        }
    };
    context.models.put(&record)?;
    tell(context, &record);
    if let Some(text) = &add.measure {
        crate::measure::run(context, &record, text, add.measure_tokens)?;
    }
    Ok(Outcome::Done)
}

fn list(context: &Context) -> anyhow::Result<Outcome> {
    let records = context.models.list()?;
    if context.json {
        let models: Vec<_> = records.iter().map(describe).collect();
        println!("{}", json!(models));
        return Ok(Outcome::Done);
    }
    for record in &records {
        println!(
            "{:28} {:9.1} MB  {}",
            record.name,
            record.artifact_size as f64 / 1e6,
            record.artifact
        );
    }
    for entry in &context.catalogue()?.models {
        if records.iter().all(|record| record.name != entry.name) {
            let size = entry.source.size as f64 / 1e6;
            println!("{:28} {size:9.1} MB  not here; mashaa model pull {}", entry.name, entry.name);
        }
    }
    Ok(Outcome::Done)
}

/// Says which model is here now.
fn tell(context: &Context, record: &ModelRecord) {
    if context.json {
        println!("{}", describe(record));
    } else {
        println!("{} {}", record.name, record.artifact);
    }
}

fn describe(record: &ModelRecord) -> serde_json::Value {
    json!({
        "name": record.name,
        "here": true,
        "artifact": record.artifact,
        "artifact_size": record.artifact_size,
        "source": record.source,
        "family": record.family,
        "bits": record.bits,
        "licence": record.licence,
        "licence_url": record.licence_url,
        "added": record.added,
    })
}

fn show(context: &Context, name: &str) -> anyhow::Result<Outcome> {
    let record = match context.record(name) {
        Err(error) if Outcome::of(&error) == Outcome::NotFound => {
            return show_catalogue(context, name);
        }
        record => record?,
    };
    if context.json {
        println!("{}", describe(&record));
        return Ok(Outcome::Done);
    }
    let config = node::opened::config(&context.blobs, &record)?;
    println!("name      {}", record.name);
    println!("artifact  {} ({} bytes)", record.artifact, record.artifact_size);
    println!("source    {}", record.source);
    println!("licence   {} {}", record.licence, record.licence_url);
    println!("family    {}", record.family);
    println!("bits      {}", record.bits);
    println!("context   {} tokens", config.context_max);
    println!(
        "shape     {} layers, width {}, hidden {}, {} heads ({} for keys), vocabulary {}",
        config.layers,
        config.width,
        config.hidden,
        config.heads,
        config.kv_heads,
        config.vocabulary
    );
    Ok(Outcome::Done)
}

fn describe_entry(entry: &Entry) -> serde_json::Value {
    json!({
        "name": entry.name,
        "here": false,
        "artifact": entry.artifact.cid.map(|cid| cid.to_string()),
        "source": entry.source.cid.to_string(),
        "source_size": entry.source.size,
        "family": entry.family,
        "licence": entry.licence,
        "licence_url": entry.licence_url,
    })
}

fn show_catalogue(context: &Context, name: &str) -> anyhow::Result<Outcome> {
    let catalogue = context.catalogue()?;
    let Some(entry) = catalogue.find(name) else {
        eprintln!("mashaa: there is no model {name:?} here or in the catalogue");
        return Ok(Outcome::NotFound);
    };
    if context.json {
        println!("{}", describe_entry(entry));
        return Ok(Outcome::Done);
    }
    println!("name      {} (not here; mashaa model pull {0})", entry.name);
    let artifact =
        entry.artifact.cid.map_or_else(|| "not settled".to_owned(), |cid| cid.to_string());
    println!("artifact  {artifact}");
    println!("source    {} ({} bytes)", entry.source.cid, entry.source.size);
    println!("licence   {} {}", entry.licence, entry.licence_url);
    println!("family    {}", entry.family);
    Ok(Outcome::Done)
}

fn remove(context: &Context, name: &str) -> anyhow::Result<Outcome> {
    let record = context.record(name)?;
    context.models.remove(&record.name)?;
    let cids: Vec<Cid> =
        [&record.artifact, &record.source].into_iter().flat_map(|cid| cid.parse()).collect();
    context.models.sweep(&context.blobs, &cids, context.kept()?)?;
    Ok(Outcome::Done)
}
