//! Event to one JSON object on one line, for programs. The same lines are the run's journal.

use crate::event::Event;

/// The event as a JSON object without a newline.
pub fn line(event: &Event) -> String {
    serde_json::to_string(event).expect("events hold only strings, numbers and lists of those")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::What;

    #[test]
    fn an_event_is_one_line_whatever_its_text() {
        let event = Event {
            at: "2026-02-03T04:05:06Z".parse().unwrap(),
            node: Some("size/a-3G".to_owned()),
            host: None,
            what: What::Warning {
                text: "two\nlines".to_owned(),
            },
        };
        let expected =
            r#"{"at":"2026-02-03T04:05:06Z","node":"size/a-3G","event":"warning","text":"two\nlines"}"#;
        assert_eq!(line(&event), expected);
    }
}
