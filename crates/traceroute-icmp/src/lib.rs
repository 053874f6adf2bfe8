//! The icmp method: builds probes and matches their replies.
