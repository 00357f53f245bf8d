use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use store::blobs::Blobs;
use store::cid::Cid;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{Wheels, fetch};
use crate::catalogue::Package;
use crate::mirror::{Delivery, MirrorError};

/// A place for wheels, and for the source that is read out of them.
struct Place {
    dir: tempfile::TempDir,
    blobs: Blobs,
    cid: Cid,
    size: u64,
}

impl Place {
    fn new(source: &[u8]) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
        Place { dir, blobs, cid: Cid::of(source), size: source.len() as u64 }
    }

    fn wheels(&self) -> PathBuf {
        self.dir.path().join("wheels")
    }

    /// Puts a wheel where a finished one would be.
    fn finished(&self, name: &str, part: &[u8]) {
        fs::create_dir_all(self.wheels()).unwrap();
        write_wheel(&self.wheels().join(format!("{name}-1.whl")), part);
    }

    fn fetch(&self, names: &[&str], pythons: &[&str]) -> Result<(), MirrorError> {
        let packages: Vec<_> = names.iter().map(|name| package(name)).collect();
        let wheels = Wheels { dir: self.wheels(), pythons };
        let mut staged = self.blobs.stage(&self.cid)?;
        let mut ignore = |_: crate::pull::Progress<'_>| {};
        fetch(&packages, &wheels, &mut Delivery::new(&mut staged, self.size, &mut ignore))?;
        Ok(staged.commit()?)
    }
}

fn package(name: &str) -> Package {
    let text = |text: &str| text.to_owned();
    Package { name: text(name), version: text("1"), member: text("data/part") }
}

fn write_wheel(path: &Path, part: &[u8]) {
    let mut wheel = ZipWriter::new(File::create(path).unwrap());
    wheel.start_file("data/part", SimpleFileOptions::default()).unwrap();
    wheel.write_all(part).unwrap();
    wheel.finish().unwrap();
}

#[test]
fn parts_are_joined_in_order() {
    let place = Place::new(b"hello world");
    place.finished("a", b"hello ");
    place.finished("b", b"world");
    place.fetch(&["a", "b"], &[]).unwrap();
    place.blobs.verify(&place.cid).unwrap();
}

#[test]
fn bytes_of_an_earlier_attempt_are_not_kept_before_the_parts() {
    let place = Place::new(b"hello world");
    place.blobs.stage(&place.cid).unwrap().write_all(b"hell").unwrap();
    place.finished("a", b"hello world");
    place.fetch(&["a"], &[]).unwrap();
}

#[test]
fn parts_that_are_too_long_or_too_short_are_refused() {
    let place = Place::new(b"hello world");
    place.finished("long", b"hello world and more");
    place.finished("short", b"hello");
    let error = place.fetch(&["long"], &[]).unwrap_err();
    assert!(matches!(error, MirrorError::OtherSize { wanted: 11, got: 20 }), "{error:?}");
    let error = place.fetch(&["short"], &[]).unwrap_err();
    assert!(matches!(error, MirrorError::Short { wanted: 11, got: 5 }), "{error:?}");
}

#[test]
fn a_damaged_wheel_is_not_used_again() {
    let place = Place::new(b"hello world");
    place.finished("a", b"hello world");
    let path = place.wheels().join("a-1.whl");
    let bytes = fs::read(&path).unwrap();
    for damaged in [bytes[..bytes.len() / 2].to_vec(), b"no archive".to_vec(), Vec::new()] {
        fs::write(&path, damaged).unwrap();
        let error = place.fetch(&["a"], &[]).unwrap_err();
        assert!(matches!(error, MirrorError::Wheel { .. }), "{error:?}");
        assert!(!path.exists());
    }
    let data = bytes.windows(11).position(|window| window == b"hello world");
    let mut flipped = bytes.clone();
    flipped[data.unwrap_or(45)] ^= 1;
    fs::write(&path, flipped).unwrap();
    place.fetch(&["a"], &[]).unwrap_err();
    assert!(!place.blobs.contains(&place.cid));
}

#[test]
fn no_python_is_told() {
    let place = Place::new(b"x");
    let error = place.fetch(&["a"], &["no-such-python-here"]).unwrap_err();
    assert!(matches!(error, MirrorError::NoPython), "{error:?}");
}

/// Programs that behave as `pip` might. Arguments end with `-d DIR NAME==VERSION`.
#[cfg(unix)]
mod programs {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    impl Place {
        fn program(&self, script: &str) -> String {
            let path = self.dir.path().join("python");
            let head = "#!/bin/sh\nwhile [ $# -gt 2 ]; do shift; done\n";
            fs::write(&path, format!("{head}{script}")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path.to_str().unwrap().to_owned()
        }
    }

    #[test]
    fn a_fetched_wheel_is_kept_for_the_next_attempt() {
        let place = Place::new(b"hello world");
        let wheel = place.dir.path().join("ready");
        write_wheel(&wheel, b"hello world");
        let copy = format!("cp {} \"$1/a-1-py3-none-any.whl\"", wheel.display());
        let python = place.program(&copy);
        place.fetch(&["a"], &["no-such-python-here", &python]).unwrap();
        assert!(place.wheels().join("a-1.whl").is_file());
        place.fetch(&["a"], &[]).unwrap();
    }

    #[test]
    fn what_pip_says_is_told() {
        let place = Place::new(b"x");
        let python = place.program("echo 'No matching distribution' >&2; exit 1");
        let error = place.fetch(&["a"], &[&python]).unwrap_err();
        assert_eq!(error.to_string(), "pip does not fetch a==1: No matching distribution");
    }

    #[test]
    fn a_wheel_of_a_pip_that_failed_is_not_used() {
        let place = Place::new(b"x");
        let python = place.program("echo half > \"$1/a-1-py3-none-any.whl\"; exit 1");
        let error = place.fetch(&["a"], &[&python]).unwrap_err();
        assert!(matches!(error, MirrorError::Pip { .. }), "{error:?}");
        assert!(!place.wheels().join("a-1.whl").exists());
    }
}
