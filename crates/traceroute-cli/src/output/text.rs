//! Text as a terminal shows it: spans with a style, their width in columns, and where lines are broken.

use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What a piece of text is, for colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    #[default]
    Plain,
    /// Headings.
    Strong,
    /// What may be passed over.
    Faint,
    /// What a router says besides its address.
    Note,
    /// As it should be.
    Good,
    /// Something is missing.
    Odd,
    /// Something is wrong.
    Bad,
}

impl Style {
    /// The parameter of "select graphic rendition" (ECMA-48 8.3.117).
    const fn code(self) -> Option<u8> {
        match self {
            Self::Plain => None,
            Self::Strong => Some(1),
            Self::Faint => Some(2),
            Self::Note => Some(36),
            Self::Good => Some(32),
            Self::Odd => Some(33),
            Self::Bad => Some(31),
        }
    }
}

/// Printable text in one style.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    text: String,
    style: Style,
}

impl Span {
    /// Whatever could command a terminal is escaped: names come from the network.
    pub(crate) fn new(text: impl AsRef<str>, style: Style) -> Self {
        Self { text: escaped(text.as_ref()), style }
    }

    pub(crate) fn plain(text: impl AsRef<str>) -> Self {
        Self::new(text, Style::Plain)
    }

    pub(crate) fn width(&self) -> usize {
        self.text.width()
    }

    /// With something behind it.
    pub(crate) fn and(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }
}

/// A line on a terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line(Vec<Span>);

impl Line {
    pub(crate) fn of(span: Span) -> Self {
        Self(vec![span])
    }

    pub(crate) fn width(&self) -> usize {
        self.0.iter().map(Span::width).sum()
    }

    pub(crate) fn push(&mut self, span: Span) {
        self.0.push(span);
    }

    pub(crate) fn append(&mut self, line: Self) {
        self.0.extend(line.0);
    }

    /// Spaces up to a column.
    pub(crate) fn pad_to(&mut self, column: usize) {
        let missing = column.saturating_sub(self.width());
        if missing > 0 {
            self.push(Span { text: " ".repeat(missing), style: Style::Plain });
        }
    }

    /// Adds text that ends at a column.
    pub(crate) fn push_right(&mut self, span: Span, column: usize) {
        self.pad_to(column.saturating_sub(span.width()));
        self.push(span);
    }

    /// What fits into `width` columns.
    pub(crate) fn clipped(self, width: usize) -> Self {
        let mut room = width;
        let mut line = Self::default();
        for Span { text, style } in self.0 {
            let text = text[..fitting(&text, room)].to_owned();
            room -= text.width();
            line.push(Span { text, style });
        }
        line
    }

    /// As it is written, without white space at its end.
    pub(crate) fn painted(&self, colour: bool) -> String {
        let mut painted = String::new();
        for Span { text, style } in &self.0 {
            match style.code().filter(|_| colour && !text.is_empty()) {
                // Writing to a string cannot fail.
                Some(code) => write!(painted, "\u{1b}[{code}m{text}\u{1b}[0m").unwrap_or_default(),
                None => painted.push_str(text),
            }
        }
        painted.truncate(painted.trim_end().len());
        painted
    }
}

/// Puts pieces one behind the other, two columns apart, the second one at `tab` if it fits there. Where there is no more room in
/// the first line, which has `first` columns, they go on in further ones of `width` columns, indented by two. Only what is
/// longer than a line is broken.
pub(crate) fn flow(pieces: &[Span], first: usize, width: usize, tab: usize) -> Vec<Line> {
    const INDENT: usize = 2;
    const GAP: usize = 2;
    let mut lines: Vec<Line> = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let room = if lines.len() > 1 { width } else { first };
        if let Some(line) = lines.last_mut() {
            let column = if index == 1 { tab.max(line.width() + GAP) } else { line.width() + GAP };
            if column + piece.width() <= room {
                line.pad_to(column);
                line.push(piece.clone());
                continue;
            }
        }
        let mut rest = piece.text.as_str();
        while !rest.is_empty() {
            let (indent, room) = if lines.is_empty() { (0, first) } else { (INDENT, width) };
            let (part, after) = rest.split_at(break_at(rest, room.saturating_sub(indent).max(1)));
            let mut line = Line::default();
            line.pad_to(indent);
            line.push(Span { text: part.trim_end().to_owned(), style: piece.style });
            lines.push(line);
            rest = after;
        }
    }
    lines
}

