//! The guest's kernel has found a TPM 2.0.

use std::time::Duration;

use super::judge::Fault::Fails;
use super::judge::{Case, Finding, Look, brief};
use super::{Kind, Needs, Question, one_key};

const ASK: &str = "cat /sys/class/tpm/tpm0/tpm_version_major";
const LIMIT: Duration = Duration::from_secs(10);

one_key! { Tpm = "tpm", "its kernel has found a TPM 2.0" }

impl Kind for Tpm {
    fn needs(&self) -> Needs {
        Needs {
            question: Some(Question::Command(ASK.to_owned(), LIMIT)),
            ..Needs::default()
        }
    }

    fn expected(&self, _case: &Case<'_>) -> String {
        "a TPM 2.0".to_owned()
    }

    fn find(&self, look: &Look<'_>) -> Finding {
        let answer = look.answer()?;
        match answer.output.trim() {
            "2" => Ok("2.0".to_owned()),
            other => Err(Fails(brief(other))),
        }
    }
}
