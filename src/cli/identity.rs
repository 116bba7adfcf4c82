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
    let changed = change_key(&state, verb == Verb::New, &mut |files| {
        let done = match verb {
            Verb::Show => shown(files, &state).map(|words| (KeyFiles::default(), words)),
            Verb::New => renewed(files, &state),
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

fn renewed(files: KeyFiles, state: &Path) -> Result<(KeyFiles, String), Failure> {
    let old = files.key.ok_or_else(|| Failure::NoKey(state.to_owned()))?;
    let old = match Identity::decode(&old) {
        Ok(identity) => format!("id {}", identity.id()),
        Err(error) => format!("a key that could not be used ({error})"),
    };
    let (key, new) = fresh().map_err(Failure::Entropy)?;
    Ok((KeyFiles { key: Some(key), machine: None }, format!("new id {new} in place of {old}\n")))
}

/// A new key's file, and its id.
fn fresh() -> Result<(Vec<u8>, NodeId), UsageError> {
    let identity = Identity::from_secret(host::entropy()?);
    Ok((identity.encode(), identity.id()))
}
