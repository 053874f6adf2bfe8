//! Errors in the command line, in one line each.

use std::error::Error as _;

use clap::error::{ContextKind, ErrorKind};

use crate::args::SHELL_WORDS;

/// What is wrong, and what is allowed.
pub(crate) fn one_line(error: &clap::Error) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let argument = context(ContextKind::InvalidArg);
    match error.kind() {
        // Our own parsers say it all.
        ErrorKind::ValueValidation if error.source().is_some() => {
            error.source().map(ToString::to_string).unwrap_or_default()
        }
        ErrorKind::UnknownArgument => {
            let suggestion = context(ContextKind::SuggestedArg);
            let hint = if suggestion.is_empty() {
                "see --help for those there are".into()
            } else {
                format!("did you mean {suggestion}?")
            };
            let what = if argument.starts_with('-') { "flag" } else { "argument" };
            format!("unknown {what} {argument}: {hint}")
        }
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() => {
            format!("a value is required for {argument}: --help says which")
        }
        ErrorKind::TooManyValues | ErrorKind::WrongNumberOfValues => {
            format!("unexpected value {:?} for {argument}", context(ContextKind::InvalidValue))
        }
        ErrorKind::MissingRequiredArgument => {
            format!("no shell: give {SHELL_WORDS}, as in `datadog-traceroute completion bash`")
        }
        ErrorKind::InvalidUtf8 => "an argument is not valid UTF-8".into(),
        _ => first_sentence(&error.to_string()),
    }
}

/// What stands before usage and hints.
fn first_sentence(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}
