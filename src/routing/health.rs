//! What calls have shown of each deployment's health: nobody is probed for it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::domain::{Deployment, ProviderName};

use super::circuit::{Circuit, CircuitPolicy, Health};

/// What calls have shown of each deployment; outlives a change of the configuration.
#[derive(Debug, Default)]
pub struct HealthBook {
    policy: CircuitPolicy,
    circuits: Mutex<HashMap<Deployment, Circuit>>,
}

impl HealthBook {
    /// Whether a call may go to a deployment now; otherwise when the next one may.
    pub fn admit(&self, deployment: &Deployment, now: Instant) -> Result<(), Duration> {
        let mut circuits = self.circuits.lock().expect("no holder of this lock panics");
        let Some(circuit) = circuits.get_mut(deployment) else { return Ok(()) };
        *circuit = circuit.admit(now)?;
        Ok(())
    }

    /// Notes what came of a call.
    pub fn note(&self, deployment: &Deployment, health: Health, now: Instant) {
        let mut circuits = self.circuits.lock().expect("no holder of this lock panics");
        let before = circuits.get(deployment).copied();
        if before.is_none() && health != Health::Ill {
            return;
        }
        let after = before.unwrap_or_default().after(health, now, &self.policy);
        if before.unwrap_or_default().as_str() != after.as_str() {
            tracing::warn!("circuit of {deployment} is {}", after.as_str());
        }
        circuits.insert(deployment.clone(), after);
    }

    /// Whether calls to a deployment are refused at the moment.
    pub fn is_open(&self, deployment: &Deployment, now: Instant) -> bool {
        let circuits = self.circuits.lock().expect("no holder of this lock panics");
        circuits.get(deployment).is_some_and(|circuit| circuit.admit(now).is_err())
    }

    /// The deployments that failed when they were called last and have not answered since.
    pub fn failing(&self) -> Vec<Deployment> {
        let circuits = self.circuits.lock().expect("no holder of this lock panics");
        let failing = circuits.iter().filter(|(_, circuit)| !matches!(circuit, Circuit::Closed { .. }));
        failing.map(|(deployment, _)| deployment.clone()).collect()
    }

    /// The circuit of a deployment.
    pub fn of_deployment(&self, deployment: &Deployment) -> Circuit {
        let circuits = self.circuits.lock().expect("no holder of this lock panics");
        circuits.get(deployment).copied().unwrap_or_default()
    }

    /// The worst circuit among a provider's deployments.
    pub fn of_provider(&self, provider: &ProviderName) -> Circuit {
        let circuits = self.circuits.lock().expect("no holder of this lock panics");
        let rank = |circuit: &Circuit| match circuit {
            Circuit::Closed { .. } => 0,
            Circuit::HalfOpen { .. } => 1,
            Circuit::Open { .. } => 2,
        };
        let its = circuits.iter().filter(|(deployment, _)| deployment.provider == *provider);
        its.map(|(_, circuit)| *circuit).max_by_key(rank).unwrap_or_default()
    }
}
