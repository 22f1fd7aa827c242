//! Columns of text on standard output: as wide as what is in them; the last ones go where the screen ends.

use std::io::{self, IsTerminal as _};

use crate::report::style::{Role, Style, columns, pad};

/// Blanks between columns.
const GAP: &str = "  ";

/// A column is never cut to less.
const NARROWEST: usize = 8;

/// Rows with a head.
#[derive(Debug)]
pub(super) struct Table<'h> {
    heads: Vec<&'h str>,
    rows: Vec<Vec<(Role, String)>>,
    /// Of the first so many columns none is ever left out.
    needed: usize,
    /// The last column is rather cut to so much than left out.
    least_last: usize,
}

impl<'h> Table<'h> {
    /// An empty one.
    pub(super) fn new(heads: &[&'h str], needed: usize) -> Self {
        Self {
            heads: heads.to_vec(),
            rows: Vec::new(),
            needed,
            least_last: usize::MAX,
        }
    }

    /// Has the last column rather cut to so much than left out.
    #[must_use]
    pub(super) fn cut_last(mut self, least: usize) -> Self {
        self.least_last = least;
        self
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: Vec<(Role, String)>) {
        self.rows.push(cells);
    }

    /// The text, for a screen of this width where there is one. Columns without anything in them are left out.
    pub(super) fn render(&self, style: Style, width: Option<usize>) -> String {
        let of = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|(_, text)| columns(text)).max().unwrap_or(0)
        };
        let mut shown: Vec<(usize, usize)> = (0..self.heads.len())
            .filter(|column| of(*column) > 0)
            .map(|column| (column, of(column).max(columns(self.heads[column]))))
            .collect();
        // The last column that there is may be cut to this before it is left out.
        let total = |shown: &[(usize, usize)]| {
            let width = |(column, width): &(usize, usize)| match column + 1 == self.heads.len() {
                true => (*width).min(self.least_last) + GAP.len(),
                false => width + GAP.len(),
            };
            shown.iter().map(width).sum::<usize>()
        };
        while width.is_some_and(|width| total(&shown) > width + GAP.len())
            && shown.last().is_some_and(|(column, _)| *column >= self.needed)
        {
            shown.pop();
        }
        // What is still too wide is cut where it ends.
        let rest: usize = shown
            .iter()
            .rev()
            .skip(1)
            .map(|(_, width)| width + GAP.len())
            .sum();
        if let (Some(screen), Some((_, last))) = (width, shown.last_mut()) {
            *last = (*last).min(screen.saturating_sub(rest).max(NARROWEST));
        }
        let line = |cells: &dyn Fn(usize) -> (Role, String)| {
            let mut line = String::new();
            for (position, (column, width)) in shown.iter().enumerate() {
                let (role, text) = cells(*column);
                line += if position > 0 { GAP } else { "" };
                let text = style.cut(&text, *width);
                let blanks = pad(&text, *width);
                let (text, rest) = blanks.split_at(text.len());
                line += &(style.paint(role, text) + rest);
            }
            line.trim_end().to_owned() + "\n"
        };
        let mut text = line(&|column| (Role::Dim, self.heads[column].to_owned()));
        for row in &self.rows {
            text += &line(&|column| row.get(column).cloned().unwrap_or((Role::Plain, String::new())));
        }
        text
    }
}

/// A number of things: `1 run`, `2 runs`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Columns of the terminal behind standard output.
pub(super) fn stdout_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}

/// Whether so many lines are more than the terminal behind standard output shows at once. Where there is none, nothing is.
pub(super) fn overflows_stdout(lines: usize) -> bool {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.is_ok_and(|size| size.ws_row > 0 && lines >= usize::from(size.ws_row))
}

/// What can be shown on standard output.
pub(super) fn stdout_style() -> Style {
    Style::detect(io::stdout().is_terminal(), |name| std::env::var(name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_what_is_in_them_and_the_last_ones_give_way() {
        let mut table = Table::new(&["image", "empty", "size", "digest"], 2);
        let plain = |text: &str| (Role::Plain, text.to_owned());
        table.row(vec![
            plain("debian12-3G"),
            plain(""),
            plain("1 GiB"),
            plain("sha512 abcdef"),
        ]);
        table.row(vec![plain("x"), plain(""), plain("")]);
        insta::assert_snapshot!(table.render(Style::PLAIN, None), @"
        image        size   digest
        debian12-3G  1 GiB  sha512 abcdef
        x
        ");
        assert_eq!(
            table.render(Style::PLAIN, Some(20)).lines().nth(1),
            Some("debian12-3G  1 GiB")
        );
        assert_eq!(
            table.render(Style::PLAIN, Some(5)).lines().nth(1),
            Some("debian1~")
        );
    }
}
