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

#[cfg(windows)]
mod imp {
    use std::io;

    use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlClose, CtrlShutdown};
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
    use tracing::warn;

    /// What Windows has of a process that Ctrl-C ended: `STATUS_CONTROL_C_EXIT`.
    const ENDED_BY_SIGNAL: i32 = 0xc000_013a_u32.cast_signed();

    /// Waits for the first Ctrl-C, Ctrl-Break, or end of the console or of the system. The second ends the process at once.
    pub(crate) fn first() -> io::Result<impl Future<Output = ()>> {
        let mut signals = (ctrl_c()?, ctrl_break()?, ctrl_close()?, ctrl_shutdown()?);
        Ok(async move {
            received(&mut signals).await;
            tokio::spawn(async move {
                received(&mut signals).await;
                warn!("ended by a second signal");
                std::process::exit(ENDED_BY_SIGNAL);
            });
        })
    }

    async fn received(signals: &mut (CtrlC, CtrlBreak, CtrlClose, CtrlShutdown)) {
        let (interrupt, stop, close, shutdown) = signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = stop.recv() => {}
            _ = close.recv() => {}
            _ = shutdown.recv() => {}
        }
    }
}

pub(crate) use imp::first;
