//! What differs between platforms is chosen between items, and never inside a function: each function is for one platform, or the
//! same for all.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
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

/// Attributes that are conditions.
const ATTRIBUTES: [&str; 2] = ["cfg", "cfg_attr"];
/// Macros that are.
const MACROS: [&str; 3] = ["cfg", "cfg_select", "cfg_if"];

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

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.visit_inner(&function.attrs);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.visit_inner(&function.attrs);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.visit_inner(&function.attrs);
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if self.depth > 0 {
            self.note_attribute(attribute);
        }
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        if self.depth == 0 {
            self.visit_items(called.tokens.clone());
            return;
        }
        if called.path.segments.last().is_some_and(|name| is_one_of(&name.ident, &MACROS)) {
            self.lines.push(called.span().start().line);
        }
        self.visit_body(called.tokens.clone());
    }
}

impl Conditions {
    fn note_attribute(&mut self, attribute: &syn::Attribute) {
        if ATTRIBUTES.iter().any(|name| attribute.path().is_ident(name)) {
            self.lines.push(attribute.span().start().line);
        }
    }

    /// Looks at those attributes that stand inside a function.
    fn visit_inner(&mut self, attributes: &[syn::Attribute]) {
        let is_inner = |attribute: &&syn::Attribute| matches!(attribute.style, syn::AttrStyle::Inner(_));
        attributes.iter().filter(is_inner).for_each(|attribute| self.note_attribute(attribute));
    }

    /// Looks for functions in what a macro between items is given.
    fn visit_items(&mut self, tokens: TokenStream) {
        let mut in_function = false;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if ident == "fn" => in_function = true,
                TokenTree::Punct(punct) if punct.as_char() == ';' => in_function = false,
                TokenTree::Group(group) if in_function && group.delimiter() == Delimiter::Brace => {
                    in_function = false;
                    self.visit_body(group.stream());
                }
                TokenTree::Group(group) => self.visit_items(group.stream()),
                _ => {}
            }
        }
    }

    /// Looks for conditions in the tokens of a function, or of what a macro inside one is given.
    fn visit_body(&mut self, tokens: TokenStream) {
        let mut before = None;
        for token in tokens {
            match (&before, &token) {
                (Some(TokenTree::Ident(ident)), TokenTree::Punct(punct))
                    if punct.as_char() == '!' && is_one_of(ident, &MACROS) =>
                {
                    self.lines.push(ident.span().start().line);
                }
                (Some(TokenTree::Punct(punct)), TokenTree::Group(group))
                    if ['#', '!'].contains(&punct.as_char()) && group.delimiter() == Delimiter::Bracket =>
                {
                    if let Some(TokenTree::Ident(ident)) = group.stream().into_iter().next()
                        && is_one_of(&ident, &ATTRIBUTES)
                    {
                        self.lines.push(ident.span().start().line);
                    }
                    self.visit_body(group.stream());
                }
                (_, TokenTree::Group(group)) => self.visit_body(group.stream()),
                _ => {}
            }
            before = Some(token);
        }
    }
}

fn is_one_of(ident: &Ident, names: &[&str]) -> bool {
    names.iter().any(|name| ident == name)
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
    fn conditions_in_other_clothes_are_found() {
        let text = r"
            cfg_select! { unix => { fn outside() {} } _ => {} }
            proptest! { #[test] fn one(a in 0..9) { if cfg!(unix) {} } }
            macro_rules! two { () => { #[cfg(unix)] fn f() -> u8 { #[cfg(unix)] { 1 } } } }
            thread_local! { static A: bool = const { cfg!(unix) } }
            fn three() {
                cfg_select! { unix => {} _ => {} }
                cfg_if::cfg_if! { if #[cfg(unix)] {} }
                std::cfg!(unix);
                let a = vec![#[cfg(unix)] 1];
                tokio::select! { _ = b => { #[cfg(windows)] c(); } }
            }
            fn four() {
                #![cfg_attr(unix, allow(unused))]
            }
            trait T { fn seven() { #![cfg_attr(unix, allow(unused))] } }
            fn six() { assert!(!vec![cfg!(unix)].is_empty()); }
            impl S { fn five(&self) { assert!(core::cfg_select! { _ => { true } }); } }
        ";
        let found = violations("x.rs", text.as_bytes());
        let mut lines: Vec<_> =
            found.iter().filter_map(|line| line.split([':', ' ']).nth(1)).map(str::to_owned).collect();
        lines.dedup();
        assert_eq!(lines, ["3", "4", "7", "8", "9", "10", "11", "14", "16", "17", "18"], "{found:?}");
    }

    #[test]
    fn what_is_no_rust_is_said() {
        assert!(violations("x.rs", b"fn (")[0].starts_with("x.rs:1: "));
    }
}
