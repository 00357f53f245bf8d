//! Printing, to readers that may go away: `mashaa model ls | head -1`.
//!
//! The macros stand in for those of the standard library, which panic where nobody reads.
//!
//! Invariants:
//! - Results that nobody reads any more end the program, without a word.
//! - Messages that nobody reads end nothing: a download goes on when its terminal is closed.
//!
//! Not here: what is printed.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};

/// Prints a line of the result.
macro_rules! println {
    () => { $crate::say::result(format_args!("\n")) };
    ($($word:tt)*) => { $crate::say::result(format_args!("{}\n", format_args!($($word)*))) };
}

/// Prints a part of the result.
macro_rules! print {
    ($($word:tt)*) => { $crate::say::result(format_args!($($word)*)) };
}

/// Prints a line for the person at the terminal.
macro_rules! eprintln {
    ($($word:tt)*) => { $crate::say::message(format_args!("{}\n", format_args!($($word)*))) };
}

/// Prints a part of a line for the person at the terminal.
macro_rules! eprint {
    ($($word:tt)*) => { $crate::say::message(format_args!($($word)*)) };
}

/// Prints to standard output, or ends the program.
pub(crate) fn result(text: Arguments<'_>) {
    if let Err(error) = io::stdout().write_fmt(text) {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        message(format_args!("mashaa: standard output: {error}\n"));
        std::process::exit(1);
    }
}

/// Prints to standard error, if anyone reads it.
pub(crate) fn message(text: Arguments<'_>) {
    let _ = io::stderr().write_fmt(text);
}
