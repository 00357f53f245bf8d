//! Other processes of this same program, each with a home of its own.
//!
//! Not here: what they are for (`testnet`, `demo`).

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::bail;

/// A process that ends with this value.
#[derive(Debug)]
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This program in a home.
pub(crate) fn mashaa(home: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--home").arg(home).stdin(Stdio::null());
    Ok(command)
}

/// What a command of this program prints.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let asked: Vec<_> = command.get_args().skip(2).map(|it| it.to_string_lossy()).collect();
        bail!("mashaa {}: {}", asked.join(" "), said.trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
