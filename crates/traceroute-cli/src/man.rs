//! The manual page, made from the definition of the flags.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::Args;
use crate::examples::EXAMPLES;
use crate::system::{self, SEE_ALSO};

/// Sections without flags: a heading, and paragraphs of a term and what is said of it.
const SECTIONS: &[(&str, &[(&str, &str)])] = &[
    (
        "COMMANDS",
        &[
            ("completion SHELL", "prints a completion script for bash, zsh, fish, powershell or elvish"),
            ("man", "prints this page"),
            ("version", "prints version, commit and date of the source"),
            ("help [COMMAND]", "prints help"),
        ],
    ),
    (
        "FORMATS",
        &[
            (
                "table",
                "A line for each TTL and address, with the round trip in milliseconds of each run, or their least, mean and \
                 greatest where there are too many runs for the width. * is a probe without answer, loss the part of the \
                 runs without answer at the TTL, u a round trip by the program's own clock.",
            ),
            ("json", "The format of the reference, with additive keys."),
            (
                "csv",
                "A heading and a row for each run and hop (RFC 4180), the figures of the end-to-end probes in each. What is \
                 not known is an empty cell.",
            ),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "The trace was carried out, whether or not the target was reached."),
            ("1", "It was not, or its result could not be written; standard error says why."),
            (
                "130, 143",
                "SIGINT or SIGTERM has ended it; what was known is printed. A second one ends it at once.",
            ),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("NO_COLOR", "If set and not empty, there are no colours."),
            ("TERM", "If \"dumb\", nothing is drawn before the result is there, and there are no colours."),
            ("COLUMNS", "The width of a table that is not written to a terminal, 80 by default."),
        ],
    ),
    ("PERMISSIONS", &[system::PERMISSION]),
];

/// Writes the page.
pub(crate) fn write(mut writer: impl Write) -> io::Result<()> {
    let man = Man::new(Args::command().after_help("").after_long_help(""))
        .source(concat!("datadog-traceroute ", env!("CARGO_PKG_VERSION")));
    man.render_title(&mut writer)?;
    man.render_name_section(&mut writer)?;
    man.render_synopsis_section(&mut writer)?;
    man.render_description_section(&mut writer)?;
    man.render_options_section(&mut writer)?;
    let mut page = Roff::new();
    for (heading, entries) in SECTIONS {
        page.control("SH", [*heading]);
        for (term, meaning) in *entries {
            page.control("TP", []).text([bold(*term)]).text([roman(*meaning)]);
        }
    }
    page.control("SH", ["EXAMPLES"]);
    for (line, meaning) in EXAMPLES {
        page.control("TP", []).text([bold(format!("datadog-traceroute {line}"))]).text([roman(*meaning)]);
    }
    if !SEE_ALSO.is_empty() {
        page.control("SH", ["SEE ALSO"]);
        for (place, (name, section)) in (1..).zip(SEE_ALSO) {
            let end = if place < SEE_ALSO.len() { ", " } else { "" };
            page.text([bold(*name), roman(format!("({section}){end}"))]);
        }
    }
    page.to_writer(&mut writer)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn page() -> String {
        let mut page = Vec::new();
        write(&mut page).expect("memory does not fail");
        String::from_utf8(page).expect("text")
    }

    #[test]
    fn every_flag_has_a_heading_and_an_example() {
        let page = page();
        let (_, examples) = page.split_once(".SH EXAMPLES").expect("examples");
        let examples = examples.replace("\\-", "-").replace("\\fR", "");
        for flag in Args::command().get_arguments().filter(|flag| !flag.is_positional()) {
            assert!(flag.get_help_heading().is_some(), "{flag} has no heading");
            let long = flag.get_long().map(|long| format!("--{long}"));
            let short = flag.get_short().map(|short| format!("-{short}"));
            let name = long.or(short).expect("a flag has a name");
            let shown =
                examples.split_whitespace().any(|word| word == name || word.starts_with(&format!("{name}=")));
            assert!(shown, "{name} has no example: add one to src/examples.rs");
        }
    }

    /// A flag is a paragraph with a tag and with text (man(7)).
    #[test]
    fn every_flag_has_text() {
        let page = page();
        let paragraphs: Vec<&str> = page.split(".TP\n").collect();
        for flag in Args::command().get_arguments().filter(|flag| !flag.is_positional()) {
            let name = flag.get_long().map(|long| format!("\\fB\\-\\-{}\\fR", long.replace('-', "\\-")));
            let name = name.or_else(|| flag.get_short().map(|short| format!("\\fB\\-{short}\\fR")));
            let name = name.expect("a flag has a name");
            let tagged = |paragraph: &&&str| paragraph.lines().next().is_some_and(|tag| tag.contains(&name));
            let paragraph = paragraphs.iter().find(tagged).unwrap_or_else(|| panic!("{name}: {page}"));
            assert!(paragraph.lines().nth(1).is_some_and(|text| text.len() > 10), "{name}: {paragraph}");
        }
    }

    #[test]
    fn every_example_is_a_command_line() {
        for (line, _) in EXAMPLES {
            let words =
                line.split_whitespace().take_while(|word| !word.starts_with('>') && !word.starts_with("2>"));
            let parsed = Args::try_parse_from(["datadog-traceroute"].into_iter().chain(words));
            match parsed {
                Ok(args) => assert!(args.wanted().is_some() || args.target().is_some(), "{line}"),
                Err(error) => {
                    assert_eq!(error.kind(), clap::error::ErrorKind::DisplayHelp, "{line}: {error}");
                }
            }
        }
    }
}
