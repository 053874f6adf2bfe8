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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::Notify;

    /// What Unix would call SIGINT.
    const INTERRUPT: u8 = 2;

    /// Ctrl-C and Ctrl-Break, of which a thread of its own hears. The first is a request to come to an end, and the second ends the
    /// process, whatever it is doing. The end of the console, the session or the system ends it at once, as that of a terminal does
    /// elsewhere.
    pub(crate) struct Signals {
        heard: Arc<Notify>,
        /// Whether the next one ends the process.
        last: Arc<AtomicBool>,
    }

    impl Signals {
        /// Starts to listen. Where that is not possible they end the process, as they would anyway.
        pub(crate) fn listen() -> Self {
            let signals = Self { heard: Arc::default(), last: Arc::default() };
            let (heard, last) = (Arc::clone(&signals.heard), Arc::clone(&signals.last));
            let hear = move || {
                if last.swap(true, Ordering::SeqCst) {
                    std::process::exit((crate::ENDED_BY_SIGNAL + INTERRUPT).into());
                }
                heard.notify_one();
            };
            ctrlc::set_handler(hear).unwrap_or_default();
            signals
        }

        /// Waits for one of them and returns the number that Unix gives it.
        pub(crate) async fn next(&mut self) -> u8 {
            self.heard.notified().await;
            self.end_by_the_next();
            INTERRUPT
        }

        /// From now on they end the process: nobody waits for one any more.
        pub(crate) fn end_by_the_next(&self) {
            self.last.store(true, Ordering::SeqCst);
        }
    }
}

pub(crate) use imp::Signals;
