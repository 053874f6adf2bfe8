//! What a trace printed.

use serde_json::Value;

use crate::failure::Failure;

/// The result of a program, as JSON.
pub(crate) struct Trace(Value);

impl Trace {
    pub(crate) fn read(text: &[u8]) -> Result<Self, Failure> {
        let unexpected = |error| Failure::Unexpected(format!("a trace that is not JSON: {error}"));
        serde_json::from_slice(text).map(Self).map_err(unexpected)
    }

    /// The hops of each run, of which there is at least one, are these addresses.
    pub(crate) fn expect_hops(&self, expected: &[&str]) -> Result<(), Failure> {
        let runs = self.0["traceroute"]["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let hops = |run: &Value| -> Vec<String> {
            let hops = run["hops"].as_array().map(Vec::as_slice).unwrap_or_default();
            hops.iter().map(|hop| hop["ip_address"].as_str().unwrap_or_default().to_owned()).collect()
        };
        if !runs.is_empty() && runs.iter().all(|run| hops(run) == expected) {
            return Ok(());
        }
        Err(Failure::Unexpected(format!("the hops are not {}: {}", expected.join(", "), self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(runs: &str) -> Trace {
        Trace::read(format!(r#"{{"traceroute": {{"runs": {runs}}}}}"#).as_bytes()).unwrap()
    }

    #[test]
    fn every_run_has_to_have_the_hops() {
        let expected = ["10.0.0.1", "10.0.1.2"];
        let right = r#"{"hops": [{"ip_address": "10.0.0.1"}, {"ip_address": "10.0.1.2"}]}"#;
        let silent = r#"{"hops": [{"ip_address": ""}, {"ip_address": "10.0.1.2"}]}"#;
        assert!(trace(&format!("[{right}, {right}]")).expect_hops(&expected).is_ok());
        assert!(trace(&format!("[{right}, {silent}]")).expect_hops(&expected).is_err());
        for none in ["[]", "null", r#"[{"hops": []}]"#] {
            assert!(trace(none).expect_hops(&expected).is_err(), "{none}");
        }
    }

    #[test]
    fn what_is_no_json_is_no_trace() {
        assert!(Trace::read(b"Error: no permission").is_err());
    }
}
