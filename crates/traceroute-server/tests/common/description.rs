//! The service's description of itself, and whether its answers are as described.
#![allow(dead_code, clippy::unwrap_used, reason = "a module of tests; each file uses a part")]

use std::collections::BTreeSet;

use jsonschema::{Validator, draft202012};
use serde_json::{Value, json};

use crate::common::{Answer, Server};

/// `/openapi.json`.
pub(crate) struct Description(pub(crate) Value);

impl Description {
    #[track_caller]
    pub(crate) fn of(server: &Server<'_>) -> Self {
        Self(server.get("/openapi.json").result())
    }

    /// Checks a value against one of the schemas.
    #[track_caller]
    pub(crate) fn assert_valid(&self, schema: &str, value: &Value) {
        assert_fits(&self.validator(&reference(schema)), value);
    }

    /// A validator for a schema that may refer to others of the document.
    fn validator(&self, schema: &Value) -> Validator {
        let mut root = schema.clone();
        root["components"] = self.0["components"].clone();
        draft202012::options().should_validate_formats(true).build(&root).unwrap()
    }

    /// Checks an answer of a path against what is described of its status: type, headers and body.
    #[track_caller]
    pub(crate) fn assert_describes(&self, path: &str, answer: &Answer) {
        let described = &self.0["paths"][path]["get"]["responses"][answer.status.to_string()];
        let media_type = answer.header("content-type").unwrap_or_else(|| panic!("{path}: {answer:?}"));
        let content = described["content"].as_object().unwrap_or_else(|| panic!("{path}: {answer:?}"));
        let schema =
            content.get(media_type).unwrap_or_else(|| panic!("{path}: {answer:?}"))["schema"].clone();
        let is_json = media_type == "application/json";
        assert_fits(&self.validator(&schema), &if is_json { answer.json() } else { json!(answer.body) });
        for (name, header) in described["headers"].as_object().into_iter().flatten() {
            let value = answer.header(&name.to_lowercase()).unwrap_or_else(|| panic!("{path}: {answer:?}"));
            let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
            assert_fits(&self.validator(&header["schema"]), &value);
        }
    }

    /// Checks the events of a stream, and returns their names.
    #[track_caller]
    pub(crate) fn assert_describes_events(&self, events: &[(String, Value)]) -> BTreeSet<String> {
        let [results, failure, lost, event] =
            ["Results", "Failure", "Lost", "Event"].map(|schema| self.validator(&reference(schema)));
        for (name, data) in events {
            match name.as_str() {
                "result" => assert_fits(&results, data),
                "error" => assert_fits(&failure, data),
                "lost" => assert_fits(&lost, data),
                name => {
                    assert_fits(&event, data);
                    assert_eq!(data["event"], name);
                }
            }
        }
        events.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Every path with every status that is described.
    pub(crate) fn statuses(&self) -> BTreeSet<(String, u16)> {
        let paths = self.0["paths"].as_object().unwrap();
        let of_path = |(path, item): (&String, &Value)| {
            let responses = item["get"]["responses"].as_object().unwrap();
            let statuses: Vec<_> =
                responses.keys().map(|status| (path.clone(), status.parse().unwrap())).collect();
            statuses
        };
        paths.iter().flat_map(of_path).collect()
    }
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

#[track_caller]
fn assert_fits(validator: &Validator, value: &Value) {
    let errors = validator.iter_errors(value);
    let errors: Vec<String> =
        errors.map(|error| format!("{error} at {:?}", error.instance_path().as_str())).collect();
    assert_eq!(errors, [""; 0], "of {value}");
}
