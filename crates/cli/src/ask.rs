//! Asking a person for a secret, at the terminal and without showing what is typed.
//!
//! The terminal is asked, not standard input, which may be a text to sign.
//!
//! Not here: what the answers are for.

use std::path::Path;

use anyhow::Context as _;
use wallet::passphrase::Passphrase;
use zeroize::Zeroizing;

use crate::outcome::Problem;

/// A passphrase that is there already: from its file, or from the terminal.
pub(crate) fn passphrase(
    what: &str,
    file: Option<&Path>,
    flag: &str,
) -> anyhow::Result<Passphrase> {
    match file {
        Some(file) => Ok(Passphrase::read(file)?),
        None => Ok(Passphrase::new(hidden(what, flag)?)?),
    }
}

/// A passphrase for a new wallet: from its file, or twice from the terminal.
pub(crate) fn new_passphrase(file: Option<&Path>, flag: &str) -> anyhow::Result<Passphrase> {
    let passphrase = passphrase("Passphrase for the new wallet", file, flag)?;
    passphrase.check_new()?;
    if file.is_none() && passphrase != Passphrase::new(hidden("The same again", flag)?)? {
        let what = "the two passphrases differ; nothing was kept".to_owned();
        return Err(Problem::Refused(what).into());
    }
    Ok(passphrase)
}

/// A line that is typed and not shown; `flag` is what to use where there is no terminal.
pub(crate) fn hidden(what: &str, flag: &str) -> anyhow::Result<Zeroizing<String>> {
    if !has_terminal() {
        let what = format!("there is no terminal to ask for this: {what}; give {flag} FILE");
        return Err(Problem::Usage(what).into());
    }
    match rpassword::prompt_password(format!("{what}: ")) {
        Ok(typed) => Ok(Zeroizing::new(typed)),
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
            Err(Problem::Interrupted.into())
        }
        Err(error) => Err(error).context("the terminal cannot be read"),
    }
}

/// Whether there is someone to ask: `rpassword` opens the same file.
fn has_terminal() -> bool {
    !cfg!(unix) || std::fs::File::open("/dev/tty").is_ok()
}
