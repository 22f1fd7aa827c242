//! Userland shows a first sign of life within some time.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::judge::{Case, Fault, Finding, Look, Owner};
use super::{Kind, Needs, Written};
use crate::size::show_duration;
use crate::syntax::fields::Fields;
use crate::syntax::key::Key;
use crate::syntax::row::Row;
use crate::syntax::text::Time;

static KEY: Row<Time> = Row::new(
    "boots_within",
    "\"5m\"",
    "a first sign of life (a login prompt, a request, a greeting of sshd) within this time; without KVM four times as long",
);

/// Within this time under KVM; without KVM it may take as much longer as every other wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootsWithin(pub Duration);

impl Default for BootsWithin {
    /// As the standard set has it.
    fn default() -> Self {
        Self(Duration::from_secs(5 * 60))
    }
}

impl Written for BootsWithin {
    const ROWS: &'static [&'static Key] = &[&KEY.key];

    fn read(table: &Fields<'_>) -> Option<Self> {
        table.read(&KEY).map(Self)
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
