//! Results as JSON, with numbers and escapes as the reference writes them.
//!
//! Numbers are in the shortest form that reads back, whole ones without a fraction, and with an exponent only below
//! 1e-6 and from 1e21 on. `<`, `>` and `&` are escaped, as are U+2028 and U+2029.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter};

/// How JSON is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Indented by two spaces.
    Pretty,
    /// Without white space.
    Compact,
}

/// Writes `value` as JSON, and a newline.
pub fn write_json(value: &impl Serialize, style: Style, mut writer: impl Write) -> io::Result<()> {
    match style {
        Style::Pretty => serialize(value, PrettyFormatter::new(), &mut writer)?,
        Style::Compact => serialize(value, CompactFormatter, &mut writer)?,
    }
    writer.write_all(b"\n")
}

fn serialize(value: &impl Serialize, layout: impl Formatter, writer: &mut impl Write) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(writer, Notation(layout));
    value.serialize(&mut serializer).map_err(io::Error::from)
}

/// Another formatter's layout with the reference's notation of numbers and strings.
struct Notation<F>(F);

/// Passes calls that are about layout on.
macro_rules! as_laid_out {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        fn $method<W: ?Sized + Write>(&mut self, writer: &mut W, $($argument: $type),*) -> io::Result<()> {
            self.0.$method(writer, $($argument),*)
        }
    )*};
}

impl<F: Formatter> Formatter for Notation<F> {
    as_laid_out! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }

    fn write_f32<W: ?Sized + Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        if needs_exponent(value.into()) {
            write_exponent(writer, &format!("{value:e}"))
        } else {
            write!(writer, "{value}")
        }
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        if needs_exponent(value) {
            write_exponent(writer, &format!("{value:e}"))
        } else {
            write!(writer, "{value}")
        }
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((before, special, after)) = split_at_special(rest) {
            write!(writer, "{before}\\u{:04x}", u32::from(special))?;
            rest = after;
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }
}

fn needs_exponent(value: f64) -> bool {
    let size = value.abs();
    size != 0.0 && !(1e-6..1e21).contains(&size)
}

/// Rust writes `1e21`, the reference `1e+21`.
fn write_exponent<W: ?Sized + Write>(writer: &mut W, number: &str) -> io::Result<()> {
    match number.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => write!(writer, "{digits}e+{exponent}"),
        _ => writer.write_all(number.as_bytes()),
    }
}

fn split_at_special(text: &str) -> Option<(&str, char, &str)> {
    let (at, special) =
        text.char_indices().find(|(_, c)| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}'))?;
    Some((&text[..at], special, &text[at + special.len_utf8()..]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compact(value: &impl Serialize) -> String {
        let mut bytes = Vec::new();
        write_json(value, Style::Compact, &mut bytes).expect("memory does not fail");
        String::from_utf8(bytes).expect("JSON is UTF-8")
    }

    #[test]
    fn numbers_are_in_their_shortest_form() {
        let numbers =
            [0.0, 9.0, 0.17, 0.266_819_000_000_000_03, 1e-6, 1.5e-7, 123_456_789.0, 1e20, 1e21, 2.5e22];
        assert_eq!(
            compact(&numbers),
            "[0,9,0.17,0.26681900000000003,0.000001,1.5e-7,123456789,100000000000000000000,1e+21,2.5e+22]\n"
        );
        assert_eq!(compact(&[0.2_f32, 1.0, 1.0 / 3.0]), "[0.2,1,0.33333334]\n");
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(compact(&"<a&b>\u{2028}\"\n"), "\"\\u003ca\\u0026b\\u003e\\u2028\\\"\\n\"\n");
    }

    #[test]
    fn pretty_is_indented_by_two() {
        let mut bytes = Vec::new();
        write_json(&json!({"a": [1, 2], "b": []}), Style::Pretty, &mut bytes).expect("memory does not fail");
        assert_eq!(
            String::from_utf8(bytes).expect("JSON is UTF-8"),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": []\n}\n"
        );
    }
}
