//! What the process may do: nothing beyond what tracing needs.

#[cfg(target_os = "linux")]
mod imp {
    use std::io;

    use rustix::thread::{
        CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
        clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
        set_no_new_privs,
    };

    const NEEDED: CapabilitySet = CapabilitySet::NET_RAW;

    /// Gives up every capability but `CAP_NET_RAW`, and the right to get others by running a program (capabilities(7)). They
    /// are the calling thread's and those of threads that it starts: there are to be no others yet.
    pub fn keep_only_what_tracing_needs() -> io::Result<()> {
        set_no_new_privs(true)?;
        clear_ambient_capability_set()?;
        let CapabilitySets { effective, permitted, .. } = capabilities(None)?;
        if effective.contains(CapabilitySet::SETPCAP) {
            for capability in CapabilitySet::all().difference(NEEDED).iter() {
                if capability_is_in_bounding_set(capability).unwrap_or(false) {
                    remove_capability_from_bounding_set(capability)?;
                }
            }
        }
        let kept = permitted.intersection(NEEDED);
        set_capabilities(
            None,
            CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
        )?;
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::io;

    /// There are no capabilities here.
    pub fn keep_only_what_tracing_needs() -> io::Result<()> {
        Ok(())
    }
}

pub use imp::keep_only_what_tracing_needs;