/// Where to break text that is to fit into `width` columns: behind a space, a dot, a comma or a dash, if one is in the latter
/// half.
fn break_at(text: &str, width: usize) -> usize {
    let end = fitting(text, width);
    if end == text.len() {
        return end;
    }
    // Lest a character wider than the line keeps it from getting on.
    let end = end.max(text.chars().next().map_or(0, char::len_utf8));
    let place = text[..end].rfind([' ', '.', '-', ',', '/']).map(|place| place + 1);
    place.filter(|place| *place * 2 >= end).unwrap_or(end)
}

/// How many bytes of the text fit into `width` columns.
fn fitting(text: &str, width: usize) -> usize {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += c.width().unwrap_or(0);
        if taken > width {
            return at;
        }
    }
    text.len()
}

/// Printable text: control characters, and what changes direction or has no width, in the notation of Rust.
pub(crate) fn escaped(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            printable.extend(c.escape_unicode());
        } else {
            printable.push(c);
        }
    }
    printable
}

/// What is not seen and changes how the rest is seen: marks of direction and of joining, separators of lines, byte order
/// marks, tags, fillers (Unicode's `Default_Ignorable_Code_Point` and the separators Zl and Zp).
const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flowed(pieces: &[&str], width: usize, tab: usize) -> Vec<String> {
        let pieces: Vec<Span> = pieces.iter().map(Span::plain).collect();
        flow(&pieces, width, width, tab).iter().map(|line| line.painted(false)).collect()
    }

    #[test]
    fn pieces_stand_beside_each_other_as_long_as_there_is_room() {
        assert_eq!(flowed(&["192.0.2.1", "a.test", "MPLS 16"], 30, 11), ["192.0.2.1  a.test  MPLS 16"]);
        assert_eq!(flowed(&["192.0.2.1", "a.test"], 30, 17), ["192.0.2.1        a.test"]);
        assert_eq!(flowed(&["192.0.2.1", "a.test"], 22, 17), ["192.0.2.1", "  a.test"]);
        assert_eq!(flowed(&["a", "b", "c"], 4, 0), ["a  b", "  c"]);
        assert_eq!(flowed(&[], 4, 0), [""; 0]);
        let pieces = ["a", "bbbb", "cccc"].map(Span::plain);
        let lines: Vec<_> = flow(&pieces, 4, 12, 0).iter().map(|line| line.painted(false)).collect();
        assert_eq!(lines, ["a", "  bbbb  cccc"], "the first line has less room");
    }

    #[test]
    fn what_is_longer_than_a_line_is_broken_at_a_dot() {
        assert_eq!(
            flowed(&["*", "one.two.three.four.test"], 12, 0),
            ["*", "  one.two.", "  three.", "  four.test"]
        );
        assert_eq!(flowed(&["abcdefgh"], 3, 0), ["abc", "  d", "  e", "  f", "  g", "  h"]);
    }

    #[test]
    fn width_is_in_columns() {
        assert_eq!(Span::plain("例え").width(), 4);
        assert_eq!(flowed(&["例え.テスト"], 7, 0), ["例え.", "  テス", "  ト"]);
        assert_eq!(flowed(&["例"], 1, 0), ["例"], "as good as it gets");
        assert_eq!(Line::of(Span::plain("例え")).clipped(3).painted(false), "例");
    }

    #[test]
    fn nothing_commands_the_terminal() {
        assert_eq!(escaped("a\u{1b}[2Jb\r\n"), "a\\u{1b}[2Jb\\u{d}\\u{a}");
        assert_eq!(escaped("\u{9b}2J \u{202e}txt \u{200d}\u{7f}"), "\\u{9b}2J \\u{202e}txt \\u{200d}\\u{7f}");
        assert_eq!(escaped("bücher.例え.test"), "bücher.例え.test");
    }

    #[test]
    fn colours_are_those_of_the_style_and_end_with_it() {
        let mut line = Line::of(Span::new("*", Style::Faint));
        line.push(Span::plain(" x "));
        assert_eq!(line.painted(true), "\u{1b}[2m*\u{1b}[0m x");
        assert_eq!(line.painted(false), "* x");
    }
}
