//! Front ends: those who ask and are told. The operator's console is one, and every program at the control socket is
//! another; each has operations, results and output of its own.

pub(crate) mod console;
pub(crate) mod progress;
pub(crate) mod results;

use crate::config::{ConsoleMode, Limits};
use crate::machine::ConnId;
use crate::node::api::{Event, lines_dropped};
use crate::node::hit::Hit;
use crate::node::ids::{FrontId, Op};
use crate::proto::control::Hello;
use crate::proto::v2::message::FileInfo;
use crate::time::Instant;
use console::Console;
use results::{Results, Shown};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What belongs to one front end.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) console: Console,
    /// The operation whose results `get N` means.
    last: u32,
    pub(crate) json: bool,
    /// A failure does not end its script.
    pub(crate) keep_going: bool,
    /// It is told everything, whoever asked.
    pub(crate) follows: bool,
    /// The exit status of its script so far.
    pub(crate) status: u8,
    /// When it said or took something last.
    pub(crate) used: Instant,
    /// It has said how it wants to be told.
    pub(crate) greeted: bool,
    /// It was told its exit status, and is closed once it has taken that.
    pub(crate) is_over: bool,
}

impl Front {
    pub(crate) fn new(console: Console, json: bool, keep_going: bool) -> Front {
        Front {
            console,
            last: 0,
            json,
            keep_going,
            follows: false,
            status: 0,
            used: Instant::ZERO,
            greeted: false,
            is_over: false,
        }
    }

    /// A program at the control socket says how it wants to be told.
    pub(crate) fn greet(&mut self, hello: &Hello, limits: &Limits) {
        let mode = if hello.terminal { ConsoleMode::Terminal } else { ConsoleMode::Script };
        let columns = hello.columns.filter(|_| !hello.json);
        self.console.is_to_be(mode, columns, hello.json, said_dropped(hello.json), limits);
        (self.json, self.keep_going, self.greeted) = (hello.json, hello.keep_going, true);
    }

    /// A JSON line, or a line for a person (failures to standard error).
    fn tell(&mut self, op: Option<u32>, event: &Event<'_>) {
        if self.json {
            match event {
                Event::Done { .. } | Event::Error { .. } => self.console.print_last(&event.json(op)),
                _ => self.console.print(&event.json(op)),
            }
        } else if let Some(text) = event.text() {
            match event {
                // What nobody asked for is not a result.
                Event::Error { .. }
                | Event::Ready { .. }
                | Event::Blamed { .. }
                | Event::Registered { asked: false, .. } => {
                    self.console.note(&text);
                }
                _ => self.console.print(&text),
            }
        }
    }
}

/// How to say on standard output that so many lines were left out.
pub(crate) fn said_dropped(json: bool) -> fn(usize) -> String {
    if json { |lines| Event::Dropped { lines }.json(None) } else { lines_dropped }
}

/// All front ends.
#[derive(Debug)]
pub(crate) struct Fronts {
    own: Front,
    others: BTreeMap<ConnId, Front>,
    results: Results,
    last_op: u32,
    /// All ends with the first operation.
    once: bool,
    /// Something may follow for one of them: a line taken, a prompt, bytes to send.
    stirred: bool,
}

impl Fronts {
    pub(crate) fn new(own: Front, once: bool) -> Fronts {
        let (others, results) = (BTreeMap::new(), Results::default());
        Fronts { own, others, results, last_op: 0, once, stirred: true }
    }

    /// The operator's console.
    pub(crate) fn own(&self) -> &Front {
        &self.own
    }

    pub(crate) fn own_mut(&mut self) -> &mut Front {
        self.stirred = true;
        &mut self.own
    }

    pub(crate) fn get(&self, front: FrontId) -> Option<&Front> {
        match front {
            FrontId::Console => Some(&self.own),
            FrontId::Control(conn) => self.others.get(&conn),
        }
    }

    pub(crate) fn get_mut(&mut self, front: FrontId) -> Option<&mut Front> {
        self.stirred = true;
        match front {
            FrontId::Console => Some(&mut self.own),
            FrontId::Control(conn) => self.others.get_mut(&conn),
        }
    }

    /// One more at the control socket.
    pub(crate) fn insert(&mut self, conn: ConnId, front: Front) {
        self.others.insert(conn, front);
    }

    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<Front> {
        self.others.remove(&conn)
    }

    /// Those at the control socket.
    pub(crate) fn controls(&self) -> Vec<ConnId> {
        self.others.keys().copied().collect()
    }

    /// All of them, the operator's first.
    pub(crate) fn all(&self) -> Vec<FrontId> {
        let others = self.others.keys().map(|conn| FrontId::Control(*conn));
        std::iter::once(FrontId::Console).chain(others).collect()
    }

