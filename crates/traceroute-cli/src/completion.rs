//! Completion scripts, made from the definition of the flags.

use clap::builder::{BoolValueParser, Resettable};
use clap::{Arg, ArgAction, Command, CommandFactory};
use clap_complete::{Shell, generate};

use crate::args::Args;

const NAME: &str = "datadog-traceroute";

/// The script for a shell.
pub(crate) fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    generate(shell, &mut for_shells(&Args::command()), NAME, &mut script);
    let script = String::from_utf8(script).unwrap_or_default();
    match shell {
        Shell::Bash => mended_for_bash(&script),
        Shell::Fish => mended_for_fish(&script),
        _ => script,
    }
}

/// The flags as shells see them: a switch takes no word of its own, and of a target nothing is known.
fn for_shells(full: &Command) -> Command {
    let flags = full.get_arguments().filter(|flag| !flag.is_positional()).cloned();
    let flags = flags.map(|flag| if flag.is_require_equals_set() { switch(flag) } else { flag });
    Command::new(NAME).disable_help_flag(true).args(flags).subcommands(full.get_subcommands().cloned())
}

fn switch(flag: Arg) -> Arg {
    let flag =
        flag.require_equals(false).default_value(Resettable::Reset).default_missing_value(Resettable::Reset);
    flag.hide_default_value(false).num_args(0).value_parser(BoolValueParser::new()).action(ArgAction::SetTrue)
}

/// `clap_complete` names the program in two ways where there is a hyphen in its name, so that no command is ever found; and
/// bash takes an equals sign for a word.
fn mended_for_bash(script: &str) -> String {
    let prev = "    prev=\"$3\"\n";
    let equals = "    if [[ \"$cur\" == \"=\" ]]; then\n        cur=\"\"\n    elif [[ \"$prev\" == \"=\" ]]; then\n        \
                  prev=\"${COMP_WORDS[COMP_CWORD-2]}\"\n    fi\n";
    script.replace("datadog__subcmd__traceroute", "datadog__traceroute").replacen(
        prev,
        &format!("{prev}{equals}"),
        1,
    )
}

/// `clap_complete` offers flags only before the first word that is none, which here is the target.
fn mended_for_fish(script: &str) -> String {
    let before = "-n \"__fish_datadog_traceroute_needs_command\"";
    let commands: Vec<String> = Args::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .chain(["help".into()])
        .collect();
    let anywhere = format!("-n \"not __fish_seen_subcommand_from {}\"", commands.join(" "));
    let mend = |line: &str| {
        let flag = line.contains(&format!("{before} -s ")) || line.contains(&format!("{before} -l "));
        let mended = if flag { line.replacen(before, &anywhere, 1) } else { line.to_owned() };
        mended + "\n"
    };
    script.lines().map(mend).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `clap_complete` writes has changed if one of these is not true any more.
    #[test]
    fn what_is_mended_is_there() {
        let bash = script(Shell::Bash);
        assert!(bash.contains("COMP_WORDS[COMP_CWORD-2]") && !bash.contains("datadog__subcmd__traceroute"));
        let fish = script(Shell::Fish);
        let flags = fish.lines().filter(|line| line.contains("-n \"not __fish_seen_subcommand_from")).count();
        assert_eq!(flags, Args::command().get_arguments().filter(|flag| !flag.is_positional()).count());
        assert!(fish.lines().any(|line| line.contains("needs_command\" -f -a \"completion\"")), "{fish}");
    }

    #[test]
    fn a_switch_takes_no_word() {
        for line in script(Shell::Fish).lines().filter(|line| line.contains(" -l reverse-dns")) {
            assert!(!line.contains(" -r"), "{line}");
        }
        assert!(!script(Shell::Zsh).contains("further_targets"));
    }
}
