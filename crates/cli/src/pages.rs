//! `mashaa completions` and `mashaa man`: the command line, for shells and for `man`.
//!
//! Both are made from the command line itself, so that they are never about another one.

use std::fs;
use std::io::{self, Write as _};

use anyhow::Context as _;
use clap_mangen::Man;

use crate::arguments::{ManArguments, Shell};
use crate::outcome::Outcome;

/// Prints what a shell reads to complete commands and options.
pub(crate) fn completions(command: &mut clap::Command, shell: Shell) -> anyhow::Result<Outcome> {
    use clap_complete::shells;
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    match shell {
        Shell::Bash => clap_complete::generate(shells::Bash, command, name, &mut script),
        Shell::Zsh => clap_complete::generate(shells::Zsh, command, name, &mut script),
        Shell::Fish => clap_complete::generate(shells::Fish, command, name, &mut script),
    }
    print(&script)
}

/// Prints the page of the program, or writes the pages of all commands to a folder.
pub(crate) fn man(command: clap::Command, it: &ManArguments) -> anyhow::Result<Outcome> {
    let Some(folder) = &it.folder else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        return print(&page);
    };
    let named = || folder.display().to_string();
    fs::create_dir_all(folder).with_context(named)?;
    clap_mangen::generate_to(command, folder).with_context(named)?;
    println!("{}", folder.display());
    Ok(Outcome::Done)
}

fn print(text: &[u8]) -> anyhow::Result<Outcome> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        // Whoever reads only its head has what it wants.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Outcome::Done),
        written => Ok(written.map(|()| Outcome::Done)?),
    }
}
