//! Teams: made, named anew, removed, and named by keys and budgets.

use super::*;
use crate::domain::TeamId;
use crate::store::SettingsError;

fn in_team(name: &str, team: &str) -> NewKey {
    NewKey { team: Some(team.to_owned()), ..NewKey::named(name) }
}

fn team_scope(name: &str) -> BudgetScope {
    BudgetScope::new("team", Some(name)).unwrap()
}

#[test]
fn a_key_that_names_a_new_team_makes_it_and_one_that_names_it_by_its_name_joins_it() {
    let fixture = Fixture::new();
    let (key, _) = fixture.keys.create(in_team("ci", "research"), start()).unwrap();
    let team = fixture.keys.team("research").unwrap();
    assert_eq!((team.id.as_str(), team.name.as_str()), ("research", "research"));
    assert_eq!(key.team.as_ref(), Some(&team.id));

    let renamed = fixture.keys.rename_team(&team.id, "Science", &Expected::Any).unwrap();
    assert_eq!((renamed.id.as_str(), renamed.name.as_str()), ("research", "Science"));
    for (name, named_by) in [("by-name", "Science"), ("by-id", "research")] {
        let (key, _) = fixture.keys.create(in_team(name, named_by), start()).unwrap();
        assert_eq!(key.team.as_ref(), Some(&team.id), "{named_by}");
    }
    assert_eq!(fixture.reopened().keys.teams(), [renamed]);
}

#[test]
fn a_key_that_is_refused_makes_no_team() {
    let fixture = Fixture::new();
    fixture.keys.create(in_team("ci", "a"), start()).unwrap();
    assert!(fixture.keys.create(in_team("ci", "a"), start()).is_err());
    let bad = NewKey { budgets: vec![KeyBudget { window: Window::Day, terms: dollars(-1) }], ..in_team("x", "b") };
    assert!(fixture.keys.create(bad, start()).is_err());
    assert_eq!(fixture.keys.teams().len(), 1);
}

#[test]
fn two_teams_may_each_have_a_key_of_one_name() {
    let fixture = Fixture::new();
    let (first, _) = fixture.keys.create(in_team("ci", "a"), start()).unwrap();
    assert_eq!(fixture.keys.named("ci", start()), Some(first));
    fixture.keys.create(in_team("ci", "b"), start()).unwrap();
    assert_eq!(fixture.keys.named("ci", start()), None, "a name that several have means none of them");
    let (other, _) = fixture.keys.create(in_team("other", "b"), start()).unwrap();
    let patch = KeyPatch { name: Some("ci".to_owned()), team: Edit::Set("a".to_owned()), ..KeyPatch::default() };
    let refused = fixture.keys.change_key(&other.id, patch, &Expected::Any, start());
    assert!(matches!(refused, Err(KeysError::NameTaken { .. })));
}

#[test]
fn a_name_that_differs_by_case_alone_is_taken_for_a_slip() {
    let fixture = Fixture::new();
    fixture.keys.create_team("Research", start()).unwrap();
    let refused = fixture.keys.create(in_team("ci", "research"), start()).unwrap_err();
    assert!(refused.to_string().contains("did you mean that one?"), "{refused}");
    assert!(matches!(refused, KeysError::Invalid { field: "team", .. }));
    let refused = fixture.keys.create_team("RESEARCH", start()).unwrap_err();
    assert!(matches!(refused, KeysError::Invalid { field: "name", .. }));
    assert!(matches!(fixture.keys.create_team("Research", start()), Err(KeysError::NameTaken { .. })));
    for name in ["", " a", "a\nb", &"x".repeat(101)] {
        assert!(matches!(fixture.keys.create_team(name, start()), Err(KeysError::Invalid { .. })), "{name:?}");
    }
}

