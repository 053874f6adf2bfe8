//! The token that clients show.

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

/// A secret that clients know.
#[derive(Clone)]
pub struct Token(Box<[u8]>);

/// A token that nobody could show: it is empty, or has white space or other characters that RFC 6750 does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token consists of letters, digits and -._~+/ and may end in = (RFC 6750 section 2.1)")]
pub struct UnfitToken;

impl Token {
    /// A token; white space around it, as at the end of a file, does not belong to it.
    pub fn new(text: &str) -> Result<Self, UnfitToken> {
        let token = text.trim();
        let content = token.trim_end_matches('=');
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        if content.is_empty() || !content.bytes().all(fits) {
            return Err(UnfitToken);
        }
        Ok(Self(token.as_bytes().into()))
    }

    /// Whether the headers have the token. How long it takes says nothing of how much of it is right.
    pub(crate) fn is_shown_by(&self, headers: &HeaderMap) -> bool {
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let (Some(shown), None) = (shown.next(), shown.next()) else { return false };
        let Some((scheme, token)) = shown.as_bytes().split_at_checked("Bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"Bearer ") && token.trim_ascii().ct_eq(&self.0).into()
    }
}

/// Without the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_is_the_token() {
        let token = Token::new(" s3cret/+~=\n").expect("fit");
        let shows = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().expect("a header"));
            }
            token.is_shown_by(&headers)
        };
        assert!(shows(&["Bearer s3cret/+~="]) && shows(&["bearer  s3cret/+~= "]));
        for wrong in [
            &[][..],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &["Bearer s3cret/+~"],
            &["Bearer s3cret/+~=="],
            &["Bearer S3cret/+~="],
            &["Basic s3cret/+~="],
            &["s3cret/+~="],
            &["Bearer s3cret/+~=", "Bearer s3cret/+~="],
        ] {
            assert!(!shows(wrong), "{wrong:?}");
        }
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn what_cannot_be_shown_is_no_token() {
        for text in ["", " \n", "==", "two words", "t\u{f6}ken", "a\nb"] {
            assert_eq!(Token::new(text).err(), Some(UnfitToken), "{text:?}");
        }
    }
}
