//! Completions as a shell offers them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_datadog-traceroute");

/// Calls what the script registers as bash does (bash(1), Programmable Completion): the words so far, of which the last is
/// being typed; an equals sign is a word of its own.
const BASH: &str = r#"
source <("$0" completion bash)
set -- $(complete -p datadog-traceroute) -- "$@"
while [[ $1 != -F ]]; do shift; done
function=$2
while [[ $1 != -- ]]; do shift; done
COMP_WORDS=("$@")
COMP_WORDS[0]=datadog-traceroute
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
$function datadog-traceroute "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// What bash offers behind the program's name and these words.
fn offered(words: &[&str]) -> Vec<String> {
    let output = Command::new("bash").args(["-c", BASH, PROGRAM]).args(words).output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{words:?}");
    let offered = String::from_utf8(output.stdout).unwrap();
    let mut offered: Vec<String> =
        offered.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    offered.sort();
    offered
}

const COMMANDS: [&str; 4] = ["completion", "help", "man", "version"];

#[test]
fn bash_completes_flags_their_words_and_the_commands_own() {
    let formats = ["auto", "csv", "json", "table"];
    let shells = ["bash", "elvish", "fish", "powershell", "zsh"];
    for (words, expected) in [
        (&["--forma"][..], &["--format"][..]),
        (&["--format", ""], &formats),
        (&["--format", "="], &formats),
        (&["--format", "=", "c"], &["csv"]),
        (&["-q", "1", "--proto", "i"], &["icmp"]),
        (&["--reverse-dns", "--js"], &["--json"]),
        (&["192.0.2.1", "--no-"], &["--no-e2e"]),
        (&["comp"], &["completion"]),
        (&["completion", "z"], &["zsh"]),
    ] {
        assert_eq!(offered(words), expected, "{words:?}");
    }
    let all = offered(&["completion", ""]);
    assert!(shells.iter().all(|shell| all.iter().any(|word| word == shell)), "{all:?}");
    let all = offered(&["--reverse-dns", ""]);
    let known = |word: &String| word.starts_with('-') || COMMANDS.contains(&word.as_str());
    assert!(all.len() > COMMANDS.len() && all.iter().all(known), "{all:?}");
}
