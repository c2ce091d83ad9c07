//! `/api/doctor`: the running server examines itself, because it alone has the ledger open.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse, web};

use super::input::Params;
use super::turn::Turn;
use crate::doctor::{Kept, Patient, Seen, Served, Trouble, examine};
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::provider::{ClientSettings, Upstream};

/// The query parameters of an examination.
pub(super) const PARAMETERS: &[&str] = &["offline"];

/// Set while it runs: each writes into the folder and asks every provider.
static IS_RUNNING: AtomicBool = AtomicBool::new(false);

/// `POST /api/doctor`.
pub(super) async fn run(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, PARAMETERS)?;
    let offline = params.word("offline", &[true, false], |value| if value { "true" } else { "false" })?;
    let _turn = Turn::take(&IS_RUNNING)
        .ok_or_else(|| Problem::new(Code::Busy, "an examination runs already: try again when that is done"))?;
    let parts = state.gateway.parts();
    let in_force = state.gateway.in_force();
    let (config, now) = (&in_force.config, Instant::now());
    let standings = |upstream: &Arc<Upstream>| (upstream.name().clone(), upstream.credentials().standings(now));
    let folder = config.data_dir.clone();
    let files = web::block(move || Seen::of_folder(&folder)).await.map_err(|error| Problem::internal(&error))?;
    let content = parts.content.trouble().map(|why| Trouble::Contents(why.to_string()));
    let idempotency = parts.idempotency.trouble().map(|why| Trouble::IdempotencyKeys(why.to_string()));
    let patient = Patient {
        config: Arc::clone(config),
        unusable: Vec::new(),
        file: state.revisions.file().map(Path::to_owned),
        is_named: true,
        clock: state.clock.clone(),
        catalog: Arc::clone(in_force.router.catalog()),
        ledger: Kept::Open(Arc::clone(&state.ledger)),
        keys: Kept::Open(Arc::clone(&state.keys)),
        files,
        served: Some(Served {
            refused: state.revisions.last_refused(),
            waiting: state.revisions.in_force().map(|revision| revision.waiting).unwrap_or_default(),
            credentials: in_force.router.upstreams().iter().map(standings).collect(),
            cache: state.cache.stats(),
        }),
        redis: parts.shared.clone(),
        troubles: content.into_iter().chain(idempotency).collect(),
        clients: ClientSettings::new(config.tls.ca_file.clone()),
        is_offline: offline.unwrap_or(false),
    };
    Ok(HttpResponse::Ok().json(examine(patient).await))
}
