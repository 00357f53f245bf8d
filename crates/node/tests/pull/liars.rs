//! Mirrors that lie, break or stall are named, and the next one delivers.

use std::path::{Path, PathBuf};

use node::catalogue::{Mirror, SourceEntry};
use node::pull::{Progress, PullError, pull_source};
use store::blobs::Blobs;
use store::cid::Cid;

use crate::server::{Behaviour, Server, noise};

/// Just above the gain that is worth a second request.
const SIZE: usize = 2_500_000;

struct Place {
    dir: tempfile::TempDir,
    blobs: Blobs,
    file: Vec<u8>,
}

/// How a pull went: what it returned, and the name and reason of each failure on the way.
type Outcome = (Result<PathBuf, PullError>, Vec<(String, String)>);

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
        Place { dir, blobs, file: noise(1, SIZE) }
    }

    fn cid(&self) -> Cid {
        Cid::of(&self.file)
    }

    fn pull(&self, extra: Option<&Path>, servers: &[&Server]) -> Outcome {
        let mirrors = servers.iter().map(|server| Mirror::Http { url: server.url.clone() });
        let entry = SourceEntry {
            file: "model.gguf".to_owned(),
            size: SIZE as u64,
            cid: self.cid(),
            mirrors: mirrors.collect(),
            files: Vec::new(),
        };
        let mut failures = Vec::new();
        let mut report = |progress: Progress<'_>| {
            if let Progress::Failed { mirror, reason } = progress {
                failures.push((mirror.to_owned(), reason.with_causes()));
            }
        };
        let staging = self.dir.path().join("staging");
        let result = pull_source(&self.blobs, &entry, extra, &staging, &mut report);
        (result, failures)
    }

    /// A liar alone yields nothing; with an honest mirror after it, it is named and forgiven.
    fn check(&self, behaviour: Behaviour, file: Vec<u8>, reason: &str) {
        let liar = Server::new(file, behaviour.clone());
        let (result, _) = self.pull(None, &[&liar]);
        let told = result.unwrap_err().to_string();
        assert!(told.contains(&liar.url) && told.contains(reason), "{behaviour:?}: {told}");
        assert!(self.blobs.list().unwrap().is_empty());

        let honest = Server::new(self.file.clone(), Behaviour::Honest);
        let (result, failures) = self.pull(None, &[&liar, &honest]);
        assert_eq!(result.unwrap(), self.blobs.path(&self.cid()));
        self.blobs.verify(&self.cid()).unwrap();
        let [(name, told)] = failures.as_slice() else { panic!("{behaviour:?}: {failures:?}") };
        assert!(*name == liar.url && told.contains(reason), "{behaviour:?}: {told}");
        self.blobs.remove(&self.cid()).unwrap();
    }
}

#[test]
fn liars_are_named_and_the_next_mirror_is_asked() {
    let place = Place::new();
    let (good, other) = (place.file.clone(), noise(2, SIZE));
    let got = Cid::of(&other).to_string();
    place.check(Behaviour::Honest, other, &got);
    place.check(Behaviour::Honest, good[1..].to_vec(), "has 2499999 bytes, not 2500000");
    place.check(Behaviour::HangsUp(1000), good.clone(), "break off at");
    place.check(Behaviour::Short(1000), good.clone(), "end at 1000 of 2500000");
    place.check(Behaviour::Endless, noise(3, 1000), "bytes of bafy");
    place.check(Behaviour::Status(500), good.clone(), "status 500");
    place.check(Behaviour::Status(404), good.clone(), "status 404");
    place.check(Behaviour::Redirects, good, "redirects");
}

#[test]
fn nothing_follows_the_last_byte_of_an_endless_body() {
    let place = Place::new();
    let server = Server::new(place.file.clone(), Behaviour::Endless);
    place.pull(None, &[&server]).0.unwrap();
    place.blobs.verify(&place.cid()).unwrap();
}

