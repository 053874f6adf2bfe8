//! The network driver of the Datadog Agent: packets that it is asked for by filters, and packets that it is given to send.

mod filters;
mod packets;
mod service;
