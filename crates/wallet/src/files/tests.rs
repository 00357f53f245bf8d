use tempfile::tempdir;

use super::*;
use crate::passphrase::{Passphrase, SIZE_MAX};

fn read(path: &Path, max: usize) -> Result<Zeroizing<String>, FileError> {
    Source::open(path)?.read(max)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_file_that_is_there_is_never_replaced() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("deep/er/file");
    write_new(&path, "first").unwrap();
    assert!(matches!(write_new(&path, "second"), Err(FileError::Exists { .. })));
    assert_eq!(*read(&path, 5).unwrap(), "first");
    assert_eq!(names(path.parent().unwrap()), ["file"], "the second one left something behind");
    #[cfg(unix)]
    {
        // A link that leads nowhere is a name that is taken, too.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(matches!(write_new(&link, "third"), Err(FileError::Exists { .. })));
    }
}

#[cfg(unix)]
#[test]
fn new_files_and_folders_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempdir().unwrap();
    let path = folder.path().join("wallets/file");
    write_new(&path, "secret").unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[cfg(unix)]
#[test]
fn a_secret_that_others_can_touch_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempdir().unwrap();
    let path = folder.path().join("file");
    write_new(&path, "secret").unwrap();
    for bit in (0..9).map(|bit| 1 << bit) {
        let mode = 0o400 | bit;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let source = Source::open(&path).unwrap();
        let read = source.check_private().and_then(|()| source.read(6));
        match mode & 0o077 {
            0 => assert_eq!(*read.unwrap(), "secret"),
            _ => {
                let told = read.unwrap_err().to_string();
                assert!(
                    told.contains("chmod 600") && told.contains(&format!("{mode:o}")),
                    "{told}"
                );
            }
        }
    }
}

#[test]
fn no_more_than_the_limit_is_read() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("file");
    write_new(&path, "12345").unwrap();
    assert_eq!(*read(&path, 5).unwrap(), "12345");
    assert!(matches!(read(&path, 4), Err(FileError::TooLong { max: 4, .. })));
    assert!(matches!(read(&folder.path().join("none"), 4), Err(FileError::System { .. })));
    std::fs::write(&path, b"\xFF").unwrap();
    assert!(matches!(read(&path, 4), Err(FileError::NotText { .. })));
}

#[test]
fn a_passphrase_is_a_files_text_without_its_last_line_end() {
    let folder = tempdir().unwrap();
    let check = |name: &str, text: &str, wanted: Option<&str>| {
        let path = folder.path().join(name);
        write_new(&path, text).unwrap();
        let read = Passphrase::read(&path);
        assert_eq!(read.ok().as_ref().map(Passphrase::text), wanted, "{text:?}");
    };
    check("1", "open sesame", Some("open sesame"));
    check("2", "open sesame\n", Some("open sesame"));
    check("3", "open sesame\r\n", Some("open sesame"));
    check("4", " open\nsesame \n\n", Some(" open\nsesame \n"));
    check("5", "", None);
    check("6", "\n", None);
    check("7", &"x".repeat(SIZE_MAX), Some(&"x".repeat(SIZE_MAX)));
    check("8", &"x".repeat(SIZE_MAX + 1), None);
}
