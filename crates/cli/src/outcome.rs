//! What a run came to, as an exit code.
//!
//! Not here: messages of other crates.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use chain::snapshot::NotInstalled;
use engine::artifact::ArtifactError;
use engine::import::ImportError;
use node::backup::BackupError;
use node::config::{ConfigError, Origin};
use node::folder::FolderError;
use node::importer::ImporterError;
use node::ledger::sync::NotBegun;
use node::models::ModelsError;
use node::opened::OpenError;
use node::pull::PullError;
use node::source::SourceError;
use store::blobs::StoreError;
use store::car::CarError;
use store::walk::WalkError;
use wallet::derive::NoKey;
use wallet::files::FileError;
use wallet::keystore::KeystoreError;
use wallet::passphrase::PassphraseError;
use wallet::phrase::PhraseError;
use wallet::wallet::NotHex;
use wallet::wallets::WalletsError;

/// What a run came to. The numbers are part of the program's interface (`docs/cli.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done.
    Done = 0,
    /// Something outside the program failed.
    Failed = 1,
    /// The command line asks for what makes no sense.
    Usage = 2,
    /// What was named is not there.
    NotFound = 3,
    /// Something was found not to be what it should be.
    Refused = 4,
    /// A person pressed Ctrl-C where the signal itself is ignored; as the shell tells the signal.
    Interrupted = 130,
}

/// What only the command line knows to be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The command line asks for what makes no sense.
    Usage(String),
    /// What was named is not there.
    NotFound(String),
    /// Something was found not to be what it should be.
    Refused(String),
    /// A person pressed Ctrl-C.
    Interrupted,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Usage(what) | Problem::NotFound(what) | Problem::Refused(what) => {
                f.write_str(what)
            }
            Problem::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl Error for Problem {}

impl Outcome {
    /// The exit code.
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(self as u8)
    }

    /// The outcome of an error: what the first of its causes that is known here says.
    pub(crate) fn of(error: &anyhow::Error) -> Outcome {
        error.chain().find_map(of_cause).unwrap_or(Outcome::Failed)
    }
}

