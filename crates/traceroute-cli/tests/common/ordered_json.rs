//! JSON with the order of its keys and the notation of its numbers.
#![allow(dead_code, clippy::unwrap_used, reason = "a module of tests; each file uses a part")]

use std::iter::Peekable;
use std::str::Chars;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    /// `null`, `true`, `false` or a number, as written.
    Plain(String),
    /// What stands between the quotes, as written.
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        let mut rest = text.chars().peekable();
        let value = parse_value(&mut rest);
        assert_eq!(rest.collect::<String>().trim(), "", "after the value");
        value
    }

    /// Laid out as the reference does: two spaces a level, nothing between empty brackets, a newline at the end.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        self.render_into(&mut text, 0);
        text + "\n"
    }

    fn render_into(&self, text: &mut String, depth: usize) {
        match self {
            Self::Plain(word) => text.push_str(word),
            Self::Text(inner) => text.extend(["\"", inner, "\""]),
            Self::List(items) => render_all(text, depth, "[]", items, |item, text| {
                item.render_into(text, depth + 1);
            }),
            Self::Object(pairs) => render_all(text, depth, "{}", pairs, |(key, value), text| {
                text.extend(["\"", key, "\": "]);
                value.render_into(text, depth + 1);
            }),
        }
    }

    /// On one line without white space, and a newline at the end.
    pub(crate) fn render_compact(&self) -> String {
        self.compact() + "\n"
    }

    fn compact(&self) -> String {
        let joined = |items: Vec<String>| items.join(",");
        match self {
            Self::Plain(word) => word.clone(),
            Self::Text(inner) => format!("\"{inner}\""),
            Self::List(items) => format!("[{}]", joined(items.iter().map(Self::compact).collect())),
            Self::Object(pairs) => {
                let pair = |(key, value): &(String, Self)| format!("\"{key}\":{}", value.compact());
                format!("{{{}}}", joined(pairs.iter().map(pair).collect()))
            }
        }
    }

    /// Rewrites every leaf. `change` is given its place, as in `traceroute.runs.hops.rtt`.
    pub(crate) fn map(self, change: &impl Fn(&str, Self) -> Self) -> Self {
        self.map_at("", change)
    }

    fn map_at(self, place: &str, change: &impl Fn(&str, Self) -> Self) -> Self {
        match self {
            Self::List(items) => {
                Self::List(items.into_iter().map(|item| item.map_at(place, change)).collect())
            }
            Self::Object(pairs) => {
                let inner =
                    |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
                let change_pair = |(key, value): (String, Self)| {
                    let value = value.map_at(&inner(&key), change);
                    (key, value)
                };
                Self::Object(pairs.into_iter().map(change_pair).collect())
            }
            leaf => change(place, leaf),
        }
    }

    /// Without the keys for which `unwanted` is true, at any depth.
    pub(crate) fn without(self, unwanted: &impl Fn(&str) -> bool) -> Self {
        match self {
            Self::List(items) => Self::List(items.into_iter().map(|item| item.without(unwanted)).collect()),
            Self::Object(pairs) => {
                let kept = pairs.into_iter().filter(|(key, _)| !unwanted(key));
                Self::Object(kept.map(|(key, value)| (key, value.without(unwanted))).collect())
            }
            leaf => leaf,
        }
    }
}

fn render_all<T>(
    text: &mut String,
    depth: usize,
    brackets: &str,
    items: &[T],
    mut render: impl FnMut(&T, &mut String),
) {
    let (open, close) = brackets.split_at(1);
    text.push_str(open);
    for (index, item) in items.iter().enumerate() {
        text.push_str(if index == 0 { "\n" } else { ",\n" });
        text.push_str(&"  ".repeat(depth + 1));
        render(item, text);
    }
    if !items.is_empty() {
        text.push('\n');
        text.push_str(&"  ".repeat(depth));
    }
    text.push_str(close);
}

fn parse_value(rest: &mut Peekable<Chars<'_>>) -> Json {
    skip_space(rest);
    match rest.peek() {
        Some('{') => Json::Object(parse_all(rest, '}', |rest| {
            let key = parse_text(rest);
            skip_space(rest);
            assert_eq!(rest.next(), Some(':'), "after the key {key}");
            (key, parse_value(rest))
        })),
        Some('[') => Json::List(parse_all(rest, ']', parse_value)),
        Some('"') => Json::Text(parse_text(rest)),
        _ => {
            let mut word = String::new();
            while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || "+-.".contains(*c)) {
                word.push(c);
            }
            assert!(!word.is_empty(), "a value expected, not {:?}", rest.peek());
            Json::Plain(word)
        }
    }
}

fn parse_all<T>(
    rest: &mut Peekable<Chars<'_>>,
    close: char,
    parse: impl Fn(&mut Peekable<Chars<'_>>) -> T,
) -> Vec<T> {
    let mut items = Vec::new();
    rest.next();
    loop {
        skip_space(rest);
        if rest.next_if_eq(&close).is_some() {
            return items;
        }
        if !items.is_empty() {
            assert_eq!(rest.next(), Some(','));
            skip_space(rest);
        }
        items.push(parse(rest));
    }
}

fn parse_text(rest: &mut Peekable<Chars<'_>>) -> String {
    assert_eq!(rest.next(), Some('"'), "a string expected");
    let mut inner = String::new();
    loop {
        match rest.next().unwrap() {
            '"' => return inner,
            '\\' => inner.extend(['\\', rest.next().unwrap()]),
            c => inner.push(c),
        }
    }
}

fn skip_space(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(char::is_ascii_whitespace).is_some() {}
}
