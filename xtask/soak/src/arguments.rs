//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::Error;
use crate::plan::Scenario;

pub(crate) const USAGE: &str = "\
Usage: cargo xtask soak [--seconds N] [--rate N] [--only NAME]

  --seconds N  Start requests for N seconds, in `budget` for a thirtieth of that, in `service` for
               twice as long [default: 300]
  --rate N     Start N requests a second [default: 20]
  --only NAME  Play only the scenario `steady`, `budget`, `descriptors` or `service`";

/// What to play.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// The service's program.
    pub(crate) program: PathBuf,
    /// For how many seconds requests are started.
    pub(crate) seconds: u32,
    /// Requests a second.
    pub(crate) rate: u32,
    pub(crate) scenarios: Vec<Scenario>,
}

impl Arguments {
    /// Takes the program's path and the options; `None` when help is asked for.
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, Error> {
        let mut words = words.into_iter();
        let program = words.next().ok_or_else(|| Error::Arguments("no program to load".into()))?;
        let mut arguments =
            Self { program: program.into(), seconds: 300, rate: 20, scenarios: Scenario::ALL.to_vec() };
        while let Some(word) = words.next() {
            let mut value = || {
                let value = words.next().and_then(|value| value.into_string().ok());
                value.ok_or_else(|| Error::Arguments(format!("`{}` needs a value", word.display())))
            };
            match word.to_str() {
                Some("--seconds") => arguments.seconds = number(&value()?, 3_600)?,
                // 250 requests a second are all targets that there are in four seconds.
                Some("--rate") => arguments.rate = number(&value()?, 250)?,
                Some("--only") => {
                    let name = value()?;
                    let scenario = Scenario::named(&name)
                        .ok_or_else(|| Error::Arguments(format!("there is no scenario `{name}`")))?;
                    arguments.scenarios = vec![scenario];
                }
                Some("-h" | "--help") => return Ok(None),
                _ => return Err(Error::Arguments(format!("unexpected argument `{}`", word.display()))),
            }
        }
        Ok(Some(arguments))
    }
}

/// A number from 1 to `max`.
pub(crate) fn number(word: &str, max: u32) -> Result<u32, Error> {
    let number = word.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| Error::Arguments(format!("`{word}` is not a number from 1 to {max}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Option<Arguments>, Error> {
        Arguments::parse(words.split_whitespace().map(OsString::from))
    }

    #[test]
    fn options_change_what_is_played() {
        let default =
            Arguments { program: "p".into(), seconds: 300, rate: 20, scenarios: Scenario::ALL.to_vec() };
        assert_eq!(parse("p").unwrap(), Some(default));
        assert_eq!(
            parse("p --only budget --seconds 60 --rate 5").unwrap(),
            Some(Arguments { program: "p".into(), seconds: 60, rate: 5, scenarios: vec![Scenario::Budget] })
        );
        assert_eq!(parse("p --help").unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (words, expected) in [
            ("", "no program"),
            ("p --seconds", "`--seconds` needs a value"),
            ("p --rate 0", "`0` is not a number from 1 to 250"),
            ("p --seconds long", "`long` is not a number from 1 to 3600"),
            ("p --only calm", "there is no scenario `calm`"),
            ("p quickly", "unexpected argument `quickly`"),
        ] {
            let error = parse(words).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("Usage:"), "{words}: {error}");
        }
    }
}
