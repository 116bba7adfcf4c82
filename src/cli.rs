//! The command line: what was typed becomes a [`PeerConfig`] or a [`BootstrapConfig`], checked, with every default in
//! its place. The only room that reads the environment, the terminal and the machine's size.

pub mod ctl;
pub mod group;
mod host;
pub mod identity;
mod keyfile;
mod listen;
mod memory;
pub mod once;
mod picture;
mod prompt;
mod words;

use crate::config::{
    BOOTSTRAP_PORT, BootstrapConfig, ConsoleMode, Crypto, FileFolders, Folders, HostPort, Key, KeyFiles,
    Limits, PeerConfig, Rates, Secret, V1_DEFAULT_SECRET, parse_rate,
};
use crate::proto::query;
use crate::time::Duration;
use listen::{address_of, listen_at, port_of};
use log::LevelFilter;
use pico_args::Arguments;
use std::ffi::OsString;
use std::fmt;
use std::io::{Write, stderr, stdout};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tempfile::TempDir;
use words::{is_asked_for_help, refuse_option, rest, values_apart, words};

/// `ds-peer --help`.
pub const PEER_HELP: &str = "\
ds-peer: a DistriShare node. It shares a folder, finds other nodes, searches
them and downloads from them.

Usage: ds-peer [OPTIONS] [IP] PORT
       ds-peer group new|show|join FILE
       ds-peer identity new|show [--state DIR] [PORT]
       ds-peer ctl [--state DIR | PORT] [COMMAND...]
       ds-peer get|search|browse ...     one command, see `ds-peer get --help`

  PORT                    listen on this TCP port (0: any free one)
  IP                      listen on this address only and announce it; without
                          it, or if it is not an address of this host (a
                          router's public one), listen on all addresses, of
                          IPv6 too (the same as 0.0.0.0)

Folders:
      --shared DIR        what is offered to others      [default: shared_files]
      --downloads DIR     where finished downloads go       [default: downloads]
      --state DIR         what is kept over restarts
                                    [default: $XDG_STATE_HOME/distrishare/PORT]
                          A copy of it needs another key: see
                          `ds-peer identity --help`
      --keep-free SIZE    leave so much of a disk free, such as 500M or 0
                                [default: 2 % of it, from 16 MiB to 1 GiB]
      --allow-system      share or fill a folder of the system, such as /etc,
                          which is refused otherwise

Finding other nodes:
      --bootstrap HOST[:PORT]
                          a registry; may be given again
                                                     [default: 127.0.0.1:8000]
      --join              register there and start multicast at once, without a
                          command

Groups:
      --group FILE        be a member of the group whose key FILE holds: only
                          members find, see and reach each other. To make and
                          carry keys, see `ds-peer group --help`

Transfers:
      --limit-up RATE     most bytes a second that go out with files, such as
                          500k, 2.5M or 20MB/s; at least 4096    [default: off]
      --limit-down RATE   the same for files that come in        [default: off]
      --no-resume         interrupted downloads wait for `resume`, and do not go
                          on at the start

The old protocol (v1):
      --v1 on|off         speak it                [default: on; off in a group]
      --v1-secret-file FILE
                          its secret, the file's first line
                                                    [default: the public one]

Talking to you:
      --daemon            read no commands; end at SIGTERM or SIGINT
      --json              results as one JSON object a line
      --keep-going        a script goes on after a command that failed
      --limits SIZE       how much it may hold at once: small (for a box with 32
                          to 128 MB of memory) or desktop   [default: by memory]
      --log-level LEVEL   off, error, warn, info, debug or trace
                                          [default: warn; info with --daemon]
  -h, --help              show this
  -V, --version           show the version

Commands are read from standard input: type `help`, or try
  echo 'search welcome.txt' | ds-peer 9100 --join

Exit status: 0 done, 1 other failure, 2 usage, 3 nothing found, 5 refused,
6 network or no peer, 7 timeout, 8 verification failed, 9 no space,
12 input or output, 130 interrupted.
";

/// `ds-bootstrap --help`.
pub const BOOTSTRAP_HELP: &str = "\
ds-bootstrap: the DistriShare registry. Nodes register here and learn of each
other.

Usage: ds-bootstrap [OPTIONS] [IP] [PORT]

  PORT                    listen on this TCP port (0: any free one)
                                                               [default: 8000]
  IP                      listen on this address only
                                              [default: all, of IPv4 and IPv6]

      --state DIR         what is kept over restarts
                          [default: $XDG_STATE_HOME/distrishare/bootstrap-PORT]
      --lease SECONDS     how long a node counts without coming back or
                          answering                             [default: 600]
      --limits SIZE       how much it may hold at once: small (for a box with 32
                          to 128 MB of memory) or desktop   [default: by memory]
      --log-level LEVEL   off, error, warn, info, debug or trace
                                                               [default: info]
  -h, --help              show this
  -V, --version           show the version

It runs until SIGTERM or SIGINT.
";

/// What the command line asks for.
#[derive(Debug)]
pub enum Parsed<C> {
    /// Run a node.
    Run(Box<Setup<C>>),
    /// Print this and end well.
    Show(String),
}

/// A node to run and what the driver needs for it.
#[derive(Debug)]
pub struct Setup<C> {
    /// The node's part.
    pub config: C,
    /// The driver's part.
    pub folders: Folders,
    /// Both share the limits.
    pub limits: Limits,
    /// What is logged.
    pub log_level: LevelFilter,
    /// Somebody may type commands.
    pub reads_stdin: bool,
    /// For [`Setup::warn`].
    warnings: Vec<String>,
    /// A folder that is to go when the program ends.
    pub scratch: Option<TempDir>,
}

impl<C> Setup<C> {
    /// Says in the log, which starts after the command line was read, what is unwise in it.
    pub fn warn(&self) {
        for warning in &self.warnings {
            log::warn!("{warning}");
        }
    }
}

/// A command line that cannot be carried out: the sentence says what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl From<pico_args::Error> for UsageError {
    fn from(error: pico_args::Error) -> UsageError {
        match error {
            pico_args::Error::OptionWithoutAValue(option) => UsageError(format!("{option} needs a value")),
            error => UsageError(error.to_string()),
        }
    }
}

