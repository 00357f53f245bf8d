//! What every command needs: the home, its store and its settings.
//!
//! Not here: the commands.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use engine::batch::Options;
use engine::kernels::{Isa, THREADS_MAX};
use gateway::auth::Keys;
use gateway::auth::ring::Ring;
use node::catalogue::Catalogue;
use node::config::Config;
use node::home::Home;
use node::models::{ModelRecord, Models, ModelsError};
use node::opened::{Opened, open};
use serde_json::json;
use store::blobs::Blobs;
use store::cid::Cid;

use crate::outcome::{Outcome, Problem};

/// The home, its store and its settings.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) home: Home,
    pub(crate) blobs: Blobs,
    pub(crate) models: Models,
    pub(crate) config: Config,
    pub(crate) json: bool,
}

/// What an environment variable says.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Context {
    /// Opens the home.
    pub(crate) fn open(home: Option<&Path>, json: bool) -> anyhow::Result<Context> {
        let home = Home::open(home, &variable)?;
        let config = Config::load(home.config(), &variable, &[])?;
        let blobs = Blobs::open(home.blobs())?;
        let models = Models::of(&home);
        Ok(Context { home, blobs, models, config, json })
    }

    /// Takes flags into the settings.
    pub(crate) fn set_flags(
        &mut self,
        flags: &[(&'static str, Option<String>)],
    ) -> anyhow::Result<()> {
        let given: Vec<(&'static str, String)> =
            flags.iter().filter_map(|(key, value)| Some((*key, value.clone()?))).collect();
        self.config = Config::load(self.home.config(), &variable, &given)?;
        Ok(())
    }

    /// Sets one setting where the person said nothing.
    pub(crate) fn override_setting(&mut self, key: &'static str, value: String) {
        self.config.set(key, value);
    }

    /// The catalogue: the built-in one, or the file that the settings name.
    pub(crate) fn catalogue(&self) -> anyhow::Result<Catalogue> {
        Ok(match self.config.text("catalogue") {
            "" => Catalogue::embedded(),
            path => {
                Catalogue::parse(&std::fs::read_to_string(path).with_context(|| path.to_owned())?)
                    .with_context(|| path.to_owned())?
            }
        })
    }

    /// The directory to look for model files in first, if the settings name one.
    pub(crate) fn mirror(&self) -> Option<PathBuf> {
        Some(self.config.text("mirror")).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// The name of the model that is wanted: given, set, or the catalogue's default.
    pub(crate) fn model_name(&self, given: Option<&str>) -> anyhow::Result<String> {
        let set = Some(self.config.text("model")).filter(|name| !name.is_empty());
        match given.or(set) {
            Some(name) => Ok(name.to_owned()),
            None => Ok(self.catalogue()?.default_model().name.clone()),
        }
    }

    /// The record of a model that is here, by its name, its CID or a name of the catalogue's for it.
    pub(crate) fn record(&self, name: &str) -> anyhow::Result<ModelRecord> {
        match (self.models.get(name), self.catalogue()?.find(name)) {
            (Err(ModelsError::Unknown { .. }), Some(entry)) => Ok(self.models.get(&entry.name)?),
            (known, _) => Ok(known?),
        }
    }

    /// The record of a model, fetching it from the catalogue if it is not here.
    pub(crate) fn model(&self, given: Option<&str>) -> anyhow::Result<ModelRecord> {
        let name = self.model_name(given)?;
        match (self.models.get(&name), self.catalogue()?.find(&name)) {
            (Err(ModelsError::Unknown { .. }), Some(entry)) => {
                crate::model::pull(self, Some(&entry.name), None)
            }
            (known, _) => Ok(known?),
        }
    }

    /// Opens a model.
    pub(crate) fn opened(&self, given: Option<&str>) -> anyhow::Result<Opened> {
        Ok(open(&self.blobs, &self.model(given)?)?)
    }

    /// What is kept for other machines now.
    pub(crate) fn kept(&self) -> anyhow::Result<Vec<Cid>> {
        Ok(crate::copies::leases(self)?.iter().map(|lease| lease.cid).collect())
    }

    /// What stays although nobody pinned it: what models are made of, and what is kept for others.
    pub(crate) fn roots(&self) -> anyhow::Result<Vec<Cid>> {
        Ok(self.models.roots(&self.blobs)?.into_iter().chain(self.kept()?).collect())
    }

    /// The keys that open the API.
    pub(crate) fn api_keys(&self) -> Vec<String> {
        let keys = self.config.text("api_keys").split(',').filter(|key| !key.is_empty());
        keys.map(str::to_owned).collect()
    }

    /// The keys of `mashaa key`.
    pub(crate) fn ring(&self) -> Ring {
        Ring::of(self.home.keys())
    }

    /// All keys that open the API.
    pub(crate) fn keys(&self) -> Keys {
        Keys::new(&self.api_keys()).with_ring(Arc::new(self.ring()))
    }

    /// How the settings set up an engine.
    pub(crate) fn engine_options(&self) -> anyhow::Result<Options> {
        let threads = self.config.number("threads", 0..=THREADS_MAX as u64, "0 to 256")?;
        let kv = self.config.number("kv_mib", 1..=1 << 24, "a number of MiB from 1 to 2^24")?;
        let queue = self.config.number("queue", 1..=65_536, "a number from 1 to 65536")?;
        Ok(Options {
            isa: isa(self.config.text("isa"))?,
            threads: if threads == 0 { cores() } else { threads as usize },
            kv_size_max: (kv << 20) as usize,
            sequences_max: queue as usize,
            ..Options::default()
        })
    }

    /// Prints the settings; of the keys only their number.
    pub(crate) fn show_config(&self, origin: bool) -> Outcome {
        let settings = self.config.iter().map(|(key, value, from)| (key, shown(key, value), from));
        if self.json {
            let settings = settings.map(|(key, value, from)| {
                json!({"key": key, "value": value, "origin": from.to_string()})
            });
            println!("{}", serde_json::Value::from_iter(settings));
            return Outcome::Done;
        }
        for (key, value, from) in settings {
            match origin {
                true => println!("{key} = {value:?}  # {from}"),
                false => println!("{key} = {value:?}"),
            }
        }
        Outcome::Done
    }
}

/// A setting's value as anyone may see it.
fn shown(key: &str, value: &str) -> String {
    match value.split(',').filter(|part| !part.is_empty()).count() {
        count if key == "api_keys" && count > 0 => format!("({count} not shown)"),
        _ => value.to_owned(),
    }
}

/// Threads that the machine runs at once.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The instruction set with this name; `auto` is the fastest here.
pub(crate) fn isa(name: &str) -> anyhow::Result<Isa> {
    if name == "auto" {
        return Ok(Isa::best());
    }
    match Isa::ALL.into_iter().find(|isa| isa.name() == name) {
        Some(isa) if isa.is_available() => Ok(isa),
        Some(isa) => bail!("this machine has no {}; it has {}", isa.name(), available()),
        None => {
            let what = format!("{name:?} is no instruction set; this machine has {}", available());
            Err(Problem::Usage(what).into())
        }
    }
}

fn available() -> String {
    let here = Isa::ALL.into_iter().filter(|isa| isa.is_available()).map(Isa::name);
    here.collect::<Vec<_>>().join(", ")
}
