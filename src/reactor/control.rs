//! The control socket, where programs of this host ask a running node. It lies in the state folder and is for the user
//! that runs the node (and root) alone: by its mode, and by what the kernel says of who connects.

use super::beneath::fault;
use super::state::StateFolder;
use crate::machine::Fault;
use mio::net::TcpStream;
use rustix::fd::{AsRawFd, OwnedFd, RawFd};
use rustix::fs::{AtFlags, Mode, chmodat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use rustix::process::geteuid;

/// What it is called in the state folder.
const NAME: &str = "control";
/// And on the way there: nobody may connect before it has its mode.
const NEW: &str = "control.tmp";
/// Programs that the kernel holds ready; each is taken in the next turn.
const BACKLOG: i32 = 16;

/// The socket, listening.
#[derive(Debug)]
pub(super) struct ControlSocket {
    io: OwnedFd,
}

impl ControlSocket {
    /// Takes the place of what an earlier life left: the folder is locked, so nobody listens there.
    pub(super) fn open(state: &StateFolder) -> Result<ControlSocket, Fault> {
        Self::make(state).map_err(fault)
    }

    fn make(state: &StateFolder) -> Result<ControlSocket, Errno> {
        let (dir, flags) = (state.dir(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC);
        remove(state, NEW)?;
        let io = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // An address has 108 bytes, and the folder's path may be longer.
        bind(&io, &SocketAddrUnix::new(format!("/proc/self/fd/{}/{NEW}", dir.as_raw_fd()))?)?;
        chmodat(dir, NEW, Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
        listen(&io, BACKLOG)?;
        renameat(dir, NEW, dir, NAME)?;
        Ok(ControlSocket { io })
    }

    /// The next program that waits; none if it is another user's. It is handed out as what all other connections are: for
    /// the kernel reading and writing are the same.
    pub(super) fn accept(&self) -> std::io::Result<Option<TcpStream>> {
        let io = accept_with(&self.io, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        let uid = socket_peercred(&io)?.uid;
        if !uid.is_root() && uid != geteuid() {
            log::warn!("user {} may not control this node", uid.as_raw());
            return Ok(None);
        }
        Ok(Some(TcpStream::from_std(std::net::TcpStream::from(io))))
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.io.as_raw_fd()
    }

    /// Takes it away, so that nobody tries to connect.
    pub(super) fn remove(state: &StateFolder) {
        let _ = remove(state, NAME);
    }
}

fn remove(state: &StateFolder, name: &str) -> Result<(), Errno> {
    match unlinkat(state.dir(), name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    use std::os::unix::net::UnixStream;

    #[test]
    fn it_is_for_its_owner_takes_the_place_of_one_that_was_left_and_goes_away() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let path = temp.path().join(NAME);
        let state = StateFolder::open(temp.path()).expect("a state folder");
        std::fs::write(temp.path().join(NEW), "left by a kill").expect("written");
        drop(ControlSocket::open(&state).expect("it listens"));
        assert!(UnixStream::connect(&path).is_err(), "a killed node leaves its socket");
        let socket = ControlSocket::open(&state).expect("it listens again");
        let there = std::fs::symlink_metadata(&path).expect("it is there");
        assert!(there.file_type().is_socket());
        assert_eq!(there.mode() & 0o777, 0o600);
        assert!(socket.accept().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
        let mut caller = UnixStream::connect(&path).expect("it listens");
        let mut stream = socket.accept().expect("somebody came").expect("of this user");
        caller.write_all(b"a request").expect("sent");
        let mut bytes = [0; 20];
        let n = stream.read(&mut bytes).expect("it has come");
        assert_eq!(&bytes[..n], b"a request");
        stream.write_all(b"an answer").expect("sent");
        drop(stream);
        let mut answer = String::new();
        caller.read_to_string(&mut answer).expect("all of it");
        assert_eq!(answer, "an answer");
        ControlSocket::remove(&state);
        let left: Vec<_> = std::fs::read_dir(temp.path()).expect("a folder").collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn the_path_of_the_folder_may_be_longer_than_an_address() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let folder = temp.path().join("long".repeat(30));
        let state = StateFolder::open(&folder).expect("a state folder");
        let socket = ControlSocket::open(&state);
        assert!(socket.is_ok() && folder.join(NAME).exists(), "{socket:?}");
    }
}
