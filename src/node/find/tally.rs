//! What became of the nodes that a search was to ask.

use crate::node::api::{Code, Failure, plural};
use crate::proto::escape::for_terminal;

/// What became of the nodes that were to be asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) found: usize,
    pub(crate) without: usize,
    pub(crate) refused: usize,
    pub(crate) silent: usize,
    /// Old nodes that cannot answer such a question.
    pub(crate) unable: usize,
    /// Not asked, because they are not to see the secret.
    pub(crate) withheld: usize,
    /// Not asked, because too many others had to be dialled.
    pub(crate) not_tried: usize,
}

impl Tally {
    pub(crate) fn asked(&self) -> usize {
        self.found + self.without + self.refused + self.silent
    }

    /// Why a search for `text` is over without a result.
    pub(crate) fn none_found(&self, text: &str) -> Failure {
        let asked = self.asked();
        let text = for_terminal(text);
        let mut message = match (asked, self.without) {
            (0, _) => format!("no node was asked for {text}"),
            (_, 0) => format!("nobody has said whether {text} is there"),
            (1, _) => format!("{text} is not on the one node asked"),
            _ => format!("{text} is on none of the {asked} nodes asked"),
        };
        let more = [
            (self.silent, "did not answer"),
            (self.refused, "refused, or are none of ours"),
            (self.not_tried, "were not asked: too many to dial at once"),
            (self.unable, "can be asked for one exact name only"),
        ];
        for (n, what) in more.into_iter().filter(|(n, _)| *n > 0) {
            message.push_str(&format!("; {n} {what}"));
        }
        if self.withheld > 0 {
            let nodes = plural(self.withheld, "node was", "nodes were");
            message.push_str(&format!(
            "; {nodes} not asked: a secret of your own goes to your networks and to nodes you name (`get IP PORT NAME`)"
        ));
        }
        let code = if self.without + self.unable > 0 {
            Code::NotFound
        } else if self.refused > 0 {
            Code::Refused
        } else {
            Code::Network
        };
        Failure::new(code, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_without_results_says_why_and_fails_as_what_it_was() {
        let none = Tally::default();
        let table = [
            (none, Code::Network, "no node was asked for a"),
            (
                Tally { silent: 2, ..none },
                Code::Network,
                "nobody has said whether a is there; 2 did not answer",
            ),
            (Tally { without: 1, ..none }, Code::NotFound, "a is not on the one node asked"),
            (
                Tally { without: 3, not_tried: 1, ..none },
                Code::NotFound,
                "a is on none of the 3 nodes asked; 1 were not asked",
            ),
            (
                Tally { refused: 1, silent: 1, ..none },
                Code::Refused,
                "nobody has said whether a is there; 1 did not answer; 1 refused",
            ),
            (
                Tally { unable: 4, ..none },
                Code::NotFound,
                "no node was asked for a; 4 can be asked for one exact name only",
            ),
            (
                Tally { withheld: 1, ..none },
                Code::Network,
                "no node was asked for a; 1 node was not asked: a secret",
            ),
        ];
        for (tally, code, begins) in table {
            let failure = tally.none_found("a");
            assert!(failure.code == code && failure.message.starts_with(begins), "{begins}: {failure:?}");
        }
        assert!(none.none_found("\u{1b}[2J").message.is_ascii());
    }
}
