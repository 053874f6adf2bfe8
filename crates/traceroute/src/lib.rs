//! Path tracing as a library: a Tracer, a Request, events and results.
