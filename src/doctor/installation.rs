//! Which installation is looked at: people find nothing wrong with one that is not theirs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpStream;

use super::Patient;
use super::report::Check;

const NAME: &str = "installation";
/// On this machine somebody answers at once, or nobody does.
const CONNECT_TIME_MAX: Duration = Duration::from_millis(500);

/// Whether somebody listens where a server is to listen that doesn't run on the folder.
pub(super) async fn is_answered(patient: &Patient) -> bool {
    if patient.served.is_some() || !patient.unusable.is_empty() {
        return false;
    }
    let connecting = TcpStream::connect(reached_at(patient.config.listen));
    matches!(tokio::time::timeout(CONNECT_TIME_MAX, connecting).await, Ok(Ok(_)))
}

/// Where a server is reached on its own machine.
pub(super) fn reached_at(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Says what was looked at, and warns where it may be something else than was meant.
pub(super) fn judge(patient: &Patient, is_answered: bool) -> Check {
    let folder = whole(&patient.config.data_dir);
    let is_there = if folder.is_dir() { "" } else { ", which is not there yet" };
    let settings = match patient.file.as_deref().map(whole) {
        None => "settings of its own".to_owned(),
        Some(file) if file.exists() => format!("the settings of {}", file.display()),
        Some(file) => format!("no file of settings (there is no {})", file.display()),
    };
    let place = format!("the data folder {}{is_there}, with {settings}", folder.display());
    if patient.served.is_some() {
        return Check::ok(NAME, format!("the server of process {} on {place}", std::process::id()));
    }
    let place = format!("no server runs on {place}");
    if is_answered {
        let address = reached_at(patient.config.listen);
        let found = format!(
            "{place}, and yet something answers at {address}, where one is to listen: a server that runs on another folder, or another program"
        );
        let mend = format!(
            "tollgate doctor --data-dir DIR   # the folder that it runs on; or: ss -ltnp 'sport = :{}'",
            address.port()
        );
        return Check::problem(NAME, found, mend);
    }
    if !patient.unusable.is_empty() && !patient.is_named {
        let found = format!("{place}; nothing that can be read of them names another folder");
        return Check::warning(NAME, found, "tollgate doctor --data-dir DIR   # the folder that the server runs on");
    }
    Check::ok(NAME, place)
}

/// The path from the root on; as it is where the working directory is gone.
fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_reached_on_its_own_machine() {
        for (listen, expected) in
            [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("192.0.2.1:80", "192.0.2.1:80")]
        {
            assert_eq!(reached_at(listen.parse().unwrap()), expected.parse().unwrap());
        }
    }
}
