//! Calls that a budget sends to another route at its limit.
//!
//! The call goes on as if it had been made for the route: its plan, prices and capabilities, under the same budgets. Each budget
//! turns a call once, so routes and budgets that point at each other end. A key that may not use the route is not let in by
//! the back door: such a call is refused as a budget that blocks refuses it, and told why.

use std::sync::Arc;

use crate::domain::BudgetId;
use crate::ledger::{Charge, LedgerError};
use crate::routing::Plan;
use crate::telemetry::names;

use super::call::Call;
use super::error::{Detour, GatewayError};
use super::prepare::Asked;

/// The budgets that have turned a call, and where it went last.
#[derive(Debug, Default)]
pub(super) struct Turns {
    budgets: Vec<BudgetId>,
    route: Option<Arc<str>>,
}

impl Turns {
    /// The route that the call was sent to, if it was.
    pub(super) fn route(&self) -> Option<&Arc<str>> {
        self.route.as_ref()
    }
}

impl Call {
    /// Of the budgets that send calls elsewhere those that may still do so. What is not read can't be asked of another model.
    pub(super) fn turning(&self, mut turning: Vec<Charge>) -> Vec<Charge> {
        if self.inbound.endpoint.is_opaque() {
            turning.clear();
        }
        turning.retain(|charge| !self.turns.budgets.contains(&charge.budget));
        turning
    }

    /// Where the call goes now that a budget has no room for it. No plan: the budget is gone, and the call goes on as it was.
    pub(super) fn downgrade(
        &mut self,
        asked: &mut Asked<'_>,
        budget: BudgetId,
        refusal: LedgerError,
    ) -> Result<Option<Plan>, GatewayError> {
        self.turns.budgets.push(budget);
        let definition = self.gateway.parts().budgets.definition(budget);
        let Some(route) = definition.as_ref().and_then(|budget| budget.action.downgrade_to()) else { return Ok(None) };
        let router = self.router();
        let plan = if !router.routes().iter().any(|known| known.name == route) {
            Err(Detour::Gone { route: route.to_owned() })
        } else if !self.inbound.caller.allows_model(route) {
            Err(Detour::NotAllowed { route: route.to_owned() })
        } else {
            let plan = self.plan(&asked.envelope, route);
            plan.map_err(|error| Detour::NotServed { route: route.to_owned(), reason: error.to_string() })
        };
        let plan = plan.map_err(|detour| match self.refusal(refusal) {
            GatewayError::OverBudget(mut over) => {
                over.detour = Some(detour);
                GatewayError::OverBudget(over)
            }
            other => other,
        })?;
        tracing::info!(
            { names::REQUEST_ID } = %asked.facts.id,
            "{budget} has no room for the call, which goes to the route {route} instead"
        );
        self.turns.route = Some(route.into());
        asked.facts.decision.clone_from(&plan.decision);
        if asked.conversation.is_none() {
            asked.conversation = self.conversation(&self.inbound.body, &plan);
        }
        Ok(Some(plan))
    }
}
