//! Simulated and real test networks. Not published.
