//! The indices of interfaces.

use std::ffi::CString;

use windows_sys::Win32::NetworkManagement::IpHelper::{
    ConvertInterfaceAliasToLuid, ConvertInterfaceLuidToIndex, if_indextoname, if_nametoindex,
};
use windows_sys::Win32::NetworkManagement::Ndis::{IF_MAX_STRING_SIZE, NET_LUID_LH};

use super::wide;

/// The index of the interface with this name, alias or index; `None` if there is none.
pub(in crate::platform) fn interface_index(zone: &str) -> Option<u32> {
    if let Ok(index) = zone.parse() {
        let mut name = [0; IF_MAX_STRING_SIZE as usize + 1];
        // SAFETY: the buffer is as long as the longest name with its terminator.
        let found = unsafe { if_indextoname(index, name.as_mut_ptr()) };
        return (!found.is_null()).then_some(index);
    }
    let alias = wide(zone);
    let (mut luid, mut index) = (NET_LUID_LH::default(), 0);
    // SAFETY: the alias ends with zero and lives through the call, and the other pointer is to a live variable.
    let known = unsafe { ConvertInterfaceAliasToLuid(alias.as_ptr(), &raw mut luid) } == 0
        // SAFETY: both pointers are to live variables.
        && unsafe { ConvertInterfaceLuidToIndex(&raw const luid, &raw mut index) } == 0;
    if known {
        return Some(index);
    }
    let name = CString::new(zone).ok()?;
    // SAFETY: the name is a C string that lives through the call.
    let index = unsafe { if_nametoindex(name.as_ptr().cast()) };
    Some(index).filter(|index| *index != 0)
}
