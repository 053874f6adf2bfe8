//! What the system says of this process.

use std::fs;
use std::io;

use crate::error::Error;

/// Resident memory in bytes.
pub(crate) fn resident() -> Result<u64, Error> {
    let status =
        fs::read_to_string("/proc/self/status").map_err(Error::system("reading /proc/self/status"))?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let kilobytes = kilobytes.and_then(|number| number.parse::<u64>().ok());
    let unknown = || Error::system("reading /proc/self/status")(io::ErrorKind::InvalidData.into());
    kilobytes.map(|number| number * 1024).ok_or_else(unknown)
}

/// Open descriptors, without the one that this takes.
pub(crate) fn descriptors() -> Result<u64, Error> {
    let entries = fs::read_dir("/proc/self/fd").map_err(Error::system("reading /proc/self/fd"))?;
    Ok(entries.count().saturating_sub(1) as u64)
}

/// Packet sockets in this network namespace: captures.
pub(crate) fn captures() -> Result<usize, Error> {
    let table = fs::read_to_string("/proc/net/packet").map_err(Error::system("reading /proc/net/packet"))?;
    Ok(table.lines().skip(1).count())
}

/// Takes away all descriptors above `limit`, for good.
pub(crate) fn limit_descriptors(limit: u32) -> Result<(), Error> {
    let limit = libc::rlimit { rlim_cur: limit.into(), rlim_max: limit.into() };
    // SAFETY: the pointer is to a whole `rlimit`, which setrlimit only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0 {
        return Ok(());
    }
    Err(Error::system("limiting descriptors")(io::Error::last_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_counted() {
        // Other tests open few, these are many.
        let before = descriptors().unwrap();
        let files: Vec<_> = (0..200).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(descriptors().unwrap() >= before + 150);
        drop(files);
        assert!(descriptors().unwrap() < before + 50);
    }

    #[test]
    fn memory_is_read() {
        assert!(resident().unwrap() > 1 << 20);
        captures().unwrap();
    }
}
