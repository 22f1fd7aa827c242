//! A guest that goes down while it is worked on: nothing may run in it any more, least of all sealing. Finds that out
//! between two pieces of work, and says which of them is to blame.

use std::fmt;
use std::time::Duration;

use crate::guest;
use crate::host::process::Output;
use crate::machine::ending::Down;
use crate::machine::ssh::SshError;
use crate::stage::error::StageError;
use crate::stage::guest::{Session, scaled};
use crate::verdict::Verdict;

/// Longest time for the guest's answer, under KVM. One that does not say is not known to go down.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a guest may take to go down after its connection broke, under KVM: what stops late is waited for so long
/// (systemd-system.conf(5), `DefaultTimeoutStopSec`).
const GOES_DOWN: Duration = Duration::from_secs(90);

/// The guest went down, or is about to, and the pipeline did not order that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WentDown {
    pub how: How,
    /// What ran in it.
    pub work: Work,
}

/// What runs in a guest, or ran last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Label of a step, or of a script of ours.
    pub label: String,
    /// What ran before.
    pub after: Option<String>,
    /// Whether steps of the user's have run.
    pub has_steps: bool,
}

/// How a guest goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It was reset.
    Restarted,
    /// It will.
    Restarts,
    PoweredOff,
    /// It will be.
    PowersOff,
    /// One of the two.
    Stops,
}

impl WentDown {
    /// Why, in one word.
    pub fn verdict(&self) -> Verdict {
        match self.how {
            How::PoweredOff | How::PowersOff => Verdict::UnexpectedPowerOff,
            How::Restarted | How::Restarts | How::Stops => Verdict::UnexpectedRestart,
        }
    }
}

impl std::error::Error for WentDown {}

impl fmt::Display for WentDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Work {
            label,
            after,
            has_steps,
        } = &self.work;
        match self.how {
            How::Restarted => write!(f, "the guest restarted while `{label}` ran")?,
            How::PoweredOff => write!(f, "the guest powered itself off while `{label}` ran")?,
            How::Restarts => write!(f, "the guest is restarting after `{label}`")?,
            How::PowersOff => write!(f, "the guest is powering off after `{label}`")?,
            How::Stops => write!(f, "the guest is shutting down after `{label}`")?,
        }
        if let Some(after) = after {
            write!(f, " (which ran after `{after}`)")?;
        }
        f.write_str(", and the pipeline did not order that")?;
        if !has_steps {
            return Ok(());
        }
        let remedy = match self.how {
            How::PoweredOff | How::PowersOff => {
                "the pipeline powers the guest off itself when all steps are done"
            }
            _ => "where a restart is needed, put { reboot = true } behind the step",
        };
        write!(
            f,
            "; nothing more runs in it: take the command out of the step; {remedy}"
        )
    }
}

impl Session<'_> {
    /// Makes sure that the guest is not going down, so that more may run in it.
    ///
    /// # Errors
    /// [`StageError::WentDown`], and those of the connection.
    pub fn stays_up(&mut self) -> Result<(), StageError> {
        if let Some(down) = self.machine.went_down() {
            return Err(self.went_down(down.into()).into());
        }
        let limit = scaled(self.site.accel, ANSWER);
        let mut said = String::new();
        let asked = self.ssh()?.run(
            "/bin/sh -s",
            guest::GOING_DOWN.as_bytes().to_vec(),
            Some(limit),
            &self.site.cancel,
            &mut |output, line| {
                if output == Output::Stdout {
                    said = line.trim().to_owned();
                }
            },
        );
        match asked {
            Ok(_) | Err(SshError::TimedOut { .. }) => {}
            Err(error) => return Err(self.explain(error)),
        }
        let how = match said.as_str() {
            "reboot" => How::Restarts,
            "poweroff" => How::PowersOff,
            "down" => How::Stops,
            _ => return Ok(()),
        };
        Err(self.went_down(how).into())
    }

    /// Why the connection broke, when the guest went down by itself.
    pub(super) fn lost_by_going_down(&mut self) -> Option<StageError> {
        let limit = scaled(self.site.accel, GOES_DOWN);
        match self.machine.wait_down(limit) {
            Ok(down) => down.map(|down| self.went_down(down.into()).into()),
            Err(error) => Some(error.into()),
        }
    }

    fn went_down(&self, how: How) -> WentDown {
        let work = self.work.clone();
        WentDown { how, work }
    }
}

impl From<Down> for How {
    fn from(down: Down) -> Self {
        match down {
            Down::Restarted => Self::Restarted,
            Down::PoweredOff => Self::PoweredOff,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_step_and_the_remedy() {
        let said = |how, has_steps| {
            let work = Work {
                label: "seal".to_owned(),
                after: Some("upgrade".to_owned()),
                has_steps,
            };
            let error = WentDown { how, work };
            (error.to_string(), error.verdict())
        };
        let (text, verdict) = said(How::Restarted, true);
        assert_eq!(
            text,
            "the guest restarted while `seal` ran (which ran after `upgrade`), and the pipeline did not order that; nothing \
             more runs in it: take the command out of the step; where a restart is needed, put { reboot = true } behind the \
             step"
        );
        assert_eq!(verdict, Verdict::UnexpectedRestart);
        let (text, verdict) = said(How::PowersOff, true);
        assert!(
            text.starts_with("the guest is powering off after `seal`"),
            "{text}"
        );
        assert!(
            text.ends_with("the pipeline powers the guest off itself when all steps are done"),
            "{text}"
        );
        assert_eq!(verdict, Verdict::UnexpectedPowerOff);
        let (text, _) = said(How::Stops, false);
        assert!(text.ends_with("and the pipeline did not order that"), "{text}");
    }
}
