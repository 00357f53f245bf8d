//! `mashaa up`: serve a model.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use audit::receipt::Identity;
use engine::artifact::config::Family;
use engine::kernels::Isa;
use engine::model::Model;
use gateway::archive::{self, Archive};
use gateway::backend::ServedModel;
use gateway::embeddings::Embedder;
use node::embedder::LocalEmbedder;
use node::opened::{Opened, open_texts};
use node::preferences::{Effect, Gate, Preferences};
use node::receipts::Receipts;
use node::service::{self, Roles, Serving};
use node::supervisor::Supervisor;
use node::texts::KeptTexts;
use node::worker::Worker;
use types::id::Cid;

use crate::context::Context;
use crate::network;
use crate::outcome::Outcome;
use crate::payments;
use crate::peers;
use crate::service::tell_ready;

/// Serves until the process is asked to end.
pub(crate) fn run(context: &Context) -> anyhow::Result<Outcome> {
    let lock = context.home.lock()?;
    let options = context.engine_options()?;
    let preferences = Preferences::of(&context.config, options.threads)?;
    let computes = peers::is_yes(context, "compute")?;
    let Served { served, identity, model } = served(context)?;
    let name = served.name.clone();
    match &model {
        Some(_) => eprintln!(
            "model {name} ({}), {} threads, {}",
            served.cid,
            options.threads,
            options.isa.name()
        ),
        None => eprintln!("model {name} ({}), asked for elsewhere", served.cid),
    }
    let (isa, threads) = (options.isa, options.threads);
    let slots = u32::try_from(options.sequences_max).unwrap_or(u32::MAX);
    let ledger = network::settings(context)?;
    let (folder, secret) = (context.home.receipts(), ledger.secret.clone());
    let shown = folder.display().to_string();
    let receipts = Receipts::open(folder, secret, ledger.genesis.hash(), identity);
    let (mut receipts, earned) = (receipts.context(shown)?, payments::earned(context)?);
    if let Some(earned) = &earned {
        receipts = receipts.with_earned(Arc::clone(earned));
    }
    let (receipts, payer) = (Arc::new(receipts), payments::payer(context)?);
    let (served, supervisor) = match model.filter(|_| computes) {
        Some(model) => {
            let kept = Some(Arc::clone(&receipts));
            let worker = Arc::new(Worker::start(model, served, options, kept)?);
            let served = worker.served().clone();
            (served, Some(Arc::new(supervise(context, worker, preferences)?)))
        }
        None => (Arc::new(served), None),
    };
    let gateway = options_of(context)?;
    let keys = gateway.keys();
    let open = keys.is_open();
    let embedders = embedders(context, isa, threads)?;
    let serving = Serving { served, supervisor, slots, embedders, options: gateway };
    let network = Some(peers::settings(context, &ledger)?);
    let store = Some(context.blobs.clone());
    let copies = Some(node::copies::Settings::of(&context.config, &context.home)?);
    let (model, ledger, receipts) = (Some(serving), Some(ledger), Some(receipts));
    let (signer, audits) = (payments::signer(context)?, Some(audits(context, isa)?));
    let roles = Roles {
        model,
        receipts,
        earned,
        payer,
        signer,
        audits,
        keys,
        ledger,
        store,
        network,
        copies,
    };
    let address = context.config.text("listen");
    service::serve(roles, address, |local, ledger| {
        eprintln!("{}", welcome(&local, &name, open));
        ledger.into_iter().for_each(network::welcome);
        tell_ready();
    })?;
    drop(lock);
    eprintln!("stopped");
    Ok(Outcome::Done)
}

/// How the API is served.
fn options_of(context: &Context) -> anyhow::Result<gateway::router::Options> {
    Ok(gateway::router::Options {
        api_keys: context.api_keys(),
        ring: Some(Arc::new(context.ring())),
        archive: Some(Arc::new(archive(context)?)),
        log_prompts: peers::is_yes(context, "log_prompts")?,
        ..gateway::router::Options::default()
    })
}

/// This node's part in audits.
fn audits(context: &Context, isa: Isa) -> anyhow::Result<node::audits::Options> {
    let is_auditor = peers::is_yes(context, "audit")?;
    Ok(node::audits::Options { folder: context.home.audits(), is_auditor, isa })
}

