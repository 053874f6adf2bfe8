//! No file names the directory that this checkout happens to be in: it is another one on the next machine.

use std::path::Path;

use super::files;
use crate::failure::Failure;

/// One line for each place that names `root`, in the files that git knows or would add.
pub(super) fn violations(root: &Path) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    for (name, text) in files::read(root, |_| true)? {
        let numbers = lines_naming(&text, root.as_os_str().as_encoded_bytes());
        lines.extend(numbers.into_iter().map(|number| format!("{name}:{number} names {}", root.display())));
    }
    Ok(lines)
}

/// The numbers of the lines with the path `root`; not those where it is but a part of another name.
fn lines_naming(text: &[u8], root: &[u8]) -> Vec<usize> {
    let continues_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let names_root = |line: &[u8]| {
        let mut places = line.windows(root.len()).enumerate().filter(|(_, window)| *window == root);
        places.any(|(at, _)| {
            let before = line[..at].last();
            let after = line.get(at + root.len());
            // `../`, `~/` and `${X}/` begin paths of their own.
            !before.is_some_and(|byte| continues_name(byte) || b".~}".contains(byte))
                && !after.is_some_and(continues_name)
        })
    };
    let lines = text.split(|&byte| byte == b'\n').enumerate();
    lines.filter(|(_, line)| names_root(line)).map(|(index, _)| index + 1).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::process;

    fn found(text: &str) -> Vec<usize> {
        lines_naming(text.as_bytes(), b"/home/me/tracer")
    }

    #[test]
    fn the_path_of_the_checkout_is_found() {
        for line in [
            "/home/me/tracer",
            "cd /home/me/tracer/crates",
            "path=\"/home/me/tracer\"",
            "file:///home/me/tracer/README.md",
            "In /home/me/tracer.",
            "/home/me/tracer2 /home/me/tracer",
        ] {
            assert_eq!(found(&format!("first\n{line}\nlast {line}")), [2, 3], "{line}");
        }
    }

    #[test]
    fn other_paths_are_not() {
        for line in [
            "",
            "/home/me",
            "/home/me/tracer2",
            "/home/me/tracer-old",
            "/mnt/home/me/tracer",
            "../home/me/tracer",
            "~/home/me/tracer",
            "${HOME}/home/me/tracer",
        ] {
            assert_eq!(found(line), [0; 0], "{line}");
        }
    }

    #[test]
    fn files_that_git_would_add_are_searched() {
        let root = std::env::temp_dir().join(format!("xtask-machine-paths-{}", std::process::id()));
        fs::create_dir_all(root.join("sub")).unwrap();
        let root = root.canonicalize().unwrap();
        process::output(files::git(&root).args(["init", "--quiet"])).unwrap();
        fs::write(root.join(".gitignore"), "ignored\n").unwrap();
        let text = format!("see\n{}\n", root.display());
        for name in ["sub/a b.md", "ignored"] {
            fs::write(root.join(name), &text).unwrap();
        }
        let found = violations(&root);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found.unwrap(), [format!("sub/a b.md:2 names {}", root.display())]);
    }
}
