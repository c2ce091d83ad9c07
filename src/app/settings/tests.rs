//! Settings of real folders.

use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn load(settings: &Settings, folder: &TempDir, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    settings.load_in(folder.path(), variables, Since::default())
}

#[test]
fn an_empty_folder_has_settings() {
    let config = load(&Settings::default(), &folder(&[]), &[]).unwrap();
    assert_eq!(config.listen, config::defaults::LISTEN);
}

#[test]
fn the_file_dotenv_and_the_environment_are_found() {
    let folder = folder(&[
        (FILE_NAME, "data_dir = \"from-file\"\n[telemetry]\nmetrics_token = \"file:token\""),
        (
            ".env",
            "# keys\nexport OPENAI_API_KEY=\"sk-1\"\nTOLLGATE_LISTEN=127.0.0.1:4\nTOLLGATE_DATA_DIR=from-dotenv\n",
        ),
        ("token", "from-secret-file\n"),
    ]);
    let config = load(&Settings::default(), &folder, &[("TOLLGATE_LOG_BODIES", "full")]).unwrap();
    assert_eq!(config.data_dir, Path::new("from-file"));
    assert_eq!(config.listen.port(), 4);
    assert_eq!(config.providers[0].api_keys[0].expose(), "sk-1");
    assert_eq!(config.telemetry.metrics_token.unwrap().expose(), "from-secret-file");
    assert_eq!(config.log.bodies, config::Bodies::Full);
}

#[test]
fn dotenv_is_read_beside_a_file_that_lies_elsewhere_and_the_working_directory_comes_first() {
    let folder = folder(&[(".env", "TOLLGATE_LISTEN=127.0.0.1:1\n")]);
    let elsewhere = folder.path().join("etc");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("gate.toml"), "").unwrap();
    fs::write(elsewhere.join(".env"), "TOLLGATE_LISTEN=127.0.0.1:2\nTOLLGATE_DATA_DIR=beside\nno variable\n").unwrap();
    for file in ["etc/gate.toml".into(), elsewhere.join("gate.toml")] {
        let settings = Settings { file: Some(file), flags: Vec::new() };
        let problems = load(&settings, &folder, &[]).unwrap_err().to_string();
        assert!(problems.contains("etc/.env: line 3 is not of the form"), "{problems}");
    }
    fs::write(elsewhere.join(".env"), "TOLLGATE_LISTEN=127.0.0.1:2\nTOLLGATE_DATA_DIR=beside\n").unwrap();
    let settings = Settings { file: Some("etc/gate.toml".into()), flags: Vec::new() };
    let config = load(&settings, &folder, &[]).unwrap();
    assert_eq!((config.listen.port(), config.data_dir.as_path()), (1, Path::new("beside")));
    let config = load(&Settings::default(), &folder, &[]).unwrap();
    assert_eq!(config.data_dir, Path::new(config::defaults::DATA_DIR), "without --config nothing else is searched");
}

