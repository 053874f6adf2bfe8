//! Windows: raw sockets, the network driver of the Datadog Agent, and what the system does for everybody.

mod answers;
mod conclusion;
mod driver;
mod icmp_status;
