//! What the service answers, for programs: an `OpenAPI` 3.1 document, made of the same tables as the routes and the queries.

use serde_json::{Map, Value, json};
use traceroute::parameters::{ALL, Parameter, SWITCH_VALUES, TARGET};

use crate::{metrics, routes};

/// The schemas of what is answered. They allow nothing that they do not name, so that a test notices what is new.
const SCHEMAS: &str = include_str!("openapi/schemas.json");

/// The document.
pub(crate) fn document() -> Value {
    // It is part of the program, and a test reads it.
    let schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "datadog-traceroute-server",
            "description": "Traces network paths by UDP, TCP or ICMP, and measures them end to end. Times are milliseconds. \
                            Another method is 405 and another path 404, a body or a head that is too long 413 or 431, all in plain text.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            routes::TRACEROUTE: {"get": {
                "operationId": "traceroute",
                "summary": "Traces the path to a target, and answers when that is done",
                "parameters": parameters(),
                "responses": traced(&json!({
                    "description": "The trace was carried out, whether or not the target was reached",
                    "content": {"application/json": {"schema": reference("Results")}},
                })),
                "security": security(),
            }},
            routes::STREAM: {"get": {
                "operationId": "traceroute_stream",
                "summary": "The same as server-sent events: what happens as it happens, and the result in the end",
                "description": "The data of an event has the schema of its name: Event for all but `lost`, how many events were \
                                lost because the client was slow; `result`, the Results; and `error`, the Failure, of which one \
                                is the last.",
                "parameters": parameters(),
                "responses": traced(&json!({
                    "description": "The events of the trace",
                    "content": {"text/event-stream": {"schema": {"type": "string"}}},
                })),
                "security": security(),
            }},
            routes::HEALTH: {"get": {
                "operationId": "health",
                "summary": "Whether the service is there; HEAD asks the same",
                "responses": {"200": {
                    "description": "It is",
                    "content": {"application/json": {"schema": reference("Health")}},
                }},
                "security": [],
            }},
            routes::METRICS: {"get": {
                "operationId": "metrics",
                "summary": "Figures for Prometheus",
                "responses": {
                    "200": {"description": "In the OpenMetrics format",
                            "content": {metrics::CONTENT_TYPE: {"schema": {"type": "string"}}}},
                    "401": failure("No token, or not the right one"),
                },
                "security": security(),
            }},
            routes::OPENAPI: {"get": {
                "operationId": "openapi",
                "summary": "This document",
                "responses": {
                    "200": {"description": "It is", "content": {"application/json": {"schema": {"type": "object"}}}},
                    "401": failure("No token, or not the right one"),
                },
                "security": security(),
            }},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// With the token, where the service wants one.
fn security() -> Value {
    json!([{"token": []}, {}])
}

/// The answers to a request for a trace.
fn traced(done: &Value) -> Value {
    let wait = json!({"Retry-After": {
        "description": "When it is worth to try again, in seconds",
        "schema": {"type": "integer", "minimum": 1},
    }});
    let with_wait = |description: &str| {
        let mut failure = failure(description);
        failure["headers"] = wait.clone();
        failure
    };
    json!({
        "200": done,
        "400": failure("A parameter is missing, malformed or out of its range"),
        "401": failure("No token, or not the right one"),
        "403": failure("The service's policy forbids the target"),
        "429": with_wait("Too many requests from this client, in a minute or at one time, or for this target"),
        "500": failure("The trace could not be carried out"),
        "503": with_wait("There is too much to do, or the service is about to end"),
    })
}

fn failure(description: &str) -> Value {
    json!({"description": description, "content": {"application/json": {"schema": reference("Failure")}}})
}

/// The parameters of a query.
fn parameters() -> Value {
    let target = json!({
        "name": TARGET.name, "in": "query", "required": true, "description": TARGET.meaning,
        "schema": {"type": "string", "minLength": 1},
    });
    let others = ALL.iter().map(|parameter| {
        json!({
            "name": parameter.name(), "in": "query", "required": false, "description": parameter.meaning(),
            "schema": schema(parameter),
        })
    });
    [target].into_iter().chain(others).collect()
}

fn schema(parameter: &Parameter) -> Value {
    match parameter {
        Parameter::Number(number, _) => json!({
            "type": "integer", "minimum": number.min, "maximum": number.max, "default": number.default,
        }),
        Parameter::Switch(..) => json!({
            "type": "boolean", "default": false, "description": format!("Also {SWITCH_VALUES}"),
        }),
        Parameter::Word(word) => {
            let mut schema = Map::from_iter([
                ("type".to_owned(), json!("string")),
                ("enum".to_owned(), json!((word.words)())),
            ]);
            if !word.default.is_empty() {
                schema.insert("default".to_owned(), json!(word.default));
            }
            schema.into()
        }
        Parameter::Text(..) => json!({"type": "string"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_and_every_parameter_is_described() {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        assert_eq!(paths.len(), routes::ALL.len());
        assert!(routes::ALL.iter().all(|route| paths.contains_key(*route)));
        for route in [routes::TRACEROUTE, routes::STREAM] {
            let parameters = paths[route]["get"]["parameters"].as_array().expect("parameters");
            assert_eq!(parameters.len(), ALL.len() + 1);
        }
    }

    /// References lead somewhere.
    #[test]
    fn every_schema_that_is_meant_is_there() {
        let document = document();
        let text = document.to_string();
        let meant =
            text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().expect("a name"));
        for name in meant {
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }
}
