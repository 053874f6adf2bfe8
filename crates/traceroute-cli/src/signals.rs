//! The signals that end a trace early.

#[cfg(unix)]
mod imp {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// SIGINT and SIGTERM.
    pub(crate) struct Signals([(u8, Option<Signal>); 2]);

    impl Signals {
        /// Starts to listen. Signals that cannot be listened to end the process, as they would anyway.
        pub(crate) fn listen() -> Self {
            Self([(2, signal(SignalKind::interrupt()).ok()), (15, signal(SignalKind::terminate()).ok())])
        }

        /// Waits for a signal and returns its number.
        pub(crate) async fn next(&mut self) -> u8 {
            let [interrupt, terminate] = &mut self.0;
            tokio::select! {
                number = received(interrupt) => number,
                number = received(terminate) => number,
            }
        }
    }

    async fn received((number, signal): &mut (u8, Option<Signal>)) -> u8 {
        if let Some(signal) = signal
            && signal.recv().await.is_some()
        {
            return *number;
        }
        std::future::pending().await
    }
}

#[cfg(not(unix))]
mod imp {
    /// Ctrl-C.
    pub(crate) struct Signals;

    impl Signals {
        /// Starts to listen.
        pub(crate) fn listen() -> Self {
            Self
        }

        /// Waits for Ctrl-C and returns the number that Unix gives it.
        pub(crate) async fn next(&mut self) -> u8 {
            if tokio::signal::ctrl_c().await.is_ok() {
                return 2;
            }
            std::future::pending().await
        }
    }
}

pub(crate) use imp::Signals;
