//! The table of routes: each with its path, whom it is for, what it takes and answers, and its handler.

use actix_web::web::route;

use super::Answer::{Json, Nothing, Text, TextOrJson};
use super::Verb::{Delete, Get, Patch, Post, Put};
use super::{
    RouteSpec, Shape, adjust, admin, alerts, budgets, cache, config, content, costs, doctor, export, imports, keys,
    metrics, providers, reconciliation, reports, requests, rerate, routing, status, teams, users, verify, warm,
};
use crate::http::guard::Access;
use crate::http::{health, openapi};

/// Reads without parameters: what most routes have in common.
const READ: RouteSpec = RouteSpec {
    verb: Get,
    path: "",
    access: Access::Admin,
    summary: "",
    parameters: &[],
    body: None,
    body_media: "application/json",
    status: 200,
    answer: Nothing,
    handler: route,
};

/// Every route of the management API, of health and of metrics.
pub const ROUTES: &[RouteSpec] = &[
    RouteSpec {
        path: "/health",
        access: Access::Open,
        summary: "Tells whether calls can be booked, and so be made.",
        answer: Json("Health"),
        handler: || route().to(health::health),
        ..READ
    },
    RouteSpec {
        path: "/ready",
        access: Access::Open,
        summary: "Tells whether new calls should be sent to this instance.",
        answer: Json("Health"),
        handler: || route().to(health::ready),
        ..READ
    },
    RouteSpec {
        path: "/metrics",
        access: Access::Metrics,
        summary: "Gives the metrics page for Prometheus.",
        answer: Text(metrics::OPENMETRICS),
        handler: || route().to(metrics::page),
        ..READ
    },
    RouteSpec {
        path: "/api/status",
        access: Access::Everything,
        summary: "Shows the state of the server on one page.",
        answer: Json("Status"),
        handler: || route().to(status::show),
        ..READ
    },
    RouteSpec {
        path: "/api/metrics",
        access: Access::Everything,
        summary: "Gives figures since the start, and what was spent today and this month.",
        answer: Json("Metrics"),
        handler: || route().to(metrics::show),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/doctor",
        summary: "Examines the installation: what is wrong, each finding with its mend; nothing that costs money is called.",
        parameters: doctor::PARAMETERS,
        answer: Json("Examination"),
        handler: || route().to(doctor::run),
        ..READ
    },
    RouteSpec {
        path: "/api/costs",
        access: Access::Team,
        summary: "Sums what was spent in a range of time, in groups if asked.",
        parameters: costs::PARAMETERS,
        answer: Json("Costs"),
        handler: || route().to(costs::show),
        ..READ
    },
    RouteSpec {
        path: "/api/costs.csv",
        access: Access::Team,
        summary: "Exports a row for each entry of a range of time, or for each group with groupBy.",
        parameters: export::COSTS_PARAMETERS,
        answer: Text("text/csv"),
        handler: || route().to(|state, caller, request| export::answer(state, caller, request, Shape::CostsCsv)),
        ..READ
    },
    RouteSpec {
        path: "/api/costs.jsonl",
        access: Access::Team,
        summary: "Exports a line of JSON for each entry of a range of time, or for each group with groupBy.",
        parameters: export::COSTS_PARAMETERS,
        answer: Text("application/jsonl"),
        handler: || route().to(|state, caller, request| export::answer(state, caller, request, Shape::CostsLines)),
        ..READ
    },
    RouteSpec {
        path: "/api/costs.focus.csv",
        access: Access::Team,
        summary: "Exports the sums of each day of a range in the columns of FOCUS 1.2, the FinOps cost and usage specification.",
        parameters: export::FOCUS_PARAMETERS,
        answer: Text("text/csv"),
        handler: || route().to(|state, caller, request| export::answer(state, caller, request, Shape::CostsFocus)),
        ..READ
    },
    RouteSpec {
        path: "/api/reports/daily",
        access: Access::Everything,
        summary: "Reports a day, yesterday unless told: as Markdown, or as JSON where that is accepted.",
        parameters: reports::DAILY_PARAMETERS,
        answer: TextOrJson("text/markdown", "Report"),
        handler: || route().to(reports::daily),
        ..READ
    },
    RouteSpec {
        path: "/api/reports/monthly",
        access: Access::Everything,
        summary: "Reports a month, the last one unless told: as Markdown, or as JSON where that is accepted.",
        parameters: reports::MONTHLY_PARAMETERS,
        answer: TextOrJson("text/markdown", "Report"),
        handler: || route().to(reports::monthly),
        ..READ
    },
    RouteSpec {
        path: "/api/reconciliation",
        access: Access::Everything,
        summary: "Holds what providers say they charged against what was booked, per provider, UTC day and model.",
        parameters: reconciliation::PARAMETERS,
        answer: Json("Reconciliation"),
        handler: || route().to(reconciliation::show),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/reconciliation",
        summary: "Fetches the reports of providers with an admin key, or takes a CSV file of a provider's console as the body (text/csv), and compares.",
        parameters: reconciliation::PARAMETERS,
        body: Some("StatementFile"),
        body_media: reconciliation::CSV,
        answer: Json("Reconciliation"),
        handler: || route().to(reconciliation::run),
        ..READ
    },
    RouteSpec {
        path: "/api/requests.jsonl",
        access: Access::Team,
        summary: "Exports a line of JSON for each call of a range of time, with all its attempts.",
        parameters: export::REQUESTS_PARAMETERS,
        answer: Text("application/jsonl"),
        handler: || route().to(|state, caller, request| export::answer(state, caller, request, Shape::RequestsLines)),
        ..READ
    },
    RouteSpec {
        path: "/api/requests",
        access: Access::Own,
        summary: "Lists ended calls, newest first; with status=pending those that run. A virtual key sees its own.",
        parameters: requests::PARAMETERS,
        answer: Json("RequestList"),
        handler: || route().to(requests::list),
        ..READ
    },
    RouteSpec {
        path: "/api/requests/{id}",
        access: Access::Own,
        summary: "Shows one call with all its attempts, to admins with what is kept of it. A virtual key sees its own.",
        answer: Json("RequestDetail"),
        handler: || route().to(requests::show),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/requests/{id}/adjust",
        summary: "Books what a call of unknown cost has cost in truth: an entry of its own, at the time of the call.",
        body: Some("Adjust"),
        answer: Json("RequestDetail"),
        handler: || route().to(adjust::adjust),
        ..READ
    },
    RouteSpec {
        path: "/api/config",
        summary: "Shows the settings that are in force, secrets masked, what waits for a restart, and what was refused last.",
        answer: Json("Config"),
        handler: || route().to(config::show),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/config/reload",
        summary: "Reads the settings again and takes them over as a whole, or tells of every problem and changes nothing.",
        answer: Json("Reloaded"),
        handler: || route().to(config::reload),
        ..READ
    },
    RouteSpec {
        path: "/api/config/revisions",
        summary: "Lists the last ten revisions of the settings, newest first.",
        answer: Json("ConfigRevisionList"),
        handler: || route().to(config::list),
        ..READ
    },
    RouteSpec {
        path: "/api/config/revisions/{id}",
        summary: "Shows a revision of the settings, with against= compared line by line with another one.",
        parameters: config::REVISION_PARAMETERS,
        answer: Json("ConfigRevision"),
        handler: || route().to(config::revision),
        ..READ
    },
    RouteSpec {
        verb: Delete,
        path: "/api/content",
        summary: "Deletes what is kept of the calls of a key, a session or a user; their entries stay.",
        parameters: content::PARAMETERS,
        answer: Json("Deleted"),
        handler: || route().to(content::delete),
        ..READ
    },
    RouteSpec {
        path: "/api/keys",
        access: Access::Team,
        summary: "Lists all virtual keys, oldest first, the revoked ones too.",
        parameters: keys::PARAMETERS,
        answer: Json("KeyList"),
        handler: || route().to(keys::list),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/keys",
        access: Access::TeamKeys,
        summary: "Makes a virtual key and its budgets; its secret is in this answer only.",
        body: Some("NewKey"),
        status: 201,
        answer: Json("MadeKey"),
        handler: || route().to(keys::create),
        ..READ
    },
    RouteSpec {
        path: "/api/keys/{id}",
        access: Access::Team,
        summary: "Shows one virtual key.",
        answer: Json("Key"),
        handler: || route().to(keys::show),
        ..READ
    },
    RouteSpec {
        verb: Patch,
        path: "/api/keys/{id}",
        access: Access::TeamKeys,
        summary: "Changes a live virtual key; parts that are left out stay as they are. Takes If-Match.",
        body: Some("KeyPatch"),
        answer: Json("Key"),
        handler: || route().to(keys::change),
        ..READ
    },
    RouteSpec {
        verb: Delete,
        path: "/api/keys/{id}",
        access: Access::TeamKeys,
        summary: "Revokes a virtual key: it opens nothing any more, and stays in the list.",
        status: 204,
        handler: || route().to(keys::revoke),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/keys/{id}/rotate",
        access: Access::TeamKeys,
        summary: "Gives a virtual key a new secret, which is in this answer only; the old one goes on for an overlap, if any.",
        body: Some("Rotation"),
        answer: Json("MadeKey"),
        handler: || route().to(keys::rotate),
        ..READ
    },
    RouteSpec {
        path: "/api/teams",
        access: Access::Team,
        summary: "Lists the teams, by name, with what they spent this month. A member sees their own.",
        answer: Json("TeamList"),
        handler: || route().to(teams::list),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/teams",
        summary: "Makes a team; its id is the name that it is made with.",
        body: Some("NewTeam"),
        status: 201,
        answer: Json("Team"),
        handler: || route().to(teams::create),
        ..READ
    },
    RouteSpec {
        path: "/api/teams/{id}",
        access: Access::Team,
        summary: "Shows one team with its people, its budgets and its keys, and what each spent this month.",
        answer: Json("Team"),
        handler: || route().to(teams::show),
        ..READ
    },
    RouteSpec {
        verb: Patch,
        path: "/api/teams/{id}",
        summary: "Gives a team another name; its id stays. Takes If-Match.",
        body: Some("TeamPatch"),
        answer: Json("Team"),
        handler: || route().to(teams::change),
        ..READ
    },
    RouteSpec {
        verb: Delete,
        path: "/api/teams/{id}",
        summary: "Removes a team without live keys, budgets and people; its entries stay. Takes If-Match.",
        status: 204,
        handler: || route().to(teams::remove),
        ..READ
    },
    RouteSpec {
        path: "/api/users",
        summary: "Lists the people who can log in, or could.",
        answer: Json("UserList"),
        handler: || route().to(users::list),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/users",
        summary: "Lets someone in, by an invitation that is in this answer only, or with a password.",
        body: Some("NewUser"),
        status: 201,
        answer: Json("MadeUser"),
        handler: || route().to(users::create),
        ..READ
    },
    RouteSpec {
        path: "/api/users/{id}",
        summary: "Shows the user of that name.",
        answer: Json("User"),
        handler: || route().to(users::show),
        ..READ
    },
    RouteSpec {
        verb: Patch,
        path: "/api/users/{id}",
        summary: "Changes a user's role or team, keeps them out or lets them in again; their sessions end.",
        body: Some("UserPatch"),
        answer: Json("User"),
        handler: || route().to(users::change),
        ..READ
    },
    RouteSpec {
        verb: Delete,
        path: "/api/users/{id}",
        summary: "Removes the user of that name; the last admin stays.",
        status: 204,
        handler: || route().to(users::remove),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/users/{id}/invite",
        summary: "Makes a fresh one-time link by which a user chooses a password; the one before opens nothing any more.",
        body: Some("NewInvite"),
        status: 201,
        answer: Json("MadeUser"),
        handler: || route().to(users::invite),
        ..READ
    },
    RouteSpec {
        path: "/api/budgets",
        access: Access::Team,
        summary: "Lists all budgets, oldest first, and how they stand.",
        parameters: budgets::PARAMETERS,
        answer: Json("BudgetList"),
        handler: || route().to(budgets::list),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/budgets",
        summary: "Makes a budget; a scope and window have at most one.",
        body: Some("NewBudget"),
        status: 201,
        answer: Json("Budget"),
        handler: || route().to(budgets::create),
        ..READ
    },
    RouteSpec {
        path: "/api/budgets/{id}",
        access: Access::Team,
        summary: "Shows one budget and how it stands.",
        answer: Json("Budget"),
        handler: || route().to(budgets::show),
        ..READ
    },
    RouteSpec {
        verb: Put,
        path: "/api/budgets/{id}",
        summary: "Changes a budget's limit, action and thresholds. Takes If-Match.",
        body: Some("BudgetTerms"),
        answer: Json("Budget"),
        handler: || route().to(budgets::change),
        ..READ
    },
    RouteSpec {
        verb: Delete,
        path: "/api/budgets/{id}",
        summary: "Removes a budget.",
        status: 204,
        handler: || route().to(budgets::remove),
        ..READ
    },
    RouteSpec {
        path: "/api/cache",
        access: Access::Everything,
        summary: "Shows what the response cache holds and has done, and its entries page by page.",
        parameters: cache::PARAMETERS,
        answer: Json("CacheList"),
        handler: || route().to(cache::list),
        ..READ
    },
    RouteSpec {
        verb: Delete,
        path: "/api/cache",
        summary: "Takes the entries that fit a pattern out of the response cache; * is all of them.",
        parameters: cache::PATTERN_ONLY,
        answer: Json("CacheRemoved"),
        handler: || route().to(cache::invalidate),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/cache/warm",
        summary: "Makes calls, one a line, whose answers are then in the response cache; they cost what calls cost.",
        parameters: warm::PARAMETERS,
        body: Some("WarmLines"),
        body_media: warm::JSON_LINES,
        answer: Json("Warmed"),
        handler: || route().to(warm::warm),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/imports/spend",
        summary: "Books calls that another gateway made, one a line, at their own time; a call that is booked already stays as it is.",
        body: Some("PastCallLines"),
        body_media: warm::JSON_LINES,
        answer: Json("TakenIn"),
        handler: || route().to(imports::spend),
        ..READ
    },
    RouteSpec {
        path: "/api/providers",
        access: Access::Everything,
        summary: "Lists the configured providers, the state of their circuits and of their keys.",
        answer: Json("ProviderList"),
        handler: || route().to(providers::list),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/providers/{name}/credentials/{position}/enable",
        summary: "Uses a key of a provider at once that was refused or is limited; position is its place in the settings, from 1.",
        answer: Json("Credential"),
        handler: || route().to(providers::enable),
        ..READ
    },
    RouteSpec {
        path: "/api/routes",
        access: Access::Everything,
        summary: "Lists the routes, how each chooses, which operations use it, and how its deployments do.",
        answer: Json("RouteList"),
        handler: || route().to(routing::list),
        ..READ
    },
    RouteSpec {
        path: "/api/routes/{name}/explain",
        access: Access::Everything,
        summary: "Tells where a plain call to a route or model would go, and why; nobody is called.",
        parameters: routing::EXPLAIN_PARAMETERS,
        answer: Json("Explanation"),
        handler: || route().to(routing::explain_plain),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/routes/{name}/explain",
        summary: "Tells where a call with this body would go, and why; nobody is called.",
        parameters: routing::EXPLAIN_PARAMETERS,
        body: Some("SampleRequest"),
        answer: Json("Explanation"),
        handler: || route().to(routing::explain_sample),
        ..READ
    },
    RouteSpec {
        path: "/api/routes/{name}/prompt-cache",
        access: Access::Everything,
        summary: "Shows what providers' prompt caches served of a route's or model's calls, and what broke their use.",
        answer: Json("PromptCache"),
        handler: || route().to(routing::prompt_cache),
        ..READ
    },
    RouteSpec {
        path: "/api/alerts",
        access: Access::Everything,
        summary: "Lists what was raised, newest first, what came of it at each receiver, and the receivers.",
        parameters: alerts::PARAMETERS,
        answer: Json("AlertList"),
        handler: || route().to(alerts::list),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/alerts/test",
        summary: "Sends a test to one receiver of alerts or to all, and tells what came of it; the body may be left out.",
        body: Some("AlertTest"),
        answer: Json("AlertTestResult"),
        handler: || route().to(alerts::test),
        ..READ
    },
    RouteSpec {
        path: "/api/admin/tokens",
        summary: "Lists the admin tokens, without the tokens themselves.",
        answer: Json("AdminTokenList"),
        handler: || route().to(admin::tokens),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/admin/tokens",
        summary: "Makes an admin token; the token itself is in this answer only.",
        body: Some("NewAdminToken"),
        status: 201,
        answer: Json("MadeAdminToken"),
        handler: || route().to(admin::create_token),
        ..READ
    },
    RouteSpec {
        verb: Delete,
        path: "/api/admin/tokens/{id}",
        summary: "Revokes the admin token of that name: it opens nothing any more.",
        status: 204,
        handler: || route().to(admin::revoke_token),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/admin/password-resets",
        summary: "Makes a one-time token for a forgotten password, to be opened as /reset?token=….",
        body: Some("NewPasswordReset"),
        status: 201,
        answer: Json("PasswordReset"),
        handler: || route().to(admin::reset_password),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/re-rate",
        summary: "Tells, page by page, what calls would have cost at other prices; with book, books the difference.",
        body: Some("ReRate"),
        answer: Json("ReRated"),
        handler: || route().to(rerate::rerate),
        ..READ
    },
    RouteSpec {
        path: "/api/verify",
        summary: "Proves the ledger while calls go on: each entry is what was booked, and each sum what they come to.",
        parameters: verify::PARAMETERS,
        answer: Json("Verification"),
        handler: || route().to(verify::show),
        ..READ
    },
    RouteSpec {
        verb: Post,
        path: "/api/verify",
        summary: "The same, and that the entries under heads that were kept before are still what they were.",
        body: Some("Expectation"),
        answer: Json("Verification"),
        handler: || route().to(verify::prove_kept),
        ..READ
    },
    RouteSpec {
        path: "/api/openapi.json",
        access: Access::Team,
        summary: "Describes every path of this API.",
        answer: Json("OpenApi"),
        handler: || route().to(openapi::show),
        ..READ
    },
];
