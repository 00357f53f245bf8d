//! Node keys on disk.

use super::*;

#[test]
fn a_key_is_made_once_and_only_its_owner_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.key");
    let made = open(&path).unwrap().key();
    assert_eq!(open(&path).unwrap().key(), made);
    let other = open(&folder.path().join("other.key")).unwrap().key();
    assert_ne!(other, made);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_file_that_holds_no_key_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.key");
    for text in ["", "00", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64)] {
        std::fs::write(&path, text).unwrap();
        assert!(matches!(open(&path), Err(NodeKeyError::Malformed { .. })), "{text}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