type Result<T> = std::result::Result<T, UsageError>;

fn wrong<T>(text: impl Into<String>) -> Result<T> {
    Err(UsageError(text.into()))
}

/// Carries out the commands of `ds-peer` that start no node, if this is one of them.
pub fn subcommand<E: std::error::Error>(
    args: &[OsString],
    change_key: impl FnOnce(&Path, bool, &mut dyn FnMut(KeyFiles) -> KeyFiles) -> std::result::Result<(), E>,
) -> Option<ExitCode> {
    let (verb, words) = args.split_first()?;
    match verb.to_str() {
        Some(verb) if once::is_verb(verb) => once::ask_running(args),
        Some("ctl") => Some(ctl::run(words.to_vec())),
        Some("group") => Some(group::run(words.to_vec())),
        Some("identity") => Some(identity::run(words.to_vec(), change_key)),
        _ => None,
    }
}

/// Reads the command line of `ds-peer`, without the program's name.
///
/// # Errors
/// What is wrong with it.
pub fn peer(args: Vec<OsString>) -> Result<Parsed<PeerConfig>> {
    if args.first().and_then(|word| word.to_str()).is_some_and(once::is_verb) {
        return once::node(args);
    }
    let mut args = Arguments::from_vec(values_apart(args, PEER_HELP));
    if let Some(text) = shown(&mut args, "ds-peer", PEER_HELP) {
        return Ok(Parsed::Show(text));
    }
    let mut options = options(&mut args)?;
    let words = rest(args, PEER_HELP)?;
    let (listen, announce, port) = place(&words)?;
    (options.config.listen, options.config.announce) = (listen, announce);
    let state = host::state_folder(options.state.take(), &port.to_string())?;
    Ok(options.setup(state, None))
}

/// What the options of a node say.
struct NodeOptions {
    config: PeerConfig,
    state: Option<PathBuf>,
    log_level: Option<LevelFilter>,
    warnings: Vec<String>,
}

impl NodeOptions {
    /// A node to run, whose state is kept there. `scratch`: goes with it.
    fn setup(self, state: PathBuf, scratch: Option<TempDir>) -> Parsed<PeerConfig> {
        let NodeOptions { config, log_level, warnings, .. } = self;
        let folders = Folders { files: Some(config.folders.clone()), state };
        let is_daemon = config.console == ConsoleMode::Daemon;
        let quiet = if is_daemon { LevelFilter::Info } else { LevelFilter::Warn };
        Parsed::Run(Box::new(Setup {
            folders,
            limits: config.limits.clone(),
            log_level: log_level.unwrap_or(quiet),
            reads_stdin: !is_daemon && config.once.is_none(),
            config,
            warnings,
            scratch,
        }))
    }
}