fn of_cause(cause: &(dyn Error + 'static)) -> Option<Outcome> {
    cause
        .downcast_ref()
        .map(of_problem)
        .or_else(|| cause.downcast_ref().and_then(of_config))
        .or_else(|| cause.downcast_ref().and_then(of_models))
        .or_else(|| cause.downcast_ref().and_then(of_pull))
        .or_else(|| cause.downcast_ref().and_then(of_import))
        .or_else(|| cause.downcast_ref().and_then(of_source))
        .or_else(|| cause.downcast_ref().and_then(of_opening))
        .or_else(|| cause.downcast_ref().and_then(of_store))
        .or_else(|| cause.downcast_ref().and_then(crate::store::of_fetch))
        .or_else(|| cause.downcast_ref().map(of_car))
        .or_else(|| cause.downcast_ref().and_then(of_folder))
        .or_else(|| cause.downcast_ref().and_then(of_walk))
        .or_else(|| cause.downcast_ref().and_then(of_backup))
        .or_else(|| cause.downcast_ref().map(|_: &ArtifactError| Outcome::Refused))
        .or_else(|| cause.downcast_ref().and_then(of_wallets))
        .or_else(|| cause.downcast_ref().and_then(of_file))
        .or_else(|| cause.downcast_ref().and_then(of_snapshot))
        .or_else(|| cause.downcast_ref().and_then(of_beginning))
        .or_else(|| cause.downcast_ref().and_then(of_keystore))
        .or_else(|| cause.downcast_ref().map(|_: &PassphraseError| Outcome::Refused))
        .or_else(|| cause.downcast_ref().map(|_: &PhraseError| Outcome::Refused))
        .or_else(|| cause.downcast_ref().map(|_: &NoKey| Outcome::Refused))
        .or_else(|| cause.downcast_ref().map(|_: &NotHex| Outcome::Refused))
}

fn of_problem(problem: &Problem) -> Outcome {
    match problem {
        Problem::Usage(_) => Outcome::Usage,
        Problem::NotFound(_) => Outcome::NotFound,
        Problem::Refused(_) => Outcome::Refused,
        Problem::Interrupted => Outcome::Interrupted,
    }
}

fn of_config(error: &ConfigError) -> Option<Outcome> {
    match error {
        ConfigError::Value { origin: Origin::Flag(_), .. } => Some(Outcome::Usage),
        _ => None,
    }
}

fn of_models(error: &ModelsError) -> Option<Outcome> {
    match error {
        ModelsError::Unknown { .. } => Some(Outcome::NotFound),
        ModelsError::Name { .. } => Some(Outcome::Usage),
        _ => None,
    }
}

/// Nobody delivered; where someone sent other bytes, that is worse than a broken connection.
fn of_pull(error: &PullError) -> Option<Outcome> {
    match error {
        PullError::Nobody { failures, .. } => {
            let lied = failures.iter().any(|(_, reason)| reason.is_other_bytes());
            lied.then_some(Outcome::Refused)
        }
        PullError::Store(_) => None,
        PullError::Source(error) => of_source(error),
        PullError::List { .. } => Some(Outcome::Refused),
    }
}

fn of_import(error: &ImporterError) -> Option<Outcome> {
    match error {
        ImporterError::Import { source: ImportError::Sink(_), .. } => None,
        ImporterError::Import { .. } | ImporterError::Unsound { .. } => Some(Outcome::Refused),
        ImporterError::Store(error) => of_store(error),
        ImporterError::Source(error) => of_source(error),
    }
}

fn of_source(error: &SourceError) -> Option<Outcome> {
    match error {
        SourceError::File { .. } => None,
        SourceError::Store(error) => of_store(error),
        SourceError::Unknown(_) => Some(Outcome::Refused),
    }
}

fn of_opening(error: &OpenError) -> Option<Outcome> {
    match error {
        OpenError::Store(error) => of_store(error),
        _ => Some(Outcome::Refused),
    }
}

fn of_store(error: &StoreError) -> Option<Outcome> {
    match error {
        StoreError::Missing { .. } => Some(Outcome::NotFound),
        StoreError::Mismatch { .. } => Some(Outcome::Refused),
        _ => None,
    }
}

fn of_car(error: &CarError) -> Outcome {
    match error {
        CarError::Io(_) | CarError::Room { .. } => Outcome::Failed,
        CarError::Store(error) => of_store(error).unwrap_or(Outcome::Failed),
        _ => Outcome::Refused,
    }
}

fn of_folder(error: &FolderError) -> Option<Outcome> {
    match error {
        FolderError::Store(error) => of_store(error),
        FolderError::Walk(error) => of_walk(error),
        FolderError::File { .. } | FolderError::Room { .. } => None,
        _ => Some(Outcome::Refused),
    }
}

fn of_backup(error: &BackupError) -> Option<Outcome> {
    match error {
        BackupError::File { .. } | BackupError::Ledger(_) => None,
        BackupError::Folder(error) => of_folder(error),
        BackupError::Archive(error) => Some(of_car(error)),
        BackupError::Store(error) => of_store(error),
        BackupError::Exists { .. } => Some(Outcome::Usage),
        _ => Some(Outcome::Refused),
    }
}

fn of_walk(error: &WalkError) -> Option<Outcome> {
    match error {
        WalkError::Store(error) => of_store(error),
        _ => Some(Outcome::Refused),
    }
}

fn of_wallets(error: &WalletsError) -> Option<Outcome> {
    match error {
        WalletsError::Name { .. } => Some(Outcome::Usage),
        WalletsError::Unknown { .. } => Some(Outcome::NotFound),
        WalletsError::File(error) => of_file(error),
        WalletsError::Keystore { source, .. } => of_keystore(source),
        WalletsError::Passphrase(_) => Some(Outcome::Refused),
        _ => None,
    }
}

fn of_file(error: &FileError) -> Option<Outcome> {
    match error {
        FileError::System { .. } => None,
        FileError::Exists { .. } => Some(Outcome::Usage),
        _ => Some(Outcome::Refused),
    }
}

fn of_snapshot(error: &NotInstalled) -> Option<Outcome> {
    match error {
        NotInstalled::Store(_) | NotInstalled::Read(_) => None,
        _ => Some(Outcome::Refused),
    }
}

fn of_beginning(error: &NotBegun) -> Option<Outcome> {
    match error {
        NotBegun::Snapshot(error) => of_snapshot(error),
        NotBegun::Ledger(_) | NotBegun::Block(_) => None,
    }
}

fn of_keystore(error: &KeystoreError) -> Option<Outcome> {
    match error {
        KeystoreError::NoMemory(_) => None,
        _ => Some(Outcome::Refused),
    }
}
