//! `ds-peer get`, `ds-peer search` and `ds-peer browse`: one command. The node that runs with the state folder carries it
//! out; where none runs, one is made for it that shares nothing, keeps nothing and ends with the command.

use super::ctl::{self, line_of};
use super::{
    PEER_HELP, Parsed, Result, host, is_asked_for_help, refuse, refuse_option, show, values_apart, words,
    wrong,
};
use crate::config::{ConsoleMode, Once, PeerConfig};
use crate::proto::command::{self, Command, Line, NodeRef, Wanted};
use pico_args::Arguments;
use std::ffi::OsString;
use std::process::ExitCode;

/// `ds-peer get --help`, and that of the others.
pub const ONCE_HELP: &str = "\
ds-peer get, ds-peer search, ds-peer browse: one command, without a console.

Usage: ds-peer get [OPTIONS] NAME | FOLDER/ | IP PORT NAME | IP PORT FOLDER/
       ds-peer search [OPTIONS] WORDS...
       ds-peer browse [OPTIONS] IP PORT

What they do is told by `ds-peer ctl help get` or, in a console, `help get`.
A node of yours that is running (ds-peer 9000) carries it out. Where none runs,
one is made for it: it shares nothing, keeps nothing, finds others by registry
and multicast where that is needed, and ends with the command.

      --state DIR         the node with this state folder, in place of the one
                          that is started with `ds-peer 9000`
      --json              results as one JSON object a line
  -h, --help              show this

Where no node runs, also:
      --downloads DIR     where finished downloads go       [default: downloads]
      --keep-free SIZE    as of `ds-peer`, and so are all these
      --bootstrap HOST[:PORT]
      --group FILE
      --limit-up RATE
      --limit-down RATE
      --v1 on|off
      --v1-secret-file FILE
      --limits SIZE
      --log-level LEVEL

Exit status: as of `ds-peer`, such as 3 where nothing was found.
";

/// The program as its messages name it.
const PROGRAM: &str = "ds-peer";

/// Whether a command line is one of these.
pub(super) fn is_verb(word: &str) -> bool {
    matches!(word, "get" | "search" | "browse")
}

/// Has the running node carry it out. None: no node runs that this user may ask.
pub(super) fn ask_running(args: &[OsString]) -> Option<ExitCode> {
    if is_asked_for_help(args) {
        return Some(show(ONCE_HELP));
    }
    let mut parsed = Arguments::from_vec(values_apart(args.to_vec(), ONCE_HELP));
    let state = super::path(&mut parsed, "--state").and_then(|given| host::state_folder(given, "9000"));
    let json = parsed.contains("--json");
    // What is wrong with the words is said where a node would be made.
    let node = ctl::connect(&state.ok()?).ok()?;
    let words = words(parsed).ok()?;
    let is_option =
        |word: &&String| word.starts_with("--") && PEER_HELP.split_whitespace().any(|known| known == *word);
    if let Some(option) = words.iter().find(is_option) {
        let text = format!(
            "a node is running, and {option} is for one that is started: leave it out, or name another node with --state"
        );
        return Some(refuse(&format!("{PROGRAM} {}", words[0]), &super::UsageError(text)));
    }
    refuse_option(words.get(1)).ok()?;
    Some(ctl::ask(node, json, line_of(&words)))
}

/// What a node for one command is to do.
fn read(words: &[String]) -> Result<Once> {
    let line = line_of(words);
    let Line { command, background } =
        command::parse(&line).map_err(|error| super::UsageError(error.to_string()))?;
    if background {
        return wrong("a single command runs beside no other: leave out the &");
    }
    let listens = match command {
        Command::Get(Wanted::Numbers { .. } | Wanted::All) => {
            return wrong("no node is running that searched before: give the file's name");
        }
        Command::Browse(NodeRef::Id(_)) => {
            return wrong("no node is running that knows ids: give the node's address and port");
        }
        Command::Get(Wanted::At { .. } | Wanted::Folder { node: Some(_), .. }) | Command::Browse(_) => false,
        _ => true,
    };
    Ok(Once { line, listens })
}

/// Options of a node that stays.
fn refuse_others(args: &mut Arguments) -> Result<()> {
    for option in ["--join", "--daemon", "--keep-going", "--no-resume", "--allow-system"] {
        if args.contains(option) {
            return wrong(format!("{option} is for a node that stays"));
        }
    }
    match super::path(args, "--shared")? {
        Some(_) => wrong("--shared is for a node that stays: this one shares nothing"),
        None => Ok(()),
    }
}

/// A node for the one command of this command line, in a folder that goes with the process: its state, and what it shares,
/// which is nothing.
pub(super) fn node(args: Vec<OsString>) -> Result<Parsed<PeerConfig>> {
    let mut args = Arguments::from_vec(values_apart(args, ONCE_HELP));
    refuse_others(&mut args)?;
    let mut options = super::options(&mut args)?;
    let words = words(args)?;
    refuse_option(words.get(1))?;
    let once = read(&words)?;
    let folder = tempfile::Builder::new().prefix("distrishare-").tempdir();
    let folder =
        folder.map_err(|error| super::UsageError(format!("no temporary folder can be made: {error}")))?;
    let config = &mut options.config;
    config.folders.shared = folder.path().join("nothing");
    config.console = ConsoleMode::Script;
    (config.join, config.control, config.resume) = (once.listens, false, false);
    config.once = Some(once);
    let state = folder.path().join("state");
    Ok(options.setup(state, Some(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_must_be_found_listens() {
        let of = |line: &[&str]| read(&line.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        for (line, listens) in [
            (&["get", "song.ogg"][..], true),
            (&["get", "my song.ogg"], true),
            (&["get", "music/"], true),
            (&["search", "song", "-live"], true),
            (&["get", "10.0.0.5", "9000", "song.ogg"], false),
            (&["get", "10.0.0.5", "9000", "music/"], false),
            (&["browse", "10.0.0.5", "9000"], false),
        ] {
            assert_eq!(of(line).unwrap().listens, listens, "{line:?}");
        }
        for bad in
            [&["get", "1"][..], &["get", "all"], &["browse", "00ffaa"], &["get"], &["search"], &["get a &"]]
        {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}