/// All addresses and any free port.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Takes the options out of a command line.
fn options(args: &mut Arguments) -> Result<NodeOptions> {
    let (state, group) = (path(args, "--state")?, group_key(args)?);
    let (v1_secret, warnings) = match path(args, "--v1-secret-file")? {
        Some(file) => {
            keyfile::read_secret(&file).map(|(secret, warning)| (secret, Vec::from_iter(warning)))?
        }
        None => (Secret::new(V1_DEFAULT_SECRET), Vec::new()),
    };
    let config = PeerConfig {
        listen: ANY,
        folders: file_folders(args)?,
        root: host::is_root(),
        announce: None,
        bootstraps: bootstraps(args)?,
        join: args.contains("--join"),
        control: true,
        v1: switch(args, "--v1")?.unwrap_or(group.is_none()),
        v1_secret,
        group,
        crypto: Crypto::Real { aes: host::has_aes() },
        entropy: host::entropy()?,
        console: if args.contains("--daemon") { ConsoleMode::Daemon } else { host::console_mode() },
        json: args.contains("--json"),
        progress_columns: host::columns(stderr()),
        keep_going: args.contains("--keep-going"),
        rate: Rates { up: rate(args, "--limit-up")?, down: rate(args, "--limit-down")? },
        once: None,
        resume: !args.contains("--no-resume"),
        seed: host::seed(),
        limits: memory::limits(args)?,
    };
    Ok(NodeOptions { config, state, log_level: log_level(args)?, warnings })
}

/// Where to listen, which address to announce in place of that, and the port as typed.
fn place(words: &[String]) -> Result<(SocketAddr, Option<IpAddr>, u16)> {
    let (ip, port) = match words {
        [port] => (None, port),
        [ip, port] => (Some(ip), port),
        [] => return wrong("the port is missing: ds-peer 9000"),
        [_, _, extra, ..] => return wrong(format!("`{extra}` is one argument too many")),
    };
    let any = SocketAddr::new(ANY.ip(), port_of(port)?);
    let given = ip.map(|text| address_of(text, any.port())).transpose()?;
    let (listen, announce) = given.map_or(Ok((any, None)), |given| listen_at(given, any))?;
    Ok((listen, announce, any.port()))
}

/// What is offered, and downloads. Only the defaults are made: a folder that was named is there, or was mistyped.
fn file_folders(args: &mut Arguments) -> Result<FileFolders> {
    let mut named = |option| path(args, option)?.map(|path| host::existing(option, path)).transpose();
    let (shared, downloads) = (named("--shared")?, named("--downloads")?);
    let keep_free = match args.opt_value_from_str::<_, String>("--keep-free")? {
        None => None,
        Some(text) => match query::bytes(&text).map(u64::try_from) {
            Some(Ok(bytes)) => Some(bytes),
            _ => {
                return wrong(format!(
                    "--keep-free: `{text}` is no size: give bytes, like 500M, 1.5GiB or 0"
                ));
            }
        },
    };
    Ok(FileFolders {
        named_downloads: downloads.is_some(),
        shared: shared.unwrap_or_else(|| "shared_files".into()),
        downloads: downloads.unwrap_or_else(|| "downloads".into()),
        allow_system: args.contains("--allow-system"),
        keep_free,
    })
}

/// The registries, one at least.
fn bootstraps(args: &mut Arguments) -> Result<Vec<HostPort>> {
    let mut bootstraps = Vec::new();
    for text in args.values_from_str::<_, String>("--bootstrap")? {
        bootstraps.push(HostPort::parse(&text, Some(BOOTSTRAP_PORT)).map_err(UsageError)?);
    }
    if bootstraps.is_empty() {
        bootstraps.push(HostPort { host: Ipv4Addr::LOCALHOST.to_string(), port: BOOTSTRAP_PORT });
    }
    Ok(bootstraps)
}

