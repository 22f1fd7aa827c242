//! Which result is meant: by stage and subject (the newest of them), or by stage and the beginning of its key.

use crate::cli::exit::Exit;
use crate::cli::report_error::fail;
use crate::store::Stored;

/// Digits of a key that must be given at least.
const DIGITS: usize = 4;

/// The result that a text names.
///
/// # Errors
/// [`Exit::Usage`] when none or several are meant, after saying so.
pub(super) fn one<'a>(results: &'a [Stored], text: &str) -> Result<&'a Stored, Exit> {
    let (stage, rest) = text.split_once('/').unwrap_or(("", text));
    let of_stage = || results.iter().filter(|result| result.address.stage == stage);
    let subject = |result: &&Stored| {
        result
            .built_for
            .as_ref()
            .is_some_and(|(_, subject)| subject == rest)
    };
    if let Some(newest) = of_stage().filter(subject).max_by_key(|result| result.created) {
        return Ok(newest);
    }
    let by_key: Vec<_> = of_stage()
        .filter(|result| rest.len() >= DIGITS && result.address.key.starts_with(rest))
        .collect();
    let (what, help) = match by_key[..] {
        [one] => return Ok(one),
        [] => (
            format!("no result is called `{text}`"),
            "`pipeline store ls` lists them; one is named like install/debian12, or by four or more digits of its key"
                .to_owned(),
        ),
        _ => {
            let keys: Vec<_> = by_key.iter().map(|result| result.address.short()).collect();
            (format!("`{text}` means {} results", keys.len()), format!("say which: {}", keys.join(", ")))
        }
    };
    Err(fail(Exit::Usage, miette::miette!(help = help, "{what}")))
}
