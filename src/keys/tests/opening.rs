//! What is opened again after a stop, and what is not.

use super::*;

#[test]
fn settings_without_their_pepper_are_refused_with_a_way_out() {
    let Fixture { folder, keys } = Fixture::new();
    drop(keys);
    let pepper = folder.path().join("pepper");
    let kept = std::fs::read(&pepper).unwrap();
    std::fs::remove_file(&pepper).unwrap();
    let refused = open(folder.path()).unwrap_err();
    assert!(matches!(refused, OpenKeysError::Pepper(PepperError::Missing { .. })), "{refused}");
    std::fs::write(&pepper, [7; 32]).unwrap();
    assert!(matches!(open(folder.path()), Err(OpenKeysError::Pepper(PepperError::Foreign { .. }))));
    std::fs::write(&pepper, kept).unwrap();
    assert!(open(folder.path()).is_ok());
}

#[test]
fn a_row_that_cant_be_read_is_refused_by_name_and_nothing_is_changed() {
    let Fixture { folder, keys } = Fixture::new();
    drop(keys);
    let rows: TableDefinition<&str, &[u8]> = TableDefinition::new("virtual_keys");
    settings(folder.path())
        .write(|transaction| {
            transaction.open_table(rows)?.insert("key_broken", &[9_u8, 9][..])?;
            Ok::<_, crate::store::SettingsError>(())
        })
        .unwrap();
    let refused = open(folder.path()).unwrap_err();
    assert!(refused.to_string().contains("virtual_keys \"key_broken\""), "{refused}");
    assert!(open(folder.path()).is_err());
}

#[test]
fn callers_faults_and_our_own_are_told_apart() {
    assert!(KeysError::SetupToken.is_callers_fault());
    assert!(KeysError::not_found("user", "bob").is_callers_fault());
    assert!(!KeysError::Busy.is_callers_fault());
}
