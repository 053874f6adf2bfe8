//! Answers, in the reference's form.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use traceroute::{Error, ErrorCode, Style, write_json};

use crate::rate::TooMany;

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    /// When it is worth to try again.
    pub(crate) retry_after: Option<Duration>,
}

/// A failure as it is written.
#[derive(Serialize)]
struct FailureBody<'a> {
    code: ErrorCode,
    message: &'a str,
}

impl Failure {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    /// There is too much to do.
    pub(crate) fn overloaded(message: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(ErrorCode::Overloaded, message) }
    }

    /// As the reference writes it.
    pub(crate) fn json(&self) -> Vec<u8> {
        json(&FailureBody { code: self.code, message: &self.message })
    }

    fn status(&self) -> StatusCode {
        match self.code {
            ErrorCode::InvalidRequest => StatusCode::BAD_REQUEST,
            ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
            ErrorCode::Forbidden => StatusCode::FORBIDDEN,
            ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<TooMany> for Failure {
    fn from(too_many: TooMany) -> Self {
        let retry_after = Some(too_many.retry_after);
        Self { retry_after, ..Self::new(ErrorCode::RateLimited, too_many.to_string()) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Refused { reason, .. } if let Some(too_many) = reason.downcast_ref::<TooMany>() => {
                too_many.clone().into()
            }
            _ => Self::new(error.code(), error.to_string()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status(), [(CONTENT_TYPE, JSON)], self.json()).into_response();
        if let Some(retry_after) = self.retry_after {
            // Whole seconds, and not before the time.
            let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.code == ErrorCode::Unauthorized {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The type of all that the reference answers in JSON.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A value in the reference's notation, on one line with its end.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    let mut text = Vec::new();
    // Memory does not fail, and no value of ours has keys that are no text.
    write_json(value, Style::Compact, &mut text).unwrap_or_default();
    text
}

/// An answer in JSON.
pub(crate) fn in_json(value: &impl Serialize) -> Response {
    ([(CONTENT_TYPE, JSON)], json(value)).into_response()
}

/// The reference's answer to a method that a path does not know.
pub(crate) fn method_not_allowed() -> Response {
    plain(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed\n")
}

/// The reference's answer to a path that it does not know.
pub(crate) fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, Body::from(text)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_status() {
        for (code, status) in [
            (ErrorCode::InvalidRequest, 400),
            (ErrorCode::Unauthorized, 401),
            (ErrorCode::Forbidden, 403),
            (ErrorCode::RateLimited, 429),
            (ErrorCode::Overloaded, 503),
            (ErrorCode::Dns, 500),
            (ErrorCode::Denied, 500),
            (ErrorCode::Unknown, 500),
        ] {
            assert_eq!(Failure::new(code, "").into_response().status(), status, "{code:?}");
        }
    }

    #[test]
    fn seconds_to_wait_are_whole_and_never_too_few() {
        for (wait, seconds) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (59_999, "60")] {
            let failure = Failure::overloaded("", Duration::from_millis(wait));
            assert_eq!(failure.into_response().headers()[RETRY_AFTER], seconds);
        }
    }

    #[test]
    fn failures_look_as_the_references_do() {
        let failure = Failure::new(ErrorCode::ConnRefused, "\"<a>\" refused");
        let expected = "{\"code\":\"CONNREFUSED\",\"message\":\"\\\"\\u003ca\\u003e\\\" refused\"}\n";
        assert_eq!(String::from_utf8(failure.json()).expect("text"), expected);
    }
}
