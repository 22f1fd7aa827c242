//! A user at the console or the screen is asked to log in.

use std::time::Duration;

use super::judge::{Case, Fault, Finding, Look};
use super::{Kind, Needs, Question, one_key};
use crate::size::show_duration;

one_key! { LoginPrompt = "login_prompt", "`login:` on the serial console or on the screen" }

impl Kind for LoginPrompt {
    fn needs(&self) -> Needs {
        Needs {
            login: true,
            question: Some(Question::Along("screen")),
            ..Needs::default()
        }
    }

    fn expected(&self, _case: &Case<'_>) -> String {
        "`login:` on the serial console or on the screen".to_owned()
    }

    fn find(&self, look: &Look<'_>) -> Finding {
        if let Some(after) = look.case.first.login {
            return Ok(format!("on the console after {}", show_duration(after)));
        }
        match look.answer() {
            Ok(screen) if screen.output.contains("login:") => Ok("on the screen".to_owned()),
            _ => Err(Fault::Fails("no such line on either".to_owned())),
        }
    }

    fn took(&self, look: &Look<'_>) -> Duration {
        look.case.first.login.unwrap_or_default()
    }
}
