//! A pseudo-terminal, and a terminal emulator behind it.
#![allow(clippy::unwrap_used, reason = "a module of tests")]

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Lines kept of those that have scrolled away.
const SCROLLBACK: usize = 1_000;

/// A terminal without a program.
pub(crate) struct Terminal {
    controller: OwnedFd,
    program_end: OwnedFd,
    emulator: vt100::Parser,
}

/// A program on a terminal.
pub(crate) struct OnTerminal {
    controller: File,
    emulator: vt100::Parser,
    child: Child,
    started: Instant,
    raw: Vec<u8>,
    screens: Vec<String>,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: Option<i32>,
    pub(crate) took: Duration,
    /// In the end, without empty lines at the bottom.
    pub(crate) screen: String,
    /// In between.
    pub(crate) screens: Vec<String>,
    /// How often something was drawn over.
    pub(crate) drawings: usize,
    pub(crate) cursor_is_visible: bool,
    /// What was written.
    pub(crate) raw: String,
    coloured: Vec<String>,
    scrolled_away: String,
}

fn nonzero(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap()
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Terminal {
    pub(crate) fn open((columns, rows): (u16, u16)) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let program_end = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).unwrap();
        tcsetwinsize(&controller, size(columns, rows)).unwrap();
        Self {
            controller,
            program_end,
            emulator: vt100::Parser::new(nonzero(rows), nonzero(columns), SCROLLBACK),
        }
    }

    fn end(&self) -> Stdio {
        self.program_end.as_fd().try_clone_to_owned().unwrap().into()
    }

    /// Starts a command on the terminal.
    pub(crate) fn start(self, mut command: Command) -> OnTerminal {
        command.stdin(self.end()).stdout(self.end()).stderr(self.end());
        self.spawn(command)
    }

    /// Starts a command with its standard error on the terminal, and the others as they are.
    pub(crate) fn start_errors_only(self, mut command: Command) -> OnTerminal {
        command.stdin(Stdio::null()).stderr(self.end());
        self.spawn(command)
    }

    fn spawn(self, mut command: Command) -> OnTerminal {
        if command.get_envs().all(|(name, _)| name != "TERM") {
            command.env("TERM", "xterm-256color");
        }
        if command.get_envs().all(|(name, _)| name != "NO_COLOR") {
            command.env_remove("NO_COLOR");
        }
        let child = command.spawn().unwrap();
        // The terminal ends when the program does, which has the only other descriptors of it.
        drop(command);
        drop(self.program_end);
        OnTerminal {
            controller: self.controller.into(),
            emulator: self.emulator,
            child,
            started: Instant::now(),
            raw: Vec::new(),
            screens: Vec::new(),
        }
    }
}

fn text(screen: &vt100::Screen) -> String {
    let (_, columns) = screen.size();
    let lines: Vec<String> = screen.rows(0, columns.get()).map(|row| row.trim_end().to_owned()).collect();
    lines.join("\n").trim_end().to_owned()
}

impl OnTerminal {
    /// Shows more of what is written; false if there will be no more.
    fn show_more(&mut self) -> bool {
        let mut buffer = [0; 4_096];
        // Reading fails once nobody has the other end any more.
        let Ok(length @ 1..) = self.controller.read(&mut buffer) else { return false };
        self.raw.extend(&buffer[..length]);
        self.emulator.process(&buffer[..length]);
        let screen = text(self.emulator.screen());
        if self.screens.last() != Some(&screen) {
            self.screens.push(screen);
        }
        true
    }

    fn show_until(&mut self, wanted: &str) {
        while !self.screens.last().is_some_and(|screen| screen.contains(wanted)) {
            assert!(self.show_more(), "{wanted:?} was never shown: {:?}", self.screens);
        }
    }

    /// Types something once something is shown.
    pub(crate) fn type_when(mut self, shown: &str, keys: &[u8]) -> Self {
        self.show_until(shown);
        self.controller.write_all(keys).unwrap();
        self
    }

    /// Changes the size of the terminal once something is shown.
    pub(crate) fn resize_when(mut self, shown: &str, (columns, rows): (u16, u16)) -> Self {
        self.show_until(shown);
        tcsetwinsize(&self.controller, size(columns, rows)).unwrap();
        self.emulator.screen_mut().set_size(nonzero(rows), nonzero(columns));
        self
    }

    /// Shows everything until the program ends.
    pub(crate) fn wait(mut self) -> Seen {
        while self.show_more() {}
        let status = self.child.wait().unwrap().code();
        let screen = self.emulator.screen_mut();
        let (rows, columns) = screen.size();
        let is_coloured = |row: u16, column: u16| {
            screen.cell(row, column).is_some_and(|cell| cell.fgcolor() != vt100::Color::Default)
        };
        let coloured = (0..rows.get()).map(|row| {
            let cells = (0..columns.get()).filter(|column| is_coloured(row, *column));
            cells.filter_map(|column| screen.cell(row, column)).map(vt100::Cell::contents).collect()
        });
        let coloured = coloured.collect();
        let (shown, cursor_is_visible) = (text(screen), !screen.hide_cursor());
        Seen {
            status,
            took: self.started.elapsed(),
            drawings: String::from_utf8_lossy(&self.raw).matches("\u{1b}[J").count(),
            raw: String::from_utf8(self.raw).unwrap(),
            screen: shown,
            screens: self.screens,
            cursor_is_visible,
            coloured,
            scrolled_away: scrolled_away(screen),
        }
    }
}

/// The lines above the screen.
fn scrolled_away(screen: &mut vt100::Screen) -> String {
    let (_, columns) = screen.size();
    screen.set_scrollback(SCROLLBACK);
    let mut lines = String::new();
    for above in (1..=screen.scrollback()).rev() {
        screen.set_scrollback(above);
        lines += screen.rows(0, columns.get()).next().unwrap().trim_end();
        lines.push('\n');
    }
    screen.set_scrollback(0);
    lines
}

impl Seen {
    /// Whether some text has a colour on the screen.
    pub(crate) fn is_coloured(&self, text: &str) -> bool {
        self.coloured.iter().any(|line| line.contains(text))
    }

    /// The screen, and what is above it.
    pub(crate) fn with_what_has_scrolled_away(&self) -> String {
        format!("{}{}", self.scrolled_away, self.screen)
    }
}
