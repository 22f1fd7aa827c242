//! What is to be typed into a machine: read, with and without templates in it, and turned into key strokes.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use pipeline::internals::boot_command::{Action, actions, mask, parse};

fuzz_target!(|text: &str| {
    let masked = mask(text);
    assert_eq!(masked.len(), text.len());
    let _ = parse(&masked);
    match parse(text) {
        Ok(tokens) => {
            let mut down = BTreeSet::new();
            for action in actions(&tokens) {
                match action {
                    Action::Key { qcode, down: true } => {
                        down.insert(qcode);
                    }
                    Action::Key { qcode, down: false } => {
                        down.remove(qcode);
                    }
                    Action::Typed | Action::Wait(_) | Action::WaitFor { .. } => {}
                }
            }
            assert!(down.is_empty(), "{down:?} are still held in the end");
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                assert!(
                    text.get(error.span.clone()).is_some(),
                    "{:?} is no place",
                    error.span
                );
                let _ = error.fault.to_string();
            }
        }
    }
});
