//! What can keep a manifest from becoming a plan.

/// A plan could not be made.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum PlanError {
    /// A value of a published image's metadata.
    #[error("`publish.{target}.metadata.{key}` cannot be rendered for image {image}: {reason}")]
    Metadata {
        target: String,
        key: String,
        image: String,
        reason: String,
    },
    /// A template failed although it passed the checks.
    #[error("the answers of distro `{distro}` cannot be rendered: {reason}")]
    Answers {
        distro: String,
        /// Why, with the template's name and line.
        reason: String,
    },
    /// An installer with such answers shows its menu, as if it had none.
    #[error(
        "the answers of distro `{distro}` are no YAML once they are rendered: `{text}` (line {line}): {reason}"
    )]
    NotYaml {
        distro: String,
        line: usize,
        /// Of that line.
        text: String,
        reason: String,
    },
    /// A step's environment cannot be rendered.
    #[error("environment variable `{variable}` of step `{step}` cannot be rendered: {reason}")]
    Environment {
        step: String,
        variable: String,
        reason: String,
    },
    /// No mirror is known for a bootstrap source.
    #[error("no mirror is known for distro `{distro}` (suite {suite})")]
    #[diagnostic(help(
        "this host's own apt configuration has none for it; write one into the distro's source: mirror = \"http://…\""
    ))]
    NoMirror { distro: String, suite: String },
}
