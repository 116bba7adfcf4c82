//! What this machine is and has: its terminal, its environment, its randomness.

use super::{Result, wrong};
use crate::config::{ConsoleMode, Key};
use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Read, stdin};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A terminal is for a person, a pipe or file for a script; `/dev/null` says that nobody will say anything.
pub(super) fn console_mode() -> ConsoleMode {
    if stdin().is_terminal() {
        return ConsoleMode::Terminal;
    }
    let meta = stdin().as_fd().try_clone_to_owned().and_then(|fd| std::fs::File::from(fd).metadata());
    // hostile: 148 (device 1:3 is the null device on Linux)
    let null = meta.is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == (1 << 8 | 3));
    if null { ConsoleMode::Daemon } else { ConsoleMode::Script }
}

/// Columns of a terminal, if it is one.
pub(super) fn columns(terminal: impl AsFd + IsTerminal) -> Option<u16> {
    if !terminal.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(terminal).ok();
    // 0: a terminal that nobody told its size.
    Some(size.map(|size| size.ws_col).filter(|columns| *columns > 0).unwrap_or(80).max(20))
}

#[allow(clippy::disallowed_methods)] // the one place where settings are read from the environment
pub(super) fn state_folder(given: Option<PathBuf>, name: &str) -> Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given);
    }
    let absolute = |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    match absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state"))) {
        Some(base) => Ok(base.join("distrishare").join(name)),
        None => wrong("neither XDG_STATE_HOME nor HOME is set: say where state is kept with --state DIR"),
    }
}

/// A folder that the operator named, if something is there.
pub(super) fn existing(option: &str, path: PathBuf) -> Result<PathBuf> {
    let missing = std::fs::metadata(&path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    match missing {
        false => Ok(path),
        true if path.is_symlink() => wrong(format!("{option} {path:?}: this link leads to nothing")),
        true => wrong(format!(
            "{option} {path:?}: there is no such folder; if the name is right, make it first: mkdir -p {path:?}"
        )),
    }
}

/// Where a machine keeps its id; the second counts where the first is not there.
pub(super) const MACHINE_ID: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
/// Bytes of it that are read; it has 33.
const MACHINE_ID_MAX: u64 = 256;

/// What stands for this machine beside a node's key: a hash, since its id is not for everybody. None where it has no id,
/// or none yet.
pub(super) fn machine(paths: &[impl AsRef<Path>]) -> Option<String> {
    let missing =
        |file: &std::io::Result<File>| file.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
    let file = paths.iter().map(File::open).find(|file| !missing(file))?.ok()?;
    let mut id = Vec::new();
    file.take(MACHINE_ID_MAX).read_to_end(&mut id).ok()?;
    let id = id.trim_ascii();
    // What systemd writes into an image whose copies are to get ids of their own.
    if id.is_empty() || id == b"uninitialized" {
        return None;
    }
    let hash = blake3::derive_key("DistriShare 2026 machine of a node's key", id);
    Some(format!("{}\n", blake3::Hash::from_bytes(hash).to_hex()))
}

/// An IPv6 address with a zone behind it, as the system reads it, which asks nobody; none where there is no such zone.
pub(super) fn with_zone(text: &str, port: u16) -> Option<SocketAddr> {
    (text, port)
        .to_socket_addrs()
        .ok()?
        .find(|addr| matches!(addr, SocketAddr::V6(addr) if addr.scope_id() != 0))
}

/// Whether this process has root's rights.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// 32 bytes from the system, for keys.
pub(super) fn entropy() -> Result<Key> {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return wrong(format!("the system gives no random bytes for keys: {errno}")),
        }
    }
    Ok(Key::new(bytes))
}

/// Whether this processor has instructions for AES-GCM.
pub(super) fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}

pub(super) fn seed() -> u64 {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(_) => u64::from_ne_bytes(bytes),
        // Only jitter and temporary names hang on it; the process id will do.
        Err(_) => u64::from(std::process::id()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_machine_is_told_by_a_hash_of_its_id() {
        let temp = tempfile::tempdir().unwrap();
        let (etc, dbus) = (temp.path().join("etc"), temp.path().join("dbus"));
        let here = || machine(&[&etc, &dbus]);
        assert_eq!(here(), None);
        let id = "0123456789abcdef0123456789abcdef";
        fs::write(&dbus, format!("{id}\n")).unwrap();
        let note = here().unwrap();
        assert!(note.len() == 65 && !note.contains(id), "{note}");
        // The first one decides, whatever is in it.
        for none in ["", "\n", "uninitialized\n"] {
            fs::write(&etc, none).unwrap();
            assert_eq!(here(), None, "{none:?}");
        }
        fs::write(&etc, id).unwrap();
        assert_eq!(here().as_ref(), Some(&note));
        fs::write(&etc, &id[1..]).unwrap();
        assert!(here().is_some_and(|other| other != note));
        fs::remove_file(&etc).unwrap();
        fs::create_dir(&etc).unwrap();
        assert_eq!(here(), None);
    }
}