#[test]
fn a_team_in_use_stays_and_says_what_it_has() {
    let fixture = Fixture::with_admin();
    let (key, _) = fixture.keys.create(in_team("ci", "research"), start()).unwrap();
    let budget = fixture.keys.create_budget(team_scope("research"), Window::Day, dollars(1), start()).unwrap();
    let new = NewUser { name: "bob".to_owned(), role: "member".to_owned(), team: Some("research".to_owned()) };
    fixture.keys.create_user(&new, &Entrance::Invite(INVITE_LIFE_DEFAULT), start()).unwrap();
    let id = key.team.clone().unwrap();
    let remove = || fixture.keys.remove_team(&id, &Expected::Any, start());
    let refused = remove().unwrap_err();
    assert!(matches!(refused, KeysError::TeamInUse { keys: 1, budgets: 1, people: 1, .. }));
    assert!(refused.to_string().contains("1 live key and 1 budget and 1 person - revoke its keys"), "{refused}");

    let nowhere = KeyPatch { team: Edit::Clear, ..KeyPatch::default() };
    fixture.keys.change_key(&key.id, nowhere, &Expected::Any, start()).unwrap();
    fixture.keys.remove_budget(budget.id).unwrap();
    assert!(matches!(remove(), Err(KeysError::TeamInUse { keys: 0, budgets: 0, people: 1, .. })));
    fixture.keys.remove_user("bob").unwrap();
    remove().unwrap();
    assert!(matches!(remove(), Err(KeysError::NotFound { .. })));
    assert!(fixture.reopened().keys.teams().is_empty());
}

#[test]
fn the_id_of_a_removed_team_is_never_given_again() {
    let fixture = Fixture::new();
    let first = fixture.keys.create_team("research", start()).unwrap();
    fixture.keys.remove_team(&first.id, &Expected::Any, start()).unwrap();
    assert!(fixture.keys.team("research").is_none());
    let (key, _) = fixture.keys.create(in_team("ci", "research"), start()).unwrap();
    assert_eq!(key.team.as_ref().map(TeamId::as_str), Some("research-2"));
    assert_eq!(fixture.keys.team("research").unwrap().id.as_str(), "research-2", "its name means it");
    assert_eq!(fixture.keys.team_name("research-2"), "research");
}

#[test]
fn of_two_who_name_a_team_anew_the_second_is_told() {
    let fixture = Fixture::new();
    let team = fixture.keys.create_team("a", start()).unwrap();
    let seen = Expected::OneOf(vec![team.revision]);
    fixture.keys.rename_team(&team.id, "b", &seen).unwrap();
    assert!(matches!(fixture.keys.rename_team(&team.id, "c", &seen), Err(KeysError::ChangedMeanwhile { .. })));
    assert!(matches!(fixture.keys.remove_team(&team.id, &seen, start()), Err(KeysError::ChangedMeanwhile { .. })));
    assert_eq!(fixture.keys.team("b").unwrap().id, team.id);
}

#[test]
fn a_budget_of_a_team_hangs_on_its_id_whatever_it_was_named_by() {
    let fixture = Fixture::new();
    let team = fixture.keys.create_team("research", start()).unwrap();
    fixture.keys.rename_team(&team.id, "Science", &Expected::Any).unwrap();
    let budget = fixture.keys.create_budget(team_scope("Science"), Window::Day, dollars(1), start()).unwrap();
    assert_eq!(budget.scope, team_scope("research"));
    assert_eq!(fixture.keys.resolved(team_scope("Science")), team_scope("research"));
    let set = fixture.keys.set_budget(team_scope("Science"), Window::Day, dollars(2), start()).unwrap();
    assert_eq!(set.id, budget.id);
    let new = fixture.keys.create_budget(team_scope("sales"), Window::Day, dollars(1), start()).unwrap();
    assert_eq!((new.scope.clone(), fixture.keys.teams().len()), (team_scope("sales"), 2));
}

#[test]
fn teams_that_keys_and_budgets_had_as_mere_names_are_there_after_an_upgrade() {
    let fixture = Fixture::new();
    fixture.keys.create(in_team("ci", "Research"), start()).unwrap();
    fixture.keys.create_budget(team_scope("sales"), Window::Day, dollars(1), start() + 1.hour()).unwrap();
    // As the file was before there were teams: their table is not there.
    let teams: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("teams");
    fixture.keys.settings.write(|transaction| transaction.delete_table(teams).map_err(SettingsError::from)).unwrap();
    let fixture = fixture.reopened();
    let found: Vec<(String, String)> =
        fixture.keys.teams().iter().map(|team| (team.id.to_string(), team.name.clone())).collect();
    let named = |name: &str| (name.to_owned(), name.to_owned());
    assert_eq!(found, [named("Research"), named("sales")]);
    assert_eq!(fixture.keys.team("Research").unwrap().created.as_second(), start().as_second());
    assert_eq!(fixture.keys.list()[0].team, Some(fixture.keys.team("Research").unwrap().id.clone()));
}
