//! The signals that end a trace early.

#[cfg(unix)]
mod imp {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag::register_conditional_shutdown;
    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// SIGINT and SIGTERM. The first is a request to come to an end, and the second ends the process, whatever it is doing.
    pub(crate) struct Signals {
        listeners: [(u8, Option<Signal>); 2],
        /// Whether the next one ends the process.
        last: Arc<AtomicBool>,
    }

    impl Signals {
        /// Starts to listen. Signals that cannot be listened to end the process, as they would anyway.
        pub(crate) fn listen() -> Self {
            let last = Arc::new(AtomicBool::new(false));
            let listen = |number: u8, kind| {
                let status = i32::from(crate::ENDED_BY_SIGNAL + number);
                register_conditional_shutdown(number.into(), status, Arc::clone(&last)).ok()?;
                signal(kind).ok()
            };
            let listeners = [
                (number(SIGINT), listen(number(SIGINT), SignalKind::interrupt())),
                (number(SIGTERM), listen(number(SIGTERM), SignalKind::terminate())),
            ];
            Self { listeners, last }
        }

        /// Waits for a signal and returns its number.
        pub(crate) async fn next(&mut self) -> u8 {
            let [interrupt, terminate] = &mut self.listeners;
            let number = tokio::select! {
                number = received(interrupt) => number,
                number = received(terminate) => number,
            };
            self.end_by_the_next();
            number
        }

        /// From now on a signal ends the process: nobody waits for one any more.
        pub(crate) fn end_by_the_next(&self) {
            self.last.store(true, Ordering::SeqCst);
        }
    }

    /// The two that there are fit.
    fn number(signal: i32) -> u8 {
        u8::try_from(signal).unwrap_or_default()
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

        /// Has no effect here.
        #[expect(clippy::unused_self, reason = "on Unix it is used")]
        pub(crate) fn end_by_the_next(&self) {}
    }
}

pub(crate) use imp::Signals;