    /// Whether anything may follow since this was asked last. Work for all others costs nothing here.
    pub(crate) fn take_stirred(&mut self) -> bool {
        std::mem::take(&mut self.stirred)
    }

    /// A command began or ended: the next line may be taken.
    pub(crate) fn stir(&mut self) {
        self.stirred = true;
    }

    /// One more operation.
    pub(crate) fn new_op(&mut self, front: FrontId, command: &'static str, background: bool) -> Op {
        self.last_op = self.last_op.wrapping_add(1);
        Op { front, number: self.last_op, command, background }
    }

    /// Tells who asked, or the operator where nobody did, and all who follow.
    pub(crate) fn tell(&mut self, to: Option<Op>, event: &Event<'_>) {
        let number = to.map(|op| op.number);
        self.each(to, |front| front.tell(number, event));
    }

    /// Words for a person only; a program has the events.
    pub(crate) fn say(&mut self, to: Option<Op>, text: &str) {
        self.each(to, |front| {
            if !front.json {
                front.console.print(text);
            }
        });
    }

    /// What is no result, and worth knowing for who asked.
    pub(crate) fn note(&mut self, to: Option<Op>, text: &str) {
        self.each(to, |front| front.console.note(text));
    }

    fn each(&mut self, to: Option<Op>, mut tell: impl FnMut(&mut Front)) {
        let whose = to.map_or(FrontId::Console, |op| op.front);
        self.stirred = true;
        if whose == FrontId::Console {
            tell(&mut self.own);
        }
        let others = self.others.iter_mut();
        let hears = |conn: &ConnId, front: &Front| {
            !front.is_over && (front.follows || whose == FrontId::Control(*conn))
        };
        others.filter(|(conn, front)| hears(conn, front)).for_each(|(_, front)| tell(front));
    }

    /// What an operation showed with numbers; none given: the last search or `browse` of this front end.
    pub(crate) fn results(&self, front: FrontId, of: Option<u32>) -> Option<&Shown> {
        self.results.get(of.unwrap_or_else(|| self.get(front).map_or(0, |front| front.last)))
    }

    /// Names that this front end was shown.
    pub(crate) fn names(&self, front: FrontId) -> impl Iterator<Item = &String> {
        self.results.names(front)
    }

    /// Whether a person sits at a terminal there.
    pub(crate) fn is_typed_to(&self, front: FrontId) -> bool {
        self.get(front).is_some_and(|front| front.console.mode == ConsoleMode::Terminal && !front.json)
    }

    /// How a result of this operation is fetched; `number`: which, or `N`. A program that nobody types to may ask this one thing
    /// only, and its last search is none of whoever asks next: there the operation is named, and a name where nothing is kept.
    pub(crate) fn get_command(&self, op: Op, number: &str) -> String {
        if self.once {
            return "ds-peer get NAME".to_owned();
        }
        if op.front == FrontId::Console || self.is_typed_to(op.front) {
            format!("get {number}")
        } else {
            format!("get {}.{number}", op.number)
        }
    }

    /// What `get N` means from now on, for who asked. Where all that is kept has more than `most` bytes the oldest is
    /// forgotten.
    pub(crate) fn shows(&mut self, op: Op, hits: Vec<Hit>, most: usize) {
        if let Some(front) = self.get_mut(op.front) {
            front.last = op.number;
            self.results.found(op, hits, most);
        }
    }

    /// `browse` shows one more file of a node: its number for `get`, or none where there is no memory for it.
    pub(crate) fn lists(&mut self, op: Op, at: SocketAddr, file: &FileInfo, most: usize) -> Option<usize> {
        self.get_mut(op.front)?.last = op.number;
        self.results.listed(op, at, file, most)
    }

    /// Whether anybody is shown how things go on.
    pub(crate) fn show_progress(&self) -> bool {
        let mut all = std::iter::once(&self.own).chain(self.others.values());
        all.any(|front| front.json || front.console.has_columns())
    }

