//! A part of a terminal that is drawn again and again.
//!
//! The cursor rests at the beginning of what is drawn, and is never hidden: wherever the process ends, the terminal is as it
//! was; whatever others write goes above, and is not erased; and however the terminal breaks lines when its size changes, the
//! beginning stays where the cursor is.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use terminal_size::{Height, Width};

use super::text::{Line, Span, Style};
use crate::system;

/// Erases what is drawn: from the beginning of the line to the end of the screen (ECMA-48 8.3.39).
const ERASE: &str = "\r\u{1b}[J";

/// A terminal on one of the standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Output,
    Error,
}

/// Where something is drawn. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Screen {
    stream: Stream,
    colour: bool,
    /// What is drawn now; empty if nothing is.
    drawn: Arc<Mutex<String>>,
}

impl Screen {
    /// Nothing is drawn yet. A panic erases what is drawn before it speaks.
    pub(crate) fn new(stream: Stream) -> Self {
        let screen = Self { stream, colour: stream.has_colour(), drawn: Arc::default() };
        let (hook, panicking) = (std::panic::take_hook(), screen.clone());
        std::panic::set_hook(Box::new(move |info| {
            // Whoever panics may be drawing.
            if let Ok(mut drawn) = panicking.drawn.try_lock() {
                panicking.erase_drawn(&mut drawn);
            }
            hook(info);
        }));
        screen
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.stream.size()
    }

    /// Replaces what is drawn.
    pub(crate) fn draw(&self, lines: Vec<Line>) {
        let (width, height) = self.size();
        let lines = visible(lines, height.saturating_sub(1));
        let painted: Vec<String> =
            lines.into_iter().map(|line| line.clipped(width).painted(self.colour) + "\r\n").collect();
        let frame = match painted.len() {
            0 => ERASE.to_owned(),
            rows => format!("{ERASE}{}\u{1b}[{rows}A", painted.concat()),
        };
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if *drawn != frame {
            self.stream.write(&frame);
            *drawn = frame;
        }
    }

    /// Leaves nothing of what is drawn.
    pub(crate) fn erase(&self) {
        self.erase_drawn(&mut self.drawn.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn erase_drawn(&self, drawn: &mut String) {
        if !drawn.is_empty() {
            self.stream.write(ERASE);
            drawn.clear();
        }
    }
}

/// Of what is higher than the screen, the beginning and the end.
fn visible(mut lines: Vec<Line>, height: usize) -> Vec<Line> {
    const BEGINNING: usize = 2;
    let hidden = lines.len().saturating_sub(height);
    if hidden > 0 {
        // One more, for the line that says so.
        let end = (BEGINNING + hidden + 1).min(lines.len());
        let said = format!("  ... {} lines more", end - BEGINNING.min(end));
        lines.splice(BEGINNING.min(end)..end, [Line::of(Span::new(said, Style::Faint))]);
        lines.truncate(height);
    }
    lines
}

/// Writes a log to standard error: what is drawn makes room for it.
impl Write for Screen {
    fn write(&mut self, log: &[u8]) -> io::Result<usize> {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if io::stderr().is_terminal() {
            self.erase_drawn(&mut drawn);
        }
        io::stderr().write(log)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl Stream {
    pub(crate) fn is_terminal(self) -> bool {
        match self {
            Self::Output => io::stdout().is_terminal(),
            Self::Error => io::stderr().is_terminal(),
        }
    }

    /// Whether lines on it can be drawn over.
    pub(crate) fn can_be_redrawn(self) -> bool {
        let dumb = |term: std::ffi::OsString| term == "dumb" || term.is_empty();
        let is_dumb = std::env::var_os("TERM").map_or(system::TERMINALS_SET_TERM, dumb);
        self.is_terminal() && !is_dumb && system::obeys_escapes()
    }

    /// Whether it has colours, and they are wanted (no-color.org).
    pub(crate) fn has_colour(self) -> bool {
        self.can_be_redrawn() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// Columns and rows; of what is no terminal those that `COLUMNS` says.
    pub(crate) fn size(self) -> (usize, usize) {
        const USUAL: (usize, usize) = (80, 24);
        let size = match self {
            Self::Output => terminal_size::terminal_size_of(io::stdout()),
            Self::Error => terminal_size::terminal_size_of(io::stderr()),
        };
        if let Some((Width(columns @ 1..), Height(rows @ 1..))) = size {
            return (columns.into(), rows.into());
        }
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        (columns.filter(|columns| *columns > 0).unwrap_or(USUAL.0), USUAL.1)
    }

    /// Where a terminal is gone there is nobody to tell: the results are written later, and their error is told.
    fn write(self, text: &str) {
        let all =
            |mut stream: Box<dyn Write>| stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
        match self {
            Self::Output => all(Box::new(io::stdout().lock())),
            Self::Error => all(Box::new(io::stderr().lock())),
        }
        .unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::text::Span;

    fn visible_of(lines: usize, height: usize) -> Vec<String> {
        let lines = (1..=lines).map(|line| Line::of(Span::plain(line.to_string())));
        visible(lines.collect(), height).iter().map(|line| line.painted(false)).collect()
    }

    #[test]
    fn of_what_is_too_high_the_middle_is_left_out() {
        assert_eq!(visible_of(4, 4), ["1", "2", "3", "4"]);
        assert_eq!(visible_of(7, 5), ["1", "2", "  ... 3 lines more", "6", "7"]);
        assert_eq!(visible_of(9, 3), ["1", "2", "  ... 7 lines more"]);
        assert_eq!(visible_of(9, 2), ["1", "2"]);
        assert_eq!(visible_of(9, 0), [""; 0]);
    }
}
