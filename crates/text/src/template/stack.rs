//! A stack deep enough for whatever a template nests.
//!
//! The template engine calls itself for each operator of an expression and each list inside a list,
//! and running out of stack would end the process. Both depths are bounded, by the size of the
//! source and by the fuel; this gives them a thread whose stack holds that much. The system commits
//! only the part of it that is used.
//!
//! Not here: those bounds (`SOURCE_SIZE_MAX`, `environment::FUEL`).

use std::thread;

use super::TemplateError;

/// Bytes of the stack. The deepest nesting that the bounds allow needs less than half of it in an
/// unoptimised build (`hostile_nesting_does_not_end_the_process`).
const STACK_SIZE: usize = 1 << 30;

/// Does the work on a deep stack and waits for it. A panic in it is an error, not a crash.
pub(super) fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, TemplateError> {
    let failed = |message: &str| TemplateError::Failed { line: 0, message: message.to_owned() };
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK_SIZE).spawn_scoped(scope, work);
        let thread = thread.map_err(|_| failed("no thread to run it on"))?;
        thread.join().map_err(|_| failed("the template engine panicked"))
    })
}
