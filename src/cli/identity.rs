//! `ds-peer identity`: shows a node's id, or gives the node another key. And what is done at a start with a key that was
//! copied to another machine together with its state folder: two nodes with one key would take each other for themselves.

use super::{UsageError, host, path, port_of, refuse, rest, show, values_apart, wrong};
use crate::config::KeyFiles;
use crate::proto::escape::for_terminal;
use crate::proto::v2::identity::{Identity, IdentityError, NodeId};
use pico_args::Arguments;
use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const PROGRAM: &str = "ds-peer identity";

/// `ds-peer identity --help`.
pub const IDENTITY_HELP: &str = "\
ds-peer identity: the key by which other nodes know this one, and its id.

Usage: ds-peer identity show [--state DIR] [PORT]
       ds-peer identity new [--state DIR] [PORT]

  show                    print the id
  new                     make a new key, and with it a new id, in place of the
                          old one, which is kept nowhere. The node must not run
  PORT                    the node that is started with this port
      --state DIR         the node that is started with this option
  -h, --help              show this

A copy of a state folder, in the image of a disk for instance, holds the same
key: two nodes with one key do not see each other's files. On another machine
the copy makes itself a new key at its start; on the same one, say `new`.

Exit status: 0 done, 1 other failure, 2 usage.
";

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Show,
    New,
}

/// Why it could not be done.
#[derive(Debug)]
enum Failure {
    /// There is no key in this folder.
    NoKey(PathBuf),
    /// What is there is none.
    Unusable(PathBuf, IdentityError),
    /// The system gives no randomness.
    Entropy(UsageError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NoKey(state) => write!(
                f,
                "there is no key in {state:?}: a node makes one at its first start; name its port, or its folder with --state"
            ),
            Failure::Unusable(state, error) => write!(
                f,
                "the key in {state:?} cannot be used ({error}): the node makes a new one at its next start, or `{PROGRAM} new` now"
            ),
            Failure::Entropy(error) => error.fmt(f),
        }
    }
}

impl Error for Failure {}

/// Carries out what stands behind `ds-peer identity`, and gives the exit status. `change_key` is the driver's: it opens
/// a state folder, alone or not, shows what is there of a key and keeps what is handed back.
pub fn run<E: Error>(
    args: Vec<OsString>,
    change_key: impl FnOnce(&Path, bool, &mut dyn FnMut(KeyFiles) -> KeyFiles) -> Result<(), E>,
) -> ExitCode {
    let (verb, state) = match parse(args) {
        Ok(Some(request)) => request,
        Ok(None) => return show(IDENTITY_HELP),
        Err(error) => return refuse(PROGRAM, &error),
    };
    let mut words = Ok(String::new());
    let here = host::machine(&host::MACHINE_ID);
    let changed = change_key(&state, verb == Verb::New, &mut |files| {
        let done = match verb {
            Verb::Show => shown(files, &state).map(|words| (KeyFiles::default(), words)),
            Verb::New => renewed(files, &state, here.clone()),
        };
        let (change, said) = match done {
            Ok((change, said)) => (change, Ok(said)),
            Err(failure) => (KeyFiles::default(), Err(failure)),
        };
        words = said;
        change
    });
    let error: Box<dyn Error + '_> = match (changed, words) {
        (Err(error), _) => Box::new(error),
        (Ok(()), Err(failure)) => Box::new(failure),
        (Ok(()), Ok(words)) => match stdout().write_all(words.as_bytes()).and_then(|()| stdout().flush()) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => format!("cannot write to standard output: {error}").into(),
        },
    };
    let _ = writeln!(stderr(), "{PROGRAM}: {error}");
    ExitCode::FAILURE
}

/// What is to be written before a node starts with this key. One that is noted as another machine's is a copy: the node
/// gets another.
pub fn settle(files: &KeyFiles) -> KeyFiles {
    settled(files, host::machine(&host::MACHINE_ID))
}

fn settled(files: &KeyFiles, here: Option<String>) -> KeyFiles {
    let nothing = KeyFiles::default();
    let Some(here) = here else { return nothing };
    let noted = files.machine.as_deref().filter(|note| is_note(note));
    if noted == Some(here.as_bytes()) {
        return nothing;
    }
    // A key that is not there or cannot be used the node makes itself, here.
    let old = files.key.as_deref().and_then(|key| Identity::decode(key).ok());
    let key = match (noted, old) {
        (Some(_), Some(old)) => match fresh() {
            Ok((key, new)) => {
                log::warn!(
                    "the node's key was made on another machine, so this is a copy of its state folder: \
                     the node makes itself a new key; its id was {}, now it is {new}",
                    old.id()
                );
                Some(key)
            }
            Err(error) => {
                log::warn!("the node's key was made on another machine, and it gets no new one: {error}");
                return nothing;
            }
        },
        _ => None,
    };
    KeyFiles { key, machine: Some(here.into_bytes()) }
}

