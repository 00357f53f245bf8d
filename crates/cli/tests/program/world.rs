//! A home of its own for each test, a small model, and a catalogue that names it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use store::cid::Cid;
use tempfile::TempDir;

/// What the catalogue calls the model.
pub(crate) const NAME: &str = "random";

/// A home, a model's source, and a catalogue.
pub(crate) struct World {
    dir: TempDir,
    /// The bytes of the model's source.
    pub(crate) source: Vec<u8>,
    /// Their name.
    pub(crate) cid: Cid,
}

/// How a run of the program ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    /// A new home, with nothing in it.
    pub(crate) fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World { dir, source: Vec::new(), cid: Cid::of(b"") };
        let path = world.path("random.gguf");
        let made = world.run(&["model", "random", path.to_str().unwrap(), "--encoding", "F32"]);
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        world.source = fs::read(path).unwrap();
        world.cid = Cid::of(&world.source);
        world
    }

    /// A path beside the home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A path in the home.
    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.path("home").join(name)
    }

    /// Writes the catalogue: the model with these mirrors.
    pub(crate) fn catalogue(&self, urls: &[&str]) {
        self.catalogue_with_artifact(urls, "", 0);
    }

    /// Writes the catalogue, which names the artifact too.
    pub(crate) fn catalogue_with_artifact(&self, urls: &[&str], artifact: &str, size: u64) {
        let mut text = format!(
            "[[model]]\nname = {NAME:?}\naliases = [\"rnd\"]\nfamily = \"llama\"\nparameters = 1\nlicence = \"CC0-1.0\"\n\
             licence_url = \"https://example.org/terms\"\ndefault = true\n\
             [model.artifact]\ncid = {artifact:?}\nsize = {size}\n\
             [model.source]\nfile = \"random.gguf\"\nsize = {}\ncid = \"{}\"\n",
            self.source.len(),
            self.cid
        );
        for url in urls {
            write!(text, "[[model.source.mirrors]]\nkind = \"http\"\nurl = {url:?}\n").unwrap();
        }
        fs::write(self.path("catalogue.toml"), text).unwrap();
    }

    /// The program, with nothing of this machine's settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mashaa"));
        command.env_clear().env("MASHAA_HOME", self.path("home"));
        command.env("MASHAA_CATALOGUE", self.path("catalogue.toml"));
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(&self.command(arguments).output().unwrap())
    }

    /// Every file with a blob's name has that blob's bytes, and every model that is listed is whole.
    pub(crate) fn check(&self, when: &str) {
        let mut blobs = Vec::new();
        for path in files(&self.home("blobs")) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let got = Cid::of_reader(File::open(&path).unwrap()).unwrap();
            assert_eq!(got.to_string(), name, "{when}: a blob that does not hash to its name");
            blobs.push(name);
        }
        let listed = self.run(&["model", "ls", "--json"]);
        assert_eq!(listed.code, Some(0), "{when}: {}", listed.stderr);
        let models: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
        for model in models.as_array().unwrap() {
            for key in ["source", "artifact"] {
                let blob = model[key].as_str().unwrap();
                assert!(blobs.iter().any(|name| name == blob), "{when}: {blob} is not here");
            }
        }
    }

    /// Whether the model is listed.
    pub(crate) fn has_model(&self) -> bool {
        self.home(&format!("models/{NAME}.toml")).is_file()
    }
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Ended {
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The files right in a folder, which need not be there.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}
