//! What is known of a provider's models, by name, though clients make names up.
//!
//! What the settings or the price list name stays: that is bounded by them. Of other names those that were noted last stay, in two
//! generations: when the younger is full it becomes the older, and the older is forgotten whole. So what a client invents pushes out
//! what others invented, never what is real, and nobody searches for the oldest.

use std::collections::HashMap;

use crate::domain::ModelId;

use super::Errand;

/// Names in a generation: a few hundred kilobytes at most for each provider and key.
pub(super) const MADE_UP_MAX: usize = 1_000;

/// Something about each model.
#[derive(Clone, Debug)]
pub(super) struct ByModel<V> {
    listed: HashMap<ModelId, V>,
    younger: HashMap<ModelId, V>,
    older: HashMap<ModelId, V>,
}

impl<V> Default for ByModel<V> {
    fn default() -> Self {
        Self { listed: HashMap::new(), younger: HashMap::new(), older: HashMap::new() }
    }
}

impl<V> ByModel<V> {
    /// What is known of a model.
    pub(super) fn get(&self, model: &ModelId) -> Option<&V> {
        [&self.listed, &self.younger, &self.older].into_iter().find_map(|known| known.get(model))
    }

    /// Notes something about the model of a call.
    pub(super) fn set(&mut self, errand: &Errand, value: V) {
        let model = &errand.model;
        if errand.is_listed {
            // It may have come onto the list since.
            self.forget_made_up(model);
            self.listed.insert(model.clone(), value);
            return;
        }
        if let Some(known) = self.listed.get_mut(model) {
            *known = value;
            return;
        }
        self.older.remove(model);
        if self.younger.len() >= MADE_UP_MAX && !self.younger.contains_key(model) {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(model.clone(), value);
    }

    /// Forgets a model.
    pub(super) fn remove(&mut self, model: &ModelId) {
        self.listed.remove(model);
        self.forget_made_up(model);
    }

    fn forget_made_up(&mut self, model: &ModelId) {
        self.younger.remove(model);
        self.older.remove(model);
    }

    /// Forgets all that something can be said against.
    pub(super) fn retain(&mut self, stays: impl Fn(&V) -> bool) {
        for known in [&mut self.listed, &mut self.younger, &mut self.older] {
            known.retain(|_, value| stays(value));
        }
    }

    /// All that is known.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ModelId, &V)> {
        self.listed.iter().chain(&self.younger).chain(&self.older)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Endpoint;
    use proptest::prelude::*;

    fn errand(model: &str, is_listed: bool) -> Errand {
        Errand { model: model.parse().unwrap(), is_listed, path: Endpoint::ChatCompletions }
    }

    #[test]
    fn what_is_listed_stays_and_of_what_is_made_up_the_newest() {
        let mut known = ByModel::default();
        known.set(&errand("real", true), 0);
        for number in 1..=10 * MADE_UP_MAX {
            known.set(&errand(&format!("made-up-{number}"), false), number);
            let newest = number.saturating_sub(MADE_UP_MAX - 1).max(1);
            assert!(known.get(&errand(&format!("made-up-{newest}"), false).model).is_some());
            assert!(known.iter().count() <= 2 * MADE_UP_MAX + 1);
        }
        assert_eq!(known.get(&errand("real", true).model), Some(&0));
        known.set(&errand("real", false), 7);
        assert_eq!(known.get(&errand("real", true).model), Some(&7), "whatever the settings of an older call say");
    }

    proptest! {
        #[test]
        fn few_names_are_kept_as_a_map_keeps_them(
            steps in proptest::collection::vec((0_u8..20, any::<bool>(), proptest::option::of(0_u8..9)), 0..200)
        ) {
            let (mut known, mut model) = (ByModel::default(), HashMap::new());
            for (name, is_listed, value) in steps {
                let errand = errand(&format!("m{name}"), is_listed);
                if let Some(value) = value {
                    known.set(&errand, value);
                    model.insert(errand.model, value);
                } else {
                    known.remove(&errand.model);
                    model.remove(&errand.model);
                }
                let all: HashMap<ModelId, u8> = known.iter().map(|(name, value)| (name.clone(), *value)).collect();
                prop_assert_eq!(&all, &model);
                prop_assert_eq!(known.iter().count(), model.len(), "once each");
            }
        }
    }
}
