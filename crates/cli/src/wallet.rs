//! `mashaa wallet`: make, import, list, show, export, and sign texts.
//!
//! Secrets come from the terminal or from files that only their owner can read, never from an
//! argument, which every user of a machine can see.

use std::io::Read;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};
use wallet::derive;
use wallet::files::{self, Source};
use wallet::keystore;
use wallet::passphrase::Passphrase;
use wallet::phrase::{Phrase, Words};
use wallet::wallet::Wallet;
use wallet::wallets::{Entry, Wallets};
use zeroize::Zeroizing;

use crate::arguments::{
    ExportWalletArguments, ImportWalletArguments, NewWalletArguments, SignArguments, WalletCommand,
    WordCount,
};
use crate::ask;
use crate::context::Context;
use crate::outcome::{Outcome, Problem};

/// Bytes of a text to sign. Nobody reads more before signing it.
const TEXT_MAX: usize = 1 << 20;
/// The flags that stand in for a terminal.
const PASSPHRASE_FILE: &str = "--passphrase-file";
const FROM_PASSPHRASE_FILE: &str = "--from-passphrase-file";

/// Runs a `wallet` command.
pub(crate) fn run(context: &Context, command: WalletCommand) -> anyhow::Result<Outcome> {
    let wallets = Wallets::of(context.home.wallets());
    match command {
        WalletCommand::New(new) if new.unattended => make_unattended(context, &wallets, &new),
        WalletCommand::New(new) => make(context, &wallets, &new),
        WalletCommand::Import(import) => take_in(context, &wallets, &import),
        WalletCommand::List => list(context, &wallets),
        WalletCommand::Show(show) => Ok(tell(context, &wallets.entry(&show.name)?, None)),
        WalletCommand::Sign(sign) => sign_text(context, &wallets, &sign),
        WalletCommand::Export(export) => give_out(context, &wallets, &export),
    }
}

fn make(context: &Context, wallets: &Wallets, new: &NewWalletArguments) -> anyhow::Result<Outcome> {
    let name = &new.wallet.name;
    wallets.check_free(name)?;
    let file = new.passphrase.passphrase_file.as_deref();
    let passphrase = ask::new_passphrase(file, PASSPHRASE_FILE)?;
    let phrase = Phrase::random(match new.words {
        WordCount::Twelve => Words::Twelve,
        WordCount::TwentyFour => Words::TwentyFour,
    })?;
    let wallet = Wallet::from_phrase(&phrase, "", derive::Path::default())?;
    wallets.keep(name, &wallet, &passphrase)?;
    let outcome = tell(context, &wallets.entry(name)?, Some(&phrase));
    eprintln!(
        "Write the words of the phrase down on paper, in their order. They are not kept, and this \
         is the only time you see them: whoever has them has the account."
    );
    Ok(outcome)
}

fn make_unattended(
    context: &Context,
    wallets: &Wallets,
    new: &NewWalletArguments,
) -> anyhow::Result<Outcome> {
    let name = &new.wallet.name;
    wallets.create_unattended(name)?;
    let outcome = tell(context, &wallets.entry(name)?, None);
    eprintln!(
        "Its passphrase is in {}. Whoever can read both files has the account, and both together \
         are its only backup.",
        wallets.passphrase_file(name)?.display()
    );
    Ok(outcome)
}

fn take_in(
    context: &Context,
    wallets: &Wallets,
    import: &ImportWalletArguments,
) -> anyhow::Result<Outcome> {
    let name = &import.wallet.name;
    wallets.check_free(name)?;
    let text = match &import.from {
        Some(path) => read_secret(path)?,
        None => ask::hidden("Phrase or secret key", "--from")?,
    };
    let wallet = read_wallet(text.trim(), import)?;
    let file = import.passphrase.passphrase_file.as_deref();
    let passphrase = ask::new_passphrase(file, PASSPHRASE_FILE)?;
    wallets.keep(name, &wallet, &passphrase)?;
    Ok(tell(context, &wallets.entry(name)?, None))
}

/// Reads a file to import. A keystore may be anyone's to read, and anything else only its owner's.
fn read_secret(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let source = Source::open(path)?;
    let private = source.check_private();
    let text = source.read(keystore::SIZE_MAX)?;
    if !is_keystore(&text) {
        private?;
    }
    Ok(text)
}

