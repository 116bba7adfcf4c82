//! `ds-peer group`: makes the key of a group, shows it for another box, and takes it there.

use super::keyfile::{KeyError, check_free, read_key, shown, write_key};
use super::picture::Picture;
use super::{UsageError, host, prompt, refuse, show, wrong};
use crate::config::Key;
use crate::proto::group::{GroupLine, group_name};
use std::ffi::OsString;
use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const PROGRAM: &str = "ds-peer group";

/// `ds-peer group --help`.
pub const GROUP_HELP: &str = "\
ds-peer group: the keys of groups. Only the members of a group find, see and
reach each other; who has its key is a member.

Usage: ds-peer group new FILE
       ds-peer group show FILE
       ds-peer group join FILE

  new                     make a group: a new key, in a new FILE
  show                    print the key as one line to carry to another
                          computer, and on a terminal as a QR code, too
  join                    read that line and keep it in a new FILE; on a
                          terminal you are asked for it and it is not shown
  -h, --help              show this

Then start the node with: ds-peer 9000 --group FILE

FILE is one line of text that only you can read; a copy of it does as well as
`join`. Two computers with the same group name (8 letters and digits, not a
secret) have the same key.

Exit status: 0 done, 1 other failure, 2 usage, 12 input or output,
130 interrupted.
";

/// What is to be done with which file.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Help,
    New(PathBuf),
    Show(PathBuf),
    Join(PathBuf),
}

/// How it ended, unless well.
enum Failure {
    Key(KeyError),
    Interrupted,
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Failure {
        Failure::Key(error)
    }
}

/// Carries out what stands behind `ds-peer group`, and gives the exit status.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let command = match parse(args) {
        Ok(command) => command,
        Err(error) => return refuse(PROGRAM, &error),
    };
    let result = match command {
        Command::Help => return show(GROUP_HELP),
        Command::New(file) => new(&file),
        Command::Show(file) => show_key(&file),
        Command::Join(file) => join(&file),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Interrupted) => ExitCode::from(130),
        Err(Failure::Key(error)) => {
            say(&format!("{PROGRAM}: {error}"));
            ExitCode::from(match error {
                KeyError::Refused(_) => 1,
                KeyError::Io(_) => 12,
            })
        }
    }
}

fn parse(args: Vec<OsString>) -> Result<Command, UsageError> {
    const WANTED: &str = "say one of: new FILE, show FILE, join FILE";
    if args.iter().any(|word| word == "-h" || word == "--help") {
        return Ok(Command::Help);
    }
    let mut words = args.into_iter();
    let Some(verb) = words.next() else { return wrong(WANTED) };
    let command = match verb.to_str() {
        Some("new") => Command::New,
        Some("show") => Command::Show,
        Some("join") => Command::Join,
        // Not repeated: it may be the key.
        _ => return wrong(format!("this is no command: {WANTED}")),
    };
    let (file, more) = (words.next().unwrap_or_default(), words.next());
    // Nothing is repeated that could be a key or the start of one.
    if more.is_some() || file.to_string_lossy().to_ascii_lowercase().starts_with("distrishare-group-") {
        return wrong(match verb.to_str() {
            Some("join") => {
                "give the name of a new file only: the line is read from standard input, since any user of this \
                 computer can read a command line"
            }
            _ => "give the name of one file, and nothing else",
        });
    }
    if file.is_empty() {
        return wrong("the name of the file is missing");
    }
    if file.to_string_lossy().starts_with('-') {
        return wrong("there are no options but --help; a file whose name begins with `-` is ./-NAME");
    }
    Ok(command(PathBuf::from(file)))
}

fn new(file: &Path) -> Result<(), Failure> {
    let key = host::entropy().map_err(|error| KeyError::Io(error.to_string()))?;
    write_key(file, &key)?;
    let name = shown(file);
    print(&format!("made group {} in {name}\n", group_name(&key)))?;
    say(&format!("This computer: ds-peer 9000 --group {name}; another one: ds-peer group show {name}"));
    Ok(())
}

fn show_key(file: &Path) -> Result<(), Failure> {
    let key = read_key(file)?;
    say(&format!(
        "Group {}. Who has this line is a member: give it to `ds-peer group join FILE` on another computer.",
        group_name(&key)
    ));
    let line = GroupLine::encode(&key);
    print(&format!("{line}\n"))?;
    let columns = host::columns(stdout());
    match (columns, Picture::of(&line)) {
        (Some(columns), Some(picture)) if i32::from(columns) >= picture.columns() => {
            print(&picture.draw())?;
        }
        (Some(_), Some(picture)) => {
            say(&format!("For the QR code make the terminal {} columns wide.", picture.columns()));
        }
        _ => {}
    }
    Ok(())
}

fn join(file: &Path) -> Result<(), Failure> {
    check_free(file)?;
    let text = prompt::secret("The group's line (it is not shown): ")
        .map_err(|error| KeyError::Io(format!("cannot read the line: {error}")))?;
    let key: Key = GroupLine::decode(&text.ok_or(Failure::Interrupted)?)
        .map_err(|error| KeyError::Refused(error.to_string()))?;
    write_key(file, &key)?;
    let name = shown(file);
    print(&format!("joined group {} in {name}\n", group_name(&key)))?;
    say(&format!("Now start the node: ds-peer 9000 --group {name}"));
    Ok(())
}

/// To standard output, which somebody must take.
fn print(text: &str) -> Result<(), KeyError> {
    let mut out = stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| KeyError::Io(format!("cannot write to standard output: {error}")))
}

/// To standard error, whether somebody takes it or not.
fn say(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Command, String> {
        parse(words.iter().map(OsString::from).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn one_verb_and_one_file() {
        assert_eq!(parsed(&["new", "a"]), Ok(Command::New("a".into())));
        assert_eq!(parsed(&["show", "./-a"]), Ok(Command::Show("./-a".into())));
        assert_eq!(parsed(&["join", "/a b"]), Ok(Command::Join("/a b".into())));
        assert_eq!(parsed(&["join", "--help"]), Ok(Command::Help));
        let wrong: [(&[&str], &str); 7] = [
            (&[], "say one of: new FILE"),
            (&["leave", "a"], "no command: say one of"),
            (&["new"], "file is missing"),
            (&["new", ""], "file is missing"),
            (&["new", "-f"], "no options but --help"),
            (&["show", "a", "b"], "one file, and nothing else"),
            (&["new", "a", "b"], "one file, and nothing else"),
        ];
        for (words, text) in wrong {
            let error = parsed(words).expect_err("it is wrong");
            assert!(error.contains(text), "{words:?}: {error}");
        }
    }

    #[test]
    fn a_key_on_the_command_line_is_refused_and_not_repeated() {
        let line = GroupLine::encode(&Key::new([3; 32]));
        let upper = line.to_uppercase();
        for words in
            [&["join", "a", &line][..], &["join", &line], &["join", &upper], &[&line], &["show", &line]]
        {
            let error = parsed(words).expect_err("it is wrong");
            assert!(!error.contains("-1:") && error.len() <= 200, "{error}");
        }
        assert!(parsed(&["join", "a", &line]).expect_err("it is wrong").contains("can read a command line"));
    }

    #[test]
    fn the_help_fits_a_terminal() {
        for line in GROUP_HELP.lines() {
            assert!(line.len() <= 80, "too wide for a terminal of 80 columns: {line}");
        }
    }
}
