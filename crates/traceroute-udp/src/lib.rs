//! The udp method: builds probes and matches their replies.
