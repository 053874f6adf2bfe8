//! The edition of Windows.

use windows_sys::Win32::System::SystemInformation::{
    OSVERSIONINFOEXW, VER_PRODUCT_TYPE, VerSetConditionMask, VerifyVersionInfoW,
};

/// `VER_NT_WORKSTATION` and `VER_EQUAL` (winnt.h).
const WORKSTATION: u8 = 1;
const EQUAL: u8 = 1;

/// Whether this is an edition for clients, as `IsWindowsServer` (versionhelpers.h) tells them from those for servers.
pub(in super::super) fn is_for_clients() -> bool {
    let mut wanted = OSVERSIONINFOEXW {
        dwOSVersionInfoSize: u32::try_from(size_of::<OSVERSIONINFOEXW>()).unwrap_or_default(),
        wProductType: WORKSTATION,
        ..OSVERSIONINFOEXW::default()
    };
    // SAFETY: the function takes numbers.
    let equal = unsafe { VerSetConditionMask(0, VER_PRODUCT_TYPE, EQUAL) };
    // SAFETY: the pointer is to a live structure of the length that it says.
    let fits = unsafe { VerifyVersionInfoW(&raw mut wanted, VER_PRODUCT_TYPE, equal) };
    fits != 0
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn the_registry_says_the_same() {
        let key = r"HKLM\SYSTEM\CurrentControlSet\Control\ProductOptions";
        let asked = Command::new("reg")
            .args(["query", key, "/v", "ProductType"])
            .output()
            .expect("every Windows has it");
        let told = String::from_utf8_lossy(&asked.stdout);
        let types: Vec<_> =
            ["WinNT", "LanmanNT", "ServerNT"].into_iter().filter(|kind| told.contains(kind)).collect();
        let [kind] = types[..] else { panic!("{asked:?}") };
        assert_eq!(super::is_for_clients(), kind == "WinNT", "{kind}");
    }
}
