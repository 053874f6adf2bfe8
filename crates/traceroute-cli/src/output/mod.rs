//! How results are shown.
//!
//! ```text
//! events, results -> Picture -> Table -> lines of a width -> painted, or not -> Screen, standard output
//! ```
//!
//! All but the last are functions of what they are given; [`screen`] alone knows terminals.

mod csv;
mod layout;
mod live;
mod picture;
mod screen;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod words;

use std::io::{self, BufWriter, Write};

use traceroute::{Request, Results, Style, write_json};

use crate::args::Format;
pub(crate) use live::Live;
pub(crate) use screen::{Screen, Stream};

/// How a result is written, and where something is shown meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    format: Format,
    screen: Option<Screen>,
}

impl Output {
    /// A table draws where it is written; anything else shows its progress on standard error, unless the result goes
    /// into a pipe: what reads it may want the terminal for itself.
    pub(crate) fn new(format: Format) -> Self {
        let terminal = Stream::Output.is_terminal();
        let format = match format {
            Format::Auto if terminal => Format::Table,
            Format::Auto => Format::Json,
            format => format,
        };
        let stream = if format == Format::Table && terminal { Stream::Output } else { Stream::Error };
        let free = stream == Stream::Output || !is_pipe();
        let screen = (free && stream.can_be_redrawn()).then(|| Screen::new(stream));
        Self { format, screen }
    }

    pub(crate) fn screen(&self) -> Option<&Screen> {
        self.screen.as_ref()
    }

    pub(crate) fn live(&self, request: &Request) -> Live {
        Live::new(request, self.screen.clone(), self.format == Format::Table && Stream::Output.is_terminal())
    }

    /// Writes results to standard output.
    pub(crate) fn write(&self, results: &Results, live: &mut Live) -> io::Result<()> {
        let mut output = BufWriter::new(io::stdout().lock());
        match self.format {
            Format::Csv => csv::write(results, &mut output)?,
            Format::Table => {
                let (width, _) = Stream::Output.size();
                let colour = Stream::Output.has_colour();
                for line in layout::lines(&live.table(results), width) {
                    writeln!(output, "{}", line.painted(colour))?;
                }
            }
            Format::Auto | Format::Json => write_json(results, Style::Pretty, &mut output)?,
        }
        output.flush()
    }

    /// What the results warn of and the format has no place for.
    pub(crate) fn unsaid<'a>(&self, results: &'a Results) -> &'a [String] {
        if self.format == Format::Csv { &results.warnings } else { &[] }
    }
}

/// Whether standard output goes to another program.
#[cfg(unix)]
fn is_pipe() -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;

    let file = io::stdout().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let kind = file.and_then(|file| file.metadata()).map(|metadata| metadata.file_type());
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket())
}

/// Whether standard output may go to another program.
#[cfg(not(unix))]
fn is_pipe() -> bool {
    !Stream::Output.is_terminal()
}
