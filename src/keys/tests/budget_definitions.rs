//! Definitions of budgets.

use super::*;

#[test]
fn a_budget_is_kept_changed_and_removed() {
    let fixture = Fixture::new();
    let budget = fixture.keys.create_budget(BudgetScope::Everything, Window::Day, dollars(50), start()).unwrap();
    let fixture = fixture.reopened();
    assert_eq!(*fixture.keys.budgets(), [Arc::clone(&budget)]);
    let terms = BudgetTerms { limit: Picodollars::ZERO, action: BudgetAction::Alert, thresholds: vec![90] };
    let changed = fixture.keys.update_budget(budget.id, terms.clone(), &Expected::Any).unwrap();
    assert_eq!((changed.id, changed.created, changed.terms()), (budget.id, budget.created, terms));
    let fixture = fixture.reopened();
    assert_eq!(fixture.keys.budget(budget.id), Some(changed));
    fixture.keys.remove_budget(budget.id).unwrap();
    assert!(fixture.keys.budgets().is_empty());
    let fixture = fixture.reopened();
    assert!(fixture.keys.budgets().is_empty());
    assert!(matches!(fixture.keys.remove_budget(budget.id), Err(KeysError::NotFound { .. })));
    assert!(matches!(
        fixture.keys.update_budget(budget.id, dollars(1), &Expected::Any),
        Err(KeysError::NotFound { .. })
    ));
}

#[test]
fn the_id_of_a_removed_budget_is_never_given_again() {
    let fixture = Fixture::new();
    let first = fixture.keys.create_budget(BudgetScope::Everything, Window::Day, dollars(1), start()).unwrap();
    fixture.keys.remove_budget(first.id).unwrap();
    let fixture = fixture.reopened();
    let second = fixture.keys.create_budget(BudgetScope::Everything, Window::Day, dollars(1), start()).unwrap();
    assert_eq!((first.id, second.id), (BudgetId(1), BudgetId(2)));
}

#[test]
fn a_scope_and_window_have_one_budget_at_most() {
    let fixture = Fixture::new();
    let team = |name| BudgetScope::new("team", Some(name)).unwrap();
    let first = fixture.keys.create_budget(team("a"), Window::Day, dollars(1), start()).unwrap();
    let refused = fixture.keys.create_budget(team("a"), Window::Day, dollars(2), start()).unwrap_err();
    assert!(matches!(refused, KeysError::BudgetExists { id, .. } if id == first.id));
    assert!(refused.to_string().contains("team a per day"), "{refused}");
    fixture.keys.create_budget(team("a"), Window::Week, dollars(2), start()).unwrap();
    fixture.keys.create_budget(team("b"), Window::Day, dollars(2), start()).unwrap();
    let set = fixture.keys.set_budget(team("a"), Window::Day, dollars(3), start()).unwrap();
    assert_eq!((set.id, set.limit), (first.id, Picodollars::from_dollars(3)));
    let set = fixture.keys.set_budget(team("c"), Window::Day, dollars(4), start()).unwrap();
    assert_eq!(fixture.keys.budgets().len(), 4);
    assert_eq!(fixture.keys.budget(set.id), Some(set));
}

#[test]
fn terms_that_cant_be_leave_everything_as_it_was() {
    let fixture = Fixture::new();
    let budget = fixture.keys.create_budget(BudgetScope::Everything, Window::Day, dollars(1), start()).unwrap();
    let refused = fixture.keys.update_budget(budget.id, dollars(-1), &Expected::Any).unwrap_err();
    assert!(matches!(refused, KeysError::Budget(BudgetError::LimitNegative(_))));
    let falling = BudgetTerms { thresholds: vec![80, 50], ..dollars(1) };
    let refused = fixture.keys.create_budget(BudgetScope::Everything, Window::Week, falling, start()).unwrap_err();
    assert!(matches!(refused, KeysError::Budget(BudgetError::ThresholdOrder)));
    assert_eq!(*fixture.reopened().keys.budgets(), [budget]);
}

#[test]
fn a_key_and_its_budgets_are_made_together_or_not_at_all() {
    let fixture = Fixture::new();
    let with = |budgets| NewKey { budgets, ..NewKey::named("ci") };
    let day = |terms| KeyBudget { window: Window::Day, terms };
    assert!(fixture.keys.create(with(vec![day(dollars(1)), day(dollars(2))]), start()).is_err());
    assert!(fixture.keys.create(with(vec![day(dollars(-1))]), start()).is_err());
    assert!(fixture.keys.list().is_empty() && fixture.keys.budgets().is_empty());

    let (key, _) = fixture.keys.create(with(vec![day(dollars(1))]), start()).unwrap();
    let fixture = fixture.reopened();
    assert_eq!(fixture.keys.budgets()[0].scope, BudgetScope::Key(key.id.clone()));
}

#[test]
fn the_snapshot_is_the_same_one_until_a_budget_changes() {
    let fixture = Fixture::new();
    let budget = fixture.keys.create_budget(BudgetScope::Everything, Window::Day, dollars(1), start()).unwrap();
    let before = fixture.keys.budgets();
    fixture.keys.create(NewKey::named("ci"), start()).unwrap();
    assert!(Arc::ptr_eq(&before, &fixture.keys.budgets()));
    fixture.keys.update_budget(budget.id, dollars(2), &Expected::Any).unwrap();
    assert!(!Arc::ptr_eq(&before, &fixture.keys.budgets()));
}
