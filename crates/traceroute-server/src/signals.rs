//! The signals that end the service.

#[cfg(unix)]
mod imp {
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};
    use tracing::warn;

    /// What a shell reports of a process that a signal has ended: 128 and the signal's number.
    const ENDED_BY_SIGNAL: i32 = 128;

    /// Waits for the first SIGTERM or SIGINT. The second ends the process at once.
    pub(crate) fn first() -> io::Result<impl Future<Output = ()>> {
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        let mut signals = (signal(terminate)?, signal(interrupt)?);
        Ok(async move {
            received(&mut signals).await;
            tokio::spawn(async move {
                let interrupted = received(&mut signals).await;
                warn!("ended by a second signal");
                let number = if interrupted { interrupt } else { terminate }.as_raw_value();
                std::process::exit(ENDED_BY_SIGNAL + number);
            });
        })
    }

    /// Waits for a signal; whether it was SIGINT.
    async fn received((terminate, interrupt): &mut (Signal, Signal)) -> bool {
        tokio::select! {
            _ = terminate.recv() => false,
            _ = interrupt.recv() => true,
        }
    }
}

#[cfg(not(unix))]
mod imp {
    use std::io;

    /// Waits for Ctrl-C.
    #[expect(clippy::unnecessary_wraps, reason = "on Unix it can fail")]
    pub(crate) fn first() -> io::Result<impl Future<Output = ()>> {
        // Where it cannot be listened to it ends the process, as it would anyway.
        Ok(async { tokio::signal::ctrl_c().await.unwrap_or_default() })
    }
}

pub(crate) use imp::first;