/// Reads the command line of `ds-bootstrap`, without the program's name.
///
/// # Errors
/// What is wrong with it.
pub fn bootstrap(args: Vec<OsString>) -> Result<Parsed<BootstrapConfig>> {
    let mut args = Arguments::from_vec(values_apart(args, BOOTSTRAP_HELP));
    if let Some(text) = shown(&mut args, "ds-bootstrap", BOOTSTRAP_HELP) {
        return Ok(Parsed::Show(text));
    }
    let state = path(&mut args, "--state")?;
    let lease = match args.opt_value_from_str::<_, String>("--lease")? {
        None => 600,
        Some(text) => match text.parse::<u64>() {
            Ok(seconds) if (1..=30 * 86_400).contains(&seconds) => seconds,
            _ => return wrong(format!("--lease {text}: give seconds, from 1 to {}", 30 * 86_400)),
        },
    };
    let level = log_level(&mut args)?.unwrap_or(LevelFilter::Info);
    let limits = memory::limits(&mut args)?;
    let words = rest(args, BOOTSTRAP_HELP)?;
    let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let listen = match words.as_slice() {
        [] => any(BOOTSTRAP_PORT),
        [one] if one.contains(['.', ':']) => address_of(one, BOOTSTRAP_PORT)?,
        [port] => any(port_of(port)?),
        [ip, port] => address_of(ip, port_of(port)?)?,
        [_, _, extra, ..] => return wrong(format!("`{extra}` is one argument too many")),
    };
    let config = BootstrapConfig {
        listen,
        lease: Duration::from_secs(lease),
        seed: host::seed(),
        limits: limits.clone(),
    };
    let folders =
        Folders { files: None, state: host::state_folder(state, &format!("bootstrap-{}", listen.port()))? };
    Ok(Parsed::Run(Box::new(Setup {
        config,
        folders,
        limits,
        log_level: level,
        reads_stdin: false,
        warnings: Vec::new(),
        scratch: None,
    })))
}

/// `--help` and `--version` win over everything else.
fn shown(args: &mut Arguments, program: &str, help: &str) -> Option<String> {
    if args.contains(["-h", "--help"]) {
        return Some(help.to_owned());
    }
    args.contains(["-V", "--version"]).then(|| format!("{program} {}\n", env!("CARGO_PKG_VERSION")))
}

fn path(args: &mut Arguments, option: &'static str) -> Result<Option<PathBuf>> {
    let path = args.opt_value_from_os_str(option, |text| Ok::<_, UsageError>(PathBuf::from(text)))?;
    if path.as_deref() == Some(Path::new("")) {
        return wrong(format!("{option} needs a path"));
    }
    Ok(path)
}

fn group_key(args: &mut Arguments) -> Result<Option<Key>> {
    let key = path(args, "--group")?.map(|file| keyfile::read_key(&file));
    key.transpose().map_err(|error| UsageError(format!("--group: {error}")))
}

fn switch(args: &mut Arguments, option: &'static str) -> Result<Option<bool>> {
    match args.opt_value_from_str::<_, String>(option)?.as_deref() {
        None => Ok(None),
        Some("on") => Ok(Some(true)),
        Some("off") => Ok(Some(false)),
        Some(other) => wrong(format!("{option} {other}: say `on` or `off`")),
    }
}

fn rate(args: &mut Arguments, option: &'static str) -> Result<Option<u64>> {
    let text = args.opt_value_from_str::<_, String>(option)?;
    let rate = text.map_or(Ok(None), |text| parse_rate(&text));
    rate.map_err(|problem| UsageError(format!("{option}: {problem}")))
}

fn log_level(args: &mut Arguments) -> Result<Option<LevelFilter>> {
    match args.opt_value_from_str::<_, String>("--log-level")? {
        None => Ok(None),
        Some(text) => match text.parse() {
            Ok(level) => Ok(Some(level)),
            Err(_) => wrong(format!("--log-level {text}: say off, error, warn, info, debug or trace")),
        },
    }
}

