//! A QR code on a terminal: two modules to a character, in colours of its own, so that a camera reads it on a dark
//! terminal and on a light one.

use qrcodegen::{QrCode, QrCodeEcc};

/// Light modules around the code, without which no reader finds it.
const QUIET: i32 = 4;
/// Black on white by number: what a theme has made of the named colours does not matter.
const COLOURS: &str = "\x1b[38;5;16;48;5;231m";
const PLAIN: &str = "\x1b[0m";

/// Dark and light modules in a square.
pub(super) struct Picture {
    code: QrCode,
}

impl Picture {
    /// The code of a text; nothing for one that is too long for any.
    pub(super) fn of(text: &str) -> Option<Picture> {
        // A screen has no dirt or torn corners: the smallest picture is the best.
        QrCode::encode_text(text, QrCodeEcc::Low).ok().map(|code| Picture { code })
    }

    /// Columns of a terminal that it needs.
    pub(super) fn columns(&self) -> i32 {
        self.code.size() + 2 * QUIET
    }

    /// Lines for a terminal.
    pub(super) fn draw(&self) -> String {
        draw(self.code.size(), |x, y| self.code.get_module(x, y))
    }
}

/// `dark` is asked beyond the square, too, and says no there.
fn draw(size: i32, dark: impl Fn(i32, i32) -> bool) -> String {
    let mut text = String::new();
    let mut y = -QUIET;
    while y < size + QUIET {
        text.push_str(COLOURS);
        for x in -QUIET..size + QUIET {
            text.push(match (dark(x, y), dark(x, y + 1)) {
                (false, false) => ' ',
                (true, false) => '▀',
                (false, true) => '▄',
                (true, true) => '█',
            });
        }
        text.push_str(PLAIN);
        text.push('\n');
        y += 2;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Key;
    use crate::proto::group::GroupLine;

    /// The modules that a drawing shows, with the quiet zone; an odd last line is light.
    fn modules(drawn: &str) -> Vec<Vec<bool>> {
        let mut rows = Vec::new();
        for line in drawn.lines() {
            let cells = line.strip_prefix(COLOURS).and_then(|line| line.strip_suffix(PLAIN)).unwrap();
            rows.push(cells.chars().map(|c| matches!(c, '▀' | '█')).collect());
            rows.push(cells.chars().map(|c| matches!(c, '▄' | '█')).collect());
        }
        rows
    }

    #[test]
    fn each_module_is_where_it_was_with_light_around() {
        for size in [1, 2, 3, 21] {
            let dark = |x: i32, y: i32| {
                (0..size).contains(&x) && (0..size).contains(&y) && (x * 7 + y * 3 + x * y) % 5 < 2
            };
            let shown = modules(&draw(size, dark));
            let total = usize::try_from(size + 2 * QUIET).unwrap();
            assert_eq!(shown.len(), total.next_multiple_of(2));
            for (y, row) in (-QUIET..).zip(&shown) {
                assert_eq!(row.len(), total);
                for (x, module) in (-QUIET..).zip(row) {
                    assert_eq!(*module, dark(x, y), "{x} {y} of {size}");
                }
            }
        }
        assert_eq!(
            draw(1, |x, y| x == 0 && y == 0).lines().nth(2),
            Some(&*format!("{COLOURS}    ▀    {PLAIN}"))
        );
    }

    #[test]
    fn a_group_s_line_fits_a_small_terminal() {
        let picture = Picture::of(&GroupLine::encode(&Key::new([9; 32]))).unwrap();
        // 89 bytes: version 5, 37 modules a side.
        assert_eq!(picture.columns(), 45);
        let shown = modules(&picture.draw());
        assert_eq!((shown.len(), shown[0].len()), (46, 45));
        // The three eyes of every code: dark rings of seven around three.
        for (x, y) in [(4, 4), (34, 4), (4, 34)] {
            let ring: Vec<bool> = (x..x + 7).map(|x| shown[y + 3][x]).collect();
            assert_eq!(ring, [true, false, true, true, true, false, true], "{x} {y}");
        }
        assert!(Picture::of(&"x".repeat(3000)).is_none());
    }
}
