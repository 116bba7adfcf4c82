//! The operator's side: lines in, results and notes out, one progress line. What is said where: results to standard
//! output, everything else to standard error.

use crate::config::{ConsoleMode, Limits};
use crate::machine::{ConnId, Transmit};
use crate::node::api::lines_dropped;
use crate::node::outgoing::Outgoing;
use crate::proto::control::Frame;
use std::borrow::Cow;
use std::collections::VecDeque;

/// What is shown before a line is typed, on a terminal.
const PROMPT: &str = "distrishare> ";
/// Back to the start of the line and clear it.
const CLEAR_LINE: &str = "\r\x1b[K";

/// Bytes beyond what may wait for the operator, for the last words of commands: who waits for one must not miss it.
const LAST_WORDS: usize = 64 << 10;

/// One of the two streams out.
#[derive(Debug, Default)]
struct Stream {
    out: Outgoing,
    /// Lines left out because nobody took the ones before.
    dropped: usize,
    closed: bool,
    /// Has something to send that the driver was not told of.
    wake: bool,
}

impl Stream {
    /// Returns how many bytes more there are to send. `said`: how to say that lines were left out.
    fn push(&mut self, text: &str, max: usize, said: fn(usize) -> String) -> usize {
        let before = self.out.buffered();
        if self.closed || text.is_empty() {
            return 0;
        }
        if before + text.len() > max {
            self.dropped += 1;
            return 0;
        }
        if self.dropped > 0 {
            let note = said(std::mem::take(&mut self.dropped));
            self.out.push(note.as_bytes());
        }
        self.out.push(text.as_bytes());
        self.wake = true;
        self.out.buffered() - before
    }
}

/// Results or everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Out,
    Err,
}

/// A line of the operator's, or what was there instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LineIn {
    /// Text without its newline.
    Text(String),
    /// More bytes than a line may have.
    TooLong,
    /// Not UTF-8, or with NUL in it.
    NotText,
}

/// What its output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Two streams of bytes.
    Streams,
    /// One connection: frames of the control socket, where results may be JSON lines already.
    Frames { json: bool },
}

/// The two console connections and what lies between them and the commands.
#[derive(Debug)]
pub(crate) struct Console {
    pub(crate) console: ConnId,
    pub(crate) notes: ConnId,
    pub(crate) mode: ConsoleMode,
    /// No more lines until the running command is done.
    pub(crate) paused: bool,
    /// The operator will say nothing more.
    pub(crate) ended: bool,
    /// A line whose next argument was asked for.
    pub(crate) asking: Option<String>,
    columns: Option<u16>,
    form: Form,
    max: usize,
    /// The same for results.
    results_max: usize,
    line_max: usize,
    out: Stream,
    err: Stream,
    line: Vec<u8>,
    overlong: bool,
    /// What the terminal's last line shows, if it is ours to redraw.
    shown: Shown,
    /// On a terminal, where both streams meet: whose turn it is, and for how many bytes. What was said first is shown
    /// first, or results would stand on the line of a prompt.
    order: VecDeque<(To, usize)>,
    /// How to say on standard output that so many lines were left out.
    said_dropped: fn(usize) -> String,
}

/// The same in a frame.
fn frame_dropped(lines: usize) -> String {
    Frame::Out(lines_dropped(lines)).line()
}