    /// Bytes that wait for those who are told.
    pub(crate) fn buffered(&self) -> usize {
        self.own.console.buffered()
            + self.others.values().map(|front| front.console.buffered()).sum::<usize>()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::machine::{Id, Transmit};

    pub(crate) fn conn(index: u32) -> ConnId {
        ConnId(Id { index, generation: 0 })
    }

    /// The operator's, a script; 2: another script; 3: a program; 4: one that follows all.
    pub(crate) fn fronts() -> Fronts {
        let limits = Limits::desktop();
        let own = Console::new(conn(0), conn(1), ConsoleMode::Script, None, lines_dropped, &limits);
        let mut fronts = Fronts::new(Front::new(own, false, false), false);
        for n in [2, 3, 4] {
            let mut front = Front::new(Console::remote(conn(n), &limits), false, false);
            front.greet(&Hello { json: n > 2, ..Hello::default() }, &limits);
            front.follows = n == 4;
            fronts.insert(conn(n), front);
        }
        fronts
    }

    /// What waits for a front end; 0 and 1 are the streams of the operator's.
    pub(crate) fn took(fronts: &mut Fronts, n: u32) -> String {
        let front = if n < 2 { FrontId::Console } else { FrontId::Control(conn(n)) };
        let Some(front) = fronts.get_mut(front) else { return String::new() };
        let Some(Transmit::Bytes(bytes)) = front.console.transmit(conn(n)) else { return String::new() };
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        front.console.sent(conn(n), text.len());
        text
    }

    #[test]
    fn each_hears_of_its_own_and_who_follows_of_all() {
        let mut fronts = fronts();
        let op = fronts.new_op(FrontId::Control(conn(2)), "search", false);
        fronts.tell(Some(op), &Event::Truncated { files: 7, narrow: false });
        fronts.say(Some(op), "for a person\n");
        fronts.note(Some(op), "beside\n");
        let text = "{\"out\":\"too many files: these are the first 7\\n\"}\n{\"out\":\"for a person\\n\"}\n{\"err\":\"beside\\n\"}\n";
        assert_eq!(took(&mut fronts, 2), text);
        assert_eq!(took(&mut fronts, 3), "");
        let json = "{\"event\":\"truncated\",\"files\":7,\"op\":1}\n{\"err\":\"beside\\n\"}\n";
        assert_eq!(took(&mut fronts, 4), json);
        assert_eq!((took(&mut fronts, 0), took(&mut fronts, 1)), (String::new(), String::new()));
        // What nobody asked for is for the operator.
        fronts.tell(None, &Event::Truncated { files: 8, narrow: true });
        assert_eq!(took(&mut fronts, 0), "8 of more; narrow it: add words\n");
        assert_eq!((took(&mut fronts, 2), took(&mut fronts, 3)), (String::new(), String::new()));
        assert_eq!(took(&mut fronts, 4), "{\"event\":\"truncated\",\"files\":8}\n");
        // Who left is told nothing, and nobody else in its place.
        assert!(fronts.remove(conn(2)).is_some());
        fronts.say(Some(op), "x\n");
        assert_eq!((took(&mut fronts, 0), took(&mut fronts, 3)), (String::new(), String::new()));
    }

    #[test]
    fn results_belong_to_their_operation_and_the_oldest_are_forgotten() {
        let hit = |i: usize| Hit {
            name: i.to_string(),
            names: Vec::new(),
            size: None,
            root: None,
            sources: Vec::new(),
            old: Vec::new(),
        };
        let (most, hits) = (10 * hit(0).bytes(), |n| (0..n).map(hit).collect::<Vec<Hit>>());
        let (console, two, three) = (FrontId::Console, FrontId::Control(conn(2)), FrontId::Control(conn(3)));
        let mut fronts = fronts();
        let count = |fronts: &Fronts, front, of| fronts.results(front, of).map_or(0, Shown::len);
        assert!(fronts.results(console, None).is_none() && fronts.results(console, Some(1)).is_none());
        let slow = fronts.new_op(two, "search", false);
        for (front, n) in [(console, 4), (three, 1), (three, 2)] {
            let op = fronts.new_op(front, "search", false);
            fronts.shows(op, hits(n), most);
        }
        fronts.shows(slow, hits(3), most);
        assert_eq!([console, two, three].map(|front| count(&fronts, front, None)), [4, 3, 2]);
        // Anybody may name them.
        assert_eq!([1, 2, 3, 4].map(|of| count(&fronts, console, Some(of))), [3, 4, 1, 2]);
        let op = fronts.new_op(three, "search", false);
        fronts.shows(op, hits(5), most);
        assert_eq!([1, 2, 3, 4, 5].map(|of| count(&fronts, two, Some(of))), [0, 0, 1, 2, 5]);
        // What was found last is kept, however much that is and however early it was asked for.
        fronts.shows(slow, hits(9), most);
        assert_eq!([1, 3, 4, 5].map(|of| count(&fronts, console, Some(of))), [9, 0, 0, 0]);
        fronts.shows(slow, hits(20), most);
        assert_eq!(count(&fronts, two, None), 20);
    }

    #[test]
    fn no_two_operations_have_one_number() {
        let mut fronts = fronts();
        let numbers: Vec<u32> =
            fronts.all().into_iter().map(|front| fronts.new_op(front, "get", true).number).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
        assert!(fronts.take_stirred() && !fronts.take_stirred());
        fronts.note(None, "x\n");
        assert!(fronts.take_stirred() && fronts.buffered() > 0);
    }
}
