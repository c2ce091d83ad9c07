//! `/api/reconciliation`: what providers say they charged against what was booked, and bringing their word in.

use actix_web::{HttpRequest, HttpResponse, web};

use super::blocking;
use super::input::{Lines, Params, has_body, media_of};
use crate::http::guard::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::state::State;
use crate::reconciliation::json::ComparisonJson;
use crate::reconciliation::{DAYS_USUAL, Fetched, Imported, ReconcileError};
use crate::statements::Days;

/// The query parameters: whose, and which days.
pub(super) const PARAMETERS: &[&str] = &["provider", "from", "to"];
/// What a file of a provider's console is.
pub(super) const CSV: &str = "text/csv";

/// `GET /api/reconciliation`: the last known state; without a range of the last days.
pub(super) async fn show(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, PARAMETERS)?;
    let days = days(&state, &params)?;
    answer(&state, params.owned("provider"), days, Vec::new(), None).await
}

/// `POST /api/reconciliation`: with a file takes it, without a body fetches; then as GET, for the days that were brought in.
pub(super) async fn run(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    body: Lines,
) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, PARAMETERS)?;
    let provider = params.owned("provider");
    if body.0.is_empty() {
        let days = days(&state, &params)?;
        tracing::info!("{caller} fetches the reports of providers");
        let fetched = state.reconciler.fetch(provider.as_deref(), days, &state.clock).await?;
        return answer(&state, provider, days, fetched, None).await;
    }
    if has_body(&request) && media_of(&request) != CSV {
        let detail = "the body has to be a CSV file, sent with the header content-type: text/csv; without a body, reports are fetched";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    if let Some(name) = ["from", "to"].into_iter().find(|name| params.text(name).is_some()) {
        return Err(Problem::parameter(name, format!("{name}: a file brings its own days; leave it out")));
    }
    let text = std::str::from_utf8(&body.0);
    let text = text.map_err(|_| Problem::new(Code::InvalidFile, "the file is no UTF-8 text; nothing was imported"))?;
    tracing::info!("{caller} imports a file of a provider");
    let (reconciler, now, text) = (state.reconciler.clone(), state.clock.now(), text.to_owned());
    let only = provider.clone();
    let imported = blocking(move || reconciler.import(only.as_deref(), &text, now)).await?;
    answer(&state, Some(imported.provider.to_string()), imported.days, Vec::new(), Some(imported)).await
}

fn days(state: &State, params: &Params) -> Result<Days, Problem> {
    let days = Days::named(params.text("from"), params.text("to"), DAYS_USUAL, state.clock.now());
    let name = if params.text("from").is_none() { "to" } else { "from" };
    days.map_err(|error| Problem::parameter(name, error.to_string()))
}

/// Compares, and where something was brought in tells of what doesn't agree.
async fn answer(
    state: &State,
    only: Option<String>,
    days: Days,
    fetched: Vec<Fetched>,
    imported: Option<Imported>,
) -> Result<HttpResponse, Problem> {
    let (reconciler, ledger) = (state.reconciler.clone(), state.ledger.clone());
    let (router, alerts) = (state.gateway.router(), state.alerts.clone());
    let has_news = !fetched.is_empty() || imported.is_some();
    let comparison = blocking(move || {
        let comparison = reconciler.compare(only.as_deref(), days, &ledger, router.catalog())?;
        if has_news {
            reconciler.tell(&comparison, &alerts)?;
        }
        Ok::<_, ReconcileError>(comparison)
    });
    let comparison = comparison.await?;
    Ok(HttpResponse::Ok().json(ComparisonJson::new(&comparison, &fetched, imported.as_ref())))
}
