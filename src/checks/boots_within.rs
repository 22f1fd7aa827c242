//! Userland shows a first sign of life within some time.

use std::time::Duration;

use serde_json::{Value, json};

use super::judge::{Case, Fault, Finding, Look, Owner};
use super::{Kind, Needs, one_key};
use crate::size::show_duration;
use crate::syntax::text::Time;

one_key! {
    BootsWithin(Duration): Time = "boots_within", "\"5m\"",
    "a first sign of life (a login prompt, a request, a greeting of sshd) within this time; without KVM four times as long"
}

impl Default for BootsWithin {
    /// As the standard set has it.
    fn default() -> Self {
        Self(Duration::from_secs(5 * 60))
    }
}

impl Kind for BootsWithin {
    fn input(&self) -> Value {
        json!(self.0)
    }

    fn needs(&self) -> Needs {
        Needs {
            within: Some(self.0),
            ..Needs::default()
        }
    }

    fn owns(&self, owner: Owner) -> bool {
        owner == Owner::Boot
    }

    fn expected(&self, case: &Case<'_>) -> String {
        let emulated = match case.slower {
            1 => String::new(),
            slower => format!(" ({} under emulation)", show_duration(self.0 * slower)),
        };
        format!("a sign of life within {}{emulated}", show_duration(self.0))
    }

    fn find(&self, look: &Look<'_>) -> Finding {
        let (after, sign) = look.case.first.life.clone().map_err(Fault::Fails)?;
        let seen = format!("{sign} after {}", show_duration(after));
        if after <= self.0 * look.case.slower {
            Ok(seen)
        } else {
            Err(Fault::Fails(seen))
        }
    }

    fn took(&self, look: &Look<'_>) -> Duration {
        look.case
            .first
            .life
            .as_ref()
            .map_or(Duration::ZERO, |(after, _)| *after)
    }
}
