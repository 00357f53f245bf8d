use tempfile::{TempDir, tempdir};
use zeroize::Zeroizing;

use super::*;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
}

fn world() -> (TempDir, Wallets) {
    let folder = tempdir().unwrap();
    let wallets = Wallets::of(folder.path().join("wallets"));
    (folder, wallets)
}

/// A keystore that is quick to open: a vector of geth's, with the passphrase `foo`.
const QUICK: &str = include_str!("../../../../fixtures/wallet/key30.json");

fn put(wallets: &Wallets, name: &str) {
    files::write_new(&wallets.file(name).unwrap(), QUICK).unwrap();
}

#[test]
fn a_kept_wallet_opens_with_its_passphrase_alone() {
    let (_folder, wallets) = world();
    let wallet = Wallet::random().unwrap();
    let file = wallets.keep(MAIN, &wallet, &passphrase("open sesame")).unwrap();
    let opened = wallets.open(MAIN, &passphrase("open sesame")).unwrap();
    assert_eq!(opened.address(), wallet.address());
    let error = wallets.open(MAIN, &passphrase("open sesam")).unwrap_err();
    let WalletsError::Keystore { source: KeystoreError::WrongPassphrase, .. } = error else {
        panic!("{error:?}");
    };
    let address = Some(wallet.address());
    let entry = Entry { name: MAIN.to_owned(), file, address, path: None, unattended: false };
    assert_eq!(wallets.entry(MAIN).unwrap(), entry);
    assert!(wallets.passphrase(MAIN).unwrap().is_none());
}

#[test]
fn a_name_that_is_taken_stays_with_its_wallet() {
    let (_folder, wallets) = world();
    put(&wallets, MAIN);
    let wallet = Wallet::random().unwrap();
    let kept = wallets.keep(MAIN, &wallet, &passphrase("open sesame"));
    assert!(matches!(kept, Err(WalletsError::File(FileError::Exists { .. }))));
    let created = wallets.create_unattended(MAIN);
    assert!(matches!(created, Err(WalletsError::File(FileError::Exists { .. }))));
    assert_eq!(wallets.text(MAIN).unwrap(), QUICK);
    // A passphrase alone takes the name, too: it may be of a wallet that is on another disk.
    let beside = wallets.passphrase_file("other").unwrap();
    files::write_new(&beside, "of another wallet").unwrap();
    let kept = wallets.keep("other", &wallet, &passphrase("open sesame"));
    assert!(matches!(kept, Err(WalletsError::File(FileError::Exists { .. }))));
}

#[test]
fn a_short_passphrase_keeps_nothing() {
    let (folder, wallets) = world();
    let kept = wallets.keep(MAIN, &Wallet::random().unwrap(), &passphrase("sesame"));
    assert!(matches!(kept, Err(WalletsError::Passphrase(_))));
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn an_unattended_wallet_opens_with_what_is_beside_it() {
    let (_folder, wallets) = world();
    let wallet = wallets.create_unattended(MAIN).unwrap();
    let beside = wallets.passphrase(MAIN).unwrap().unwrap();
    assert_eq!(wallets.open(MAIN, &beside).unwrap().address(), wallet.address());
    assert!(wallets.entry(MAIN).unwrap().unattended);
    #[cfg(unix)]
    for path in [wallets.file(MAIN).unwrap(), wallets.passphrase_file(MAIN).unwrap()] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_crash_between_the_two_files_is_recovered_from() {
    let (_folder, wallets) = world();
    let left = Passphrase::random().unwrap();
    files::write_new(&wallets.passphrase_file(MAIN).unwrap(), left.text()).unwrap();
    let wallet = wallets.create_unattended(MAIN).unwrap();
    assert_eq!(wallets.open(MAIN, &left).unwrap().address(), wallet.address());
}

#[test]
fn names_are_listed_in_order_and_other_files_are_not() {
    let (_folder, wallets) = world();
    assert_eq!(wallets.names().unwrap(), [""; 0]);
    for name in ["b", "a-1", "C_"] {
        put(&wallets, name);
    }
    for other in [".new-x.json", "b.passphrase", "a b.json", "notes.txt"] {
        std::fs::write(wallets.folder.join(other), "").unwrap();
    }
    assert_eq!(wallets.names().unwrap(), ["C_", "a-1", "b"]);
    let entry = wallets.entry("a-1").unwrap();
    assert_eq!((entry.address, entry.path), (None, None));
}

#[test]
fn more_than_the_limit_is_not_listed() {
    let (_folder, wallets) = world();
    std::fs::create_dir(&wallets.folder).unwrap();
    for index in 0..WALLETS_MAX {
        std::fs::write(wallets.folder.join(format!("{index}.json")), "").unwrap();
    }
    assert_eq!(wallets.names().unwrap().len(), WALLETS_MAX);
    std::fs::write(wallets.folder.join("more.json"), "").unwrap();
    assert!(matches!(wallets.names(), Err(WalletsError::TooMany { .. })));
}

#[test]
fn a_name_cannot_leave_the_folder() {
    let (_folder, wallets) = world();
    let long = "x".repeat(NAME_MAX + 1);
    for name in ["", ".", "..", "a/b", "../main", "a.b", "a b", "\u{645}", "a\0", &long] {
        assert!(matches!(wallets.file(name), Err(WalletsError::Name { .. })), "{name:?}");
    }
    wallets.file(&long[1..]).unwrap();
    let unknown = wallets.entry("nothing").unwrap_err();
    assert!(matches!(unknown, WalletsError::Unknown { .. }), "{unknown}");
}

#[test]
fn a_file_that_is_no_keystore_is_named() {
    let (_folder, wallets) = world();
    files::write_new(&wallets.file(MAIN).unwrap(), "{}").unwrap();
    let error = wallets.open(MAIN, &passphrase("open sesame")).unwrap_err();
    assert!(error.to_string().contains("main.json"), "{error}");
}
