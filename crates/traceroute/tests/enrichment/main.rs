//! What a request looks up, from real servers on loopback, while it traces a simulated network. Real sockets and virtual
//! time do not mix: the times here are real, and bounded loosely.
#![cfg(target_os = "linux")]

#[path = "../common/client.rs"]
mod client;
#[path = "../common/dns.rs"]
mod dns;
#[path = "../common/https.rs"]
mod https;
#[path = "../simulated/lab.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod lab;
mod names;
mod nobody;
mod public_ip;