/// Prints what was asked for, and ends well even if nobody reads it.
pub fn show(text: &str) -> ExitCode {
    let _ = stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Says what is wrong with the command line: exit status 2.
pub fn refuse(program: &str, error: &UsageError) -> ExitCode {
    let _ = writeln!(stderr(), "{program}: {error}\nTry `{program} --help`.");
    ExitCode::from(2)
}

/// Says why the program could not start or go on: exit status 1.
pub fn fail(program: &str, error: &dyn std::error::Error) -> ExitCode {
    let _ = writeln!(stderr(), "{program}: {error}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Setup<PeerConfig>> {
        let mut args: Vec<OsString> = words.iter().map(OsString::from).collect();
        args.extend(["--state".into(), "/nonexistent".into()]);
        match peer(args)? {
            Parsed::Run(setup) => Ok(*setup),
            Parsed::Show(text) => panic!("{text}"),
        }
    }

    #[test]
    fn a_port_alone_listens_everywhere_and_an_address_of_ours_only_there() {
        let all = parse(&["9000"]).unwrap();
        assert_eq!(all.config.listen, "0.0.0.0:9000".parse().unwrap());
        assert_eq!(all.config.bootstraps[0].to_string(), "127.0.0.1:8000");
        let one = parse(&["127.0.0.1", "9100"]).unwrap();
        assert_eq!((one.config.listen, one.config.announce), ("127.0.0.1:9100".parse().unwrap(), None));
        let public = parse(&["203.0.113.9", "9100"]).unwrap();
        assert_eq!(public.config.listen, "0.0.0.0:9100".parse().unwrap());
        assert_eq!(public.config.announce, Some("203.0.113.9".parse().unwrap()));
    }

    #[test]
    fn options_may_stand_anywhere_and_bootstraps_add_up() {
        let setup =
            parse(&["--join", "9000", "--bootstrap", "a.example:1", "--bootstrap", "b", "--v1", "off"])
                .unwrap();
        let names: Vec<String> = setup.config.bootstraps.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a.example:1", "b:8000"]);
        assert!(setup.config.join && !setup.config.v1);
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("x=y");
        std::fs::create_dir(&folder).unwrap();
        let shared = format!("--shared={}", folder.display());
        let setup = parse(&["--v1=off", "--bootstrap=a:1", &shared, "9000"]).unwrap();
        assert_eq!(setup.config.bootstraps[0].to_string(), "a:1");
        assert_eq!(setup.config.folders.shared, folder);
        assert!(!setup.config.v1);
    }

    #[test]
    fn a_group_switches_v1_off_unless_it_is_asked_for() {
        // hostile: 70
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("key");
        keyfile::write_key(&file, &Key::new([5; 32])).unwrap();
        let file = file.to_str().unwrap();
        let option = format!("--group={file}");
        for (words, member, v1) in [
            (&["9000"][..], false, true),
            (&["9000", "--v1", "off"], false, false),
            (&["9000", "--group", file], true, false),
            (&["9000", &option], true, false),
            (&["9000", "--group", file, "--v1", "on"], true, true),
        ] {
            let config = parse(words).unwrap().config;
            assert_eq!((config.group, config.v1), (member.then(|| Key::new([5; 32])), v1), "{words:?}");
        }
    }

    #[test]
    fn rates_have_no_limit_and_downloads_go_on_unless_told_otherwise() {
        let config = parse(&["9000"]).unwrap().config;
        assert_eq!((config.rate, config.resume), (Rates { up: None, down: None }, true));
        let config =
            parse(&["9000", "--limit-up", "2.5M", "--limit-down=20MB/s", "--no-resume"]).unwrap().config;
        let rate = Rates { up: Some(2_500_000), down: Some(20_000_000) };
        assert_eq!((config.rate, config.resume), (rate, false));
        assert_eq!(parse(&["9000", "--limit-up", "off"]).unwrap().config.rate, Rates::default());
    }

    #[test]
    fn what_is_kept_free_is_a_size_as_search_reads_it() {
        let kept = |text| parse(&["9000", "--keep-free", text]).unwrap().config.folders.keep_free;
        assert_eq!(["0", "500M", "1.5GiB"].map(kept), [0, 500_000_000, 3 << 29].map(Some));
        assert_eq!(parse(&["9000"]).unwrap().config.folders.keep_free, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases: [(&[&str], &str); 32] = [
            (&[], "port is missing"),
            (&["x"], "`x` is no port"),
            (&["70000"], "`70000` is no port"),
            (&["1.2.3", "9000"], "`1.2.3` is no address"),
            (&["224.1.1.1", "9000"], "`224.1.1.1` is no address"),
            (&["ff02::1%lo", "9000"], "`ff02::1%lo` is no address"),
            (&["fe80::1", "9000"], "`fe80::1`: a link-local address needs an interface"),
            (&["fe80::1%nosuch0", "9000"], "`fe80::1%nosuch0`: a link-local address needs an interface"),
            (&["fe80::1%lo", "9000"], "[fe80::1%1]:9000: a link-local address must be this host's"),
            (&["[fe80::1%1]:9000"], "two words: fe80::1%1 9000"),
            (&["127.0.0.1", "9000", "more"], "`more` is one argument too many"),
            (&["9000", "--keep-free", "much"], "--keep-free: `much` is no size"),
            (&["9000", "--keep-free", "99999999T"], "is no size"),
            (&["9000", "--frobnicate"], "unknown option `--frobnicate`"),
            (&["9000", "--v1", "maybe"], "`on` or `off`"),
            (&["9000", "--bootstrap", "a:b:c"], "not HOST:PORT"),
            (&["127.0.0.1:9000"], "two words: 127.0.0.1 9000"),
            (&["[::1]:9000"], "two words: ::1 9000"),
            (&["9000", "--join", "--json", "--join"], "--join is given twice"),
            (&["9000", "--json=yes"], "--json takes no value"),
            (&["9000", "--v1="], "`on` or `off`"),
            (&["9000", "--limit-up"], "--limit-up needs a value"),
            (&["9000", "--limit-up", "fast"], "--limit-up: `fast` is no rate"),
            (&["9000", "--limit-down", "0"], "--limit-down: `0` would let nothing through: use off"),
            (&["9000", "--limit-down=100"], "--limit-down: `100` is too little: give at least 4096"),
            (&["9000", "--limit-up=1M", "--limit-up=2M"], "--limit-up is given twice"),
            (&["9000", "--no-resume=yes"], "--no-resume takes no value"),
            (&["9000", "--shared", "/nonexistent"], "make it first: mkdir -p \"/nonexistent\""),
            (
                &["9000", "--downloads=/nonexistent/x"],
                "--downloads \"/nonexistent/x\": there is no such folder",
            ),
            (&["9000", "--allow-system=/etc"], "--allow-system takes no value"),
            (&["9000", "--group"], "--group needs a value"),
            (&["9000", "--group", "/nonexistent/key"], "--group: there is no /nonexistent/key"),
        ];
        for (words, text) in cases {
            let error = parse(words).err().unwrap_or_else(|| panic!("{words:?} was taken")).to_string();
            assert!(error.contains(text), "{words:?}: {error}");
        }
    }

    #[test]
    fn help_and_version_win_and_name_every_option() {
        for (words, start) in [(["-h"], "ds-peer: a"), (["-V"], "ds-peer 0.")] {
            match peer(words.iter().map(OsString::from).collect()).unwrap() {
                Parsed::Show(text) => assert!(text.starts_with(start)),
                Parsed::Run(_) => panic!("{words:?} runs"),
            }
        }
        let source = include_str!("cli.rs").split("#[cfg(test)]").next().unwrap();
        for option in source.split('"').filter(|text| text.starts_with("--") && !text.contains(' ')) {
            assert!(
                PEER_HELP.contains(option) || BOOTSTRAP_HELP.contains(option),
                "{option} is not in --help"
            );
        }
        for line in
            [PEER_HELP, BOOTSTRAP_HELP, ctl::CTL_HELP, once::ONCE_HELP].into_iter().flat_map(str::lines)
        {
            assert!(line.len() <= 80, "too wide for a terminal of 80 columns: {line}");
        }
    }

    #[test]
    fn the_registry_takes_an_address_a_port_or_both() {
        let listen = |words: &[&str]| {
            let mut args: Vec<OsString> = words.iter().map(OsString::from).collect();
            args.extend(["--state".into(), "/nonexistent".into()]);
            match bootstrap(args) {
                Ok(Parsed::Run(setup)) => Ok(setup.config.listen.to_string()),
                Ok(Parsed::Show(text)) => Err(text),
                Err(error) => Err(error.to_string()),
            }
        };
        assert_eq!(listen(&[]).unwrap(), "0.0.0.0:8000");
        assert_eq!(listen(&["0"]).unwrap(), "0.0.0.0:0");
        assert_eq!(listen(&["127.0.0.1"]).unwrap(), "127.0.0.1:8000");
        assert_eq!(listen(&["127.0.0.1", "81"]).unwrap(), "127.0.0.1:81");
        assert!(listen(&["--lease", "0"]).unwrap_err().contains("seconds"));
    }
}