/// Bytes of results that may wait.
fn results_max(mode: ConsoleMode, limits: &Limits) -> usize {
    match mode {
        ConsoleMode::Script => limits.script_out_max,
        ConsoleMode::Terminal | ConsoleMode::Daemon => limits.console_out_max,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Prompt,
    Progress,
}

impl Console {
    pub(crate) fn new(
        console: ConnId,
        notes: ConnId,
        mode: ConsoleMode,
        columns: Option<u16>,
        said_dropped: fn(usize) -> String,
        limits: &Limits,
    ) -> Console {
        Console {
            console,
            notes,
            mode,
            paused: false,
            ended: mode == ConsoleMode::Daemon,
            asking: None,
            columns,
            form: Form::Streams,
            said_dropped,
            max: limits.console_out_max,
            results_max: results_max(mode, limits),
            line_max: limits.line_max,
            out: Stream::default(),
            err: Stream::default(),
            line: Vec::new(),
            overlong: false,
            shown: Shown::Nothing,
            order: VecDeque::new(),
        }
    }

    /// One whose both streams go by a connection to the control socket.
    pub(crate) fn remote(conn: ConnId, limits: &Limits) -> Console {
        let console = Console::new(conn, conn, ConsoleMode::Script, None, lines_dropped, limits);
        // In a request every byte of a line may need six.
        Console { form: Form::Frames { json: false }, line_max: limits.line_max * 6 + 64, ..console }
    }

    /// What a remote one is to be like.
    pub(crate) fn is_to_be(
        &mut self,
        mode: ConsoleMode,
        columns: Option<u16>,
        json: bool,
        said_dropped: fn(usize) -> String,
        limits: &Limits,
    ) {
        (self.mode, self.columns, self.form) = (mode, columns, Form::Frames { json });
        (self.said_dropped, self.results_max) = (said_dropped, results_max(mode, limits));
    }

    /// The last word to a remote one: its exit status.
    pub(crate) fn end_with(&mut self, status: u8) {
        self.ended = true;
        let most = self.results_max + 2 * LAST_WORDS;
        self.out.push(&Frame::Ended(status).line(), most, lines_dropped);
    }

    fn push(&mut self, to: To, text: &str) {
        self.push_within(to, text, if to == To::Out { self.results_max } else { self.max });
    }

    fn push_within(&mut self, to: To, text: &str, max: usize) {
        let (stream, text, said) = match self.form {
            Form::Streams => {
                (to, Cow::Borrowed(text), if to == To::Out { self.said_dropped } else { lines_dropped })
            }
            Form::Frames { json: true } if to == To::Out => (To::Out, Cow::Borrowed(text), self.said_dropped),
            Form::Frames { json } => {
                let frame = if to == To::Out { Frame::Out } else { Frame::Err };
                let said = if json { self.said_dropped } else { frame_dropped };
                (To::Out, Cow::Owned(frame(text.to_owned()).line()), said)
            }
        };
        let pushed = self.stream(stream).push(&text, max, said);
        if self.columns.is_none() || pushed == 0 || self.form != Form::Streams {
            return;
        }
        match self.order.back_mut() {
            Some((last, n)) if *last == to => *n += pushed,
            _ => self.order.push_back((to, pushed)),
        }
    }

    /// Takes bytes up to the end of the first line in `bytes`. Returns how many, and the line if it is whole.
    pub(crate) fn take_line(&mut self, bytes: &[u8]) -> (usize, Option<LineIn>) {
        let end = bytes.iter().position(|&b| b == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        if self.line.len() + part.len() > self.line_max {
            self.overlong = true;
            self.line = Vec::new();
        } else if !self.overlong {
            self.line.extend_from_slice(part);
        }
        match end {
            None => (bytes.len(), None),
            Some(end) => (end + 1, Some(self.finish_line())),
        }
    }

    /// The operator's last line may lack its newline.
    pub(crate) fn take_rest(&mut self) -> Option<LineIn> {
        (self.overlong || !self.line.is_empty()).then(|| self.finish_line())
    }

    fn finish_line(&mut self) -> LineIn {
        if self.mode == ConsoleMode::Terminal {
            // The terminal's echo of the newline ended the line our prompt stood on.
            self.shown = Shown::Nothing;
        }
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.overlong) {
            return LineIn::TooLong;
        }
        match String::from_utf8(line) {
            Ok(text) if !text.contains('\0') => LineIn::Text(text.trim_end_matches('\r').to_owned()),
            _ => LineIn::NotText,
        }
    }

    /// A result, for standard output. `text` ends with a newline.
    pub(crate) fn print(&mut self, text: &str) {
        self.clear();
        self.push(To::Out, text);
    }

    /// The last word of a command, which comes even where its results were too many.
    pub(crate) fn print_last(&mut self, text: &str) {
        self.clear();
        self.push_within(To::Out, text, self.results_max + LAST_WORDS);
    }

    /// Anything else, for standard error. `text` ends with a newline.
    pub(crate) fn note(&mut self, text: &str) {
        self.clear();
        self.push(To::Err, text);
    }

    /// Draws the progress line anew; only on a terminal.
    pub(crate) fn progress(&mut self, text: &str) {
        let Some(columns) = self.columns else { return };
        // A terminal that takes nothing gets no second progress line behind the first.
        let takes_nothing = match self.form {
            Form::Streams => self.err.out.buffered() > 0,
            Form::Frames { .. } => self.out.out.buffered() > 0,
        };
        if takes_nothing {
            return;
        }
        let fitting: String = text.chars().take(usize::from(columns).saturating_sub(1)).collect();
        self.push(To::Err, &format!("{CLEAR_LINE}{fitting}"));
        self.shown = Shown::Progress;
    }

    /// Shows the prompt, on a terminal, if nothing else stands on its line.
    pub(crate) fn prompt(&mut self) {
        if self.mode != ConsoleMode::Terminal || self.ended || self.shown == Shown::Prompt {
            return;
        }
        self.clear();
        self.push(To::Err, PROMPT);
        self.shown = Shown::Prompt;
    }

    /// Asks for the next argument of `line`.
    pub(crate) fn ask(&mut self, line: String, question: &str) {
        self.clear();
        self.asking = Some(line);
        self.push(To::Err, &format!("{question}: "));
        self.shown = Shown::Prompt;
    }

    /// Removes the progress line or the prompt from the terminal before something else is said.
    fn clear(&mut self) {
        if self.columns.is_some() && self.shown != Shown::Nothing {
            self.push(To::Err, CLEAR_LINE);
        }
        self.shown = Shown::Nothing;
    }

    /// The last of us on this terminal: what comes next starts on a line of its own.
    pub(crate) fn leave(&mut self) {
        if self.shown == Shown::Prompt {
            self.push(To::Err, "\n");
            self.shown = Shown::Nothing;
        }
        self.clear();
    }

    pub(crate) fn has_columns(&self) -> bool {
        self.columns.is_some()
    }

    /// Connections that have something to send since the last call; notes first, so that a progress line is cleared
    /// before a result takes its place.
    pub(crate) fn take_wakes(&mut self) -> impl Iterator<Item = ConnId> + use<> {
        let notes = std::mem::take(&mut self.err.wake).then_some(self.notes);
        let console = std::mem::take(&mut self.out.wake).then_some(self.console);
        notes.into_iter().chain(console)
    }

    pub(crate) fn transmit(&self, conn: ConnId) -> Option<Transmit<'_>> {
        let to = self.to(conn);
        let stream = if to == To::Out { &self.out } else { &self.err };
        let turn = match self.order.front() {
            Some((first, n)) if *first == to => *n,
            Some(_) => return None,
            None => usize::MAX,
        };
        match stream.out.transmit() {
            Some(Transmit::Bytes(bytes)) => Some(Transmit::Bytes(&bytes[..bytes.len().min(turn)])),
            other => other,
        }
    }

    pub(crate) fn sent(&mut self, conn: ConnId, n: usize) {
        let to = self.to(conn);
        self.stream(to).out.sent(n);
        if let Some((first, left)) = self.order.front_mut().filter(|(first, _)| *first == to) {
            debug_assert!(n <= *left, "{first:?} sent more than its turn");
            *left = left.saturating_sub(n);
            if *left == 0 {
                self.order.pop_front();
                self.wake_next();
            }
        }
    }

    fn wake_next(&mut self) {
        if let Some(&(next, _)) = self.order.front() {
            self.stream(next).wake = true;
        }
    }

    fn to(&self, conn: ConnId) -> To {
        if conn == self.console { To::Out } else { To::Err }
    }

    fn stream(&mut self, to: To) -> &mut Stream {
        match to {
            To::Out => &mut self.out,
            To::Err => &mut self.err,
        }
    }

    /// Nobody reads this stream any more; what is said there is lost without a word.
    pub(crate) fn closed(&mut self, conn: ConnId) {
        let to = self.to(conn);
        *self.stream(to) = Stream { closed: true, ..Stream::default() };
        self.order.retain(|(whose, _)| *whose != to);
        self.wake_next();
        if conn == self.console {
            self.ended = true;
        }
    }

    pub(crate) fn buffered(&self) -> usize {
        self.out.out.buffered() + self.err.out.buffered() + self.line.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Id;

    fn console(mode: ConsoleMode, columns: Option<u16>) -> Console {
        let conn = |index| ConnId(Id { index, generation: 0 });
        let limits = Limits { console_out_max: 64, script_out_max: 64, ..Limits::desktop() };
        Console::new(conn(0), conn(1), mode, columns, lines_dropped, &limits)
    }

    fn take(stream: &mut Stream) -> String {
        let Some(Transmit::Bytes(bytes)) = stream.out.transmit() else { return String::new() };
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        stream.out.sent(text.len());
        text
    }

    /// What is seen where both streams are one terminal, whichever of them is asked first, byte by byte.
    fn terminal(console: &mut Console) -> String {
        let mut seen = Vec::new();
        loop {
            let before = seen.len();
            for conn in [console.console, console.notes] {
                if let Some(Transmit::Bytes([first, ..])) = console.transmit(conn) {
                    seen.push(*first);
                    console.sent(conn, 1);
                }
            }
            if seen.len() == before {
                return String::from_utf8(seen).unwrap();
            }
        }
    }

    #[test]
    fn lines_come_in_any_pieces_and_are_bounded() {
        // hostile: 150, 151
        let mut console = console(ConsoleMode::Script, None);
        assert_eq!(console.take_line(b"sta"), (3, None));
        assert_eq!(console.take_line(b"tus\r\nfiles\n"), (5, Some(LineIn::Text("status".into()))));
        for _ in 0..10_000 {
            assert_eq!(console.take_line(&[b'x'; 1000]), (1000, None));
            assert!(console.line.len() <= 4096);
        }
        assert_eq!(console.take_line(b"\nq"), (1, Some(LineIn::TooLong)));
        assert_eq!(console.take_line(b"a\0b\n"), (4, Some(LineIn::NotText)));
        assert_eq!(console.take_line(b"\xff\n"), (2, Some(LineIn::NotText)));
        assert_eq!(console.take_line(b"0"), (1, None));
        assert_eq!(console.take_rest(), Some(LineIn::Text("0".into())));
        assert_eq!(console.take_rest(), None);
    }

    #[test]
    fn a_reader_that_stops_loses_lines_and_is_told() {
        // hostile: 154
        let mut console = console(ConsoleMode::Script, None);
        for i in 0..100 {
            console.print(&format!("line number {i:03}\n"));
        }
        assert!(console.buffered() <= 64);
        assert_eq!(
            take(&mut console.out),
            "line number 000\nline number 001\nline number 002\nline number 003\n"
        );
        console.print("later\n");
        assert_eq!(take(&mut console.out), "… 96 lines dropped\nlater\n");
    }

    #[test]
    fn the_last_word_of_a_command_comes_whatever_was_dropped() {
        let mut console = console(ConsoleMode::Script, None);
        for i in 0..10 {
            console.print(&format!("line number {i:03}\n"));
        }
        console.print_last("done\n");
        assert!(take(&mut console.out).ends_with("line number 003\n… 6 lines dropped\ndone\n"));
        // That is bounded, too.
        for _ in 0..LAST_WORDS {
            console.print_last("done\n");
        }
        assert!(console.buffered() <= 64 + LAST_WORDS + 100);
    }

    #[test]
    fn a_result_takes_the_place_of_the_progress_line() {
        let mut console = console(ConsoleMode::Terminal, Some(10));
        console.progress("0123456789abc");
        console.print("done\n");
        console.prompt();
        console.prompt();
        console.note("more\n");
        console.prompt();
        console.leave();
        let expected = "\r\x1b[K012345678\r\x1b[Kdone\ndistrishare> \r\x1b[Kmore\ndistrishare> \n";
        assert_eq!(terminal(&mut console), expected);
    }

    #[test]
    fn a_stream_that_is_gone_holds_nothing_up() {
        let mut console = console(ConsoleMode::Terminal, Some(80));
        console.print("one\n");
        console.note("two\n");
        console.closed(console.console);
        assert_eq!(console.take_wakes().collect::<Vec<_>>(), [console.notes]);
        assert_eq!(terminal(&mut console), "two\n");
    }

    #[test]
    fn without_a_terminal_there_are_no_escapes_no_prompt_and_no_progress() {
        let mut console = console(ConsoleMode::Script, None);
        console.progress("50 %");
        console.prompt();
        console.note("hello\n");
        console.print("x\n");
        assert_eq!((take(&mut console.err).as_str(), take(&mut console.out).as_str()), ("hello\n", "x\n"));
    }
}
