//! The static program, where there is no library, no configuration and no other file.

use std::fs;
use std::path::Path;

use crate::crates::COMMAND;
use crate::failure::Failure;
use crate::localhost;

use super::target::Target;
use super::workshop::Workshop;

pub(super) fn trace(workshop: &Workshop) -> Result<(), Failure> {
    let root = workshop.directory.join("empty-root");
    let cannot_write = |error| Failure::CannotWrite { path: root.clone(), error };
    if root.exists() {
        fs::remove_dir_all(&root).map_err(cannot_write)?;
    }
    fs::create_dir_all(&root).map_err(cannot_write)?;
    let program = workshop.program(Target::LinuxStatic, COMMAND);
    fs::copy(program, root.join(COMMAND)).map_err(cannot_write)?;
    let before = ["chroot".into(), root.into_os_string()];
    localhost::check(&before, &Path::new("/").join(COMMAND), &["udp", "icmp", "tcp"])
}
