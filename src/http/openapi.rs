//! The OpenAPI document: paths from the table of routes, so that none is missing and none made up; schemas from a file
//! that tests hold against real answers.

use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};

use super::api::{Answer, ROUTES, RouteSpec};
use super::guard::Access;
use super::problem::{PROBLEM_JSON, Problem};
use super::state::State;

/// `components`: schemas, parameters, and how to show who one is.
const COMPONENTS: &str = include_str!("openapi.json");
/// The inference paths, whose bodies are the providers' own.
const INFERENCE: &str = include_str!("inference.json");

/// `GET /api/openapi.json`.
pub async fn show(state: web::Data<State>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(document(state.version)))
}

/// The document of all routes.
pub fn document(version: &str) -> Value {
    let components: Value = serde_json::from_str(COMPONENTS).expect("a test reads the file");
    let mut paths: Map<String, Value> = serde_json::from_str(INFERENCE).expect("a test reads the file");
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| Value::Object(path_item(route.path)));
        path[route.verb.as_str().to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tollgate",
            "version": version,
            "description": "The management API of Tollgate. Money is a decimal string of US dollars, exact. Errors are problem details (RFC 9457) with a stable code.",
        },
        "paths": paths,
        "components": components,
    })
}

fn path_item(path: &str) -> Map<String, Value> {
    let mut item = Map::new();
    for name in ["id", "name"] {
        if path.contains(&format!("{{{name}}}")) {
            item.insert("parameters".to_owned(), json!([{ "$ref": format!("#/components/parameters/{name}") }]));
        }
    }
    item
}

fn operation(route: &RouteSpec) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "security": security(route.access),
        "responses": responses(route),
    });
    if !route.parameters.is_empty() {
        let reference = |name: &&str| json!({ "$ref": format!("#/components/parameters/{name}") });
        operation["parameters"] = route.parameters.iter().map(reference).collect();
    }
    if let Some(schema) = route.body {
        operation["requestBody"] = json!({ "required": true, "content": content(route.body_media, schema) });
    }
    if let Some(who) = role_words(route.access) {
        operation["description"] = who.into();
    }
    operation
}

/// `getApiKeysId` for `GET /api/keys/{id}`.
fn operation_id(route: &RouteSpec) -> String {
    let mut id = route.verb.as_str().to_lowercase();
    for word in route.path.split(|character: char| !character.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let (first, rest) = word.split_at(1);
        id.push_str(&first.to_uppercase());
        id.push_str(rest);
    }
    id
}

/// Whom a route is for, where it is not for admins alone.
fn role_words(access: Access) -> Option<&'static str> {
    match access {
        Access::Own | Access::Team => Some("For every role: members, and viewers of a team, see what is their team's."),
        Access::TeamKeys => Some("For admins, and for members about the keys of their team."),
        Access::Everything => Some("For admins, and for viewers who are of no team."),
        Access::Metrics => Some("For admins, for viewers who are of no team, and for the metrics token."),
        Access::Open | Access::Admin => None,
    }
}

fn security(access: Access) -> Value {
    match access {
        Access::Open => json!([]),
        Access::Admin | Access::Everything | Access::Team | Access::TeamKeys => {
            json!([{ "adminToken": [] }, { "session": [] }])
        }
        Access::Own => json!([{ "adminToken": [] }, { "session": [] }, { "virtualKey": [] }]),
        Access::Metrics => json!([{ "adminToken": [] }, { "session": [] }, { "metricsToken": [] }]),
    }
}

fn responses(route: &RouteSpec) -> Value {
    let good = match route.answer {
        Answer::Nothing => json!({ "description": "Done." }),
        Answer::Json(schema) => json!({ "description": "Done.", "content": content("application/json", schema) }),
        Answer::Text(media) => {
            json!({ "description": "Done.", "content": { media: { "schema": { "type": "string" } } } })
        }
        Answer::TextOrJson(media, schema) => {
            let mut content = content("application/json", schema);
            content[media] = json!({ "schema": { "type": "string" } });
            json!({ "description": "Done.", "content": content })
        }
    };
    let mut responses = json!({ route.status.to_string(): good });
    if route.access == Access::Open {
        responses["503"] = json!({ "description": "Down.", "content": content("application/json", "Health") });
    } else {
        responses["default"] =
            json!({ "description": "Refused or failed.", "content": content(PROBLEM_JSON, "Problem") });
    }
    responses
}

fn content(media: &str, schema: &str) -> Value {
    json!({ media: { "schema": { "$ref": format!("#/components/schemas/{schema}") } } })
}