fn is_keystore(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// The wallet of a phrase, a secret key or a keystore; which, its first characters say.
fn read_wallet(text: &str, import: &ImportWalletArguments) -> anyhow::Result<Wallet> {
    let from = import.from_passphrase_file.as_deref();
    let is_phrase = text.contains(char::is_whitespace) && !is_keystore(text);
    if import.index.is_some() && !is_phrase {
        return Err(Problem::Usage("--index is for phrases only".to_owned()).into());
    }
    if is_keystore(text) {
        let what = "Passphrase of the keystore to import";
        let passphrase = ask::passphrase(what, from, FROM_PASSPHRASE_FILE)?;
        return Wallet::from_keystore(text, &passphrase).context("keystore to import");
    }
    if is_phrase {
        let phrase = Phrase::parse(text)?;
        let path = derive::Path::new(import.index.unwrap_or(0));
        let path = path.ok_or_else(|| Problem::Usage("--index ends at 2147483647".to_owned()))?;
        let passphrase = from.map(Passphrase::read).transpose()?;
        let passphrase = passphrase.as_ref().map_or("", Passphrase::text);
        return Ok(Wallet::from_phrase(&phrase, passphrase, path)?);
    }
    if from.is_some() {
        let what = format!("{FROM_PASSPHRASE_FILE} is for keystores and phrases only");
        return Err(Problem::Usage(what).into());
    }
    Ok(Wallet::from_hex(text)?)
}

fn list(context: &Context, wallets: &Wallets) -> anyhow::Result<Outcome> {
    let (mut entries, mut outcome) = (Vec::new(), Outcome::Done);
    for name in wallets.names()? {
        match wallets.entry(&name) {
            Ok(entry) => entries.push(entry),
            // The others are there all the same.
            Err(error) => {
                let error = anyhow::Error::from(error);
                eprintln!("mashaa: {error:#}");
                outcome = Outcome::of(&error);
            }
        }
    }
    if context.json {
        println!("{}", Value::from_iter(entries.iter().map(describe)));
        return Ok(outcome);
    }
    for entry in entries {
        println!("{:24} {}", entry.name, address(&entry));
    }
    Ok(outcome)
}

fn sign_text(
    context: &Context,
    wallets: &Wallets,
    sign: &SignArguments,
) -> anyhow::Result<Outcome> {
    let text = match &sign.file {
        Some(path) => Source::open(path)?.read(TEXT_MAX)?.to_string(),
        None => standard_input()?,
    };
    let wallet = open(wallets, &sign.wallet.name, sign.passphrase.passphrase_file.as_deref())?;
    let signature = wallet.sign_text(&text).to_string();
    match context.json {
        true => {
            let address = wallet.address().to_string();
            println!("{}", json!({"address": address, "signature": signature}));
        }
        false => println!("{signature}"),
    }
    Ok(Outcome::Done)
}

fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    let limit = TEXT_MAX as u64 + 1;
    std::io::stdin().lock().take(limit).read_to_string(&mut text).context("standard input")?;
    if text.len() > TEXT_MAX {
        let what = format!("the text has over {TEXT_MAX} bytes, which nobody reads; sign its hash");
        return Err(Problem::Refused(what).into());
    }
    Ok(text)
}

fn give_out(
    context: &Context,
    wallets: &Wallets,
    export: &ExportWalletArguments,
) -> anyhow::Result<Outcome> {
    let name = &export.wallet.name;
    let entry = wallets.entry(name)?;
    let text = match export.hex {
        false => Zeroizing::new(wallets.text(name)?),
        true => {
            eprintln!("Whoever sees the secret key has the account.");
            let file = export.passphrase.passphrase_file.as_deref();
            open(wallets, name, file)?.to_hex()
        }
    };
    if let Some(path) = &export.to {
        files::write_new(path, text.trim_end())?;
        println!("{}", path.display());
    } else if !context.json {
        println!("{}", text.trim_end());
    } else {
        let mut told = describe(&entry);
        match export.hex {
            true => told["secret"] = json!(*text),
            false => told["keystore"] = serde_json::from_str(&text)?,
        }
        println!("{told}");
    }
    Ok(Outcome::Done)
}

/// Opens a wallet with the passphrase of a file, or the one beside it, or one that is asked for.
fn open(wallets: &Wallets, name: &str, file: Option<&Path>) -> anyhow::Result<Wallet> {
    let entry = wallets.entry(name)?;
    let beside = match file {
        None if entry.unattended => wallets.passphrase(name)?,
        _ => None,
    };
    let passphrase = match beside {
        Some(passphrase) => passphrase,
        None => ask::passphrase(&format!("Passphrase of {name}"), file, PASSPHRASE_FILE)?,
    };
    Ok(wallets.open(name, &passphrase)?)
}

/// Prints what anyone may know of a wallet; and a phrase, where it is new.
fn tell(context: &Context, entry: &Entry, phrase: Option<&Phrase>) -> Outcome {
    if context.json {
        let mut told = describe(entry);
        if let Some(phrase) = phrase {
            told["phrase"] = json!(*phrase.text());
        }
        println!("{told}");
        return Outcome::Done;
    }
    println!("name     {}", entry.name);
    println!("address  {}", address(entry));
    if let Some(path) = entry.path {
        println!("path     {path}");
    }
    println!("file     {}", entry.file.display());
    if entry.unattended {
        println!("opens    with the passphrase beside it");
    }
    if let Some(phrase) = phrase {
        println!("phrase   {}", *phrase.text());
    }
    Outcome::Done
}

fn address(entry: &Entry) -> String {
    entry.address.map_or_else(|| "not stated in its file".to_owned(), |it| it.to_string())
}

fn describe(entry: &Entry) -> Value {
    json!({
        "name": entry.name,
        "address": entry.address.map(|address| address.to_string()),
        "path": entry.path.map(|path| path.to_string()),
        "file": entry.file.display().to_string(),
        "unattended": entry.unattended,
    })
}
