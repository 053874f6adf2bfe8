//! The command line.

use std::ffi::OsString;

use crate::error::Error;
use crate::plan::Scenario;

pub(crate) const USAGE: &str = "\
Usage: cargo xtask soak [--seconds N] [--rate N] [--only NAME]

  --seconds N  Start requests for N seconds, in `budget` for a thirtieth of that [default: 300]
  --rate N     Start N requests a second [default: 20]
  --only NAME  Play only the scenario `steady`, `budget` or `descriptors`";

/// What to play.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// For how many seconds requests are started.
    pub(crate) seconds: u32,
    /// Requests a second.
    pub(crate) rate: u32,
    pub(crate) scenarios: Vec<Scenario>,
}

impl Arguments {
    /// Takes the options; `None` when help is asked for.
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, Error> {
        let mut words = words.into_iter();
        let mut arguments = Self { seconds: 300, rate: 20, scenarios: Scenario::ALL.to_vec() };
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
        let default = Arguments { seconds: 300, rate: 20, scenarios: Scenario::ALL.to_vec() };
        assert_eq!(parse("").unwrap(), Some(default));
        assert_eq!(
            parse("--only budget --seconds 60 --rate 5").unwrap(),
            Some(Arguments { seconds: 60, rate: 5, scenarios: vec![Scenario::Budget] })
        );
        assert_eq!(parse("--help").unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (words, expected) in [
            ("--seconds", "`--seconds` needs a value"),
            ("--rate 0", "`0` is not a number from 1 to 250"),
            ("--seconds long", "`long` is not a number from 1 to 3600"),
            ("--only calm", "there is no scenario `calm`"),
            ("quickly", "unexpected argument `quickly`"),
        ] {
            let error = parse(words).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("Usage:"), "{words}: {error}");
        }
    }
}
