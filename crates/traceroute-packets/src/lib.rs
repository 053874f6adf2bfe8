//! Packet I/O: the shared capture, raw sinks, time stamps, leases.
