//! A model's source in the store: one GGUF file, or the files of a Hugging Face directory.
//!
//! A directory is kept as its files and a list of them, itself a blob: the line `mashaa source 1`,
//! then for each file, ascending by name, its CID, a space and its name. The list's CID is the
//! source's.
//!
//! Not here: what the files mean (`engine::import`).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::import::assemble::Parts;
use engine::import::gguf::Gguf;
use engine::import::hugging_face::{self, Files};
use engine::import::safetensors::Safetensors;
use engine::import::{ImportError, Options, gguf_model};
use store::blobs::{Blobs, StoreError};
use store::cid::Cid;
use store::kernel_map::Mapped;

/// First line of a list of files.
const TITLE: &str = "mashaa source 1";
/// Files of a directory, at most: the largest models have some two hundred shards.
pub const FILES_MAX: usize = 1024;
/// Files beside the weights that an import reads.
const SIDE_FILES: [&str; 5] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
];

/// Where an encoder's directory says how rows are pooled, and the name of that file in the list.
const POOLING: (&str, &str) = ("1_Pooling/config.json", "pooling.json");

/// A source opened from the store.
#[derive(Debug)]
pub enum Source {
    /// A GGUF file.
    Gguf(Arc<Mapped>),
    /// Files of a directory, by name.
    Files(BTreeMap<String, Arc<Mapped>>),
}

/// Why a source cannot be kept or opened.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be read.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A directory without the files of a model, or a list that this program did not write.
    #[error("{0}")]
    Unknown(String),
}

impl Source {
    /// Keeps a GGUF file, or a directory with `config.json`, `tokenizer.json` and safetensors files.
    ///
    /// # Errors
    /// When a file cannot be read, or the directory is no model's.
    pub fn keep(blobs: &Blobs, path: &Path) -> Result<Cid, SourceError> {
        let wrong = |path: &Path| {
            let path = path.to_path_buf();
            move |source| SourceError::File { path, source }
        };
        if !path.is_dir() {
            return Ok(blobs.put(File::open(path).map_err(wrong(path))?)?);
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path).map_err(wrong(path))? {
            let name = entry.map_err(wrong(path))?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".safetensors") || SIDE_FILES.contains(&name.as_str()) {
                names.push(name);
            }
        }
        if names.len() > FILES_MAX || !names.iter().any(|name| name == "config.json") {
            let what = "is no model's directory: it needs config.json and at most 1024 files";
            return Err(SourceError::Unknown(format!("{} {what}", path.display())));
        }
        let mut files = BTreeMap::new();
        let pooling = path.join(POOLING.0);
        let pooling = pooling.is_file().then(|| (POOLING.1.to_owned(), pooling));
        let beside = names.into_iter().map(|name| (name.clone(), path.join(name)));
        for (name, file) in beside.chain(pooling) {
            let cid = blobs.put(File::open(&file).map_err(wrong(&file))?)?;
            files.insert(name, cid);
        }
        Source::keep_list(blobs, &files)
    }

    /// Keeps the list of files that the store has, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub fn keep_list(blobs: &Blobs, files: &BTreeMap<String, Cid>) -> Result<Cid, SourceError> {
        let mut list = format!("{TITLE}\n");
        files.iter().for_each(|(name, cid)| list.push_str(&format!("{cid} {name}\n")));
        Ok(blobs.put(list.as_bytes())?)
    }

    /// Opens a source that the store has.
    ///
    /// # Errors
    /// When a blob is missing, or the list is not one.
    pub fn open(blobs: &Blobs, cid: &Cid) -> Result<Source, SourceError> {
        let mapped = blobs.map(cid)?;
        let Some(list) = list(cid, &mapped)? else { return Ok(Source::Gguf(mapped)) };
        let mut files = BTreeMap::new();
        for (name, cid) in list {
            files.insert(name, blobs.map(&cid)?);
        }
        Ok(Source::Files(files))
    }

    /// The blobs that a source is made of: itself, and the files of a list.
    ///
    /// # Errors
    /// When the source is not in the store, or its list is none.
    pub fn blobs(blobs: &Blobs, cid: &Cid) -> Result<Vec<Cid>, SourceError> {
        let list = list(cid, &blobs.map(cid)?)?.unwrap_or_default();
        Ok(list.into_iter().map(|(_, file)| file).chain([*cid]).collect())
    }

    /// Reads the model and hands it on.
    ///
    /// # Errors
    /// When the files are not a model that can be imported, or `with` fails.
    pub fn read<T>(
        &self,
        options: &Options,
        with: impl FnOnce(&Parts<'_>) -> Result<T, ImportError>,
    ) -> Result<T, ImportError> {
        match self {
            Source::Gguf(file) => with(&gguf_model::read(&Gguf::parse(file)?, options)?),
            Source::Files(files) => {
                let file = |name: &str| files.get(name).map(|file| &file[..]);
                let need = |name: &str| {
                    file(name).ok_or_else(|| ImportError::Missing { name: name.to_owned() })
                };
                let shards = files.iter().filter(|(name, _)| name.ends_with(".safetensors"));
                let weights: Vec<Safetensors<'_>> =
                    shards.map(|(_, file)| Safetensors::parse(file)).collect::<Result<_, _>>()?;
                let files = Files {
                    config: need("config.json")?,
                    tokenizer: need("tokenizer.json")?,
                    tokenizer_config: file("tokenizer_config.json"),
                    generation_config: file("generation_config.json"),
                    chat_template: file("chat_template.jinja"),
                    pooling: file(POOLING.1),
                    weights: &weights,
                };
                with(&hugging_face::read(&files, options)?)
            }
        }
    }
}

/// The files of a list, by name; `None` where the source is no list.
fn list(cid: &Cid, bytes: &[u8]) -> Result<Option<Vec<(String, Cid)>>, SourceError> {
    let Some(list) = bytes.strip_prefix(format!("{TITLE}\n").as_bytes()) else { return Ok(None) };
    let unknown = || SourceError::Unknown(format!("{cid} is no list of files"));
    let list = std::str::from_utf8(list).map_err(|_| unknown())?;
    let file = |line: &str| {
        let (cid, name) = line.split_once(' ').ok_or_else(unknown)?;
        Ok((name.to_owned(), cid.parse().map_err(|_| unknown())?))
    };
    list.lines().take(FILES_MAX).map(file).collect::<Result<_, _>>().map(Some)
}
