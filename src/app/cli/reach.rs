//! Where a command works: on a running server over its API, or on the data folder when none runs; never on both.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail};

use super::super::folder::{DataFolder, FolderError, Holder};
use super::super::{local_token, parts};
use super::client::Client;
use super::{Shared, Usage, terminal};
use crate::config::{Config, DataDir};
use crate::domain::Secret;
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::store::Settings;

/// What a command works on.
pub(super) enum Reach {
    /// A server that runs.
    Server(Client),
    /// The settings of a folder that nobody uses.
    Folder(Box<Folder>),
}

/// What becomes of a data folder that isn't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// It is made: the command is the first to keep something in it.
    Made,
    /// It is told of: the command looks for what must be there already.
    Told,
}

/// A data folder that is ours for the length of a command.
pub(super) struct Folder {
    /// What is changed.
    pub(super) keys: Keys,
    /// The file that they lie in, which holds more.
    pub(super) settings: Settings,
    /// The settings that the next start will have.
    pub(super) config: Config,
    /// Held last: the files are closed before the folder is given back.
    claim: DataFolder,
}

impl Folder {
    /// The ledger of the folder, where there is one.
    pub(super) fn ledger(&self) -> anyhow::Result<Ledger> {
        let path = parts::ledger_path(self.claim.path());
        if !path.exists() && !path.with_extension("created").exists() {
            let folder = self.claim.path().display();
            bail!("there is no ledger in {folder}: name the data folder with --data-dir");
        }
        self.made_ledger()
    }

    /// The ledger of the folder, made where there is none.
    pub(super) fn made_ledger(&self) -> anyhow::Result<Ledger> {
        parts::open_ledger(&self.claim, &self.config)
    }
}

impl Reach {
    /// The server that was named, else the one that runs on the data folder, else the folder itself.
    pub(super) fn find(shared: &Shared, absent: Absent) -> anyhow::Result<Self> {
        if let Some(client) = named_server(shared)? {
            return Ok(Self::Server(client));
        }
        Self::on_folder(find_claim(shared, absent)?)
    }

    /// What works on a data folder: the server that runs there, or nobody but the command itself.
    fn on_folder(claimed: Claimed) -> anyhow::Result<Self> {
        match claimed {
            Claimed::Server(client) => Ok(Self::Server(client)),
            Claimed::Folder(claim, config) => {
                let config = *config;
                let settings = parts::open_settings(&claim)?;
                let keys = parts::keys_of(&claim, settings.clone())?;
                Ok(Self::Folder(Box::new(Folder { keys, settings, config, claim })))
            }
        }
    }
}

/// A data folder, or who has it.
pub(super) enum Claimed {
    /// A server that runs on it.
    Server(Client),
    /// Nobody had it; with the settings that the next start will have, but for the secrets that aren't here.
    Folder(DataFolder, Box<Config>),
}

/// The data folder that the settings name, or the server that runs on it. Of secrets no command needs any, and a server that
/// runs needs nothing of the settings but the way to it: it has its own. So it is found whatever is wrong with them.
pub(super) fn find_claim(shared: &Shared, absent: Absent) -> anyhow::Result<Claimed> {
    let settings = shared.settings([]);
    match settings.load_sparing_secrets() {
        Ok(config) => claim(config, given_token(shared), absent),
        Err(problems) => {
            let Some(folder) = settings.data_dir() else { return Err(problems.into()) };
            let shown = told(&folder);
            let Some(client) = running_on(&folder.path, given_token(shared))? else {
                terminal::tell(&format!(
                    "no server runs on the data folder {shown}: one would do this whatever is wrong with the settings; name its folder with --data-dir"
                ));
                return Err(problems.into());
            };
            terminal::tell(&format!(
                "warning: the settings couldn't be used for a start now, and the server that runs on the data folder {shown} does this:\n{problems}"
            ));
            Ok(Claimed::Server(client))
        }
    }
}

/// A data folder, and how it was come by where nobody has named it.
pub(super) fn told(folder: &DataDir) -> String {
    let shown = folder.path.display();
    if folder.is_named {
        shown.to_string()
    } else {
        format!("{shown} (nothing that can be read of the settings names another)")
    }
}

