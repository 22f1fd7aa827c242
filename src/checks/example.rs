//! A kind of check to copy from, which exists in tests alone: the guest must greet with a certain text.
//! `CONTRIBUTING.md` says how it was added.

use std::time::Duration;

use serde_json::Value;

use super::judge::{Case, Fault, Finding, Look};
use super::{Kind, Needs, Question, one_key};
use crate::syntax::text::Text;

one_key! { ExampleCheck(String): Text = "polite", "\"hello\"", "the guest greets with this text" }

impl Kind for ExampleCheck {
    fn input(&self) -> Value {
        self.0.as_str().into()
    }

    fn needs(&self) -> Needs {
        let command = "echo \"${GREETING:-hello}\"".to_owned();
        Needs {
            question: Some(Question::Command(command, Duration::from_secs(5))),
            ..Needs::default()
        }
    }

    fn expected(&self, _case: &Case<'_>) -> String {
        format!("a greeting with `{}`", self.0)
    }

    fn find(&self, look: &Look<'_>) -> Finding {
        match &look.answer()?.output {
            greeting if greeting.contains(&self.0) => Ok(greeting.clone()),
            other => Err(Fault::Fails(format!("the greeting `{other}`"))),
        }
    }
}
