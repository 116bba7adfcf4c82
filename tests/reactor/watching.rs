//! Folders watched by the loop: noticed without being asked, and for nothing while nothing happens.

use crate::toys::{Home, run};
use distrishare::config::{Folders, Limits};
use distrishare::machine::{Dir, Input, LeftOut, ListEnd, Output, RequestId};
use distrishare::reactor::Reactor;
use distrishare::time::Duration;
use std::fs;

fn watch() -> Output {
    Output::WatchFolder { dir: Dir::Shared }
}

fn list() -> Output {
    Output::ListFiles { request: RequestId(1), dir: Dir::Shared, folder: String::new(), deep: true, max: 9 }
}

#[test]
fn a_change_wakes_the_loop_and_nothing_else_does() {
    // hostile: 189
    let home = Home::new();
    fs::create_dir_all(home.at("shared/a/b")).expect("folders");
    let mut waits = 0;
    let mut seen = Vec::new();
    // Asked twice, watched once.
    let stats =
        run(home.reactor(&Limits::desktop()), vec![watch(), list(), watch()], |script, input| match input {
            // A listing that was asked for after the watch sees what the watch does not tell.
            Some(Input::Listed { end, .. }) => {
                assert_eq!(end, ListEnd::Done(LeftOut::default()));
                script.deadline = Some(script.now + Duration::from_millis(500));
            }
            Some(Input::Timeout) if waits == 0 => {
                waits += 1;
                fs::write(home.at("shared/a/b/file"), b"x").expect("a file");
                script.deadline = Some(script.now + Duration::from_secs(15));
            }
            Some(Input::Timeout) => panic!("nothing was noticed"),
            Some(Input::FolderChanged { folder, deep, .. }) => {
                seen.push((folder, deep));
                script.exit();
            }
            Some(Input::WatchLost { .. }) => panic!("lost"),
            _ => {}
        });
    assert_eq!(seen, [("a/b".to_owned(), false)]);
    assert!(stats.waits <= 6, "{stats:?}");
}

#[test]
fn where_there_is_nothing_to_watch_the_loss_is_told() {
    let home = Home::new();
    let folders = Folders { files: None, state: home.at("state") };
    let reactor = Reactor::new(&folders, &Limits::desktop()).expect("a reactor");
    let mut lost = 0;
    run(reactor, vec![watch()], |script, input| {
        if let Some(Input::WatchLost { dir: Dir::Shared }) = input {
            lost += 1;
            script.exit();
        }
    });
    assert_eq!(lost, 1);
}