#[test]
fn a_connection_that_breaks_late_is_made_again() {
    let place = Place::new();
    let server = Server::new(place.file.clone(), Behaviour::HangsUp(1_200_000));
    place.pull(None, &[&server]).0.unwrap();
    assert_eq!(server.starts(), [0, 1_200_000, 2_400_000]);
}

#[test]
fn bytes_of_a_broken_mirror_serve_the_next_one() {
    let place = Place::new();
    let broken = Server::new(place.file.clone(), Behaviour::HangsUp(1000));
    let honest = Server::new(place.file.clone(), Behaviour::Honest);
    place.pull(None, &[&broken, &honest]).0.unwrap();
    assert_eq!(honest.starts(), [1000]);
}

#[test]
fn wrong_bytes_of_one_mirror_are_not_blamed_on_the_next() {
    let place = Place::new();
    let liar = Server::new(noise(2, SIZE), Behaviour::HangsUp(1000));
    let honest = Server::new(place.file.clone(), Behaviour::Honest);
    let (result, failures) = place.pull(None, &[&liar, &honest]);
    result.unwrap();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(honest.starts(), [1000, 0]);
}

#[test]
fn a_server_that_ignores_ranges_is_read_from_its_start() {
    let place = Place::new();
    place.blobs.stage(&place.cid()).unwrap().write_all(&place.file[..1000]).unwrap();
    let server = Server::new(place.file.clone(), Behaviour::IgnoresRange);
    place.pull(None, &[&server]).0.unwrap();
    assert_eq!(server.starts(), [1000]);
}

#[test]
fn a_range_from_elsewhere_is_not_spliced_in() {
    let place = Place::new();
    place.blobs.stage(&place.cid()).unwrap().write_all(&place.file[..1000]).unwrap();
    let server = Server::new(place.file.clone(), Behaviour::OtherRange);
    let told = place.pull(None, &[&server]).0.unwrap_err().to_string();
    assert!(told.contains("bytes 1001-"), "{told}");
    assert_eq!(place.blobs.stage(&place.cid()).unwrap().len(), 1000);
}

#[test]
fn the_users_own_file_comes_first() {
    let place = Place::new();
    let server = Server::new(place.file.clone(), Behaviour::Honest);
    let own = place.dir.path().join("model.gguf");
    std::fs::write(&own, &place.file).unwrap();
    for extra in [own.as_path(), place.dir.path()] {
        place.pull(Some(extra), &[&server]).0.unwrap();
        place.blobs.remove(&place.cid()).unwrap();
    }
    assert!(server.starts().is_empty());
    std::fs::write(&own, noise(2, SIZE)).unwrap();
    let (result, failures) = place.pull(Some(&own), &[&server]);
    result.unwrap();
    assert_eq!(failures[0].0, own.display().to_string());
}

#[test]
fn a_source_that_is_here_is_not_asked_for() {
    let place = Place::new();
    place.blobs.put(place.file.as_slice()).unwrap();
    let server = Server::new(place.file.clone(), Behaviour::Honest);
    place.pull(None, &[&server]).0.unwrap();
    assert!(server.starts().is_empty());
}

#[test]
fn a_second_pull_at_the_same_time_is_told_so() {
    let place = Place::new();
    let _held = place.blobs.stage(&place.cid()).unwrap();
    let server = Server::new(place.file.clone(), Behaviour::Honest);
    let error = place.pull(None, &[&server]).0.unwrap_err();
    assert!(matches!(error, PullError::Store(_)), "{error:?}");
}

#[test]
fn what_the_disk_has_no_room_for_is_not_begun() {
    let place = Place::new();
    let server = Server::new(place.file.clone(), Behaviour::Honest);
    let mirrors = vec![Mirror::Http { url: server.url.clone() }];
    let size = u64::MAX;
    let entry = SourceEntry {
        file: "model.gguf".to_owned(),
        size,
        cid: place.cid(),
        mirrors,
        files: Vec::new(),
    };
    let staging = place.dir.path().join("staging");
    let error = pull_source(&place.blobs, &entry, None, &staging, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("bytes of room are needed"), "{error}");
    assert!(server.starts().is_empty());
}