/// Where files and batches of the API are kept.
fn archive(context: &Context) -> anyhow::Result<Archive> {
    let config = &context.config;
    let mib = |key, max| config.number(key, 1..=max, "a number of MiB").map(|it| it << 20);
    let count = |key, max, wanted| {
        config.number(key, 1..=max, wanted).map(|it| usize::try_from(it).unwrap_or(usize::MAX))
    };
    let settings = archive::Settings {
        directory: context.home.api(),
        file_size_max: mib("files_mib", 1 << 20)?,
        size_max: mib("files_total_mib", 1 << 24)?,
        count_max: count("files_count", 10_000, "a number of files from 1 to 10000")?,
        lines_at_once: count("batch_lines", 256, "a number of requests from 1 to 256")?,
    };
    let shown = settings.directory.display().to_string();
    Archive::open(&settings).context(shown)
}

/// The model that is served.
struct Served {
    served: ServedModel,
    identity: Identity,
    /// Its weights, if they are here.
    model: Option<Arc<Model>>,
}

/// A node that only asks needs no weights: where there are none, the model's texts do.
fn served(context: &Context) -> anyhow::Result<Served> {
    let parse = |cid: &str| Cid::parse(cid).with_context(|| format!("{cid} is no CID"));
    let name = context.model_name(None)?;
    let only_asks = !peers::is_yes(context, "compute")? && context.record(&name).is_err();
    let catalogue = context.catalogue()?;
    let name = catalogue.find(&name).map_or(name.as_str(), |entry| entry.name.as_str());
    let texts = if only_asks { KeptTexts::of(&context.home).get(name)? } else { None };
    if let Some((record, texts)) = texts {
        let served = open_texts(&record, &texts)?;
        let identity = Identity::of_texts(parse(&served.cid)?, &texts);
        return Ok(Served { served, identity, model: None });
    }
    let Opened { model, served } = context.opened(None)?;
    let identity = Identity::of(parse(&served.cid)?, &model);
    Ok(Served { served, identity, model: Some(model) })
}

/// The models here that make embeddings. Those are small, so each is served.
fn embedders(
    context: &Context,
    isa: Isa,
    threads: usize,
) -> anyhow::Result<Vec<Arc<dyn Embedder>>> {
    let mut embedders: Vec<Arc<dyn Embedder>> = Vec::new();
    for record in context.models.list()? {
        if Family::from_name(&record.family).is_some_and(Family::is_encoder) {
            let embedder = LocalEmbedder::start(&context.blobs, &record, isa, threads)
                .with_context(|| record.name.clone())?;
            eprintln!("embeddings {} ({})", record.name, record.artifact);
            embedders.push(Arc::new(embedder));
        }
    }
    Ok(embedders)
}

/// Has the owner's preferences obeyed, and says what they stop.
fn supervise(
    context: &Context,
    worker: Arc<Worker>,
    preferences: Preferences,
) -> anyhow::Result<Supervisor> {
    let root = Path::new(context.config.text("sensors_root"));
    let supervisor =
        Supervisor::start(worker, preferences, &context.home, root, SystemTime::now())?;
    warn(&supervisor);
    Ok(supervisor)
}

/// Says which preferences cannot be kept here, and whether others are stopped.
fn warn(supervisor: &Supervisor) {
    let verdict = supervisor.look(SystemTime::now()).verdict;
    for finding in verdict.findings.iter().filter(|it| it.effect == Effect::Unknown) {
        eprintln!("warning: {}", finding.sentence);
    }
    if let Some(reason) = verdict.reason().filter(|_| verdict.others != Gate::Open) {
        eprintln!("no work for others now: {}; `mashaa why` tells more", reason.sentence);
    }
}

/// What a person can do now.
fn welcome(address: &std::net::SocketAddr, model: &str, open: bool) -> String {
    let key = if open { "unused" } else { "YOUR-KEY" };
    let header = if open { "" } else { " -H 'authorization: Bearer YOUR-KEY'" };
    format!(
        "ready: http://{address}/v1

  curl http://{address}/v1/chat/completions{header} -H 'content-type: application/json' \\
    -d '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}], \"temperature\": 0}}'

  from openai import OpenAI
  client = OpenAI(base_url=\"http://{address}/v1\", api_key=\"{key}\")
  print(client.chat.completions.create(model=\"{model}\", temperature=0,
      messages=[{{\"role\": \"user\", \"content\": \"Hello!\"}}]).choices[0].message.content)

Stop with Ctrl-C; answers in flight are finished first."
    )
}