/// Whether it can have been written by us: anything else says nothing about the machine.
fn is_note(note: &[u8]) -> bool {
    matches!(note, [digits @ .., b'\n'] if digits.len() == 64 && digits.iter().all(u8::is_ascii_hexdigit))
}

/// None: the help is asked for.
fn parse(args: Vec<OsString>) -> Result<Option<(Verb, PathBuf)>, UsageError> {
    const WANTED: &str = "say `show` or `new`, then the node's PORT or --state DIR";
    let mut args = Arguments::from_vec(values_apart(args, IDENTITY_HELP));
    if args.contains(["-h", "--help"]) {
        return Ok(None);
    }
    let state = path(&mut args, "--state")?;
    let words = rest(args, IDENTITY_HELP)?;
    let (verb, port) = match words.as_slice() {
        [verb] => (verb, None),
        [verb, port] => (verb, Some(port_of(port)?)),
        [] => return wrong(WANTED),
        [_, _, extra, ..] => return wrong(format!("`{}` is one argument too many", for_terminal(extra))),
    };
    let verb = match verb.as_str() {
        "show" => Verb::Show,
        "new" => Verb::New,
        other => return wrong(format!("`{}` is no command: {WANTED}", for_terminal(other))),
    };
    match (state, port) {
        (None, None) => wrong(format!("which node? {WANTED}")),
        (state, port) => {
            let name = port.map(|port| port.to_string()).unwrap_or_default();
            Ok(Some((verb, host::state_folder(state, &name)?)))
        }
    }
}

fn shown(files: KeyFiles, state: &Path) -> Result<String, Failure> {
    let key = files.key.ok_or_else(|| Failure::NoKey(state.to_owned()))?;
    let identity = Identity::decode(&key).map_err(|error| Failure::Unusable(state.to_owned(), error))?;
    Ok(format!("{}\n", identity.id()))
}

fn renewed(files: KeyFiles, state: &Path, here: Option<String>) -> Result<(KeyFiles, String), Failure> {
    let old = files.key.ok_or_else(|| Failure::NoKey(state.to_owned()))?;
    let old = match Identity::decode(&old) {
        Ok(identity) => format!("id {}", identity.id()),
        Err(error) => format!("a key that could not be used ({error})"),
    };
    let (key, new) = fresh().map_err(Failure::Entropy)?;
    Ok((
        KeyFiles { key: Some(key), machine: here.map(String::into_bytes) },
        format!("new id {new} in place of {old}\n"),
    ))
}

/// A new key's file, and its id.
fn fresh() -> Result<(Vec<u8>, NodeId), UsageError> {
    let identity = Identity::from_secret(host::entropy()?);
    Ok((identity.encode(), identity.id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Key;

    #[test]
    fn a_key_of_another_machine_is_replaced_and_nothing_else() {
        let note = |digit: char| format!("{}\n", digit.to_string().repeat(64));
        let ours = Identity::from_secret(Key::new([7; 32]));
        let settled = |key: Option<&[u8]>, noted: Option<&str>, here: Option<String>| {
            let noted = noted.map(|note| note.as_bytes().to_vec());
            let change = settled(&KeyFiles { key: key.map(<[u8]>::to_vec), machine: noted }, here);
            (change.key, change.machine.map(|note| String::from_utf8(note).unwrap()))
        };
        let (key, a, b) = (ours.encode(), note('a'), note('b'));
        let key = Some(key.as_slice());
        // Nothing to compare, or the same.
        assert_eq!(settled(key, Some(&a), None), (None, None));
        assert_eq!(settled(key, Some(&a), Some(a.clone())), (None, None));
        // No note, none of ours, or no key that could be replaced: it is noted.
        for noted in [None, Some(""), Some("x"), Some(&a[1..]), Some(&a[..64])] {
            assert_eq!(settled(key, noted, Some(b.clone())), (None, Some(b.clone())), "{noted:?}");
        }
        for no_key in [None, Some(b"{".as_slice())] {
            assert_eq!(settled(no_key, Some(&a), Some(b.clone())), (None, Some(b.clone())));
        }
        let (new, noted) = settled(key, Some(&a), Some(b.clone()));
        assert_eq!(noted, Some(b));
        assert_ne!(Identity::decode(&new.unwrap()).unwrap().id(), ours.id());
    }

    #[test]
    fn the_help_fits_a_terminal() {
        for line in IDENTITY_HELP.lines() {
            assert!(line.len() <= 80, "too wide for a terminal of 80 columns: {line}");
        }
    }
}
