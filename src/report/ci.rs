//! What CI systems make of a log: all that happens is one group, which they fold, so that the summary behind it is seen.

use jiff::Timestamp;

/// A system whose log this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ci {
    GitHub,
    GitLab,
}

/// Name of the group for GitLab, which wants one.
const SECTION: &str = "pipeline_run";

impl Ci {
    /// By the variables that each sets for its jobs.
    pub fn detect(env: &impl Fn(&str) -> Option<String>) -> Option<Self> {
        let is_true = |name: &str| env(name).is_some_and(|value| value == "true");
        if is_true("GITHUB_ACTIONS") {
            return Some(Self::GitHub);
        }
        is_true("GITLAB_CI").then_some(Self::GitLab)
    }

    /// The line that begins a group.
    pub fn open(self, title: &str, at: Timestamp) -> String {
        match self {
            Self::GitHub => format!("::group::{title}"),
            Self::GitLab => format!(
                "\u{1b}[0Ksection_start:{}:{SECTION}[collapsed=true]\r\u{1b}[0K{title}",
                at.as_second()
            ),
        }
    }

    /// The line that ends it.
    pub fn close(self, at: Timestamp) -> String {
        match self {
            Self::GitHub => "::endgroup::".to_owned(),
            Self::GitLab => format!("\u{1b}[0Ksection_end:{}:{SECTION}\r\u{1b}[0K", at.as_second()),
        }
    }
}
