//! The OpenAPI document is true: the paths that are there and no others, and examples that are taken.

use std::collections::BTreeSet;

use actix_web::http::Method;
use serde_json::json;

use super::schema::faults;
use super::*;
use crate::http::api::ROUTES;

/// Every method and path of the document.
fn documented(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap().iter();
    // The inference paths are served beside this table, and tests of their own call them.
    let paths = paths.filter(|(path, _)| !path.starts_with("/v1/"));
    let methods = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
        methods.map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    paths.flat_map(methods).collect()
}

#[test]
fn the_document_has_exactly_the_routes_that_answer() {
    run(async {
        let fixture = Fixture::new();
        let document = fixture.get("/api/openapi.json").await.json();
        let documented = documented(&document);
        let table: BTreeSet<_> =
            ROUTES.iter().map(|route| (route.verb.as_str().to_owned(), route.path.to_owned())).collect();
        assert_eq!(documented, table);
        assert_eq!(ROUTES.len(), table.len(), "no route stands twice");
        let paths: BTreeSet<&str> = ROUTES.iter().map(|route| route.path).collect();
        for path in paths {
            for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
                let uri = path.replace("{id}", "nothing").replace("{name}", "nothing");
                let request = TestRequest::with_uri(&uri).method(Method::from_bytes(method.as_bytes()).unwrap());
                let answers = fixture.call(As::Admin, request).await.status != 405;
                assert_eq!(answers, documented.contains(&(method.to_owned(), path.to_owned())), "{method} {path}");
            }
        }
    });
}

#[test]
fn every_reference_of_the_document_leads_somewhere_and_every_part_is_used() {
    let document = crate::http::openapi::document("1.2.3");
    let mut referred = BTreeSet::new();
    references(&document, &mut referred);
    for reference in &referred {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
    }
    for part in ["schemas", "parameters"] {
        for name in document["components"][part].as_object().unwrap().keys() {
            let reference = format!("#/components/{part}/{name}");
            assert!(referred.contains(&reference), "{reference} is used by nobody");
        }
    }
    let mut ids = BTreeSet::new();
    for (_, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values().filter(|value| value.is_object()) {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
        }
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, member) in object {
                if let (true, Some(reference)) = (name == "$ref", member.as_str()) {
                    found.insert(reference.to_owned());
                }
                references(member, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_example_of_a_body_fits_its_schema_and_is_taken() {
    run(async {
        let document = crate::http::openapi::document("1.2.3");
        let mut taken = 0;
        for (schema, uri, method) in [
            ("NewKey", "/api/keys", Method::POST),
            ("NewBudget", "/api/budgets", Method::POST),
            ("BudgetTerms", "/api/budgets/budget_1", Method::PUT),
        ] {
            let schema = &document["components"]["schemas"][schema];
            for example in schema["examples"].as_array().unwrap() {
                assert_eq!(faults(schema, example), Vec::<String>::new());
                let fixture = Fixture::new();
                if method == Method::PUT {
                    let budget =
                        json!({"scope": {"kind": "everything"}, "window": "day", "limitUsd": "1", "action": "block"});
                    assert_eq!(fixture.post("/api/budgets", &budget).await.status, 201);
                } else {
                    fixture.state.keys.revoke(&fixture.key.id, noon()).unwrap();
                }
                let request = TestRequest::with_uri(uri).method(method.clone()).set_json(example);
                let answer = fixture.call(As::Admin, request).await;
                assert!(answer.status.is_success(), "{example}: {}", answer.body);
                taken += 1;
            }
        }
        assert_eq!(taken, 5);
    });
}

#[test]
fn the_checker_of_schemas_finds_faults() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 0}, "b": {"enum": ["x"]}},
        "required": ["a"], "additionalProperties": false});
    assert_eq!(faults(&schema, &json!({"a": 1, "b": "x"})), Vec::<String>::new());
    for wrong in
        [json!([]), json!({}), json!({"a": "1"}), json!({"a": -1}), json!({"a": 1, "b": "y"}), json!({"a": 1, "c": 1})]
    {
        assert_eq!(faults(&schema, &wrong).len(), 1, "{wrong}");
    }
}
