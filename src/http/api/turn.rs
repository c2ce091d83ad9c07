//! One at a time: for work that takes a while and gains nothing from being done twice at once.

use std::sync::atomic::{AtomicBool, Ordering};

/// The right to do some work, given back when it is dropped.
#[must_use]
pub(super) struct Turn(&'static AtomicBool);

impl Turn {
    /// Takes the right, unless somebody has it.
    pub(super) fn take(is_running: &'static AtomicBool) -> Option<Self> {
        (!is_running.swap(true, Ordering::AcqRel)).then_some(Self(is_running))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_turn_until_it_is_done() {
        static IS_RUNNING: AtomicBool = AtomicBool::new(false);
        let turn = Turn::take(&IS_RUNNING).unwrap();
        assert!(Turn::take(&IS_RUNNING).is_none());
        drop(turn);
        assert!(Turn::take(&IS_RUNNING).is_some());
    }
}
