use std::fs;

use super::*;

fn record(line: usize, completed: bool) -> Record {
    Record { line, completed, text: format!("{{\"line\": {line}}}") }
}

fn whole(journal: &Journal, completed: bool) -> String {
    let mut text = Vec::new();
    journal.write(completed, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn records_come_back_in_the_order_of_the_requests() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut journal = Journal::open(&path).unwrap();
    journal.append(&[record(2, true), record(0, true)]).unwrap();
    journal.append(&[record(1, false), record(2, true)]).unwrap();
    for journal in [journal, Journal::open(&path).unwrap()] {
        assert_eq!(journal.counts(), Counts { completed: 2, failed: 1 });
        assert_eq!(whole(&journal, true), "{\"line\": 0}\n{\"line\": 2}\n");
        assert_eq!(whole(&journal, false), "{\"line\": 1}\n");
    }
}

#[test]
fn whatever_is_cut_or_changed_at_the_end_leaves_the_whole_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut journal = Journal::open(&path).unwrap();
    journal.append(&[record(0, true)]).unwrap();
    let first = fs::read(&path).unwrap().len();
    journal.append(&[record(1, true)]).unwrap();
    let bytes = fs::read(&path).unwrap();
    let check = |damaged: &[u8], what: &str| {
        fs::write(&path, damaged).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!((journal.has(0), journal.has(1)), (true, false), "{what}");
        journal.append(&[record(1, true)]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes, "{what}");
    };
    for size in first..bytes.len() {
        check(&bytes[..size], &format!("cut to {size}"));
    }
    for at in first..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        check(&damaged, &format!("changed at {at}"));
    }
}
