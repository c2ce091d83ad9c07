//! `/api/reports`: a day or a month, to be read or to be worked with.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};

use super::blocking;
use super::input::Params;
use crate::http::problem::Problem;
use crate::http::state::State;
use crate::reports::{Kind, Period, Report, markdown};

/// The query parameter of a day's report.
pub(super) const DAILY_PARAMETERS: &[&str] = &["date"];
/// The query parameter of a month's report.
pub(super) const MONTHLY_PARAMETERS: &[&str] = &["month"];
/// The media type of reports for people.
pub(super) const MARKDOWN: &str = "text/markdown; charset=utf-8";

/// `GET /api/reports/daily`: yesterday where no day is named.
pub(super) async fn daily(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    answer(&state, &request, Kind::Daily, DAILY_PARAMETERS).await
}

/// `GET /api/reports/monthly`: the last month where none is named.
pub(super) async fn monthly(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    answer(&state, &request, Kind::Monthly, MONTHLY_PARAMETERS).await
}

async fn answer(
    state: &State,
    request: &HttpRequest,
    kind: Kind,
    parameters: &[&'static str],
) -> Result<HttpResponse, Problem> {
    let params = Params::of(request, parameters)?;
    let now = state.clock.now();
    let name = parameters[0];
    let period = Period::new(kind, params.text(name), now, state.ledger.zone());
    let period = period.map_err(|error| Problem::parameter(name, format!("{name}: {error}")))?;
    let (ledger, keys) = (Arc::clone(&state.ledger), Arc::clone(&state.keys));
    let report = blocking(move || Report::of(period, &ledger, &keys, now)).await?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::VARY, "accept"));
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if wants_json(accept) {
        return Ok(response.json(report.json()));
    }
    Ok(response.content_type(MARKDOWN).body(markdown::write(&report.document())))
}

/// Whether JSON is named, and no other text is wanted more; whoever takes anything gets what people read.
fn wants_json(accept: &str) -> bool {
    let quality = |wanted: &[&str]| {
        let qualities = accept.split(',').filter_map(|choice| {
            let mut parts = choice.split(';').map(str::trim);
            let media = parts.next()?.to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |text| text.parse().ok());
            wanted.contains(&media.as_str()).then_some(quality?)
        });
        qualities.fold(0.0_f32, f32::max)
    };
    let json = quality(&["application/json", "application/*"]);
    json > 0.0 && json >= quality(&["text/markdown", "text/plain", "text/*"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, expected: bool) {
        assert_eq!(wants_json(accept), expected, "{accept}");
    }

    #[test]
    fn json_comes_to_who_names_it_and_markdown_to_everybody_else() {
        check("application/json", true);
        check("application/json, text/plain, */*", true);
        check("Application/JSON;q=0.9, text/markdown;q=0.5", true);
        check("application/*", true);
        check("", false);
        check("*/*", false);
        check("text/markdown", false);
        check("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false);
        check("text/markdown, application/json;q=0.5", false);
        check("application/json;q=0", false);
        check("application/json;q=much", false);
    }
}
