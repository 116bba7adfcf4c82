//! `ds-peer group` on a terminal: a question whose answer is not shown, and a picture.

use crate::place::{LIMIT, PEER, Place};
use crate::support;
use crate::terminal::Screen;
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};
use std::fs;
use std::process::Command;

const PROMPT: &str = "The group's line (it is not shown): ";
const COLOURS: &str = "\u{1b}[38;5;16;48;5;231m";

fn group(place: &Place, words: &[&str]) -> Command {
    let mut command = Command::new(PEER);
    command.arg("group").args(words).current_dir(place.path(""));
    command
}

/// Its line, and its short name.
fn made(place: &Place) -> (String, String) {
    let (done, out, err) = support::run(&mut group(place, &["new", "key"]), LIMIT);
    let name = out.strip_prefix("made group ").and_then(|rest| rest.strip_suffix(" in key\n"));
    let name = name.unwrap_or_else(|| panic!("{done} {out}{err}")).to_owned();
    let (_, line, err) = support::run(&mut group(place, &["show", "key"]), LIMIT);
    assert_eq!(line, fs::read_to_string(place.path("key")).expect("it was made"));
    assert!(err.contains(&name) && !err.contains('\u{1b}'), "{err}");
    (line.trim_end().to_owned(), name)
}

/// Whether the terminal shows what is typed.
fn echoes(screen: &Screen) -> bool {
    tcgetattr(&screen.keys).expect("a terminal of ours").local_modes.contains(LocalModes::ECHO)
}

#[test]
fn the_line_is_asked_for_and_not_shown() {
    let test = "the question for a group's line";
    let Some(place) = Place::new(test) else { return };
    let (line, name) = made(&place);
    let Some(mut bob) = Screen::of(test, group(&place, &["join", "copy"]), 80, true) else { return };
    bob.shows(PROMPT);
    assert!(!echoes(&bob));
    bob.press(&format!("{line}\nthe rest of what was pasted\n"));
    let answer = bob.shows("in copy\r\n");
    assert_eq!(answer.trim_start(), format!("joined group {name} in copy\r\n"));
    bob.ends(0);
    assert!(echoes(&bob), "as it was before");
    let all = bob.all();
    let shown = line.split(['-', ':']).skip(3).find(|digits| all.contains(digits));
    assert!(shown.is_none() && !all.contains("pasted"), "{all:?}");
    assert_eq!(fs::read(place.path("copy")).expect("joined"), fs::read(place.path("key")).expect("made"));
}

#[test]
fn a_wrong_or_empty_answer_and_an_interruption_leave_the_terminal_as_it_was() {
    // hostile: 155
    let test = "the question for a group's line, unanswered";
    let Some(place) = Place::new(test) else { return };
    for (keys, status, text) in [
        ("distrishare-group-1:0\n", 1, "the line is too short: 55 characters are missing"),
        ("\n", 1, "there is no line"),
        ("\u{4}", 1, "there is no line"),
        ("", 130, "\r\n"),
    ] {
        let Some(mut bob) = Screen::of(test, group(&place, &["join", "copy"]), 80, true) else { return };
        bob.shows(PROMPT);
        bob.press(keys);
        if keys.is_empty() {
            kill_process(Pid::from_child(&bob.child), Signal::INT).expect("it runs");
        }
        bob.shows(text);
        bob.ends(status);
        assert!(echoes(&bob), "{keys:?}");
        assert_eq!(place.names(""), [""; 0]);
    }
}

#[test]
fn the_picture_is_for_terminals_that_are_wide_enough() {
    let test = "the picture of a group's line";
    let Some(place) = Place::new(test) else { return };
    let (line, _) = made(&place);
    let Some(mut wide) = Screen::of(test, group(&place, &["show", "key"]), 45, true) else { return };
    wide.shows(&format!("{line}\r\n"));
    wide.ends(0);
    let drawn: Vec<String> = (0..23).map(|_| wide.shows("\u{1b}[0m\r\n")).collect();
    for row in &drawn {
        let cells = row.strip_prefix(COLOURS).and_then(|row| row.strip_suffix("\u{1b}[0m\r\n"));
        assert_eq!(cells.map(|cells| cells.chars().count()), Some(45), "{row:?}");
    }
    assert!(wide.all().ends_with(&drawn[22]), "{:?}", wide.all());
    let Some(mut narrow) = Screen::of(test, group(&place, &["show", "key"]), 44, true) else { return };
    narrow.shows("make the terminal 45 columns wide");
    narrow.ends(0);
    assert!(narrow.all().contains(&line) && !narrow.all().contains('\u{1b}'), "{:?}", narrow.all());
}
