//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::Error;

pub(crate) const USAGE: &str = "\
Usage: cargo xtask bench [--runs N] [--only TEXT] [--markdown]

  --runs N     Do each experiment N times, those that take long less often [default: 30]
  --only TEXT  Do only the experiments whose name contains TEXT
  --markdown   Print the table as docs/performance.md has it";

/// What to measure and how to show it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// The product's program.
    pub(crate) program: PathBuf,
    /// How often each experiment is done.
    pub(crate) runs: u32,
    /// Part of the names of the experiments to do.
    pub(crate) only: String,
    pub(crate) markdown: bool,
}

impl Arguments {
    /// Takes the program's path and the options; `None` when help is asked for.
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, Error> {
        let mut words = words.into_iter();
        let program = words.next().ok_or_else(|| Error::Arguments("no program to measure".into()))?;
        let mut arguments = Self { program: program.into(), runs: 30, only: String::new(), markdown: false };
        while let Some(word) = words.next() {
            let mut value = || {
                let value = words.next().and_then(|value| value.into_string().ok());
                value.ok_or_else(|| Error::Arguments(format!("`{}` needs a value", word.display())))
            };
            match word.to_str() {
                Some("--runs") => {
                    let runs = value()?;
                    arguments.runs = runs.parse().ok().filter(|&runs| runs > 0).ok_or_else(|| {
                        Error::Arguments(format!("`{runs}` is not a number of runs: 1 or more"))
                    })?;
                }
                Some("--only") => arguments.only = value()?,
                Some("--markdown") => arguments.markdown = true,
                Some("-h" | "--help") => return Ok(None),
                _ => return Err(Error::Arguments(format!("unexpected argument `{}`", word.display()))),
            }
        }
        Ok(Some(arguments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Option<Arguments>, Error> {
        Arguments::parse(words.split_whitespace().map(OsString::from))
    }

    #[test]
    fn options_change_what_is_measured() {
        let default = Arguments { program: "p".into(), runs: 30, only: String::new(), markdown: false };
        assert_eq!(parse("p").unwrap(), Some(default));
        assert_eq!(
            parse("p --markdown --runs 5 --only CPU").unwrap(),
            Some(Arguments { program: "p".into(), runs: 5, only: "CPU".into(), markdown: true })
        );
        assert_eq!(parse("p --help").unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (words, expected) in [
            ("", "no program"),
            ("p --runs", "`--runs` needs a value"),
            ("p --runs 0", "`0` is not a number of runs"),
            ("p --runs many", "`many` is not a number of runs"),
            ("p quickly", "unexpected argument `quickly`"),
        ] {
            let error = parse(words).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("Usage:"), "{words}: {error}");
        }
    }
}
