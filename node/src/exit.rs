//! Exit codes, and how an error gets one.

use std::fmt;
use std::io;
use std::process::ExitCode;

use sinew_node::ConfigError;

use crate::commands::connect;
use crate::output::Output;

/// Exit codes that scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Ok = 0,
    Failure = 1,
    Usage = 2,
    TimedOut = 3,
    NobodyThere = 4,
    CannotConnect = 5,
    Denied = 6,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// An error that knows its exit code.
#[derive(Debug)]
struct Failure {
    code: Code,
    text: String,
}

/// An error with this exit code.
pub(crate) fn failure(code: Code, text: impl Into<String>) -> anyhow::Error {
    Failure { code, text: text.into() }.into()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// Says on stderr what went wrong and gives the exit code. A reader that closed our stdout had enough, and that is not
/// an error: `sinew sub t | head` ends quietly.
pub(crate) fn report(error: &anyhow::Error, output: Output) -> ExitCode {
    let broken_pipe = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe);
    if broken_pipe && error.is::<io::Error>() {
        return Code::Ok.into();
    }
    output.error(words(error));
    code_of(error).into()
}

/// What happened and why. Many errors have the words of their cause in their own: those are said once.
fn words(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if words.is_empty() {
            words = cause;
        } else if !words.contains(&cause) {
            words.push_str(": ");
            words.push_str(&cause);
        }
    }
    words
}

/// The exit code of an error, wherever in its causes it is.
pub(crate) fn code_of(error: &anyhow::Error) -> Code {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.code;
        }
        if cause.is::<ConfigError>() {
            return Code::Usage;
        }
        if let Some(code) = connect::code_of(cause) {
            return code;
        }
    }
    Code::Failure
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn causes_are_said_once() {
        let twice = anyhow!("port 1").context("refused: port 1").context("cannot connect");
        assert_eq!(words(&twice), "cannot connect: refused: port 1");
    }

    #[test]
    fn the_code_is_found_below_the_context() {
        assert_eq!(code_of(&failure(Code::TimedOut, "late").context("publish")), Code::TimedOut);
        assert_eq!(code_of(&anyhow!("anything")), Code::Failure);
    }
}