#[test]
fn files_that_the_settings_name_are_checked_with_the_rest() {
    let folder = folder(&[
        (FILE_NAME, "color = 1\n[catalog]\nfile = \"prices.json\"\n[tls]\nca_file = \"ca.pem\"\n"),
        ("prices.json", "{"),
        ("ca.pem", "no certificate"),
    ]);
    let problems = load(&Settings::default(), &folder, &[]).unwrap_err().to_string();
    let lines: Vec<&str> = problems.lines().collect();
    assert_eq!(lines.len(), 3, "{problems}");
    assert!(lines[1].starts_with("tollgate.toml:3: catalog.file: ") && lines[1].contains("price list"), "{problems}");
    assert!(
        lines[2].starts_with("tollgate.toml:5: tls.ca_file: ") && lines[2].contains("no certificate"),
        "{problems}"
    );
    fs::remove_file(folder.path().join("prices.json")).unwrap();
    fs::write(folder.path().join("ca.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let problems = load(&Settings::default(), &folder, &[]).unwrap_err().to_string();
    assert!(problems.contains("catalog.file: can't be read") && problems.contains("tls.ca_file: "), "{problems}");
}

#[test]
fn a_zone_that_is_none_is_told_unless_the_settings_have_one() {
    assert_eq!(zone_of(None, None), (TimeZone::UTC, None));
    let (zone, trouble) = zone_of(None, Some("Nowhere/Land"));
    assert!(zone == TimeZone::UTC && trouble.as_ref().unwrap().contains("\"Nowhere/Land\" is no time zone"));
    let warned = |text: &str| {
        let file = Some((FILE_NAME.into(), text.to_owned()));
        config::load(&Sources { file, zone_trouble: trouble.clone(), ..Sources::none() }).unwrap().warnings.len()
    };
    assert_eq!((warned(""), warned("time_zone = \"Asia/Seoul\"")), (1, 0));
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let settings = Settings { file: Some("other.toml".into()), flags: Vec::new() };
    let problems = load(&settings, &folder(&[(FILE_NAME, "color = 1")]), &[]).unwrap_err().to_string();
    assert!(problems.starts_with("other.toml: can't be read: "), "{problems}");
    let config = load(&settings, &folder(&[("other.toml", "data_dir = \"other\"")]), &[]).unwrap();
    assert_eq!(config.data_dir, Path::new("other"));
}

#[test]
fn a_literal_secret_is_fine_in_a_file_of_mode_0600_only() {
    let folder = folder(&[(FILE_NAME, "[telemetry]\nmetrics_token = \"literal\"")]);
    let warnings = |mode| {
        fs::set_permissions(folder.path().join(FILE_NAME), Permissions::from_mode(mode)).unwrap();
        load(&Settings::default(), &folder, &[]).unwrap().warnings.len()
    };
    assert_eq!((warnings(0o644), warnings(0o600)), (1, 0));
}

#[test]
fn what_is_unreadable_is_told_of_together_and_without_its_contents() {
    let folder = folder(&[(FILE_NAME, "color = 1"), (".env", "sk canary\nA=1\n")]);
    let variables = [("TOLLGATE_LISTEN".into(), OsString::from_vec(vec![0xff]))];
    let problems = Settings::default().load_in(folder.path(), variables, Since::default()).unwrap_err();
    assert_eq!(
        problems.to_string().lines().collect::<Vec<_>>(),
        [
            ".env: line 1 is not of the form NAME=value; put values with spaces into quotes",
            "TOLLGATE_LISTEN: not UTF-8; write it as plain text",
            "tollgate.toml:1: color: unknown key",
        ]
    );
}

#[test]
fn a_file_that_is_too_large_or_no_text_is_refused() {
    let large = folder(&[(FILE_NAME, &"#".repeat(3 << 20))]);
    let problems = load(&Settings::default(), &large, &[]).unwrap_err().to_string();
    assert!(problems.contains("larger than"), "{problems}");
    let binary = folder(&[]);
    fs::write(binary.path().join(FILE_NAME), [0xff, 0xfe]).unwrap();
    let problems = load(&Settings::default(), &binary, &[]).unwrap_err().to_string();
    assert!(problems.starts_with("tollgate.toml: can't be read: "), "{problems}");
}

#[test]
fn the_example_of_dotenv_sets_nothing_until_it_is_filled_in() {
    let example = include_str!("../../../.env.example");
    let empty = load(&Settings::default(), &folder(&[(".env", example)]), &[]).unwrap();
    assert!(empty.providers.is_empty() && empty.warnings.is_empty());
    // Each line that is commented out is a setting that is really there.
    let filled: String = example
        .lines()
        .map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')).unwrap_or(line).to_owned() + "\n")
        .collect();
    let config = load(&Settings::default(), &folder(&[(".env", &filled)]), &[]).unwrap();
    assert_eq!(config.providers.len(), 2);
    assert!(config.admin_token.is_some());
}

#[test]
fn a_file_that_was_there_must_stay_and_is_not_emptied_by_accident() {
    let settings = Settings::default();
    for (name, filled) in [(FILE_NAME, "data_dir = \"x\""), (".env", "TOLLGATE_DATA_DIR=x")] {
        let folder = folder(&[(name, filled)]);
        let again = |before: &Config, is_meant| {
            settings.load_in(folder.path(), Vec::new(), Since::read(before, is_meant)).map_err(|all| all.to_string())
        };
        let before = load(&settings, &folder, &[]).unwrap();
        assert_eq!(again(&before, false).as_ref(), Ok(&before));
        for emptied in [" \n", "# all is\n  # commented out\n"] {
            fs::write(folder.path().join(name), emptied).unwrap();
            let refused = again(&before, false).unwrap_err();
            assert!(refused.starts_with(&format!("{name}: empty, and it was not before; ")), "{refused}");
        }
        let emptied = again(&before, true).unwrap();
        assert!(emptied.files[0].is_empty && again(&emptied, false).is_ok());
        fs::remove_file(folder.path().join(name)).unwrap();
        for is_meant in [false, true] {
            let refused = again(&emptied, is_meant).unwrap_err();
            assert!(refused.starts_with(&format!("{name}: it is gone; ")), "{refused}");
        }
        let without = load(&settings, &folder, &[]).unwrap();
        assert!(without.files.is_empty() && again(&without, false).is_ok());
    }
}

#[test]
fn a_link_that_leads_nowhere_is_told_of() {
    for name in [FILE_NAME, ".env"] {
        let folder = folder(&[]);
        std::os::unix::fs::symlink("/nowhere/settings", folder.path().join(name)).unwrap();
        let problems = load(&Settings::default(), &folder, &[]).unwrap_err().to_string();
        assert!(problems.starts_with(&format!("{name}: can't be read: ")), "{problems}");
        assert!(problems.ends_with("it is a link to /nowhere/settings"), "{problems}");
    }
}
