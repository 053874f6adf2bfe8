//! What is printed: claims, each with its verdict and its figures.

use std::fmt;

/// Something that has to be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) what: String,
    pub(crate) verdict: Verdict,
    pub(crate) figures: String,
}

/// Whether it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Holds,
    False,
    /// It could not be tested, which is as bad.
    NotShown,
}

const VERDICTS: [(Verdict, &str); 3] =
    [(Verdict::Holds, "ok"), (Verdict::False, "FALSE"), (Verdict::NotShown, "NOT SHOWN")];

impl Claim {
    pub(crate) fn new(what: impl Into<String>, holds: bool, figures: impl Into<String>) -> Self {
        let verdict = if holds { Verdict::Holds } else { Verdict::False };
        Self { what: what.into(), verdict, figures: figures.into() }
    }

    pub(crate) fn not_shown(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), verdict: Verdict::NotShown, figures: why.into() }
    }

    /// What [`parse`](Self::parse) reads: one line.
    pub(crate) fn line(&self) -> String {
        let Self { what, verdict, figures } = self;
        format!("{verdict}\t{}\t{}", flat(what), flat(figures))
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut parts = line.splitn(3, '\t');
        let (word, what, figures) = (parts.next()?, parts.next()?, parts.next()?);
        let (verdict, _) = *VERDICTS.iter().find(|(_, known)| *known == word)?;
        Some(Self { what: what.to_owned(), verdict, figures: figures.to_owned() })
    }
}

fn flat(text: &str) -> String {
    text.replace(['\n', '\t'], " ")
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = VERDICTS.iter().find(|(verdict, _)| verdict == self).map_or("", |(_, word)| word);
        f.pad(word)
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:9}  {}: {}", self.verdict, self.what, self.figures)
    }
}

/// A few examples of what went wrong, and how often it did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Examples {
    pub(crate) count: usize,
    first: Vec<String>,
}

impl Examples {
    /// How many are kept.
    const KEPT: usize = 3;

    pub(crate) fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < Self::KEPT {
            self.first.push(example());
        }
    }
}

impl fmt::Display for Examples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count)?;
        if self.first.is_empty() { Ok(()) } else { write!(f, " ({})", self.first.join("; ")) }
    }
}

/// Of bytes.
#[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_survive_the_pipe() {
        for claim in [
            Claim::new("all is well", true, "12 of 12"),
            Claim::new("nothing is left", false, ""),
            Claim::not_shown("memory is flat", "too short"),
        ] {
            assert_eq!(Claim::parse(&claim.line()), Some(claim));
        }
        assert_eq!(Claim::new("a\nb", true, "c\td").line(), "ok\ta b\tc d");
        for line in ["", "ok", "ok\twhat", "well\twhat\tfigures"] {
            assert_eq!(Claim::parse(line), None, "{line}");
        }
    }

    #[test]
    fn examples_are_few_and_all_are_counted() {
        let mut examples = Examples::default();
        assert_eq!(examples.to_string(), "0");
        (1..=5).for_each(|i| examples.add(|| format!("case {i}")));
        assert_eq!(examples.to_string(), "5 (case 1; case 2; case 3)");
    }
}
