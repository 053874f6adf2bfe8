//! Actions are pinned to commits: a tag can be moved to other code.

/// How many hexadecimal digits name a commit.
const COMMIT: usize = 40;

/// One line for each action that is not pinned to a commit with its version behind it.
pub(super) fn violations(name: &str, text: &str) -> Vec<String> {
    let lines = (1..).zip(text.lines());
    let wrong = lines.filter_map(|(number, line)| Some((number, action(line)?)));
    let wrong = wrong.filter(|(_, action)| !is_pinned(action));
    wrong.map(|(number, action)| {
        format!("{name}:{number}: `{action}` has no commit of {COMMIT} digits with `# v` and its version behind it")
    })
    .collect()
}

/// What a line uses, with the comment behind it. The key may be quoted, and stand in a mapping on one line.
fn action(line: &str) -> Option<&str> {
    let is_key = |before: &str| {
        let before = before.trim_end_matches(['"', '\'', ' ']);
        before.is_empty() || before.ends_with(['-', '{', ','])
    };
    line.match_indices("uses").find_map(|(at, key)| {
        let value = line[at + key.len()..].trim_start_matches(['"', '\'', ' ']).strip_prefix(':')?;
        is_key(&line[..at]).then(|| value.trim())
    })
}

fn is_pinned(action: &str) -> bool {
    let Some((_, pin)) = action.split_once('@') else {
        // Of this repository.
        return action.starts_with("./");
    };
    let is_commit =
        |commit: &str| commit.len() == COMMIT && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    pin.split_once(" # v").is_some_and(|(commit, version)| is_commit(commit) && !version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn commits_with_their_version_are_pins() {
        for action in [&*format!("owner/action@{PIN} # v1.2.3"), "./.github/actions/own"] {
            for line in [format!("      - uses: {action}"), format!("        uses: {action}")] {
                assert_eq!(violations("ci.yml", &line), [""; 0], "{line}");
            }
        }
        for line in ["      - run: echo uses: a@v1", "# who uses it: nobody", "      - name: what uses: this"]
        {
            assert_eq!(violations("ci.yml", line), [""; 0], "{line}");
        }
    }

    #[test]
    fn tags_branches_and_bare_commits_are_not() {
        let short = &PIN[1..];
        for action in [
            "owner/action@v4",
            "owner/action@main # v4",
            "owner/action",
            PIN,
            &format!("a/b@{PIN}"),
            &format!("a/b@{short} # v1"),
        ] {
            let found = violations("ci.yml", &format!("steps:\n  - uses: {action}\n"));
            assert_eq!(found.len(), 1, "{action}");
            assert!(found[0].starts_with("ci.yml:2: "), "{found:?}");
        }
        for line in
            ["- { uses: a/b@v4 }", "- {name: b, uses: a/b@v4}", "- \"uses\": a/b@v4", "'uses' : a/b@v4"]
        {
            assert_eq!(violations("ci.yml", line).len(), 1, "{line}");
        }
    }
}