/// The admin token that was given.
pub(super) fn given_token(shared: &Shared) -> Option<Secret<String>> {
    let given = shared.token.as_deref().map(str::trim).filter(|token| !token.is_empty());
    given.map(|token| Secret::new(token.to_owned()))
}

/// The server that was named, if one was.
pub(super) fn named_server(shared: &Shared) -> anyhow::Result<Option<Client>> {
    let named = shared.server.as_deref().map(str::trim).filter(|server| !server.is_empty());
    let Some(server) = named else { return Ok(None) };
    let token = given_token(shared).ok_or_else(|| {
        Usage("a server that is named by --server or TOLLGATE_SERVER needs an admin token: give it with --token or TOLLGATE_ADMIN_TOKEN".to_owned())
    })?;
    if !server.starts_with("http://") && !server.starts_with("https://") {
        return Err(Usage(format!("--server {server}: write it as http://HOST:PORT or https://HOST")).into());
    }
    Client::new(server, token, false).map(Some)
}

/// Takes the data folder, or finds the server that has it.
pub(super) fn claim(config: Config, given: Option<Secret<String>>, absent: Absent) -> anyhow::Result<Claimed> {
    let claimed = match absent {
        Absent::Made => DataFolder::claim(&config.data_dir),
        Absent::Told => DataFolder::claim_existing(&config.data_dir),
    };
    match claimed {
        Ok(folder) => Ok(Claimed::Folder(folder, Box::new(config))),
        Err(error) => client_of(error, &config.data_dir, given).map(Claimed::Server),
    }
}

/// The server that runs on a folder, if one does.
fn running_on(folder: &Path, given: Option<Secret<String>>) -> anyhow::Result<Option<Client>> {
    match DataFolder::claim_existing(folder) {
        Ok(_) | Err(FolderError::Missing { .. }) => Ok(None),
        Err(error) => client_of(error, folder, given).map(Some),
    }
}

/// The way to the server that keeps a folder from being claimed.
fn client_of(error: FolderError, folder: &Path, given: Option<Secret<String>>) -> anyhow::Result<Client> {
    let FolderError::InUse { holder: Some(Holder { pid, address: Some(address) }), .. } = error else {
        return Err(error.into());
    };
    // The file is this very server's, whatever the variable was set for.
    let token = local_token::read(folder).ok().or(given);
    let token = token.ok_or_else(|| anyhow!("the local token in {} can't be read", folder.display()));
    let token = token.with_context(|| {
        format!("the server of process {pid} runs on this data folder; run this as its user, or give --token")
    })?;
    Client::new(&address, token, true)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::super::settings::Since;
    use super::*;

    /// What works on a folder, whatever variables and files surround the tests.
    pub(crate) fn on(folder: &std::path::Path) -> anyhow::Result<Reach> {
        let shared = Shared { data_dir: Some(folder.to_owned()), ..Shared::default() };
        Reach::on_folder(claim(shared.settings([]).load_in(folder, [], Since::default())?, None, Absent::Told)?)
    }

    #[test]
    fn a_folder_that_nobody_uses_is_worked_on_itself() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(on(folder.path()).unwrap(), Reach::Folder(_)));
    }

    #[test]
    fn a_folder_with_a_server_is_worked_on_through_the_server() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let mut claim = DataFolder::claim(folder.path()).unwrap();
        claim.announce("http://127.0.0.1:1").unwrap();
        let refused = on(folder.path()).err().unwrap();
        assert!(format!("{refused:#}").contains("give --token"), "{refused:#}");
        let _file = local_token::LocalTokenFile::write(folder.path(), &Secret::new("tga-1".to_owned())).unwrap();
        assert!(matches!(on(folder.path()).unwrap(), Reach::Server(_)));
    }

    #[test]
    fn a_named_server_needs_a_token_and_an_address() {
        let named = |server: &str, token: Option<&str>| {
            let shared =
                Shared { server: Some(server.to_owned()), token: token.map(str::to_owned), ..Shared::default() };
            Reach::find(&shared, Absent::Told).err().unwrap()
        };
        assert!(named("http://127.0.0.1:1", None).is::<Usage>());
        assert!(named("127.0.0.1:1", Some("tga-1")).is::<Usage>());
    }
}
