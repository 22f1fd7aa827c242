//! What an import has to tell: decisions that were taken, and what has no place in a manifest. Folded and laid out here,
//! for the screen and for the end of the manifest.

use std::fmt::Write as _;

use super::node::Place;

/// How much a note asks of the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The user must do something before the images are what they were.
    Todo,
    /// Something was lost, or is done in another way.
    Lost,
    /// A decision, with its reason.
    Decided,
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How much it asks.
    pub weight: Weight,
    /// Where its cause stands.
    pub place: Option<Place>,
    /// The key, with its value where that helps.
    pub subject: String,
    /// What it meant, and what became of it or is to be done.
    pub text: String,
}

/// All notes of an import, in the order they came up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    all: Vec<Note>,
}

/// Places that a line shows of one note; more are counted.
const PLACES: usize = 2;
/// Width of the lines.
const WIDTH: usize = 100;

impl Notes {
    /// Adds a note.
    pub fn add(
        &mut self,
        weight: Weight,
        place: Option<&Place>,
        subject: impl Into<String>,
        text: impl Into<String>,
    ) {
        let note = Note {
            weight,
            place: place.cloned(),
            subject: subject.into(),
            text: text.into(),
        };
        if !self.all.contains(&note) {
            self.all.push(note);
        }
    }

    /// Adds those of another report.
    pub fn extend(&mut self, other: Self) {
        for note in other.all {
            if !self.all.contains(&note) {
                self.all.push(note);
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Note> {
        self.all.iter()
    }

    /// How many there are of a weight, same ones counted once.
    pub fn count(&self, weight: Weight) -> usize {
        self.folded(weight).len()
    }

    /// Same notes of several places as one.
    fn folded(&self, weight: Weight) -> Vec<(&Note, Vec<&Place>)> {
        let mut folded: Vec<(&Note, Vec<&Place>)> = Vec::new();
        for note in self.all.iter().filter(|note| note.weight == weight) {
            let same = |other: &Note| other.subject == note.subject && other.text == note.text;
            let at = match folded.iter().position(|(other, _)| same(other)) {
                Some(at) => at,
                None => {
                    folded.push((note, Vec::new()));
                    folded.len() - 1
                }
            };
            folded[at].1.extend(&note.place);
        }
        folded
    }

    /// All notes as text: heaviest first, same ones once.
    pub fn show(&self) -> String {
        let mut text = String::new();
        for (weight, title) in [
            (Weight::Todo, "To do"),
            (Weight::Lost, "Not carried over, or done in another way"),
            (Weight::Decided, "Decided"),
        ] {
            let folded = self.folded(weight);
            if folded.is_empty() {
                continue;
            }
            let _ = writeln!(text, "{title}:");
            for (note, places) in folded {
                let mut head: Vec<_> = places.iter().take(PLACES).map(ToString::to_string).collect();
                if places.len() > PLACES {
                    head.push(format!("{} more", places.len() - PLACES));
                }
                let head = head.join(", ");
                let gap = if head.is_empty() { "" } else { "  " };
                let _ = writeln!(text, "  {}{gap}{}", printable(&head), printable(&note.subject));
                for line in wrapped(&printable(&note.text), WIDTH - 6) {
                    let _ = writeln!(text, "      {line}");
                }
            }
            text.push('\n');
        }
        text
    }
}

/// A stranger's words, fit for a terminal and for a TOML comment: without control characters.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Text in lines of at most so many characters, broken at blanks.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn notes_hold_no_control_characters() {
        let place = Place {
            file: Arc::from("a\0.json"),
            line: 1,
        };
        let mut notes = Notes::default();
        notes.add(Weight::Lost, Some(&place), "disk\u{7f}size\r", "says \u{1b}[2J");
        let shown = notes.show();
        assert!(shown.contains("disk size"), "{shown}");
        assert!(
            shown.lines().all(|line| !line.contains(char::is_control)),
            "{shown:?}"
        );
    }
}
