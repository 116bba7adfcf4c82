//! The DistriShare registry in the real world: command line, log, driver, node.

use distrishare::cli::{self, Parsed};
use distrishare::node::bootstrap::Bootstrap;
use distrishare::reactor::{self, Reactor};
use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let setup = match cli::bootstrap(std::env::args_os().skip(1).collect()) {
        Ok(Parsed::Run(setup)) => *setup,
        Ok(Parsed::Show(text)) => return cli::show(&text),
        Err(error) => return cli::refuse("ds-bootstrap", &error),
    };
    reactor::log::start(setup.log_level);
    let run = || -> Result<u8, Box<dyn Error>> {
        let mut reactor = Reactor::new(&setup.folders, &setup.limits)?.without_stdin();
        reactor.handle_signals()?;
        Ok(reactor.run(&mut Bootstrap::new(setup.config))?)
    };
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => cli::fail("ds-bootstrap", error.as_ref()),
    }
}
