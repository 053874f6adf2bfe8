//! What differs between platforms is chosen between items, and never inside a function: each function is for one platform, or the
//! same for all.

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// One line for each condition on the platform inside a function of the source `text`.
pub(super) fn violations(name: &str, text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    match syn::parse_file(&text) {
        Ok(file) => {
            let mut conditions = Conditions::default();
            conditions.visit_file(&file);
            let line =
                |line| format!("{name}:{line} has a `cfg` inside a function: choose between items instead");
            conditions.lines.into_iter().map(line).collect()
        }
        Err(error) => vec![format!("{name}:{}: {error}", error.span().start().line)],
    }
}

#[derive(Default)]
struct Conditions {
    /// How many functions surround what is looked at.
    depth: usize,
    lines: Vec<usize>,
}

impl<'ast> Visit<'ast> for Conditions {
    fn visit_block(&mut self, block: &'ast syn::Block) {
        self.depth += 1;
        visit::visit_block(self, block);
        self.depth -= 1;
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if self.depth > 0 && ["cfg", "cfg_attr"].iter().any(|name| attribute.path().is_ident(name)) {
            self.lines.push(attribute.span().start().line);
        }
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        if self.depth > 0 {
            if called.path.is_ident("cfg") {
                self.lines.push(called.span().start().line);
            }
            self.visit_tokens(called.tokens.clone());
        }
    }
}

impl Conditions {
    /// Looks for `cfg!` in what a macro is given.
    fn visit_tokens(&mut self, tokens: TokenStream) {
        let mut before = None;
        for token in tokens {
            match &token {
                TokenTree::Punct(punct) if punct.as_char() == '!' => {
                    if let Some(TokenTree::Ident(ident)) = &before
                        && ident == "cfg"
                    {
                        self.lines.push(ident.span().start().line);
                    }
                }
                TokenTree::Group(group) => self.visit_tokens(group.stream()),
                _ => {}
            }
            before = Some(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_between_items_may_be_chosen() {
        let text = r"
            #[cfg(unix)]
            mod imp { #[cfg(test)] const A: bool = cfg!(unix); }
            struct S { #[cfg(windows)] field: u8 }
            impl S { #[cfg(unix)] fn one() {} #[cfg(windows)] fn one() {} }
            fn two() {
                #[cfg(unix)]
                let a = 1;
                if cfg!(windows) {}
                assert!(vec![1].len() == 1 && !(cfg!(unix)));
                mod inner { fn three() { #[cfg_attr(unix, allow(unused))] let b = 2; } }
            }
        ";
        let found = violations("x.rs", text.as_bytes());
        let lines: Vec<_> = found.iter().filter_map(|line| line.split([':', ' ']).nth(1)).collect();
        assert_eq!(lines, ["7", "9", "10", "11"], "{found:?}");
    }

    #[test]
    fn what_is_no_rust_is_said() {
        assert!(violations("x.rs", b"fn (")[0].starts_with("x.rs:1: "));
    }
}
