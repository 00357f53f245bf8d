use std::fs;
use std::path::Path;

use super::*;
use crate::machine::Real;

fn machine(folder: &Path) -> Real {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    Real::new(folder, runtime.handle().clone()).unwrap()
}

/// What a run that begins now knows.
fn reopened(machine: &Real) -> Silence {
    let silence = Silence::default();
    silence.open(machine).unwrap();
    silence
}

#[test]
fn silence_outlives_a_crash_and_ends_with_its_height() {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = machine(folder.path());
    let silence = reopened(&machine);
    assert!(!silence.covers(Height(1)));
    silence.keep(&mut machine, Height(7)).unwrap();
    for silence in [silence, reopened(&machine)] {
        assert!(silence.covers(Height(6)) && silence.covers(Height(7)));
        assert!(!silence.covers(Height(8)));
    }
    // An earlier height does not end it.
    reopened(&machine).keep(&mut machine, Height(3)).unwrap();
    assert!(reopened(&machine).covers(Height(7)));
}

#[test]
fn clones_are_silent_together() {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = machine(folder.path());
    let silence = Silence::default();
    let clone = silence.clone();
    silence.keep(&mut machine, Height(7)).unwrap();
    assert!(clone.covers(Height(7)));
}

#[test]
fn a_torn_file_is_no_silence() {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = machine(folder.path());
    Silence::default().keep(&mut machine, Height(u64::MAX)).unwrap();
    let path = folder.path().join(FILE);
    for size in 0..8 {
        fs::write(&path, vec![255; size]).unwrap();
        assert!(!reopened(&machine).covers(Height(1)), "{size} bytes");
    }
}
