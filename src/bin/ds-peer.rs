//! A DistriShare node in the real world: command line, log, driver, node.

use distrishare::cli::{self, Parsed};
use distrishare::node::peer::Peer;
use distrishare::reactor::{self, Reactor};
use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(status) = reactor::lookup(&args) {
        return status;
    }
    if let Some(status) = cli::subcommand(&args, reactor::change_key) {
        return status;
    }
    let setup = match cli::peer(args) {
        Ok(Parsed::Run(setup)) => *setup,
        Ok(Parsed::Show(text)) => return cli::show(&text),
        Err(error) => return cli::refuse("ds-peer", &error),
    };
    reactor::log::start(setup.log_level);
    setup.warn();
    let run = || -> Result<u8, Box<dyn Error>> {
        let mut reactor = Reactor::new(&setup.folders, &setup.limits)?;
        reactor.settle_key(cli::identity::settle);
        reactor.handle_signals()?;
        if !setup.reads_stdin {
            reactor = reactor.without_stdin();
        }
        Ok(reactor.run(&mut Peer::new(setup.config))?)
    };
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => cli::fail("ds-peer", error.as_ref()),
    }
}
