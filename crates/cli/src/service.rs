//! `mashaa service`: the node as a service of the operating system.
//!
//! A node that systemd has started says when it is ready (`sd_notify(3)`): a datagram to the socket that
//! `NOTIFY_SOCKET` names.
//!
//! Not here: what the node does when it is asked to end (`node::service`).

use std::path::PathBuf;

use anyhow::Context as _;

use crate::arguments::ServiceCommand;
use crate::outcome::{Outcome, Problem};

/// The unit, with `@PROGRAM@` where the program's path goes.
const UNIT: &str = include_str!("service/mashaa.service");

/// Prints what the system's service manager reads.
pub(crate) fn run(command: &ServiceCommand) -> anyhow::Result<Outcome> {
    let ServiceCommand::Systemd { program } = command;
    let program = match program {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("the program does not know where it is")?,
    };
    print!("{}", unit(program)?);
    Ok(Outcome::Done)
}

/// The unit of a program at a path.
fn unit(program: PathBuf) -> Result<String, Problem> {
    let shown = program.display().to_string();
    // What systemd takes for more than itself in a path: it would start another program.
    let is_plain = |c: char| !c.is_control() && !" %$\\\"'".contains(c);
    if !program.is_absolute() || !shown.chars().all(is_plain) {
        let what = "is no absolute path without blanks, quotes, % and $, which systemd needs";
        return Err(Problem::Usage(format!("{shown} {what}; name one with --program")));
    }
    Ok(UNIT.replace("@PROGRAM@", &shown))
}

/// Tells systemd, if it has started this, that the node is ready. A manager that does not listen is no
/// reason not to serve.
pub(crate) fn tell_ready() {
    #[cfg(unix)]
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|it| !it.is_empty())
        && let Err(error) = notify(&socket, "READY=1\n")
    {
        eprintln!("warning: systemd is not told that the node is ready: {error}");
    }
}

#[cfg(unix)]
fn notify(socket: &std::ffi::OsStr, state: &str) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::UnixDatagram;
    let from = UnixDatagram::unbound()?;
    match socket.as_bytes().strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt as _;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            from.send_to_addr(state.as_bytes(), &address)?;
        }
        _ => drop(from.send_to(state.as_bytes(), socket)?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_names_the_program_and_no_path_means_more_than_itself() {
        let unit_of = |path: &str| unit(PathBuf::from(path));
        let made = unit_of("/usr/local/bin/mashaa").unwrap();
        assert!(made.contains("\nExecStart=/usr/local/bin/mashaa up\n"), "{made}");
        assert!(!made.contains("@PROGRAM@"), "{made}");
        for wrong in ["mashaa", "/a b/mashaa", "/a/%h/mashaa", "/a\nUser=root/mashaa", "/$A/m"] {
            assert!(unit_of(wrong).is_err(), "{wrong}");
        }
    }
}
