//! What a run came to, as an exit code.
//!
//! Not here: messages.

use std::process::ExitCode;

/// What a run came to. The numbers are part of the program's interface (`docs/cli.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done.
    Done = 0,
    /// Something outside the program failed.
    Failed = 1,
    /// What was named is not there.
    NotFound = 3,
    /// Something was found not to be what it should be.
    Refused = 4,
}

impl Outcome {
    /// The exit code.
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(self as u8)
    }

    /// The outcome of an error.
    pub(crate) fn of(error: &anyhow::Error) -> Outcome {
        use node::importer::ImporterError;
        use node::models::ModelsError;
        if let Some(ModelsError::Unknown { .. }) = error.downcast_ref() {
            return Outcome::NotFound;
        }
        if let Some(ImporterError::Import { .. } | ImporterError::Unsound { .. }) =
            error.downcast_ref()
        {
            return Outcome::Refused;
        }
        Outcome::Failed
    }
}
