//! No unit of systemd (no service of OpenRC) has failed.

use super::judge::{Case, Fault, Finding, Look, brief};
use super::{Kind, Needs, one_key};

one_key! { NoFailedUnits = "no_failed_units", "no unit of systemd (no service of OpenRC) has failed" }

impl Kind for NoFailedUnits {
    fn needs(&self) -> Needs {
        Needs::fact("failed_units")
    }

    fn expected(&self, _case: &Case<'_>) -> String {
        "no failed unit".to_owned()
    }

    fn find(&self, look: &Look<'_>) -> Finding {
        let answer = look.answer()?;
        match answer.code {
            0 => answer.must_be_empty(),
            _ => Err(Fault::Fails(brief(&answer.output))),
        }
    }
}
